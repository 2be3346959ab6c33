"""MAID: adaptively inexact descent, with a line search on bounds (Salehi et al. 2023)."""

from __future__ import annotations

from refopt.bilevel.base import Bilevel, checked, pair, solver
from refopt.core.arrays import Array, itemsize_eps, norm
from refopt.core.errors import ArgumentError
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, copied
from refopt.core.registry import Source, register

SALEHI = Source("salehi-2023-adaptively", "M. S. Salehi, S. Mukherjee, L. Roberts, M. J. Ehrhardt",
    "An adaptively inexact first-order method for bilevel optimization with application to hyperparameter learning",
    arxiv="2308.10098")  # fmt: skip


def rounding(y: Array, top: float) -> float:
    """Return the length below which a lower gradient at `y` says nothing."""
    return 4.0 * itemsize_eps(y) * top * norm(y)


@register("maid", source=SALEHI, where="Algorithms 3.1 and 3.2", needs=("upper_value", "upper_grad", "lower_grad",
    "lower_hvp", "lower_mixed"), calm_problem=("bilevel-quadratic", {}))  # fmt: skip
class MAID(Bilevel):
    """MAID: steps whose hypergradient and whose decrease are certain, though the lower problem is solved loosely.

    A. y with ``‖∇_y f‖/μ ≤ ε`` from where it is; q with ``‖∇²_yy f q - ∇_y F‖ ≤ δ`` by conjugate gradients;
    ``p = ∇_x F - ∇²_xy f q``; the error bound ``ω = c ε + (J/μ) δ + (L_J/μ) ε²``, ``c = L J/μ + L_H ‖∇_y F‖ J
    + L_J ‖∇_y F‖/μ``; until ``ω ≤ (1 - η) ‖p‖``, ε and δ are times τ.

    B. For i = 0, 1, …: ``x' = x - β ρ^i p``, y' for x' to ε, accepted if the upper bound of F there is below the lower
    bound of F here by enough, ``F' + ‖∇_y F'‖ ε + L ε²/2 - F + ‖∇_y F‖ ε ≤ -λ η β ρ^i ‖p‖²``. Then
    ``β ← (10/9) β ρ^i`` and ε and δ are times ν. Without a step after so many trials they are times τ, and A again.

    Here μ is the lower level's strong convexity, L a Lipschitz constant of ``∇_y F``, J bounds ``‖∇²_xy f‖``, L_J and L_H
    are Lipschitz constants in y of ``∇²_xy f`` and of the inverse Hessian; F is convex in y, and its gradient by x
    may not depend on y.

    Notes
    -----
    The bounds are the problem's (``lower_strong_convexity``, ``lower_lipschitz``, ``upper_lipschitz``, ``mixed_norm``)
    unless given. Where no trial is accepted in `retries` rounds, or y is as accurate as rounding lets it be, the step moves
    y alone.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("bilevel-quadratic", scalar=True)
    >>> r = refopt.minimize(p, "maid", steps=60)
    >>> print(np.round(r.x["upper"], 4), bool(r.state["eps"] < 0.1))
    [0.5] True
    """

    lr: float = hyper(0.1, "(0, inf)", "β at the start; a schedule multiplies the first trial of each step.")
    eps: float = hyper(0.1, "(0, inf)", "ε at the start.")
    delta: float = hyper(0.1, "(0, inf)", "δ at the start.")
    eta: float = hyper(1e-4, "(0, 1)", "η.")
    decrease: float = hyper(1e-4, "(0, 1]", "λ; the authors' program has λ = η.")
    rho: float = hyper(0.5, "(0, 1)", "ρ.")
    tau: float = hyper(0.5, "(0, 1)", "τ.")
    nu: float = hyper(1.05, "[1, inf)", "ν.")
    trials: int = hyper(10, "int [1, inf)", "Trials in the first round; one more in each after it.")
    retries: int = hyper(30, "int [1, inf)", "Rounds of a step at most.")
    lower_most: int = hyper(2000, "int [1, inf)", "Lower steps at most, in one solve.")
    strong_convexity: float | None = hyper(None, "(0, inf)", "μ. None: the problem's.")
    lipschitz: float | None = hyper(None, "(0, inf)", "Of ∇_y f. None: the problem's.")
    upper_lipschitz: float | None = hyper(None, "(0, inf)", "L. None: the problem's.")
    mixed_norm: float | None = hyper(None, "(0, inf)", "J. None: the problem's.")
    mixed_lipschitz: float = hyper(0.0, "[0, inf)", "L_J.")
    inverse_lipschitz: float = hyper(0.0, "[0, inf)", "L_H.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: ε, δ and β."""
        checked(x)
        return {"t": 0, "eps": self.eps, "delta": self.delta, "beta": self.lr}

    def known(self, oracle: Oracle, ours: float | None, name: str, label: str) -> float:
        """Return a bound that is given, or the problem's."""
        found = getattr(oracle.problem, name, None) if ours is None else ours
        if found is None:
            raise ArgumentError(
                f"{label}: {type(oracle.problem).__qualname__} has no {name}; give {label}=..."
            )
        return float(found)

    def solved(self, oracle: Oracle, x: Params, eps: float, mu: float, top: float) -> Params:
        """Return the pair with y within ε of its best response, by accelerated steps of 1/L."""
        y = z = x["lower"]
        root = (mu / top) ** 0.5
        for _ in range(self.lower_most):
            g = oracle.lower_grad(pair(x["upper"], z))["lower"]
            if norm(g) <= max(eps * mu, rounding(z, top)):
                break
            new = z - g / top
            y, z = new, new + (1.0 - root) / (1.0 + root) * (new - y)
        return pair(x["upper"], z)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Find an accuracy that is enough, and a step that certainly descends."""
        mu = self.known(oracle, self.strong_convexity, "lower_strong_convexity", "strong_convexity")
        top = self.known(oracle, self.lipschitz, "lower_lipschitz", "lipschitz")
        L = self.known(oracle, self.upper_lipschitz, "upper_lipschitz", "upper_lipschitz")
        J = self.known(oracle, self.mixed_norm, "mixed_norm", "mixed_norm")
        t, eps, delta, beta = s["t"] + 1, s["eps"], s["delta"], s["beta"]
        for retry in range(self.retries):
            x = self.solved(oracle, x, eps, mu, top)
            F = copied(oracle.upper_grad(x))
            slope, p = norm(F["lower"]), self.direction(oracle, x, F, delta)
            c = L * J / mu + self.inverse_lipschitz * slope * J + self.mixed_lipschitz * slope / mu
            size = norm(p)
            if c * eps + J / mu * delta + self.mixed_lipschitz / mu * eps**2 > (1.0 - self.eta) * size:
                eps, delta = self.tau * eps, self.tau * delta
                continue
            least, share = oracle.upper_value(x) - slope * eps, 1.0
            for _ in range(self.trials + retry):
                trial = share * beta * self.multiplier(t)
                new = self.solved(oracle, pair(x["upper"] - trial * p, x["lower"]), eps, mu, top)
                most = (
                    oracle.upper_value(new) + norm(oracle.upper_grad(new)["lower"]) * eps + L * eps**2 / 2.0
                )
                if most - least <= -self.decrease * self.eta * trial * size * size:
                    return new, {
                        "t": t,
                        "eps": self.nu * eps,
                        "delta": self.nu * delta,
                        "beta": 10.0 / 9.0 * share * beta,
                    }
                share = self.rho * share
            if eps * mu <= rounding(x["lower"], top):
                # No y is more accurate, so that no later round would find a step.
                break
            eps, delta = self.tau * eps, self.tau * delta
        return x, {"t": t, "eps": eps, "delta": delta, "beta": beta}

    def direction(self, oracle: Oracle, x: Params, F: Params, delta: float) -> Array:
        """Return p, of a linear system solved to a residual of δ."""
        size = norm(F["lower"])
        rtol = min(delta / size, 1.0) if size > 0.0 else 1.0
        q = solver(None, rtol)(lambda v: oracle.lower_hvp(x, v), F["lower"])
        return F["upper"] - oracle.lower_mixed(x, q)
