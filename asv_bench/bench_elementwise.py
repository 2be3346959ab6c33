"""Steps of elementwise optimizers: refopt's Numba engine beside torch's fused CPU kernels."""

from __future__ import annotations

import importlib.util

from asv_bench.side_by_side import TIMING, ratio

OURS = """
import numpy as np, refopt
o = refopt.optimizer({name!r}, engine="numba")
rng = np.random.default_rng(0)
x, g = rng.standard_normal({n}).astype({dtype!r}), rng.standard_normal({n}).astype({dtype!r})
s = o.init(x)
def step():
    global x, s
    x, s = o.update(x, g, s, donate=True)
measure(step)
"""

TORCH = """
import numpy as np, torch
torch.set_num_threads(2)
rng = np.random.default_rng(0)
p = torch.nn.Parameter(torch.tensor(rng.standard_normal({n}), dtype=torch.{dtype}))
p.grad = torch.tensor(rng.standard_normal({n}), dtype=torch.{dtype})
step = torch.optim.{cls}([p], fused=True).step
measure(step)
"""

PEERS = {"adam": "Adam", "adamw": "AdamW"}


class FusedRatio:
    """Time of one step over that of torch's ``fused=True`` step."""

    params = (list(PEERS), [10**3, 10**5, 10**7], ["float64", "float32"])
    param_names = ("method", "parameters", "dtype")
    timeout = 600
    unit = "ratio"

    def setup(self, name: str, n: int, dtype: str) -> None:
        if importlib.util.find_spec("torch") is None:
            raise NotImplementedError("torch is not installed")

    def track_step_over_torch_fused(self, name: str, n: int, dtype: str) -> float:
        timing = TIMING.format(seconds=1.0)
        return ratio(
            timing + OURS.format(name=name, n=n, dtype=dtype),
            timing + TORCH.format(cls=PEERS[name], n=n, dtype=dtype),
        )


if __name__ == "__main__":
    bench = FusedRatio()
    for name in PEERS:
        for n in FusedRatio.params[1]:
            for dtype in FusedRatio.params[2]:
                bench.setup(name, n, dtype)
                value = bench.track_step_over_torch_fused(name, n, dtype)
                print(f"{name} {n} {dtype}: {value:.3f} of torch fused", flush=True)
