"""Linear solvers: the systems they are given, and what goes wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core.rng import generator
from refopt.linear.preconditioners import NAMED
from refopt.verify.inputs.calls.case import Case, Fault, Kind, Reference, after, as_array, first, negated
from refopt.verify.inputs.calls.matrices import spd


def solver_cases(name: str, seed: int) -> list[Case]:
    """Return systems, cut off after few steps and run to tolerances."""
    rng = generator(seed, "tape", 3100)
    out = []
    for label, a in (
        ("well conditioned", spd(rng, 40, 10.0)),
        ("condition 1e3", spd(rng, 40, 1e3)),
        ("scaled by 1e4", 1e4 * spd(rng, 40, 30.0)),
    ):
        b = rng.standard_normal(a.shape[0]) * 10.0
        x0 = rng.standard_normal(a.shape[0])
        for steps in (1, 2, 4):
            out.append(
                Case(
                    f"{label}, {steps} step{'s' * (steps > 1)}",
                    (a, b),
                    {"rtol": 0.0, "maxiter": steps},
                    symmetric=True,
                    needs=("maxiter",),
                )
            )
        out.append(
            Case(f"{label}, from a start", (a, b), {"rtol": 0.0, "maxiter": 2, "x0": x0}, symmetric=True,
                 needs=("maxiter", "x0"))
        )  # fmt: skip
        for rtol in (1e-2, 1e-5):
            out.append(
                Case(f"{label}, rtol {rtol:g}", (a, b), {"rtol": rtol}, symmetric=True, needs=("rtol",))
            )
        out.append(
            Case(f"{label}, rtol 1e-3 from a far start", (a, b), {"rtol": 1e-3, "x0": 1e3 * x0}, symmetric=True,
                 needs=("rtol", "x0"))
        )  # fmt: skip
        out.append(
            Case(f"{label}, solved", (a, b), {"rtol": 1e-14, "maxiter": 100}, symmetric=True, slack=1e-9)
        )
    out.append(Case("nothing to solve for", (spd(rng, 5, 10.0), np.zeros(5)), symmetric=True))
    return out


def read_solution(value: Any) -> np.ndarray:
    """Return x from x, ``(x, ...)`` or an object with x."""
    if hasattr(value, "x"):
        value = value.x
    return as_array(value[0] if isinstance(value, tuple) else value)


def _stopping(test: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float], bool]) -> Any:
    """Stop the reference's iterates by ``test(A, b, x0, x, rtol)``."""

    def change(f: Reference) -> Reference:
        def run(a: Any, b: Any, **options: Any) -> Any:
            rtol, most = options.get("rtol", 1e-5), options.get("maxiter") or 10 * b.shape[0]
            x0 = options.get("x0", np.zeros_like(b))
            seen: list[np.ndarray] = []
            kept = {k: v for k, v in options.items() if k not in ("rtol", "maxiter")}
            f(a, b, **kept, rtol=0.0, maxiter=most, callback=lambda x: seen.append(np.array(x)))
            for x in [x0, *seen]:
                if test(a, b, x0, x, rtol):
                    return x
            return seen[-1] if seen else x0

        return run

    return change


def _norm(v: np.ndarray) -> float:
    return float(np.linalg.norm(v))


