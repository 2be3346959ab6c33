"""Which comparison a name has."""

from __future__ import annotations

from collections.abc import Mapping

from refopt.core.errors import UnknownNameError, nearest
from refopt.core.registry import STEPPING, entry
from refopt.linear.preconditioners import NAMED
from refopt.verify.inputs.calls.aggregators import AGGREGATORS
from refopt.verify.inputs.calls.case import Kind
from refopt.verify.inputs.calls.curvatures import CURVATURES
from refopt.verify.inputs.calls.diagnostics import DIAGNOSTICS
from refopt.verify.inputs.calls.manifolds import OPERATIONS, POINTS, SHAPES, UNKNOWN
from refopt.verify.inputs.calls.matrices import MATRICES
from refopt.verify.inputs.calls.plans import OWN_PLANS, PLANS, VALUES
from refopt.verify.inputs.calls.problems import PROBLEMS
from refopt.verify.inputs.calls.schedules import SCHEDULES
from refopt.verify.inputs.calls.systems import OWN, OWN_SYSTEMS, PRECONDITIONERS, SYSTEMS

# Kinds whose members are compared call by call, and not step by step.
FUNCTIONS: Mapping[str, Kind] = {
    "matfun": MATRICES,
    "solver": SYSTEMS,
    "transport": PLANS,
    "aggregator": AGGREGATORS,
    "schedule": SCHEDULES,
    "curvature": CURVATURES,
    "problem": PROBLEMS,
    "diagnostic": DIAGNOSTICS,
}

# Names whose arguments are not their kind's.
NAMES: Mapping[str, Kind] = {
    **dict.fromkeys(OWN, OWN_SYSTEMS),
    **dict.fromkeys(("sinkhorn-divergence", "monge-gap", "sliced-mmd", "spd-sliced-wasserstein"), VALUES),
    **dict.fromkeys(("sinkhorn-unbalanced", "exact-ot", "sinkhorn-normalize"), OWN_PLANS),
}

# What can be held against another implementation.
COMPARED = (*STEPPING, *FUNCTIONS)


def parts() -> dict[str, Kind]:
    """Return what has a comparison and no entry of its own: operations of manifolds, preconditioners."""
    out = {f"{m}.{o}": POINTS for m in SHAPES for o in OPERATIONS if (m, o) not in UNKNOWN}
    return {**out, **{f"preconditioner.{name}": PRECONDITIONERS for name in NAMED}}


def kind_of(name: str) -> Kind | None:
    """Return how functions like `name` are compared; None for what takes steps.

    Raises
    ------
    UnknownNameError
        Nothing that can be compared has this name.
    """
    if isinstance(name, str) and "." in name:
        known = parts()
        if name not in known:
            raise UnknownNameError(f"name: nothing is called {name!r}.{nearest(name, known)}")
        return known[name]
    found = entry(name, COMPARED)
    return NAMES.get(name) or FUNCTIONS.get(found.kind)
