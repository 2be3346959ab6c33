"""L-BFGS and its line searches."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.optimizers.common.line_search import Line, backtracking, strong_wolfe, zoom
from scipy.optimize import minimize

from tests.alike import steps_on
from tests.parity.case import Arrays, Case
from tests.parity.peers.authors import Quartic
from tests.streams import schedule

FUNCTIONS = {
    # Of one variable, with their slopes; from 0, downhill.
    "quartic": (lambda t: (t - 3.0) ** 4, lambda t: 4.0 * (t - 3.0) ** 3),
    "wall": (lambda t: -t - 0.3 * np.log(0.5 - t) if t < 0.5 else np.inf, lambda t: -1.0 + 0.3 / (0.5 - t) if t < 0.5 else np.nan),
    "flat": (lambda t: -1e-3 * t + 1e-9 * t**4, lambda t: -1e-3 + 4e-9 * t**3),
    "cusp": (lambda t: (t - 0.7) ** 2 + 5.0 * np.logaddexp(0.0, 30.0 * (t - 0.8)) / 30.0,
        lambda t: 2.0 * (t - 0.7) + 5.0 / (1.0 + np.exp(-30.0 * (t - 0.8)))),
}  # fmt: skip


def _line(f: Any, slope: Any) -> Line:
    problem = refopt.from_functions(
        lambda x: float(f(x[0])), lambda x: np.array([slope(x[0])]), x0=np.zeros(1)
    )
    return Line(Oracle(problem), np.zeros(1), np.ones(1))


@pytest.mark.claim("lbfgs")
@pytest.mark.parametrize("name", ["quartic", "wall", "flat", "cusp"])
@pytest.mark.parametrize("first", [1e-3, 0.4, 30.0])
def test_the_wolfe_conditions_hold_where_the_searches_end(name: str, first: float) -> None:
    """Four functions, one with a wall behind which it is infinite, from first steps of 0.001 to 30: both conditions with c2 = 0.1
    within 40 points; backtracking fulfils the first within 60, with the longest of its steps that does."""
    f, slope = FUNCTIONS[name]
    f0, s0 = float(f(0.0)), float(slope(0.0))
    with np.errstate(over="ignore"):
        for search in (strong_wolfe, zoom):
            line = _line(f, slope)
            t = search(line, f0, s0, first, c1=1e-4, c2=0.1, most=40)
            assert f(t) <= f0 + 1e-4 * t * s0
            assert abs(slope(t)) <= 0.1 * abs(s0)
            assert line.oracle.counts.calls["grad"] <= 40
        t = backtracking(_line(f, slope), f0, s0, first, c1=1e-4, most=60)
        assert f(t) <= f0 + 1e-4 * t * s0
        assert t == first or f(t / 0.8) > f0 + 1e-4 * t / 0.8 * s0


@pytest.mark.claim("lbfgs")
def test_on_a_quadratic_with_exact_steps_it_is_conjugate_gradients() -> None:
    """Exact line searches on a quadratic of six variables: the points are those of CG, to 1e-9, with memory 1 too, and the sixth is the
    minimum."""
    rng = np.random.default_rng(1)
    M = rng.standard_normal((6, 6))
    A, b = M @ M.T + np.eye(6), rng.standard_normal(6)
    x = r = p = None
    for memory in (1, 10):
        o = refopt.optimizer("lbfgs", line_search="none", memory=memory)
        x, y = np.zeros(6), np.zeros(6)
        r = b - A @ y
        p, s = r, o.init(x)
        for _ in range(6):
            g = A @ x - b
            d = o.direction(g, o.pairs(x, g, s), s["t"] == 0)
            exact = refopt.optimizer(
                "lbfgs", line_search="none", memory=memory, lr=float(-(g @ d) / (d @ A @ d))
            )
            x, s = exact.update(x, g, s)
            alpha = (r @ r) / (p @ A @ p)
            y, before = y + alpha * p, r @ r
            r = r - alpha * A @ p
            p = r + (r @ r) / before * p
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(A @ x, b, atol=1e-9)


@pytest.mark.identity("lbfgs")
def test_with_room_for_all_pairs_it_is_bfgs_written_out() -> None:
    """Dense BFGS from ``H = (sᵀy / yᵀy) I``, the last eight pairs applied anew at every step: 15 steps on a sum of quartics, to 1e-9."""
    problem = Quartic(3)
    for memory in (4, 50):
        o = refopt.optimizer("lbfgs", memory=memory, first="l1")
        x, oracle = problem.start, Oracle(problem)
        s, pairs, last = o.init(x), [], None
        for t in range(1, 16):
            oracle.begin(t)
            g = problem.join(problem.grad(x))
            here = problem.join(x)
            if last is not None:
                step, change = here - last[0], g - last[1]
                pairs = ([*pairs, (step, change)] if step @ change > 0 else pairs)[-memory:]
            if pairs:
                H = np.eye(here.size) * (pairs[-1][0] @ pairs[-1][1]) / (pairs[-1][1] @ pairs[-1][1])
                for step, change in pairs:
                    V = np.eye(here.size) - np.outer(step, change) / (step @ change)
                    H = V @ H @ V.T + np.outer(step, step) / (step @ change)
                d = -H @ g
            else:
                d = -g * min(1.0, 1.0 / np.sum(np.abs(g)))
            new, s = o.step(x, s, oracle)
            moved = problem.join(new) - here
            alpha = (moved @ d) / (d @ d)
            assert alpha > 0
            np.testing.assert_allclose(moved, alpha * d, rtol=1e-8, atol=1e-9 * np.max(np.abs(moved)))
            f, f_new = problem.value(x), problem.value(new)
            assert f_new <= f + 1e-4 * alpha * (g @ d)
            assert abs(problem.join(problem.grad(new)) @ d) <= 0.9 * abs(g @ d)
            last, x = (here, g), new


@pytest.mark.parametrize("line_search", ["strong-wolfe", "zoom"])
@pytest.mark.claim("lbfgs")
def test_beside_scipy_on_smooth_functions(line_search: str) -> None:
    """SciPy's L-BFGS-B with the same memory: the same minima of Rosenbrock's function in four variables and of a logistic loss, to 1e-5, and
    no more than a third more iterations."""
    rng = np.random.default_rng(2)
    Z, labels = rng.standard_normal((40, 6)), rng.choice([-1.0, 1.0], 40)

    def logistic(w: np.ndarray) -> float:
        return float(np.mean(np.logaddexp(0.0, -labels * (Z @ w))) + 0.005 * w @ w)

    def slope(w: np.ndarray) -> np.ndarray:
        return Z.T @ (-labels / (1.0 + np.exp(labels * (Z @ w)))) / 40 + 0.01 * w

    from scipy.optimize import rosen, rosen_der

    for f, g, x0 in ((rosen, rosen_der, np.full(4, -0.5)), (logistic, slope, np.zeros(6))):
        theirs = minimize(f, x0, jac=g, method="L-BFGS-B", options={"gtol": 1e-6, "ftol": 0.0})
        r = refopt.minimize(
            refopt.from_functions(f, g, x0=x0), "lbfgs", line_search=line_search, tol=1e-6, steps=300
        )
        assert r.success
        np.testing.assert_allclose(r.x, theirs.x, atol=1e-5)
        assert r.nit <= 1.34 * theirs.nit + 2


@pytest.mark.identity("lbfgs")
def test_backtracking_and_what_is_kept() -> None:
    """Backtracking lowers f by its condition and counts values; pairs of negative curvature are left out or kept; the point stays where
    nothing descends or the rate is zero; and dicts, one array and two arrays have one run."""
    problem = Quartic(1)
    points = steps_on(
        problem, refopt.optimizer("lbfgs", line_search="backtracking", c1=0.3), 12, problem.start
    )
    values = [problem.value(x) for x, _ in points]
    assert all(b < a for a, b in itertools.pairwise(values))
    for keeps in (True, False):
        o = refopt.optimizer("lbfgs", line_search="none", keeps_all=keeps, lr=0.1)
        x, s = o.update(np.ones(2), np.array([1.0, 0.0]), o.init(np.ones(2)))
        x, s = o.update(x, np.array([2.0, 0.0]), s)
        assert len(s["pairs"]) == int(keeps)
    floor = refopt.optimizer("lbfgs", line_search="none", curvature_floor=0.2, lr=0.1)
    x, s = floor.update(np.ones(1), np.array([1.0]), floor.init(np.ones(1)))
    assert len(floor.update(x, np.array([0.0]), s)[1]["pairs"]) == 0
    assert len(floor.update(x, np.array([-5.0]), s)[1]["pairs"]) == 1
    x, s = floor.update(np.ones(1), np.array([1.0]), floor.init(np.ones(1)))
    np.testing.assert_allclose(floor.update(x, np.array([5.0]), s)[0], x - 0.5, rtol=1e-14)
    every = refopt.optimizer("lbfgs", line_search="none", keeps_all=True, lr=0.1)
    x, s = every.update(np.ones(1), np.array([5.0]), every.init(np.ones(1)))
    np.testing.assert_allclose(every.update(x, np.array([5.0]), s)[0], x - 0.5, rtol=1e-14)
    assert every.needs == ("grad",)
    assert refopt.optimizer("lbfgs").needs == ("value", "grad")
    with pytest.raises(refopt.errors.CapabilityError):
        refopt.optimizer("lbfgs").update(x, x, refopt.optimizer("lbfgs").init(x))
    for first, longest in (("l2", 1.0), ("l1", 5.0 / 7.0), ("one", np.inf)):
        o = refopt.optimizer("lbfgs", line_search="none", first=first)
        for g in (np.array([3.0, 4.0]), np.array([0.9, 1.2]), np.array([0.3, 0.4])):
            x, _ = o.update(np.zeros(2), g, o.init(np.zeros(2)))
            np.testing.assert_allclose(x, -g * min(1.0, longest / np.linalg.norm(g)), rtol=1e-14)
    # A pair of negative curvature alone makes -H g climb: no search is made along it.
    climbs = refopt.optimizer("lbfgs", line_search="zoom", keeps_all=True)
    hill = refopt.from_functions(lambda x: -float(x @ x), lambda x: -2.0 * x, x0=np.ones(1))
    oracle, s = Oracle(hill), {**climbs.init(np.ones(1)), "t": 1, "x": np.zeros(1), "g": np.zeros(1)}
    oracle.begin(2)
    x, _ = climbs.step(np.ones(1), s, oracle)
    np.testing.assert_array_equal(x, np.ones(1))
    assert oracle.counts.calls == {"value": 1, "grad": 1}
    still = refopt.from_functions(lambda x: 1.0, np.zeros_like, x0=np.ones(2))
    np.testing.assert_array_equal(refopt.minimize(still, "lbfgs", steps=3).x, np.ones(2))
    bowl = refopt.from_functions(lambda x: float(x @ x), lambda x: 2.0 * x, x0=np.ones(2))
    np.testing.assert_array_equal(refopt.minimize(bowl, "lbfgs", lr=0.0, steps=3).x, np.ones(2))


def _torch(**options: Any) -> Any:
    """torch's LBFGS on the quartic, one iteration a call."""

    def side(seed: int) -> Arrays:
        import torch

        problem = Quartic(seed)
        p = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in problem.start.items()}
        o = torch.optim.LBFGS(list(p.values()), max_iter=1, max_eval=25, **options)
        base = o.param_groups[0]["lr"]

        closure = problem.closure(p)
        rows = []
        for t in range(1, 21):
            o.param_groups[0]["lr"] = base * schedule(t)
            o.step(closure)
            rows.append(problem.join({k: v.detach().numpy() for k, v in p.items()}))
        return {"x": np.stack([rows[t - 1] for t in KEPT])}

    return side


