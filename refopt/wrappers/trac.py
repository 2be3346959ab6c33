"""TRAC: how far to go from the start is bet on (Muppidi et al. 2024)."""

from __future__ import annotations

import math

from scipy.special import erfi

from refopt.core import params
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import check_number, hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start
from refopt.core.registry import Source, dialect, register
from refopt.wrappers.base import Wrapper

MUPPIDI = Source("muppidi-2024-fast", "A. Muppidi, Z. Zhang, H. Yang",
    "Fast TRAC: A Parameter-Free Optimizer for Lifelong Reinforcement Learning", arxiv="2405.16642")  # fmt: skip
# σ_j at the start, as in the authors' code: without it no first step would be made.
SIGMA = 1e-8


@register("trac", source=MUPPIDI, where="TRAC, and its tuner in one dimension")
class TRAC(Wrapper):
    """TRAC: the base's way from the start, times a scale that grows where its gradients say that the way was right.

    From θ_ref = x_0, with x' the base's step from x: ``δ = (x - θ_ref) / (S + ε)``, ``h = ⟨δ, g⟩``, ``δ ← δ + x' - x``. Of each discount
    β_j: ``v_j ← β_j² v_j + h²``, ``σ_j ← β_j σ_j - h``, ``s_j = s erfi(σ_j / (sqrt(2 v_j) + ε)) / erfi(1 / sqrt(2))``; then ``S = Σ_j s_j``
    and ``x = θ_ref + max(S, 0) δ``. Products are over all parameters.

    Notes
    -----
    Where S is not positive x is the start, and the way so far is forgotten. erfi is the true one; the authors' code has a series for it
    that is off by up to one per cent.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("trac", base="sgd", lr=1.0, scale=0.1)
    >>> x, s = o.update(np.array([0.0]), np.array([-1.0]), o.init(np.array([0.0])))
    >>> print(x.round(3))  # nothing has been seen yet: 0.1 Σ erfi(β_j) / erfi(1 / sqrt 2)
    [1.006]
    """

    betas: tuple[float, ...] = hyper((0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999), words="The discounts β_j, each in [0, 1].",
        kind="sequence of float")  # fmt: skip
    scale: float = hyper(1e-8, "(0, inf)", "s, the first wealth, without a unit.")
    eps: float = hyper(1e-8, "(0, inf)", "ε.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.betas, (tuple, list)):
            raise ArgumentTypeError(f"trac: betas: wanted a sequence of numbers, got {self.betas!r}")
        if not self.betas:
            raise ArgumentError("trac: betas: wanted at least one discount, got none")
        for i, beta in enumerate(self.betas):
            check_number(beta, "[0, 1]", f"trac: betas[{i}]")
        object.__setattr__(self, "betas", tuple(float(b) for b in self.betas))

    def init(self, x: Params) -> State:
        """Return the state at the start `x`, which is kept."""
        x = check_start(x, "x")
        n = len(self.betas)
        own = {"start": params.copied(x), "S": 0.0, "v": (0.0,) * n, "sigma": (SIGMA,) * n}
        return {**super().init(x), **own}

    def wealth(self, sigma: float, v: float) -> float:
        """Return s_j."""
        return self.scale * float(erfi(sigma / (math.sqrt(2.0 * v) + self.eps))) / float(erfi(0.5**0.5))

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base, and scale its way."""
        g = params.copied(oracle.grad(x))
        new, base = self.base.step(x, s["base"], oracle)
        return self._scaled(x, g, new, base, s)

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Update the base, where it needs gradients alone, and scale its way."""
        if (done := self._unusual(x, grad, s, donate)) is not None:
            return done
        new, base = self.base.update(x, grad, s["base"])
        return self._scaled(params.without_graph(x), grad, new, base, s)

    def _scaled(self, x: Params, g: Params, new: Params, base: State, s: State) -> tuple[Params, State]:
        below = s["S"] + self.eps
        way = params.scale(1.0 / below if below != 0.0 else 0.0, params.subtract(x, s["start"]))
        h = params.dot(way, g)
        way = params.axpy(1.0, params.subtract(new, x), way)
        v = tuple(b * b * a + h * h for b, a in zip(self.betas, s["v"]))
        sigma = tuple(b * a - h for b, a in zip(self.betas, s["sigma"]))
        S = math.fsum(map(self.wealth, sigma, v)) if all(map(math.isfinite, sigma)) else math.nan
        x = params.axpy(S if S > 0.0 or S != S else 0.0, way, s["start"])
        return x, {"t": s["t"] + 1, "base": base, "start": s["start"], "S": S, "v": v, "sigma": sigma}


dialect(TRAC, "kozistr", "pytorch_optimizer 4.1 TRAC", "its s_prev is scale")
