"""The reference's own rounding errors: the same rule text in 50 digits beside it.

``python -m refopt.precision.rounding_errors`` prints the table of docs/precision.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from refopt.core.build import optimizer
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import check_number
from refopt.core.method import Elementwise
from refopt.core.registry import methods
from refopt.precision.lift import Space, context, lift
from refopt.verify.inputs.tapes import Tape, make

KINDS = ("random", "ill", "tiny")


DTYPES = ("float64", "float32")


STEPS, DIGITS = 100, 50


# What no error at the defaults exceeds within 100 steps, in ulps of the largest entry; docs/precision.md says why.
BOUND = 64.0


Arrays = dict[str, np.ndarray]


# The leaves of the page's tapes.
SHAPES = {"scalar": (), "vector": (7,), "long": (33,), "wide": (3, 5), "tall": (6, 2), "kernel": (2, 3, 2, 2)}


@dataclass(frozen=True)
class Error:
    """The largest rounding error of a run, in units in the last place (ulps) of the run's dtype.

    Attributes
    ----------
    largest : float
        In ulps of the largest entry that the leaf has had so far.
    elementwise : float
        In ulps of the entry itself; large where an entry passes through zero. At most 1 / eps: no digit
        is right.
    step : int
        Where `largest` was met.
    """

    largest: float = 0.0
    elementwise: float = 0.0
    step: int = 0

    def worst(self, other: Error) -> Error:
        """Return the larger error of two.

        Parameters
        ----------
        other : Error

        Returns
        -------
        Error
        """
        first = self if self.largest >= other.largest else other
        return Error(first.largest, max(self.elementwise, other.elementwise), first.step)


@dataclass(frozen=True)
class Precision:
    """How far the reference is from its own rule in exact arithmetic.

    Attributes
    ----------
    method, dialect, dtype : str
    tapes : tuple of str
        The gradients that were tried; errors are the worst of them.
    steps, digits : int
    x : Error
        Of the point.
    slots : dict of str to Error
        Of the state's arrays.
    scalars : {"exact", "float64"}
        Whether the exact run computed the step's numbers (bias corrections and the like) in its own
        digits, so that their rounding counts; or took them from float64, where their text runs in no
        other arithmetic.
    """

    method: str
    dialect: str
    dtype: str
    tapes: tuple[str, ...]
    steps: int
    digits: int
    x: Error
    slots: Mapping[str, Error]
    scalars: str

    def __str__(self) -> str:
        rows = [("x", self.x), *self.slots.items()]
        return (
            f"{self.method} ({self.dialect}), {self.dtype}, {self.steps} steps against {self.digits} digits:"
            + "".join(
                f"\n  {name}: {e.largest:.3g} ulp of the largest entry (step {e.step}), {e.elementwise:.3g}"
                " of the entry itself"
                for name, e in rows
            )
            + ("" if self.scalars == "exact" else "\n  The step's numbers were taken from float64.")
        )


def precision(
    name: str,
    *,
    dialect: str = "paper",
    steps: int = STEPS,
    dtype: str = "float64",
    tapes: Iterable[str] = KINDS,
    seed: int = 0,
    digits: int = DIGITS,
    **hyperparameters: Any,
) -> Precision:
    """Measure the rounding error of the reference itself.

    The method runs along gradient tapes in `dtype`, and again in so many digits: the same rule text on
    other numbers. Hyperparameters and gradients are exactly the floats that were given.

    Parameters
    ----------
    name : str
        An elementwise optimizer. One that needs a Hessian's diagonal beside the gradient gets a second tape.
    dialect : str
    steps : int, range [1, inf)
    dtype : {"float64", "float32"}
    tapes : iterable of str
        Kinds of gradients, of `refopt.verify.inputs.tapes.KINDS`.
    seed : int
        Of the tapes.
    digits : int, range [30, inf)
    hyperparameters
        The method's own.

    Returns
    -------
    Precision

    Raises
    ------
    ArgumentTypeError
        A method that is not elementwise.
    ArgumentError, UnknownNameError, HyperparameterError
    MissingExtraError
        mpmath is not installed (extra ``verify``).

    Examples
    --------
    >>> import refopt
    >>> p = refopt.verify.precision("sgd", steps=10)
    >>> p.x.largest < 4, p.digits
    (True, 50)
    """
    if dtype not in DTYPES:
        raise ArgumentError(f"dtype: wanted one of {', '.join(DTYPES)}, got {dtype!r}")
    return measure(
        name, dialect=dialect, steps=steps, dtypes=(dtype,), kinds=tapes, seed=seed, digits=digits,
        **hyperparameters,
    )[dtype]  # fmt: skip


def measure(
    name: str,
    *,
    dialect: str = "paper",
    steps: int = STEPS,
    dtypes: Iterable[str] = DTYPES,
    kinds: Iterable[str] = KINDS,
    seed: int = 0,
    digits: int = DIGITS,
    **hyperparameters: Any,
) -> dict[str, Precision]:
    """Return `precision` for several dtypes, of which the exact run is the same."""
    method = optimizer(name, dialect=dialect, **hyperparameters)
    if not isinstance(method, Elementwise):
        raise ArgumentTypeError(f"name: precision is of elementwise methods; {name} looks at whole arrays")
    check_number(steps, "int [1, inf)", "steps")
    check_number(digits, "int [30, inf)", "digits")
    kinds, dtypes = tuple(kinds), tuple(dtypes)
    if not kinds:
        raise ArgumentError("tapes: wanted at least one kind")
    worst: dict[str, dict[str, Error]] = {d: {} for d in dtypes}
    scalars = "exact"
    for kind in kinds:
        # A tape for every further array that the rule is fed with.
        tapes = [make(kind, steps, seed=seed + i, shapes=SHAPES) for i in range(len(method.given))]
        exact, how = _exact(method, tapes, digits)
        scalars = how if how != "exact" else scalars
        for dtype in dtypes:
            for slot, error in _errors(_plain(method, tapes, dtype), exact, dtype).items():
                worst[dtype][slot] = worst[dtype].get(slot, Error()).worst(error)
    return {
        d: Precision(
            name, dialect, d, kinds, steps, digits, w["x"],
            MappingProxyType({k: v for k, v in w.items() if k != "x"}), scalars,
        )
        for d, w in worst.items()
    }  # fmt: skip


def _advance(method: Any, x: Any, given: list[Any], s: Any) -> tuple[Any, Any]:
    """Make a step; a method that is fed with more than gradients has no `update`."""
    return method.update(x, given[0], s) if len(given) == 1 else method.advance(x, tuple(given), s)


def _plain(method: Elementwise, tapes: list[Tape], dtype: str) -> list[dict[str, Arrays]]:
    """Run the reference itself; the point ``"x"`` and the slots after every step, and before the first."""

    def typed(named: Arrays) -> Arrays:
        return {k: np.atleast_1d(v).astype(dtype) for k, v in named.items()}

    x = typed(tapes[0].x0)
    s = method.init(x)
    out = [_shown(method, x, s)]
    for given in zip(*(t.gradients for t in tapes)):
        x, s = _advance(method, x, [typed(g) for g in given], s)
        out.append(_shown(method, x, s))
    return out


def _shown(method: Any, x: Any, s: Any) -> dict[str, Arrays]:
    return {"x": x, **{slot: s[slot] for slot in method.active_slots()}}


def _exact(method: Elementwise, tapes: list[Tape], digits: int) -> tuple[list[dict[str, Arrays]], str]:
    """Run the rule in so many digits; how the step's numbers were computed."""
    ctx = context(digits)
    try:
        return _run_exact(lift(method, ctx), tapes, Space(ctx)), "exact"
    except (TypeError, AttributeError, ValueError):
        # Their text does something that no other arithmetic can: say so, and take them as they are.
        return _run_exact(lift(method, ctx, scalars=False), tapes, Space(ctx)), "float64"