def _optax(linesearch: str) -> Any:
    """optax's lbfgs on the quartic."""

    def side(seed: int) -> Arrays:
        import jax
        import optax

        jax.config.update("jax_enable_x64", True)
        import jax.numpy as jnp

        problem = Quartic(seed)
        a = jnp.asarray(problem.a)

        def f(v: Any) -> Any:
            return 0.5 * v @ a @ v + jnp.sum(v**4) / 4

        searches = {"zoom": optax.scale_by_zoom_linesearch(20, initial_guess_strategy="one"), "none": None,
            "backtracking": optax.scale_by_backtracking_linesearch(19, increase_factor=np.inf)}  # fmt: skip
        o = optax.lbfgs(
            None if linesearch != "none" else lambda n: 0.3 * schedule(n + 1),
            memory_size=5,
            linesearch=searches[linesearch],
        )
        x, rows = jnp.asarray(problem.join(problem.start)), []
        s = o.init(x)
        for _ in range(20):
            value, g = jax.value_and_grad(f)(x)
            step, s = o.update(g, s, x, value=value, grad=g, value_fn=f)
            x = optax.apply_updates(x, step)
            rows.append(np.asarray(x))
        return {"x": np.stack([rows[t - 1] for t in KEPT])}

    return side


KEPT = (1, 2, 3, 5, 8, 12, 16, 20)