SOLVER_FAULTS = (
    Fault("stop-relative-to-start", "stopping at rtol times the start's residual",
          _stopping(lambda a, b, x0, x, rtol: _norm(b - a @ x) <= rtol * _norm(b - a @ x0))),
    Fault("stop-absolute", "stopping at rtol as an absolute bound of the residual",
          _stopping(lambda a, b, x0, x, rtol: _norm(b - a @ x) <= rtol)),
    Fault("stop-squared", "stopping at rtol of the squared residual norm",
          _stopping(lambda a, b, x0, x, rtol: _norm(b - a @ x) ** 2 <= rtol * _norm(b) ** 2)),
    Fault("stop-squared-absolute", "stopping where the squared residual norm is at most rtol",
          _stopping(lambda a, b, x0, x, rtol: _norm(b - a @ x) ** 2 <= rtol)),
    Fault("stop-squared-against-rtol-squared-start", "stopping at rtol of the start's squared residual norm",
          _stopping(lambda a, b, x0, x, rtol: _norm(b - a @ x) ** 2 <= rtol * _norm(b - a @ x0) ** 2)),
    Fault("stop-squared-against-norm", "stopping where the squared residual norm is at most rtol times the right side's norm",
          _stopping(lambda a, b, x0, x, rtol: _norm(b - a @ x) ** 2 <= rtol * _norm(b))),
    Fault("stop-largest-entry", "stopping by the residual's largest entry",
          _stopping(lambda a, b, x0, x, rtol: np.max(np.abs(b - a @ x)) <= rtol * np.max(np.abs(b)))),
    Fault("stop-root-mean-square", "stopping at rtol as an absolute bound of the root mean square residual",
          _stopping(lambda a, b, x0, x, rtol: _norm(b - a @ x) / b.size**0.5 <= rtol)),
    Fault("start-ignored", "ignoring the start",
          lambda f: lambda a, b, **o: f(a, b, **{k: v for k, v in o.items() if k != "x0"})),
    Fault("one-step-more", "making one step more than asked",
          lambda f: lambda a, b, **o: f(a, b, **({**o, "maxiter": o["maxiter"] + 1} if "maxiter" in o else o))),
    Fault("one-step-less", "making one step less than asked",
          lambda f: lambda a, b, **o: f(a, b, **({**o, "maxiter": o["maxiter"] - 1} if "maxiter" in o else o))),
    Fault("negated", "with its sign turned", after(lambda r: -read_solution(r))),
    Fault("undefined-at-zero", "with NaN where the right side is zero (0/0)",
          lambda f: lambda a, b, **o: read_solution(f(a, b, **o)) * (1.0 if np.any(b) else np.nan)),
)  # fmt: skip


# --- solvers with arguments of their own ------------------------------------------------------------


def _solved(rng: np.random.Generator, **options: Any) -> list[Case]:
    """Return systems that are solved to their end, whatever was drawn on the way."""
    return [
        Case(f"order {n}, condition {k:g}", (spd(rng, n, k), rng.standard_normal(n)), options, symmetric=True, slack=1e-7)
        for n, k in ((5, 4.0), (8, 10.0))
    ]  # fmt: skip


def _sketched(rng: np.random.Generator) -> list[Case]:
    return _solved(rng, rtol=1e-12, sketch_size=4)


def _at_low_temperature(rng: np.random.Generator) -> list[Case]:
    return _solved(rng, beta=1e24, steps=10)


def _constrained(rng: np.random.Generator) -> list[Case]:
    mask = np.diag([1.0, 0.0, 1.0, 1.0, 0.0])
    wide = rng.standard_normal((4, 7))
    return [
        Case("a mask", (mask, mask @ rng.standard_normal(5), rng.standard_normal(5)), slack=1e-9),
        Case("wide", (wide, rng.standard_normal(4), rng.standard_normal(7)), slack=1e-9),
        Case(
            "wide, two passes", (wide, rng.standard_normal(4), rng.standard_normal(7)), {"passes": 2}, needs=("passes",)
        ),
    ]  # fmt: skip


def _models(rng: np.random.Generator) -> list[Case]:
    W = rng.standard_normal((3, 4, 2))
    A = np.stack([spd(rng, 4, 5.0) for _ in range(3)])
    G = np.stack([spd(rng, 2, 3.0) for _ in range(3)])
    return [
        Case("inputs' statistics", (W, A), {"rtol": 1e-13}, slack=1e-9),
        Case("both statistics", (W, A, G), {"rtol": 1e-13}, slack=1e-9),
    ]


def _channels(rng: np.random.Generator) -> list[Case]:
    H = rng.standard_normal((4, 3)) + 1j * rng.standard_normal((4, 3))
    return [
        Case("complex channel", (H, 0.5), slack=1e-8),
        Case("twice the power", (H, 0.1), {"power": 2.0}, needs=("power",), slack=1e-8),
    ]


def _incomplete(rng: np.random.Generator) -> list[Case]:
    out = []
    for n, m, rank in ((12, 10, 1), (15, 12, 2)):
        M = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, m))
        mask = (rng.random((n, m)) < 0.8) * 1.0
        out.append(Case(f"{n} x {m} of rank {rank}", (M * mask, mask, rank), {"tol": 1e-12}, slack=1e-7))
    return out


