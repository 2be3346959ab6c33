"""Schedule-Free SGD and AdamW (Defazio et al. 2024)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise, State
from refopt.core.params import Params
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.rectification import rectification
from refopt.optimizers.first_order.radam import LIU

DEFAZIO = Source("defazio-2024-road", "A. Defazio, X. Yang, H. Mehta, K. Mishchenko, A. Khaled, A. Cutkosky",
    "The Road Less Scheduled", arxiv="2405.15682")  # fmt: skip


class ScheduleFree(Elementwise):
    """What both share: the weights of the average, and the point between it and the last iterate."""

    beta: float = hyper(0.9, "[0, 1]", "β: the share of the average in the point where gradients are taken.")
    warmup: int = hyper(0, "int [0, inf)", "Steps over which the rate grows linearly; 0: none.")
    rate_power: float = hyper(
        2.0, "[0, inf)", "p of the weight ``t^r (max γ)^p`` of the iterate z_t in the average."
    )
    step_power: float = hyper(0.0, "[0, inf)", "r of the same.")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ.")

    def average(self, s: State) -> Params:
        """Return x of a state, the point to be evaluated."""
        return params.copied(s["average"])

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return the start for z and x, zeros for averages of gradients."""
        xp = namespace(leaf)
        return xp.asarray(leaf, copy=True) if slot in ("z", "average") else xp.zeros_like(leaf)

    def start_numbers(self) -> dict[str, float]:
        """Return the largest rate and the sum of weights before the first step."""
        return {"top": 0.0, "total": 0.0}

    def warm(self, t: int) -> float:
        """Return the rate of step `t`."""
        return self.rate(t) * min(1.0, t / self.warmup if self.warmup else 1.0)

    def weight(self, t: int, top: float) -> float:
        """Return the weight of z_t in the average."""
        return t**self.step_power * top**self.rate_power

    def carry(self, t, s):
        top = max(s["top"], self.warm(t))
        return {"top": top, "total": s["total"] + self.weight(t, top)}

    def scalars(self, t, carried):
        # Without a rate so far there is nothing to average.
        c = self.weight(t, carried["top"]) / carried["total"] if carried["total"] > 0.0 else 0.0
        return {"gamma": self.warm(t), "c": c}


@register(
    "schedule-free-sgd",
    source=DEFAZIO,
    where="equations (3) to (5), with the weights and the warm-up of Algorithm 1",
)
class ScheduleFreeSGD(ScheduleFree):
    """Schedule-Free SGD: gradients are taken between the SGD iterate and the average of all of them.

    ``z_t = z_{t-1} - γ_t (∇f(y_{t-1}) + λ y_{t-1})``, ``x_t = (1 - c_t) x_{t-1} + c_t z_t``,
    ``y_t = (1 - β) z_t + β x_t``, ``c_t = w_t / Σ_{s≤t} w_s``, ``w_t = t^r (max_{s≤t} γ_s)^p``, from z_0 = x_0 = y_0.

    Notes
    -----
    A run's point is y, where gradients are taken; `average` gives x of a state, which is what the paper evaluates. At a
    constant rate and with r = 0 c_t is 1 / t.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("schedule-free-sgd", lr=1.0)
    >>> y, s = o.update(np.array([0.0]), np.array([-1.0]), o.init(np.array([0.0])))
    >>> y, s = o.update(y, np.array([-2.0]), s)
    >>> print(y.round(6), s["z"], o.average(s))
    [2.1] [3.] [2.]
    """

    slots = ("z", "average")
    lr: Rate = hyper(1.0, "[0, inf)", "γ.")

    def rule(self, xp):
        def schedule_free_sgd(x, g, z, average, gamma, c, beta, weight_decay):
            z = z - gamma * (g + weight_decay * x)
            average = average + c * (z - average)
            return z + beta * (average - z), z, average

        return schedule_free_sgd


@register("schedule-free-adamw", source=DEFAZIO, where="Algorithm 1")
class ScheduleFreeAdamW(ScheduleFree):
    """Schedule-Free AdamW: steps of Adam without momentum, averaged, and gradients between iterate and average.

    ``γ_t = γ sqrt(1 - β2^t) min(1, t / T)``, ``v_t = β2 v_{t-1} + (1 - β2) g_t²`` with g_t the gradient at y_{t-1},
    ``z_t = z_{t-1} - γ_t g_t / (sqrt(v_t) + ε) - γ_t λ y_{t-1}``, x, y and c_t as in Schedule-Free SGD, with γ_t in the weights.

    Notes
    -----
    A run's point is y; `average` gives x of a state. The correction of the average of squares is in the rate, and so in the
    weights, or in the denominator (the authors' later code).

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("schedule-free-adamw", lr=1.0)
    >>> y, s = o.update(np.array([0.0]), np.array([-7.0]), o.init(np.array([0.0])))
    >>> print(y.round(6))
    [1.]
    """

    slots = ("z", "average", "v")
    lr: Rate = hyper(2.5e-3, "[0, inf)", "γ.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    correction_in: str = hyper("rate", ("rate", "denominator"),
        "As above; or ``sqrt(v_t / (1 - β2^t)) + ε``, and γ_t has no factor.")  # fmt: skip
    decay_at: str = hyper("y", ("y", "z"), "What λ multiplies.")
    weights: str = hyper("rates", ("rates", "equal"), "w_t as above, or all 1 (Keras).")

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def schedule_free_adamw(x, g, z, average, v, gamma, c, beta, beta2, k2, root, eps, at_y, at_z):
            v = ema(v, g * g, beta2, k2)
            z = z - gamma * (g / divisor(xp.sqrt(v) * root + eps) + at_y * x + at_z * z)
            average = average + c * (z - average)
            return z + beta * (average - z), z, average, v

        return schedule_free_adamw

    def warm(self, t: int) -> float:
        """Return γ_t."""
        return super().warm(t) * (correction(self.beta2, t) ** 0.5 if self.correction_in == "rate" else 1.0)

    def weight(self, t: int, top: float) -> float:
        """Return the weight of z_t in the average."""
        return 1.0 if self.weights == "equal" else super().weight(t, top)

    def scalars(self, t, carried):
        at_y = self.decay_at == "y"
        return {
            **super().scalars(t, carried),
            "k2": 1.0 - self.beta2,
            "root": 1.0 if self.correction_in == "rate" else correction(self.beta2, t) ** -0.5,
            "at_y": self.weight_decay if at_y else 0.0,
            "at_z": 0.0 if at_y else self.weight_decay,
        }


