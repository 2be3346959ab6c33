"""Exponential, inverse, stepwise and polynomial decay: the plain falling schedules of every library."""

from __future__ import annotations

import bisect
import itertools

from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import check_number, hyper
from refopt.core.registry import Source, dialect, register
from refopt.schedules.base import Schedule

LI = Source("li-2020-second", "X. Li, Z. Zhuang, F. Orabona",
    "A Second look at Exponential and Cosine Step Sizes: Simplicity, Adaptivity, and Performance",
    arxiv="2002.05273")  # fmt: skip
GE = Source("ge-2019-step", "R. Ge, S. M. Kakade, R. Kidambi, P. Netrapalli",
    "The Step Decay Schedule: A Near Optimal, Geometrically Decaying Learning Rate Procedure For Least"
    " Squares", arxiv="1904.12838")  # fmt: skip
ROBBINS = Source("robbins-1951-stochastic", "H. Robbins, S. Monro", "A Stochastic Approximation Method",
    venue="The Annals of Mathematical Statistics 22(3), 400-407", doi="10.1214/aoms/1177729586")  # fmt: skip
DEEPLAB = Source("chen-2016-deeplab", "L.-C. Chen, G. Papandreou, I. Kokkinos, K. Murphy, A. L. Yuille",
    "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully"
    " Connected CRFs", arxiv="1606.00915")  # fmt: skip


@register("exponential-decay", kind="schedule", source=LI, where="the exponential step size")
class ExponentialDecay(Schedule):
    """Exponential decay: the rate falls by the same factor at every step.

    ``η_t = max(α^(t / n), η_min)``, with n = 1 and η_min = 0. For T steps the paper's α is
    ``(β / T)^(1 / T)``, β >= 1.

    Examples
    --------
    >>> import refopt
    >>> eta = refopt.schedule("exponential-decay", rate=0.5)
    >>> [eta(t) for t in (1, 2, 3)]
    [0.5, 0.25, 0.125]
    >>> refopt.schedule("exponential-decay", rate=0.5, dialect="torch")(1)
    1.0
    """

    rate: float = hyper(allowed="(0, 1]", words="α.")
    every: int = hyper(1, "int [1, inf)", "n, the steps in which the rate falls by α.")
    floor: float = hyper(0.0, "[0, 1]", "η_min (optax's ``end_value``); the paper has none.")
    first: int = hyper(1, (0, 1), "The exponent's t of the first step; 0 makes it a whole step (libraries).")
    staircase: bool = hyper(False, words="True: the exponent is rounded down (optax, Keras).")

    def at(self, t: int) -> float:
        count = t - 1 + self.first
        exponent = count // self.every if self.staircase else count / self.every
        return max(self.rate**exponent, self.floor)


dialect(ExponentialDecay, "torch", "torch 2.13 ExponentialLR", first=0)
dialect(ExponentialDecay, "optax", "optax 0.2.8 exponential_decay", "every is its transition_steps", first=0)
dialect(ExponentialDecay, "keras", "Keras 3 ExponentialDecay", "every is its decay_steps", first=0)


