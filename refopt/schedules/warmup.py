"""Gradual warm-up before any other schedule (Goyal et al. 2017)."""

from __future__ import annotations

from typing import Any

from refopt.core.errors import ArgumentTypeError
from refopt.core.hyper import hyper
from refopt.core.registry import Source, register
from refopt.schedules.base import Schedule, ramp

GOYAL = Source("goyal-2017-accurate", "P. Goyal, P. Dollár, R. Girshick, P. Noordhuis, L. Wesolowski, et al.",
    "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", arxiv="1706.02677")  # fmt: skip


@register("warmup", kind="schedule", source=GOYAL, where="section 2.2, gradual warmup")
class Warmup(Schedule):
    """Gradual warm-up: the rate rises by equal amounts to 1, and another schedule follows.

    ``η_t = s + (1 - s) (t - 1) / W`` for t <= W; then ``after(t - W)``, or 1 without another.

    Notes
    -----
    torch composes so with ``SequentialLR`` of a ``LinearLR``, optax with ``join_schedules`` of a
    ``linear_schedule``. For k workers the paper's s is 1 / k.

    Examples
    --------
    >>> import refopt
    >>> eta = refopt.schedule("warmup", steps=2, start=0.2, after=refopt.schedule("cosine-decay", steps=2))
    >>> [round(eta(t), 3) for t in range(1, 6)]
    [0.2, 0.6, 1.0, 0.5, 0.0]
    """

    steps: int = hyper(allowed="int [1, inf)", words="W.")
    start: float = hyper(0.0, "[0, 1]", "s, the multiplier of the first step.")
    after: Any = hyper(
        None, kind="Schedule", words="What follows, from its own step 1; None: the constant 1."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # Any function would do for a run, but not for a checkpoint, which must know it again.
        if not isinstance(self.after, Schedule | None):
            raise ArgumentTypeError(
                f"warmup: after: wanted what refopt.schedule returns, or None, got {self.after!r}"
            )

    def at(self, t: int) -> float:
        if t <= self.steps:
            return ramp(self.start, 1.0, (t - 1) / self.steps)
        return 1.0 if self.after is None else self.after.at(t - self.steps)
