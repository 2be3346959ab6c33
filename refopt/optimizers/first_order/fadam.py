"""FAdam (Hwang 2024)."""

from __future__ import annotations

from refopt.core.arrays import Array, Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero

HWANG = Source("hwang-2024-fadam", "D. Hwang",
    "FAdam: Adam is a natural gradient optimizer using diagonal empirical Fisher information",
    arxiv="2405.12807")  # fmt: skip
EPS_RULES = ("power", "minimum", "scaled", "fixed", "floored")


@register(
    "fadam",
    source=HWANG,
    where="Algorithm 1, with the epsilon of its latest version as pytorch_optimizer has it",
    state_copies=2,
)
class FAdam(LeafRule):
    """FAdam: momentum of natural gradients, with the diagonal empirical Fisher information.

    ``β̂_t = β2 (1 - β2^(t-1)) / (1 - β2^t)``, ``F ← β̂_t F + (1 - β̂_t) g²``, ``D = F^p + ε̂^(2p)``,
    ``ḡ = clip(g / D)``, ``m ← β1 m + (1 - β1) ḡ``, ``x ← x - η (m + λ clip(x / D))`` with
    ``clip(u) = u / max(1, rms(u) / c)`` and ``ε̂ = min(ε, ε2 rms(g))``; rms over one array.

    Notes
    -----
    g is the gradient of a loss; the paper ascends a log-likelihood. m has no bias correction. Decay is
    preconditioned and clipped: it is about η λ c a step, whatever the size of x. The paper has many
    versions; the rule of epsilon was taken from codes that follow them.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("fadam", lr=1.0, weight_decay=0.0)
    >>> x, s = o.update(np.zeros(2), np.array([3.0, -4.0]), o.init(np.zeros(2)))
    >>> print(x.round(6))
    [-0.1  0.1]
    """

    slots = ("m", "F")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    power: float = hyper(0.5, "(0, inf)", "p; 1/2 for Adam's root.")
    clip: float = hyper(1.0, "(0, inf]", "c.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, which also stands alone where rms(g) is zero.")
    eps_gradient: float = hyper(0.01, "[0, inf)", "ε2.")
    eps_rule: str = hyper("power", EPS_RULES,
        "What is added to F^p: ``power`` as above; the paper's other versions: ``minimum``, ε̂ itself;"
        " ``scaled``, ε min(1, rms(g)); ``fixed``, ε; and ``floored``, ε max(1, rms(g)), of a port.")  # fmt: skip
    weight_decay: float = hyper(
        0.1, "[0, inf)", "λ. 0.1 is the default of the known codes; the paper's was not looked up."
    )

    def rule(self, xp):
        divisor, b1 = nonzero(xp), self.beta1

        def rms(u: Array) -> Array:
            return xp.sqrt(xp.mean(u * u))

        def clipped(u: Array) -> Array:
            excess = rms(u) / self.clip
            return u / xp.maximum(excess, xp.ones_like(excess))

        def fadam(x, g, m, F, lr, beta2):
            F = ema(F, g * g, beta2, 1.0 - beta2)
            D = divisor(F**self.power + self.added(xp, rms(g)))
            m = ema(m, clipped(g / D), b1, 1.0 - b1)
            return x - lr * (m + self.weight_decay * clipped(x / D)), m, F

        return fadam

    def scalars(self, t, carried):
        beta2 = self.beta2 * correction(self.beta2, t - 1) / correction(self.beta2, t)
        return {"beta2": beta2}

    def added(self, xp: Namespace, size: Array) -> Array:
        """Return what is added to F^p, for a gradient of root mean square `size`."""
        eps, ones = self.eps, xp.ones_like(size)
        if self.eps_rule == "fixed":
            return eps * ones
        if self.eps_rule == "floored":
            return eps * xp.maximum(size, ones)
        if self.eps_rule == "scaled":
            return xp.where(size > 0.0, eps * xp.minimum(size, ones), eps * ones)
        least = xp.minimum(self.eps_gradient * size, eps * ones)
        least = xp.where(size > 0.0, least, eps * ones)
        return least ** (2.0 * self.power) if self.eps_rule == "power" else least


dialect(FAdam, "v1", "lessw2020/FAdam_PyTorch fadam.py at ff03471",
    "the port of the paper's first version, for clip = 1; it forgot F between steps, which a later state"
    " mends, as here", eps_rule="fixed", eps=1e-15, weight_decay=0.01)  # fmt: skip
dialect(FAdam, "v2", "lessw2020/FAdam_PyTorch fadam.py at 7e8dd2a",
    "the port of the paper's second version, for clip = 1; it forgot F between steps, which a later"
    " state mends, as here", eps_rule="minimum", eps=1e-7, eps_gradient=1e-3, weight_decay=0.01)  # fmt: skip
dialect(FAdam, "v3", "lessw2020/FAdam_PyTorch fadam.py at 93666b5",
    "the port of the paper's third version, for clip = 1; it stayed so until July 2025", eps_rule="scaled")  # fmt: skip
dialect(FAdam, "port", "lessw2020/FAdam_PyTorch fadam.py",
    "for clip = 1, the default: with another clip the port rescales small steps too", eps_rule="floored")  # fmt: skip
