"""Gradient descent on two factors with one modified step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt

ETA = 0.1


def exact(alpha: float, n: int = 12, rank: int = 2, k: int = 4) -> tuple[Any, Any]:
    """``f = ||F Gᵀ - M||² / 2`` for M = diag(1, 1/2, 0, ...), and a start of size alpha, G's a third of it."""
    rng = np.random.default_rng(0)
    M = np.diag([1.0, 0.5] + [0.0] * (n - 2))
    start = {
        "F": alpha * rng.standard_normal((n, k)) / math.sqrt(n),
        "G": alpha / 3 * rng.standard_normal((n, k)) / math.sqrt(n),
    }
    p = refopt.from_functions(
        lambda x: float(np.sum((x["F"] @ x["G"].T - M) ** 2)) / 2,
        lambda x: {"F": (x["F"] @ x["G"].T - M) @ x["G"], "G": (x["F"] @ x["G"].T - M).T @ x["F"]}, x0=start,
    )  # fmt: skip
    return p, M


def rate(alpha: float, steps: tuple[int, int], **more: Any) -> float:
    """The error's logarithm falls by so much a step between two numbers of steps."""
    p, M = exact(alpha)
    name = "balanced-gd" if more else "sgd"
    errors = [
        np.linalg.norm(r.x["F"] @ r.x["G"].T - M)
        for r in (refopt.minimize(p, name, lr=ETA, steps=k, **more) for k in steps)
    ]
    return math.log(errors[0] / errors[1]) / (steps[1] - steps[0])


@pytest.mark.claim("balanced-gd")
def test_the_rate_is_free_of_the_start_s_size_and_goes_with_beta_squared() -> None:
    """α = 0.3, 0.1, 0.03, modified once at f = 2e-3: rates within a quarter of each other, near η β²; plain descent's
    falls to a third and less from α = 0.3 to 0.1, to a twentieth of these."""
    rates = [rate(a, (500, 700), beta=0.5, threshold=2e-3) for a in (0.3, 0.1, 0.03)]
    assert max(rates) < 1.25 * min(rates)
    assert min(rates) > 0.8 * ETA * 0.25 and max(rates) < 1.6 * ETA * 0.25
    half = rate(0.1, (500, 700), beta=0.25, threshold=2e-3)
    assert 3.0 < rates[1] / half < 5.0
    plain = [rate(a, (600, 1200)) for a in (0.3, 0.1)]
    assert plain[0] > 3 * plain[1] and rates[1] > 20 * plain[1]


@pytest.mark.identity("balanced-gd")
def test_the_modified_factors() -> None:
    """The product is kept to 1e-14, all singular values of F become β, and G is what F's orthonormal part leaves."""
    rng = np.random.default_rng(1)
    x = {"F": rng.standard_normal((7, 3)), "G": rng.standard_normal((5, 3))}
    o = refopt.optimizer("balanced-gd", beta=0.7)
    y = o.modified(x)
    np.testing.assert_allclose(y["F"] @ y["G"].T, x["F"] @ x["G"].T, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(np.linalg.svd(y["F"])[1], 0.7, rtol=1e-14)
    np.testing.assert_allclose(
        0.49 * y["G"].T, 0.7 * (y["F"].T / 0.7) @ x["F"] @ x["G"].T, rtol=1e-12, atol=1e-14
    )


@pytest.mark.identity("balanced-gd")
def test_before_and_after_it_is_gradient_descent() -> None:
    """A threshold of 0 is never met: SGD's bits. Once modified it is SGD from the modified point, one step of both at once."""
    p, _ = exact(0.3)
    never = refopt.minimize(p, "balanced-gd", lr=ETA, threshold=0.0, steps=30)
    np.testing.assert_array_equal(never.x["F"], refopt.minimize(p, "sgd", lr=ETA, steps=30).x["F"])
    assert never.state["modified_at"] == 0
    o = refopt.optimizer("balanced-gd", lr=ETA, beta=0.5, threshold=1e9)
    r = refopt.minimize(p, o, steps=25)
    assert r.state["modified_at"] == 1 and r.calls == {"value": 1, "grad": 25}
    want = refopt.minimize(p, "sgd", o.modified(p.x0), lr=ETA, steps=25)
    np.testing.assert_array_equal(r.x["G"], want.x["G"])


def test_what_cannot_be_is_told() -> None:
    o = refopt.optimizer("balanced-gd")
    with pytest.raises(refopt.errors.ShapeError, match="two factors"):
        o.init(np.ones((3, 2)))
    with pytest.raises(refopt.errors.ShapeError, match="full column rank"):
        o.modified({"F": np.zeros((3, 2)), "G": np.ones((4, 2))})
    nearly = np.diag([1.0, 1e-17])
    with pytest.raises(refopt.errors.ShapeError, match="full column rank"):
        o.modified({"F": nearly, "G": np.ones((4, 2))})
    assert np.all(np.isfinite(o.modified({"F": np.diag([1.0, 1e-12]), "G": np.ones((4, 2))})["F"]))
    with pytest.raises(refopt.errors.ShapeError, match="full column rank"):
        o.modified({"F": np.ones((2, 3)), "G": np.ones((4, 3))})
