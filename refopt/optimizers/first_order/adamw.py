"""Decoupled weight decay: AdamW and SGDW (Loshchilov and Hutter 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from refopt.core.hyper import hyper
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.decay import DECAYS
from refopt.optimizers.first_order.adam import Adam
from refopt.optimizers.first_order.gradient_descent import Momentum

LOSHCHILOV = Source(
    key="loshchilov-2017-decoupled",
    authors="I. Loshchilov, F. Hutter",
    year=2017,
    title="Decoupled Weight Decay Regularization",
    arxiv="1711.05101",
)


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


@register(
    "adamw",
    kind="optimizer",
    source=LOSHCHILOV,
    where="Algorithm 2",
    dialects={
        "torch": Dialect({"decay": "decoupled"}, "torch 2.13 optim.AdamW", "decay times the rate"),
        "optax": Dialect({"decay": "decoupled", "weight_decay": 1e-4}, "optax 0.2.8 adamw"),
        "keras": Dialect(
            {"decay": "decoupled", "weight_decay": 4e-3, "eps": 1e-7, "eps_corrected": False}, "Keras 3 AdamW"
        ),
        "official": Dialect(
            {"eps_corrected": False}, "loshchil/AdamW-and-SGDW adam.lua", "eps beside the uncorrected root"
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "Keras 3's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adamw-keras]",
        ),
        Evidence(
            "identity",
            "Keras's dialect equals its formulas transcribed, 100 steps under a schedule with decay, to 1e-12",
            "tests/identities/test_keras_dialects.py::test_keras",
        ),
        Evidence(
            "parity",
            "the authors' adam.lua, over tables in place of Torch's tensors, low betas, large eps, decay and schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adamw-official]",
        ),
        Evidence(
            "parity",
            "torch.optim.AdamW with low beta2 and large eps under a schedule, 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adamw-torch]",
        ),
        Evidence(
            "parity",
            "optax.adamw under a schedule, 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adamw-optax]",
        ),
        Evidence(
            "claim",
            "the paper's decay shrinks x by prod(1 - eta_t lambda) whatever the rate, torch's by prod(1 - lr_t lambda)",
            "tests/claims/test_adamw.py::test_decay_without_gradient",
        ),
        Evidence(
            "claim",
            "Proposition 3: with a fixed preconditioner, decoupled decay is a scaled L2 penalty, to 1e-12",
            "tests/claims/test_adamw.py::test_proposition_3",
        ),
        Evidence(
            "claim",
            "the best decay is 2^-4 at rates 0.03, 0.085 and 0.24 (digits, weight-normalised softmax, held-out losses within 1 % of each other)",
            "tests/claims/test_adamw_decay.py::test_best_decay_of_adamw_is_independent_of_the_rate",
        ),
        Evidence(
            "claim",
            "there coupled Adam's best decay falls at least 256-fold (2^-4, 2^-10, 2^-14 were measured), and its best loss is higher at every rate",
            "tests/claims/test_adamw_decay.py::test_best_decay_of_coupled_adam_falls_with_the_rate",
        ),
        Evidence(
            "identity",
            "without decay it is Adam, bit for bit",
            "tests/identities/test_adam.py::test_adamw_without_decay_is_adam",
        ),
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """AdamW: Adam with the weight decay apart from the adaptive step.

    ``x_t = x_{t-1} - η_t (α m̂_t / (sqrt(v̂_t) + ε) + λ x_{t-1})``, with Adam's averages of the
    gradient alone, and η_t the schedule's multiplier: decay is not multiplied by α.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        α.
    beta1, beta2 : float, range [0, 1)
    eps : float, range [0, inf)
    eps_root : float, range [0, inf)
    eps_corrected : bool
        As in `Adam`.
    weight_decay : float, range [0, inf)
        λ. The paper has no default; `normalized_weight_decay` gives its formula.
    decay : {"independent", "decoupled", "coupled"}
        ``independent`` as above; ``decoupled`` as in most libraries: α η_t λ in place of η_t λ.
    schedule : callable, optional
        η_t, for example a cosine.
    engine : {"array", "numba", "cupy"}

    References
    ----------
    I. Loshchilov, F. Hutter 2017, Decoupled Weight Decay Regularization, arXiv:1711.05101, Algorithm 2.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adamw", lr=0.1, weight_decay=0.5)
    >>> x, s = o.update(np.array([2.0]), np.array([0.0]), o.init(np.array([2.0])))
    >>> print(x)
    [1.]
    """

    weight_decay: float = hyper(0.01, "[0, inf)")
    decay: str = hyper("independent", DECAYS)


@register(
    "sgdw",
    kind="optimizer",
    source=LOSHCHILOV,
    where="Algorithm 1",
    dialects={
        "official": Dialect(
            {"rate_inside": False, "full_first": True},
            "loshchil/AdamW-and-SGDW sgd.lua",
            "rate outside the velocity; its dampening is the momentum unless it is given",
        ),
        "timm": Dialect({"rate_inside": False, "full_first": True, "decay": "decoupled"}, "timm sgdw"),
    },
    evidence=(
        Evidence(
            "parity",
            "timm's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[sgdw-timm]",
        ),
        Evidence(
            "parity",
            "the authors' sgd.lua, over tables in place of Torch's tensors, with dampening, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[sgdw-official]",
        ),
        Evidence(
            "claim",
            "Proposition 1: without momentum, decoupled decay lambda is an L2 penalty lambda / alpha, to 1e-13",
            "tests/claims/test_adamw.py::test_proposition_1",
        ),
        Evidence(
            "identity",
            "equals Algorithm 1 transcribed line by line, to 1e-13, under a schedule",
            "tests/identities/test_adam.py::test_sgdw_algorithm_1",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.SGDW (decay times the rate), 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[sgdw-kozistr]",
        ),
    ),
    state_copies=1,
)
@dataclass(frozen=True, kw_only=True)
class SGDW(Momentum):
    """SGDW: momentum with the weight decay apart from the velocity.

    ``m_t = β1 m_{t-1} + η_t α g_t``, ``x_t = x_{t-1} - m_t - η_t λ x_{t-1}``, from m_0 = 0.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        α.
    momentum : float, range [0, 1)
        β1.
    weight_decay : float, range [0, inf)
        λ; see `normalized_weight_decay`.
    decay : {"independent", "decoupled", "coupled"}
        ``independent`` as above; ``decoupled``: α η_t λ in place of η_t λ.
    dampening : float, range [0, 1]
    rate_inside, full_first : bool
        As in `Momentum`.
    schedule : callable, optional
        η_t.
    engine : {"array", "numba", "cupy"}

    References
    ----------
    I. Loshchilov, F. Hutter 2017, arXiv:1711.05101, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("sgdw", lr=0.1, weight_decay=0.5)
    >>> x, s = o.update(np.array([2.0]), np.array([0.0]), o.init(np.array([2.0])))
    >>> print(x)
    [1.]
    """

    weight_decay: float = hyper(0.01, "[0, inf)")
    decay: str = hyper("independent", DECAYS)
