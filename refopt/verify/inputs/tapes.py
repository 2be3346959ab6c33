"""Gradient tapes: a start and a fixed sequence of gradients, the same for both sides of a comparison.

A fixed tape tells a wrong update from a wrong gradient: no side's point feeds back into what it is
given. Each kind shows something that the others hide.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentError, nearest
from refopt.core.hyper import check_number
from refopt.core.rng import generator

Leaves = dict[str, np.ndarray]


# A scalar, vectors of several lengths, matrices both ways, two of them of one shape, a convolution's kernel; and
# a leaf that starts far from zero.
SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "scalar": (),
        "vector": (7,),
        "long": (33,),
        "wide": (3, 5),
        "tall": (6, 2),
        "kernel": (2, 3, 2, 2),
        "twin": (3, 5),
        "far": (4,),
    }
)


# By how much the leaf "far" is larger: a bound on norms shows.
FAR = 30.0


KINDS: Mapping[str, str] = MappingProxyType(
    {
        "random": "standard normal",
        "ill": "of scales from 1e-3 to 1e3 by coordinate",
        "sparse": "nine entries of ten are zero, others every step",
        "zeros": "normal, with whole steps of zeros, the first among them",
        "huge": "of size 1e6",
        "tiny": "of size 1e-9, where eps rules",
        "flip": "one direction whose sign alternates, with noise",
        "constant": "the same every step",
    }
)


@dataclass(frozen=True)
class Tape:
    """A start and a sequence of gradients.

    Parameters
    ----------
    name : str
    x0 : dict of arrays
        The start, float64, values that float32 holds exactly.
    gradients : tuple of dict of arrays
        One dict a step, leaves like `x0`; values that float32 holds exactly.
    """

    name: str
    x0: Leaves
    gradients: tuple[Leaves, ...]

    def __len__(self) -> int:
        return len(self.gradients)

    def only(self, names: Iterable[str]) -> Tape:
        """Return the tape of some of its leaves.

        Parameters
        ----------
        names : iterable of str

        Returns
        -------
        Tape
        """
        kept = list(names)
        return dataclasses.replace(
            self,
            x0={k: self.x0[k] for k in kept},
            gradients=tuple({k: g[k] for k in kept} for g in self.gradients),
        )

    def first(self, steps: int) -> Tape:
        """Return the tape's first `steps` steps.

        Parameters
        ----------
        steps : int

        Returns
        -------
        Tape
        """
        return dataclasses.replace(self, gradients=self.gradients[:steps])

    def idle(self) -> Leaves:
        """Tell where every gradient so far was zero, of the entry or of the whole leaf.

        Returns
        -------
        dict of arrays of bool
            Of the leaf's shape, with the steps on a first axis.
        """
        out = {}
        for k in self.x0:
            zero = np.stack([g[k] == 0 for g in self.gradients])
            whole = zero.reshape(len(self), -1).all(axis=1).reshape((len(self),) + (1,) * self.x0[k].ndim)
            out[k] = np.minimum.accumulate(zero, axis=0) | np.minimum.accumulate(whole, axis=0)
        return out


def rounded_to_float32(values: np.ndarray) -> np.ndarray:
    """Round to float32's values, so that one tape serves both precisions."""
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def start(rng: np.random.Generator, shapes: Mapping[str, tuple[int, ...]]) -> Leaves:
    """Return a start with exact zeros in it: there a sum of steps keeps all its digits."""
    x0 = {}
    for name, shape in shapes.items():
        x = rng.standard_normal(shape)
        x = x * (rng.random(shape) > 1 / 3)
        x0[name] = rounded_to_float32(FAR * x if name == "far" else x)
    return x0


def _scale(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    if kind == "ill":
        return 10.0 ** rng.uniform(-3, 3, shape)
    return np.full(shape, {"huge": 1e6, "tiny": 1e-9}.get(kind, 1.0))


def make(
    kind: str, steps: int = 200, *, seed: int = 0, shapes: Mapping[str, tuple[int, ...]] = SHAPES
) -> Tape:
    """Return one tape.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    steps : int, range [1, inf)
    seed : int
    shapes : dict of str to tuple of int
        The leaves. The first entry of every leaf of more than one has gradient zero throughout.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        An unknown kind; fewer than one step.

    Examples
    --------
    >>> from refopt.verify.inputs.tapes import make
    >>> len(make("random", 5))
    5
    """
    if kind not in KINDS:
        raise ArgumentError(f"kind: wanted one of {', '.join(KINDS)}, got {kind!r}.{nearest(kind, KINDS)}")
    check_number(steps, "int [1, inf)", "steps")
    rng = generator(seed, "tape", list(KINDS).index(kind))
    x0 = start(rng, shapes)
    scale = {k: _scale(kind, rng, s) for k, s in shapes.items()}
    lead = {k: rng.standard_normal(s) for k, s in shapes.items()}
    gradients = []
    for t in range(steps):
        g = {}
        for name, shape in shapes.items():
            noise = rng.standard_normal(shape)
            mask = rng.random(shape) < 0.1
            if kind == "flip":
                noise = (-1.0) ** t * lead[name] + 0.3 * noise
            elif kind == "constant":
                noise = lead[name]
            elif kind == "sparse":
                noise = np.where(mask, noise, 0.0)
            elif kind == "zeros" and t % 5 == 0:
                noise = np.zeros(shape)
            leaf = rounded_to_float32(noise * scale[name])
            if math.prod(shape) > 1:
                leaf.flat[0] = 0.0
            g[name] = leaf
        gradients.append(g)
    return Tape(kind, x0, tuple(gradients))


def tapes(
    steps: int = 200,
    *,
    seed: int = 0,
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
    kinds: Iterable[str] = tuple(KINDS),
) -> list[Tape]:
    """Return one tape of each kind; see `make`."""
    return [make(kind, steps, seed=seed, shapes=shapes) for kind in kinds]


def recorded(problem: Any, steps: int = 200, *, rate: float = 0.05, seed: int = 0) -> Tape:
    """Return a problem's own gradients, along a path of normalised gradient steps.

    Parameters
    ----------
    problem : object
        With ``start(seed)`` and ``grad(x)``, NumPy arrays: a problem of the zoo.
    steps : int
    rate : float
        Length of each step of the path.
    seed : int
    """
    point = problem.start(seed)
    single = not isinstance(point, dict)

    def named(value: Any) -> Leaves:
        return {"x": np.asarray(value)} if single else {k: np.asarray(v) for k, v in value.items()}

    x0 = {k: rounded_to_float32(v) for k, v in named(point).items()}
    x, gradients = x0, []
    for _ in range(steps):
        g = {k: rounded_to_float32(v) for k, v in named(problem.grad(x["x"] if single else x)).items()}
        gradients.append(g)
        length = math.sqrt(sum(float(np.sum(v * v)) for v in g.values()))
        x = {k: x[k] - rate / max(length, 1e-300) * g[k] for k in x}
    return Tape(getattr(type(problem), "registered_name", "problem"), x0, tuple(gradients))
