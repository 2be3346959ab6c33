"""Whose run a checkpoint is: method, problem, data, start and rates, so that no other run goes on from it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from refopt.core.arguments import describe
from refopt.core.arrays import to_numpy
from refopt.core.params import Params, copied, leaves, map_leaves
from refopt.core.problem import offers
from refopt.core.sampling import Sampler

# Steps at which a rate that is a function is looked at, and examples at which a problem is.
STEPS, EXAMPLES = (1, 2, 3, 10, 100, 1000), 64


def identity(method: Any, problem: Any, x0: Params, sampler: Sampler | None, seed: int) -> dict[str, Any]:
    """Return what must be equal for one run to go on from another's checkpoint, by what it is called.

    Parameters
    ----------
    method : Method
    problem : object
        Its answers at the start are part of it (on a few examples, where it is a sum over examples): in
        them its parameters, its data and a user's functions show.
    x0 : array or dict of arrays
    sampler : Sampler or None
    seed : int

    Returns
    -------
    dict
        Of numbers, texts and lists.
    """
    return {
        "method": describe(method),
        "rates": [f"{name} {values}" for name, values in _rates(method)],
        "problem": type(getattr(problem, "outer", problem)).__qualname__,
        "start": digest(x0),
        "problem's answer at the start": answer(problem, x0),
        "seed": seed,
        "batches": [sampler.n, sampler.size, sampler.sampling] if sampler else None,
        "shapes": [[k, list(v.shape), str(v.dtype)] for k, v in leaves(x0).items()],
    }


def digest(x: Params) -> str:
    """Return a hash of arrays' names, dtypes, shapes and bits."""
    h = hashlib.sha256()
    for name, leaf in leaves(x).items():
        a = np.ascontiguousarray(to_numpy(leaf))
        h.update(f"{name}|{a.dtype}|{a.shape}|".encode())
        h.update(a.tobytes())
    return h.hexdigest()[:16]


def _rates(method: Any) -> Iterator[tuple[str, list[float]]]:
    """Yield the hyperparameters that are functions of the step, with a few of their values."""
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            for name, values in _rates(value):
                yield f"{field.name}.{name}", values
        elif callable(value) and (field.name == "schedule" or field.name == "lr"):
            yield field.name, [float(value(t)) for t in STEPS]


def answer(problem: Any, x0: Params) -> str:
    """Return a hash of a problem's value and gradient at `x0`, on a few examples where it is a sum over them.

    A penalty, its proximal map and a projection are asked beside it: many starts are zero, where no weight of them shows.
    """
    n = getattr(problem, "n_examples", None)
    few = {} if n is None else {"batch": np.unique(np.linspace(0, n - 1, EXAMPLES).astype(int))}
    said = [str(n)]
    if offers(problem, "value"):
        said.append(float(problem.value(copied(x0), **few)).hex())
    if offers(problem, "grad"):
        said.append(digest(problem.grad(copied(x0), **few)))
    beside = map_leaves(lambda v: v + 1.0, x0)
    if offers(problem, "penalty"):
        said.append(float(problem.penalty(copied(beside))).hex())
    if offers(problem, "prox"):
        said.append(digest(problem.prox(copied(beside), 1.0)))
    if offers(problem, "project"):
        said.append(digest(problem.project(copied(beside))))
    return hashlib.sha256("|".join(said).encode()).hexdigest()[:16]
