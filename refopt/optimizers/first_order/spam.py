"""SPAM and Stable-SPAM: Adam that clips spikes and forgets its moments (Huang et al. 2025)."""

# The rule shares its helpers between two closures whose arguments are arrays and numbers alike.
# mypy: allow-untyped-calls, allow-untyped-defs

from __future__ import annotations

import math
from typing import Any

from refopt.core.arrays import Array, like, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.params import Params, check_start, leaves, rebuild
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay, ElementwiseDecay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.trust import leaf_norm

HUANG_SPAM = Source("huang-2025-spam", "T. Huang et al.",
    "SPAM: Spike-Aware Adam with Momentum Reset for Stable LLM Training", arxiv="2501.06842")  # fmt: skip
HUANG_STABLE = Source("huang-2025-stable", "T. Huang et al.",
    "Stable-SPAM: How to Train in 4-Bit More Stably than 16-Bit Adam", arxiv="2502.17055")  # fmt: skip


@register(
    "spam",
    source=HUANG_SPAM,
    where="Algorithm 1, with the constants of TianjinYellow/SPAM-Optimizer",
    also=(HUANG_STABLE,),
    state_copies=2,
)
class SPAM(ElementwiseDecay):
    """SPAM: Adam with entries clipped against their own second moment, and moments reset now and then.

    Where ``g_i² > θ v_i``: ``g_i ← sign(g_i) sqrt(θ v_i)``, with the last v. Every ΔT steps m and v become
    zero before the update, and the rate starts again from a hundredth by a half cosine over W steps.

    Notes
    -----
    As in the authors' code the bias corrections count all steps, those before a reset included. In
    that code decay is lost in groups with a density (an update of a copy); here it acts.

    Examples
    --------
    >>> import refopt
    >>> refopt.minimize(refopt.problem("quadratic"), "spam", lr=0.05, steps=300).success
    True
    """

    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-6, "[0, inf)", "Beside the uncorrected root.")
    threshold: float = hyper(5000.0, "(0, inf)", "θ.")
    reset_every: int = hyper(500, "int [1, inf)", "ΔT: the reset comes at t = ΔT, 2ΔT, ….")
    warmup: int = hyper(150, "int [0, inf)", "W.")
    clip_after: int = hyper(
        20, "int [0, inf)", "No clipping in the first so many steps, nor after a reset, while v is young."
    )
    density: float = hyper(1.0, "(0, 1]",
        "The share of a matrix's entries that have moments and move; drawn anew at every reset.")  # fmt: skip
    seed: int = hyper(0, "int [0, 18446744073709551615]", "Of the masks.")

    slots = ("m", "v", "mask")
    words = {"weight_decay": "λ: ``x ← (1 - η λ) x`` behind the step, on all entries."}

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def moments(x, g, m, v, alive, theta, pass_all, beta1, k1, beta2, k2, l2):
            g = g + l2 * x
            m, v = alive * m, alive * v
            g = xp.sign(g) * xp.minimum(xp.abs(g), xp.sqrt(theta * v + pass_all))
            return ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)

        def direction(m, v, eps):
            return m / divisor(xp.sqrt(v) + eps)

        def spam(x, g, m, v, alive, theta, pass_all, beta1, k1, beta2, k2, step, eps, l2, keep):
            m, v = moments(x, g, m, v, alive, theta, pass_all, beta1, k1, beta2, k2, l2)
            return keep * (x - step * direction(m, v, eps)), m, v

        def sparse(x, g, m, v, mask, alive, theta, pass_all, beta1, k1, beta2, k2, step, eps, l2, keep):
            m, v = moments(x, g, m, v, alive, theta, pass_all, beta1, k1, beta2, k2, l2)
            return keep * (x - step * mask * direction(m, v, eps)), mask * m, mask * v, mask

        return sparse if self.density < 1.0 else spam

    def active_slots(self) -> tuple[str, ...]:
        """Return the moments, and the mask where there is one."""
        return self.slots if self.density < 1.0 else self.slots[:2]

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; first masks have exactly the density."""
        x = check_start(x, "x")
        s = super().init(x)
        return {**s, "mask": self._masks(x, 0)} if self.density < 1.0 else s

    def _masks(self, x: Params, t: int) -> Params:
        rng = generator(self.seed, "method", t)

        def draw(leaf: Array) -> Array:
            if leaf.ndim != 2:
                return namespace(leaf).ones_like(leaf)
            n = math.prod(leaf.shape)
            if t == 0:
                chosen = rng.permutation(n) < int(self.density * n)
            else:
                chosen = rng.random(n) < self.density
            return like(chosen.reshape(leaf.shape).astype("float64"), leaf)

        return rebuild(x, {k: draw(v) for k, v in leaves(x).items()})

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Draw new masks where the moments are reset; then make one step."""
        t = s["t"] + 1
        if self.density < 1.0 and t % self.reset_every == 0:
            s = {**s, "mask": self._masks(x, t)}
        return super()._update(x, g, s, donate)

    def restart(self, t: int) -> float:
        """Return the factor of the rate at step `t`: 1, or on its way back after a reset."""
        since = t % self.reset_every
        if t < self.reset_every or since >= self.warmup:
            return 1.0
        return 1.0 - 0.99 * (1.0 + math.cos(math.pi * since / (self.warmup + 1))) / 2.0

    def scalars(self, t, carried):
        since = t % self.reset_every
        clips = since >= self.clip_after
        c1, c2 = correction(self.beta1, t), correction(self.beta2, t)
        return {
            "alive": 0.0 if since == 0 else 1.0,
            "theta": self.threshold,
            # Infinity in the bound lets every gradient pass.
            "pass_all": 0.0 if clips else math.inf,
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "step": self.restart(t) * self.rate(t) * c2**0.5 / c1,
        }


