"""DoG (Ivgi et al. 2023) and DoWG (Khaled et al. 2023): rates from the distance travelled."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import Params, check_start, leaves, rebuild
from refopt.core.registry import Source, dialect, register

IVGI = Source("ivgi-2023-dog", "M. Ivgi, O. Hinder, Y. Carmon", "DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size Schedule",
    arxiv="2302.12022")  # fmt: skip
KHALED = Source("khaled-2023-dowg", "A. Khaled, K. Mishchenko, C. Jin",
    "DoWG Unleashed: An Efficient Universal Parameter-Free Gradient Descent Method", arxiv="2305.16284")  # fmt: skip
Numbers = dict[str, float]


class Travelled(GradientMethod):
    """What both share: the start, the longest way from it so far, and the root of a sum of squared gradients."""

    lr: Rate = hyper(1.0, "[0, inf)", "Multiplies the rate; without a unit, leave it at 1.")
    weight_decay: float = hyper(
        0.0, "[0, inf)", "λ: g + λ x is taken in the gradient's place. The papers have none."
    )

    def first_distance(self, x: Params) -> float:
        """Return r_ε, what the distance counts as at least."""
        raise NotImplementedError

    def eta(self, r: float, total: float, length: float) -> tuple[float, float]:
        """Return the rate at distance `r`, and `total` with the gradient of this `length` in it."""
        raise NotImplementedError

    def init(self, x: Params) -> State:
        """Return the state at the start `x`, which is kept."""
        x = check_start(x, "x")
        return {"t": 0, "r": self.first_distance(x), "total": 0.0, "x0": params.copied(x)}

    def active_slots(self) -> tuple[str, ...]:
        """Return the names that a state must have."""
        return ("r", "total", "x0")

    def moved(
        self, x: Params, g: Params, x0: Params, r: float, total: float, t: int
    ) -> tuple[Params, float, float]:
        """Return point, distance and sum behind a step."""
        r = max(r, params.norm(params.subtract(x, x0)))
        eta, total = self.eta(r, total, params.norm(g))
        return params.axpy(-self.rate(t) * eta, g, x), r, total

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step."""
        t = s["t"] + 1
        g = params.axpy(self.weight_decay, x, g)
        x, r, total = self.moved(x, g, s["x0"], s["r"], s["total"], t)
        return x, {"t": t, "r": r, "total": total, "x0": s["x0"]}


