"""The experiments: each asks a side a few short questions and reads one or more numbers off its moves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from refopt.verify.measure.responses import Subject, scaled, size
from refopt.verify.sides.side import Leaves

Measured = Mapping[str, float]


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    Parameters
    ----------
    words : dict of str to str
        By the names of the numbers that it reads: what each is, as a clause with the number in it.
    measure : callable
        ``measure(subject)`` returns them; one that cannot be asked of the subject is left out.
    """

    words: Mapping[str, str]
    measure: Callable[[Subject], Measured]


EXPERIMENTS: list[Experiment] = []


def experiment(**words: str) -> Callable[[Callable[[Subject], Measured]], Callable[[Subject], Measured]]:
    """Register the decorated function as an experiment; see `Experiment`."""

    def add(measure: Callable[[Subject], Measured]) -> Callable[[Subject], Measured]:
        EXPERIMENTS.append(Experiment(words, measure))
        return measure

    return add


def _ratio(a: float, b: float) -> float:
    return a / b if b else (1.0 if a == 0 else math.inf)


def _zeros(like: Leaves) -> Leaves:
    return {k: np.zeros_like(v) for k, v in like.items()}


def _course(it: Subject, steps: int = 4) -> list[Leaves]:
    return [it.normal(10 + t) for t in range(steps)]


def _apart(a: Leaves, b: Leaves) -> float:
    """Return the distance of two moves over the larger of them."""
    gap = size({k: a[k] - b[k] for k in a})
    return _ratio(gap, max(size(a), size(b))) if gap else 0.0


@experiment(
    step="The first step has {:.4g} times the gradient's norm",
    after="After a single gradient, the second step has {:.4g} times the first one's size",
    tail="Long after a single gradient, each step has {:.4g} times the size of the one before",
)
def impulse(it: Subject) -> Measured:
    """One gradient, then none."""
    g = it.normal(1)
    d = [size(m) for m in it.moves([g] + 4 * [_zeros(g)], x0=_zeros(g))]
    return {
        "step": _ratio(d[0], size(g)), "after": _ratio(d[1], d[0]),
        "tail": _ratio(d[4], d[3]) if d[3] > 1e-12 * d[0] else 0.0,
    }  # fmt: skip


@experiment(
    second="Under a constant gradient, the second step has {:.4g} times the first one's size",
    steady="Under a constant gradient, the fortieth step has {:.4g} times the first one's size",
)
def constant(it: Subject) -> Measured:
    """The same gradient forty times."""
    g = it.normal(1)
    d = [size(m) for m in it.moves(40 * [g], x0=_zeros(g))]
    return {"second": _ratio(d[1], d[0]), "steady": _ratio(d[39], d[0])}


@experiment(
    alternating="Under a gradient whose sign alternates, the eighth step has {:.4g} times the first one's size"
)
def alternating(it: Subject) -> Measured:
    """The same gradient with turning sign."""
    g = it.normal(1)
    course = [{k: (-1.0) ** t * v for k, v in g.items()} for t in range(8)]
    d = [size(m) for m in it.moves(course, x0=_zeros(g))]
    return {"alternating": _ratio(d[7], d[0])}


@experiment(
    degree="Steps grow as the gradients' scale to the power {:.4g}",
    degree_tiny="Where gradients are of size 1e-8, steps grow as their scale to the power {:.4g}",
    degree_huge="Where gradients are of size 1e6, steps grow as their scale to the power {:.4g}",
)
def scale(it: Subject) -> Measured:
    """All gradients times ten, at three sizes."""
    course, out = _course(it), {}
    for name, at in (("degree", 1.0), ("degree_tiny", 1e-8), ("degree_huge", 1e6)):
        small, large = (size(it.moves(scaled(course, f * at), x0=_zeros(course[0]))[-1]) for f in (1.0, 10.0))
        out[name] = math.log10(large / small) if small > 0 and large > 0 and math.isfinite(large) else 0.0
    return out


@experiment(
    shrink="At a zero gradient, the first step is {:.4g} times x",
    shrink_later="At a zero gradient, the tenth step is {:.4g} times the first x",
)
def rest(it: Subject) -> Measured:
    """No gradient at all, away from zero."""
    x = it.start()
    moves = it.moves(10 * [_zeros(x)])
    along = [sum(float(np.sum(m[k] * x[k])) for k in x) / size(x) ** 2 for m in (moves[0], moves[9])]
    return {"shrink": along[0], "shrink_later": along[1]}


@experiment(
    place="Steps grow as the scale of x to the power {:.4g}",
    moved="From another x, steps differ by {:.4g} of their size",
)
def position(it: Subject) -> Measured:
    """The same gradients from other starts."""
    course, x = _course(it), it.start()
    here, twice = it.moves(course)[-1], it.moves(course, x0={k: 2.0 * v for k, v in x.items()})[-1]
    there = it.moves(course, x0=it.normal(2))[-1]
    grown = math.log2(size(twice) / size(here)) if size(here) > 0 and size(twice) > 0 else 0.0
    return {"place": grown, "moved": _apart(here, there)}


