"""Every method for two levels against the dense implicit hypergradient, and the orders of what they leave out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.bilevel.base import hypergradient, solver
from refopt.core.oracle import Oracle

RIDGE = refopt.problem("ridge-hyperparameter", n=3, blocks=2, seed=4)
# A linear function of x is the best response here, which a linear hypernetwork can be.
QUADRATIC = refopt.problem("bilevel-quadratic", n_upper=2, n_lower=3, condition_number=2.0)
X = RIDGE.start(1)["upper"]
VALUES = np.linalg.eigvalsh(RIDGE.hessians(X)) / RIDGE.blocks
B = 1.0 / float(VALUES.max())
BOUNDS = {
    "strong_convexity": float(VALUES.min()),
    "lipschitz": 1.0 / B,
    "upper_lipschitz": 10.0,
    "mixed_norm": 10.0,
}
TRACKED: dict[str, Any] = {"lower_lr": B / 2, "alpha": 1.0, "beta": 1.0, "gamma": 0.0}
# Settings with which the direction becomes the hypergradient, and steps.
EXACT: dict[str, tuple[dict[str, Any], int]] = {
    "ift-neumann": ({"lower_lr": B, "terms": 150}, 20),
    "ift-cg": ({"lower_lr": B, "cg_steps": 6}, 20),
    "bamm": ({"lower_lr": B, "multiplier_lr": B, "mu": 0.0, "tau": 0.0}, 150),
    "bsvrb-v1": (TRACKED, 150),
    "bsvrb-v2": (TRACKED, 150),
    "nested": ({"form": "hypernetwork", "lower_lr": 0.3}, 100),
    "maid": ({**BOUNDS, "lr": 1e-3, "eps": 1e-10, "delta": 1e-10, "nu": 1.0}, 2),
}

PENALIZED = ("penalty-bilevel", "scalebio", "lv-hba")


def penalized(name: str, weight: float) -> tuple[dict[str, Any], int, float]:
    """The settings of a penalty of so much, steps, and the length of the direction over the hypergradient's."""
    return {
        "penalty-bilevel": ({"sigma": 1 / weight, "lower_lr": B / (1 + 9 / weight)}, 20, 1.0),
        "scalebio": ({"alpha": weight, "w_lr": B / (weight + 9), "u_lr": B / weight}, 200, 1.0),
        "lv-hba": ({"c": weight, "p": 0.0, "gamma1": 10.0, "eta": 0.7 * B, "lr": 0.7 * B}, 300, 1 / weight),
    }[name]


def held(name: str, given: dict[str, Any], steps: int) -> np.ndarray:
    """The direction in which x would go after so many steps that all begin at the same x."""
    p = QUADRATIC if name == "nested" else RIDGE
    upper = p.start(1)["upper"]
    o = refopt.optimizer(name, **{"lr": 1e-7, **given})
    x, oracle = {"upper": upper, "lower": p.response(upper) + 0.1}, Oracle(p, 3)
    s = o.init(x)
    for t in range(1, steps + 1):
        oracle.begin(t)
        new, s = o.step(x, s, oracle)
        x = {"upper": upper, "lower": new["lower"]}
    rate = 0.9 * s["beta"] if name == "maid" else o.rate(steps)
    return (upper - new["upper"]) / rate


@pytest.mark.claim("ift-neumann", "ift-cg", "bamm", "bsvrb-v1", "bsvrb-v2", "nested", "maid")
@pytest.mark.parametrize("name", EXACT)
def test_the_limit_is_the_hypergradient(name: str) -> None:
    """At a held x the direction becomes the dense implicit hypergradient, to 1e-6: with many terms, passes or lower steps, of
    ridge regressions with a penalty a feature (of a quadratic for the linear hypernetwork).
    """
    p = QUADRATIC if name == "nested" else RIDGE
    want = p.hypergradient(p.start(1)["upper"])
    assert np.linalg.norm(held(name, *EXACT[name]) - want) < 1e-6 * np.linalg.norm(want)


@pytest.mark.claim("penalty-bilevel", "scalebio", "lv-hba")
@pytest.mark.parametrize("name", PENALIZED)
def test_the_error_falls_with_the_penalty(name: str) -> None:
    """At a held x the direction is within 1e-3 of the dense implicit hypergradient with a penalty of 1000, and ten times as far
    with 100 (fitted order 0.97 to 1.03): ridge regressions with a penalty a feature.
    """
    want, errors = RIDGE.hypergradient(X), []
    for weight in (1e2, 1e3):
        given, steps, scale = penalized(name, weight)
        errors.append(float(np.linalg.norm(held(name, given, steps) / scale - want) / np.linalg.norm(want)))
    assert errors[1] < 1e-3 and 0.97 < np.log10(errors[0] / errors[1]) < 1.03


def test_the_order_of_the_lower_accuracy() -> None:
    """With y off the best response by ε, and its system solved exactly, the implicit hypergradient is off by O(ε): fitted
    over three decades, on softmax regression, between 0.99 and 1.01.
    """
    rng = np.random.default_rng(0)
    data = rng.standard_normal((24, 3)), np.arange(24) % 3
    p, x = refopt.problem("data-reweighting", data=data, n=12, l2=0.1), 0.3 * rng.standard_normal(12)
    y = p.response(x)
    along = rng.standard_normal(y.shape)
    sizes, errors = np.geomspace(1e-5, 1e-2, 4), []
    for size in sizes:
        oracle, at = Oracle(p), {"upper": x, "lower": y + size * along / np.linalg.norm(along)}
        got = hypergradient(oracle, at, solver(None, 1e-12))
        errors.append(np.linalg.norm(got - p.hypergradient(x)))
    assert 0.99 < np.polyfit(np.log(sizes), np.log(errors), 1)[0] < 1.01


def test_the_order_of_the_residual() -> None:
    """With conjugate gradients stopped at a residual of δ times the first the hypergradient is off by O(δ): fitted over
    eight decades, on a lower level of 80 unknowns whose condition is 100, between 0.9 and 1.1; MAID's certain bound,
    J δ/μ, holds at each.
    """
    p = refopt.problem("bilevel-quadratic", n_upper=4, n_lower=80, condition_number=100.0)
    x = p.start(1)["upper"]
    at = {"upper": x, "lower": p.response(x)}
    o, sizes, errors = refopt.optimizer("maid"), np.geomspace(1e-9, 1e-1, 9), []
    for delta in sizes:
        slope = np.linalg.norm(p.upper_grad(at)["lower"])
        got = hypergradient(Oracle(p), at, solver(None, float(delta)))
        errors.append(np.linalg.norm(got - p.hypergradient(x)))
        certain = o.direction(Oracle(p), at, p.upper_grad(at), float(delta * slope))
        np.testing.assert_allclose(certain, got, rtol=1e-12)
        assert errors[-1] <= p.mixed_norm / p.lower_strong_convexity * delta * slope
    assert 0.9 < np.polyfit(np.log(sizes), np.log(errors), 1)[0] < 1.1
