"""ScaledGD on low-rank factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt


def _spectral(p: Any) -> dict[str, np.ndarray]:
    """The start of the 2021 paper: the leading singular vectors of A*(y), here the truth's with an error."""
    rng = np.random.default_rng(0)
    u, s, vt = np.linalg.svd(p.truth + 0.02 * rng.standard_normal(p.truth.shape) / 10)
    r = p.rank
    return {"F": u[:, :r] * np.sqrt(s[:r]), "G": vt[:r].T * np.sqrt(s[:r])}


def _asymmetric(kappa: float) -> Any:
    return refopt.problem(
        "asymmetric-matrix-sensing", n1=8, n2=9, rank=2, condition_number=kappa, measurements=400
    )


def _steps_to(p: Any, name: str, x0: Any, lr: float, **more: Any) -> int:
    """Steps until the relative error is 1e-6."""
    o = refopt.optimizer(name, lr=lr, **more)
    x, s = x0, o.init(x0)
    for t in range(3000):
        if p.error(x) < 1e-6:
            return t
        x, s = o.update(x, p.grad(x), s)
    return 3000


@pytest.mark.claim("scaled-gd")
def test_free_of_the_condition_number() -> None:
    """Known rank: κ = 1, 10 and 100 take within 3 steps as many, and gradient descent more than twice as many at 10."""
    steps = [
        _steps_to(_asymmetric(k), "scaled-gd", _spectral(_asymmetric(k)), 0.5, damping=0.0)
        for k in (1, 10, 100)
    ]
    assert max(steps) - min(steps) <= 3
    plain = [_steps_to(_asymmetric(k), "sgd", _spectral(_asymmetric(k)), 0.5) for k in (1, 10)]
    assert plain[1] > 2 * max(steps)
    assert plain[1] > 2 * plain[0]


@pytest.mark.claim("scaled-gd")
def test_overparameterised_from_a_small_start() -> None:
    """Twice the rank from α = 1e-9, to 1e-3: at most 140 steps at κ = 1, 4, 16 and 64; gradient descent 81, 263, 870."""
    plain = []
    for kappa in (1.0, 4.0, 16.0, 64.0):
        p = refopt.problem(
            "matrix-sensing", n=16, rank=2, search_rank=4, measurements=500, condition_number=kappa
        )
        x = 1e-9 * np.random.default_rng(1).standard_normal((16, 4)) / 4
        o = refopt.optimizer("scaled-gd", lr=0.3, damping=1 / kappa)
        s = o.init(x)
        for _ in range(140):
            x, s = o.update(x, p.grad(x), s)
        assert p.error(x) < 1e-3
        x, t = 1e-6 * np.random.default_rng(1).standard_normal((16, 4)) / 4, 0
        while p.error(x) > 1e-3 and t < 900:
            x, t = x - 0.3 * p.grad(x), t + 1
        plain.append(t)
    assert plain[1] > 2.5 * plain[0]
    assert plain[2] > 2.5 * plain[1]
    assert plain[3] == 900


@pytest.mark.identity("scaled-gd")
def test_invariance() -> None:
    """Without λ the product L Rᵀ is the same from ``L B`` and ``R B^{-T}`` for any regular B, to 1e-10; with λ for rotations."""
    p, B = _asymmetric(10.0), np.array([[2.0, 1.0], [0.5, 3.0]])
    x0 = _spectral(p)
    turned = {"F": x0["F"] @ B, "G": x0["G"] @ np.linalg.inv(B).T}
    a, b = (_product(p, x, 20, damping=0.0) for x in (x0, turned))
    np.testing.assert_allclose(a, b, atol=1e-10)
    Q = np.array([[0.6, -0.8], [0.8, 0.6]])
    rotated = {k: v @ Q for k, v in x0.items()}
    a, b = (_product(p, x, 20, damping=0.2) for x in (x0, rotated))
    np.testing.assert_allclose(a, b, atol=1e-12)
    assert np.abs(_product(p, turned, 20, damping=0.2) - a).max() > 1e-6


def _product(p: Any, x: Any, steps: int, **more: Any) -> np.ndarray:
    o = refopt.optimizer("scaled-gd", **more)
    s = o.init(x)
    for _ in range(steps):
        x, s = o.update(x, p.grad(x), s)
    return x["F"] @ x["G"].T


@pytest.mark.identity("scaled-gd")
def test_written_out() -> None:
    """Both forms with explicit inverses over 30 steps, the factors at once, to 1e-11; large λ is gradient descent."""
    p, eta, lam = _asymmetric(5.0), 0.4, 0.05
    x0 = _spectral(p)
    L, R = x0["F"], x0["G"]
    o = refopt.optimizer("scaled-gd", lr=eta, damping=lam)
    x, s = x0, o.init(x0)
    for _ in range(30):
        g = p.grad({"F": L, "G": R})
        L, R = (
            L - eta * g["F"] @ np.linalg.inv(R.T @ R + lam * np.eye(2)),
            R - eta * g["G"] @ np.linalg.inv(L.T @ L + lam * np.eye(2)),
        )
        x, s = o.update(x, p.grad(x), s)
    np.testing.assert_allclose(x["F"], L, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(x["G"], R, rtol=1e-11, atol=1e-12)
    q = refopt.problem("matrix-sensing", n=6, rank=2)
    X = q.start(0)
    big, _ = refopt.optimizer("scaled-gd", lr=0.2 * 1e9, damping=1e9).update(X, q.grad(X), {"t": 0})
    np.testing.assert_allclose(big, X - 0.2 * q.grad(X), rtol=1e-7)


@pytest.mark.identity("scaled-gd")
def test_the_rate_is_that_of_the_step() -> None:
    """A rate as a function of t = 1, 2, ...: three steps are three with those numbers, bit for bit."""
    p = refopt.problem("matrix-sensing", n=6, rank=2)
    x = y = p.start(0)
    o = refopt.optimizer("scaled-gd", lr=lambda t: 0.5 / t)
    s = o.init(x)
    for t in (1, 2, 3):
        x, s = o.update(x, p.grad(x), s)
        fixed = refopt.optimizer("scaled-gd", lr=0.5 / t)
        y, _ = fixed.update(y, p.grad(y), fixed.init(y))
        np.testing.assert_array_equal(x, y)
    assert s == {"t": 3}


@pytest.mark.parametrize(
    "x",
    [
        np.ones(3),
        {"a": np.ones((3, 2)), "b": np.ones((3, 3))},
        {k: np.ones((2, 2)) for k in "abc"},
        np.ones((2, 2, 2)),
    ],
)
def test_what_are_no_factors(x: Any) -> None:
    with pytest.raises(refopt.errors.ShapeError, match="x: wanted one factor"):
        refopt.optimizer("scaled-gd").init(x)
