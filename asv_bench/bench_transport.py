"""Transport as ratios to POT's and OTT's; needs the parity environment (POT, OTT)."""

from __future__ import annotations

import importlib.util
import time
import warnings

import numpy as np
from refopt.transport.problem import PointCloud
from refopt.transport.sinkhorn_log import sinkhorn_log

from asv_bench.side_by_side import TIMING, code_ratio


def _problem(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 2)), rng.standard_normal((n, 2)) + 0.5
    C = ((x[:, None] - y) ** 2).sum(-1)
    return np.full(n, 1 / n), C / C.max()


class SinkhornLog:
    """n = 2000, reg 1e-2 of the largest cost, to equal marginal error."""

    timeout = 600

    def setup(self) -> None:
        self.a, self.C = _problem(2000)
        sinkhorn_log(self.a, self.a, self.C, 1e-2, maxiter=2)

    def track_ratio_to_pot(self) -> float:
        """Time over that of POT's sinkhorn_log; the target is at most 0.1."""
        try:
            import ot
        except ImportError:
            raise NotImplementedError("POT is not installed") from None
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plan = ot.bregman.sinkhorn_log(self.a, self.a, self.C, 1e-2, stopThr=1e-9, numItermax=2000)
        theirs = time.perf_counter() - begin
        error = float(np.abs(plan.sum(0) - self.a).sum() + np.abs(plan.sum(1) - self.a).sum())
        ours = []
        for _ in range(3):
            begin = time.perf_counter()
            r = sinkhorn_log(self.a, self.a, self.C, 1e-2, tol=error)
            ours.append(time.perf_counter() - begin)
        assert r.marginal_error <= error
        return min(ours) / theirs


CLOUDS = """
from asv_bench.bench_transport import _problem
a, C = _problem({n})
"""

OURS = """
from refopt.transport.sinkhorn_log import sinkhorn_log
measure(lambda: sinkhorn_log(a, a, C, {reg}, tol=0.0, maxiter={passes}))
"""

# Compiled once by the first call, which is not timed; the problem is an argument, so that nothing is folded away.
OTT = """
import jax
jax.config.update("jax_enable_x64", True)
from ott.geometry.geometry import Geometry
from ott.problems.linear.linear_problem import LinearProblem
from ott.solvers.linear.sinkhorn import Sinkhorn
solver = Sinkhorn(threshold=-1.0, min_iterations={passes}, max_iterations={passes}, lse_mode=True)
a, C = jax.numpy.asarray(a), jax.numpy.asarray(C)
def solve(problem):
    out = solver(problem)
    return out.f, out.g, out.matrix
run, problem = jax.jit(solve), LinearProblem(Geometry(cost_matrix=C, epsilon={reg}), a=a, b=a)
measure(lambda: jax.block_until_ready(run(problem)))
"""


class SinkhornOTT:
    """Log domain, float64, reg 1e-3 of the largest cost: as many passes, which are the same (tests/parity)."""

    params = ([500, 2000],)
    param_names = ("points",)
    passes = 100
    timeout = 600
    unit = "ratio"

    def setup(self, n: int) -> None:
        if importlib.util.find_spec("ott") is None:
            raise NotImplementedError("OTT is not installed")

    def track_ratio_to_ott(self, n: int) -> float:
        """Time over that of OTT under jit, each in processes of its own."""
        ours, theirs = (
            TIMING.format(seconds=1.0) + (CLOUDS + code).format(n=n, reg=1e-3, passes=self.passes)
            for code in (OURS, OTT)
        )
        return code_ratio(ours, theirs)


class SinkhornCloud:
    """Point clouds of 20000 points: the cost is formed by blocks."""

    timeout = 600

    def peakmem_cloud(self) -> None:
        """The target is below 2 GB."""
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((20_000, 3)), rng.standard_normal((20_000, 3))
        sinkhorn_log(None, None, PointCloud(x, y), 0.5, maxiter=1)


SinkhornLog.track_ratio_to_pot.unit = "ratio"  # type: ignore[attr-defined]
