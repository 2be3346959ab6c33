"""Target-based surrogate optimization (Lavington et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.errors import CapabilityError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy
from refopt.core.registry import Source, register

LAVINGTON = Source("lavington-2023-target",
    "J. W. Lavington, S. Vaswani, R. Babanezhad, M. Schmidt, N. Le Roux",
    "Target-based Surrogates for Stochastic Optimization", arxiv="2302.02607")  # fmt: skip


@register("sso", source=LAVINGTON, where="Algorithm 2, SSO", needs=("residual", "vjp", "loss_gradient"),
    calm_problem=("quadratic", {"n": 6}))  # fmt: skip
class SSO(Method):
    """SSO: many steps on a surrogate that is made of one gradient of the loss by the model's outputs.

    With outputs z(θ) and f = ℓ(z): ``d = ∇ℓ(z_t)``, ``q(θ) = ⟨d, z(θ)⟩ + ‖z(θ) - z_t‖²/(2η)``, and θ_{t+1} is m
    gradient steps on q from θ_t, by Armijo's rule or of fixed size. One of fixed size is a step of
    gradient descent.

    Raises
    ------
    CapabilityError
        f has an l2 term outside ℓ(z).

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", n_examples=100)
    >>> r = refopt.minimize(p, "sso", lr=200.0, inner_steps=20, steps=10, record="full")
    >>> r.calls["loss_gradient"], r.calls["vjp"], bool(r.fun < 0.3 * r.history["value"][0])
    (10, 200, True)
    """

    lr: Rate = hyper(1.0, "(0, inf)",
        "η, of the step in the space of outputs; a schedule makes it 1/√t or exponential, as in the paper.")  # fmt: skip
    inner_lr: float = hyper(
        10.0, "(0, inf)", "The size of the inner steps; of Armijo's rule, where it begins."
    )
    inner_steps: int = hyper(10, "int [1, inf)", "m.")
    inner_tol: float = hyper(
        1e-6, "[0, inf)", "The inner steps end where ‖∇q‖ is at most this (the authors' code)."
    )
    line_search: bool = hyper(True,
        words="Armijo's rule: a step is taken that lowers q by half of what its slope says; each trial is 0.9 of the"
        " last, at most 100, and the next search begins at 1.8 times the step taken.")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the counter alone."""
        return {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make the surrogate, and step on it."""
        if getattr(oracle.problem, "l2", 0.0):
            raise CapabilityError("sso: f has an l2 term outside the loss of the outputs; wanted l2 = 0")
        t = s["t"] + 1
        eta, size, w = self.rate(t), self.inner_lr, x
        start, d = oracle.residual(x), oracle.loss_gradient(x)

        def surrogate(z: Array) -> float:
            apart = z - start
            return float(namespace(z).sum(d * apart + apart * apart / (2.0 * eta)))

        z = start
        for _ in range(self.inner_steps):
            g = oracle.vjp(w, d + (z - start) / eta)
            if params.norm(g) <= self.inner_tol:
                break
            if self.line_search:
                w, z, size = self.searched(oracle, w, z, g, size, surrogate)
            else:
                w = axpy(-size, g, w)
                z = oracle.residual(w)
        return w, {"t": t}

    @staticmethod
    def searched(
        oracle: Oracle, w: Params, z: Array, g: Params, size: float, surrogate: Callable[[Array], float]
    ) -> tuple[Params, Array, float]:
        """Return the point of the first trial that lowers q enough, its outputs, and where to begin next."""
        here, square = surrogate(z), params.dot(g, g)
        for _ in range(100):
            new = axpy(-size, g, w)
            there = oracle.residual(new)
            if surrogate(there) <= here - 0.5 * size * square:
                return new, there, 1.8 * size
            size *= 0.9
        return w, z, size
