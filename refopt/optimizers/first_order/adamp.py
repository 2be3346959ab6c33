"""AdamP and SGDP: momentum without the part that only lengthens the weight (Heo, Chun et al. 2020)."""

from __future__ import annotations

from refopt.core.arrays import Array, Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.projection import radial

HEO = Source("heo-2020-adamp", "B. Heo, S. Chun, S. J. Oh, D. Han, S. Yun, G. Kim, Y. Uh, J.-W. Ha",
    "AdamP: Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights", arxiv="2006.08217",
    venue="ICLR 2021")  # fmt: skip


class Projected(Decay):
    """What AdamP and SGDP share: the projection and the decay of projected weights."""

    delta: float = hyper(0.1, "[0, inf]", "δ of the test whether a weight is free of scale.")
    wd_ratio: float = hyper(0.1, "[0, 1]", "The part of the decay that a projected weight gets.")
    nesterov: bool = hyper(False, words="β1 m + (1 - β1) g in m's place.")
    cosine_eps: str = hyper("floor", ("floor", "added"),
        "ε as the least norm inside the cosine, or beside both norms, where it decides for gradients as"
        " small as ε.")  # fmt: skip

    def project(self, xp: Namespace, x: Array, g: Array, u: Array) -> tuple[Array, Array]:
        """Return the step without its radial part, and whether it had to be taken out."""
        eps: float = self.eps  # type: ignore[attr-defined]
        return radial(xp, x, g, u, delta=self.delta, eps=eps, added=self.cosine_eps == "added")

    def decays(self, t: int, scale: float = 1.0) -> dict[str, float]:
        """Return what is left of an ordinary weight and of a projected one beside the step."""
        lost = (1.0 - self.keep(t)) * scale
        return {"l2": self.coupled(), "keep": 1.0 - lost, "keep_free": 1.0 - lost * self.wd_ratio}


@register(
    "adamp", source=HEO, where="Algorithm 2, with the row test and the decay of the appendix", state_copies=2
)
class AdamP(Projected):
    """AdamP: Adam whose step is projected where the weight is free of scale.

    ``p_t = m̂_t / (sqrt(v̂_t) + ε)``; if ``cos(x, g) < δ / sqrt(dim)``: ``q_t = p_t - x (x·p_t) / ‖x‖²``,
    else q_t = p_t; ``x_t = x_{t-1} - η q_t``. Rows (first axis against the rest) are tested and
    projected together, by the largest of their cosines; failing that, the array as a whole.

    Notes
    -----
    The paper's listing has one test and no bias correction; rows, `wd_ratio` and the corrections are
    those of the authors' code, with which the paper's experiments were made. A gradient of zero has the
    cosine zero, and counts as free of scale. Arrays of fewer than two dimensions are never projected.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adamp", lr=0.1)
    >>> x = np.array([[1.0, 0.0]])
    >>> y, s = o.update(x, np.array([[0.001, 5.0]]), o.init(x))
    >>> print(y.round(6))
    [[ 1.  -0.1]]
    """

    slots = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)", "ε; also in the cosine and beside the norm of x.")
    eps_corrected: bool = hyper(True, words="ε beside ``sqrt(v̂)``, or beside ``sqrt(v)``.")
    words = {
        "delta": "δ; 0: never project.",
        "cosine_eps": "ε as the least norm inside the cosine, or beside both norms.",
    }

    def rule(self, xp):
        divisor, b1, b2 = nonzero(xp), self.beta1, self.beta2

        def adamp(x, g, m, v, step, root, eps, l2, keep, keep_free):
            g = g + l2 * x
            m, v = ema(m, g, b1, 1.0 - b1), ema(v, g * g, b2, 1.0 - b2)
            ahead = ema(m, g, b1, 1.0 - b1) if self.nesterov else m
            p = ahead / divisor(xp.sqrt(v) * root + eps)
            if x.ndim < 2:
                return keep * x - step * p, m, v
            q, free = self.project(xp, x, g, p)
            return xp.where(free, keep_free * x, keep * x) - step * q, m, v

        return adamp

    def scalars(self, t, carried):
        c2 = correction(self.beta2, t) ** 0.5
        return {
            "step": self.rate(t) / correction(self.beta1, t),
            "root": 1.0 / c2,
            "eps": self.eps if self.eps_corrected else self.eps / c2,
            **self.decays(t),
        }


dialect(AdamP, "official", "clovaai/AdamP adamp.py", "timm alike")
dialect(AdamP, "kozistr", "pytorch_optimizer 4.1.0 AdamP", eps_corrected=False)
dialect(AdamP, "jettify", "torch_optimizer 0.3.0 AdamP", "the authors' alike until adamp 0.2.0",
    cosine_eps="added")  # fmt: skip


@register(
    "sgdp", source=HEO, where="Algorithm 1, with the row test and the decay of the appendix", state_copies=1
)
class SGDP(Projected):
    """SGDP: momentum whose step is projected where the weight is free of scale.

    ``b_t = μ b_{t-1} + (1 - τ) g_t``; if ``cos(x, g) < δ / sqrt(dim)``: ``q_t = b_t - x (x·b_t) / ‖x‖²``,
    else q_t = b_t; ``x_t = x_{t-1} - η q_t``. Rows and whole as in `AdamP`; b is not projected.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("sgdp", lr=0.1)
    >>> x = np.array([[1.0, 0.0]])
    >>> y, s = o.update(x, np.array([[0.001, 5.0]]), o.init(x))
    >>> print(y.round(6))
    [[ 1.  -0.5]]
    """

    slots = ("b",)
    lr: Rate = hyper(0.1, "[0, inf)", "η.")
    momentum: float = hyper(0.9, "[0, 1)", "μ.")
    dampening: float = hyper(0.0, "[0, 1]", "τ.")
    project_buffer: bool = hyper(
        False, words="Without Nesterov's step: b itself loses its radial part (the authors' code)."
    )
    eps: float = hyper(1e-8, "[0, inf)", "In the cosine and beside the norm of x.")
    words = {
        "nesterov": "g + μ b in b's place.",
        "delta": "δ; 0: never project.",
        "cosine_eps": "ε as the least norm inside the cosine, or beside both norms.",
        "weight_decay": "Decay apart from the gradient is divided by 1 - μ, as strong as a penalty inside b would be.",
    }

    def rule(self, xp):
        mu, fresh = self.momentum, 1.0 - self.dampening

        def sgdp(x, g, b, lr, l2, keep, keep_free):
            g = g + l2 * x
            b = mu * b + fresh * g
            d = g + mu * b if self.nesterov else b
            if x.ndim < 2:
                return keep * x - lr * d, b
            q, free = self.project(xp, x, g, d)
            if self.project_buffer and not self.nesterov:
                b = q
            return xp.where(free, keep_free * x, keep * x) - lr * q, b

        return sgdp

    def scalars(self, t, carried):
        return {**self.decays(t, 1.0 / (1.0 - self.momentum))}


dialect(SGDP, "official", "clovaai/AdamP sgdp.py",
    "without Nesterov's step the buffer is projected in place; timm and pytorch_optimizer 4.1.0: as the paper",
    project_buffer=True)  # fmt: skip
dialect(SGDP, "jettify", "torch_optimizer 0.3.0 SGDP", "the authors' alike until adamp 0.2.0",
    project_buffer=True, cosine_eps="added")  # fmt: skip
