"""Fitting numbers that the other side keeps to itself: the rate, beside common values of the others.

A function with its constants written inside differs from every dialect in several numbers at once. The
first move gives the rate; the others are tried at common values, up to three together.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from refopt.core.registry import entry
from refopt.verify.runs.other import Observed
from refopt.verify.runs.reference import follow
from refopt.verify.variants.candidate import Candidate, numbers
from refopt.verify.variants.text_edit import BROKEN

# How many numbers beside the rate may be others than the reference's.
TOGETHER = 3


# Moves below this tell nothing of the rate.
SMALLEST_MOVE = 1e-9


def rate_factor(run: Observed, method: Any, together: bool) -> float | None:
    """Return by what the other side's first move is larger than the method's: the median over all entries.

    None where nothing moves, or by no finite factor.
    """
    ours = follow(run.drive(method), run.tape.first(1), together=together)
    moves = [
        ((run.theirs[k][0] - x0).ravel(), (ours.points[k][0] - x0).ravel()) for k, x0 in run.tape.x0.items()
    ]
    theirs, mine = (np.concatenate(part) for part in zip(*moves))
    with np.errstate(all="ignore"):
        ratios = (theirs / mine)[np.abs(mine) > SMALLEST_MOVE]
    ratios = ratios[np.isfinite(ratios)]
    factor = float(np.median(ratios)) if ratios.size else 0.0
    return float(f"{factor:.6g}") if 1e-6 < abs(factor) < 1e6 else None


def fits(
    roots: list[Candidate],
    others: list[Candidate],
    run: Observed,
    told: set[str],
    build: Any,
    together: bool,
) -> Iterator[Candidate | None]:
    """Yield dialects with common values of the numbers that the other side does not tell, and the rate fitted.

    Parameters
    ----------
    roots : list of Candidate
        Dialects, the likeliest first.
    others : list of Candidate
        Deviations and switches, each tried with the rate fitted.
    run : Observed
        Whose first move gives the rate.
    told : set of str
        Hyperparameters that are known of the other side.
    build : callable
        ``build(candidate, profile)`` returns its method.
    together : bool
        As in `refopt.verify.runs.reference.follow`.
    """
    for size in range(1, TOGETHER + 1):
        for root in roots:
            method = build(root, run.profile)
            rate = getattr(method, "lr", None)
            if "lr" in told or not isinstance(rate, float):
                rate = None
            free = _free(root, method, told)
            for names in itertools.combinations(free, size):
                for parts in itertools.product(*(free[n] for n in names)):
                    with contextlib.suppress(*BROKEN):
                        yield _fitted(root, parts, rate, run, build, together)
            if size == 1 and rate is not None:
                for c in others:
                    with contextlib.suppress(*BROKEN):
                        yield _fitted(root, (c,), rate, run, build, together)


def _free(root: Candidate, method: Any, told: set[str]) -> dict[str, list[Candidate]]:
    """Return, by hyperparameter, the common values that the method does not have already."""
    free: dict[str, list[Candidate]] = {}
    for c in numbers(entry(root.method)):
        (name,) = c.settings
        if name not in told and name != "lr" and c.settings[name] != getattr(method, name):
            free.setdefault(name, []).append(c)
    return free


def _fitted(
    root: Candidate,
    parts: tuple[Candidate, ...],
    rate: float | None,
    run: Observed,
    build: Any,
    together: bool,
) -> Candidate | None:
    c: Candidate | None = root
    for part in parts:
        c = None if c is None else c.with_(part)
    if c is None or rate is None:
        return c
    factor = rate_factor(run, build(c, run.profile), together)
    if factor is None or abs(factor - 1.0) < 1e-6:
        return c if factor is not None else None
    lr = float(f"{rate * factor:.6g}")
    return replace(
        c,
        names=(*c.names, f"lr={lr:g}"),
        words=(*c.words, f"with lr = {lr:g}"),
        settings={**c.settings, "lr": lr},
    )
