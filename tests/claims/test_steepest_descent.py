"""Duality, and the descent that it guarantees."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import refopt
from refopt.optimizers.common.lmo import DIRECTIONS

NORMS: dict[str, Callable[[np.ndarray], float]] = {
    "max": lambda T: float(np.max(np.abs(T))),
    "frobenius": lambda T: float(np.linalg.norm(T)),
    "spectral": lambda T: float(np.linalg.norm(T, 2)),
    "rms": lambda T: float(np.sqrt(T.shape[1] / T.shape[0]) * np.linalg.norm(T, 2)),
    "column": lambda T: float(np.max(np.sqrt(np.mean(T**2, axis=0)))),
    "row": lambda T: float(np.max(np.linalg.norm(T, axis=1))),
}


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 1)])
@pytest.mark.parametrize("norm", list(DIRECTIONS))
def test_direction_attains_the_dual_norm(norm: str, shape: tuple[int, int]) -> None:
    """|D(G)| = 1, <G, D(G)> = dual norm, and no T of norm one does better."""
    rng = np.random.default_rng(0)
    G = rng.standard_normal(shape)
    D, dual = DIRECTIONS[norm](G)
    assert NORMS[norm](D) == pytest.approx(1.0, rel=1e-13)
    assert float(np.sum(G * D)) == pytest.approx(float(dual), rel=1e-13)
    for _ in range(200):
        T = D + 0.3 * rng.standard_normal(shape)
        assert np.sum(G * T) / NORMS[norm](T) <= dual * (1 + 1e-13)


@pytest.mark.parametrize("norm", list(DIRECTIONS))
def test_guaranteed_descent(norm: str) -> None:
    """f = (L/2) |W - W*|_F^2, L-smooth in every norm with |T|_F <= c |T|: decrease >= dual^2 / (2 L c^2)."""
    rng = np.random.default_rng(1)
    shape, L = (4, 6), 2.0
    # The largest Frobenius norm of a T with |T| = 1.
    c = {
        "max": 24**0.5,
        "frobenius": 1.0,
        "spectral": 2.0,
        "rms": 2.0 * (4 / 6) ** 0.5,
        "column": 24**0.5,
        "row": 2.0,
    }
    sharpness = L * c[norm] ** 2
    target = rng.standard_normal(shape)
    o = refopt.optimizer("steepest-descent", norm=norm, lr=1.0 / sharpness)
    W = np.zeros(shape)
    s = o.init(W)
    for _ in range(10):
        G = L * (W - target)
        dual = float(DIRECTIONS[norm](G)[1])
        if dual < 1e-9:
            break
        new, s = o.update(W, G, s)
        decrease = L / 2 * (np.sum((W - target) ** 2) - np.sum((new - target) ** 2))
        assert decrease >= dual**2 / (2 * sharpness) * (1 - 1e-12)
        W = new


def test_leaves_share_one_length() -> None:
    """Two leaves: both steps have the length lr times the sum of dual norms."""
    g = {"a": np.array([[1.0, -2.0]]), "b": np.array([0.5, 0.25])}
    o = refopt.optimizer("steepest-descent", norm="max", lr=0.1)
    x = {k: np.zeros_like(v) for k, v in g.items()}
    new, _ = o.update(x, g, o.init(x))
    for k in g:
        np.testing.assert_allclose(new[k], -0.1 * 3.75 * np.sign(g[k]), rtol=1e-15)
