"""MARS: adaptive methods on a variance-reduced gradient (Yuan et al. 2024)."""

from __future__ import annotations

import math
from typing import Any

from refopt.core.arrays import Array, namespace
from refopt.core.errors import CapabilityError
from refopt.core.groups import pick
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, copied, leaves, map_leaves, norm
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.groups import Grouped
from refopt.optimizers.common.lmo import as_matrix, polar_and_nuclear
from refopt.optimizers.common.orthogonal import NS_DTYPES, orthogonalised
from refopt.optimizers.common.trust import leaf_norm
from refopt.optimizers.first_order.adamw import AdamW
from refopt.optimizers.first_order.muon import shape_factor

YUAN = Source("yuan-2024-mars", "H. Yuan, Y. Liu, S. Wu, X. Zhou, Q. Gu",
    "MARS: Unleashing the Power of Variance Reduction for Training Large Models", arxiv="2411.10438")  # fmt: skip
OFFICIAL = {"first": "zero", "clip": "leaf", "group": "matrices"}
OTHERS = AdamW(lr=3e-3, beta2=0.95, weight_decay=0.1, decay="decoupled")
MATRIX_CODE = "AGI-Arena/MARS MARS/optimizers/mars.py"


def clipped(c: Array, length: Array) -> Array:
    """Return c, divided by `length` where that is above 1."""
    return c / namespace(length).clip(length, min=1.0)