@register(
    "schedule-free-radam",
    source=DEFAZIO,
    where="the authors' code, radam_schedulefree.py",
    also=(LIU,),
    state_copies=3,
)
class ScheduleFreeRAdam(ScheduleFree):
    """Schedule-Free RAdam: RAdam's factor, which grows from 0 to 1, in the place of a warm-up.

    ``γ_t = γ r_t`` with RAdam's r_t from ρ_t > 4 on, ``v_t = β2 v_{t-1} + (1 - β2) g_t²`` with g_t the gradient at y_{t-1},
    ``z_t = z_{t-1} - γ_t g_t / (sqrt(v_t / (1 - β2^t)) + ε) - γ_t λ y_{t-1}``, x, y and c_t as in Schedule-Free SGD, with γ_t in
    the weights. Before, nothing moves (silent), or ``z_t = z_{t-1} - γ (g_t + λ y_{t-1})``.

    Notes
    -----
    A run's point is y; `average` gives x of a state. While ρ_t ≤ 4 v is averaged all the same.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("schedule-free-radam", lr=1.0)
    >>> y, s = np.array([0.0]), o.init(np.array([0.0]))
    >>> for _ in range(5):
    ...     y, s = o.update(y, np.array([-7.0]), s)
    >>> print(y.round(4))  # four silent steps, then one of r_5
    [0.0173]
    """

    slots = ("z", "average", "v")
    lr: Rate = hyper(2.5e-3, "[0, inf)", "γ.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    silent: bool = hyper(True, words="False: steps of plain SGD while ρ_t ≤ 4.")

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def schedule_free_radam(
            x, g, z, average, v, gamma, c, beta, beta2, k2, root, eps, adaptive, plain, weight_decay
        ):
            v = ema(v, g * g, beta2, k2)
            z = z - gamma * (g * (adaptive / divisor(xp.sqrt(v) * root + eps) + plain) + weight_decay * x)
            average = average + c * (z - average)
            return z + beta * (average - z), z, average, v

        return schedule_free_radam

    def _factors(self, t: int) -> tuple[float, float]:
        return rectification(self.beta2, t, least=4.0, strict=True)

    def warm(self, t: int) -> float:
        """Return γ_t."""
        rectified, plain = self._factors(t)
        return super().warm(t) * (rectified + (0.0 if self.silent else plain))

    def scalars(self, t, carried):
        plain = self._factors(t)[1]
        return {
            **super().scalars(t, carried),
            "k2": 1.0 - self.beta2,
            "root": correction(self.beta2, t) ** -0.5,
            "adaptive": 1.0 - plain,
            "plain": plain,
        }


dialect(
    ScheduleFreeSGD,
    "official",
    "facebookresearch/schedule_free sgd_schedulefree_reference.py; pytorch_optimizer 4.1 alike",
)
dialect(
    ScheduleFreeSGD,
    "optax",
    "optax 0.2.8 contrib.schedule_free_sgd",
    "its warm-up is a step late, which is a fault (the deviation warm-up-of-the-last-step)",
)
dialect(ScheduleFreeAdamW, "official", "facebookresearch/schedule_free adamw_schedulefree.py; pytorch_optimizer 4.1 alike",
    correction_in="denominator")  # fmt: skip
dialect(ScheduleFreeAdamW, "optax", "optax 0.2.8 contrib.schedule_free_adamw", correction_in="denominator")
dialect(ScheduleFreeAdamW, "keras", "Keras 3 ScheduleFreeAdamW, without decay, on the JAX backend", correction_in="denominator",
    weights="equal")  # fmt: skip
dialect(ScheduleFreeRAdam, "official", "facebookresearch/schedule_free radam_schedulefree.py")
dialect(ScheduleFreeRAdam, "kozistr", "pytorch_optimizer 4.1 ScheduleFreeRAdam",
    "its rate while ρ_t ≤ 4 is 1 where it is not silent, which is a fault")  # fmt: skip