@register("inverse-time-decay", kind="schedule", source=ROBBINS, where="sequences of type 1/n")
class InverseTimeDecay(Schedule):
    """Inverse time decay: the rate falls as one over the steps.

    ``η_t = 1 / (1 + α k / n)`` with k = t - 1 the steps made and n = 1. The sum of the rates diverges and that of their
    squares converges, which is what Robbins and Monro ask for.

    Examples
    --------
    >>> import refopt
    >>> eta = refopt.schedule("inverse-time-decay", rate=0.5)
    >>> [eta(t) for t in (1, 3, 7)]
    [1.0, 0.5, 0.25]
    """

    rate: float = hyper(allowed="(0, inf)", words="α.")
    every: int = hyper(1, "int [1, inf)", "n, the steps in which the denominator grows by α.")
    staircase: bool = hyper(False, words="True: k / n is rounded down (Keras).")

    def at(self, t: int) -> float:
        return 1.0 / (1.0 + self.rate * ((t - 1) // self.every if self.staircase else (t - 1) / self.every))


dialect(InverseTimeDecay, "keras", "Keras 3 InverseTimeDecay", "every is its decay_steps")


@register("step-decay", kind="schedule", source=GE, where="the step decay schedule")
class StepDecay(Schedule):
    """Step decay: the rate is cut by a factor every so many steps, and constant between.

    ``η_t = α^floor((t - 1) / n)``; or with `milestones` ``α^i``, i the number of milestones that are at most
    t - 1, the steps made.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        Neither or both of `every` and `milestones`, or milestones that do not increase.

    Examples
    --------
    >>> import refopt
    >>> eta = refopt.schedule("step-decay", every=2)
    >>> [eta(t) for t in range(1, 7)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    >>> eta = refopt.schedule("step-decay", milestones=(1, 4), factor=0.1)
    >>> [round(eta(t), 3) for t in range(1, 7)]
    [1.0, 0.1, 0.1, 0.1, 0.01, 0.01]
    """

    every: int | None = hyper(
        None, "int [1, inf)", "n. For T steps in all, the paper cuts every T / log2(T)."
    )
    factor: float = hyper(0.5, "(0, 1]", "α.")
    milestones: tuple[int, ...] | None = hyper(None, kind="sequence of int",
        words="Steps after which the rate is cut, instead of every n.")  # fmt: skip
    multipliers: tuple[float, ...] | None = hyper(None, kind="sequence of float",
        words="The multiplier after each milestone, in place of the powers of α (Keras).")  # fmt: skip
    late: bool = hyper(False, words="True: a milestone's cut comes one step later (Keras).")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.every is None) == (self.milestones is None):
            raise ArgumentError(
                f"step-decay: wanted every or milestones, got {self.every!r} and {self.milestones!r}"
            )
        if self.milestones is not None:
            if not isinstance(self.milestones, (list, tuple)):
                raise ArgumentTypeError(
                    f"step-decay: milestones: wanted a list or tuple of integers, got {self.milestones!r}"
                )
            for m in self.milestones:
                check_number(m, "int [1, inf)", "step-decay: milestones")
            if any(a >= b for a, b in itertools.pairwise(self.milestones)):
                raise ArgumentError(
                    f"step-decay: milestones: wanted increasing numbers, got {self.milestones!r}"
                )
            object.__setattr__(self, "milestones", tuple(int(m) for m in self.milestones))
        if self.multipliers is not None:
            count = len(self.milestones or ())
            if not isinstance(self.multipliers, (list, tuple)) or len(self.multipliers) != count or not count:
                raise ArgumentError(
                    f"step-decay: multipliers: wanted one after each of {count} milestones, got {self.multipliers!r}"
                )
            for share in self.multipliers:
                check_number(share, "[0, inf)", "step-decay: multipliers")
            object.__setattr__(self, "multipliers", tuple(map(float, self.multipliers)))

    def at(self, t: int) -> float:
        if self.every is not None:
            return self.factor ** ((t - 1) // self.every)
        cuts = bisect.bisect_right(self.milestones or (), t - 1 - self.late)
        if self.multipliers is None:
            return self.factor**cuts
        return (1.0, *self.multipliers)[cuts]


dialect(StepDecay, "keras", "Keras 3 PiecewiseConstantDecay", "milestones are its boundaries, multipliers its"
    " values[1:] over values[0]; a boundary is compared with >, one step after torch's", late=True)  # fmt: skip
dialect(StepDecay, "torch", "torch 2.13 StepLR and MultiStepLR", "their gamma is 0.1 by default", factor=0.1)


@register("polynomial-decay", kind="schedule", source=DEEPLAB, where='the "poly" learning rate policy')
class PolynomialDecay(Schedule):
    """Polynomial decay: a power of the share of the steps that are still to come.

    ``η_t = η_min + (1 - η_min) (1 - k / T)^p`` with k = t - 1 the steps made, at most T. With `cycles` T is its first
    multiple that is at least k instead, so that the rate jumps up where it has reached the floor.

    Examples
    --------
    >>> import refopt
    >>> eta = refopt.schedule("polynomial-decay", steps=4, power=2.0)
    >>> [eta(t) for t in (1, 2, 3, 4, 5, 6)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]
    """

    steps: int = hyper(allowed="int [1, inf)", words="T.")
    power: float = hyper(0.9, "(0, inf)", "p.")
    floor: float = hyper(0.0, "[0, 1]", "η_min (optax, Keras); the paper has none.")
    cycles: bool = hyper(False, words="True: it starts anew over a longer time (Keras's cycle).")

    def at(self, t: int) -> float:
        done, steps = t - 1, self.steps
        if self.cycles:
            steps *= max(1, -(-done // steps))
        left = 1.0 - min(done, steps) / steps
        return (1.0 - self.floor) * left**self.power + self.floor


dialect(PolynomialDecay, "torch", "torch 2.13 PolynomialLR", power=1.0)
dialect(PolynomialDecay, "keras", "Keras 3 PolynomialDecay", "floor is end_learning_rate over the initial one, by"
    " default 1e-4 in absolute terms", power=1.0)  # fmt: skip
