"""Adam, tmp."""
from __future__ import annotations
from dataclasses import dataclass
from collections.abc import Mapping
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise, Rule
from refopt.optimizers.common.averages import correction, ema
@dataclass(frozen=True, kw_only=True)
class Adam(Elementwise):
    slots = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", rate=True)
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)")
    def scalars(self, t, carried):
        c1 = correction(self.beta1, t); c2 = correction(self.beta2, t)
        return {"lr": self.rate(t)/c1, "beta1": self.beta1, "k1": 1-self.beta1, "beta2": self.beta2, "k2": 1-self.beta2, "r2": c2**-0.5, "eps": self.eps}
    def rule(self, xp):
        def adam(x, g, m, v, lr, beta1, k1, beta2, k2, r2, eps):
            m = ema(m, g, beta1, k1)
            v = ema(v, g * g, beta2, k2)
            return x - lr * m / (xp.sqrt(v)*r2 + eps), m, v
        return adam
