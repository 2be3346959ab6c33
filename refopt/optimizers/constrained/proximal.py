"""The proximal gradient method, as in the Handbook of Garrigos and Gower (2023)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.known_rate import KnownRate
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, register
from refopt.optimizers.common.known_rate import known_rate

GARRIGOS = Source("garrigos-2023-handbook", "G. Garrigos, R. M. Gower",
    "Handbook of Convergence Theorems for (Stochastic) Gradient Methods", arxiv="2301.11235")  # fmt: skip


@register(
    "proximal-gradient",
    source=GARRIGOS,
    where="chapter on the proximal gradient method, its algorithm",
    needs=("grad", "prox"),
    known_rate=KnownRate("1 / L", lambda L, mu: {"lr": None}),
)
class ProximalGradient(Method):
    """The proximal gradient method for F = f + g: a gradient step on f, then g's proximal step.

    ``x_{t+1} = prox_{γ g}(x_t - γ ∇f(x_t))``.

    Raises
    ------
    ArgumentError
        ``lr=None`` and the problem does not know L.

    Notes
    -----
    The problem's ``prox(x, step)`` is of ``step * g``: for a penalty λ‖x‖₁ it shrinks by γ λ.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l1=0.01)
    >>> r = refopt.minimize(p, "proximal-gradient", steps=200)
    >>> int((r.x == 0).sum()) > 0
    True
    """

    lr: Rate | None = hyper(
        None, "[0, inf)", "γ. None: 1 / L, where the problem knows its L (``lipschitz``)."
    )

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        return {"t": 0}

    def gamma(self, t: int, oracle: Oracle) -> float:
        """Return the step size of step `t`."""
        return known_rate(self, t, oracle)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one proximal gradient step."""
        t = s["t"] + 1
        gamma = self.gamma(t, oracle)
        return oracle.prox(params.axpy(-gamma, oracle.grad(x), x), gamma), {"t": t}

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the largest entry of the gradient mapping ``(x - x_next) / γ``, zero at minimisers."""
        gamma = self.gamma(s["t"] + 1, oracle)
        after = oracle.prox(params.axpy(-gamma, oracle.grad(x), x), gamma)
        return params.max_abs(params.subtract(x, after)) / gamma


@register(
    "proximal-sgd",
    source=GARRIGOS,
    where="chapter on the stochastic proximal gradient method, its algorithm",
    needs=("grad", "prox"),
    calm_problem=("logistic", {"l1": 0.01}),
)
class ProximalSGD(ProximalGradient):
    """Proximal SGD: `proximal-gradient`'s rule with the gradient of a batch, under a rate that must be given.

    ``x_{t+1} = prox_{γ_t g}(x_t - γ_t ∇f_i(x_t))``, with the whole g after every step.

    Notes
    -----
    For γ at most 1 / (2 L_max), L_max the largest L of an example, and f μ-strongly convex, the expected squared distance
    to the solution is at most ``(1 - γ μ)^t`` times the start's and ``2 γ σ² / μ``, σ² the variance of the examples'
    gradients at the solution. On all examples it is the proximal gradient method itself.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l1=0.01)
    >>> r = refopt.minimize(p, "proximal-sgd", lr=0.1, batch_size=32, steps=200)
    >>> int((r.x == 0).sum()) > 0
    True
    """

    lr: Rate = hyper(1e-2, "[0, inf)", "γ_t.")

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return that of the proximal gradient method; 0 for γ = 0."""
        return super().stationarity(x, s, oracle) if self.rate(s["t"] + 1) > 0.0 else 0.0
