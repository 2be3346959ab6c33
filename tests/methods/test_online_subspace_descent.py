"""Online Subspace Descent: what the projection learns, and its limit GaLore."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import schedule, stream

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


@pytest.mark.identity("online-subspace-descent")
def test_written_out() -> None:
    """12 steps with AdamW on P, its decay, the penalty, decay of the weights and a schedule, to 1e-11."""
    lr, ratio, penalty, wd = 0.05, 2.0, 0.5, 0.1
    o = refopt.optimizer(
        "online-subspace-descent", lr=lr, rank=2, scale=0.3, side="left", weight_decay=wd, schedule=schedule, eps=1e-3,
        basis_ratio=ratio, basis_decay=0.2, basis_beta1=0.7, basis_beta2=0.6, basis_eps=1e-3, penalty=penalty, **BETAS,
    )  # fmt: skip
    x, gradients = stream(3, "random", steps=12, shapes={"w": (4, 6)})
    y, s = x["w"], o.init(x)
    P, m, v, bm, bv = np.linalg.svd(gradients[0]["w"])[0][:, :2], 0.0, 0.0, 0.0, 0.0
    for t, gradient in enumerate(gradients, 1):
        x, s = o.update(x, gradient, s)
        g, rate = gradient["w"], lr * schedule(t)
        a = P.T @ g
        m, v = 0.8 * m + 0.2 * a, 0.7 * v + 0.3 * a**2
        u = m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.7**t)) + 1e-3)
        y = (1 - rate * wd) * y - rate * 0.3 * P @ u
        if t > 1:
            H = g / np.linalg.norm(g)
            E = P @ P.T @ H - H
            slope = 2 * (E @ H.T @ P + H @ E.T @ P) + 4 * penalty * P @ (P.T @ P - np.eye(2))
            bm, bv = 0.7 * bm + 0.3 * slope, 0.6 * bv + 0.4 * slope**2
            below = np.sqrt(bv / (1 - 0.6 ** (t - 1))) + 1e-3
            P = (1 - ratio * rate * 0.2) * P - ratio * rate * bm / (1 - 0.7 ** (t - 1)) / below
        np.testing.assert_allclose(x["w"], y, rtol=1e-11, atol=1e-12)
