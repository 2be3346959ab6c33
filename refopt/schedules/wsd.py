"""Warm-up, stable stage, decay: WSD (Hu et al. 2024), with the cooldowns of Hägele et al. (2024)."""

from __future__ import annotations

import math

from refopt.core.errors import ArgumentError
from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.schedules.base import Schedule

HU = Source("hu-2024-minicpm", "S. Hu, Y. Tu, X. Han, C. He, G. Cui, et al.",
    "MiniCPM: Unveiling the Potential of Small Language Models with Scalable Training Strategies",
    arxiv="2404.06395")  # fmt: skip
HAEGELE = Source("haegele-2024-scaling",
    "A. Hägele, E. Bakouch, A. Kosson, L. Ben Allal, L. Von Werra, M. Jaggi",
    "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", arxiv="2405.18392")  # fmt: skip


@register("wsd", kind="schedule", source=HU, where="the WSD learning rate scheduler", also=(HAEGELE,))
class WSD(Schedule):
    """Warm-up, stable, decay: a rise to 1, the constant 1, and a short fall that may begin at any time.

    ``η_t = t / W`` for t <= W, 1 up to step T, and then f((t - T) / D) with D steps of decay and
    f(u) = 2^{-u H}, 1 - u, 1 - sqrt(u) or half a cosine; after T + D it stays.

    Notes
    -----
    The report prints its exponential as 0.5^((s - S) / T), with another S and T than around it; here it is
    read as H halvings in the decay, of which the number is left open there.

    Examples
    --------
    >>> import refopt
    >>> eta = refopt.schedule("wsd", warmup=2, stable=4, decay=4, shape="linear")
    >>> [eta(t) for t in range(1, 10)]
    [0.5, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """

    warmup: int = hyper(0, "int [0, inf)", "W, at most T.")
    stable: int = hyper(allowed="int [0, inf)", words="T, the last step before the decay.")
    decay: int = hyper(
        allowed="int [1, inf)", words="D, the steps of the decay: the report advises a tenth of all."
    )
    shape: str = hyper("exponential", ("exponential", "linear", "sqrt", "cosine"),
        "f; linear and 1 - sqrt are of Hägele et al.")  # fmt: skip
    halvings: float = hyper(1.0, "(0, inf)", "H of the exponential.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup > self.stable:
            raise ArgumentError(f"wsd: warmup: wanted at most stable = {self.stable}, got {self.warmup}")

    def at(self, t: int) -> float:
        if t <= self.warmup:
            return t / self.warmup
        u = min(max(t - self.stable, 0) / self.decay, 1.0)
        if self.shape == "exponential":
            return 0.5 ** (u * self.halvings)
        if self.shape == "cosine":
            return (1.0 + math.cos(math.pi * u)) / 2.0
        return 1.0 - (u if self.shape == "linear" else math.sqrt(u))


dialect(WSD, "cooldown", "Hägele et al. (2024)", "the shape that they find best", shape="sqrt")
