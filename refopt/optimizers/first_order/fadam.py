"""FAdam (Hwang 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Array, Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule, Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero

HWANG = Source(
    key="hwang-2024-fadam",
    authors="D. Hwang",
    year=2024,
    title="FAdam: Adam is a natural gradient optimizer using diagonal empirical Fisher information",
    arxiv="2405.12807",
)
EPS_RULES = ("power", "minimum", "scaled", "fixed", "floored")


@register(
    "fadam",
    kind="optimizer",
    source=HWANG,
    where="Algorithm 1, with the epsilon of its latest version as pytorch_optimizer has it",
    dialects={
        "v1": Dialect(
            {"eps_rule": "fixed", "eps": 1e-15, "weight_decay": 0.01},
            "lessw2020/FAdam_PyTorch fadam.py at ff03471",
            "the port of the paper's first version, for clip = 1; it forgot F between steps, which a later state mends, as here",
        ),
        "v2": Dialect(
            {"eps_rule": "minimum", "eps": 1e-7, "eps_gradient": 1e-3, "weight_decay": 0.01},
            "lessw2020/FAdam_PyTorch fadam.py at 7e8dd2a",
            "the port of the paper's second version, for clip = 1; it forgot F between steps, which a later state mends, as here",
        ),
        "v3": Dialect(
            {"eps_rule": "scaled"},
            "lessw2020/FAdam_PyTorch fadam.py at 93666b5",
            "the port of the paper's third version, for clip = 1; it stayed so until July 2025",
        ),
        "port": Dialect(
            {"eps_rule": "floored"},
            "lessw2020/FAdam_PyTorch fadam.py",
            "for clip = 1, the default: with another clip the port rescales small steps too",
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "pytorch_optimizer.FAdam in float64 with low betas, clip 0.7, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[fadam-kozistr]",
        ),
        Evidence(
            "parity",
            "lessw2020/FAdam_PyTorch, its step count in float64, with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[fadam-port]",
        ),
        Evidence(
            "parity",
            "the port's state of the paper's first version, its F kept as in a later state, in float64 with decay and a schedule, 200 steps on three streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[fadam-v1]",
        ),
        Evidence(
            "parity",
            "the port's state of the paper's second version, its F kept as in a later state, in float64 with decay and a schedule, 200 steps on three streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[fadam-v2]",
        ),
        Evidence(
            "parity",
            "the port's state of the paper's third version in float64 with decay and a schedule, 200 steps on three streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[fadam-v3]",
        ),
        Evidence(
            "identity",
            "F_t is Adam's corrected v_t / (1 - beta2^t), to 1e-13",
            "tests/identities/test_natural.py::test_fisher_is_adams_corrected_average",
        ),
        Evidence(
            "identity",
            "equals the algorithm transcribed line by line, for each rule of epsilon, to 1e-13",
            "tests/identities/test_natural.py::test_fadam_line_by_line",
        ),
        Evidence(
            "claim",
            "no step is longer than lr c (1 + λ) times sqrt(n), whatever the gradients",
            "tests/claims/test_natural.py::test_fadam_steps_are_clipped",
        ),
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class FAdam(LeafRule):
    """FAdam: momentum of natural gradients, with the diagonal empirical Fisher information.

    ``β̂_t = β2 (1 - β2^(t-1)) / (1 - β2^t)``, ``F ← β̂_t F + (1 - β̂_t) g²``, ``D = F^p + ε̂^(2p)``,
    ``ḡ = clip(g / D)``, ``m ← β1 m + (1 - β1) ḡ``, ``x ← x - η (m + λ clip(x / D))`` with
    ``clip(u) = u / max(1, rms(u) / c)`` and ``ε̂ = min(ε, ε2 rms(g))``; rms over one array.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    beta1, beta2 : float, range [0, 1)
    power : float, range (0, inf)
        p; 1/2 for Adam's root.
    clip : float, range (0, inf]
        c.
    eps : float, range [0, inf)
        ε, which also stands alone where rms(g) is zero.
    eps_gradient : float, range [0, inf)
        ε2.
    eps_rule : {"power", "minimum", "scaled", "fixed", "floored"}
        What is added to F^p: ``power`` as above; the paper's other versions: ``minimum``, ε̂ itself;
        ``scaled``, ε min(1, rms(g)); ``fixed``, ε; and ``floored``, ε max(1, rms(g)), of a port.
    weight_decay : float, range [0, inf)
        λ. 0.1 is the default of the known codes; the paper's was not looked up.
    schedule : callable, optional

    Notes
    -----
    g is the gradient of a loss; the paper ascends a log-likelihood. m has no bias correction. Decay is
    preconditioned and clipped: it is about η λ c a step, whatever the size of x. The paper has many
    versions; the rule of epsilon was taken from codes that follow them.

    References
    ----------
    D. Hwang 2024, FAdam: Adam is a natural gradient optimizer using diagonal empirical Fisher
    information, arXiv:2405.12807, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("fadam", lr=1.0, weight_decay=0.0)
    >>> x, s = o.update(np.zeros(2), np.array([3.0, -4.0]), o.init(np.zeros(2)))
    >>> print(x.round(6))
    [-0.1  0.1]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "F")
    lr: Rate = hyper(1e-3, "[0, inf)", rate=True)
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    power: float = hyper(0.5, "(0, inf)")
    clip: float = hyper(1.0, "(0, inf]")
    eps: float = hyper(1e-8, "[0, inf)")
    eps_gradient: float = hyper(0.01, "[0, inf)")
    eps_rule: str = hyper("power", EPS_RULES)
    weight_decay: float = hyper(0.1, "[0, inf)")

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        beta2 = self.beta2 * correction(self.beta2, t - 1) / correction(self.beta2, t)
        return {"lr": self.rate(t), "beta2": beta2}

    def added(self, xp: Namespace, size: Array) -> Array:
        """Return what is added to F^p, for a gradient of root mean square `size`."""
        eps, ones = self.eps, xp.ones_like(size)
        if self.eps_rule == "fixed":
            return eps * ones
        if self.eps_rule == "floored":
            return eps * xp.maximum(size, ones)
        if self.eps_rule == "scaled":
            return xp.where(size > 0.0, eps * xp.minimum(size, ones), eps * ones)
        least = xp.minimum(self.eps_gradient * size, eps * ones)
        least = xp.where(size > 0.0, least, eps * ones)
        return least ** (2.0 * self.power) if self.eps_rule == "power" else least

    def rule(self, xp: Namespace) -> Rule:
        """Return the step of one array."""
        divisor, b1 = nonzero(xp), self.beta1

        def rms(u: Array) -> Array:
            return xp.sqrt(xp.mean(u * u))

        def clipped(u: Array) -> Array:
            excess = rms(u) / self.clip
            return u / xp.maximum(excess, xp.ones_like(excess))

        def fadam(x, g, m, F, lr, beta2):  # type: ignore[no-untyped-def]
            F = ema(F, g * g, beta2, 1.0 - beta2)
            D = divisor(F**self.power + self.added(xp, rms(g)), 0.0, 1.0)
            m = ema(m, clipped(g / D), b1, 1.0 - b1)
            return x - lr * (m + self.weight_decay * clipped(x / D)), m, F

        return fadam
