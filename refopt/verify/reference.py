"""The reference's trajectory on a tape, and how far rounding alone may carry another one from it.

The bound is measured, not guessed (Monte Carlo arithmetic, as Parker 1997 describes it): the reference
runs again with its point, state and gradients moved by one unit of rounding at every step, and again
with the step's numbers computed from hyperparameters that are off by a few units. The first spread,
cumulated over the steps and multiplied by the number of operations of a step, plus the second, plus a
few units of the point itself, is what another correct implementation in that precision may show. An
ill-conditioned method thus gets the room that it needs, and a well-conditioned one a few units.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from refopt.core.method import Elementwise, LeafRule, Method
from refopt.core.rng import generator
from refopt.matrix.common import eigh
from refopt.matrix.polar import polar_newton_schulz
from refopt.optimizers.common.lmo import polar_and_nuclear
from refopt.optimizers.second_order.soap import power_step
from refopt.verify.adapt import slots
from refopt.verify.deviations import innermost, refit, with_shared
from refopt.verify.groups import ByGroup
from refopt.verify.sides import Leaves
from refopt.verify.tapes import Tape

PERTURBED_RUNS = 3
# Enough for any two of sixteen numbers to be rounded apart; see `noisy_method`.
NUMBER_RUNS = 4
# How many units of rounding a hyperparameter, and the numbers made of it, may be off by.
HYPERPARAMETER_UNITS = 4.0
# For rules of norms and products, whose operations are not counted.
MATRIX_OPERATIONS = 128


@dataclass(frozen=True)
class Trajectory:
    """Points and shown state after every step.

    Parameters
    ----------
    points : dict of array
        By leaf, shape (steps, *leaf's).
    states : tuple of dict
        After every step: slot name, leaf, array; empty where they were not asked for.
    """

    points: Leaves
    states: tuple[dict[str, Leaves], ...] = ()


def follow(
    method: Any,
    tape: Tape,
    *,
    together: bool = True,
    states: bool = False,
    noise: Callable[[Any], Any] | None = None,
) -> Trajectory:
    """Run `method` (with ``init`` and ``update``) along a tape in float64.

    Parameters
    ----------
    method : object
    tape : Tape
    together : bool
        All leaves as one dict; False: each leaf a run of its own, as one array.
    states : bool
        Keep the states.
    noise : callable, optional
        Applied to point, state and gradient before every step.
    """
    if isinstance(method, Elementwise):
        return _follow_flat(method, tape, states, noise)
    if not together:
        parts = [
            follow_one(method, {k: tape.x0[k]}, [{k: g[k]} for g in tape.gradients], k, states, noise)
            for k in tape.x0
        ]
        return Trajectory(
            {k: v for part in parts for k, v in part.points.items()},
            tuple(_merge([part.states[i] for part in parts]) for i in range(len(tape) if states else 0)),
        )
    return follow_one(method, tape.x0, list(tape.gradients), None, states, noise)


def _follow_flat(
    method: Elementwise, tape: Tape, states: bool, noise: Callable[[Any], Any] | None
) -> Trajectory:
    """Run an elementwise method on all leaves as one vector: the same bits, in fewer calls."""
    names = list(tape.x0)
    shapes = {k: tape.x0[k].shape for k in names}
    cuts = np.cumsum([tape.x0[k].size for k in names])[:-1]

    def join(named: Leaves) -> np.ndarray:
        return np.concatenate([named[k].ravel() for k in names])

    def part(rows: np.ndarray, lead: tuple[int, ...]) -> Leaves:
        return {
            k: v.reshape((*lead, *shapes[k])) for k, v in zip(names, np.split(rows, cuts, axis=len(lead)))
        }

    one = follow_one(method, {"": join(tape.x0)}, [{"": join(g)} for g in tape.gradients], "", states, noise)
    return Trajectory(
        part(one.points[""], (len(tape),)),
        tuple({slot: part(named[""], ()) for slot, named in state.items()} for state in one.states),
    )


def _merge(states: list[dict[str, Leaves]]) -> dict[str, Leaves]:
    out: dict[str, Leaves] = {}
    for state in states:
        for slot, named in state.items():
            out.setdefault(slot, {}).update(named)
    return out


def follow_one(
    method: Any,
    x0: Leaves,
    gradients: list[Leaves],
    single: str | None,
    states: bool,
    noise: Callable[[Any], Any] | None,
) -> Trajectory:
    """Run along gradients; `single` names the leaf that is handed over as one array."""
    driven = innermost(method)
    if hasattr(driven, "at_leaf"):
        driven = driven.at_leaf(single)
        # What it is told beside a gradient is rounded too.
        driven.noise = noise
        method = refit(method, driven)
    x: Any = {k: v.copy() for k, v in x0.items()} if single is None else x0[single].copy()
    s = method.init(x)
    points: dict[str, list[np.ndarray]] = {k: [] for k in x0}
    shown = []
    with np.errstate(all="ignore"):
        for t, g in enumerate(gradients):
            # A faulty counter does not change what the tape holds.
            if hasattr(driven, "at_leaf"):
                driven.now = t
            given: Any = g if single is None else g[single]
            if noise is not None:
                x, s, given = noise(x), noise(s), noise(given)
            x, s = method.update(x, given, s)
            for k in x0:
                points[k].append(np.array(x[k] if single is None else x))
            if states:
                found = slots(x, s)
                shown.append(found if single is None else {n: {single: v[""]} for n, v in found.items()})
    return Trajectory({k: np.stack(v) for k, v in points.items()}, tuple(shown))


def perturbed(value: Any, rng: np.random.Generator, eps: float) -> Any:
    """Return numbers and arrays, in nested containers, each moved up or down by one unit of rounding."""
    if isinstance(value, dict):
        return {k: perturbed(v, rng, eps) for k, v in value.items()}
    if type(value) in (tuple, list):
        return type(value)(perturbed(v, rng, eps) for v in value)
    if isinstance(value, (np.ndarray, np.floating)):
        if value.dtype.kind != "f":
            return value
        # Arithmetic on a 0-d array gives a NumPy scalar.
        return np.asarray(np.asarray(value) * (1.0 + eps * (2 * rng.integers(0, 2, size=value.shape) - 1)))
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or isinstance(value, numbers.Integral):
        return value
    return float(value) * (1.0 + eps * float(2 * rng.integers(0, 2) - 1))


def shaken(method: Any, size: float) -> Any:
    """Return `method` with its real hyperparameters multiplied by ``1 + size``, unchecked.

    A number that is zero or one stays.
    """
    if not dataclasses.is_dataclass(method):
        return method
    other = copy.copy(method)
    for f in dataclasses.fields(method):
        value = getattr(method, f.name)
        if isinstance(value, Method):
            object.__setattr__(other, f.name, shaken(value, size))
        elif isinstance(value, float) and value not in (0.0, 1.0):
            object.__setattr__(other, f.name, value * (1.0 + size))
    return other


def noisy_method(method: Any, run: int, size: float) -> Any:
    """Return `method` with every number of its step computed from hyperparameters rounded up or down.

    One number may be rounded up where the next is rounded down, since libraries compute, say, 1 - beta
    and 1 - beta^t in different places and precisions. Bit `run` of a number's place decides: any two of
    the first sixteen are rounded apart in one of four runs.
    """
    if isinstance(method, ByGroup):
        return method.each_part(lambda part: noisy_method(part, run, size))
    up, down = shaken(method, size), shaken(method, -size)
    if not isinstance(method, LeafRule):
        return up if run % 2 else down

    def numbers(t: int, carried: Any) -> dict[str, float]:
        high, low = up.numbers(t, carried), down.numbers(t, carried)
        return {k: (high if place >> run & 1 else low)[k] for place, k in enumerate(high)}

    other = copy.copy(method)
    object.__setattr__(other, "numbers", numbers)
    return other


# What factorises a matrix; the first argument is the matrix.
FACTORISATIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {f.__name__: f for f in (eigh, power_step, polar_and_nuclear, polar_newton_schulz)}
)


def _moved(a: Any, rng: np.random.Generator, eps: float, *, symmetric: bool = False) -> Any:
    """Return an array with every entry moved by one unit of the largest."""
    signs = 2.0 * rng.integers(0, 2, size=a.shape) - 1.0
    if symmetric:
        signs = np.triu(signs) + np.triu(signs, 1).T
    return a + eps * np.max(np.abs(a), initial=0.0) * signs


def factorises(method: Any) -> bool:
    """Tell whether the method factorises matrices: its first steps may then be further off than 1e-7."""
    if isinstance(method, ByGroup):
        return any(factorises(part) for _, part in method.parts)
    return any(with_shared(innermost(method), name, _always(None)) is not None for name in FACTORISATIONS)


def _always(value: Any) -> Callable[[Any], Any]:
    return lambda method: value


def refactored(method: Any, rng: np.random.Generator, eps: float) -> Any:
    """Return `method` with every matrix that it factorises, and what comes out, moved by rounding.

    A stable algorithm answers for a matrix so near in norm: of an ill-scaled matrix the small entries
    are rounded in units of the large ones, by one algorithm so and by another otherwise.
    """
    if isinstance(method, ByGroup):
        return method.each_part(lambda part: refactored(part, rng, eps))
    inner = innermost(method)

    def moved(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(matrix: Any, *rest: Any, **options: Any) -> Any:
            out = function(_moved(matrix, rng, eps, symmetric=function is eigh), *rest, **options)
            return (
                tuple(_moved(a, rng, eps) for a in out) if isinstance(out, tuple) else _moved(out, rng, eps)
            )

        return call

    for name, function in FACTORISATIONS.items():
        inner = with_shared(inner, name, _always(moved(function))) or inner
    return refit(method, inner)


class _Counter(np.lib.mixins.NDArrayOperatorsMixin):
    """A number that counts the operations it goes through."""

    def __init__(self, value: Any, count: list[int]) -> None:
        self.value, self.count = value, count

    def __array_ufunc__(self, ufunc: Any, how: str, *inputs: Any, **kwargs: Any) -> Any:
        self.count[0] += 1
        plain = [v.value if isinstance(v, _Counter) else v for v in inputs]
        return _Counter(ufunc(*plain, **kwargs), self.count)

    def __array_function__(self, fn: Any, types: Any, args: Any, kwargs: Any) -> Any:
        self.count[0] += 1
        plain = [v.value if isinstance(v, _Counter) else v for v in args]
        return _Counter(fn(*plain, **kwargs), self.count)


def operations(method: Any) -> int:
    """Return the arithmetic operations of one step on one element; an estimate for matrix rules."""
    if isinstance(method, ByGroup):
        return max(operations(part) for _, part in method.parts)
    if not isinstance(method, Elementwise):
        return MATRIX_OPERATIONS
    count = [0]
    one = np.ones(1)
    s = method.init(one)
    names = method.active_slots()
    numbers_ = method.numbers(1, method.carry(1, s))
    arguments = [_Counter(one, count) for _ in range(1 + len(method.given) + len(names))]
    try:
        with np.errstate(all="ignore"):
            method.rule(np)(*arguments, *numbers_.values())
    except (TypeError, ValueError, AttributeError):
        return MATRIX_OPERATIONS
    # The numbers themselves take a few operations.
    return count[0] + 2 * len(numbers_)


@dataclass(frozen=True)
class Bound:
    """What rounding may explain.

    Parameters
    ----------
    allowed : dict of array
        By leaf, the largest difference at every step and entry, like the trajectory's points.
    eps : float
        The unit of rounding, of the other side's precision.
    operations : int
    """

    allowed: Leaves
    eps: float
    operations: int


def bound(
    method: Any,
    tape: Tape,
    reference: Trajectory,
    eps: float,
    *,
    together: bool = True,
    drive: Callable[[Any], Any] = lambda method: method,
) -> Bound:
    """Measure how far rounding carries runs of `method` from `reference`; see the module.

    Parameters
    ----------
    method : object
    tape : Tape
    reference : Trajectory
        Of `method` along `tape`, unperturbed.
    eps : float
        Machine epsilon of the precision in which the other side runs.
    together : bool
        As in `follow`.
    drive : callable
        Makes a method ready to be followed.
    """
    count = operations(method)

    def spread(runs: Iterable[Trajectory]) -> Leaves:
        out = {k: np.zeros_like(v) for k, v in reference.points.items()}
        for run in runs:
            for k, v in run.points.items():
                gap = np.abs(v - reference.points[k])
                # Not finite here and there: nothing is known of that entry.
                out[k] = np.maximum(out[k], np.where(np.isfinite(gap), gap, np.inf))
        return {k: np.maximum.accumulate(v, axis=0) for k, v in out.items()}

    def noisy(run: int) -> Trajectory:
        rng = generator(run, "tape", 1000)
        noise = functools.partial(perturbed, rng=rng, eps=eps)
        return follow(drive(refactored(method, rng, eps)), tape, together=together, noise=noise)

    values = spread(noisy(run) for run in range(PERTURBED_RUNS))
    numbers_ = spread(
        follow(drive(noisy_method(method, run, HYPERPARAMETER_UNITS * eps)), tape, together=together)
        for run in range(NUMBER_RUNS)
    )
    allowed = {}
    for k in reference.points:
        # A sum is rounded in units of the largest of its terms: the entry before or after the step.
        points = np.concatenate([tape.x0[k][None], reference.points[k]])
        size = np.maximum.accumulate(np.abs(points), axis=0)[1:]
        allowed[k] = count * values[k] + numbers_[k] + 8 * eps * size
    return Bound(allowed, eps, count)


def machine_epsilon(dtype: str) -> float:
    """Return the machine epsilon of a dtype by name."""
    return float(np.finfo(dtype).eps)


def as_dtype(tape: Tape, dtype: str) -> Tape:
    """Return the tape in `dtype`; its values are exact in both precisions."""
    kind: Any = np.dtype(dtype)
    return dataclasses.replace(
        tape,
        x0={k: v.astype(kind) for k, v in tape.x0.items()},
        gradients=tuple({k: v.astype(kind) for k, v in g.items()} for g in tape.gradients),
    )
