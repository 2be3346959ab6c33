"""LAMB: Adam's direction, scaled layer by layer to the size of the layer (You et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule, Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.trust import leaf_norm, trust_ratio

YOU_LAMB = Source(
    key="you-2019-large",
    authors="Y. You, J. Li, S. Reddi, J. Hseu, S. Kumar, et al.",
    year=2019,
    title="Large Batch Optimization for Deep Learning: Training BERT in 76 minutes",
    arxiv="1904.00962",
)


@register(
    "lamb",
    kind="optimizer",
    source=YOU_LAMB,
    where="Algorithm 2",
    dialects={
        "official": Dialect(
            {"bias_correction": "none"},
            "google-research/albert lamb_optimizer.py",
            "eps beside the uncorrected root; excluded names are to be split off by the caller",
        ),
        "optax": Dialect({"weight_decay": 0.0}, "optax 0.2.8 lamb"),
        "keras": Dialect({"decay_in_ratio": False}, "Keras 3 Lamb", "decay first, outside the ratio"),
        "kozistr": Dialect(
            {
                "weight_decay": 0.0,
                "bias_correction": "rate",
                "largest_size": 10.0,
                "decay_in_ratio": False,
                "eps_in_ratio": True,
            },
            "pytorch_optimizer 4.1 Lamb",
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "Keras 3's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[lamb-keras]",
        ),
        Evidence(
            "parity",
            "optax.lamb with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[lamb-optax]",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.Lamb (clamped sizes, eps in the ratio, decay outside), 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[lamb-kozistr]",
        ),
        Evidence(
            "parity",
            "ALBERT's LAMBOptimizer by one of the authors, its slots in float64, with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[lamb-official]",
        ),
        Evidence(
            "identity",
            "equals Algorithm 2 transcribed line by line with Python floats, to 1e-13",
            "tests/identities/test_lars.py::test_lamb_algorithm_2",
        ),
        Evidence(
            "identity",
            "without decay and eps, with and without bias correction are the same, to 1e-13",
            "tests/identities/test_lars.py::test_lamb_without_decay_needs_no_bias_correction",
        ),
        Evidence(
            "claim",
            "every layer moves by exactly lr * phi(|x|), to 1e-13",
            "tests/claims/test_lars.py::test_lamb_step_is_a_share_of_the_layer",
        ),
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class LAMB(LeafRule):
    """LAMB: Adam's direction with decay, its norm replaced by the layer's.

    ``r_t = m̂_t / (sqrt(v̂_t) + ε)`` with Adam's averages, and for every layer (leaf)
    ``x_{t+1} = x_t - η φ(‖x_t‖) / ‖r_t + λ x_t‖ (r_t + λ x_t)``, ``φ(z) = min(max(z, γ_l), γ_u)``.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η, without a unit: the share of its size by which a layer moves.
    beta1, beta2 : float, range [0, 1)
    eps : float, range [0, inf)
        ε.
    weight_decay : float, range [0, inf)
        λ.
    smallest_size : float, range [0, inf)
    largest_size : float, range (0, inf]
        γ_l and γ_u.
    bias_correction : {"moments", "rate", "none"}
        ``moments`` as above; ``rate``: m and v in place of m̂ and v̂, and η / (1 - β1^t) in place of η;
        ``none``: m and v.
    decay_in_ratio : bool
        True as above; False: ``x ← (1 - η λ) x`` first, then the step with r alone.
    eps_in_ratio : bool
        Add ε to the ratio's denominator too.
    schedule : callable, optional

    Notes
    -----
    Where ‖x‖ or the direction's norm is zero the ratio is 1, as every implementation has it.

    References
    ----------
    Y. You et al. 2019, arXiv:1904.00962, Algorithm 2.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("lamb", lr=0.1, weight_decay=0.0, eps=0.0)
    >>> x = np.array([3.0, 4.0])
    >>> x, s = o.update(x, np.array([700.0, 0.0]), o.init(x))
    >>> print(x)
    [2.5 4. ]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", rate=True)
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-6, "[0, inf)")
    weight_decay: float = hyper(0.01, "[0, inf)")
    smallest_size: float = hyper(0.0, "[0, inf)")
    largest_size: float = hyper(float("inf"), "(0, inf]")
    bias_correction: str = hyper("moments", ("moments", "rate", "none"))
    decay_in_ratio: bool = hyper(True, (True, False))
    eps_in_ratio: bool = hyper(False, (True, False))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smallest_size > self.largest_size:
            raise ArgumentError(
                f"lamb: smallest_size: wanted at most largest_size = {self.largest_size!r}, got {self.smallest_size!r}"
            )

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return rate and bias corrections of step `t`."""
        c1, c2 = correction(self.beta1, t), correction(self.beta2, t)
        on, rate = self.bias_correction == "moments", self.rate(t)
        return {
            "lr": rate,
            "step": rate / c1 if self.bias_correction == "rate" else rate,
            "c1": c1 if on else 1.0,
            "c2": c2 if on else 1.0,
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return one layer's step."""

        def lamb(x, g, m, v, lr, step, c1, c2):  # type: ignore[no-untyped-def]
            m = ema(m, g, self.beta1, 1.0 - self.beta1)
            v = ema(v, g * g, self.beta2, 1.0 - self.beta2)
            below = xp.sqrt(v / c2) + self.eps
            r = (m / c1) / xp.where(below > 0.0, below, xp.ones_like(below))
            if self.decay_in_ratio:
                r = r + self.weight_decay * x
            else:
                x = (1.0 - lr * self.weight_decay) * x
            size = xp.clip(leaf_norm(x), min=self.smallest_size, max=self.largest_size)
            length = leaf_norm(r)
            extra = self.eps if self.eps_in_ratio else 0.0
            # eps beside the norm must not give a direction of length zero a ratio.
            ratio = trust_ratio(size, xp.where(length > 0.0, length + extra, length))
            return x - step * ratio * r, m, v

        return lamb
