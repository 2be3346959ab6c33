"""Transport solvers beside POT."""

from __future__ import annotations

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


CASES = [
    Case("sinkhorn", "pot", "POT", _sinkhorn, _pot_sinkhorn),
    Case(
        "sinkhorn-log",
        "pot",
        "POT",
        _sinkhorn_log,
        _pot_sinkhorn_log,
        rtol=2e-11,
        why="an exponent (f + g - C) / reg of size 1000 carries a rounding of 1e-13 into its exponential,"
        " 25 passes long",
    ),
]
