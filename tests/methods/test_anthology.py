"""Duality maps, and the descent they promise.

Old optimizers as steepest descent.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError
from refopt.optimizers.first_order.anthology import NORMS, dual

from tests.streams import stream


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


@pytest.mark.identity("steepest-descent")
def test_max_norm_is_adam_without_averages() -> None:
    """Under the max norm it is Adam without averages (beta1 = beta2 = eps = 0), to 1e-14.

    beta1 = beta2 = eps = 0: sign descent on every leaf (a root of a square is rounded, its quotient
    is not).
    """
    x, gradients = stream(0, "ill", steps=20)
    a = refopt.optimizer("adam", lr=0.125, beta1=0.0, beta2=0.0, eps=0.0)
    b = refopt.optimizer("steepest-descent", norm="max", lr=0.125, dual_scaled=False)
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
    for k in x:
        np.testing.assert_allclose(x[k], y[k], rtol=1e-14)


def _power(m: np.ndarray, p: float) -> np.ndarray:
    values, q = np.linalg.eigh(m)
    good = values > 1e-12 * values[-1]
    return (q[:, good] * values[good] ** p) @ q[:, good].T


@pytest.mark.identity("steepest-descent")
@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_spectral_norm_is_shampoo_without_averages(shape: tuple[int, int]) -> None:
    """Under the spectral norm it is Shampoo without averages, (GG')^-1/4 G (G'G)^-1/4, to 1e-10."""
    g = np.random.default_rng(0).standard_normal(shape)
    o = refopt.optimizer("steepest-descent", lr=1.0, dual_scaled=False)
    x, _ = o.update(np.zeros(shape), g, o.init(np.zeros(shape)))
    np.testing.assert_allclose(-x, _power(g @ g.T, -0.25) @ g @ _power(g.T @ g, -0.25), atol=1e-10)


def test_frobenius_dual_scaled_is_gradient_descent() -> None:
    """|G|_F D(G) = G, for one leaf."""
    p = refopt.problem("logistic")
    a = refopt.minimize(p, "steepest-descent", norm="frobenius", lr=0.2, steps=20)
    b = refopt.minimize(p, "sgd", lr=0.2, steps=20)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-12, atol=1e-14)


def test_several_leaves_share_one_eta() -> None:
    """Delta_l = -(eta / s_l) D_l with eta = lr sum_k |G_k|_dual / s_k."""
    x = {"w": np.zeros((2, 2)), "b": np.zeros(3)}
    g = {"w": np.diag([3.0, -4.0]), "b": np.array([1.0, -2.0, 0.5])}
    o = refopt.optimizer("steepest-descent", norm={"w": "spectral", "b": "max"}, scales={"b": 2.0}, lr=0.1)
    new, _ = o.update(x, g, o.init(x))
    eta = 0.1 * (7.0 / 1.0 + 3.5 / 2.0)
    np.testing.assert_allclose(new["w"], -eta * np.diag([1.0, -1.0]), atol=1e-15)
    np.testing.assert_allclose(new["b"], -eta / 2 * np.sign(g["b"]), atol=1e-15)
    with pytest.raises(ArgumentError, match="norm"):
        refopt.optimizer("steepest-descent", norm="nuclear")
    with pytest.raises(ArgumentError, match="no norm for b"):
        refopt.optimizer("steepest-descent", norm={"w": "max"}).init(x)