class VarianceReduced(Decay):
    """A leaf rule that is fed with ``c_t = g_t + γ β1 / (1 - β1) (g_t - g'_t)`` in the gradient's place.

    g' is the last gradient (kept in the state) or, in the exact form, the gradient of this batch at
    the last point.
    """

    lr: Rate = hyper(3e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.95, "[0, 1)")
    gamma: float = hyper(0.025, "[0, inf)", "γ, the strength of the correction.")
    clip: str = hyper("global", ("global", "leaf", "none"),
        "The norm in c̃ is that of all treated leaves together (the paper), of each leaf (the code), or"
        " c̃ = c.")  # fmt: skip
    first: str = hyper("current", ("current", "zero"),
        "g' at the first step: g itself, as the paper's x_1 = x_0 says; or zero (the code).")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`, with zeros for the last gradient."""
        s = super().init(x)
        return {**s, "last": map_leaves(lambda a: namespace(a).zeros_like(a), x)}

    def advance(
        self, x: Params, given: tuple[Params, ...], s: State, *, donate: bool = False
    ) -> tuple[Params, State]:
        """Correct the gradient, clip it and apply the rule."""
        (g,) = given
        last = g if s["t"] == 0 and self.first == "current" else s["last"]
        weight = self.gamma * self.beta1 / (1.0 - self.beta1)
        c = map_leaves(lambda a, b: a + weight * (a - b), g, last)
        if self.clip == "global":
            length = norm(c)
            c = map_leaves(lambda a: a / length, c) if length > 1.0 else c
        elif self.clip == "leaf":
            c = map_leaves(lambda a: clipped(a, leaf_norm(a)), c)
        own = {k: v for k, v in s.items() if k != "last"}
        x, new = super().advance(x, (c,), own, donate=donate)
        # A copy: the caller may write the next gradient into this one's memory.
        return x, {**new, "last": copied(g)}


class MarsFamily(Grouped, VarianceReduced):
    """What the three methods share: the exact form, which asks for a second gradient."""

    exact: bool = hyper(False,
        words="False: g' is the last gradient. True: the gradient at the last point on this step's"
        " batch, at the price of a second gradient.")  # fmt: skip
    others: Any = hyper(OTHERS, words="For all other leaves.", kind="Method")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; the exact form keeps the last point."""
        x = check_start(x, "x")
        s = super().init(x)
        return {**s, "previous": copied(x)} if self.exact else s

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Make one step of the approximate form."""
        if self.exact:
            raise CapabilityError(
                f"{self.registered_name}: exact=True asks for a second gradient; use step(x, s, oracle)"
            )
        return super().update(x, grad, s, donate=donate)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient at `x`, in the exact form at the last point too, and update."""
        g = oracle.grad(x)
        if not self.exact:
            return self.update(x, g, s)
        g = copied(g)
        before = oracle.grad(s["previous"]) if s["t"] else g
        inner = {k: v for k, v in s.items() if k != "previous"}
        if "last" in inner:
            inner["last"] = pick(before, list(leaves(inner["last"])))
        new_x, new = super().update(x, g, inner)
        return new_x, {**new, "previous": x}


@register("mars-adamw", source=YUAN, where="Algorithm 2", state_copies=3)
class MARSAdamW(MarsFamily):
    """MARS-AdamW: AdamW on a gradient corrected by the difference to the last one.

    ``c_t = g_t + γ β1 / (1 - β1) (g_t - g'_t)``, ``c̃_t = c_t / max(1, ‖c_t‖)``, and Adam's averages
    of c̃: ``x_{t+1} = x_t - η (m̂_t / (sqrt(v̂_t) + ε) + λ x_t)``.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=10.0)
    >>> refopt.minimize(p, "mars-adamw", lr=0.05, steps=500).fun < 1e-2
    True
    """

    slots = ("m", "v")
    beta2: float = hyper(0.99, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    words = {"group": "The leaves that are treated so."}

    def rule(self, xp):
        def mars(x, c, m, v, step, root, l2, keep):
            c = c + l2 * x
            m = ema(m, c, self.beta1, 1.0 - self.beta1)
            v = ema(v, c * c, self.beta2, 1.0 - self.beta2)
            below = xp.sqrt(v) * root + self.eps
            return keep * x - step * m / xp.where(below > 0.0, below, xp.ones_like(below)), m, v

        return mars

    def scalars(self, t, carried):
        return {"step": self.rate(t) / correction(self.beta1, t), "root": correction(self.beta2, t) ** -0.5}


dialect(MARSAdamW, "official", MATRIX_CODE, "only matrices; AdamW for the rest", **OFFICIAL)


@register("mars-lion", source=YUAN, where="Algorithm 3", state_copies=2)
class MARSLion(MarsFamily):
    """MARS-Lion: the sign of the averaged corrected gradient.

    ``c̃_t`` as in `MARSAdamW`, ``m_t = β1 m_{t-1} + (1 - β1) c̃_t``,
    ``x_{t+1} = x_t - η (sign(m_t) + λ x_t)``.

    Notes
    -----
    Without clipping, from a last gradient of zero, β1 = b2 and γ = 1 - b1 / b2 give Lion(b1, b2).

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("mars-lion", lr=0.1)
    >>> x = np.array([1.0, -2.0])
    >>> x, s = o.update(x, np.array([30.0, -0.5]), o.init(x))
    >>> print(x)
    [ 0.9 -1.9]
    """

    slots = ("m",)

    def rule(self, xp):
        def mars(x, c, m, lr, l2, keep):
            m = ema(m, c + l2 * x, self.beta1, 1.0 - self.beta1)
            return keep * x - lr * xp.sign(m), m

        return mars


dialect(MARSLion, "official", MATRIX_CODE, "only matrices; AdamW for the rest", **OFFICIAL)


@register("mars-shampoo", source=YUAN, where="Algorithm 4", state_copies=2)
class MARSShampoo(MarsFamily):
    """MARS-Shampoo: the polar factor of the averaged corrected gradient.

    ``c_t`` as in `MARSAdamW`, not clipped, ``m_t = β1 m_{t-1} + (1 - β1) c_t``, ``m_t = U Σ V^T``,
    ``x_{t+1} = x_t - η (U V^T + λ x_t)``, for every matrix.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("mars-shampoo", lr=0.1)
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.diag([3.0, 0.1]), o.init(x))
    >>> print(np.diag(x))
    [-0.1 -0.1]
    """

    slots = ("m",)
    clip: str = hyper("none", ("none", "global", "leaf"))
    factor: str = hyper("svd", ("svd", "newton-schulz"),
        "How U V^T is computed; zero singular values stay zero. Newton-Schulz: of m / (1 - β1), with"
        " Muon's coefficients, which does not converge to U V^T.")  # fmt: skip
    ns_steps: int = hyper(5, "int [1, inf)")
    ns_dtype: str | None = hyper(None, NS_DTYPES, words="As in `Muon`.")
    eps: float = hyper(1e-8, "[0, inf)", "Added to the norm that Newton-Schulz divides by.")
    scale: str = hyper("none", ("none", "max", "match-rms", "spectral"),
        "Multiplies U V^T; see `refopt.optimizers.first_order.muon.shape_factor`.")  # fmt: skip
    group: Any = hyper("matrices-and-kernels",
        words="The leaves that are treated so; those of more than two dimensions as (first axis, rest).",
        kind="str, sequence of str, or callable")  # fmt: skip

    def rule(self, xp):
        def mars(x, c, m, lr, l2, keep):
            m = ema(m, c + l2 * x, self.beta1, 1.0 - self.beta1)
            M = as_matrix(m)
            if self.factor == "svd":
                factor = polar_and_nuclear(M)[0]
            else:
                factor = orthogonalised(
                    M / (1.0 - self.beta1), self.ns_dtype, steps=self.ns_steps, eps=self.eps
                )
            kappa = shape_factor(self.scale, M.shape[0], math.prod(M.shape[1:]))
            return keep * x - lr * kappa * xp.reshape(factor, x.shape), m

        return mars


dialect(MARSShampoo, "official", MATRIX_CODE,
    "five steps of Muon's Newton-Schulz (in bfloat16: ns_dtype) in place of the SVD", **OFFICIAL,
    factor="newton-schulz", eps=1e-8, scale="max")  # fmt: skip