def _run_exact(lifted: Any, tapes: list[Tape], space: Space) -> list[dict[str, Arrays]]:

    def typed(named: Arrays) -> Arrays:
        return {k: space.asarray(v) for k, v in named.items()}

    x = typed(tapes[0].x0)
    s = dict(lifted.init(x))
    s.update({slot: typed(s[slot]) for slot in lifted.active_slots()})
    out = [_shown(lifted, x, s)]
    for given in zip(*(t.gradients for t in tapes)):
        x, s = _advance(lifted, x, [typed(g) for g in given], s)
        out.append(_shown(lifted, x, s))
    return out


def _errors(got: list[dict[str, Arrays]], exact: list[dict[str, Arrays]], dtype: str) -> dict[str, Error]:
    """Return the largest errors of x and of every slot over a run."""
    worst: dict[str, Error] = {}
    for slot in got[0]:
        for leaf in got[0][slot]:
            so_far = 0.0
            for t, (a, b) in enumerate(zip(got, exact)):
                true = b[slot][leaf]
                gap = np.abs(a[slot][leaf].astype(np.float64).astype(object) - true).astype(np.float64)
                size = np.abs(true).astype(np.float64)
                so_far = max(so_far, float(np.max(size)))
                error = Error(
                    float(np.max(gap)) / ulp(np.array(so_far), dtype).item(),
                    min(float(np.max(gap / ulp(size, dtype))), 1.0 / float(np.finfo(dtype).eps)),
                    t,
                )
                worst[slot] = worst.get(slot, Error()).worst(error)
    return worst


