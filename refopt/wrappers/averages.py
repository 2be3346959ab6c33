"""Averages of the points that a method goes through: exponential, and SWA's plain mean."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.params import Params, copied, map_leaves, scale, zeros_like
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.first_order.asgd import POLYAK
from refopt.wrappers.base import AfterStep

IZMAILOV = Source("izmailov-2018-averaging", "P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson",
    "Averaging Weights Leads to Wider Optima and Better Generalization", arxiv="1803.05407")  # fmt: skip


@register("ema", source=POLYAK, where="averaging of the iterates, here with exponential weights")
class EMA(AfterStep):
    """EMA: beside the base's points runs their exponential average, which steers nothing.

    ``e_t = d e_{t-1} + (1 - d) x_t``; e_0 = x_0, or e begins as the first point that it sees, or at zero, and is then divided by
    ``1 - d^t`` when it is asked for.

    Notes
    -----
    `average` gives the average of a state. The plain mean of the cited paper is `swa` from the first step on.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("ema", base="sgd", lr=1.0, decay_rate=0.5)
    >>> x, s = np.array([0.0]), o.init(np.array([0.0]))
    >>> x, s = o.update(x, np.array([-1.0]), s)
    >>> print(x, o.average(s))
    [1.] [0.5]
    """

    decay_rate: float = hyper(0.999, "[0, 1)", "d.")
    begins: str = hyper(
        "start", ("start", "first", "zero"), "e_0: x_0; the first point that is averaged; zero, corrected."
    )
    every: int = hyper(1, "int [1, inf)", "Only every so many steps a point is averaged.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def start(self, x: Params) -> State:
        """Return e_0, and that nothing is averaged yet."""
        return {"e": zeros_like(x) if self.begins == "zero" else copied(x), "seen": 0}

    def after(self, x: Params, s: State, base: State, t: int) -> tuple[Params, State]:
        """Average the point where it is time."""
        if t % self.every:
            return x, {"base": base, "e": s["e"], "seen": s["seen"]}
        if self.begins == "first" and s["seen"] == 0:
            e = copied(x)
        else:
            e = map_leaves(lambda a, b: ema(a, b, self.decay_rate, 1.0 - self.decay_rate), s["e"], x)
        return x, {"base": base, "e": e, "seen": s["seen"] + 1}

    def average(self, s: State) -> Params:
        """Return the average of a state; before the first point, where e begins at zero, zeros."""
        if self.begins != "zero" or s["seen"] == 0:
            return copied(s["e"])
        return scale(1.0 / (1.0 - self.decay_rate ** s["seen"]), s["e"])


dialect(EMA, "torch", "torch 2.13 optim.swa_utils.get_ema_multi_avg_fn", begins="first")
dialect(EMA, "keras", "Keras 3, use_ema=True", begins="first", decay_rate=0.99)


@register("swa", source=IZMAILOV, where="Algorithm 1", also=(POLYAK,))
class SWA(AfterStep):
    """SWA: beside the base's points runs the plain mean of those from some step on.

    ``w <- (n w + x_t) / (n + 1)`` at every c-th step from `first_step` on, n the number averaged before; the rate is the
    base's, constant or cyclical by its schedule.

    Notes
    -----
    `average` gives the mean of a state, x_0 before the first point. Statistics of batch normalisation belong to the
    model, and are to be taken anew at the mean.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("swa", base="sgd", lr=1.0)
    >>> x, s = np.array([0.0]), o.init(np.array([0.0]))
    >>> for _ in range(3):
    ...     x, s = o.update(x, np.array([-1.0]), s)
    >>> print(x, o.average(s))
    [3.] [2.]
    """

    first_step: int = hyper(1, "int [1, inf)", "The first step whose point counts.")
    every: int = hyper(1, "int [1, inf)", "c.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def start(self, x: Params) -> State:
        """Return x_0, of weight 0."""
        return {"mean": copied(x), "n": 0}

    def after(self, x: Params, s: State, base: State, t: int) -> tuple[Params, State]:
        """Take the point into the mean where it is time."""
        mean, n = s["mean"], s["n"]
        if t < self.first_step or (t - self.first_step) % self.every:
            return x, {"base": base, "mean": mean, "n": n}
        return x, {
            "base": base,
            "mean": map_leaves(lambda w, new: w + (new - w) / (n + 1), mean, x),
            "n": n + 1,
        }

    def average(self, s: State) -> Params:
        """Return the mean of a state."""
        return copied(s["mean"])


dialect(SWA, "torch", "torch 2.13 optim.swa_utils.AveragedModel")
