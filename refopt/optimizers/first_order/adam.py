"""Adam and AdaMax (Kingma and Ba 2014)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

KINGMA = Source(
    "kingma-2014-adam", "D. P. Kingma, J. Ba", "Adam: A Method for Stochastic Optimization", arxiv="1412.6980"
)


class AdamFamily(ElementwiseDecay):
    """What Adam and its close relatives share: hyperparameters, moments, corrections.

    The rule's numbers are ``step = lr / c1``, ``root = 1 / sqrt(c2)`` and eps, with c1 and c2 the bias
    corrections, so that the denominator ``sqrt(v) * root + eps`` is Adam's ``sqrt(v_hat) + eps``.
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_corrected: bool = hyper(
        True, words="True: ε stands beside ``sqrt(v̂)``. False: beside ``sqrt(v)`` (the authors' code)."
    )

    def moment_scalars(self, t: int) -> dict[str, float]:
        """Return the weights of both averages and the corrected step of step `t`."""
        c1, c2 = correction(self.beta1, t), correction(self.beta2, t)
        # eps beside the uncorrected root equals eps / sqrt(c2) beside the corrected one.
        eps = self.eps if self.eps_corrected else self.eps / c2**0.5
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) / c1,
            "root": 1.0 / c2**0.5,
            "eps": eps,
        }


@register("adam", source=KINGMA, where="Algorithm 1", state_copies=2)
class Adam(AdamFamily):
    """Adam: gradients averaged, and divided by the root of their averaged squares.

    ``m_t = β1 m_{t-1} + (1 - β1) g_t``, ``v_t = β2 v_{t-1} + (1 - β2) g_t²``,
    ``m̂_t = m_t / (1 - β1^t)``, ``v̂_t = v_t / (1 - β2^t)``,
    ``x_t = x_{t-1} - α m̂_t / (sqrt(v̂_t) + ε)``, from m_0 = v_0 = 0.

    Notes
    -----
    A coordinate whose gradient has always been zero does not move, even with ε = 0.

    The paper states the step bound α (1 - β1) / sqrt(1 - β2), or α. That is not strict: the supremum
    for β1 < sqrt(β2) is α (1 - β1) / sqrt((1 - β2) (1 - β1²/β2)), 7.270 α at the defaults.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic"), "adam", lr=0.1, steps=500)
    >>> r.success
    True
    """

    eps_root: float = hyper(0.0, "[0, inf)", "Added to v̂ inside the root (optax); the paper has none.")
    words = {
        "lr": "α, in the units of x: a step is of about this size.",
        "eps": "ε, in the units of the gradient.",
        "eps_corrected": "True: ε stands beside ``sqrt(v̂)`` as above. False: beside ``sqrt(v)``, the paper's ε̂.",
        "weight_decay": "The paper has none.",
    }

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def adam(x, g, m, v, beta1, k1, beta2, k2, step, root, eps, inside, l2, keep):
            g = g + l2 * x
            m = ema(m, g, beta1, k1)
            v = ema(v, g * g, beta2, k2)
            below = divisor(xp.sqrt(v + inside) * root + eps)
            return keep * x - step * m / below, m, v

        return adam

    def scalars(self, t, carried):
        # Inside the root, eps_root stands beside v_hat = v / c2.
        inside = self.eps_root * correction(self.beta2, t)
        return {**self.moment_scalars(t), "inside": inside}


dialect(Adam, "torch", "torch 2.13 optim.Adam", decay="coupled")
dialect(Adam, "optax", "optax 0.2.8 adam", "has eps_root besides")
dialect(Adam, "keras", "Keras 3 Adam",
    "eps beside the uncorrected root, the form that the end of the paper's section 2 offers", eps=1e-7,
    eps_corrected=False, decay="decoupled")  # fmt: skip


@register("adamax", source=KINGMA, where="Algorithm 2, section 7.1", state_copies=2)
class AdaMax(ElementwiseDecay):
    r"""AdaMax: Adam with the decayed maximum of the gradients in place of their root mean square.

    ``m_t = β1 m_{t-1} + (1 - β1) g_t``, ``u_t = max(β2 u_{t-1}, |g_t|)``,
    ``x_t = x_{t-1} - α / (1 - β1^t) · m_t / u_t``, from m_0 = u_0 = 0.

    Notes
    -----
    The paper states \\|Δ\\| ≤ α; the supremum for β1 < β2 is α (1 - β1) / (1 - β1/β2), 1.00909 α at the
    defaults.

    Examples
    --------
    >>> import refopt
    >>> refopt.minimize(refopt.problem("quadratic"), "adamax", lr=0.1, steps=500).success
    True
    """

    slots = ("m", "u")
    lr: Rate = hyper(2e-3, "[0, inf)", "α, in the units of x.")
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(0.0, "[0, inf)",
        "The paper has none (0); a coordinate whose gradient has always been zero then stays.")  # fmt: skip
    eps_inside: bool = hyper(False,
        words="True: ``u_t = max(β2 u_{t-1}, |g_t| + ε)`` (torch, optax). False: ``m_t / (u_t + ε)`` (Keras).")  # fmt: skip

    def rule(self, xp):
        divisor = nonzero(xp)

        def adamax(x, g, m, u, beta1, k1, beta2, step, inside, outside, l2, keep):
            g = g + l2 * x
            m = ema(m, g, beta1, k1)
            u = xp.maximum(beta2 * u, xp.abs(g) + inside)
            below = divisor(u + outside)
            return keep * x - step * m / below, m, u

        return adamax

    def scalars(self, t, carried):
        return {
            "k1": 1.0 - self.beta1,
            "step": self.rate(t) / correction(self.beta1, t),
            "inside": self.eps if self.eps_inside else 0.0,
            "outside": 0.0 if self.eps_inside else self.eps,
        }


dialect(AdaMax, "torch", "torch 2.13 optim.Adamax", eps=1e-8, eps_inside=True, decay="coupled")
dialect(AdaMax, "optax", "optax 0.2.8 adamax", eps=1e-8, eps_inside=True)
dialect(AdaMax, "keras", "Keras 3 Adamax", lr=1e-3, eps=1e-7, decay="decoupled")