@experiment(
    odd="With the signs of gradients and x turned, steps are off the turned ones by {:.4g} of their size"
)
def signs(it: Subject) -> Measured:
    """Gradients and start negated."""
    course, x = _course(it), it.start()
    turned = it.moves(scaled(course, -1.0), x0={k: -v for k, v in x.items()})[-1]
    return {"odd": _apart(it.moves(course)[-1], {k: -v for k, v in turned.items()})}


@experiment(
    row="Where one gradient entry is three times as large, steps in its row change by {:.4g}",
    column="Where one gradient entry is three times as large, steps in its column change by {:.4g}",
    leaf="Where one gradient entry is three times as large, steps elsewhere in its leaf change by {:.4g}",
    others="Where one gradient entry is three times as large, steps of other leaves change by {:.4g}",
)
def coupling(it: Subject) -> Measured:
    """One coordinate's gradients changed."""
    if "matrix" not in it.leaves:
        return {}
    course = _course(it)
    changed = [{k: v.copy() for k, v in g.items()} for g in course]
    for g in changed:
        g["matrix"][0, 0] *= 3.0
    a, b = (it.moves(c, x0=_zeros(course[0]))[-1] for c in (course, changed))
    unit = float(np.max(np.abs(a["matrix"]))) or 1.0
    gap = np.abs(a["matrix"] - b["matrix"]) / unit
    out = {
        "row": float(np.max(gap[0, 1:])), "column": float(np.max(gap[1:, 0])), "leaf": float(np.max(gap[1:, 1:])),
    }  # fmt: skip
    if "vector" in it.leaves:
        out["others"] = float(np.max(np.abs(a["vector"] - b["vector"]))) / unit
    return out


@experiment(
    turned="With a matrix's gradients and x rotated on both sides, steps are off the rotated ones by {:.4g}"
)
def rotation(it: Subject) -> Measured:
    """Orthogonal matrices on both sides of a matrix's gradients."""
    if "matrix" not in it.leaves:
        return {}
    draws = it.normal(3)["matrix"]
    left = np.linalg.qr(draws[:, :3])[0]
    right = np.linalg.qr(np.outer(np.arange(1.0, 5.0), draws[0]) + np.eye(4))[0]
    course = [{"matrix": g["matrix"]} for g in _course(it)]
    start = {"matrix": it.start()["matrix"]}
    here = it.moves(course, x0=start)[-1]["matrix"]
    there = it.moves(
        [{"matrix": left @ g["matrix"] @ right} for g in course],
        x0={"matrix": left @ start["matrix"] @ right},
    )[-1]["matrix"]
    return {"turned": _apart({"": left @ here @ right}, {"": there})}


@experiment(
    past="After one gradient a hundred times as large, the second step has {:.4g} times the size of those before",
    past_later="Twelve steps after a gradient a hundred times as large, a step has {:.4g} times the size of those before",
)
def outlier(it: Subject) -> Measured:
    """A constant gradient, once a hundred times as large."""
    g = it.normal(1)
    course = 5 * [g] + scaled([g], 100.0) + 12 * [g]
    d = [size(m) for m in it.moves(course, x0=_zeros(g))]
    return {"past": _ratio(d[7], d[4]), "past_later": _ratio(d[17], d[4])}


def _lr(it: Subject) -> float | None:
    lr = it.given.get("lr", it.side.known.get("lr"))
    return lr if "lr" in it.side.takes and isinstance(lr, float) else None


@experiment(rate="Steps grow as the rate to the power {:.4g}")
def rate(it: Subject) -> Measured:
    """The rate twice as large."""
    lr = _lr(it)
    if lr is None:
        return {}
    course = _course(it)
    once, twice = (size(it.moves(course, x0=_zeros(course[0]), lr=f * lr)[-1]) for f in (1.0, 2.0))
    return {"rate": math.log2(twice / once) if once > 0 and twice > 0 else 0.0}


@experiment(cut="When the rate falls to a tenth, the step has {:.4g} times the size that it would have had")
def schedule(it: Subject) -> Measured:
    """The rate cut in mid-run."""
    lr = _lr(it)
    if not it.side.schedulable or lr is None:
        return {}
    course = _course(it, 6)
    plain, cut = (
        size(it.moves(course, schedule=lambda t, f=f: f if t > 5 else 1.0, lr=lr)[-1])  # type: ignore[misc]
        for f in (1.0, 0.1)
    )
    return {"cut": _ratio(cut, plain)}


def measure(it: Subject) -> dict[str, float]:
    """Return every number that can be read off a subject, by name."""
    out: dict[str, float] = {}
    for e in EXPERIMENTS:
        try:
            found = e.measure(it)
        except Exception:
            # Foreign code, asked for what it may not be made for (a start at zero, a schedule).
            continue
        out.update({k: float(v) for k, v in found.items()})
    return out


def words(name: str, value: float) -> str:
    """Return a measured number as a clause."""
    return next(e.words[name] for e in EXPERIMENTS if name in e.words).format(value)