def ulp(size: np.ndarray, dtype: str) -> np.ndarray:
    """Return the unit in the last place of numbers of this size; below the normal range, the least normal's."""
    info: Any = np.finfo(dtype)
    _, exponent = np.frexp(np.maximum(size, float(info.smallest_normal)))
    return np.ldexp(float(info.eps), exponent - 1)


def table(names: Iterable[str] | None = None, **settings: Any) -> str:
    """Return the lines of docs/precision.md's table, of every elementwise optimizer unless named."""
    if names is None:
        names = [m.name for m in methods("optimizer") if issubclass(m.obj, Elementwise)]
    lines = [
        "| method | x, float64 | state, float64 | x, float32 | state, float32 | step's numbers |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        cells, scalars = [], ""
        for found in measure(name, **settings).values():
            scalars = found.scalars
            state = Error()
            for error in found.slots.values():
                state = state.worst(error)
            for e, any_ in ((found.x, True), (state, bool(found.slots))):
                cells.append(f"{e.largest:.2g} / {e.elementwise:.2g}" if any_ else "none")
        lines.append(f"| {name} | {' | '.join(cells)} | {scalars} |")
    return "\n".join(lines)


def page() -> str:
    """Return docs/precision.md."""
    return f"""# The reference's own rounding errors

Written by `python -m refopt.precision.rounding_errors`. Every elementwise optimizer ran {STEPS} steps on the gradient tapes
{", ".join(KINDS)} (92 coordinates each), in float64 and in float32, and once more in {DIGITS} digits (mpmath): the same rule text on
other numbers. Hyperparameters and gradients are exactly the floats given; the step's numbers, such as 1 - beta2^t, are computed in
{DIGITS} digits too (last column: exact), so that their rounding counts. In float32 they are rounded to float32, as in the run. Constants in
the text are the numbers that they are written as (1/3, 0.96).

Each cell is the largest error of the run, in units in the last place: *of the largest entry that the leaf has had* / *of the entry itself*.
The second is large where an entry passes through zero. State is the worst of the method's state arrays.

In units of the largest entry no error is above {BOUND:g} after {STEPS} steps at the defaults, in either precision (a test holds this).
Roundings that go both ways stay below 20. What is rounded alike at every step drifts by up to half a unit each time: decay's factor next to
one (nadamw and innaprop: 4 to 7 units with weight_decay=0), and steps of constant size (lion, sophia). And 1 - beta2^t cancels: in float64 at
t = 2 and beta2 = 0.999 it keeps 43 of 53 bits, which shows where the first steps are not small beside x (adahessian: 6.5 units
with beta2=0.9; adam at lr=1: 40, and 4.4 with beta2=0.9). In float32 it does not show, since the step's numbers are computed in float64.

`refopt.verify.precision("adam", beta2=0.6)` measures any other setting.

{table()}
"""


if __name__ == "__main__":
    sys.stdout.write(page())
