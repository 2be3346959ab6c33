"""Linear solvers as ratios to SciPy's, measured in one run."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from refopt.linear.conjugate_gradient import cg, pcg
from refopt.problems.linear_systems import poisson_2d
from scipy.sparse.linalg import cg as scipy_cg


def best_of(runs: int, *calls: Callable[[], object]) -> list[float]:
    """Return each call's least time over alternating runs."""
    least = [float("inf")] * len(calls)
    for _ in range(runs):
        for k, call in enumerate(calls):
            begin = time.perf_counter()
            call()
            least[k] = min(least[k], time.perf_counter() - begin)
    return least


class ConjugateGradient:
    """CG on Poisson 1024 x 1024, CSR, float64; the same passes give the same residual."""

    timeout = 600
    passes = 300

    def setup(self) -> None:
        self.A = poisson_2d(1024)
        self.b = np.random.default_rng(0).standard_normal(self.A.shape[0])
        cg(self.A, self.b, rtol=0.0, maxiter=2)

    def ours(self) -> np.ndarray:
        return cg(self.A, self.b, rtol=0.0, maxiter=self.passes).x

    def theirs(self) -> np.ndarray:
        return scipy_cg(self.A, self.b, rtol=0.0, maxiter=self.passes)[0]

    def track_ratio_to_scipy(self) -> float:
        """Time over SciPy's; the target is at most 0.4."""
        residuals = [np.linalg.norm(self.b - self.A @ x) for x in (self.ours(), self.theirs())]
        np.testing.assert_allclose(residuals[0], residuals[1], rtol=1e-6)
        ours, theirs = best_of(3, self.ours, self.theirs)
        return ours / theirs

    def track_ratio_ic0_to_plain(self) -> float:
        """Time of PCG with IC(0) over that of CG at equal residual, 1e-4 of b's; the target is at most 0.9."""
        calls = (
            lambda: pcg(self.A, self.b, preconditioner="ic0", rtol=1e-4),
            lambda: cg(self.A, self.b, rtol=1e-4),
        )
        pcg(self.A, self.b, preconditioner="ic0", maxiter=2)
        conditioned, plain = best_of(1, *calls)
        return conditioned / plain


class FirstCall:
    """Seconds of the compiled loop's first call in a new process, the cache on disk being warm."""

    timeout = 120
    code = (
        "import time, numpy as np\n"
        "from refopt.linear.conjugate_gradient import cg\n"
        "from refopt.problems.linear_systems import poisson_2d\n"
        "A, b = poisson_2d(4), np.ones(16)\n"
        "begin = time.perf_counter()\n"
        "cg(A, b, engine='numba')\n"
        "print(time.perf_counter() - begin)\n"
    )

    def track_first_call_seconds(self) -> float:
        """The target is below 0.5."""
        import subprocess
        import sys

        def measure() -> float:
            run = subprocess.run(
                [sys.executable, "-c", self.code], capture_output=True, text=True, check=True
            )
            return float(run.stdout)

        measure()
        return min(measure() for _ in range(3))


ConjugateGradient.track_ratio_to_scipy.unit = "ratio"  # type: ignore[attr-defined]
ConjugateGradient.track_ratio_ic0_to_plain.unit = "ratio"  # type: ignore[attr-defined]
FirstCall.track_first_call_seconds.unit = "s"  # type: ignore[attr-defined]
