"""Batched matrix functions beside loops over SciPy."""

from __future__ import annotations

from asv_bench.side_by_side import TIMING, code_ratio

STACK = """
import numpy as np, scipy.linalg, refopt
rng = np.random.default_rng(0)
A = rng.standard_normal(({count}, {n}, 2 * {n}))
A = A @ A.swapaxes(1, 2) / (2 * {n})
A = (A + A.swapaxes(1, 2)) / 2
"""

OURS = STACK + "root = refopt.get({name!r})\nmeasure(lambda: root(A))\n"

SCIPY = STACK + "measure(lambda: [scipy.linalg.sqrtm(a) for a in A])\n"


class BatchedRoot:
    """Time of one batched square root over that of a loop of scipy.linalg.sqrtm."""

    params = (["sqrtm-eigh", "sqrtm-newton-schulz"], [(256, 64), (4096, 8), (16, 256)])
    param_names = ("method", "count and order")
    timeout = 600
    unit = "ratio"

    def track_root_over_scipy_loop(self, name: str, shape: tuple[int, int]) -> float:
        count, n = shape
        timing = TIMING.format(seconds=1.0)
        return code_ratio(
            timing + OURS.format(name=name, count=count, n=n),
            timing + SCIPY.format(count=count, n=n),
        )


if __name__ == "__main__":
    bench = BatchedRoot()
    for name in BatchedRoot.params[0]:
        for shape in BatchedRoot.params[1]:
            print(f"{name:22s} {shape!s:12s} {bench.track_root_over_scipy_loop(name, shape):.3f}")
