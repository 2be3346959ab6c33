"""AdEMAMix (Pagliardini, Ablin and Grangier 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Namespace
from refopt.core.hyper import hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.adam import AdamFamily

PAGLIARDINI = Source(
    key="pagliardini-2024-ademamix",
    authors="M. Pagliardini, P. Ablin, D. Grangier",
    year=2024,
    title="The AdEMAMix Optimizer: Better, Faster, Older",
    arxiv="2409.03137",
)


def half_life_warmup(start: float, end: float, part: float, shift: float = 0.0) -> float:
    """Return the weight whose half-life is `part` of the way from that of `start` to that of `end`.

    ``exp(1 / ((1 - part) / ln start + part / ln end))``, which is the paper's formula.

    Parameters
    ----------
    start, end : float, range [0, 1)
    part : float, range [0, inf)
        From 1 on, the answer is `end`.
    shift : float, range [0, inf)
        Added to both weights inside the logarithms (the authors' code).

    Returns
    -------
    float

    Examples
    --------
    >>> round(half_life_warmup(0.9, 0.9999, 0.5), 6)
    0.9998
    """
    if part >= 1.0:
        return end

    def life(beta: float) -> float:
        return 1.0 / math.log(beta + shift) if beta + shift > 0.0 else 0.0

    total = (1.0 - part) * life(start) + part * life(end)
    return math.exp(1.0 / total) if total else 0.0


@register(
    "ademamix",
    kind="optimizer",
    source=PAGLIARDINI,
    where="Algorithm 1",
    dialects={
        "official": Dialect({"alpha": 2.0, "half_life_shift": 1e-8}, "apple/ml-ademamix pytorch/ademamix.py"),
        "optax": Dialect(
            {"count_from": 0},
            "optax 0.2.8 contrib.ademamix, apple/ml-ademamix optax/ademamix.py",
            "the warm-ups see a count from 0",
        ),
        "kozistr": Dialect({"decay": "coupled"}, "pytorch_optimizer 4.1.0 AdEMAMix"),
    },
    evidence=(
        Evidence(
            "parity",
            "the authors' torch AdEMAMix with both warm-ups, low betas, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[ademamix-official]",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.AdEMAMix with both warm-ups, coupled decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[ademamix-kozistr]",
        ),
        Evidence(
            "parity",
            "optax.contrib.ademamix with constant alpha and beta3, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[ademamix-optax]",
        ),
        Evidence(
            "identity",
            "with alpha = 0 it is AdamW in torch's form, bit for bit",
            "tests/identities/test_mixed.py::test_ademamix_without_the_slow_average_is_adamw",
        ),
        Evidence(
            "identity",
            "with beta3 = beta1 it is AdamW at the rate times 1 + alpha (1 - beta1^t), to 1e-13",
            "tests/identities/test_mixed.py::test_ademamix_with_equal_averages_is_adamw",
        ),
        Evidence(
            "claim",
            "the warm-up of beta3 is linear in the half-life, to 1e-10 (1 - beta loses four digits), and equals the paper's own form, to 1e-14",
            "tests/claims/test_mixed.py::test_half_life_is_linear",
        ),
    ),
    state_copies=3,
)
@dataclass(frozen=True, kw_only=True)
class AdEMAMix(AdamFamily):
    """AdEMAMix: Adam with a second, much slower average of the gradients beside the first.

    ``m1 ← β1 m1 + (1 - β1) g``, ``m2 ← β3(t) m2 + (1 - β3(t)) g``, ``ν ← β2 ν + (1 - β2) g²``,
    ``x_t = x_{t-1} - η ((m1 / (1 - β1^t) + α(t) m2) / (sqrt(ν / (1 - β2^t)) + ε) + λ x_{t-1})``, from
    zero. ``α(t) = min(t / T, 1) α``; β3(t) goes from β1 to β3 in T steps, linearly in the half-life.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    beta1, beta2, beta3 : float, range [0, 1)
    alpha : float, range [0, inf)
        α; the paper uses values from about 2 to 10.
    alpha_steps, beta3_steps : int, range [1, inf), optional
        T of either warm-up, usually the length of the run; None: α and β3 are constant.
    count_from : {1, 0}
        What the warm-ups count the first step as.
    half_life_shift : float, range [0, inf)
        See `half_life_warmup`.
    eps : float, range [0, inf)
        ε.
    eps_corrected : bool
        As in `Adam`.
    weight_decay : float, range [0, inf)
        λ.
    decay : {"decoupled", "coupled", "independent"}
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    Notes
    -----
    m2 has no bias correction. A coordinate whose gradient has always been zero stays but for decay.

    References
    ----------
    M. Pagliardini, P. Ablin, D. Grangier 2024, The AdEMAMix Optimizer: Better, Faster, Older,
    arXiv:2409.03137, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("ademamix", lr=1.0, alpha=4.0, beta3=0.75)
    >>> x, s = o.update(np.array([0.0]), np.array([50.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))
    [-2.]
    """

    slots: ClassVar[tuple[str, ...]] = ("m1", "m2", "v")
    beta3: float = hyper(0.9999, "[0, 1)")
    alpha: float = hyper(5.0, "[0, inf)")
    alpha_steps: int | None = hyper(None, "int [1, inf)")
    beta3_steps: int | None = hyper(None, "int [1, inf)")
    count_from: int = hyper(1, (1, 0))
    half_life_shift: float = hyper(0.0, "[0, inf)")

    def warm(self, t: int) -> tuple[float, float]:
        """Return α(t) and β3(t)."""
        count = t - 1 + self.count_from
        alpha, beta3 = self.alpha, self.beta3
        if self.alpha_steps is not None:
            alpha = min(count / self.alpha_steps, 1.0) * alpha
        if self.beta3_steps is not None:
            beta3 = half_life_warmup(self.beta1, beta3, count / self.beta3_steps, self.half_life_shift)
        return alpha, beta3

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        alpha, beta3 = self.warm(t)
        return {
            **self.moment_scalars(t),
            "beta3": beta3,
            "k3": 1.0 - beta3,
            "slow": self.rate(t) * alpha,
            "l2": self.coupled(),
            "keep": self.keep(t),
            "zero": 0.0,
            "one": 1.0,
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return Algorithm 1's step."""
        divisor = nonzero(xp)

        def ademamix(  # type: ignore[no-untyped-def]
            x, g, m1, m2, v, beta1, k1, beta2, k2, step, root, eps, beta3, k3, slow, l2, keep, zero, one
        ):
            g = g + l2 * x
            m1, m2, v = ema(m1, g, beta1, k1), ema(m2, g, beta3, k3), ema(v, g * g, beta2, k2)
            denominator = divisor(xp.sqrt(v) * root + eps, zero, one)
            return keep * x - (step * m1 + slow * m2) / denominator, m1, m2, v

        return ademamix