def _grids(rng: np.random.Generator) -> list[Case]:
    A, b = spd(rng, 12, 50.0), rng.standard_normal(12)
    near = np.linalg.inv(A) + 0.05 * np.diag(rng.random(12))

    def rough(r: np.ndarray) -> np.ndarray:
        return near @ (r + 0.1 * np.abs(r))

    return [
        Case(f"{k} pass{'es' * (k > 1)}", (A, b), {"inverse": rough, "rtol": 0.0, "maxiter": k}, symmetric=True,
             needs=("inverse", "maxiter"))
        for k in (1, 2, 4)
    ] + [Case("solved", (A, b), {"inverse": rough, "rtol": 1e-12}, symmetric=True, slack=1e-8)]  # fmt: skip


def _registrations(rng: np.random.Generator) -> list[Case]:
    q = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    degenerate = np.diag([40.0, 30.0, 0.5, 100.0, 80.0, 1.0])
    coupled = 20.0 * spd(rng, 6, 4.0)
    return [
        Case("one weak direction in each block", (degenerate, rng.standard_normal(6)), {"rtol": 1e-12}, slack=1e-9),
        Case("coupled", ((coupled + q @ q.T) / 2, rng.standard_normal(6)), {"rtol": 1e-12}, symmetric=True, slack=1e-9),
    ]  # fmt: skip


def _sequences(rng: np.random.Generator) -> list[Case]:
    systems = [(spd(rng, 6, 8.0), rng.standard_normal(6)) for _ in range(4)]
    return [Case("four systems", (systems,), {"rtol": 1e-12}, slack=1e-8)]


OWN: dict[str, Callable[[np.random.Generator], list[Case]]] = {
    "iterative-sketching": _sketched,
    "thermodynamic": _at_low_temperature,
    "dds-cg": _constrained,
    "mats": _models,
    "mmse-cg": _channels,
    "altmin": _incomplete,
    "dcdm": _grids,
    "dcreg-pcg": _registrations,
    "sor-bandit": _sequences,
}


def own_cases(name: str, seed: int) -> list[Case]:
    """Return the calls of a solver whose arguments are its own."""
    return OWN[name](generator(seed, "tape", 3150))


def read_answer(value: Any) -> np.ndarray:
    """Return x, the completed matrix of factors, or the solutions of several systems, one after the other."""
    if hasattr(value, "U"):
        return as_array(value.U @ value.V.T)
    value = getattr(value, "solutions", value)
    return np.concatenate([as_array(v) for v in value]) if isinstance(value, list) else read_solution(value)


ALIASES = {"rtol": ("tol",), "maxiter": ("max_iter", "iterations", "n_iter")}

SYSTEMS = Kind(solver_cases, SOLVER_FAULTS, read_solution, ALIASES)

# What each of them draws or stops by is its own; the usual slips are not.
OWN_FAULTS = negated(read_answer)

OWN_SYSTEMS = Kind(own_cases, OWN_FAULTS, read_answer, ALIASES, effort=2_000)


def applied_cases(name: str, seed: int) -> list[Case]:
    """Return matrices and residuals that a preconditioner is applied to."""
    rng, out = generator(seed, "tape", 3160), []
    for n in (6, 9):
        A = spd(rng, n, 20.0) + np.diag(rng.random(n))
        out.append(Case(f"order {n}", (A, rng.standard_normal(n)), symmetric=True))
    line = 2.0 * np.eye(8) - np.eye(8, k=1) - np.eye(8, k=-1)
    return [*out, Case("a line of points", (line, rng.standard_normal(8)), symmetric=True)]


def applied(name: str) -> Reference:
    """Return the preconditioner as a function of the matrix and the residual."""
    build = NAMED[name.partition(".")[2]][0]
    return lambda A, r, **options: build(A, **options).apply(r)


PRECONDITIONERS = Kind(
    applied_cases,
    (
        *negated(read_answer),
        Fault("of-the-identity", "leaving the residual as it is", lambda f: lambda A, r, **o: np.array(r)),
        Fault("not-inverted", "with the product in place of the solve",
              lambda f: lambda A, r, **o: np.linalg.solve(np.stack([f(A, e, **o) for e in np.eye(len(r))], axis=1), r)),
        Fault("of-the-upper-triangle", "of the upper triangle alone", first(np.triu)),
    ),
    reference=applied,
)  # fmt: skip
