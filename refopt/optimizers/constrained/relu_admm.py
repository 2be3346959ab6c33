"""Global training of two-layer ReLU networks: ADMM on the convex programme, and sampled neurons (Bai, Gautam and Sojoudi 2022)."""

from __future__ import annotations

import math

import numpy as np

from refopt.core import params
from refopt.core.arrays import Array, like, namespace
from refopt.core.errors import ArgumentTypeError
from refopt.core.hyper import hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, register
from refopt.optimizers.common.vectors import joined, matrix, parted

BAI = Source("bai-2022-efficient", "Y. Bai, T. Gautam, S. Sojoudi",
    "Efficient Global Optimization of Two-layer ReLU Networks: Quadratic-time Algorithms and Adversarial Training",
    arxiv="2201.01965")  # fmt: skip


@register("relu-admm", source=BAI, where="the ADMM algorithm, for the squared loss",
    needs=("residual", "jvp", "vjp", "least_squares", "prox", "constraint"), calm_problem=("convex-relu", {"n_examples": 4}))  # fmt: skip
class ReLUADMM(Method):
    """ADMM for ``‖r(u)‖²/2 + g(u)`` with E u >= 0, r and E linear: the convex programme of a two-layer ReLU network.

    ``u ← argmin ‖r(u)‖²/2 + (ρ/2) ‖u - v + λ‖² + (ρ/2) ‖E u - s + ν‖²``, one linear system, whose matrix is inverted once;
    ``v ← prox_{g/ρ}(u + λ)``; ``s ← max(E u + ν, 0)``; ``λ ← λ + γ (u - v)``, ``ν ← ν + γ (E u - s)``. s, λ and ν begin
    at 0. The point of the run is v, whose groups are zero where their neurons are not in the network.

    Notes
    -----
    The problem's ``constraint`` is ``-E u`` (with a constant, where there is one). The paper minimises over u for other
    losses by an inner method; the squared loss is here. E and r's matrix are laid out, one ``jvp`` and ``constraint`` an unknown.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("convex-relu", n_examples=6)
    >>> r = refopt.minimize(p, "relu-admm", rho=0.02, steps=300)
    >>> network = p.network(r.x)
    >>> same = refopt.problem("two-layer-relu", width=len(network["a"]), l2=0.1, data=(p.inputs, p.targets))
    >>> bool(abs(same.value(network) - r.fun) < 1e-6)
    True
    """

    has_rate = False
    rho: float = hyper(0.1, "(0, inf)", "ρ.")
    dual_step: float = hyper(1.0, "(0, 1.618033988749895)", "γ; the paper's is γ ρ.")
    words = {"schedule": "Not used."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; the matrices, s, λ and ν are made at the first step."""
        params.check_start(x, "x")
        return {"t": 0, "inverse": None, "right": None, "E": None, "e": None, "s": None, "lam": None, "nu": None,
            "gap": math.inf}  # fmt: skip

    def prepared(self, x: Params, s: State, oracle: Oracle) -> State:
        """Return the state with what the first step makes."""
        if s["inverse"] is not None:
            return s
        zero = params.zeros_like(x)
        xp, c, r = namespace(joined(x)), oracle.constraint(zero), oracle.residual(zero)
        F = matrix(lambda v: oracle.jvp(zero, v), x)
        E = matrix(lambda v: c - oracle.constraint(v), x)
        eye = like(np.eye(F.shape[1]), c)
        inverse = xp.linalg.inv(eye + (F.T @ F) / self.rho + E.T @ E)
        right = -joined(oracle.vjp(zero, r)) / self.rho
        nothing = xp.zeros_like(c)
        return {
            **s,
            "inverse": inverse,
            "right": right,
            "E": E,
            "e": c,
            "s": nothing,
            "nu": nothing,
            "lam": joined(zero),
        }

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one round of updates."""
        s = self.prepared(x, s, oracle)
        v, E, e, lam, nu = joined(x), s["E"], s["e"], s["lam"], s["nu"]
        xp = namespace(v)
        u = s["inverse"] @ (s["right"] + v - lam + E.T @ (s["s"] - nu + e))
        along = E @ u - e
        new = oracle.prox(parted(u + lam, x), 1.0 / self.rho)
        after = joined(new)
        slack = xp.maximum(along + nu, xp.zeros_like(nu))
        apart = [u - after, along - slack, self.rho * (after - v), self.rho * (E.T @ (slack - s["s"]))]
        gap = max(params.max_abs(a) for a in apart)
        return new, {**s, "t": s["t"] + 1, "s": slack, "gap": gap,
            "lam": lam + self.dual_step * (u - after), "nu": nu + self.dual_step * (along - slack)}  # fmt: skip

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the largest entry of the last step's primal and dual residuals, infinite before the first."""
        return float(s["gap"])


@register("relu-scp", source=BAI, where="the sampled convex programs", needs=("residual", "jvp", "vjp"),
    calm_problem=("two-layer-relu", {"width": 5}))  # fmt: skip
class ReLUSCP(Method):
    """A sampled convex programme: hidden weights are drawn on the sphere, the output weights solve a lasso.

    With u_j uniform on the unit sphere, drawn at the first step, ``min_α ‖r(U, α)‖²/2 + β ‖α‖_1`` by accelerated proximal
    gradient steps, ``α_{k+1} = soft(z_k - ∇/L, β/L)``, ``z_{k+1} = α_{k+1} + (t_k - 1)/t_{k+1} (α_{k+1} - α_k)``,
    ``t_{k+1} = (1 + sqrt(1 + 4 t_k²))/2``, from α = 0. The point of the run is the network
    ``w_j = u_j sqrt|α_j|``, ``a_j = sign(α_j) sqrt|α_j|``, whose decay ``β (‖W‖² + ‖a‖²)/2`` is ``β ‖α‖_1``.

    Notes
    -----
    For problems with the leaves ``W`` and ``a`` and a residual that is linear in a and homogeneous in each w_j, such as `two-layer-relu`
    with ``l2 = β``. Only the shapes of the start are looked at. By its optimum, every sample bounds that of `relu-admm`
    on all patterns from above.

    Raises
    ------
    ArgumentTypeError
        x has other leaves.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("two-layer-relu", width=40, l2=0.1)
    >>> r = refopt.minimize(p, "relu-scp", l1=0.1, steps=200)
    >>> bool(r.fun < p.value(p.start()))
    True
    """

    has_rate = False
    l1: float = hyper(0.1, "[0, inf)", "β.")
    words = {"schedule": "Not used."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; the neurons are drawn at the first step."""
        params.check_start(x, "x")
        return {"t": 0, "U": None, "alpha": None, "z": None, "L": 0.0, "weight": 1.0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Draw the neurons at first; make one proximal gradient step on the output weights."""
        if not isinstance(x, dict) or x.keys() != {"W", "a"}:
            raise ArgumentTypeError(f"x0: wanted a dict with W and a, got {sorted(params.leaves(x))}")
        if s["U"] is None:
            s = {**s, **self.drawn(x, oracle)}
        xp, at = namespace(x["a"]), {"W": s["U"], "a": s["z"]}
        g = oracle.vjp(at, oracle.residual(at))["a"]
        moved = s["z"] - g / s["L"] if s["L"] > 0.0 else s["z"]
        less = self.l1 / s["L"] if s["L"] > 0.0 else 0.0
        alpha = xp.sign(moved) * xp.maximum(xp.abs(moved) - less, xp.zeros_like(moved))
        weight = (1.0 + math.sqrt(1.0 + 4.0 * s["weight"] ** 2)) / 2.0
        z = alpha + (s["weight"] - 1.0) / weight * (alpha - s["alpha"])
        return balanced(s["U"], alpha), {**s, "t": s["t"] + 1, "alpha": alpha, "z": z, "weight": weight}

    def drawn(self, x: Params, oracle: Oracle) -> State:
        """Return the neurons, zero output weights, and L of the residual in these."""
        U = oracle.rng.standard_normal(x["W"].shape)
        U = like(U / np.linalg.norm(U, axis=1, keepdims=True), x["W"])
        xp, zero = namespace(U), params.zeros_like(x)
        at = {"W": U, "a": zero["a"]}
        oracle.residual(at)  # whose form the products are then held to
        F = matrix(lambda v: oracle.jvp(at, {"W": zero["W"], "a": v}), zero["a"])
        L = float(xp.linalg.matrix_norm(F, ord=2)) ** 2
        return {"U": U, "alpha": zero["a"], "z": 1.0 * zero["a"], "L": L}

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the largest entry of the lasso's least subgradient at α, infinite before the first step."""
        if s["U"] is None:
            return math.inf
        at = {"W": s["U"], "a": s["alpha"]}
        g, alpha = oracle.vjp(at, oracle.residual(at))["a"], s["alpha"]
        xp = namespace(g)
        at_zero = xp.maximum(xp.abs(g) - self.l1, xp.zeros_like(g))
        return float(xp.max(xp.where(alpha == 0.0, at_zero, xp.abs(g + self.l1 * xp.sign(alpha)))))


def balanced(U: Array, alpha: Array) -> Params:
    """Return the network in which each neuron has the same share of α."""
    xp = namespace(alpha)
    root = xp.sqrt(xp.abs(alpha))
    return {"W": U * root[:, None], "a": xp.sign(alpha) * root}
