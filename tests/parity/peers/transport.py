"""Transport solvers beside POT and OTT."""

from __future__ import annotations

import importlib

import numpy as np

from tests.parity.case import Arrays, Case


def _problem(seed: int, n: int = 14, m: int = 11) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, 2)), rng.standard_normal((m, 2)) + 0.3
    C = ((x[:, None] - y) ** 2).sum(-1)
    a, b = rng.random(n) + 0.1, rng.random(m) + 0.1
    return a / a.sum(), b / b.sum(), C / C.max()


def _quiet(function, *arguments, **keywords):  # type: ignore[no-untyped-def]
    """Run a POT function without its warnings and stray prints."""
    import contextlib
    import io
    import warnings

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return function(*arguments, **keywords)


def _sinkhorn(seed: int) -> Arrays:
    from refopt.transport.sinkhorn import sinkhorn

    r = sinkhorn(*_problem(seed), 0.05, tol=0.0, maxiter=25, first="columns")
    f, g = r.potentials
    return {"plan": r.plan, "f": f - f.mean(), "g": g - g.mean()}


def _pot_sinkhorn(seed: int) -> Arrays:
    import ot

    P, log = _quiet(ot.bregman.sinkhorn_knopp, *_problem(seed), 0.05, stopThr=0.0, numItermax=25, log=True)
    f, g = 0.05 * np.log(log["u"]), 0.05 * np.log(log["v"])
    return {"plan": P, "f": f - f.mean(), "g": g - g.mean()}


def _sinkhorn_log(seed: int) -> Arrays:
    from refopt.transport.sinkhorn_log import sinkhorn_log

    r = sinkhorn_log(*_problem(seed), 1e-3, tol=0.0, maxiter=25, first="columns")
    return {"plan": r.plan, "f": r.potentials[0], "g": r.potentials[1]}


def _pot_sinkhorn_log(seed: int) -> Arrays:
    import ot

    P, log = _quiet(ot.bregman.sinkhorn_log, *_problem(seed), 1e-3, stopThr=0.0, numItermax=25, log=True)
    return {"plan": P, "f": 1e-3 * log["log_u"], "g": 1e-3 * log["log_v"]}


def _newton(seed: int) -> Arrays:
    from refopt.transport.sinkhorn_newton_sparse import sinkhorn_newton_sparse

    r = sinkhorn_newton_sparse(*_problem(seed), 1e-2, tol=1e-12)
    f, g = r.potentials
    return {"plan": r.plan, "f": f - f.mean(), "g": g - g.mean()}


def _pot_newton(seed: int) -> Arrays:
    import ot

    P, log = _quiet(
        ot.bregman.sinkhorn_log, *_problem(seed), 1e-2, stopThr=1e-13, numItermax=100_000, log=True
    )
    f, g = 1e-2 * log["log_u"], 1e-2 * log["log_v"]
    return {"plan": P, "f": f - f.mean(), "g": g - g.mean()}


def _quadratic(seed: int) -> Arrays:
    from refopt.transport.smooth_ot import quadratic_ot

    problem = _problem(seed)
    return {
        "semi-dual": quadratic_ot(*problem, 0.5, tol=1e-9).plan,
        "dual": quadratic_ot(*problem, 0.5, form="dual", tol=1e-9).plan,
    }


def _pot_quadratic(seed: int) -> Arrays:
    import ot

    problem = _problem(seed)
    return {
        "semi-dual": _quiet(
            ot.smooth.smooth_ot_semi_dual, *problem, 0.5, reg_type="l2", stopThr=1e-14, numItermax=5000
        ),
        "dual": _quiet(
            ot.smooth.smooth_ot_dual, *problem, 0.5, reg_type="l2", stopThr=1e-14, numItermax=5000
        ),
    }


def _sparse(seed: int) -> Arrays:
    from refopt.transport.smooth_ot import sparse_ot

    return {"plan": sparse_ot(*_problem(seed), 0.05, sparsity=6, tol=1e-9).plan}


def _pot_sparse(seed: int) -> Arrays:
    import ot

    P = _quiet(
        ot.smooth.smooth_ot_semi_dual,
        *_problem(seed),
        0.05,
        reg_type="sparsity_constrained",
        max_nz=6,
        stopThr=1e-14,
        numItermax=5000,
    )
    return {"plan": P}


def _normalize(seed: int) -> Arrays:
    from refopt.transport.sinkhorn_normalize import sinkhorn_normalize

    return {"S": sinkhorn_normalize(np.random.default_rng(seed).random((9, 9)) + 0.01, passes=15)}


def _pot_normalize(seed: int) -> Arrays:
    import ot

    Q = np.random.default_rng(seed).random((9, 9)) + 0.01
    one = np.ones(9)
    # POT scales columns first and rows last: the transpose is the layer's order.
    P = _quiet(ot.bregman.sinkhorn_knopp, one, one, -np.log(Q.T), 1.0, stopThr=0.0, numItermax=15)
    return {"S": P.T}


