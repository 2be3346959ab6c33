"""Problems: values and derivatives at points, of a function or of an object with the members of a problem."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.build import problem
from refopt.core.errors import ArgumentTypeError
from refopt.core.problem import CAPABILITIES, offers
from refopt.core.rng import generator
from refopt.verify.inputs.calls.case import Case, Fault, Kind, Reference, Unanswered, as_array, negated
from refopt.verify.sides.names import parameters

# What is asked at a point alone, and what along a direction besides.
AT_A_POINT = (
    "value", "grad", "residual", "loss_gradient", "penalty", "objectives", "jacobian", "constraint", "upper_value",
    "upper_grad", "lower_value", "lower_grad", "example_grads",
)  # fmt: skip
ALONG = ("directional", "hvp", "jvp", "third")


def member_cases(name: str, seed: int) -> list[Case]:
    """Return every member that the problem offers, at its start and at two points near it."""
    p, rng, out = problem(name), generator(seed, "tape", 3600), []
    start = p.start(0)
    for k in range(3):
        x = params.axpy(0.1 * k, params.map_leaves(lambda a: rng.standard_normal(a.shape), start), start)
        x = p.project(x) if offers(p, "project") else x
        v = params.map_leaves(lambda a: rng.standard_normal(a.shape), start)
        where = f"point {k + 1}" if k else "the start"
        for member in (*AT_A_POINT, *ALONG):
            if offers(p, member):
                args = (member, x, v) if member in ALONG else (member, x)
                out.append(Case(f"{member} at {where}", args, extras=_data(p)))
    return out


def _data(p: Any) -> dict[str, Any]:
    """Return the public arrays and numbers of a problem, as a function may name them."""
    return {
        k: v for k, v in vars(p).items()
        if not k.startswith("_") and (isinstance(v, np.ndarray) or type(v) in (int, float, np.float64))
    }  # fmt: skip


def members(name: str) -> Reference:
    """Return the problem as a function of a member's name and its arguments."""
    p = problem(name)
    return lambda member, *args, **options: getattr(p, member)(*args)


def as_problem(other: Any) -> tuple[Reference, Mapping[str, Any]]:
    """Return a function of x (the value, or value and gradient) or a problem as one function, and what it takes besides.

    Raises
    ------
    ArgumentTypeError
        Neither.
    """
    if any(offers(other, m) for m in CAPABILITIES):

        def answer(member: str, *args: Any, **options: Any) -> Any:
            if not offers(other, member):
                raise Unanswered
            return getattr(other, member)(*args)

        return answer, {}
    if not callable(other) or inspect.isclass(other):
        raise ArgumentTypeError(
            "other: wanted a function of x (its further parameters named as the problem's data are) that returns the value,"
            f" or value and gradient, or an object with a problem's members, got {type(other).__qualname__}"
        )

    def call(member: str, x: Any, *rest: Any, **options: Any) -> Any:
        if member not in ("value", "grad"):
            raise Unanswered
        out = other(x, *rest, **options)
        if isinstance(out, tuple):
            return out[member == "grad"]
        if member == "grad":
            raise Unanswered
        return out

    return call, dict(list(parameters(other).items())[1:])


PROBLEMS = Kind(
    member_cases,
    (
        *negated(),
        Fault("gradient-negated", "with the gradient's sign turned",
              lambda f: lambda m, *a, **o: as_array(f(m, *a, **o)) * (-1.0 if m == "grad" else 1.0)),
        Fault("gradient-doubled", "with twice the gradient (the factor 1/2 of the value forgotten there)",
              lambda f: lambda m, *a, **o: as_array(f(m, *a, **o)) * (2.0 if m == "grad" else 1.0)),
    ),
    reference=members,
    side=as_problem,
    effort=400,
)  # fmt: skip
