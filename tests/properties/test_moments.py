"""Registered estimators and methods of values alone: moments over ten thousand seeds against what is stated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.registry import Entry

from tests.methods.values import Cubic, Linear

# Of gradients as a whole. Those of examples and layers have moments that depend on these, and tests of their own.
ESTIMATORS = [m for m in refopt.methods("estimator") if set(m.needs) <= {"value", "grad", "directional"}]
BLIND = [
    m for k in ("optimizer", "estimator") for m in refopt.methods(k) if set(m.needs) in ({"value"}, {"directional"})
]  # fmt: skip
SEEDS = 10_000
G = np.array([1.5, -0.5, 1.0])
SQUARE, UNIT = float(G @ G), G / np.linalg.norm(G)
# E z_i⁴ of a direction's entries.
FOURTH = {"gaussian": 3.0, "sphere": 9 / 5, "rademacher": 1.0}
# Of the first step with η = 1 at a linear function: settings, its mean and its mean square. Where a step has the sign of
# (gᵀz) z, the mean of an entry is 2/π arcsin of the cosine between g and its axis.
SIGNS = -2 / np.pi * np.arcsin(UNIT)
STEPS: dict[str, tuple[dict[str, Any], np.ndarray, float]] = {
    "zo-sgd": ({}, -G, 5 * SQUARE),
    "mezo": ({}, -G, 5 * SQUARE),
    "zo-sgd-conserve": ({}, -G, 5 * SQUARE),
    "forward-sgd": ({}, -G, 5 * SQUARE),
    "gfm": ({}, -G, 3 * SQUARE),
    "gfm-plus": ({"big_samples": 2}, -G, 2 * SQUARE),
    "zo-cge": ({}, -G, SQUARE),
    "zo-sgd-sign": ({}, SIGNS, 3.0),
}


def over_seeds(problem: Any, look: Callable[[Oracle], np.ndarray], seeds: int) -> tuple[np.ndarray, Oracle]:
    """What `look` finds with every seed, one a row, and the last oracle."""
    rows = []
    for seed in range(seeds):
        oracle = Oracle(problem, seed)
        oracle.begin(1)
        rows.append(look(oracle))
    return np.array(rows), oracle


def held(drawn: np.ndarray, mean: np.ndarray, square: float | None) -> None:
    """Both within five standard errors of their own draws; a tenth of a billionth is what rounding leaves."""
    n, squares = len(drawn), np.sum(drawn**2, axis=1)
    assert np.all(np.abs(drawn.mean(0) - mean) <= 5 * drawn.std(0) / n**0.5 + 1e-10)
    if square is not None:
        assert abs(squares.mean() - square) <= 5 * squares.std() / n**0.5 + 1e-10


@pytest.mark.parametrize("method", ESTIMATORS, ids=[m.name for m in ESTIMATORS])
def test_moments(method: Entry) -> None:
    """E[ĝ] and E‖ĝ‖² at a linear function are those that the estimator states."""
    o, x = refopt.optimizer(method.name), np.zeros(3)
    seeds = SEEDS if method.name != "coordinate-gradient" else 2
    drawn, oracle = over_seeds(Linear(0.2, G), lambda oracle: o.estimate(oracle, x), seeds)
    held(drawn, *o.moments(0.2, G))
    assert "grad" in o.own_needs or not oracle.counts.calls.get("grad")


@pytest.mark.parametrize("law", FOURTH)
@pytest.mark.parametrize("name", ["one-point-gradient", "two-point-gradient", "coordinate-gradient"])
def test_bias(name: str, law: str) -> None:
    """Of f = gᵀx + Σ x³/6 at 0 the mean is g + μ² E z⁴/6 in every coordinate, z⁴ = 1 along the axes; μ = 1."""
    if name == "coordinate-gradient" and law != "rademacher":
        pytest.skip("it has no directions of a law")
    given = {} if name == "coordinate-gradient" else {"law": law}
    o, x = refopt.optimizer(name, radius=1.0, **given), np.zeros(3)

    class Bent(Cubic):
        def value(self, x: np.ndarray) -> float:
            return float(G @ x) + super().value(x)

    drawn, _ = over_seeds(
        Bent(np.zeros((3, 3)), 1.0), lambda oracle: o.estimate(oracle, x), SEEDS if given else 2
    )
    held(drawn, G + FOURTH[law] / 6, None)
    if given:
        # The error of the mean is less than what is measured.
        assert np.all(5 * drawn.std(0) / SEEDS**0.5 < 0.16 + FOURTH[law] / 6)


@pytest.mark.parametrize("name", STEPS)
def test_moments_of_a_step(name: str) -> None:
    """The first step of methods of values has the mean and the mean square that its law gives."""
    given, mean, square = STEPS[name]
    o, x = refopt.optimizer(name, lr=1.0, **given), np.zeros(3)
    drawn, _ = over_seeds(
        Linear(0.2, G), lambda oracle: o.step(x, o.init(x), oracle)[0], SEEDS if name != "zo-cge" else 2
    )
    held(drawn, mean, square)


@pytest.mark.parametrize("method", BLIND, ids=[m.name for m in BLIND])
def test_nothing_else_is_asked_for(method: Entry) -> None:
    """Methods of values ask for values alone in twelve steps, and forward gradients for derivatives along a direction, in
    every form, though the problem would answer all else; the counts say so.
    """
    p = refopt.problem("quadratic", n=3)
    forms = [{}, *({"form": form} for form in ("one-sided", "two-point") if hasattr(method.obj, "form"))]
    for given in forms:
        assert set(refopt.minimize(p, method.name, steps=12, **given).calls) == set(method.needs)


@pytest.mark.parametrize("method", ESTIMATORS, ids=[m.name for m in ESTIMATORS])
def test_any_base(method: Entry) -> None:
    """Around SGD a step is the rate times the estimate; around SVRG every gradient is an estimate."""
    p, x = refopt.problem("quadratic", n=3), np.ones(3)
    o = refopt.optimizer(method.name, lr=0.25)
    first, second = Oracle(p, seed=1), Oracle(p, seed=1)
    first.begin(1), second.begin(1)
    got, _ = o.step(x, o.init(x), first)
    np.testing.assert_allclose(x - got, 0.25 * o.estimate(second, x), rtol=1e-12)


@pytest.mark.parametrize("method", [m for m in ESTIMATORS if "grad" not in m.needs], ids=lambda m: m.name)
def test_no_gradient_is_asked_for(method: Entry) -> None:
    """Nor by a base that would ask at two points, or by a wrapper around."""
    p = refopt.problem("quadratic", n=3)
    assert "grad" not in refopt.minimize(p, method.name, base="svrg", steps=5).calls
    assert "grad" not in refopt.minimize(p, "sam", base=refopt.optimizer(method.name), steps=5).calls
