"""The proximal conjugate gradient of Hager and Zhang's kind (Yang, Asgharian and Greenwood 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from refopt.core import params
from refopt.core.answers import NonFiniteAnswer
from refopt.core.hyper import Rate, hyper
from refopt.core.known_rate import KnownRate
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, register
from refopt.optimizers.common.known_rate import known_rate

TSALLIS = Source("yang-2024-tsallis", "K. Yang, M. Asgharian, C. M. T. Greenwood",
    "Maximum Tsallis Entropy Distributions for Robust and Efficient Sparse Learning from Correlated Data",
    venue="third manuscript of Yang's doctoral thesis, McGill University, Contributions to Robust and Efficient Methods for Analysis of"
    " High Dimensional Data")  # fmt: skip
HAGER = Source("hager-2005-new", "W. W. Hager, H. Zhang", "A New Conjugate Gradient Method with Guaranteed Descent and an Efficient Line Search",
    venue="SIAM Journal on Optimization 16(1), 170-192", doi="10.1137/030601880")  # fmt: skip
SEARCHES = ("wolfe-powell", "exact", "backtracking")


@dataclass(frozen=True)
class Trial:
    """What is known at a point of a line: the point, f, its gradient, the proximal point, s, the slope and the surrogate."""

    x: Params
    f: float
    g: Params
    p: Params
    s: Params
    slope: float
    value: float


@register("proximal-ncg", source=TSALLIS, also=(HAGER,), where="Algorithm 3", needs=("value", "penalty", "grad", "prox"),
    known_rate=KnownRate("0.99 / L", lambda L, mu: {"lr": None}),
    # On batches of an ill-conditioned sum its conjugate directions carry rounding on.
    calm_problem=("logistic", {"l2": 1.0, "l1": 0.02}))  # fmt: skip
class ProximalNCG(Method):
    """Hager and Zhang's conjugate gradients for f + h: x less its proximal gradient step is the gradient.

    ``p_k = prox_{ρ h}(x_k - ρ ∇f(x_k))``, ``s_k = x_k - p_k``, ``d_0 = -s_0``, ``d_{k+1} = -s_{k+1} + max(β_k, η_k) d_k``,
    ``x_{k+1} = x_k + α_k d_k``, with Hager and Zhang's ``β_k = <y_k - 2 d_k ‖y_k‖² / <d_k, y_k>, s_{k+1}> / <d_k, y_k>``,
    ``y_k = s_{k+1} - s_k`` and ``η_k = -1 / (‖d_k‖ min(η, ‖s_k‖))``. The point of the run is p_k, the algorithm's output.

    Raises
    ------
    ArgumentError
        ``lr=None`` and the problem does not know L.

    Notes
    -----
    ``G = s / ρ`` takes the gradient's part in the line searches. ``wolfe-powell``, the listing's: ``φ(α) ≤ φ(0) + c1 α <G(x), d>``
    and ``<G(x + α d), d> ≥ c2 <G(x), d>``, φ being the surrogate of (91),
    ``f(x) + <∇f(x), p - x> + ‖p - x‖² / (2 ρ) + h(p)``. The first line of (91), here ``surrogate="composed"``, has ``ρ ‖∇f(x)‖² / 2``
    more, which is printed as a constant and is none: without h it is f, and the method Hager and Zhang's. G is the gradient of
    neither unless f is linear. ``exact``: ``<G(x + α d), d> = 0`` by Brent's method. ``backtracking``: (92),
    ``-<G(x + κ α d), d> ≥ κ σ α ‖d‖²``.

    The text leaves open how a step is looked for, c1, c2, κ, σ, and what η is (0.01 is Hager and Zhang's). Here α = 1, with which d = -s leads to p,
    is tried first; it is doubled and bisected for the first search, doubled for the second's bracket, halved for the third. After
    `evaluations` points the longest step that fulfilled the first condition (of the second search: before the root) is taken. Where
    there is none, as near a minimum, where values differ by rounding, x stays and the next d is -s, which y = 0 gives, too.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("logistic", l1=0.01), "proximal-ncg", steps=60)
    >>> int((r.x == 0).sum()) > 0
    True
    """

    lr: Rate | None = hyper(
        None, "[0, inf)", "ρ < 1 / L, L of ∇f. None: 0.99 / L, where the problem knows its L (``lipschitz``)."
    )
    line_search: str = hyper("wolfe-powell", SEARCHES, "How α is found.")
    surrogate: str = hyper(
        "quadratic", ("quadratic", "composed"), "φ of wolfe-powell: the last line of (91), or its first."
    )
    eta: float = hyper(0.01, "(0, inf)", "η.")
    c1: float = hyper(1e-4, "(0, 1)", "Of the Wolfe-Powell conditions.")
    c2: float = hyper(0.9, "(0, 1)", "Of the Wolfe-Powell conditions.")
    kappa: float = hyper(1.0, "(0, 1]", "κ, the c1 of (92).")
    sigma: float = hyper(1e-4, "(0, inf)", "σ, the c2 of (92).")
    evaluations: int = hyper(30, "int [1, inf)", "The most points that a search looks at.")

    @property
    def needs(self) -> tuple[str, ...]:
        """Values, where a search looks at them."""
        return self.own_needs if self.line_search == "wolfe-powell" else ("grad", "prox")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: x_k, f and ∇f there, s_{k-1} and d_{k-1}."""
        x = params.check_start(x, "x")
        empty = {k: params.zeros_like(x) for k in ("g", "s", "d")}
        return {"t": 0, "x": params.copied(x), "f": 0.0, **empty}

    def at(
        self,
        oracle: Oracle,
        x: Params,
        rho: float,
        d: Params | None,
        known: tuple[float, Params] | None = None,
    ) -> Trial:
        """Return what is known at `x`, with the slope along `d`, asking for f and its gradient unless they are `known`."""
        wolfe = self.line_search == "wolfe-powell"
        try:
            f, g = known or (oracle.value_and_grad(x) if wolfe else (0.0, oracle.grad(x)))
        except NonFiniteAnswer:
            f, g = math.inf, x
        if not math.isfinite(f):
            return Trial(x, f, g, x, x, math.inf, math.inf)
        # A problem may write its next gradient into the same memory.
        g = params.copied(g) if known is None else g
        p = oracle.prox(params.axpy(-rho, g, x), rho)
        s = params.subtract(x, p)
        slope = params.dot(s, d) / rho if d is not None else 0.0
        value = 0.0
        if wolfe:
            value = f - params.dot(g, s) + params.dot(s, s) / (2.0 * rho) + oracle.penalty(p)
            value += rho / 2.0 * params.dot(g, g) if self.surrogate == "composed" else 0.0
        return Trial(x, f, g, p, s, slope, value)

    def beta(self, s: Params, before: Params, d: Params) -> float:
        """Return ``max(β_k, η_k)`` for s_{k+1}, s_k and d_k; 0 where y_k is 0."""
        y = params.subtract(s, before)
        dy, least = params.dot(d, y), params.norm(d) * min(self.eta, params.norm(before))
        if dy == 0.0 or least == 0.0:
            return 0.0
        beta = (params.dot(y, s) - 2.0 * params.dot(y, y) / dy * params.dot(d, s)) / dy
        return max(beta, -1.0 / least)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one step from x_k (in the state) to p_{k+1}."""
        t = s["t"] + 1
        rho = known_rate(self, t, oracle, 0.99)
        if t == 1 or oracle.batch is not None:
            here = x if t == 1 else s["x"]
            if self.line_search == "wolfe-powell":
                f, g = oracle.value_and_grad(here)
            else:
                f, g = 0.0, oracle.grad(here)
            g = params.copied(g)
        else:
            f, g = s["f"], s["g"]
        if rho == 0.0:
            return params.copied(x), {**s, "t": t, "f": f, "g": g}
        start = self.at(oracle, s["x"], rho, None, (f, g))
        d = params.axpy(self.beta(start.s, s["s"], s["d"]), s["d"], params.scale(-1.0, start.s))
        slope = params.dot(start.s, d) / rho
        new = self.search(oracle, start, d, slope, rho) if slope < 0.0 else start
        return params.copied(new.p), {"t": t, "x": new.x, "f": new.f, "g": new.g, "s": start.s, "d": d}

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the largest entry of G at x_k, ``(x_k - p_k) / ρ``; 0 for ρ = 0."""
        rho = known_rate(self, s["t"] + 1, oracle, 0.99)
        if rho == 0.0:
            return 0.0
        here, g = (s["x"], s["g"]) if s["t"] else (x, oracle.grad(x))
        return params.max_abs(params.subtract(here, oracle.prox(params.axpy(-rho, g, here), rho))) / rho

    def search(self, oracle: Oracle, start: Trial, d: Params, slope: float, rho: float) -> Trial:
        """Return where the line search along `d` ends."""

        def trial(alpha: float) -> Trial:
            return self.at(oracle, params.axpy(alpha, d, start.x), rho, d)

        if self.line_search == "wolfe-powell":
            return self.wolfe_powell(trial, start, slope)
        if self.line_search == "exact":
            return self.exact(trial, start, slope)
        return self.backtracking(trial, start, params.dot(d, d))

    def wolfe_powell(self, trial: Any, start: Trial, slope: float) -> Trial:
        """Return the first step found, by doubling and bisection, that fulfils both conditions."""
        low, high, alpha, best = 0.0, math.inf, 1.0, start
        for _ in range(self.evaluations):
            here = trial(alpha)
            if here.value > start.value + self.c1 * alpha * slope:
                high = alpha
            elif here.slope < self.c2 * slope:
                low, best = alpha, here
            else:
                return here
            alpha = 2.0 * low if high == math.inf else (low + high) / 2.0
        return best

    def exact(self, trial: Any, start: Trial, slope: float) -> Trial:
        """Return the root of the slope, by Brent's method in a bracket that doubling finds."""
        from scipy.optimize import brentq

        seen = {0.0: start}

        def slope_at(alpha: float) -> float:
            if alpha not in seen:
                seen[alpha] = trial(alpha)
            return seen[alpha].slope if alpha else slope

        low, high, wall = 0.0, 1.0, math.inf
        while len(seen) <= self.evaluations and not 0.0 <= slope_at(high) < math.inf:
            if slope_at(high) < 0.0:
                low = high
            else:
                wall = high
            high = 2.0 * low if wall == math.inf else (low + wall) / 2.0
        left = self.evaluations + 1 - len(seen)
        if left <= 0:
            return seen[low]
        root = brentq(slope_at, low, high, maxiter=left, disp=False)
        slope_at(root)
        return seen[root]

    def backtracking(self, trial: Any, start: Trial, square: float) -> Trial:
        """Return the first of the steps 1, 1/2, 1/4, ... that fulfils (92)."""
        alpha = 1.0
        for _ in range(self.evaluations):
            inner = trial(self.kappa * alpha)
            if -inner.slope >= self.kappa * self.sigma * alpha * square:
                return inner if self.kappa == 1.0 else trial(alpha)
            alpha /= 2.0
        return start