@register("dog", source=IVGI, where="DoG, its layerwise form L-DoG, and the average of its points")
class DoG(Travelled):
    """DoG: SGD whose rate is the longest distance from the start over the root of all squared gradients so far.

    ``r̄_t = max(r_ε, max_{i≤t} ‖x_i - x_0‖)``, ``G_t = Σ_{i≤t} ‖g_i‖²``, ``x_{t+1} = x_t - r̄_t / sqrt(G_t + ε) g_t``, with norms over
    all parameters and ``r_ε = reps (1 + ‖x_0‖)``.

    Notes
    -----
    The paper evaluates an average of the points, ``x̄ ← (1 - w_t) x̄ + w_t x_t``, ``w_t = (1 + γ) / (t + γ)``, which `average` gives of a
    state. L-DoG takes every leaf by itself.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("dog", reps=0.5, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([8.0]), o.init(np.array([0.0])))
    >>> print(x)  # the first step has the length r_ε
    [-0.5]
    """

    reps: float = hyper(1e-6, "(0, inf)", "r_ε is this share of 1 + ‖x_0‖.")
    distance: float | None = hyper(None, "[0, inf)", "r_ε, in the units of x. None: by reps.")
    first_rate: float | None = hyper(None, "(0, inf)",
        "The rate of the first step, in place of r_ε over the gradient's norm, and r_ε is zero. None: not.")  # fmt: skip
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of g².")
    layerwise: bool = hyper(False, words="True: L-DoG.")
    gamma: float = hyper(8.0, "[0, inf)", "γ of the average.")

    def first_distance(self, x: Params) -> float:
        """Return r_ε."""
        if self.first_rate is not None:
            return 0.0
        return self.reps * (1.0 + params.norm(x)) if self.distance is None else self.distance

    def eta(self, r: float, total: float, length: float) -> tuple[float, float]:
        """Return r̄ over the root of the squares' sum with ε, and the sum's root without."""
        total = math.hypot(total, length)
        below = math.hypot(total, self.eps**0.5)
        return (r / below if below > 0.0 else 0.0), total

    def average(self, s: State) -> Params:
        """Return the average of a state."""
        return params.copied(s["average"])

    def init(self, x: Params) -> State:
        """Return the state at the start `x`, which is kept."""
        s = super().init(x)
        if self.layerwise:
            parts = leaves(s["x0"])
            s = {
                **s,
                "r": {k: self.first_distance(v) for k, v in parts.items()},
                "total": dict.fromkeys(parts, 0.0),
            }
        return {**s, "average": params.copied(s["x0"])}

    def active_slots(self) -> tuple[str, ...]:
        """Return the names that a state must have."""
        return (*super().active_slots(), "average")

    def moved(
        self, x: Params, g: Params, x0: Params, r: float, total: float, t: int
    ) -> tuple[Params, float, float]:
        """Return point, distance and sum behind a step, of which the first may have a rate of its own."""
        new, r, total = super().moved(x, g, x0, r, total, t)
        if t == 1 and self.first_rate is not None:
            new = params.axpy(-self.first_rate, g, x)
        return new, r, total

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step, of everything or leaf by leaf, and go on with the average."""
        if not self.layerwise:
            x, new = super()._update(x, g, s, donate)
        else:
            t, g = s["t"] + 1, leaves(params.axpy(self.weight_decay, x, g))
            parts, x0 = leaves(x), leaves(s["x0"])
            done = {k: self.moved(v, g[k], x0[k], s["r"][k], s["total"][k], t) for k, v in parts.items()}
            x = rebuild(x, {k: v[0] for k, v in done.items()})
            r, total = ({k: v[i] for k, v in done.items()} for i in (1, 2))
            new = {"t": t, "r": r, "total": total, "x0": s["x0"]}
        w = (1.0 + self.gamma) / (new["t"] + self.gamma)
        mean = params.map_leaves(lambda a, b: (1.0 - w) * a + w * b, s["average"], x)
        return x, {**new, "average": mean}


@register("dowg", source=KHALED, where="Algorithm 1")
class DoWG(Travelled):
    """DoWG: DoG whose squared gradients are weighted by the squared distances at which they were taken.

    ``r̄_t = max(r̄_{t-1}, ‖x_t - x_0‖)`` from r_ε, ``v_t = v_{t-1} + r̄_t² ‖g_t‖²``, ``x_{t+1} = x_t - r̄_t² g_t / sqrt(v_t)``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("dowg", distance=0.5)
    >>> x, s = o.update(np.array([0.0]), np.array([8.0]), o.init(np.array([0.0])))
    >>> print(x)
    [-0.5]
    """

    distance: float = hyper(
        1e-2, "(0, inf)", "r_ε, in the units of x, well below the distance to be travelled."
    )
    eps: float = hyper(0.0, "[0, inf)", "Added to the root of v; the paper has none.")
    distance_from_eps: bool = hyper(False, words="True: r_ε is the root of eps (the authors' code).")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distance_from_eps and self.eps == 0.0:
            raise ArgumentError("dowg: eps: wanted more than 0 where distance_from_eps=True, got 0.0")

    def first_distance(self, x: Params) -> float:
        """Return r_ε."""
        return self.eps**0.5 if self.distance_from_eps else self.distance

    def eta(self, r: float, total: float, length: float) -> tuple[float, float]:
        """Return the rate, and the root of v."""
        total = math.hypot(total, r * length)
        below = total + self.eps
        return (r * r / below if below > 0.0 else 0.0), total


dialect(
    DoG,
    "official",
    "formll/dog src/dog/dog.py",
    "init_eta is first_rate; optax 0.2.8 contrib.dog alike, whose first_rate is multiplied by lr",
)
dialect(DoWG, "official", "rka97/dowg dowg/dowg.py; optax 0.2.8 contrib.dowg alike",
    distance_from_eps=True, eps=1e-4)  # fmt: skip
