"""AdamP and SGDP: momentum without the part that only lengthens the weight (Heo, Chun et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Array, Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.projection import radial

HEO = Source(
    key="heo-2020-adamp",
    authors="B. Heo, S. Chun, S. J. Oh, D. Han, S. Yun, G. Kim, Y. Uh, J.-W. Ha",
    year=2020,
    title="AdamP: Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights",
    arxiv="2006.08217",
    venue="ICLR 2021",
)


@dataclass(frozen=True, kw_only=True)
class Projected(Decay):
    """What AdamP and SGDP share: the projection and the decay of projected weights.

    Parameters
    ----------
    delta : float, range [0, inf]
        δ of the test whether a weight is free of scale.
    wd_ratio : float, range [0, 1]
        The part of the decay that a projected weight gets.
    nesterov : bool
    cosine_eps : {"floor", "added"}
        ε as the least norm inside the cosine, or beside both norms, where it decides for gradients as
        small as ε.
    """

    delta: float = hyper(0.1, "[0, inf]")
    wd_ratio: float = hyper(0.1, "[0, 1]")
    nesterov: bool = hyper(False, (True, False))
    cosine_eps: str = hyper("floor", ("floor", "added"))

    def project(self, xp: Namespace, x: Array, g: Array, u: Array) -> tuple[Array, Array]:
        """Return the step without its radial part, and whether it had to be taken out."""
        eps: float = self.eps  # type: ignore[attr-defined]
        return radial(xp, x, g, u, delta=self.delta, eps=eps, added=self.cosine_eps == "added")

    def decays(self, t: int, scale: float = 1.0) -> dict[str, float]:
        """Return what is left of an ordinary weight and of a projected one beside the step."""
        lost = (1.0 - self.keep(t)) * scale
        return {"l2": self.coupled(), "keep": 1.0 - lost, "keep_free": 1.0 - lost * self.wd_ratio}


@register(
    "adamp",
    kind="optimizer",
    source=HEO,
    where="Algorithm 2, with the row test and the decay of the appendix",
    dialects={
        "official": Dialect({}, "clovaai/AdamP adamp.py", "timm alike"),
        "kozistr": Dialect({"eps_corrected": False}, "pytorch_optimizer 4.1.0 AdamP"),
        "jettify": Dialect(
            {"cosine_eps": "added"}, "torch_optimizer 0.3.0 AdamP", "the authors' alike until adamp 0.2.0"
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "the authors' AdamP with low betas, large delta, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adamp-official]",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.AdamP with Nesterov's step, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adamp-kozistr]",
        ),
        Evidence(
            "claim",
            "on a loss free of scale the squared norm grows by the squared step alone, and less than Adam's",
            "tests/claims/test_mixed.py::test_adamp_norm_grows_by_its_steps",
        ),
        Evidence(
            "identity",
            "eps beside the norms in the cosine, as torch_optimizer has it: its test of rows transcribed, to 1e-13",
            "tests/identities/test_mixed.py::test_adamp_eps_added_in_the_cosine",
        ),
        Evidence(
            "identity",
            "with delta = 0, or on vectors, it is AdamW in torch's form, to 1e-14",
            "tests/identities/test_mixed.py::test_adamp_without_projection_is_adamw",
        ),
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class AdamP(Projected):
    """AdamP: Adam whose step is projected where the weight is free of scale.

    ``p_t = m̂_t / (sqrt(v̂_t) + ε)``; if ``cos(x, g) < δ / sqrt(dim)``: ``q_t = p_t - x (x·p_t) / ‖x‖²``,
    else q_t = p_t; ``x_t = x_{t-1} - η q_t``. Rows (first axis against the rest) are tested and
    projected together, by the largest of their cosines; failing that, the array as a whole.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    beta1, beta2 : float, range [0, 1)
    eps : float, range [0, inf)
        ε; also in the cosine and beside the norm of x.
    eps_corrected : bool
        ε beside ``sqrt(v̂)``, or beside ``sqrt(v)``.
    delta : float, range [0, inf]
        δ; 0: never project.
    wd_ratio : float, range [0, 1]
        The part of the decay that a projected weight gets.
    nesterov : bool
        β1 m + (1 - β1) g in m's place.
    cosine_eps : {"floor", "added"}
        ε as the least norm inside the cosine, or beside both norms.
    weight_decay : float, range [0, inf)
    decay : {"decoupled", "independent", "coupled"}
    schedule : callable, optional

    Notes
    -----
    The paper's listing has one test and no bias correction; rows, `wd_ratio` and the corrections are
    those of the authors' code, with which the paper's experiments were made. A gradient of zero has the
    cosine zero, and counts as free of scale. Arrays of fewer than two dimensions are never projected.

    References
    ----------
    B. Heo, S. Chun et al. 2020, AdamP: Slowing Down the Slowdown for Momentum Optimizers on
    Scale-invariant Weights, arXiv:2006.08217, Algorithm 2.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adamp", lr=0.1)
    >>> x = np.array([[1.0, 0.0]])
    >>> y, s = o.update(x, np.array([[0.001, 5.0]]), o.init(x))
    >>> print(y.round(6))
    [[ 1.  -0.1]]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", rate=True)
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)")
    eps_corrected: bool = hyper(True, (True, False))

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        c2 = correction(self.beta2, t) ** 0.5
        return {
            "step": self.rate(t) / correction(self.beta1, t),
            "root": 1.0 / c2,
            "eps": self.eps if self.eps_corrected else self.eps / c2,
            **self.decays(t),
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return the step of one array."""
        divisor, b1, b2 = nonzero(xp), self.beta1, self.beta2

        def adamp(x, g, m, v, step, root, eps, l2, keep, keep_free):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            m, v = ema(m, g, b1, 1.0 - b1), ema(v, g * g, b2, 1.0 - b2)
            ahead = ema(m, g, b1, 1.0 - b1) if self.nesterov else m
            p = ahead / divisor(xp.sqrt(v) * root + eps, 0.0, 1.0)
            if x.ndim < 2:
                return keep * x - step * p, m, v
            q, free = self.project(xp, x, g, p)
            return xp.where(free, keep_free * x, keep * x) - step * q, m, v

        return adamp


@register(
    "sgdp",
    kind="optimizer",
    source=HEO,
    where="Algorithm 1, with the row test and the decay of the appendix",
    dialects={
        "official": Dialect(
            {"project_buffer": True},
            "clovaai/AdamP sgdp.py",
            "without Nesterov's step the buffer is projected in place; timm and pytorch_optimizer 4.1.0: as the paper",
        ),
        "jettify": Dialect(
            {"project_buffer": True, "cosine_eps": "added"},
            "torch_optimizer 0.3.0 SGDP",
            "the authors' alike until adamp 0.2.0",
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "the authors' SGDP with dampening, large delta, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[sgdp-official]",
        ),
        Evidence(
            "identity",
            "eps beside the norms in the cosine, as torch_optimizer has it: its test of rows transcribed, to 1e-13",
            "tests/identities/test_mixed.py::test_sgdp_eps_added_in_the_cosine",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.SGDP with Nesterov's step, dampening, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[sgdp-kozistr]",
        ),
        Evidence(
            "claim",
            "Lemma on norms: momentum's squared norm gains 2 η² Σ μ^(t-k) ‖b_k‖² beside its steps, SGDP's nothing, to 1e-13",
            "tests/claims/test_mixed.py::test_momentum_lengthens_weights_and_sgdp_does_not",
        ),
        Evidence(
            "identity",
            "with delta = 0 it is momentum with the rate outside, to 1e-14",
            "tests/identities/test_mixed.py::test_sgdp_without_projection_is_momentum",
        ),
    ),
    state_copies=1,
)
@dataclass(frozen=True, kw_only=True)
class SGDP(Projected):
    """SGDP: momentum whose step is projected where the weight is free of scale.

    ``b_t = μ b_{t-1} + (1 - τ) g_t``; if ``cos(x, g) < δ / sqrt(dim)``: ``q_t = b_t - x (x·b_t) / ‖x‖²``,
    else q_t = b_t; ``x_t = x_{t-1} - η q_t``. Rows and whole as in `AdamP`; b is not projected.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    momentum : float, range [0, 1)
        μ.
    dampening : float, range [0, 1]
        τ.
    nesterov : bool
        g + μ b in b's place.
    project_buffer : bool
        Without Nesterov's step: b itself loses its radial part (the authors' code).
    eps : float, range [0, inf)
        In the cosine and beside the norm of x.
    delta : float, range [0, inf]
        δ; 0: never project.
    wd_ratio : float, range [0, 1]
        The part of the decay that a projected weight gets.
    cosine_eps : {"floor", "added"}
        ε as the least norm inside the cosine, or beside both norms.
    weight_decay : float, range [0, inf)
        Decay apart from the gradient is divided by 1 - μ, as strong as a penalty inside b would be.
    decay : {"decoupled", "independent", "coupled"}
    schedule : callable, optional

    References
    ----------
    B. Heo, S. Chun et al. 2020, arXiv:2006.08217, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("sgdp", lr=0.1)
    >>> x = np.array([[1.0, 0.0]])
    >>> y, s = o.update(x, np.array([[0.001, 5.0]]), o.init(x))
    >>> print(y.round(6))
    [[ 1.  -0.5]]
    """

    slots: ClassVar[tuple[str, ...]] = ("b",)
    lr: Rate = hyper(0.1, "[0, inf)", rate=True)
    momentum: float = hyper(0.9, "[0, 1)")
    dampening: float = hyper(0.0, "[0, 1]")
    project_buffer: bool = hyper(False, (True, False))
    eps: float = hyper(1e-8, "[0, inf)")

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        return {"lr": self.rate(t), **self.decays(t, 1.0 / (1.0 - self.momentum))}

    def rule(self, xp: Namespace) -> Rule:
        """Return the step of one array."""
        mu, fresh = self.momentum, 1.0 - self.dampening

        def sgdp(x, g, b, lr, l2, keep, keep_free):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            b = mu * b + fresh * g
            d = g + mu * b if self.nesterov else b
            if x.ndim < 2:
                return keep * x - lr * d, b
            q, free = self.project(xp, x, g, d)
            if self.project_buffer and not self.nesterov:
                b = q
            return xp.where(free, keep_free * x, keep * x) - lr * q, b

        return sgdp
