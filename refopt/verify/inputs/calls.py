"""The calls on which functions of arrays are compared, and the faults that are known of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refopt.core.arrays import to_numpy
from refopt.core.registry import STEPPING
from refopt.core.rng import generator

# Kinds whose members are functions of arrays; `refopt.verify.runs.functions` compares them.
FUNCTIONS = ("matfun", "solver", "transport")
# What can be held against another implementation.
COMPARED = (*STEPPING, *FUNCTIONS)


Reference = Callable[..., np.ndarray]


@dataclass(frozen=True, eq=False)
class Case:
    """One call: a name, the arguments, and the keywords that both sides get where they take them.

    Parameters
    ----------
    name : str
    args : tuple
    options : dict
        By the reference's names.
    symmetric : bool
        The first argument stays symmetric when it is perturbed.
    needs : tuple of str
        Options that the other side must take, or the case is left out.
    slack : float
        A relative difference that the stop of an iteration explains.
    """

    name: str
    args: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    symmetric: bool = False
    needs: tuple[str, ...] = ()
    slack: float = 0.0


@dataclass(frozen=True)
class Fault:
    """A known way in which implementations of a function differ.

    Parameters
    ----------
    name, what : str
        As of `refopt.verify.variants.deviation.Deviation`.
    change : callable
        ``change(reference)`` returns the changed function of the same arguments.
    """

    name: str
    what: str
    change: Callable[[Reference], Reference]


@dataclass(frozen=True, eq=False)
class Kind:
    """What comparing one kind of function takes: cases, faults, and how to read an answer."""

    cases: Callable[[str, int], list[Case]]
    faults: Sequence[Fault]
    read: Callable[[Any], np.ndarray]
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def as_array(value: Any) -> np.ndarray:
    """Return an answer as a NumPy array."""
    return np.asarray(to_numpy(value) if hasattr(value, "shape") else value, dtype=np.float64)


# --- matrix functions ------------------------------------------------------------------------------


def spd(rng: np.random.Generator, n: int, condition: float) -> np.ndarray:
    """Return a random symmetric positive definite matrix with largest eigenvalue 2."""
    q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    a = (q * np.geomspace(2.0 / condition, 2.0, n)) @ q.T
    return (a + a.T) / 2


GENERAL = ("polar-newton-schulz", "spectral-norm-gram", "spectral-norm-power", "inverse-newton")


TWO = ("bures-wasserstein-distance", "spd-distance")


def matrix_cases(name: str, seed: int) -> list[Case]:
    """Return matrices that the function is defined on."""
    rng = generator(seed, "tape", 3000)
    if name in GENERAL:
        wide, tall = rng.standard_normal((3, 6)), rng.standard_normal((6, 3))
        square = spd(rng, 5, 10.0) + 0.3 * rng.standard_normal((5, 5))
        return [Case("square", (square,)), Case("wide", (wide,)), Case("tall", (tall,))]
    made = [
        Case("well conditioned", (spd(rng, 5, 10.0),), symmetric=True),
        Case("condition 1e4", (spd(rng, 6, 1e4),), symmetric=True),
        Case("scaled by 100", (100.0 * spd(rng, 4, 10.0),), symmetric=True),
        Case("one by one", (np.array([[0.25]]),), symmetric=True),
        Case("diagonal", (np.diag([0.5, 1.0, 2.0]),), symmetric=True),
    ]
    if name in TWO:
        return [Case(c.name, (c.args[0], spd(rng, c.args[0].shape[0], 8.0)), symmetric=False) for c in made]
    if name == "lyapunov-sign":
        return [Case(c.name, (c.args[0], _symmetric(rng, c.args[0].shape[0])), symmetric=False) for c in made]
    return made


def _symmetric(rng: np.random.Generator, n: int) -> np.ndarray:
    c = rng.standard_normal((n, n))
    return c + c.T


def _first(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Reference], Reference]:
    return lambda f: lambda a, *rest, **options: f(change(a), *rest, **options)


def _after(change: Callable[[Any], Any]) -> Callable[[Reference], Reference]:
    return lambda f: lambda *args, **options: change(f(*args, **options))


MATRIX_FAULTS = (
    Fault("transposed", "transposed", _after(lambda v: np.swapaxes(as_array(v), -1, -2))),
    Fault("negated", "with its sign turned", _after(lambda v: -as_array(v))),
    Fault("squared", "squared entry by entry", _after(lambda v: as_array(v) ** 2)),
    Fault("rooted", "with the root of every entry", _after(lambda v: np.sqrt(as_array(v)))),
    Fault("doubled", "times two", _after(lambda v: 2.0 * as_array(v))),
    Fault("halved", "divided by two", _after(lambda v: 0.5 * as_array(v))),
    Fault("inverted", "with the inverse matrix as the answer", _after(lambda v: np.linalg.inv(as_array(v)))),
    Fault("matrix-squared", "with the answer's matrix square", _after(lambda v: as_array(v) @ as_array(v))),
    Fault("normalised", "of the matrix over its Frobenius norm", _first(lambda a: a / np.linalg.norm(a))),
    Fault("trace-normalised", "of the matrix over its trace", _first(lambda a: a / np.trace(a))),
    Fault("entrywise", "of the diagonal alone", _first(lambda a: np.diag(np.diag(a)))),
    Fault(
        "upper-triangle", "of the upper triangle, mirrored", _first(lambda a: np.triu(a) + np.triu(a, 1).T)
    ),
    Fault("ridge-1e-12", "of the matrix plus 1e-12 I", _first(lambda a: a + 1e-12 * np.eye(*a.shape))),
    Fault("ridge-1e-10", "of the matrix plus 1e-10 I", _first(lambda a: a + 1e-10 * np.eye(*a.shape))),
    Fault("ridge-1e-8", "of the matrix plus 1e-8 I", _first(lambda a: a + 1e-8 * np.eye(*a.shape))),
    Fault("ridge-1e-6", "of the matrix plus 1e-6 I", _first(lambda a: a + 1e-6 * np.eye(*a.shape))),
    Fault("single-precision", "computed in single precision", _first(lambda a: a.astype(np.float32))),
)


# --- linear solvers --------------------------------------------------------------------------------


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
    Fault("negated", "with its sign turned", _after(lambda r: -read_solution(r))),
    Fault("undefined-at-zero", "with NaN where the right side is zero (0/0)",
          lambda f: lambda a, b, **o: read_solution(f(a, b, **o)) * (1.0 if np.any(b) else np.nan)),
)  # fmt: skip


# --- transport -------------------------------------------------------------------------------------


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
    Fault("transposed", "with the plan transposed", _after(lambda r: read_plan(r).T)),
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
          _after(lambda r: read_plan(r) * read_plan(r).shape[0])),
    Fault("half-a-pass-less", "with the last half-step's column marginal left to tolerance",
          lambda f: lambda a, b, c, reg, **o: f(a, b, c, reg, **{**o, "first": "columns"})),
)  # fmt: skip


KINDS: dict[str, Kind] = {
    "matfun": Kind(matrix_cases, MATRIX_FAULTS, as_array),
    "cg": Kind(
        solver_cases,
        SOLVER_FAULTS,
        read_solution,
        {"rtol": ("tol",), "maxiter": ("max_iter", "iterations", "n_iter")},
    ),
    "sinkhorn": Kind(transport_cases, TRANSPORT_FAULTS, read_plan, {"tol": ("stopThr", "threshold", "atol")}),
}
for _name in ("sinkhorn-log", "sinkhorn-newton-sparse", "quadratic-ot", "sparse-ot"):
    KINDS[_name] = KINDS["sinkhorn"]
KINDS["pcg"] = KINDS["cg"]
