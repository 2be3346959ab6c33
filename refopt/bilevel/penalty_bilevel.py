"""First-order penalty methods for two levels (Kwon et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable

from refopt.bilevel.base import Bilevel, checked, pair
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, copied, map_leaves
from refopt.core.registry import Source, register

KWON = Source("kwon-2023-penalty", "J. Kwon, D. Kwon, S. Wright, R. Nowak",
    "On Penalty Methods for Nonconvex Bilevel Optimization and First-Order Stochastic Approximation",
    arxiv="2309.01753")  # fmt: skip


@register("penalty-bilevel", source=KWON, where="Algorithms 1 and 2, without constraint sets",
    needs=("upper_grad", "lower_grad"), calm_problem=("bilevel-quadratic", {}))  # fmt: skip
class PenaltyBilevel(Bilevel):
    """The penalty method: the value function's gradient by two lower players, one of them tilted by F.

    With ``h_σ = σ F + f`` and ``ψ_σ(x) = (min_y h_σ - min_z f)/σ``: T times ``w ← w - γ (σ ∇_y F + ∇_y f(x, w) + (w - y)/ρ)``
    and ``u ← u - γ (∇_y f(x, u) + (u - z)/ρ)`` from y and z; ``y ← (1 - β) y + β w``, ``z ← (1 - β) z + β u``; then
    ``x ← x - α (∇_x F(x, y) + (∇_x f(x, y) - ∇_x f(x, z))/σ)``, which for inner minimisers is ∇ψ_σ, O(σ) from the
    hypergradient. σ = σ_0 t^{-q} at step t.

    In one loop T = 1, and each of the gradients above is a recursive estimate,
    ``e ← G(now) + (1 - η)(e - G(before))``, both G of the step's batch, before: at the last step's points.

    Notes
    -----
    ``x["lower"]`` is y; z is in the state, and begins at y.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("bilevel-quadratic", scalar=True)
    >>> r = refopt.minimize(p, "penalty-bilevel", sigma=0.1, lower_lr=0.5, steps=400)
    >>> print(np.round(r.x["upper"], 6), round((1 + 0.1) / (2 + 0.1), 6))  # (1 + σ)/(2 + σ)
    [0.52381] 0.52381
    """

    lower_lr: float = hyper(0.1, "[0, inf)", "γ.")
    sigma: float = hyper(0.1, "(0, inf)", "σ_0.")
    power: float = hyper(0.0, "[0, inf)", "q.")
    lower_steps: int = hyper(10, "int [1, inf)", "T of the double loop.")
    beta: float = hyper(1.0, "(0, 1]", "β.")
    rho: float | None = hyper(None, "(0, inf)", "ρ. None: no proximal terms.")
    form: str = hyper("double-loop", ("double-loop", "single-loop"), "Algorithm 1, or 2.")
    eta: float = hyper(1.0, "[0, 1]", "η, of the single loop; 1: plain gradients of the batch.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: z = y."""
        return {"t": 0, "z": checked(x)["lower"]}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step both lower players, and x."""
        t = s["t"] + 1
        sigma = self.sigma * t**-self.power
        new: dict[str, object] = {"t": t}

        def ask(name: str, gradient: Callable[[Params], Params], now: Params, key: str) -> Params:
            """Return a gradient, in the single loop its recursive estimate, at `now`; keep it under `name`."""
            g = copied(gradient(now))
            if self.form == "single-loop":
                if t > 1 and self.eta < 1.0:
                    before = gradient(s[f"at-{key}"])
                    g = map_leaves(lambda a, e, b: a + (1.0 - self.eta) * (e - b), g, s[name], before)
                new[name], new[f"at-{key}"] = g, now
            return g

        y, z = x["lower"], s["z"]
        w, u = y, z
        for _ in range(self.lower_steps if self.form == "double-loop" else 1):
            tilted, plain = pair(x["upper"], w), pair(x["upper"], u)
            F = ask("F-y", oracle.upper_grad, tilted, "y")["lower"]
            d = sigma * F + ask("f-y", oracle.lower_grad, tilted, "y")["lower"]
            e = ask("f-z", oracle.lower_grad, plain, "z")["lower"]
            if self.rho is not None:
                d, e = d + (w - y) / self.rho, e + (u - z) / self.rho
            w, u = w - self.lower_lr * d, u - self.lower_lr * e
        y, z = y + self.beta * (w - y), z + self.beta * (u - z)
        tilted, plain = pair(x["upper"], y), pair(x["upper"], z)
        value = axpy(
            -1.0, ask("f-xz", oracle.lower_grad, plain, "xz"), ask("f-xy", oracle.lower_grad, tilted, "xy")
        )
        d = ask("F-x", oracle.upper_grad, tilted, "xy")["upper"] + value["upper"] / sigma
        return pair(x["upper"] - self.rate(t) * d, y), {**new, "z": z}
