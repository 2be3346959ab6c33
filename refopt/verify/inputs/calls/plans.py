"""Transport: the masses and costs that solvers are given, and what goes wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core.rng import generator
from refopt.transport.slices import unit_vectors
from refopt.transport.spd_sliced_wasserstein import spectral
from refopt.verify.inputs.calls.case import Case, Fault, Kind, Reference, after, as_array, negated, rooted
from refopt.verify.inputs.calls.matrices import spd


def transport_cases(name: str, seed: int) -> list[Case]:
    """Return problems of unequal sizes and masses, solved to 1e-12."""
    rng = generator(seed, "tape", 3200)
    out = []
    for label, n, m, reg in (("square", 6, 6, 0.3), ("wide", 4, 7, 0.5), ("tall, sharper", 7, 5, 0.1)):
        x, y = rng.standard_normal((n, 2)), rng.standard_normal((m, 2))
        cost = ((x[:, None] - y[None]) ** 2).sum(-1)
        a, b = rng.random(n) + 0.2, rng.random(m) + 0.2
        tol = {"tol": 1e-12} if name in ("sinkhorn", "sinkhorn-log", "sinkhorn-newton-sparse") else {}
        # Quasi-Newton solvers of a smooth dual stop farther from the plan than matrix scaling does.
        slack = 1e-6 if tol else 1e-4
        out.append(Case(f"{label}, reg {reg:g}", (a / a.sum(), b / b.sum(), cost, reg), tol, slack=slack))
    return out


def read_plan(value: Any) -> np.ndarray:
    """Return the plan from a plan, ``(plan, ...)`` or an object with one."""
    if hasattr(value, "plan"):
        value = value.plan
    return as_array(value[0] if isinstance(value, tuple) else value)


def _given(
    change: Callable[[Any, Any, Any, float], tuple[Any, Any, Any, float]],
) -> Callable[[Reference], Reference]:
    return lambda f: lambda a, b, c, reg, **o: f(*change(a, b, c, reg), **o)


TRANSPORT_FAULTS = (
    Fault("marginals-exchanged", "with the two marginals exchanged (and the plan transposed back)",
          lambda f: lambda a, b, c, reg, **o: read_plan(f(b, a, c.T, reg, **o))),
    Fault("transposed", "with the plan transposed", after(lambda r: read_plan(r).T)),
    Fault("marginals-uniform", "with uniform marginals, whatever is given",
          _given(lambda a, b, c, reg: (np.full_like(a, a.sum() / a.size), np.full_like(b, b.sum() / b.size), c, reg))),
    Fault("cost-rooted", "with the root of the cost", _given(lambda a, b, c, reg: (a, b, np.sqrt(c), reg))),
    Fault("cost-squared", "with the cost squared", _given(lambda a, b, c, reg: (a, b, c * c, reg))),
    Fault("cost-over-its-maximum", "with the cost over its largest entry",
          _given(lambda a, b, c, reg: (a, b, c / c.max(), reg))),
    Fault("cost-over-its-median", "with the cost over its median",
          _given(lambda a, b, c, reg: (a, b, c / np.median(c), reg))),
    Fault("cost-over-its-mean", "with the cost over its mean", _given(lambda a, b, c, reg: (a, b, c / c.mean(), reg))),
    Fault("cost-halved", "with half the cost", _given(lambda a, b, c, reg: (a, b, 0.5 * c, reg))),
    Fault("cost-negated", "with the sign of the cost (or of reg) turned",
          _given(lambda a, b, c, reg: (a, b, -c, reg))),
    Fault("reg-inverted", "with 1/reg in reg's place", _given(lambda a, b, c, reg: (a, b, c, 1.0 / reg))),
    Fault("reg-halved", "with half of reg", _given(lambda a, b, c, reg: (a, b, c, 0.5 * reg))),
    Fault("reg-doubled", "with twice reg", _given(lambda a, b, c, reg: (a, b, c, 2.0 * reg))),
    Fault("total-not-kept", "with a plan that sums to the number of rows",
          after(lambda r: read_plan(r) * read_plan(r).shape[0])),
    Fault("half-a-pass-less", "with the last half-step's column marginal left to tolerance",
          lambda f: lambda a, b, c, reg, **o: f(a, b, c, reg, **{**o, "first": "columns"})),
)  # fmt: skip


# --- what is no plan of two marginals ----------------------------------------------------------------


def value_cases(name: str, seed: int) -> list[Case]:
    """Return samples, matrices or masses for what has arguments of its own."""
    return OWN[name](generator(seed, "tape", 3250))


def _clouds(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((7, 2)), rng.standard_normal((5, 2)) + 0.5


def _divergences(rng: np.random.Generator) -> list[Case]:
    x, y = _clouds(rng)
    return [
        Case(f"clouds of 7 and 5, reg {r:g}", (x, y, r), {"tol": 1e-12, "maxiter": 500}, slack=1e-7)
        for r in (0.3, 2.0)
    ]


def _maps(rng: np.random.Generator) -> list[Case]:
    x = rng.standard_normal((6, 2))
    return [
        Case(f"reg {r:g}", (x, rng.standard_normal((6, 2)), r), {"tol": 1e-12, "maxiter": 500}, slack=1e-7)
        for r in (0.3, 1.0)
    ]


def _discrepancies(rng: np.random.Generator) -> list[Case]:
    x, y = _clouds(rng)
    flat = rng.standard_normal((2, 9, 1))
    theta = unit_vectors(generator(0, "method"), 50, 2)
    return [
        Case("one dimension", (flat[0], flat[1]), {"slices": None}),
        Case("fifty directions", (x, y), {"slices": 50}, needs=("directions",), extras={"directions": theta}),
    ]


def _matrix_samples(rng: np.random.Generator) -> list[Case]:
    X, Y = (np.stack([spd(rng, 3, 6.0) for _ in range(n)]) for n in (5, 4))
    one = np.exp(rng.standard_normal((2, 6, 1, 1)))
    A = spectral(generator(0, "method"), 20, 3)
    return [
        Case("order one", (one[0], one[1])),
        Case("order three", (X, Y), {"slices": 20}, needs=("directions",), extras={"directions": A}),
    ]


def _unbalanced(rng: np.random.Generator) -> list[Case]:
    cost = rng.random((5, 4))
    a, b = rng.random(5) + 0.2, rng.random(4) + 0.2
    return [
        Case(f"reg 0.2, reg_a {r:g}", (a, b, cost, 0.2, r), {"tol": 1e-13, "maxiter": 500}, slack=1e-7) for r in (0.5, 3.0)
    ]  # fmt: skip


def _exact(rng: np.random.Generator) -> list[Case]:
    out = []
    for n, m in ((5, 5), (4, 6)):
        a, b = rng.random(n) + 0.2, rng.random(m) + 0.2
        out.append(Case(f"{n} to {m}", (a / a.sum(), b / b.sum(), rng.random((n, m))), slack=1e-9))
    return out


def _kernels(rng: np.random.Generator) -> list[Case]:
    return [
        Case("square", (rng.random((4, 4)) + 0.1,)),
        Case("three passes", (rng.random((5, 5)) + 0.1,), {"passes": 3}, needs=("passes",)),
    ]


OWN: dict[str, Callable[[np.random.Generator], list[Case]]] = {
    "sinkhorn-divergence": _divergences,
    "monge-gap": _maps,
    "sliced-mmd": _discrepancies,
    "spd-sliced-wasserstein": _matrix_samples,
    "sinkhorn-unbalanced": _unbalanced,
    "exact-ot": _exact,
    "sinkhorn-normalize": _kernels,
}


def read_value(value: Any) -> np.ndarray:
    """Return the number of a divergence or distance: itself, ``(value, ...)`` or an object's value."""
    value = getattr(value, "value", value)
    return as_array(value[0] if isinstance(value, tuple) else value)


TOLERANCES = {"tol": ("stopThr", "threshold", "atol"), "slices": ("n_projections", "num_projections")}

PLANS = Kind(transport_cases, TRANSPORT_FAULTS, read_plan, TOLERANCES, effort=600)

_EXCHANGED = Fault(
    "samples-exchanged", "with the two samples exchanged", lambda f: lambda x, y, *rest, **o: f(y, x, *rest, **o)
)  # fmt: skip
VALUES = Kind(
    value_cases,
    (
        *negated(read_value), *rooted(read_value), _EXCHANGED,
        Fault("reg-halved", "with half of reg", lambda f: lambda x, y, *r, **o: f(x, y, *(0.5 * v for v in r), **o)),
        Fault("reg-doubled", "with twice reg", lambda f: lambda x, y, *r, **o: f(x, y, *(2.0 * v for v in r), **o)),
    ),
    read_value, TOLERANCES, effort=600,
)  # fmt: skip
OWN_PLANS = Kind(value_cases, (*negated(read_plan), Fault("transposed", "with the plan transposed", after(
    lambda r: read_plan(r).T))), read_plan, TOLERANCES, effort=600)  # fmt: skip
