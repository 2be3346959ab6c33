"""Weight decay: coupled to the gradient, or apart from it."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.method import Elementwise, LeafRule

DECAYS = ("coupled", "decoupled", "independent")


class Decay(LeafRule):
    """Weight decay, for methods whose papers or dialects have it: ``l2`` and ``keep`` of a rule."""

    weight_decay: float = hyper(0.0, "[0, inf)", "The strength λ of weight decay.")
    decay: str = hyper("decoupled", DECAYS,
        "coupled: g + λ x takes the gradient's place (the gradient of λ‖x‖²/2). decoupled: x is"
        " multiplied by 1 - rate·λ beside the step. independent: by 1 - η·λ, where η is the schedule's"
        " multiplier and not the rate.")  # fmt: skip

    def number(self, name: str, t: int) -> float:
        """Return what a rule calls ``l2``, `coupled`, or ``keep``; else as in `LeafRule`."""
        if name == "l2":
            return self.coupled()
        return self.keep(t) if name == "keep" else super().number(name, t)

    def coupled(self) -> float:
        """Return what multiplies x inside the gradient."""
        return self.weight_decay if self.decay == "coupled" else 0.0

    def keep(self, t: int) -> float:
        """Return the factor that is left of x beside the step."""
        if self.decay == "coupled" or not self.weight_decay:
            return 1.0
        return 1.0 - (self.rate(t) if self.decay == "decoupled" else self.multiplier(t)) * self.weight_decay


class ElementwiseDecay(Decay, Elementwise):
    """`Decay` for elementwise rules."""
