"""`diagnose` for methods that draw: by distribution, with the rate of wrong answers stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.verify.runs import draws
from refopt.verify.runs.draws import RUNS, scores, with_sum
from refopt.verify.search import draws as variants_of_draws
from scipy.stats import norm

from tests.verify.test_distribution import gravity


def scaled_sgdm(fault: str) -> Any:
    """Return randomly scaled SGDM, the scale drawn as `fault` says."""
    rng = np.random.default_rng(11)

    def step(x: Any, g: Any, s: Any, lr: float = 0.1, beta: float = 0.9) -> Any:
        once, delta = s or (rng.exponential(), np.zeros_like(x))
        delta = beta * (delta - lr * g)
        drawn = {
            "none": rng.exponential, "uniform": lambda: rng.uniform(0, 2), "once": lambda: once,
            "not drawn": lambda: 1.0, "by coordinate": lambda: rng.exponential(size=x.shape),
            "another beta": rng.exponential, "gamma": lambda: rng.gamma(0.25, 4.0),
        }[fault]()  # fmt: skip
        return x + drawn * delta, (once, delta)

    step.__qualname__ = f"randomly scaled sgdm, {fault}"
    return step


SCALED = {
    "none": ("paper",), "uniform": ("scale-uniform",), "once": ("scale-drawn-once",),
    "not drawn": ("scale-not-drawn",), "by coordinate": ("scale-by-coordinate",),
}  # fmt: skip
GRAVITY = {"none": ("paper",), "wide start": ("alpha=0.015",), "no start": ("start-not-drawn",)}


@pytest.mark.parametrize("fault", SCALED)
def test_random_scaling(fault: str) -> None:
    """How the scale is drawn is told from its distribution, and that the answer is statistical is said."""
    why = refopt.verify.diagnose(scaled_sgdm(fault), "randomly-scaled-sgdm")
    assert why.explained_by == SCALED[fault], str(why)
    assert "a statistical answer, from 400 runs" in str(why) and "missed once in 10000 diagnoses" in str(why)


@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=[pytest.mark.exhaustive] if f == "wide start" else []) for f in GRAVITY]
)
def test_gravity(fault: str) -> None:
    """The start's spread is told, as a number where it is one."""
    why = refopt.verify.diagnose(gravity(fault), "gravity")
    assert why.explained_by == GRAVITY[fault], str(why)


def test_what_nothing_explains() -> None:
    """A scale of another law is no variant's; the nearest is named, and what was left out is said."""
    why = refopt.verify.diagnose(scaled_sgdm("gamma"), "randomly-scaled-sgdm", effort=20)
    assert why.explained_by == () and why.nearest and "standard errors apart" in str(why)
    assert "cut short by effort=20" in str(why)


def test_draws_that_entries_should_not_share() -> None:
    """A number for each entry where one is for all has the same means and spreads, but not the same sums."""
    other = scaled_sgdm("by coordinate")
    report = refopt.verify.compare(other, "randomly-scaled-sgdm", lr=0.1)
    assert not report.agrees and "(its sum)" in str(report)
    rng = np.random.default_rng(2)
    shared, apart = rng.exponential(size=(RUNS, 1)) * np.ones(8), rng.exponential(size=(RUNS, 8))
    worst = [np.max(scores(with_sum(shared), with_sum(apart)), axis=0)]
    assert np.all(worst[0][:-1] < 4) and worst[0][-1] > 8


def law(name: str, rng: np.random.Generator, runs: int) -> np.ndarray:
    """Return 30 entries a run, of a heavy tail or none."""
    if name == "products":
        return np.exp(np.cumsum(np.log(rng.exponential(size=(runs, 30))), axis=1))
    return rng.standard_normal((runs, 30)) if name == "normal" else rng.exponential(size=(runs, 30))


@pytest.mark.parametrize("runs", [variants_of_draws.LOOKS[0], RUNS])
@pytest.mark.parametrize("name", ["normal", "exponential", "products"])
def test_the_rate_of_false_alarms(name: str, runs: int) -> None:
    """At a level of one in twenty for 60 tests, 400 right comparisons give about 20 alarms, whatever the law.

    More than 40 have a chance of 1.4e-5.
    """
    rng = np.random.default_rng(3)
    limit = norm.isf(0.05 / (2 * 60))
    alarms = sum(bool(np.max(scores(law(name, rng, runs), law(name, rng, runs))) > limit) for _ in range(400))
    assert alarms <= 40


def test_all_variants_share_the_rate(monkeypatch: Any) -> None:
    """The limit is the level over tests, variants and looks."""
    limits = []

    def spy(search: Any, level: Any) -> Any:
        tests = 2 * sum(v.shape[1] for v in search.theirs.values())
        limits.append((search.limit, tests))
        return []

    monkeypatch.setattr(variants_of_draws, "_fits", spy)
    why = refopt.verify.diagnose(gravity("none"), "gravity")
    variants = int(str(why).split("the right one of ")[1].split()[0])
    limit, tests = limits[0]
    level = 2 * norm.sf(limit) * tests * variants * len(variants_of_draws.LOOKS)
    np.testing.assert_allclose(level, draws.FALSE_ALARM, rtol=1e-6)
    assert variants > 100 and tests > 2 * 2 * 3 * 19
