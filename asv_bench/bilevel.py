"""Methods for two levels, by what they ask for until a target: ``python -m asv_bench.bilevel [METHOD ...] [--record]``.

With ``phi(x) = F(x, y*(x))``, solved exactly, the target is ``phi <= phi* + (phi_0 - phi*) / 10``, phi* what L-BFGS reaches on phi
with the exact hypergradient. Every method has the same search over the upper player's rate; lower rates are 1 / L of the lower
level. What is counted is in hypergradient-equivalents: one is what ift-cg asks a step with 10 lower steps and 10 passes of
conjugate gradients, 33 gradient equivalents. phi is looked at after steps that are a sixth apart, so that a figure is up to a
sixth too large.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import refopt
import scipy.optimize
from refopt.core.counts import COST
from refopt.core.errors import RefoptError

from asv_bench import record

# F's gradient, ten lower steps, ten Hessian products and the mixed one.
HYPERGRADIENT = COST["upper_grad"] + 10 * COST["lower_grad"] + 10 * COST["lower_hvp"] + COST["lower_mixed"]
SPACING = 7 / 6
BUDGET = 200 * HYPERGRADIENT
RATES = (1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4)
PROBLEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "quadratic": ("bilevel-quadratic", {"n_upper": 5, "n_lower": 10, "condition_number": 5.0}),
    "ridge penalties": ("ridge-hyperparameter", {"n": 10, "per_block": 20}),
    "data reweighting, digits": ("data-reweighting", {"n": 50}),
}


def methods(L: float, n: int) -> dict[str, dict[str, Any]]:
    """Return what is run, with lower rates for a lower level whose gradient has the Lipschitz constant L; n upper unknowns.

    A hypernetwork's own steps have the Lipschitz constant L (1 + σ² n), n σ² the mean square of a draw.
    """
    b = 1.0 / L
    return {
        "ift-cg": {"lower_lr": b, "lower_steps": 10, "cg_steps": 10},
        "ift-neumann, 10 terms": {"lower_lr": b, "lower_steps": 10, "terms": 10},
        "ift-neumann, 30 terms": {"lower_lr": b, "lower_steps": 10, "terms": 30},
        "penalty-bilevel": {"lower_lr": b / 1.1, "sigma": 0.1, "lower_steps": 10},
        "scalebio": {"alpha": 10.0, "w_lr": b / 11.0, "u_lr": b / 10.0},
        "bamm": {"lower_lr": b, "multiplier_lr": b, "mu": 0.0},
        "nested": {"form": "hypernetwork", "lower_lr": b / 2.0, "sigma": n**-0.5},
        "maid": {},
    }


def lower_lipschitz(problem: Any) -> float:
    """Return a Lipschitz constant of the lower gradient where the run begins."""
    if getattr(problem, "lower_lipschitz", None):
        return float(problem.lower_lipschitz)
    return float(np.linalg.eigvalsh(problem.hessians(problem.start(0)["upper"]))[..., -1].max())


def value(problem: Any, x: np.ndarray) -> float:
    """Return phi(x)."""
    return float(problem.upper_value({"upper": x, "lower": problem.response(x)}))


def least(problem: Any, x: np.ndarray) -> float:
    """Return what L-BFGS reaches from x with exact hypergradients."""
    found = scipy.optimize.minimize(
        lambda u: (value(problem, u), problem.hypergradient(u)),
        x,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 60},
    )
    return float(found.fun)


def spent(problem: Any, name: str, target: float, **given: Any) -> float:
    """Return the gradient equivalents until phi is at most `target`, infinity if the budget ends first, NaN if it does not fit."""
    found, count, look = math.inf, 0, 1

    def watch(*, intermediate_result: Any) -> None:
        nonlocal found, count, look
        count += 1
        if count < look:
            return
        look = max(count + 1, math.ceil(count * SPACING))
        x = intermediate_result.x["upper"]
        if np.abs(x).max() > 1e3:
            raise StopIteration
        if value(problem, x) <= target:
            found = intermediate_result.gradient_equivalents
            raise StopIteration

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            refopt.minimize(
                problem,
                name,
                steps=10**6,
                max_calls=BUDGET,
                record_every=10**9,
                callback=watch,
                seed=0,
                **given,
            )
    except RefoptError:
        return math.nan
    return found


def main() -> None:
    options = record.of_methods(__doc__)
    recorder, rows = record.Recorder(record.command("bilevel")), []
    cells: dict[str, list[str]] = {}
    for title, (problem_name, settings) in PROBLEMS.items():
        problem = refopt.problem(problem_name, **settings)
        x0 = problem.start(0)["upper"]
        first, last = value(problem, x0), least(problem, x0)
        target = last + (first - last) / 10
        print(f"{title}: phi {first:.4g} at the start, {last:.4g} by L-BFGS, target {target:.4g}", flush=True)
        L = lower_lipschitz(problem)
        for name, given in methods(L, x0.size).items():
            method = name.split(",")[0]
            if options.names and method not in options.names:
                continue
            tried = {lr: spent(problem, method, target, lr=lr, **given) for lr in RATES}
            lr = min(tried, key=tried.__getitem__)
            cell = f"{tried[lr] / HYPERGRADIENT:.3g} (lr {lr:g})"
            if not math.isfinite(tried[lr]):
                cell = "not met" if tried[lr] == math.inf else ""
            cells.setdefault(name, []).append(cell)
            met = math.isfinite(tried[lr])
            outcome = "met" if met else "not met" if tried[lr] == math.inf else "does not fit"
            rows.append(
                [title, name, outcome, tried[lr] / HYPERGRADIENT if met else None, lr if met else None]
            )
            print(f"  {name}: {cell}", flush=True)
    print("| method | " + " | ".join(PROBLEMS) + " |\n" + "|---" * (1 + len(PROBLEMS)) + "|")
    for name, row in cells.items():
        print(f"| {name} | " + " | ".join(row) + " |")
    if options.record:
        recorder.write("bilevel", ("problem", "method", "outcome", "hypergradients", "lr"), rows)


if __name__ == "__main__":
    main()
