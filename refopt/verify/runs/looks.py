"""What a tape cannot show of a torch optimizer: leaves without gradient for a while, parameters in half precision."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refopt.core.rng import generator
from refopt.verify.sides.side import Leaves, Side

# What the notes begin with.
FROZEN = "A leaf without gradient (None)"
SHORT = "On bfloat16 parameters"
STACK = "A stack of matrices (2, 3, 4)"

# The steps of a look, and those in which a leaf has no gradient.
STEPS, WITHOUT = 8, (3, 4)

SHAPES: Mapping[str, tuple[int, ...]] = {"vector": (5,), "matrix": (3, 4), "other": (4, 3)}

MATRICES = ("matrix", "other")

# Sizes of gradients: a buffer that is scaled by mistake shows where they change.
SIZES = (1.0, 1.0, 8.0, 8.0, 0.125, 0.125, 1.0, 1.0)

# bfloat16 keeps eight bits. Steps of right rules were off by 0.02 of their size in eight of them, and by
# 0.1 where v is averaged with 0.999, which eight bits round to 1.
ROUNDED = 0.3


def looks(it: Side, given: Mapping[str, Any], factorises: bool) -> list[str]:
    """Return notes on a torch optimizer's treatment of leaves without gradient, and of bfloat16 parameters.

    Parameters
    ----------
    it : Side
    given : dict
        The hyperparameters of its runs.
    factorises : bool
        Matrices are factorised: steps may then be off by any amount, and only the state is told.
    """
    if it.as_is is None:
        return []
    for names in (tuple(SHAPES), MATRICES):
        x0, tape = _tape(names)
        try:
            alone = {k: _run(it, given, {k: x0[k]}, [{k: g[k]} for g in tape]) for k in x0}
            whole = _run(it, given, x0, tape)
        except Exception:
            # It refuses leaves like these; the tapes have said so.
            continue
        break
    else:
        return []
    # Where leaves are coupled, one that is frozen changes the others, and is changed itself.
    apart = all(np.array_equal(alone[k][0][k], whole[0][k], equal_nan=True) for k in x0)
    return [
        *(_frozen(it, given, x0, tape) if apart else ()),
        *_short(it, given, x0, tape, whole, factorises),
    ]


def stacked(it: Side, given: Mapping[str, Any], reference: Side) -> list[str]:
    """Return a note where a stack of matrices (experts, heads) is taken as something else than by the reference.

    Parameters
    ----------
    it : Side
    given : dict
        The hyperparameters of its runs.
    reference : Side
        The method's own, under the same hyperparameters.
    """
    if it.as_is is None:
        return []
    theirs, ours = _taken_as(it, given), _taken_as(reference, {})
    if not theirs or theirs == ours:
        return []
    return [f"{STACK} is taken as {theirs}; the reference takes it as {ours or 'nothing that it can use'}."]


def _taken_as(it: Side, given: Mapping[str, Any]) -> str:
    """Return what a stack of matrices is taken as; empty where it is refused."""
    rng = generator(0, "tape", 4110)
    tape = [rng.standard_normal((2, 3, 4)).astype(np.float32).astype(np.float64) for _ in range(3)]

    def moved(part: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        x0 = {"stack": np.zeros_like(part(tape[0]))}
        return _run(it, given, x0, [{"stack": part(g)} for g in tape])[0]["stack"][-1]

    try:
        whole = moved(lambda g: g)
        ways = {
            "so many matrices, each by itself": np.stack([moved(operator.itemgetter(i)) for i in range(2)]),
            "one matrix, its first axis by the others": moved(lambda g: g.reshape(2, 12)).reshape(2, 3, 4),
            "one matrix, its last axis by the others": moved(lambda g: g.reshape(6, 4)).reshape(2, 3, 4),
        }
    except Exception:
        return ""
    size = float(np.max(np.abs(whole)))
    same = (k for k, v in ways.items() if float(np.max(np.abs(v - whole))) <= 1e-3 * size)
    return next(same, "something else")


def _tape(names: tuple[str, ...]) -> tuple[Leaves, list[Leaves]]:
    """Return a start at zero, where steps keep their digits, and gradients that bfloat16 holds exactly."""
    rng = generator(0, "tape", 4100)
    x0 = {k: np.zeros(s, dtype=np.float32) for k, s in SHAPES.items()}
    tape = [
        {k: (size * rng.integers(1, 128, s) / 64 * rng.choice((-1, 1), s)).astype(np.float32) for k, s in SHAPES.items()}
        for size in SIZES
    ]  # fmt: skip
    return {k: x0[k] for k in names}, [{k: g[k] for k in names} for g in tape]


def _run(
    it: Side, given: Mapping[str, Any], x0: Leaves, tape: list[Leaves]
) -> tuple[dict[str, np.ndarray], dict[str, Leaves]]:
    """Return the points after every step, and the state after the last."""
    run = it.begin({k: v.copy() for k, v in x0.items()}, given, None)
    try:
        points: dict[str, list[np.ndarray]] = {k: [] for k in x0}
        for t, g in enumerate(tape, 1):
            for k, v in run.step({k: v.copy() for k, v in g.items()}, t).items():
                points[k].append(v)
        return {k: np.stack(v) for k, v in points.items()}, run.state()
    finally:
        run.close()


def _frozen(it: Side, given: Mapping[str, Any], x0: Leaves, tape: list[Leaves]) -> list[str]:
    """Tell whether a leaf that has no gradient for two steps goes on as if those had not been."""
    for k in x0:
        partly = [{n: v for n, v in g.items() if n != k or t not in WITHOUT} for t, g in enumerate(tape, 1)]
        try:
            now = _run(it, given, x0, partly)[0][k]
        except Exception as error:
            return [f"{FROZEN} is not taken: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}."]
        before, *during = now[WITHOUT[0] - 2], *(now[t - 1] for t in WITHOUT)
        if not all(np.array_equal(before, d) for d in during):
            return [f"{FROZEN} moves on all the same ({k})."]
        without = _run(it, given, {k: x0[k]}, [{k: g[k]} for g in partly if k in g])[0][k]
        gap, size = np.max(np.abs(now[-1] - without[-1])), np.max(np.abs(without[-1]))
        if gap > 1e-4 * size:
            return [
                f"{FROZEN} for two steps is left alone, but goes on otherwise than if they had not been, off by"
                f" {gap / size:.2g} ({k}): a step counter or an average of its own goes on."
            ]
    return []


def _short(
    it: Side,
    given: Mapping[str, Any],
    x0: Leaves,
    tape: list[Leaves],
    whole: tuple[dict[str, np.ndarray], dict[str, Leaves]],
    factorises: bool,
) -> list[str]:
    """Tell where steps, or a state array, are other ones on bfloat16 parameters than rounding makes them."""
    assert it.as_is is not None
    try:
        points, state = _run(it.as_is("bfloat16"), given, x0, tape)
    except Exception as error:
        return [f"{SHORT} it raises {type(error).__name__}: {(str(error).splitlines() or [''])[0]}."]

    def off(ours: np.ndarray, theirs: np.ndarray) -> float:
        size = float(np.linalg.norm(ours))
        return float(np.linalg.norm(ours - theirs)) / size if size > 0.0 and np.isfinite(size) else 0.0

    gaps = {k: off(whole[0][k][-1], points[k][-1]) for k in x0}
    worst = max(gaps, key=lambda k: gaps[k])
    if not gaps[worst] > ROUNDED:
        return []
    slots = {
        n: off(whole[1][n][worst], v[worst])
        for n, v in state.items()
        if worst in v and worst in whole[1].get(n, ())
    }
    if factorises and not any(gap > ROUNDED for gap in slots.values()):
        return []
    shown = "".join(f", its {n} by {gap:.2g}" for n, gap in slots.items() if gap > ROUNDED)
    return [
        f"{SHORT} its steps are other ones than on wider: after {STEPS}, off by {gaps[worst]:.2g} of their size"
        f" ({worst}){shown}, where rounding is 0.004. What a cast copies elsewhere may be written into here."
    ]
