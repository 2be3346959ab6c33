"""How far rounding alone may carry another one from it.

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
from refopt.optimizers.low_memory.subspace import leading
from refopt.optimizers.second_order.soap import power_step
from refopt.verify.inputs.tapes import Tape
from refopt.verify.runs.reference import Trajectory, follow
from refopt.verify.sides.groups import ByGroup
from refopt.verify.sides.side import Leaves
from refopt.verify.variants.deviation import innermost, refit, with_shared

PERTURBED_RUNS = 3


# Enough for any two of sixteen numbers to be rounded apart; see `noisy_method`.
NUMBER_RUNS = 4


# How many units of rounding a hyperparameter, and the numbers made of it, may be off by.
HYPERPARAMETER_UNITS = 4.0


# For rules of norms and products, whose operations are not counted.
MATRIX_OPERATIONS = 128


# What factorises a matrix; the first argument is the matrix.
FACTORISATIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {f.__name__: f for f in (eigh, power_step, polar_and_nuclear, polar_newton_schulz, leading)}
)


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
                with np.errstate(invalid="ignore"):
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
        allowed[k] = count * values[k] + numbers_[k] + 8 * eps * size + _residue(points, size, eps)
    return Bound(allowed, eps, count)


def _residue(points: np.ndarray, size: np.ndarray, eps: float) -> np.ndarray:
    """Return what may be left of terms that cancel, where an entry has been exactly zero so far.

    A running sum from which old terms are taken keeps their rounding; a sum made anew has none. It is
    far below a unit of what the leaf has moved.
    """
    gone = np.maximum.accumulate(np.abs(points - points[0]), axis=0)[1:]
    moved = gone.reshape(len(gone), -1).max(axis=1, initial=0.0).reshape(-1, *[1] * (gone.ndim - 1))
    return np.where(size == 0.0, eps * moved, 0.0)


def machine_epsilon(dtype: str) -> float:
    """Return the machine epsilon of a dtype by name."""
    return float(np.finfo(dtype).eps)
