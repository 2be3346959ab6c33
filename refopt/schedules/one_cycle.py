"""The 1cycle policy (Smith and Topin 2017)."""

from __future__ import annotations

import itertools
import math

from refopt.core.errors import ArgumentError
from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.schedules.base import Schedule, ramp
from refopt.schedules.warm_restarts import annealed

SMITH = Source("smith-2017-super", "L. N. Smith, N. Topin",
    "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", arxiv="1708.07120")  # fmt: skip


@register("one-cycle", kind="schedule", source=SMITH, where="the 1cycle policy")
class OneCycle(Schedule):
    """One cycle: up to the largest rate, back down, and in the last steps far below the start.

    Straight lines (or half cosines) through (0, 1/a), (p T, 1), (q T, 1/a) and (T, 1/(a b)), over the steps
    made.

    Raises
    ------
    ArgumentError
        `fall` is not after `rise`.

    Notes
    -----
    The paper makes rise and fall equally long and leaves the shares, a and b to the task; the defaults of
    a and b are the libraries'. Momentum, which the policy cycles the other way, is not changed.

    Examples
    --------
    >>> import refopt
    >>> eta = refopt.schedule("one-cycle", steps=20, rise=0.4, fall=0.8, divisor=10.0)
    >>> [round(eta(t), 3) for t in (1, 5, 9, 13, 17, 19, 21)]
    [0.1, 0.55, 1.0, 0.55, 0.1, 0.05, 0.0]
    """

    steps: int = hyper(allowed="int [1, inf)", words="T.")
    rise: float = hyper(0.45, "(0, 1]", "p.")
    fall: float = hyper(0.9, "(0, 1]", "q.")
    phases: int = hyper(
        3, (2, 3), "2: q is left out, one phase from the largest rate to the last (fastai, torch)."
    )
    shape: str = hyper("linear", ("linear", "cosine"), "Of every phase.")
    divisor: float = hyper(25.0, "[1, inf)", "a.")
    final_divisor: float = hyper(1e4, "[1, inf)", "b.")
    corners: str = hyper("next", ("next", "last"),
        "A corner's value is that of the first step after its phase, at floor(p T) steps made (optax), or of the"
        " phase's last step, at p T - 1, q T - 2 and T - 1 (torch).")  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.phases == 3 and self.fall <= self.rise:
            raise ArgumentError(f"one-cycle: fall: wanted more than rise = {self.rise}, got {self.fall}")

    def _points(self) -> list[tuple[float, float]]:
        low, shares = 1.0 / self.divisor, [self.rise, self.fall][: self.phases - 1]
        if self.corners == "next":
            places = [float(int(p * self.steps)) for p in shares] + [float(self.steps)]
        else:
            places = [p * self.steps - 1.0 - i for i, p in enumerate(shares)] + [self.steps - 1.0]
        heights = [*[1.0, low][: self.phases - 1], low / self.final_divisor]
        return [(0.0, low), *zip(places, heights)]

    def at(self, t: int) -> float:
        points, done = self._points(), t - 1
        for (a, first), (b, last) in itertools.pairwise(points):
            if done <= b and a < b:
                share = (done - a) / (b - a)
                return (
                    annealed(first, last, math.pi * share)
                    if self.shape == "cosine"
                    else ramp(first, last, share)
                )
        return points[-1][1]


dialect(OneCycle, "torch", "torch 2.13 OneCycleLR", "three_phase=True is phases=3",
    rise=0.3, fall=0.6, phases=2, shape="cosine", corners="last")  # fmt: skip
dialect(OneCycle, "optax", "optax 0.2.8 linear_onecycle_schedule",
    "cosine_onecycle_schedule is phases=2, shape='cosine'", rise=0.3, fall=0.85)  # fmt: skip
