"""The Transformer's schedule: up in a straight line, down with the root of the step (Vaswani et al. 2017)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.registry import Source, register
from refopt.schedules.base import Schedule

VASWANI = Source("vaswani-2017-attention",
    "A. Vaswani, N. Shazeer, N. Parmar, J. Uszkoreit, L. Jones, A. N. Gomez, Ł. Kaiser, I. Polosukhin",
    "Attention Is All You Need", arxiv="1706.03762")  # fmt: skip


@register("inverse-square-root", kind="schedule", source=VASWANI, where="equation (3)")
class InverseSquareRoot(Schedule):
    """Inverse square root: a linear warm-up to step W, then a fall with the root of the step.

    ``η_t = d^{-1/2} min(t^{-1/2}, t W^{-3/2})``. Without a width d it is divided by its peak, and is then
    ``min(t / W, sqrt(W / t))``.

    Examples
    --------
    >>> import refopt
    >>> eta = refopt.schedule("inverse-square-root", warmup=4)
    >>> [eta(t) for t in (1, 2, 4, 16)]
    [0.25, 0.5, 1.0, 0.5]
    >>> round(refopt.schedule("inverse-square-root", width=512)(4000), 6)
    0.000699
    """

    warmup: int = hyper(4000, "int [1, inf)", "W.")
    width: int | None = hyper(None, "int [1, inf)",
        "d, the model's width: the value is then the rate itself, for a method with lr=1. None: the peak is 1.")  # fmt: skip

    def at(self, t: int) -> float:
        shape: float = min(t / self.warmup, (self.warmup / t) ** 0.5)
        return shape if self.width is None else shape * (self.width * self.warmup) ** -0.5
