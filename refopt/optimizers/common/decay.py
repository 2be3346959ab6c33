"""Weight decay: coupled to the gradient, or apart from it."""

from __future__ import annotations

from dataclasses import dataclass

from refopt.core.hyper import hyper
from refopt.core.method import Elementwise, LeafRule

DECAYS = ("coupled", "decoupled", "independent")


@dataclass(frozen=True, kw_only=True)
class Decay(LeafRule):
    """Hyperparameters of weight decay, for methods whose papers or dialects have it.

    Parameters
    ----------
    weight_decay : float, range [0, inf)
        The strength λ.
    decay : {"coupled", "decoupled", "independent"}
        ``coupled``: g + λ x takes the gradient's place (the gradient of λ‖x‖²/2). ``decoupled``: x is
        multiplied by 1 - rate·λ beside the step. ``independent``: by 1 - η·λ, where η is the schedule's
        multiplier and not the rate.
    """

    weight_decay: float = hyper(0.0, "[0, inf)")
    decay: str = hyper("decoupled", DECAYS)

    def coupled(self) -> float:
        """Return what multiplies x inside the gradient."""
        return self.weight_decay if self.decay == "coupled" else 0.0

    def keep(self, t: int) -> float:
        """Return the factor that is left of x beside the step."""
        if self.decay == "coupled":
            return 1.0
        return 1.0 - (self.rate(t) if self.decay == "decoupled" else self.multiplier(t)) * self.weight_decay


@dataclass(frozen=True, kw_only=True)
class ElementwiseDecay(Decay, Elementwise):
    """`Decay` for elementwise rules."""
