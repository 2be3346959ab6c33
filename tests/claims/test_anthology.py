"""Duality maps, and the descent they promise."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.optimizers.first_order.anthology import NORMS, dual


def size(w: np.ndarray, norm: str) -> float:
    out, into = w.shape
    return {
        "max": lambda: np.abs(w).max(),
        "spectral": lambda: np.linalg.norm(w, 2),
        "rms-rms": lambda: np.sqrt(into / out) * np.linalg.norm(w, 2),
        "l1-rms": lambda: np.linalg.norm(w, axis=0).max() / np.sqrt(out),
        "l2-max": lambda: np.linalg.norm(w, axis=1).max(),
        "frobenius": lambda: np.linalg.norm(w),
    }[norm]()


@pytest.mark.claim("steepest-descent")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 1)])
def test_duality(norm: str, shape: tuple[int, int]) -> None:
    """|D(G)| = 1 and <G, D(G)> is the dual norm, in all six norms; none of 200 random matrices of the
    unit ball does better (1e-12).

    |D| = 1, <G, D> = dual norm >= <G, T> / |T| for random T; zero gradients give zero.
    """
    rng = np.random.default_rng(0)
    g = rng.standard_normal(shape)
    d, dual_norm = dual(g, norm)
    assert size(d, norm) == pytest.approx(1.0, rel=1e-13)
    assert float(np.sum(g * d)) == pytest.approx(dual_norm, rel=1e-13)
    for _ in range(200):
        t = d + 0.3 * rng.standard_normal(shape)
        assert np.sum(g * t) / size(t, norm) <= dual_norm * (1 + 1e-12)
    zero, nothing = dual(np.zeros(shape), norm)
    np.testing.assert_array_equal(zero, 0.0)
    assert nothing == 0.0


@pytest.mark.claim("steepest-descent")
@pytest.mark.parametrize("norm", NORMS)
def test_descent(norm: str) -> None:
    """f smooth in the norm with constant 1/lr decreases by at least the dual norm squared times lr/2.

    f(W) = |W - W*|_F² / 2 is smooth in each norm with the constant c that bounds |.|_F² by c |.|².
    """
    rng = np.random.default_rng(1)
    out, into = 4, 6
    target, w = rng.standard_normal((out, into)), np.zeros((out, into))
    constant = {"max": out * into, "spectral": min(out, into), "frobenius": 1.0}
    constant |= {"rms-rms": constant["spectral"] * out / into, "l1-rms": out * into, "l2-max": out}
    o = refopt.optimizer("steepest-descent", norm=norm, lr=1 / constant[norm])
    s = o.init(w)
    for _ in range(10):
        g = w - target
        before, promised = 0.5 * np.sum(g**2), dual(g, norm)[1] ** 2 / (2 * constant[norm])
        w, s = o.update(w, g, s)
        # Where it has arrived, only rounding is left.
        assert before - 0.5 * np.sum((w - target) ** 2) >= promised * (1 - 1e-12) - 1e-28
