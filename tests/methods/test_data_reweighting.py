"""Data reweighting: the dense hypergradient against differences of the whole, implicit ones, and what the weights learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.bilevel.base import hypergradient, solver
from refopt.core.oracle import Oracle

from tests.methods.matrices import close, product_columns

sklearn = pytest.importorskip("sklearn")
KINDS = pytest.mark.parametrize("weights", ["sigmoid", "softmax"])


def problem(weights: str = "sigmoid", n: int = 12, **more: Any) -> Any:
    rng = np.random.default_rng(0)
    y = np.arange(30) % 3
    X = rng.standard_normal((30, 2)) + 2.0 * np.stack([y == 0, y == 1], axis=1)
    return refopt.problem("data-reweighting", data=(X, y), n=n, weights=weights, **more)


def point(p: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {k: rng.standard_normal(v.shape) for k, v in p.start().items()}


@pytest.mark.identity("data-reweighting")
@KINDS
def test_levels_are_loops_over_examples(weights: str) -> None:
    """Both objectives and the lower Hessian by a loop over the examples, with the weights written out, to 1e-12."""
    p = problem(weights)
    x = point(p)
    e = np.exp(x["upper"])
    w = e / (1 + e) if weights == "sigmoid" else 12 * e / e.sum()
    for batch in (None, np.array([3, 7, 7])):
        indices = range(12) if batch is None else batch
        F = f = 0.0
        H = np.zeros((9, 9))
        for i in indices:
            for data, labels, upper in ((p.A, p.Y, False), (p.Av, p.Yv, True)):
                z = np.exp(x["lower"] @ data[i])
                q = z / z.sum()
                loss = -np.log(q @ labels[i])
                if upper:
                    F += loss / len(indices)
                else:
                    f += w[i] * loss / len(indices)
                    H += (
                        w[i] * np.kron(np.diag(q) - np.outer(q, q), np.outer(data[i], data[i])) / len(indices)
                    )
        f += p.l2 / 2 * np.sum(x["lower"] ** 2)
        np.testing.assert_allclose(float(p.upper_value(x, batch)), F, rtol=1e-13)
        np.testing.assert_allclose(float(p.lower_value(x, batch)), f, rtol=1e-13)
        got = product_columns(lambda v: p.lower_hvp(x, v.reshape(3, 3), batch).ravel(), np.zeros(9))
        close(got, H + p.l2 * np.eye(9))
    close(p.hessian(x), product_columns(lambda v: p.lower_hvp(x, v.reshape(3, 3)).ravel(), np.zeros(9)))


@pytest.mark.identity("data-reweighting")
@KINDS
def test_the_dense_hypergradient_is_that_of_the_whole(weights: str) -> None:
    """Differences of F(x, W*(x)), the lower level solved anew each time, extrapolated, to 1e-8; W* is stationary."""
    p = problem(weights)
    x, h = point(p)["upper"], 1e-3
    assert np.abs(p.lower_grad({"upper": x, "lower": p.response(x)})["lower"]).max() < 1e-12

    def whole(u: np.ndarray) -> float:
        return float(p.upper_value({"upper": u, "lower": p.response(u)}))

    def slope(v: np.ndarray, h: float) -> float:
        return (whole(x + h * v) - whole(x - h * v)) / (2 * h)

    got = p.hypergradient(x)
    for v in np.random.default_rng(2).standard_normal((3, 12)):
        want = (4 * slope(v, h / 2) - slope(v, h)) / 3
        assert got @ v == pytest.approx(want, rel=1e-7, abs=1e-8 * np.linalg.norm(got))


@KINDS
def test_implicit_hypergradients(weights: str) -> None:
    """At the best response, conjugate gradients to 1e-12 give the dense one to 1e-9."""
    p = problem(weights)
    u = point(p)["upper"]
    at = {"upper": u, "lower": p.response(u)}
    close(hypergradient(Oracle(p), at, solver(None, 1e-13)), p.hypergradient(u), 1e-9)


@pytest.mark.claim("data-reweighting")
def test_wrong_labels_lose_their_weight() -> None:
    """On digits with 40 % wrong labels: reweighting lowers the validation loss, and wrong labels end with less weight than
    right ones; weights by whether a label is wrong are better than equal ones.
    """
    p = refopt.problem("data-reweighting", n=60)
    assert 0.25 < p.wrong.mean() < 0.55
    equal = np.zeros(60)
    told = np.where(p.wrong, -6.0, 6.0)
    values = [float(p.upper_value({"upper": u, "lower": p.response(u)})) for u in (equal, told)]
    assert values[1] < values[0]
    r = refopt.minimize(p, "ift-cg", lr=200.0, lower_lr=1.0, lower_steps=20, steps=30)
    w = p.weights(r.x["upper"])
    assert w[p.wrong].mean() < 0.5 < w[~p.wrong].mean()
    assert float(p.upper_value({"upper": r.x["upper"], "lower": p.response(r.x["upper"])})) < values[0]


def test_bounds_hold() -> None:
    p = problem()
    x = point(p)
    eigenvalues = np.linalg.eigvalsh(p.hessian(x))
    assert p.lower_strong_convexity * (1 - 1e-12) <= eigenvalues[0] and eigenvalues[-1] <= p.lower_lipschitz
    upper = product_columns(lambda v: p.upper_hvp(x, v.reshape(3, 3)).ravel(), np.zeros(9))
    assert np.linalg.norm(upper, 2) <= p.upper_lipschitz
    mixed = product_columns(lambda v: p.lower_mixed(x, v.reshape(3, 3)), np.zeros(9))
    assert 0.05 * p.mixed_norm < np.linalg.norm(mixed, 2) <= p.mixed_norm
    assert problem("softmax").mixed_norm is None


@pytest.mark.parametrize(
    ("given", "words"),
    [({"n": 16}, "n: wanted at most half of the 30"), ({"noise": 1.5}, "noise"), ({"l2": 0.0}, "l2"), ({"weights": "none"}, "weights")],
)  # fmt: skip
def test_bad_settings(given: dict[str, Any], words: str) -> None:
    with pytest.raises(refopt.errors.ArgumentError, match=words):
        problem(**given)
