"""Linear decay, and schedules refined by the gradient norms of a run (Defazio et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from refopt.core.arrays import is_array, to_numpy
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.schedules.base import Schedule

DEFAZIO = Source("defazio-2023-when", "A. Defazio, A. Cutkosky, H. Mehta, K. Mishchenko",
    "When, Why and How Much? Adaptive Learning Rate Scheduling by Refinement", arxiv="2310.07831")  # fmt: skip


@register("linear-decay", kind="schedule", source=DEFAZIO, where="the linear decay schedule")
class LinearDecay(Schedule):
    """Linear decay: the rate falls along a straight line to zero at the last step.

    ``η_t = 1 - t / T``, t = 1, ..., T, and 0 after T.

    Notes
    -----
    The last of T steps has the rate zero, so that x_T is what T - 1 moves make. With the rate
    D / (G sqrt(T)) the last iterate of subgradient descent on a convex, G-Lipschitz f, started within D of
    a minimiser, has ``f(x_T) - f* <= D G / sqrt(T)``. In practice it stands behind a `warmup`.

    Examples
    --------
    >>> import refopt
    >>> eta = refopt.schedule("linear-decay", steps=4)
    >>> [eta(t) for t in (1, 2, 3, 4, 5)]
    [0.75, 0.5, 0.25, 0.0, 0.0]
    """

    steps: int = hyper(allowed="int [1, inf)", words="T.")
    first: int = hyper(1, (0, 1),
        "What t of the formula the first step has: 1 as in the paper; 0 makes it a whole step (torch, optax).")  # fmt: skip

    def at(self, t: int) -> float:
        return 1.0 - min(t - 1 + self.first, self.steps) / self.steps


dialect(LinearDecay, "torch", "torch 2.13 LinearLR(start_factor=1, end_factor=0)", first=0)
dialect(LinearDecay, "optax", "optax 0.2.8 linear_schedule(1, 0, steps)", first=0)


@register("refined", kind="schedule", source=DEFAZIO, where="the refined schedule, from gradient norms")
class Refined(Schedule):
    """The refined schedule: what the gradient norms of an earlier run say that the rates should have been.

    ``w_t = Ĝ_t^{-p}``, ``η_t = w_t (sum_{s>t} w_s) / (sum_s w_s)``, divided by the largest; Ĝ is the median
    of the norms about t. With p = 2 and l2 norms it is for SGD, with p = 1 and l1 norms for Adam and its like.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        Norms that are not positive finite numbers, or fewer than two.

    Notes
    -----
    The median's window has ``2 floor(floor(τ T) / 2) + 1`` steps. Beyond the right end the norms are
    mirrored and beyond the left end the first is repeated, as in the authors' code; that resamples the
    norms to 10 000 points first, which is left to the caller. After T it is 0.

    Examples
    --------
    >>> import refopt
    >>> eta = refopt.schedule("refined", norms=[4.0, 2.0, 1.0, 1.0, 1.0], smoothing=0.0)
    >>> [round(eta(t), 4) for t in range(1, 7)]
    [0.1016, 0.375, 1.0, 0.5, 0.0, 0.0]
    """

    norms: tuple[float, ...] = hyper(kind="sequence of float",
        words="G_1, ..., G_T, the gradients' norms of an earlier run.")  # fmt: skip
    power: int = hyper(2, (1, 2), "p.")
    smoothing: float = hyper(
        0.1, "[0, 1]", "τ, the window of the median over T; 0 leaves the norms as they are."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        norms = to_numpy(self.norms) if is_array(self.norms) else self.norms
        if isinstance(norms, (str, bytes)) or not isinstance(norms, Iterable):
            raise ArgumentTypeError(
                f"refined: norms: wanted a sequence of numbers, got {type(norms).__qualname__}"
            )
        try:
            values = tuple(float(v) for v in norms)
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(f"refined: norms: wanted a sequence of numbers ({error})") from None
        if len(values) < 2 or not all(math.isfinite(v) and v > 0.0 for v in values):
            raise ArgumentError(
                "refined: norms: wanted two or more positive finite numbers, got"
                f" {len(values)} with the extremes {min(values, default=None)} and {max(values, default=None)}"
            )
        object.__setattr__(self, "norms", values)
        object.__setattr__(self, "_rates", self._refine())

    def _refine(self) -> tuple[float, ...]:
        g = np.array(self.norms)
        width = 2 * (math.floor(self.smoothing * g.size) // 2) + 1
        if width > 1:
            from scipy.ndimage import median_filter

            padded = np.pad(g, (0, 2 * width), mode="reflect")
            g = median_filter(padded, size=width, mode="nearest")[: g.size]
        # In units of the least norm, so that no power leaves the range of floats.
        w = (np.min(g) / g) ** self.power
        after = np.append(np.cumsum(w[:0:-1])[::-1], 0.0)
        rates = w * after
        return tuple((rates / np.max(rates)).tolist())

    def at(self, t: int) -> float:
        rates: tuple[float, ...] = self._rates  # type: ignore[attr-defined]
        return rates[t - 1] if t <= len(rates) else 0.0
