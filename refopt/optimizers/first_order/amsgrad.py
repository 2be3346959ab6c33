"""AMSGrad and AdamNC (Reddi, Kale and Kumar 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable

from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import Rate, check_number, hyper
from refopt.core.registry import dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.projection import box
from refopt.problems.adam_counterexample import REDDI


class OnlineAdam(ElementwiseDecay):
    """What the methods with a regret bound share: falling rate and momentum, and a feasible box."""

    lr: Rate = hyper(1e-3, "[0, inf)", "α.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta1_decay: float = hyper(1.0, "(0, 1]", "λ in β1t = β1 λ^(t-1).")
    rate_root: bool = hyper(True, words="α_t = α / sqrt(t); False: α_t = α.")
    lower: float = hyper(-math.inf, "[-inf, inf]", "The least x of the feasible set, a box.")
    upper: float = hyper(math.inf, "[-inf, inf]",
        "The largest; the projection in the norm weighted by sqrt(V) is a clip.")  # fmt: skip

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        if self.lower > self.upper:
            raise ArgumentError(
                f"{self.registered_name}: lower: wanted a number up to upper = {self.upper!r}, got {self.lower!r}"
            )

    def fall(self, t: int) -> float:
        """Return the factor of the rate at step `t`: 1 / sqrt(t), or 1."""
        return 1.0 / math.sqrt(t) if self.rate_root else 1.0

    def rate(self, t: int) -> float:
        """Return α_t."""
        return super().rate(t) * self.fall(t)

    def first_weights(self, t: int) -> dict[str, float]:
        """Return β1t and 1 - β1t."""
        beta1 = self.beta1 * self.beta1_decay ** (t - 1)
        return {"beta1": beta1, "k1": 1.0 - beta1}

    def first_correction(self, t: int) -> float:
        """Return one minus the product of β1, β1 λ, …, β1 λ^(t-1)."""
        return 1.0 - self.beta1**t * self.beta1_decay ** (t * (t - 1) / 2)


@register("amsgrad", source=REDDI, where="Algorithm 2", state_copies=3)
class AMSGrad(OnlineAdam):
    """AMSGrad: Adam that divides by the largest average of squares so far.

    ``m_t = β1t m_{t-1} + (1 - β1t) g_t``, ``v_t = β2 v_{t-1} + (1 - β2) g_t²``,
    ``V_t = max(V_{t-1}, v_t)``, ``x_{t+1} = Π(x_t - α_t m_t / sqrt(V_t))``, α_t = α / sqrt(t), from
    m_0 = v_0 = V_0 = 0, without bias correction.

    Notes
    -----
    A coordinate whose gradient has always been zero stays, with ε = 0 too.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("amsgrad", lr=1.0, beta1=0.0, beta2=0.75)
    >>> x, s = o.update(np.array([0.0]), np.array([5.0]), o.init(np.array([0.0])))
    >>> print(x)
    [-2.]
    """

    slots = ("m", "v", "V")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    bias_correction: bool = hyper(False, words="Divide m by 1 - Π β1i, and v or V by 1 - β2^t.")
    maximum_of: str = hyper("raw", ("raw", "corrected"),
        "Of which v the maximum is taken and kept, where there is a bias correction.")  # fmt: skip
    eps: float = hyper(0.0, "[0, inf)", "Added to the root; the paper has none (0).")
    eps_corrected: bool = hyper(
        True, words="With bias correction: ε beside the corrected root, or beside the raw one (Keras)."
    )
    words = {"weight_decay": "The paper has none."}

    def rule(self, xp):
        divisor, project = nonzero(xp), box(xp)

        def amsgrad(x, g, m, v, V, beta1, k1, beta2, k2, step, before, after, eps, l2, keep, lower, upper):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            V = xp.maximum(V, before * v)
            new = keep * x - step * m / divisor(xp.sqrt(V) * after + eps)
            return project(new, lower, upper), m, v, V

        return amsgrad

    def scalars(self, t, carried):
        c1 = self.first_correction(t) if self.bias_correction else 1.0
        c2 = correction(self.beta2, t) if self.bias_correction else 1.0
        raw = self.maximum_of == "raw"
        return {
            **self.first_weights(t),
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) / c1,
            "before": 1.0 if raw else 1.0 / c2,
            "after": 1.0 / math.sqrt(c2) if raw else 1.0,
            "eps": self.eps if self.eps_corrected else self.eps / math.sqrt(c2),
        }


dialect(AMSGrad, "overview", "Ruder's overview, the edition on his pages", rate_root=False, eps=1e-8)
dialect(AMSGrad, "torch", "torch 2.13 optim.Adam(amsgrad=True)",
    "the maximum of v is kept, and corrected afterwards; AdamW(amsgrad=True): decay='decoupled'",
    rate_root=False, eps=1e-8, bias_correction=True, decay="coupled")  # fmt: skip
dialect(AMSGrad, "optax", "optax 0.2.8 amsgrad", "the maximum of the corrected v is kept", rate_root=False,
    eps=1e-8, bias_correction=True, maximum_of="corrected")  # fmt: skip
dialect(AMSGrad, "keras", "Keras 3 Adam(amsgrad=True)", rate_root=False, eps=1e-7, bias_correction=True,
    eps_corrected=False, decay="decoupled")  # fmt: skip


@register("adamnc", source=REDDI, where="Algorithm 3, with the β2t of Corollary 2", state_copies=2)
class AdamNC(OnlineAdam):
    """AdamNC: Adam with an average of squares whose memory grows.

    ``m_t = β1t m_{t-1} + (1 - β1t) g_t``, ``v_t = β2t v_{t-1} + (1 - β2t) g_t²``,
    ``x_{t+1} = Π(x_t - α_t m_t / sqrt(v_t))``, α_t = α / sqrt(t), β2t = 1 - 1/t.

    Raises
    ------
    ArgumentTypeError
        `beta2` is neither None nor a function.
    ArgumentError
        `beta2` returns a number outside [0, 1].

    Notes
    -----
    No maintained implementation is known. A coordinate whose gradient has always been zero stays.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adamnc", lr=1.0, beta1=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([5.0]), o.init(np.array([0.0])))
    >>> print(x)
    [-1.]
    """

    slots = ("m", "v")
    beta2: Callable[[int], float] | None = hyper(
        None, words="β2t as a function of t = 1, 2, …; None: 1 - 1/t, so that v_t is the mean of all squares."
    )
    words = {"weight_decay": "The paper has none."}

    def rule(self, xp):
        divisor, project = nonzero(xp), box(xp)

        def adamnc(x, g, m, v, beta1, k1, beta2, k2, step, l2, keep, lower, upper):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            return project(keep * x - step * m / divisor(xp.sqrt(v)), lower, upper), m, v

        return adamnc

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        if self.beta2 is not None and not callable(self.beta2):
            raise ArgumentTypeError(
                f"adamnc: beta2: wanted a function of the step or None, got {self.beta2!r}; for a constant"
                " give lambda t: 0.999"
            )

    def scalars(self, t, carried):
        beta2 = 1.0 - 1.0 / t if self.beta2 is None else float(self.beta2(t))
        check_number(beta2, "[0, 1]", f"adamnc: beta2({t})")
        return {
            **self.first_weights(t),
            "beta2": beta2,
            "k2": 1.0 - beta2,
            "step": self.rate(t),
        }
