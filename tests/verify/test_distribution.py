"""Methods that draw: distributions are compared, with a stated false-alarm rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.verify.runs.draws import RUNS, scores, threshold


def gravity(fault: str) -> Any:
    """Return Gravity as in its paper: V_0 normal with deviation alpha / lr, gradients damped at their largest."""
    rng = np.random.default_rng(5)

    def step(x: Any, g: Any, s: Any, lr: float = 0.1, alpha: float = 0.01, beta: float = 0.9) -> Any:
        if s is None:
            wide = {"wide start": 1.5, "no start": 0.0, "shifted start": 1.0}.get(fault, 1.0)
            v = wide * alpha / lr * rng.standard_normal(x.shape)
            s = (v + (0.5 * alpha / lr if fault == "shifted start" else 0.0), 0)
        v, t = s
        t += 1
        share = (beta * t + 1) / (t + 2)
        top = np.max(np.abs(g))
        damped = g / (1 + (g * top) ** 2)
        v = share * v + (1 - share) * damped
        return x - lr * v, (v, t)

    step.__qualname__ = f"gravity, {fault}"
    return step


@pytest.mark.parametrize(
    "fault", ["none", "wide start", *(pytest.param(f, marks=pytest.mark.exhaustive) for f in ("no start", "shifted start"))]
)  # fmt: skip
def test_gravity(fault: str) -> None:
    """A start of another spread, of none, or off centre is told apart; a right one is not."""
    report = refopt.verify.compare(gravity(fault), "gravity")
    assert report.agrees == (fault == "none"), str(report)
    assert "told apart once in 10000" in str(report)


def test_exponential_scaling() -> None:
    """Random scaling by an exponential number agrees with itself and not with a uniform of the same mean."""
    rng = np.random.default_rng(1)

    def scaled(draw: Any) -> Any:
        method = refopt.optimizer("randomly-scaled-sgdm", lr=0.1)

        def step(x: Any, g: Any, s: Any) -> Any:
            s = method.init(x) if s is None else s
            plain = refopt.optimizer("randomly-scaled-sgdm", lr=0.1, seed=int(rng.integers(1 << 31)))
            if draw is None:
                return plain.update(x, g, s)
            new, after = plain.update(x, g, s)
            return x + draw() * (new - x), after

        return step

    assert refopt.verify.compare(scaled(None), "randomly-scaled-sgdm", lr=0.1).agrees
    assert not refopt.verify.compare(scaled(lambda: rng.uniform(0, 2)), "randomly-scaled-sgdm", lr=0.1).agrees


def test_false_alarms() -> None:
    """Of 300 comparisons of 40 normal entries, and of exponential ones, at most one alarms."""
    rng = np.random.default_rng(7)
    limit = threshold(80)
    for draw in (rng.standard_normal, rng.standard_exponential):
        alarms = 0
        for _ in range(300):
            means, variances = scores(draw((RUNS, 40)), draw((RUNS, 40)))
            alarms += bool(max(means.max(), variances.max()) > limit)
        assert alarms <= 1


def test_power() -> None:
    """A mean off by half a deviation and a deviation off by half are seen in every one of 50 comparisons."""
    rng = np.random.default_rng(9)
    limit = threshold(80)
    for _ in range(50):
        a = rng.standard_normal((RUNS, 4))
        assert scores(a, 0.5 + rng.standard_normal((RUNS, 4)))[0].max() > limit
        assert scores(a, 1.5 * rng.standard_normal((RUNS, 4)))[1].max() > limit


def test_what_does_not_vary() -> None:
    """Equal constants score zero, other constants and a constant against a draw score infinity."""
    ones = np.ones((RUNS, 2))
    assert [float(s.max()) for s in scores(ones, ones)] == [0.0, 0.0]
    assert scores(ones, 2 * ones)[0].max() == np.inf
    assert scores(ones, np.random.default_rng(0).standard_normal((RUNS, 2)))[1].max() == np.inf