def _ours(**options: Any) -> Any:
    def side(seed: int) -> Arrays:
        problem = Quartic(seed)
        points = steps_on(problem, refopt.optimizer("lbfgs", **options), 20, problem.start)
        return {"x": np.stack([problem.join(points[t - 1][0]) for t in KEPT])}

    return side


SAYS = "on a sum of quartics of three leaves, 20 steps, to 1e-11."
WHY = "the curvature pairs amplify rounding by the condition of the problem"
CASES = [
    Case("lbfgs", "torch", "torch", _ours(dialect="torch", memory=4, evaluations=24, schedule=schedule),
        _torch(history_size=4, line_search_fn="strong_wolfe"), rtol=1e-11, why=WHY,
        says=f"torch.optim.LBFGS with its strong Wolfe search, four pairs and a scheduled first step {SAYS}"),
    Case("lbfgs", "torch-fixed", "torch", _ours(dialect="torch", memory=4, line_search="none", lr=0.5, schedule=schedule),
        _torch(history_size=4, lr=0.5), rtol=1e-11, why=WHY,
        says=f"torch.optim.LBFGS without a search {SAYS}"),
    Case("lbfgs", "optax", "optax", _ours(dialect="optax", memory=5), _optax("zoom"), rtol=1e-11, why=WHY,
        says=f"optax.lbfgs with its zoom search {SAYS}"),
    Case("lbfgs", "optax-backtracking", "optax", _ours(dialect="optax", memory=5, line_search="backtracking"), _optax("backtracking"),
        rtol=1e-11, why=WHY, says=f"optax.lbfgs with its backtracking search {SAYS}"),
    Case("lbfgs", "optax-fixed", "optax", _ours(dialect="optax", memory=5, line_search="none", lr=0.3, schedule=schedule), _optax("none"),
        rtol=1e-11, why=WHY, says=f"optax.lbfgs without a search under a schedule {SAYS}"),
]  # fmt: skip