@register(
    "stable-spam", source=HUANG_STABLE, where="Algorithm 1: AdaClip, AdaGN and momentum reset", state_copies=2
)
class StableSPAM(Decay):
    """Stable-SPAM: clipping and normalising by running norms of each tensor, before Adam with resets.

    AdaClip: ``M ← γ3 M + (1 - γ3) max|g|``; entries above ``M̂`` are scaled by ``M̂ / max|g|``. AdaGN, with
    n the clipped tensor's norm: ``p ← γ1 p + (1 - γ1) n``, ``q ← γ2 q + (1 - γ2) n²``,
    ``g ← (g / n) p̂ / (sqrt(q̂) + ε)``. Hats are bias corrections. Every ΔT steps Adam's moments and its
    step count start anew.

    Notes
    -----
    The corrections of M, p and q count all steps, those of m and v the steps since the reset. In the
    authors' code the step at a reset still uses the old moments with a count of one and the three
    norms are corrected by that count too; those are taken for faults and are not reproduced. Nor are two
    of pytorch_optimizer 4.1: its annealing runs about a step ahead, and a tensor whose gradient is zero is not
    stepped (the authors step it).

    Examples
    --------
    >>> import refopt
    >>> refopt.minimize(refopt.problem("quadratic"), "stable-spam", lr=0.05, steps=300).success
    True
    """

    slots = ("m", "v", "top", "norm", "square")
    lr: Rate = hyper(1e-3, "[0, inf)")
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)")
    gamma1: float = hyper(0.7, "[0, 1)", "γ1.")
    gamma2: float = hyper(0.9, "[0, 1)", "γ2.")
    gamma3: float = hyper(0.999, "[0, 1)", "γ3.")
    reset_every: int = hyper(1000, "int [1, inf)", "ΔT.")
    total_steps: int | None = hyper(None, "int [1, inf)",
        "If given, ``c_t = η_min + (1 - η_min)(1 + cos(π t / (total_steps + 1))) / 2`` multiplies β1 and γ1.")  # fmt: skip
    anneal_to: float = hyper(0.5, "[0, 1]", "η_min.")
    words = {"decay": "Decoupled decay comes before the step."}

    def rule(self, xp):
        def over(a: Any, b: Any) -> Any:
            """Divide; where b is 0, so is a, and the quotient is taken as 0."""
            return a / xp.where(b > 0, b, xp.ones_like(b))

        def stable(x, g, m, v, top, norm, square, alive, beta1, c1, c2, gamma1, cp, cq, ct, lr, l2, keep):
            g = g + l2 * x
            largest = xp.max(xp.abs(g))
            top = ema(top, largest, self.gamma3, 1.0 - self.gamma3)
            bound = top / ct
            g = xp.where(xp.abs(g) > bound, over(g, largest) * bound, g)
            n = leaf_norm(g)
            norm = ema(norm, n, gamma1, 1.0 - gamma1)
            square = ema(square, n * n, self.gamma2, 1.0 - self.gamma2)
            g = over(g, n) * over(norm / cp, xp.sqrt(square / cq) + self.eps)
            m = ema(alive * m, g, beta1, 1.0 - beta1)
            v = ema(alive * v, g * g, self.beta2, 1.0 - self.beta2)
            return keep * x - lr * over(m / c1, xp.sqrt(v / c2) + self.eps), m, v, top, norm, square

        return stable

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros like the leaf for the moments, one zero for each running norm."""
        zeros = namespace(leaf).zeros_like(leaf)
        return zeros if slot in ("m", "v") else namespace(leaf).sum(zeros)

    def anneal(self, t: int) -> float:
        """Return c_t."""
        if self.total_steps is None:
            return 1.0
        return (
            self.anneal_to
            + (1.0 - self.anneal_to) * (1.0 + math.cos(math.pi * t / (self.total_steps + 1))) / 2.0
        )

    def scalars(self, t, carried):
        resets = t // self.reset_every
        k = t if resets == 0 else t - resets * self.reset_every + 1
        c = self.anneal(t)
        beta1, gamma1 = c * self.beta1, c * self.gamma1
        return {
            "alive": 0.0 if t % self.reset_every == 0 else 1.0,
            "beta1": beta1,
            "c1": correction(beta1, k),
            "c2": correction(self.beta2, k),
            "gamma1": gamma1,
            "cp": correction(gamma1, t),
            "cq": correction(self.gamma2, t),
            "ct": correction(self.gamma3, t),
        }
