"""ADADELTA (Zeiler 2012)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.overview import RUDER

ZEILER = Source(
    "zeiler-2012-adadelta", "M. D. Zeiler", "ADADELTA: An Adaptive Learning Rate Method", arxiv="1212.5701"
)


@register("adadelta", source=ZEILER, where="Algorithm 1", also=(RUDER,), state_copies=2)
class AdaDelta(ElementwiseDecay):
    """ADADELTA: the gradient in units of x, as the ratio of two root mean squares.

    ``E_t = ρ E_{t-1} + (1 - ρ) g_t²``, ``Δ_t = sqrt(D_{t-1} + ε) / sqrt(E_t + ε) · g_t``,
    ``D_t = ρ D_{t-1} + (1 - ρ) Δ_t²``, ``x_t = x_{t-1} - Δ_t``, from E_0 = D_0 = 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adadelta")
    >>> x, s = o.update(np.array([0.0]), np.array([50.0]), o.init(np.array([0.0])))
    >>> print(x.round(5))
    [-0.00447]
    """

    slots = ("E", "D")
    lr: Rate = hyper(1.0, "[0, inf)", "A factor of Δ_t in x alone; the paper has none (1).")
    rho: float = hyper(0.95, "[0, 1)", "ρ.")
    eps: float = hyper(
        1e-6, "[0, inf)", "ε. It sets the size of the first steps; with 0 the method never moves."
    )
    eps_step: float | None = hyper(None, "[0, inf)",
        "The ε beside D, in units of x², where it shall differ from the ε beside E, in units of g².")  # fmt: skip
    words = {"weight_decay": "The paper has none."}

    def rule(self, xp):
        divisor = nonzero(xp)

        def adadelta(x, g, E, D, lr, rho, fresh, eps, eps_step, l2, keep):
            g = g + l2 * x
            E = ema(E, g * g, rho, fresh)
            # D of the step before: this step's own size is not known yet.
            delta = xp.sqrt(D + eps_step) / divisor(xp.sqrt(E + eps)) * g
            D = ema(D, delta * delta, rho, fresh)
            return keep * x - lr * delta, E, D

        return adadelta

    def scalars(self, t, carried):
        return {"fresh": 1.0 - self.rho, "eps_step": self.eps if self.eps_step is None else self.eps_step}


dialect(AdaDelta, "torch", "torch 2.13 optim.Adadelta", rho=0.9, decay="coupled")
dialect(AdaDelta, "optax", "optax 0.2.8 adadelta", "its default rate None ascends; give it 1", rho=0.9,
    decay="coupled")  # fmt: skip
dialect(AdaDelta, "keras", "Keras 3 Adadelta", lr=1e-3, eps=1e-7, decay="decoupled")
