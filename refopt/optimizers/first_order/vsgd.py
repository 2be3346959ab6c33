"""VSGD: the gradient as a hidden variable, seen through noise (Chen et al. 2024)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import ElementwiseDecay

CHEN = Source("chen-2024-variational", "H. Chen, A. Kuzina, B. Esmaeili, J. M. Tomczak",
    "Variational Stochastic Gradient Descent for Deep Neural Networks", arxiv="2404.06549")  # fmt: skip


@register("vsgd", source=CHEN, where="the algorithm, as in the authors' code src/vsgd.py", state_copies=3)
class VSGD(ElementwiseDecay):
    """VSGD: a step along the posterior mean of the gradient over the root of its posterior second moment.

    With the variances ``σ_g² = b_{t-1} / a`` of the gradient's change and ``σ_ĝ² = h_{t-1} / a`` of its noise,
    ``μ_t = (σ_g² g_t + σ_ĝ² μ_{t-1}) / (σ_g² + σ_ĝ²)``, ``q_t = μ_t² + σ_g² σ_ĝ² / (σ_g² + σ_ĝ²)``,
    ``b_t = (1 - t^-κ1) b_{t-1} + t^-κ1 (2γ + q_t - 2 μ_t μ_{t-1} + μ_{t-1}²)``,
    ``h_t = (1 - t^-κ2) h_{t-1} + t^-κ2 (2Kγ + q_t - 2 g_t μ_t + g_t²)``, ``x_t = x_{t-1} - η μ_t / (sqrt(q_t) + ε)``,
    with a = 2γ + 1 + δ; in the first step ``σ_g² = 2γ / (2γ + δ)`` and ``σ_ĝ² = K σ_g²``.

    Notes
    -----
    b, h and a are twice the rates and the shape of the paper's Gamma laws, as in the code; δ is the code's.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("vsgd", ratio=3.0)
    >>> x, s = o.update(np.array([0.0]), np.array([8.0]), o.init(np.array([0.0])))
    >>> print(s["mu"], x.round(6))  # a share of 1 / (1 + K) of the first gradient
    [2.] [-0.099998]
    """

    slots = ("mu", "b", "h")
    lr: Rate = hyper(0.1, "[0, inf)", "η: no coordinate moves by more.")
    ratio: float = hyper(
        30.0, "(0, inf)", "K: the noise's variance over that of the gradient's change, before any is seen."
    )
    strength: float = hyper(1e-8, "(0, inf)", "γ: the strength of the prior.")
    excess: float = hyper(1e-4, "(0, inf)", "δ.")
    power_change: float = hyper(0.81, "(0, 1]", "κ1.")
    power_noise: float = hyper(0.9, "(0, 1]", "κ2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    words = {"weight_decay": "The paper's is decoupled."}

    def rule(self, xp):
        def vsgd(
            x,
            g,
            mu,
            b,
            h,
            lr,
            start_b,
            start_h,
            shape,
            prior_b,
            prior_h,
            rho_b,
            keep_b,
            rho_h,
            keep_h,
            eps,
            l2,
            keep,
        ):
            g = g + l2 * x
            change, noise = b / shape + start_b, h / shape + start_h
            new = (g * change + mu * noise) / (change + noise)
            square = change * noise / (change + noise) + new * new
            b = ema(b, prior_b + square - 2.0 * new * mu + mu * mu, keep_b, rho_b)
            h = ema(h, prior_h + square - 2.0 * g * new + g * g, keep_h, rho_h)
            return keep * x - lr * new / (xp.sqrt(square) + eps), new, b, h

        return vsgd

    def scalars(self, t, carried):
        rho_b, rho_h = t**-self.power_change, t**-self.power_noise
        prior_b, prior_h = 2.0 * self.strength, 2.0 * self.ratio * self.strength
        below = 2.0 * self.strength + self.excess
        return {
            "start_b": prior_b / below if t == 1 else 0.0,
            "start_h": prior_h / below if t == 1 else 0.0,
            "shape": below + 1.0,
            "prior_b": prior_b, "prior_h": prior_h,
            "rho_b": rho_b, "keep_b": 1.0 - rho_b,
            "rho_h": rho_h, "keep_h": 1.0 - rho_h,
        }  # fmt: skip


dialect(VSGD, "official", "generativeai-tue/vsgd src/vsgd.py", "its constants are in torch's default dtype")
dialect(VSGD, "kozistr", "pytorch_optimizer 4.1 VSGD")
