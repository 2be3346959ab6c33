"""Penalties of logistic regression, one a feature: loops, the dense hypergradient beside differences, what they find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.bilevel.base import hypergradient, solver
from refopt.core.oracle import Oracle

from tests.methods.matrices import close, product_columns

SINGLE = pytest.mark.parametrize("single", [False, True])


def problem(single: bool = False, n: int = 20, noise: float = 1.0) -> Any:
    """Six features, of which two tell the class."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2 * n, 6))
    y = X[:, 0] - X[:, 1] + noise * rng.standard_normal(2 * n) > 0
    return refopt.problem("logistic-hyperparameter", data=(X, y.astype(int)), n=n, single=single)


def point(p: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {k: rng.standard_normal(v.shape) for k, v in p.start().items()}


@pytest.mark.identity("logistic-hyperparameter")
@SINGLE
def test_levels_are_loops_over_examples(single: bool) -> None:
    """Both objectives and the lower Hessian by a loop over examples and features, on all and on a batch, to 1e-12."""
    p = problem(single)
    x = point(p)
    w, weights = x["lower"], np.exp(np.broadcast_to(x["upper"], 7))
    for batch in (None, np.array([3, 7, 7])):
        indices = range(20) if batch is None else batch
        F, f, H = 0.0, sum(weights[k] * w[k] ** 2 / 2 for k in range(7)), np.diag(weights)
        for i in indices:
            F += np.log(1 + np.exp(-p.bv[i] * (p.Av[i] @ w))) / len(indices)
            f += np.log(1 + np.exp(-p.b[i] * (p.A[i] @ w))) / len(indices)
            s = 1 / (1 + np.exp(-(p.A[i] @ w)))
            H = H + s * (1 - s) * np.outer(p.A[i], p.A[i]) / len(indices)
        np.testing.assert_allclose(float(p.upper_value(x, batch)), F, rtol=1e-13)
        np.testing.assert_allclose(float(p.lower_value(x, batch)), f, rtol=1e-13)
        close(product_columns(lambda v: p.lower_hvp(x, v, batch), np.zeros(7)), H)
    close(product_columns(lambda v: p.lower_hvp(x, v), np.zeros(7)), p.hessian(x))
    upper = product_columns(lambda v: p.upper_hvp(x, v), np.zeros(7))
    assert np.linalg.norm(upper, 2) <= p.upper_lipschitz


@pytest.mark.identity("logistic-hyperparameter")
@SINGLE
def test_the_dense_hypergradient_is_that_of_the_whole(single: bool) -> None:
    """Differences of F(x, w*(x)), the lower level solved anew each time, extrapolated, to 1e-8; w* is stationary, and
    conjugate gradients at it give the same to 1e-9.
    """
    p = problem(single)
    x, h = point(p)["upper"], 1e-3
    at = {"upper": x, "lower": p.response(x)}
    assert np.abs(p.lower_grad(at)["lower"]).max() < 1e-12

    def slope(v: np.ndarray, h: float) -> float:
        ends = (float(p.upper_value({"upper": u, "lower": p.response(u)})) for u in (x + h * v, x - h * v))
        return (next(ends) - next(ends)) / (2 * h)

    got = p.hypergradient(x)
    close(hypergradient(Oracle(p), at, solver(None, 1e-13)), got, 1e-9)
    for v in np.random.default_rng(2).standard_normal((3, x.size)):
        want = (4 * slope(v, h / 2) - slope(v, h)) / 3
        assert got @ v == pytest.approx(want, rel=1e-7, abs=1e-8 * np.linalg.norm(got))


@pytest.mark.claim("logistic-hyperparameter")
def test_features_without_a_meaning_are_penalised() -> None:
    """Chosen by 60 steps of descent, one penalty a feature brings the validation loss to 0.332, below 0.364 of the best single
    one, and leaves the four features that tell nothing, and the constant, less than 1 % of the others' weights.
    """
    p, one = problem(n=60), problem(True, n=60)

    def loss(q: Any, u: np.ndarray) -> float:
        return float(q.upper_value({"upper": u, "lower": q.response(u)}))

    best = min(loss(one, np.array([u])) for u in np.linspace(-8, 2, 41))
    r = refopt.minimize(p, "ift-cg", lr=30.0, lower_lr=0.2, lower_steps=20, steps=60)
    found = p.response(r.x["upper"])
    assert best == pytest.approx(0.3642, abs=1e-4)
    assert loss(p, r.x["upper"]) == pytest.approx(0.3321, abs=1e-4)
    assert np.abs(found[2:]).max() < 0.01 * np.abs(found[:2]).min()


@pytest.mark.parametrize(
    ("given", "words"),
    [({"n": 41}, "n: wanted at most half of the 80"), ({"single": 3}, "single"), ({"seed": -1}, "seed")],
)
def test_bad_settings(given: dict[str, Any], words: str) -> None:
    data = (np.random.default_rng(0).standard_normal((80, 2)), np.arange(80) % 2)
    with pytest.raises(refopt.errors.ArgumentError, match=words):
        refopt.problem("logistic-hyperparameter", **{"data": data, "n": 10, **given})
    with pytest.raises(refopt.errors.ArgumentError, match="two classes"):
        refopt.problem("logistic-hyperparameter", data=(data[0], np.arange(80) % 3), n=10)