def _clouds(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((12, 2)), rng.standard_normal((9, 2)) + 1


def _divergence(seed: int) -> Arrays:
    from refopt.transport.sinkhorn_divergence import sinkhorn_divergence

    x, y = _clouds(seed)
    return {"value": np.array(sinkhorn_divergence(x, y, 1.0, form="sharp", tol=1e-13).value)}


def _pot_divergence(seed: int) -> Arrays:
    import ot

    value = _quiet(
        ot.bregman.empirical_sinkhorn_divergence, *_clouds(seed), 1.0, stopThr=1e-13, numIterMax=100_000
    )
    return {"value": np.array(float(value))}


def _converged(solve: str, reg: float, seed: int) -> Arrays:
    """Plan, potentials and cost at convergence; potentials up to the constant that they leave open."""
    solver = getattr(importlib.import_module(f"refopt.transport.{solve}"), solve)
    r = solver(*_problem(seed), reg, tol=1e-14, maxiter=100_000)
    f, g = r.potentials
    return {"plan": r.plan, "f": f - f[0], "g": g + f[0], "cost": np.array(r.cost)}


def _ott(reg: float, seed: int) -> Arrays:
    import jax

    jax.config.update("jax_enable_x64", True)
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.sinkhorn import Sinkhorn

    a, b, C = _problem(seed)
    solver = Sinkhorn(threshold=1e-14, max_iterations=100_000, lse_mode=True)
    out = solver(LinearProblem(Geometry(cost_matrix=jax.numpy.asarray(C), epsilon=reg), a=a, b=b))
    f, g = np.asarray(out.f), np.asarray(out.g)
    cost = np.asarray(out.primal_cost)
    return {"plan": np.asarray(out.matrix), "f": f - f[0], "g": g + f[0], "cost": cost}


def _kl_divergence(seed: int) -> Arrays:
    from refopt.transport.sinkhorn_divergence import sinkhorn_divergence

    x, y = _clouds(seed)
    a, b, _ = _problem(seed, len(x), len(y))
    r = sinkhorn_divergence(x, y, 0.3, a=a, b=b, tol=1e-14, maxiter=100_000)
    return {"value": np.array(r.value), "gradient": np.asarray(r.gradient_x)}


def _ott_divergence(seed: int) -> Arrays:
    import jax

    jax.config.update("jax_enable_x64", True)
    from ott.geometry.pointcloud import PointCloud
    from ott.tools.sinkhorn_divergence import sinkhorn_divergence

    x, y = map(jax.numpy.asarray, _clouds(seed))
    a, b, _ = _problem(seed, len(x), len(y))

    def value(x: object) -> object:
        options = {"threshold": 1e-14, "max_iterations": 100_000}
        return sinkhorn_divergence(PointCloud, x, y, a=a, b=b, epsilon=0.3, solve_kwargs=options)[0]

    found, gradient = jax.value_and_grad(value)(x)
    return {"value": np.asarray(found), "gradient": np.asarray(gradient)}


CASES = [
    Case(
        "sinkhorn",
        "ott",
        "ott-jax",
        lambda seed: _converged("sinkhorn", 0.05, seed),
        lambda seed: _ott(0.05, seed),
        says="OTT's Sinkhorn at convergence: plan, potentials and cost, to 1e-12.",
    ),
    Case(
        "sinkhorn-log",
        "ott",
        "ott-jax",
        lambda seed: _converged("sinkhorn_log", 0.005, seed),
        lambda seed: _ott(0.005, seed),
        says="OTT's Sinkhorn at convergence, reg 0.005 of the largest cost: plan, potentials and cost, to 1e-12.",
    ),
    Case(
        "sinkhorn-divergence",
        "ott",
        "ott-jax",
        _kl_divergence,
        _ott_divergence,
        says="OTT's sinkhorn_divergence with unequal masses, value and gradient, to 1e-12.",
    ),
    Case(
        "sinkhorn",
        "pot",
        "POT",
        _sinkhorn,
        _pot_sinkhorn,
        says="Plan and scalings of POT's sinkhorn_knopp after 25 passes to 1e-12.",
    ),
    Case(
        "sinkhorn-log",
        "pot",
        "POT",
        _sinkhorn_log,
        _pot_sinkhorn_log,
        says="Plan of POT's sinkhorn_log after 25 passes at reg 1e-3 of the largest cost to 1e-12.",
    ),
    Case(
        "sinkhorn-newton-sparse",
        "pot",
        "POT",
        _newton,
        _pot_newton,
        rtol=1e-10,
        why="two iterations' stops, at marginal errors of 1e-12 and 1e-13, amplified by the condition number",
        says="Plan of POT's sinkhorn_log at convergence (eta = 100) to 1e-10, the limit of POT's own stop.",
    ),
    Case(
        "quadratic-ot",
        "pot",
        "POT",
        _quadratic,
        _pot_quadratic,
        rtol=1e-5,
        why="both end L-BFGS where the objective no longer changes in its digits: half of them in the plan",
        says="Plan of POT's smooth_ot_semi_dual and smooth_ot_dual (l2) to 1e-5, POT's own stop.",
    ),
    Case(
        "sparse-ot",
        "pot",
        "POT",
        _sparse,
        _pot_sparse,
        rtol=1e-5,
        why="as quadratic-ot",
        says="Plan of POT's smooth_ot_semi_dual with max_nz = 6 to 1e-5, POT's own stop.",
    ),
    Case(
        "sinkhorn-normalize",
        "pot",
        "POT",
        _normalize,
        _pot_normalize,
        says="POT's sinkhorn_knopp with K = Q and unit masses, transposed, after 15 passes to 1e-12.",
    ),
    Case(
        "sinkhorn-divergence",
        "pot",
        "POT",
        _divergence,
        _pot_divergence,
        says="POT's empirical_sinkhorn_divergence (sharp form) to 1e-12.",
    ),
]
