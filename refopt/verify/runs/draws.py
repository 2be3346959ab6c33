"""Methods that draw random numbers of their own: both sides run many times, and distributions are compared.

Where the other side's draws cannot be handed to the reference, the location and the spread of every entry
after a few steps are, and those of each leaf's sum, which shows draws that entries should not share.
Location: Wilcoxon's rank sum; spread: Mood's sum of squared ranks from the middle. Ranks do not ask how
the numbers are distributed, so the normal quantile of ``FALSE_ALARM`` over the number of tests
(Bonferroni) holds for heavy tails too, which those of a sample variance would not.
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
from refopt.verify.inputs.profiles import Profile
from refopt.verify.inputs.tapes import Tape, make
from refopt.verify.report import Finding, Report
from refopt.verify.runs.observe import observe
from refopt.verify.runs.other import run_side
from refopt.verify.runs.reference import follow
from refopt.verify.sides.side import Leaves, Side

RUNS = 400


STEPS = 6


# The chance that two right implementations are told apart, over all tests of one comparison.
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


def _constant(sample: np.ndarray) -> np.ndarray:
    """Tell which entries are equal in all runs, but for rounding."""
    spread = sample.max(axis=0) - sample.min(axis=0)
    return np.asarray(spread <= 1e-12 * np.maximum(np.abs(sample).max(axis=0), 1e-300))


def _linear(scores: np.ndarray, n: int) -> np.ndarray:
    """Return the z of the first `n` rows' sum of `scores`, under random exchange of all rows."""
    total = scores.shape[0]
    centred = scores - scores.mean(axis=0)
    variance = n * (total - n) / (total * (total - 1)) * np.sum(centred**2, axis=0)
    with np.errstate(all="ignore"):
        return np.where(variance > 0, np.abs(centred[:n].sum(axis=0)) / np.sqrt(variance), 0.0)


def scores(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the z of the location and of the spread of two samples (runs, *shape).

    Where neither sample varies, the location's z is zero or infinite; where one does, the spread's is infinite.
    """
    # Its import takes as long as a comparison.
    from scipy.stats import rankdata

    still, also = _constant(ours), _constant(theirs)
    ranks = rankdata(np.concatenate([ours, theirs]), axis=0)
    of_location = _linear(ranks, ours.shape[0])
    of_spread = _linear((ranks - (ranks.shape[0] + 1) / 2) ** 2, ours.shape[0])
    gap = np.abs(ours[0] - theirs[0])
    equal = gap <= 1e-9 * np.maximum(np.abs(ours[0]), 1e-12)
    of_location = np.where(still & also, np.where(equal, 0.0, np.inf), of_location)
    return of_location, np.where(still & also, 0.0, np.where(still | also, np.inf, of_spread))


def with_sum(values: np.ndarray) -> np.ndarray:
    """Return samples (runs, *shape) as (runs, entries), and the sum of the entries where there are several."""
    flat = values.reshape(values.shape[0], -1)
    return flat if flat.shape[1] < 2 else np.concatenate([flat, flat.sum(axis=1, keepdims=True)], axis=1)


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
    """Return `scores` by leaf, flat, the leaf's sum last."""
    return {k: scores(with_sum(mine[k]), with_sum(yours[k])) for k in mine}


def tests(tapes: list[Tape]) -> int:
    """Return how many z a comparison on `tapes` looks at."""
    return 2 * sum(v.size + (v.size > 1) for tape in tapes for v in tape.x0.values())


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
    limit = threshold(tests(tapes))
    for tape in tapes:
        mine = ours(method, tape, together=it.together)
        yours = theirs(it, tape, profile, dtype)
        for k, (means, variances) in distances(mine, yours).items():
            score = np.maximum(means, variances)
            at = int(np.argmax(score))
            worst = float(score[at])
            place = np.unravel_index(at, mine[k].shape[1:]) if at < mine[k][0].size else None
            findings.append(
                Finding(
                    profile.name,
                    tape.name,
                    k,
                    STEPS if worst > limit else None,
                    None if place is None else tuple(int(i) for i in place),
                    float(with_sum(mine[k])[:, at].mean()),
                    float(with_sum(yours[k])[:, at].mean()),
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
            f"Both draw random numbers: location and spread over {RUNS} runs are compared, in standard errors"
            f" (limit {limit:.2f}; two right implementations are told apart once in {1 / FALSE_ALARM:.0f}).",
            *seen.notes,
        ),
    )  # fmt: skip
