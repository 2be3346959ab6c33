"""SGD-SaI: rates fixed by the first gradient's signal-to-noise ratio (Xu et al. 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Array, Namespace, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule, State
from refopt.core.params import Params, check_like, leaves, rebuild
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.decay import Decay

XU = Source(
    key="xu-2024-no",
    authors="M. Xu, L. Xiang, X. Cai, H. Wen",
    year=2024,
    title="No More Adam: Learning Rate Scaling at Initialization is All You Need",
    arxiv="2412.11768",
)


def signal_to_noise(g: Array, eps: float) -> Array:
    """Return ``||g||_2 / (std(g) + eps)`` of one block, a 0-d array; std is unbiased, 0 for one element."""
    xp = namespace(g)
    n = math.prod(g.shape)
    centred = g - xp.mean(g)
    spread = xp.sqrt(xp.sum(centred * centred) / (n - 1)) if n > 1 else 0.0 * xp.sum(g)
    return xp.sqrt(xp.sum(g * g)) / (spread + eps)


@register(
    "sgd-sai",
    kind="optimizer",
    source=XU,
    where="Algorithm 1",
    dialects={
        "official": Dialect(
            {"normalize": False}, "AnonymousAlethiometer/SGD_SaI 1.0.3", "not divided by the largest ratio"
        )
    },
    evidence=(
        Evidence(
            "parity",
            "the authors' SGD_sai 1.0.3, 200 steps on two streams with decay and a schedule, to 1e-12 (measured 2e-16)",
            "tests/parity/test_tapes.py::test_tape[sgd-sai-official]",
        ),
        Evidence(
            "claim",
            "eps = 0: G^2 = (n - 1) + n mean(g)^2 / s^2 exactly (1e-12), so G >= sqrt(n - 1)",
            "tests/claims/test_sgd_sai.py::test_ratio_identity",
        ),
        Evidence(
            "identity",
            "one block: momentum SGD on the averaged gradient started at the first one, to 1e-13",
            "tests/identities/test_sgd_sai.py::test_one_block_is_momentum",
        ),
        Evidence(
            "identity",
            "60 steps with decay equal Algorithm 1 written out, normalised and not, to 1e-12",
            "tests/identities/test_sgd_sai.py::test_algorithm_1",
        ),
    ),
    state_copies=1,
)
@dataclass(frozen=True, kw_only=True)
class SGDSaI(Decay):
    """SGD-SaI: momentum SGD whose rate in each block is set once, by the block's first gradient.

    At t = 1 ``G_i = ||g_i||_2 / (std(g_i) + ε)`` and ``G̃_i = G_i / max_k G_k``, kept for the whole run.
    ``m_1 = g_1``, ``m_t = μ m_{t-1} + (1 - μ) g_t``, ``x ← (1 - η λ) x - η G̃_i m_t``. A block is a leaf.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    momentum : float, range [0, 1)
        μ.
    eps : float, range [0, inf)
        ε, beside the standard deviation.
    normalize : bool
        Divide by the largest ratio (the paper); the authors' package does not, which makes rates
        larger by that ratio, about the square root of the largest block's size.
    weight_decay : float, range [0, inf)
        λ.
    decay : {"decoupled", "independent", "coupled"}
    schedule : callable, optional

    Notes
    -----
    A block of one element has no deviation: its ratio is abs(g)/ε, and normalised it turns all other
    rates to almost nothing. A block whose first gradient is zero never moves.

    References
    ----------
    M. Xu et al. 2024, arXiv:2412.11768, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("sgd-sai", lr=0.1, weight_decay=0.0)
    >>> x = np.zeros(2)
    >>> x, s = o.update(x, np.array([1.0, -1.0]), o.init(x))
    >>> print(x)
    [-0.1  0.1]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "gain")
    lr: Rate = hyper(0.01, "[0, inf)", rate=True)
    momentum: float = hyper(0.9, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)")
    normalize: bool = hyper(True, (True, False))
    weight_decay: float = hyper(0.01, "[0, inf)")

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros like the leaf, and one number for its gain."""
        zeros = namespace(leaf).zeros_like(leaf)
        return zeros if slot == "m" else namespace(leaf).sum(zeros)

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Set the gains from the first gradient; then make one step."""
        check_like(grad, x, "grad")
        if s["t"] == 0:
            s = {**s, "gain": rebuild(x, self.gains(grad))}
        return self.advance(x, (grad,), s, donate=donate)

    def gains(self, grad: Params) -> dict[str, Array]:
        """Return each block's gain."""
        ratios = {k: signal_to_noise(g, self.eps) for k, g in leaves(grad).items()}
        if not self.normalize:
            return ratios
        largest = max(float(r) for r in ratios.values())
        return {k: r / largest if largest > 0.0 else r for k, r in ratios.items()}

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        return {
            "old": 0.0 if t == 1 else self.momentum,
            "new": 1.0 if t == 1 else 1.0 - self.momentum,
            "lr": self.rate(t),
            "l2": self.coupled(),
            "keep": self.keep(t),
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return the step of one block."""

        def sai(x, g, m, gain, old, new, lr, l2, keep):  # type: ignore[no-untyped-def]
            m = old * m + new * (g + l2 * x)
            return keep * x - lr * gain * m, m, gain

        return sai
