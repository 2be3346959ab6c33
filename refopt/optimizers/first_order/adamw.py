"""Decoupled weight decay: AdamW and SGDW (Loshchilov and Hutter 2017)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.decay import DECAYS
from refopt.optimizers.first_order.adam import Adam
from refopt.optimizers.first_order.gradient_descent import Momentum

LOSHCHILOV = Source("loshchilov-2017-decoupled", "I. Loshchilov, F. Hutter",
    "Decoupled Weight Decay Regularization", arxiv="1711.05101")  # fmt: skip


def normalized_weight_decay(strength: float, batch_size: int, examples: int, epochs: float) -> float:
    """Return the paper's normalised decay ``λ = λ_norm sqrt(b / (B T))`` (appendix B.1).

    Parameters
    ----------
    strength : float
        λ_norm.
    batch_size, examples : int
        b and B.
    epochs : float
        T, the epochs of the run, or of the current restart period.

    Returns
    -------
    float
    """
    return strength * (batch_size / (examples * epochs)) ** 0.5


@register("adamw", source=LOSHCHILOV, where="Algorithm 2", state_copies=2)
class AdamW(Adam):
    """AdamW: Adam with the weight decay apart from the adaptive step.

    ``x_t = x_{t-1} - η_t (α m̂_t / (sqrt(v̂_t) + ε) + λ x_{t-1})``, with Adam's averages of the
    gradient alone, and η_t the schedule's multiplier: decay is not multiplied by α.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adamw", lr=0.1, weight_decay=0.5)
    >>> x, s = o.update(np.array([2.0]), np.array([0.0]), o.init(np.array([2.0])))
    >>> print(x)
    [1.]
    """

    weight_decay: float = hyper(
        0.01, "[0, inf)", "λ. The paper has no default; `normalized_weight_decay` gives its formula."
    )
    decay: str = hyper("independent", DECAYS,
        "``independent`` as above; ``decoupled`` as in most libraries: α η_t λ in place of η_t λ.")  # fmt: skip
    words = {"lr": "α.", "schedule": "η_t, for example a cosine."}


dialect(AdamW, "torch", "torch 2.13 optim.AdamW", "decay times the rate", decay="decoupled")
dialect(AdamW, "optax", "optax 0.2.8 adamw", decay="decoupled", weight_decay=1e-4)
dialect(AdamW, "keras", "Keras 3 AdamW", decay="decoupled", weight_decay=4e-3, eps=1e-7, eps_corrected=False)
dialect(AdamW, "official", "loshchil/AdamW-and-SGDW adam.lua", "eps beside the uncorrected root",
    eps_corrected=False)  # fmt: skip


@register("sgdw", source=LOSHCHILOV, where="Algorithm 1", state_copies=1)
class SGDW(Momentum):
    """SGDW: momentum with the weight decay apart from the velocity.

    ``m_t = β1 m_{t-1} + η_t α g_t``, ``x_t = x_{t-1} - m_t - η_t λ x_{t-1}``, from m_0 = 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("sgdw", lr=0.1, weight_decay=0.5)
    >>> x, s = o.update(np.array([2.0]), np.array([0.0]), o.init(np.array([2.0])))
    >>> print(x)
    [1.]
    """

    weight_decay: float = hyper(0.01, "[0, inf)", "λ; see `normalized_weight_decay`.")
    decay: str = hyper(
        "independent", DECAYS, "``independent`` as above; ``decoupled``: α η_t λ in place of η_t λ."
    )
    words = {"lr": "α.", "momentum": "β1.", "schedule": "η_t."}


dialect(SGDW, "official", "loshchil/AdamW-and-SGDW sgd.lua",
    "rate outside the velocity; its dampening is the momentum unless it is given", rate_inside=False,
    full_first=True)  # fmt: skip
dialect(SGDW, "timm", "timm sgdw", rate_inside=False, full_first=True, decay="decoupled")
