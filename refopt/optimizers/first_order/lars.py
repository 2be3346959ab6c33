"""LARS: a rate of its own for every layer, from the ratio of two norms (You et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Array, Namespace, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule, Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.groups import SHAPES
from refopt.optimizers.common.trust import leaf_norm

YOU = Source(
    key="you-2017-large",
    authors="Y. You, I. Gitman, B. Ginsburg",
    year=2017,
    title="Large Batch Training of Convolutional Networks",
    arxiv="1708.03888",
)


@register(
    "lars",
    kind="optimizer",
    source=YOU,
    where="the layer-wise update with local rates",
    dialects={
        "optax": Dialect(
            {"weight_decay": 0.0, "joint": True, "rate_without_ratio": True},
            "optax 0.2.8 lars",
            "the norm of g + beta w, not the sum of norms",
        ),
        "kozistr": Dialect(
            {"lr": 1e-3, "weight_decay": 0.0, "rate_inside": False, "adapt": "matrices-and-kernels"},
            "pytorch_optimizer 4.1 LARS",
            "rate outside the velocity; vectors without ratio and decay",
        ),
        "timm": Dialect(
            {
                "momentum": 0.0, "weight_decay": 0.0, "eps": 1e-8, "rate_inside": False, "full_first": True,
                "rate_without_ratio": True, "ratio_needs": "gradient", "always_adapt": False,
            },
            "timm 1.0 lars",
            "a layer without gradient has ratio 1; without decay there is no ratio at all",
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "optax.lars with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[lars-optax]",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.LARS with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[lars-kozistr]",
        ),
        Evidence(
            "parity",
            "timm's Lars with dampening, decay and a schedule, and a leaf without gradient, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[lars-timm]",
        ),
        Evidence(
            "parity",
            "timm's Lars without decay, which adapts nothing, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[lars-timm-plain]",
        ),
        Evidence(
            "parity",
            "timm's Lars(trust_clip, always_adapt, nesterov) without decay, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[lars-timm-clipped]",
        ),
        Evidence(
            "identity",
            "equals the update transcribed line by line with Python floats, to 1e-13",
            "tests/identities/test_lars.py::test_lars_algorithm_1",
        ),
        Evidence(
            "claim",
            "without momentum and decay every layer moves by exactly lr * trust * |w| (to 1e-13), whatever its gradient's scale",
            "tests/claims/test_lars.py::test_lars_step_is_a_share_of_the_layer",
        ),
    ),
    state_copies=1,
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class LARS(LeafRule):
    """LARS: momentum with a local rate for every layer, proportional to ‖w‖ / ‖g‖.

    ``λ = η ‖w_t‖ / (‖g_t‖ + β ‖w_t‖)``, ``v_{t+1} = m v_t + γ λ (g_t + β w_t)``,
    ``w_{t+1} = w_t - v_{t+1}``, for every layer (leaf) by itself, from v_0 = 0.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        γ, without a unit.
    trust : float, range (0, inf)
        η.
    momentum : float, range [0, 1)
        m.
    weight_decay : float, range [0, inf)
        β, coupled.
    joint : bool
        False as above; True: the denominator is ‖g + β w‖ (optax).
    eps : float, range [0, inf)
        Added to the denominator; the paper has none.
    rate_inside : bool
        True as above; False: ``v ← m v + λ (g + β w)``, ``w ← w - γ v``.
    rate_without_ratio : bool
        Where ‖w‖ or the denominator is zero, the ratio ‖w‖ / (…) is taken as 1 and η with it (False),
        or as 1 / η, so that γ alone is left (True, as libraries have it). The paper does not say.
    ratio_needs : {"denominator", "gradient"}
        What must not be zero, besides ‖w‖, for a layer to have its ratio: the denominator, or ‖g‖.
    always_adapt : bool
        False: without decay no layer has a ratio.
    trust_clip : bool
        ``min(λ / γ, 1)`` in place of λ, so that γ bounds the local rate (LARC).
    dampening : float, range [0, 1]
        The velocity takes 1 - dampening of the new term (without momentum, all of it),
    full_first : bool
        but all of it at the first step (True).
    nesterov : bool
        The step is ``λ (g + β w) + m v`` in place of v.
    adapt : {"all", "vectors", "matrices", "matrices-and-kernels", "none"}
        The leaves that have the local rate and the decay; the others have neither.
    schedule : callable, optional
        The paper's is ``(1 - t / T)^2``.

    References
    ----------
    Y. You, I. Gitman, B. Ginsburg 2017, arXiv:1708.03888.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("lars", lr=1.0, trust=0.1, weight_decay=0.0)
    >>> x = np.array([3.0, 4.0])
    >>> x, s = o.update(x, np.array([700.0, 0.0]), o.init(x))
    >>> print(x)
    [2.5 4. ]
    """

    slots: ClassVar[tuple[str, ...]] = ("v",)
    lr: Rate = hyper(1.0, "[0, inf)", rate=True)
    trust: float = hyper(1e-3, "(0, inf)")
    momentum: float = hyper(0.9, "[0, 1)")
    weight_decay: float = hyper(5e-4, "[0, inf)")
    joint: bool = hyper(False, (True, False))
    eps: float = hyper(0.0, "[0, inf)")
    rate_inside: bool = hyper(True, (True, False))
    rate_without_ratio: bool = hyper(False, (True, False))
    ratio_needs: str = hyper("denominator", ("denominator", "gradient"))
    always_adapt: bool = hyper(True, (True, False))
    trust_clip: bool = hyper(False, (True, False))
    dampening: float = hyper(0.0, "[0, 1]")
    full_first: bool = hyper(False, (True, False))
    nesterov: bool = hyper(False, (True, False))
    adapt: str = hyper("all", tuple(SHAPES))

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return momentum, and the rate inside and outside the velocity."""
        rate = self.rate(t)
        inside, outside = (rate, 1.0) if self.rate_inside else (1.0, rate)
        whole = self.momentum == 0.0 or (self.full_first and t == 1)
        fresh = 1.0 if whole else 1.0 - self.dampening
        return {"rate": rate, "mu": self.momentum, "fresh": fresh, "inside": inside, "out": outside}

    def _local(self, w: Array, g: Array, u: Array, rate: float) -> Array:
        """Return λ, for a layer w with gradient g and ``u = g + β w``."""
        xp = namespace(w)
        size, slope = leaf_norm(w), leaf_norm(g)
        below = leaf_norm(u) if self.joint else slope + self.weight_decay * size
        whole = (size > 0.0) & ((slope if self.ratio_needs == "gradient" else below) > 0.0)
        one = xp.ones_like(size)
        below = xp.where(whole, below + self.eps, one)
        without = one if self.rate_without_ratio else self.trust * one
        local = xp.where(whole, self.trust * (size / below), without)
        if self.trust_clip:
            local = xp.clip(local / rate, max=1.0) if rate > 0.0 else one
        return local

    def rule(self, xp: Namespace) -> Rule:
        """Return one layer's step."""
        adapts = self.always_adapt or self.weight_decay > 0.0

        def lars(w, g, v, rate, mu, fresh, inside, out):  # type: ignore[no-untyped-def]
            if adapts and SHAPES[self.adapt](w):
                u = g + self.weight_decay * w
                g = self._local(w, g, u, rate) * u
            v = mu * v + fresh * inside * g
            return w - out * (inside * g + mu * v if self.nesterov else v), v

        return lars
