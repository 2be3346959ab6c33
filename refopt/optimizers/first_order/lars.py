"""LARS: a rate of its own for every layer, from the ratio of two norms (You et al. 2017)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.groups import SHAPES
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.trust import leaf_norm

YOU = Source("you-2017-large", "Y. You, I. Gitman, B. Ginsburg",
    "Large Batch Training of Convolutional Networks", arxiv="1708.03888")  # fmt: skip


@register("lars", source=YOU, where="the layer-wise update with local rates", state_copies=1)  # fmt: skip
class LARS(LeafRule):
    """LARS: momentum with a local rate for every layer, proportional to ‖w‖ / ‖g‖.

    ``λ = η ‖w_t‖ / (‖g_t‖ + β ‖w_t‖)``, ``v_{t+1} = m v_t + γ λ (g_t + β w_t)``,
    ``w_{t+1} = w_t - v_{t+1}``, for every layer (leaf) by itself, from v_0 = 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("lars", lr=1.0, trust=0.1, weight_decay=0.0)
    >>> x = np.array([3.0, 4.0])
    >>> x, s = o.update(x, np.array([700.0, 0.0]), o.init(x))
    >>> print(x)
    [2.5 4. ]
    """

    slots = ("v",)
    lr: Rate = hyper(1.0, "[0, inf)", "γ, without a unit.")
    trust: float = hyper(1e-3, "(0, inf)", "η.")
    momentum: float = hyper(0.9, "[0, 1)", "m.")
    weight_decay: float = hyper(5e-4, "[0, inf)", "β, coupled.")
    joint: bool = hyper(False, words="False as above; True: the denominator is ‖g + β w‖ (optax).")
    eps: float = hyper(0.0, "[0, inf)", "Added to the denominator; the paper has none.")
    rate_inside: bool = hyper(True, words="True as above; False: ``v ← m v + λ (g + β w)``, ``w ← w - γ v``.")
    rate_without_ratio: bool = hyper(False,
        words="Where ‖w‖ or the denominator is zero, the ratio ‖w‖ / (…) is taken as 1 and η with it"
        " (False), or as 1 / η, so that γ alone is left (True, as libraries have it). The paper"
        " does not say.")  # fmt: skip
    ratio_needs: str = hyper("denominator", ("denominator", "gradient"),
        "What must not be zero, besides ‖w‖, for a layer to have its ratio: the denominator, or ‖g‖.")  # fmt: skip
    always_adapt: bool = hyper(True, words="False: without decay no layer has a ratio.")
    trust_clip: bool = hyper(
        False, words="``min(λ / γ, 1)`` in place of λ, so that γ bounds the local rate (LARC)."
    )
    dampening: float = hyper(
        0.0, "[0, 1]", "The velocity takes 1 - dampening of the new term (without momentum, all of it),"
    )
    full_first: bool = hyper(False, words="but all of it at the first step (True).")
    nesterov: bool = hyper(False, words="The step is ``λ (g + β w) + m v`` in place of v.")
    adapt: str = hyper(
        "all", tuple(SHAPES), "The leaves that have the local rate and the decay; the others have neither."
    )
    words = {"schedule": "The paper's is ``(1 - t / T)^2``."}

    def rule(self, xp):
        adapts = self.always_adapt or self.weight_decay > 0.0

        def lars(w, g, v, rate, mu, fresh, inside, out):
            if adapts and SHAPES[self.adapt](w):
                u = g + self.weight_decay * w
                g = self._local(w, g, u, rate) * u
            v = mu * v + fresh * inside * g
            return w - out * (inside * g + mu * v if self.nesterov else v), v

        return lars

    def scalars(self, t, carried):
        rate = self.rate(t)
        inside, outside = (rate, 1.0) if self.rate_inside else (1.0, rate)
        whole = self.momentum == 0.0 or (self.full_first and t == 1)
        fresh = 1.0 if whole else 1.0 - self.dampening
        return {"rate": rate, "mu": self.momentum, "fresh": fresh, "inside": inside, "out": outside}

    def _local(self, w: Array, g: Array, u: Array, rate: float) -> Array:
        """Return λ, for a layer w with gradient g and ``u = g + β w``."""
        xp = namespace(w)
        size, slope = leaf_norm(w), leaf_norm(g)
        below = leaf_norm(u) if self.joint else slope + self.weight_decay * size
        whole = (size > 0.0) & ((slope if self.ratio_needs == "gradient" else below) > 0.0)
        one = xp.ones_like(size)
        below = xp.where(whole, below + self.eps, one)
        without = one if self.rate_without_ratio else self.trust * one
        local = xp.where(whole, self.trust * (size / below), without)
        if self.trust_clip:
            local = xp.clip(local / rate, max=1.0) if rate > 0.0 else one
        return local


dialect(LARS, "optax", "optax 0.2.8 lars", "the norm of g + beta w, not the sum of norms", weight_decay=0.0,
    joint=True, rate_without_ratio=True)  # fmt: skip
dialect(LARS, "kozistr", "pytorch_optimizer 4.1 LARS",
    "rate outside the velocity; vectors without ratio and decay", lr=1e-3, weight_decay=0.0,
    rate_inside=False, adapt="matrices-and-kernels")  # fmt: skip
dialect(LARS, "timm", "timm 1.0 lars",
    "a layer without gradient has ratio 1; without decay there is no ratio at all", momentum=0.0,
    weight_decay=0.0, eps=1e-8, rate_inside=False, full_first=True, rate_without_ratio=True,
    ratio_needs="gradient", always_adapt=False)  # fmt: skip
