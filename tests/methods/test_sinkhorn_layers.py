"""What is claimed of the doubly-stochastic layer and the Sinkhorn divergence.

Identities of the doubly-stochastic layer and the Sinkhorn divergence.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from refopt.core import errors
from refopt.core.arrays import to_numpy
from refopt.transport import problem as shared
from refopt.transport.problem import PointCloud
from refopt.transport.sinkhorn_divergence import sinkhorn_divergence
from refopt.transport.sinkhorn_log import sinkhorn_log
from refopt.transport.sinkhorn_normalize import sinkhorn_normalize, sinkhorn_normalize_vjp

from tests.methods.test_smooth_ot import linear_program


@pytest.mark.claim("sinkhorn-normalize")
def test_offset_contracts() -> None:
    """With an offset o the passes end at 1 / n, the gap falling by (1 + n o)^-2 a pass, to 1e-4."""
    n, offset = 5, 0.05
    Q = np.random.default_rng(0).random((n, n))
    gaps = [np.abs(sinkhorn_normalize(Q, passes=k, offset=offset) - 1 / n).max() for k in (14, 15, 16)]
    assert gaps[-1] > 1e-9
    for early, late in itertools.pairwise(gaps):
        np.testing.assert_allclose(late / early, (1 + n * offset) ** -2, rtol=1e-4)
    # Without an offset the limit is the diagonal scaling of Q: ratios of 2 x 2 minors stay.
    S = sinkhorn_normalize(Q, passes=400)
    np.testing.assert_allclose(S.sum(1), 1, rtol=1e-12)
    ratio = (Q[0, 0] * Q[1, 1]) / (Q[0, 1] * Q[1, 0])
    np.testing.assert_allclose((S[0, 0] * S[1, 1]) / (S[0, 1] * S[1, 0]), ratio, rtol=1e-11)


@pytest.mark.claim("sinkhorn-divergence")
def test_divergence_limits() -> None:
    """nonnegative; tends to |mean x - mean y|^2 for large reg (1e-4 at 1e5), to the linear program
    for small (1e-3 at 2e-3).
    """
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((9, 2)), rng.standard_normal((7, 2)) + np.array([1, 0])
    for reg in (0.1, 1.0, 10.0):
        assert sinkhorn_divergence(x, y, reg).value > 0
        assert sinkhorn_divergence(x, x + 0.1 * y[:1], reg).value > 0
    mean = np.sum((x.mean(0) - y.mean(0)) ** 2)
    np.testing.assert_allclose(sinkhorn_divergence(x, y, 1e5).value, mean, rtol=1e-4)
    exact = linear_program(np.full(9, 1 / 9), np.full(7, 1 / 7), ((x[:, None] - y) ** 2).sum(-1))
    np.testing.assert_allclose(sinkhorn_divergence(x, y, 2e-3, tol=1e-6).value, exact, rtol=1e-3)
    # The two forms differ at a finite reg.
    assert (
        abs(sinkhorn_divergence(x, y, 1.0).value - sinkhorn_divergence(x, y, 1.0, form="sharp").value) > 0.05
    )


@pytest.mark.identity("sinkhorn-normalize")
def test_normalize() -> None:
    """The vjp matches central differences to 1e-8; columns sum to 1 to 5e-15, rows in the limit."""
    rng = np.random.default_rng(0)
    Q, G = rng.random((2, 5, 5)) + 0.1, rng.standard_normal((2, 5, 5))
    for passes, offset in ((1, 0.01), (4, 0.0), (3, 0.3)):
        S, pull = sinkhorn_normalize_vjp(Q, passes=passes, offset=offset)
        np.testing.assert_allclose(S.sum(-2), 1, rtol=0, atol=1e-15 * 5)
        slopes = np.empty_like(Q)
        for index in np.ndindex(Q.shape):
            h = np.zeros_like(Q)
            h[index] = 1e-5
            up, down = (sinkhorn_normalize(Q + s * h, passes=passes, offset=offset) for s in (1, -1))
            slopes[index] = np.sum(G * (up - down)) / 2e-5
        np.testing.assert_allclose(pull(G), slopes, rtol=0, atol=1e-8)
    np.testing.assert_allclose(sinkhorn_normalize(Q, passes=300).sum(-1), 1, rtol=0, atol=1e-13)
    by_hand = Q / Q.sum(-1, keepdims=True)
    np.testing.assert_allclose(
        sinkhorn_normalize(Q, passes=1), by_hand / by_hand.sum(-2, keepdims=True), rtol=1e-15
    )


def test_every_library(xp: Any, dtype: str) -> None:
    Q = np.random.default_rng(1).random((3, 4, 4)).astype(dtype)
    want, pull = sinkhorn_normalize_vjp(Q.astype(float), passes=3)
    S, pulled = sinkhorn_normalize_vjp(xp.asarray(Q), passes=3)
    assert S.dtype == xp.asarray(Q).dtype
    tol = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(to_numpy(S), want, rtol=tol)
    G = xp.asarray(Q) + 1
    np.testing.assert_allclose(to_numpy(pulled(G)), pull(Q.astype(float) + 1), rtol=0, atol=10 * tol)
    points = np.random.default_rng(2).random((6, 2)).astype(dtype)
    x, y = xp.asarray(points), xp.asarray(points[:4] + 1)
    for form in ("kl", "sharp"):
        r = sinkhorn_divergence(x, y, 0.5, form=form)
        s = sinkhorn_divergence(points.astype(float), points[:4].astype(float) + 1, 0.5, form=form)
        assert r.gradient_x.dtype == x.dtype
        assert r.status == "converged"
        np.testing.assert_allclose(r.value, s.value, rtol=2e-5 if dtype == "float32" else 1e-9)
        np.testing.assert_allclose(
            to_numpy(r.gradient_y), s.gradient_y, rtol=0, atol=5e-4 if dtype == "float32" else 1e-8
        )


@pytest.mark.identity("sinkhorn-divergence")
@pytest.mark.parametrize("form", ["kl", "sharp"])
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean"])
def test_divergence_gradients(form: str, cost: str) -> None:
    """Gradients of both forms by central differences to 1e-6; 0 for equal clouds, to 1e-9."""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((5, 2)), rng.standard_normal((4, 2)) + 1
    a, b = rng.random(5) + 0.2, rng.random(4) + 0.2
    a, b = a / a.sum(), b / b.sum()

    def value(x: np.ndarray, y: np.ndarray) -> float:
        return sinkhorn_divergence(x, y, 0.7, a=a, b=b, form=form, cost=cost, tol=1e-14).value

    r = sinkhorn_divergence(x, y, 0.7, a=a, b=b, form=form, cost=cost, tol=1e-14)
    for points, gradient, side in ((x, r.gradient_x, 0), (y, r.gradient_y, 1)):
        for index in np.ndindex(points.shape):
            h = np.zeros_like(points)
            h[index] = 1e-4
            up, down = (value(x + s * h, y) if side == 0 else value(x, y + s * h) for s in (1, -1))
            # Central differences of step 1e-4: 1e-8 of truncation times the third derivative.
            np.testing.assert_allclose((up - down) / 2e-4, gradient[index], rtol=0, atol=1e-6)
    assert r.status == "converged"
    same = sinkhorn_divergence(x, x, 4.0, a=a, b=a, form=form, cost=cost, tol=1e-13)
    np.testing.assert_allclose(same.value, 0, atol=1e-11)
    np.testing.assert_allclose(same.gradient_x, 0, atol=1e-9)


def test_divergence_of_any_cost() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.random((5, 2)), rng.random((4, 2)) + 0.5

    def quartic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return ((x[:, None] - y) ** 2).sum(-1) ** 2

    def pull(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
        gap = x[:, None] - y
        return 4 * np.sum((w * (gap**2).sum(-1))[..., None] * gap, axis=1)

    for form in ("kl", "sharp"):
        r = sinkhorn_divergence(x, y, 0.7, form=form, cost=(quartic, pull), tol=1e-13)
        for index in np.ndindex(y.shape):
            h = np.zeros_like(y)
            h[index] = 1e-4
            up, down = (
                sinkhorn_divergence(x, y + s * h, 0.7, form=form, cost=(quartic, pull), tol=1e-13).value
                for s in (1, -1)
            )
            np.testing.assert_allclose((up - down) / 2e-4, r.gradient_y[index], rtol=0, atol=1e-6)
    clouds = [
        sinkhorn_log(None, None, PointCloud(x, y, quartic), 0.7, first=first).plan.dense()
        for first in ("rows", "columns")
    ]
    np.testing.assert_allclose(clouds[0], clouds[1], rtol=0, atol=1e-9)


def test_bad_input() -> None:
    x = np.ones((3, 2))
    for call, error in (
        (lambda: sinkhorn_normalize(-np.ones((2, 2))), errors.ArgumentError),
        (lambda: sinkhorn_normalize(np.ones((2, 3))), errors.ShapeError),
        (lambda: sinkhorn_normalize(np.array([[0.0, 0.0], [1.0, 1.0]])), errors.ArgumentError),
        (lambda: sinkhorn_normalize(np.ones((2, 2)), offset=-1.0), errors.ArgumentError),
        (lambda: sinkhorn_normalize_vjp(np.ones((2, 2)))[1](np.ones(2)), errors.ShapeError),
        (lambda: sinkhorn_divergence(x, np.ones((3, 3)), 0.1), errors.ShapeError),
        (lambda: sinkhorn_divergence(x, x, 0.1, form="exact"), errors.ArgumentError),
        (lambda: sinkhorn_divergence(x, x, 0.1, cost="cosine"), errors.ArgumentError),
        (lambda: sinkhorn_divergence(x, x, 0.1, cost=("a", "b")), errors.ArgumentTypeError),
        (lambda: sinkhorn_divergence(x, x, 0.1, cost=(np.add, np.add)), errors.ShapeError),
        (lambda: sinkhorn_divergence(x, x, 0.1, a=-np.ones(3)), errors.ArgumentError),
    ):
        with pytest.raises(error):
            call()


@pytest.mark.identity("sinkhorn-divergence")
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean", "quartic"])
def test_online(monkeypatch: pytest.MonkeyPatch, cost: str) -> None:
    """Without a matrix of costs, in blocks of three rows: value, gradients, passes and status of the dense form, to 1e-10; an
    empty mass, three costs.
    """
    monkeypatch.setattr(shared, "BLOCK_ENTRIES", 24)
    rng = np.random.default_rng(6)
    x, y = rng.random((9, 2)), rng.random((8, 2)) + 0.4
    a, b = rng.random(9) + 0.2, rng.random(8) + 0.2
    a[3] = 0.0
    a, b = a / a.sum(), b / b.sum()

    def quartic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return ((x[:, None] - y) ** 2).sum(-1) ** 2

    def pull(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
        gap = x[:, None] - y
        return 4 * np.sum((w * (gap**2).sum(-1))[..., None] * gap, axis=1)

    given: Any = (quartic, pull) if cost == "quartic" else cost
    for options in ({"tol": 1e-13}, {"tol": 0.0, "maxiter": 3}):
        dense = sinkhorn_divergence(x, y, 0.3, a=a, b=b, cost=given, **options)
        found = sinkhorn_divergence(x, y, 0.3, a=a, b=b, cost=given, online=True, **options)
        for name in ("value", "gradient_x", "gradient_y", "cost", "marginal_error"):
            np.testing.assert_allclose(getattr(found, name), getattr(dense, name), rtol=0, atol=1e-10)
        assert (found.status, found.iterations) == (dense.status, dense.iterations)
        np.testing.assert_allclose(found.plan.dense(), dense.plan, rtol=0, atol=1e-10)
    with pytest.raises(errors.ArgumentError, match="online"):
        sinkhorn_divergence(x, y, 0.3, form="sharp", online=True)
