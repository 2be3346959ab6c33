"""What the PSGD methods share: pairs of vectors, and a preconditioner fitted to them on a Lie group (Li 2015)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refopt.core import arrays, params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, map_leaves, zeros_like
from refopt.core.registry import Source
from refopt.core.rng import normal
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.clipping import shortening
from refopt.optimizers.common.vectors import joined, parted

LI_2015 = Source("li-2015-preconditioned", "X.-L. Li", "Preconditioned Stochastic Gradient Descent",
    arxiv="1512.04202")  # fmt: skip
LI_2018 = Source(
    "li-2018-preconditioner", "X.-L. Li", "Preconditioner on Matrix Lie Group for SGD", arxiv="1809.10232"
)
LI_2022 = Source(
    "li-2022-black", "X.-L. Li", "Black Box Lie Group Preconditioners for SGD", arxiv="2211.04422"
)
POOLADZANDI = Source("pooladzandi-2024-curvature", "O. Pooladzandi, X.-L. Li",
    "Curvature-Informed SGD via General Purpose Lie-Group Preconditioners", arxiv="2402.04553")  # fmt: skip


def largest(a: Array) -> float:
    """Return the largest absolute entry."""
    return float(namespace(a).max(namespace(a).abs(a)))


def damped(g: Array, v: Array, damping: float) -> Array:
    """Return ``g + damping · mean|g| · v``."""
    xp = namespace(g)
    return g + damping * float(xp.mean(xp.abs(g))) * v


def share(rate: float, size: float) -> float:
    """Return ``rate / size``, zero for a size of zero: there is nothing to move then."""
    return rate / size if size > 0.0 or size != size else 0.0


class PSGD(Method):
    """Base of the PSGD methods: a subclass says what Q is, how a pair moves it, and what ``QᵀQ g`` is."""

    lr: Rate = hyper(0.01, "[0, inf)", "η, without a unit: the preconditioner has those of a step.")
    form: str = hyper("newton", ("newton", "whitening"),
        "The pair (v, h), v normal: ``h = ∇²f v``, so that P fits the inverse of the Hessian's absolute value; or h = g,"
        " damped, so that P whitens the gradient, an inverse root of ``E[g gᵀ]``, and nothing but gradients is needed.")  # fmt: skip
    fit_rate: float | None = hyper(None, "(0, 1]",
        "μ, the normalised step of Q. None: 0.1, or 0.01 with ``normalizer=\"first\"``.")  # fmt: skip
    normalizer: str = hyper("second", ("second", "first"),
        "What μ is divided by: a bound of the fit's curvature, or the size of its gradient.")  # fmt: skip
    momentum: float = hyper(0.0, "[0, 1)", "β: P is applied to ``m ← β m + (1 - β) g``.")
    max_norm: float | None = hyper(
        None, "(0, inf)", "The preconditioned step before η is shortened to this norm."
    )
    update_probability: float = hyper(1.0, "[0, 1]", "Of Q's moving in a step; it always does in the first.")
    init_scale: float | None = hyper(None, "(0, inf)", "Q's first multiple of I. None: from the first pair.")
    damping: float = hyper(2.0**-13, "[0, inf)", "Of the whitened gradient, h = g + damping mean|g| v.")

    @property
    def needs(self) -> tuple[str, ...]:
        """Gradients; and Hessian products for the Newton form."""
        return ("grad", "hvp") if self.form == "newton" else ("grad",)

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: Q comes with the first pair."""
        x = params.check_start(x, "x")
        return {"t": 0, "q": None, **({"m": zeros_like(x)} if self.momentum else {})}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient (and a Hessian product), fit Q, and step."""
        g, q, new = oracle.grad(x), s["q"], {"t": s["t"] + 1}
        rng = oracle.rng
        if rng.random() < self.update_probability or q is None:
            v = normal(rng, x)
            h = oracle.hvp(x, v) if self.form == "newton" else self.damp(g, v)
            if q is None:
                # The whitened gradient's scale is its own, without damping and v.
                q = self.start(v, h, rng) if self.form == "newton" else self.start(None, g, rng)
            q = self.fit(q, v, h, rng)
        m = g
        if self.momentum:
            beta = self.weight(new["t"])
            m = new["m"] = map_leaves(lambda m, g: ema(m, g, beta, 1.0 - beta), s["m"], g)
        step = self.clipped(self.precondition(q, m))
        rate = self.rate(new["t"])
        if self.max_norm is not None:
            rate *= shortening(params.norm(step), self.max_norm, 1.0)
        return axpy(-rate, step, x), {**new, "q": q}

    @property
    def mu(self) -> float:
        """The normalised step of Q."""
        return self.fit_rate if self.fit_rate is not None else 0.1 if self.normalizer == "second" else 0.01

    def weight(self, t: int) -> float:
        """Return β of step t."""
        return self.momentum

    def clipped(self, step: Params) -> Params:
        """Return the preconditioned step, leaf by leaf made smaller where it is too large."""
        return step

    def damp(self, g: Params, v: Params) -> Params:
        """Return the whitened gradient's h."""
        return parted(damped(joined(g), joined(v), self.damping), g)

    def start(self, v: Params | None, h: Params, rng: np.random.Generator) -> Any:
        """Return the first Q from the first pair."""
        raise NotImplementedError

    def fit(self, q: Any, v: Params, h: Params, rng: np.random.Generator) -> Any:
        """Return Q after a step on ``hᵀ P h + vᵀ P⁻¹ v``."""
        raise NotImplementedError

    def precondition(self, q: Any, g: Params) -> Params:
        """Return ``P g = Qᵀ Q g``."""
        raise NotImplementedError


class Recent(PSGD):
    """What the author's classes of October 2025 do otherwise around the fit, as switches."""

    entrywise: bool = hyper(False,
        words="True: the whitened gradient's damping is ``h = g + (damping + ε |g|) v``, ε the dtype's.")  # fmt: skip
    warmup: bool = hyper(False, words="True: β is at most (t - 1) / t, so that momentum begins as a mean.")
    max_rms: float | None = hyper(None, "(0, inf)",
        "The preconditioned step, each leaf's where leaves have their own Q, is shortened to this root mean square.")  # fmt: skip
    max_entry: float | None = hyper(None, "(0, inf)", "Then its entries are clipped to this.")

    def weight(self, t: int) -> float:
        """Return β of step t."""
        return min((t - 1) / t, self.momentum) if self.warmup else self.momentum

    def damped(self, g: Array, v: Array) -> Array:
        """Return the whitened gradient's h for one array."""
        xp = namespace(g)
        if self.entrywise:
            return g + (self.damping + float(xp.finfo(g.dtype).eps) * xp.abs(g)) * v
        return damped(g, v, self.damping)

    def smaller(self, u: Array) -> Array:
        """Return one array of a step, made smaller where it is too large."""
        if self.max_rms is not None:
            u = shortening(arrays.norm(u) / math.sqrt(math.prod(u.shape)), self.max_rms) * u
        return u if self.max_entry is None else namespace(u).clip(u, -self.max_entry, self.max_entry)
