"""Online Subspace Descent: what the projection learns, and its limit GaLore."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream

SHAPES = {"tall": (5, 3), "wide": (3, 5), "b": (4,)}
BETAS: dict[str, Any] = {"beta1": 0.8, "beta2": 0.7}


@pytest.mark.identity("online-subspace-descent")
def test_a_still_projection_is_galore() -> None:
    """With η_P = 0 it is GaLore, bit for bit, over new subspaces too."""
    a = refopt.optimizer(
        "online-subspace-descent", lr=0.1, rank=2, basis_ratio=0.0, update_every=7, weight_decay=0.1, **BETAS
    )
    b = refopt.optimizer("galore", lr=0.1, rank=2, update_every=7, weight_decay=0.1, **BETAS)
    assert_same_run(a, b, stream(0, "random", steps=20, shapes=SHAPES))


@pytest.mark.claim("online-subspace-descent")
@pytest.mark.parametrize(("shape", "optimizer"), [((4, 6), "sgd"), ((6, 4), "adamw")])
def test_the_leading_subspace_is_learnt(shape: tuple[int, int], optimizer: str) -> None:
    """Started in the subspace of another gradient, P comes to the leading one of a gradient that stays, to
    1e-4 in its projector, with columns orthonormal as the penalty wants them.
    """
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.standard_normal((n, 4)))[0] for n in shape)
    g = u @ np.diag([4.0, 3.0, 0.3, 0.1]) @ v.T
    o = refopt.optimizer(
        "online-subspace-descent", rank=2, basis_optimizer=optimizer, schedule=lambda t: 1.0 if optimizer == "sgd" else 0.98**t,
        lr=0.01, basis_ratio=10.0 if optimizer == "sgd" else 2.0, basis_beta2=0.9,
    )  # fmt: skip
    x = np.zeros(shape)
    x, s = o.update(x, rng.standard_normal(shape), o.init(x))
    for _ in range(400):
        x, s = o.update(x, g, s)
    (P,) = s["basis"]
    leading = (u if shape[0] < shape[1] else v)[:, :2]
    np.testing.assert_allclose(P @ P.T, leading @ leading.T, atol=1e-4)
    np.testing.assert_allclose(P.T @ P, np.eye(2), atol=1e-4)


@pytest.mark.identity("online-subspace-descent")
@pytest.mark.parametrize("side", ["left", "right"])
def test_slope(side: str) -> None:
    """A step of SGD on P goes along central differences of L, to 1e-8."""
    rng = np.random.default_rng(1)
    first, g = rng.standard_normal((2, 4, 5))
    o = refopt.optimizer(
        "online-subspace-descent", rank=2, side=side, basis_optimizer="sgd", lr=0.1, basis_ratio=5.0, penalty=0.7,
        fixed_signs=True,
    )  # fmt: skip
    x, s = o.update(np.zeros((4, 5)), first, o.init(np.zeros((4, 5))))
    P = s["basis"][0] + 0.1 * rng.standard_normal(s["basis"][0].shape)
    _, after = o.update(x, g, {**s, "basis": (P,)})
    H = (g if side == "left" else g.T) / np.linalg.norm(g)

    def loss(P: np.ndarray) -> float:
        return np.sum((P @ P.T @ H - H) ** 2) + 0.7 * np.sum((P.T @ P - np.eye(2)) ** 2)

    slope = np.zeros_like(P)
    for index in np.ndindex(P.shape):
        e = np.zeros_like(P)
        e[index] = 1e-5
        slope[index] = (loss(P + e) - loss(P - e)) / 2e-5
    np.testing.assert_allclose(after["basis"][0], P - 0.5 * slope, atol=1e-8)
    # The first step moves no P.
    np.testing.assert_allclose(s["basis"][0].T @ s["basis"][0], np.eye(2), atol=1e-14)
