"""Cosine annealing, once and with warm restarts: SGDR (Loshchilov and Hutter 2016)."""

from __future__ import annotations

import math

from refopt.core.hyper import check_number, hyper
from refopt.core.registry import Source, dialect, register
from refopt.schedules.base import Schedule

LOSHCHILOV = Source("loshchilov-2016-sgdr", "I. Loshchilov, F. Hutter",
    "SGDR: Stochastic Gradient Descent with Warm Restarts", arxiv="1608.03983")  # fmt: skip


def annealed(top: float, floor: float, angle: float) -> float:
    """Return half a cosine's way from `top` (angle 0) to `floor` (angle π)."""
    return floor + (top - floor) * (1.0 + math.cos(angle)) / 2.0


@register("cosine-warm-restarts", kind="schedule", source=LOSHCHILOV, where="equation (5)")
class CosineWarmRestarts(Schedule):
    """Cosine annealing with warm restarts: half a cosine from 1 to the floor, again and again.

    ``η_t = η_min + (η_max - η_min) (1 + cos(π T_cur / T_i)) / 2``, with η_max = 1 and T_cur the steps
    made since the last restart. At T_cur = T_i it starts anew, and ``T_{i+1} = T_mult T_i``.

    Notes
    -----
    T_cur counts batches: give `period` in steps. The floor itself is never reached: the step that would
    have it is the next cycle's first.

    Examples
    --------
    >>> import refopt
    >>> eta = refopt.schedule("cosine-warm-restarts", period=2, factor=2)
    >>> [round(eta(t), 3) for t in range(1, 8)]
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    >>> eta.cycle_ends(3)
    [2, 6, 14]
    """

    period: int = hyper(allowed="int [1, inf)", words="T_0, the steps of the first cycle.")
    factor: float = hyper(1.0, "[1, inf)", "T_mult.")
    floor: float = hyper(0.0, "[0, 1]", "η_min over η_max.")
    top_factor: float = hyper(1.0, "(0, 1]",
        "η_max, and with it the floor, is multiplied by this at every restart; the paper has it as an option.")  # fmt: skip
    floor_falls: bool = hyper(True, words="False: the floor stays where it is at every restart (Keras).")

    def at(self, t: int) -> float:
        done, length, cycle = float(t - 1), float(self.period), 0
        if self.factor == 1.0:
            cycle = int(done // length)
            done -= cycle * length
        while done >= length:
            done, length, cycle = done - length, length * self.factor, cycle + 1
        top = self.top_factor**cycle
        if self.floor_falls:
            return top * annealed(1.0, self.floor, math.pi * done / length)
        return self.floor + (1.0 - self.floor) * (top * annealed(1.0, 0.0, math.pi * done / length))

    def cycle_ends(self, cycles: int) -> list[int]:
        """Return the last step of each of the first `cycles`: where a snapshot ensemble takes its weights."""
        check_number(cycles, "int [1, inf)", "cycles")
        ends, length, total = [], float(self.period), 0.0
        for _ in range(cycles):
            total += length
            length *= self.factor
            ends.append(math.ceil(total))
        return ends


dialect(CosineWarmRestarts, "keras", "Keras 3 CosineDecayRestarts", "period, factor, top_factor and floor are its"
    " first_decay_steps, t_mul, m_mul and alpha; which cycle it is it takes from logarithms, which at a restart may round down",
    factor=2.0, floor_falls=False)  # fmt: skip
dialect(CosineWarmRestarts, "torch", "torch 2.13 CosineAnnealingWarmRestarts, stepped every batch")


@register("cosine-decay", kind="schedule", source=LOSHCHILOV, where="equation (5), one cycle")
class CosineDecay(Schedule):
    """Cosine annealing, once: half a cosine from 1 to the floor, and the floor from then on.

    ``η_t = η_min + (1 - η_min) ((1 + cos(π k / T)) / 2)^p`` with k = t - 1 the steps made, p = 1.

    Examples
    --------
    >>> import refopt
    >>> eta = refopt.schedule("cosine-decay", steps=4)
    >>> [round(eta(t), 3) for t in (1, 2, 3, 4, 5, 6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    steps: int = hyper(allowed="int [1, inf)", words="T.")
    floor: float = hyper(0.0, "[0, 1]", "η_min over η_max.")
    exponent: float = hyper(1.0, "(0, inf)", "p (optax); the paper has none.")
    rises: bool = hyper(
        False, words="True: after T the cosine goes on, up to 1 at 2 T and down again (torch)."
    )

    def at(self, t: int) -> float:
        done = t - 1 if self.rises else min(t - 1, self.steps)
        fallen = annealed(1.0, 0.0, math.pi * done / self.steps)
        # A power of one is not rounded, so that without p the bits are those of the plain formula.
        return self.floor + (1.0 - self.floor) * fallen**self.exponent


dialect(CosineDecay, "torch", "torch 2.13 CosineAnnealingLR", rises=True)
dialect(CosineDecay, "keras", "Keras 3 CosineDecay", "alpha is the floor; with warmup_target it is warmup(steps=warmup_steps,"
    " start=initial / target, after=...), in units of the target")  # fmt: skip
dialect(CosineDecay, "optax", "optax 0.2.8 cosine_decay_schedule", "alpha is the floor")
