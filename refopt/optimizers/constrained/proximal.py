"""The proximal gradient method, as in the Handbook of Garrigos and Gower (2023)."""

from __future__ import annotations

from dataclasses import dataclass

from refopt.core import params
from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Evidence, Source, register

GARRIGOS = Source(
    key="garrigos-2023-handbook",
    authors="G. Garrigos, R. M. Gower",
    year=2023,
    title="Handbook of Convergence Theorems for (Stochastic) Gradient Methods",
    arxiv="2301.11235",
)


@register(
    "proximal-gradient",
    kind="optimizer",
    source=GARRIGOS,
    where="chapter on the proximal gradient method, its algorithm",
    needs=("grad", "prox"),
    evidence=(
        Evidence(
            "claim",
            "convex: F(x_T) - F* <= |x_0 - x*|^2 / (2 lr T) at every T up to 300",
            "tests/claims/test_proximal_gradient.py::test_sublinear_bound",
        ),
        Evidence(
            "claim",
            "strongly convex: |x_t - x*|^2 <= (1 - lr mu)^t |x_0 - x*|^2, and F never increases",
            "tests/claims/test_proximal_gradient.py::test_linear_bound",
        ),
        Evidence(
            "identity",
            "with g = 0 it is gradient descent; with f = 0 the proximal point method, bit for bit",
            "tests/identities/test_proximal_gradient.py::test_limits",
        ),
        Evidence(
            "identity",
            "reaches the lasso solution of scikit-learn's coordinate descent, to 1e-9",
            "tests/identities/test_proximal_gradient.py::test_lasso_solution",
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class ProximalGradient(Method):
    """The proximal gradient method for F = f + g: a gradient step on f, then g's proximal step.

    ``x_{t+1} = prox_{γ g}(x_t - γ ∇f(x_t))``.

    Parameters
    ----------
    lr : float or callable or None, range [0, inf)
        γ. None: 1 / L, where the problem knows its L (``lipschitz``).
    schedule : callable, optional

    Raises
    ------
    ArgumentError
        ``lr=None`` and the problem does not know L.

    Notes
    -----
    The problem's ``prox(x, step)`` is of ``step * g``: for a penalty λ‖x‖₁ it shrinks by γ λ.

    References
    ----------
    G. Garrigos, R. M. Gower 2023, arXiv:2301.11235.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l1=0.01)
    >>> r = refopt.minimize(p, "proximal-gradient", steps=200)
    >>> int((r.x == 0).sum()) > 0
    True
    """

    lr: Rate | None = hyper(None, "[0, inf)", rate=True)

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        return {"t": 0}

    def gamma(self, t: int, oracle: Oracle) -> float:
        """Return the step size of step `t`."""
        if self.lr is not None:
            return self.rate(t)
        lipschitz = getattr(oracle.problem, "lipschitz", None)
        if lipschitz is None:
            raise ArgumentError(
                "proximal-gradient: lr is None, which means 1 / L, but the problem does not know its L"
                " (attribute lipschitz); give lr"
            )
        return self.multiplier(t) / lipschitz

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
