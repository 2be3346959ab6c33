"""Nested optimization: best responses by a hypernetwork, and complex momentum for games (Lorraine 2024)."""

from __future__ import annotations

import math

from refopt.bilevel.base import Bilevel, checked, pair
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, copied, zeros_like
from refopt.core.registry import Source, register
from refopt.core.rng import normal

LORRAINE = Source("lorraine-2024-nested", "J. Lorraine",
    "Scalable Nested Optimization for Deep Learning", arxiv="2407.01526")  # fmt: skip
HYPERNETWORK = Source("lorraine-2018-stochastic", "J. Lorraine, D. Duvenaud",
    "Stochastic Hyperparameter Optimization through Hypernetworks", arxiv="1802.09419")  # fmt: skip
COMPLEX = Source("lorraine-2021-complex", "J. Lorraine, D. Acuna, P. Vicol, D. Duvenaud",
    "Complex Momentum for Optimization in Games", arxiv="2102.08431")  # fmt: skip


@register("nested", source=LORRAINE, where="the chapters on hypernetworks and on complex momentum",
    needs=("upper_grad", "lower_grad"), also=(HYPERNETWORK, COMPLEX),
    calm_problem=("bilevel-quadratic", {"n_upper": 2, "n_lower": 2}))  # fmt: skip
class Nested(Bilevel):
    """Nested optimization: a game by complex momentum, or a lower player that is a linear function of the upper one.

    *Complex momentum*: each player ω, with the gradient g of its own objective, keeps a complex buffer:
    ``μ ← β μ - g``, ``ω ← ω + Re(α μ)``, with ``β = |β| e^{iφ}``. Moves are simultaneous, or the lower player sees the
    upper one's new place. φ = 0 is heavy ball, φ = π negative momentum.

    *Hypernetwork*: ``y = y_0 + Φ (x̂ - x)`` with Φ learnt: ``y_0`` and Φ step against the gradient of
    ``f(x̂, y_0 + Φ (x̂ - x))`` at a drawn ``x̂ ~ N(x, σ² I)``, some times; then x steps against that of
    ``F(x, y_0 + Φ(· - x))``, ``∇_x F + Φᵀ ∇_y F``, and y_0 moves along, by Φ times the step.

    Notes
    -----
    ``x["lower"]`` is y_0, what the hypernetwork says at x.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("bilinear-game", n=1)
    >>> size = lambda r: max(abs(v).max() for v in r.x.values())
    >>> wound, unwound = (refopt.minimize(p, "nested", phase=a, steps=1000) for a in (0.0, np.pi / 8))
    >>> bool(size(wound) > 1e3), bool(size(unwound) < 1e-3)
    (True, True)
    """

    lr: Rate = hyper(0.05, "[0, inf)", "α.")
    form: str = hyper("complex-momentum", ("complex-momentum", "hypernetwork"), "Which of both.")
    beta: float = hyper(0.9, "[0, 1)", "`|β|`.")
    phase: float = hyper(math.pi / 8, "[0, 3.141592653589793]", "φ.")
    alternating: bool = hyper(False, words="The lower player sees the upper one's new place.")
    lower_lr: float | None = hyper(
        None, "[0, inf)", "The lower player's α, and the hypernetwork's rate. None: as `lr`."
    )
    lower_steps: int = hyper(10, "int [1, inf)", "Steps of the hypernetwork before one of x.")
    sigma: float = hyper(1.0, "[0, inf)", "σ.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: no momentum; or Φ = 0, of shape (y's size, x's size)."""
        x = checked(x)
        if self.form == "complex-momentum":
            return {"t": 0, "re": zeros_like(x), "im": zeros_like(x)}
        xp = namespace(x["lower"])
        rows, columns = xp.reshape(x["lower"], (-1, 1)), xp.reshape(x["upper"], (1, -1))
        return {"t": 0, "phi": xp.zeros_like(rows * columns)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make a move of the game, or train the hypernetwork and step x through it."""
        t = s["t"] + 1
        upper = self.rate(t)
        lower = upper if self.lower_lr is None else self.lower_lr * self.multiplier(t)
        if self.form == "hypernetwork":
            return self.respond(x, s, oracle, upper, lower)
        g = {"upper": copied(oracle.upper_grad(x))["upper"]}
        if not self.alternating:
            g["lower"] = oracle.lower_grad(x)["lower"]
        new, re, im = dict(x), dict(s["re"]), dict(s["im"])
        cos, sin = self.beta * math.cos(self.phase), self.beta * math.sin(self.phase)
        for player, rate in (("upper", upper), ("lower", lower)):
            force = g[player] if player in g else oracle.lower_grad(new)["lower"]
            r, i = s["re"][player], s["im"][player]
            re[player], im[player] = cos * r - sin * i - force, sin * r + cos * i
            new[player] = x[player] + rate * re[player]
        return new, {"t": t, "re": re, "im": im}

    def respond(
        self, x: Params, s: State, oracle: Oracle, rate: float, lower_rate: float
    ) -> tuple[Params, State]:
        """Train ``y_0 + Φ (x̂ - x)`` at drawn x̂, then step x, and y_0 along."""
        xp, phi, y, shape = namespace(x["lower"]), s["phi"], x["lower"], x["lower"].shape

        def column(a: Array) -> Array:
            return xp.reshape(a, (-1, 1))

        for _ in range(self.lower_steps):
            move = self.sigma * normal(oracle.rng, x["upper"])
            at = pair(x["upper"] + move, y + xp.reshape(phi @ column(move), shape))
            g = oracle.lower_grad(at)["lower"]
            y, phi = y - lower_rate * g, phi - lower_rate * (column(g) @ xp.reshape(move, (1, -1)))
        F = oracle.upper_grad(pair(x["upper"], y))
        through = xp.reshape(column(F["lower"]).T @ phi, x["upper"].shape)
        step = -rate * (F["upper"] + through)
        y = y + xp.reshape(phi @ column(step), shape)
        return pair(x["upper"] + step, y), {"t": s["t"] + 1, "phi": phi}
