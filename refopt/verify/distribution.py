"""Methods that draw random numbers of their own: both sides run many times, and distributions are compared.

Where the other side's draws cannot be handed to the reference, the means and variances of every entry
after a few steps are: means by Welch's z, variances by the difference of their logarithms over its
standard error (from the sample kurtosis), each against the normal quantile of ``FALSE_ALARM`` divided by
the number of tests (Bonferroni).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import ndtri

from refopt.core.build import optimizer
from refopt.core.method import Method
from refopt.core.registry import entry
from refopt.verify.observation import Profile, observe, run_side
from refopt.verify.reference import follow
from refopt.verify.report import Finding, Report
from refopt.verify.sides import Leaves, Side
from refopt.verify.tapes import Tape, make

RUNS = 400
STEPS = 6
# The chance that two right implementations are told apart, over all tests of one comparison, as far as
# means and log-variances of RUNS runs are normal.
FALSE_ALARM = 1e-4
KINDS = ("random", "constant")


def draws(name: str, dialect: str, hyperparameters: Mapping[str, Any]) -> bool:
    """Tell whether the seed of a method changes its trajectory."""
    if "seed" not in {f.name for f in dataclasses.fields(entry(name).obj)}:
        return False
    tape = make("random", STEPS, shapes={"w": (3, 4)})
    one, two = (
        follow(optimizer(name, dialect=dialect, **{**hyperparameters, "seed": k}), tape).points["w"]
        for k in (1, 2)
    )
    return not np.array_equal(one, two)


def moments(sample: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, variance and kurtosis over the first axis; where the variance is zero, kurtosis 3."""
    mean = sample.mean(axis=0)
    centred = sample - mean
    variance = np.mean(centred**2, axis=0)
    # Rounding of equal numbers is no variance.
    variance = np.where(variance < 1e-24 * np.maximum(mean**2, 1e-300), 0.0, variance)
    with np.errstate(all="ignore"):
        kurtosis = np.where(variance > 0, np.mean(centred**4, axis=0) / variance**2, 3.0)
    return mean, variance, kurtosis


def scores(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the z of the means and of the log-variances of two samples (runs, *shape).

    Where neither sample varies, the means' z is zero or infinite; where one does, the variances' is infinite.
    """
    (m1, v1, k1), (m2, v2, k2) = moments(ours), moments(theirs)
    n1, n2 = ours.shape[0], theirs.shape[0]
    fixed = (v1 == 0) & (v2 == 0)
    with np.errstate(all="ignore"):
        of_means = np.abs(m1 - m2) / np.sqrt(v1 / n1 + v2 / n2)
        of_variances = np.abs(np.log(v1) - np.log(v2)) / np.sqrt((k1 - 1) / n1 + (k2 - 1) / n2)
    equal = np.abs(m1 - m2) <= 1e-9 * np.maximum(np.abs(m1), 1e-12)
    of_means = np.where(fixed, np.where(equal, 0.0, np.inf), of_means)
    of_variances = np.where(fixed, 0.0, np.where((v1 == 0) | (v2 == 0), np.inf, of_variances))
    return of_means, of_variances


def sample(run: Callable[[int], Leaves], runs: int) -> Leaves:
    """Return the last points of many runs, stacked by leaf."""
    made = [run(k) for k in range(runs)]
    return {k: np.stack([points[k][-1] for points in made]) for k in made[0]}


def ours(method: Method, tape: Tape, *, together: bool, runs: int = RUNS) -> Leaves:
    """Return the reference's last points under `runs` seeds."""
    return sample(
        lambda k: follow(dataclasses.replace(method, seed=k + 1), tape, together=together).points,  # type: ignore[call-arg]
        runs,
    )


def theirs(it: Side, tape: Tape, profile: Profile, dtype: str, *, runs: int = RUNS) -> Leaves:
    """Return the other side's last points in `runs` runs."""
    return sample(lambda k: run_side(it, tape, profile, dtype, False).theirs, runs)


def distances(mine: Leaves, yours: Leaves) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return `scores` by leaf."""
    return {k: scores(mine[k], yours[k]) for k in mine}


def threshold(tests: int) -> float:
    """Return the z beyond which one of so many tests gives a difference."""
    return float(-ndtri(FALSE_ALARM / (2 * tests)))


def compare_draws(
    other: Any, name: str, dialect: str, dtype: str, seed: int, **hyperparameters: Any
) -> Report:
    """Compare distributions; `Report.step` is then the number of steps after which they were taken.

    Arguments as of `refopt.verify.compare`.
    """
    seen = observe(other, name, dialect=dialect, steps=1, dtype=dtype, seed=seed, **hyperparameters)
    it, profile, kept = seen.side, seen.runs[0].profile, list(seen.runs[0].theirs)
    method = profile.method(name, dialect)
    findings: list[Finding] = []
    tapes = [make(kind, STEPS, seed=seed).only(kept) for kind in KINDS]
    limit = threshold(2 * sum(v.size for tape in tapes for v in tape.x0.values()))
    for tape in tapes:
        mine = ours(method, tape, together=it.together)
        yours = theirs(it, tape, profile, dtype)
        for k, (means, variances) in distances(mine, yours).items():
            score = np.maximum(means, variances)
            place = tuple(int(i) for i in np.unravel_index(int(np.argmax(score)), score.shape))
            worst = float(score[place])
            findings.append(
                Finding(
                    profile.name,
                    tape.name,
                    k,
                    STEPS if worst > limit else None,
                    place,
                    float(mine[k].mean(axis=0)[place]),
                    float(yours[k].mean(axis=0)[place]),
                    worst,
                    float("nan"),
                    limit,
                    np.full(STEPS, worst),
                )
            )
    return Report(
        agrees=all(f.agrees for f in findings), other=it.name, method=name, dialect=dialect,
        hyperparameters={**profile.ours, **profile.given}, dtype=dtype, steps=STEPS, findings=tuple(findings),
        notes=(
            f"Both draw random numbers: means and variances over {RUNS} runs are compared, in standard errors"
            f" (limit {limit:.2f}; two right implementations are told apart once in {1 / FALSE_ALARM:.0f}).",
            *seen.notes,
        ),
    )  # fmt: skip
