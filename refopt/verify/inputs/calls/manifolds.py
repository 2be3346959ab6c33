"""Operations of manifolds: ``sphere.exp``, ``spd.dist``; points and tangent vectors at which they are compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core.rng import generator
from refopt.manifolds.base import manifold
from refopt.verify.inputs.calls.case import Case, Fault, Kind, Reference, negated, rooted

# What an operation takes: points x, y, tangent vectors u, v at x, an ambient vector g, a point that has left (p).
OPERATIONS = {
    "project": "p", "tangent": "xg", "gradient": "xg", "inner": "xuv", "norm": "xu", "exp": "xu", "retract": "xu",
    "log": "xy", "dist": "xy", "transport": "xyu",
}  # fmt: skip

SHAPES = {
    "euclidean": ((3,), (2, 4)),
    "sphere": ((3,), (2, 4)),
    "stiefel": ((4, 2), (2, 5, 3)),
    "grassmann": ((4, 2), (2, 5, 2)),
    "spd": ((3, 3), (2, 2, 2)),
    "poincare-ball": ((3,), (2, 4)),
    "hyperboloid": ((4,), (2, 3)),
}

# No closed form is known.
UNKNOWN = (("stiefel", "log"), ("stiefel", "dist"))

# A number of the manifold that an implementation is likely to have.
OPTIONS = {"poincare-ball": {"curvature": 0.5}, "hyperboloid": {"curvature": 2.0}}


def point_cases(name: str, seed: int) -> list[Case]:
    """Return points near each other, on the manifold, with vectors at the first."""
    which, _, operation = name.partition(".")
    rng, out = generator(seed, "tape", 3500), []
    for options in ({}, OPTIONS[which]) if which in OPTIONS else ({},):
        M = manifold(which, **options)
        for shape in SHAPES[which]:
            x = M.random(shape, rng)
            u, v = (0.5 * M.random_tangent(x, rng) for _ in range(2))
            g = rng.standard_normal(shape)
            g = (g + np.swapaxes(g, -1, -2)) / 2 if which == "spd" else g
            given = {"x": x, "y": M.retract(x, u), "u": v, "v": u, "g": g, "p": x + 0.1 * g}
            label = ", ".join([f"shape {shape}", *(f"{k} {w:g}" for k, w in options.items())])
            args = tuple(given[k] for k in OPERATIONS[operation])
            # Perturbed points leave the manifold, which its rules may answer by more than rounding.
            out.append(Case(label, args, options, needs=tuple(options)))
    return out


def operation(name: str) -> Reference:
    """Return the manifold's operation as a function of arrays and the manifold's numbers."""
    which, _, called = name.partition(".")
    run = _operation(which, called)
    if called in ("exp", "retract"):
        run.__dict__["beside"] = {o: _operation(which, o) for o in ("exp", "retract")}
    return run


def _operation(which: str, called: str) -> Any:
    # Made beforehand: how a manifold is looked up is no part of the operation.
    made = {repr(o): manifold(which, **o) for o in ({}, OPTIONS.get(which, {}))}

    def run(*args: Any, **options: Any) -> Any:
        return getattr(made.get(repr(options)) or manifold(which, **options), called)(*args)

    return run


def _beside(called: str) -> Any:
    # In a pair the other change may have wrapped it: then there is nothing beside it to take.
    return lambda f: f.__dict__["beside"][called]


def _turned(i: int) -> Any:
    return lambda f: lambda *args, **o: f(*(-a if k == i else a for k, a in enumerate(args)), **o)


POINTS = Kind(
    point_cases,
    (
        *negated(),
        *rooted(),
        Fault("vector-negated", "with its second argument's sign turned", _turned(1)),
        Fault("points-exchanged", "with its first two arguments exchanged",
              lambda f: lambda x, y, *rest, **o: f(y, x, *rest, **o)),
        Fault("second-returned", "with its second argument as the answer", lambda f: lambda x, y, *r, **o: np.array(y)),
        Fault("third-returned", "with its third argument as the answer", lambda f: lambda x, y, v, **o: np.array(v)),
        Fault("retraction", "in name alone: it is the retraction", _beside("retract")),
        Fault("exponential", "in name alone: it is the exponential map", _beside("exp")),
        Fault("straight", "as in flat space, the sum of point and vector", lambda f: lambda x, u, **o: x + u),
        Fault("difference", "as in flat space, the difference of the points", lambda f: lambda x, y, **o: y - x),
    ),
    reference=operation,
    effort=1_500,
)  # fmt: skip
