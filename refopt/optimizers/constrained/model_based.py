"""Stochastic model-based methods for weakly convex functions (Davis and Drusvyatskiy 2019)."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import namespace
from refopt.core.errors import ShapeError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, check_start, copied, norm
from refopt.core.registry import Source, register

DAVIS = Source("davis-2019-stochastic", "Damek Davis, Dmitriy Drusvyatskiy",
    "Stochastic model-based minimization of weakly convex functions", arxiv="1803.06523")  # fmt: skip


class ModelBased(Method):
    """Base of the three: ``x_{t+1} = argmin_x r(x) + f_{x_t}(x, ξ_t) + ‖x - x_t‖² / (2 α_t)``, each with a model f_{x_t} of f."""

    lr: Rate = hyper(1e-2, "[0, inf)",
        "α_t = 1 / β_t. In the paper ``γ / sqrt(T + 1)`` for T steps, and for the proximal point below 1 / ρ.")  # fmt: skip
    chooses: bool = hyper(False,
        words="Keep a point x_{t*} drawn with weights α_t, of which the paper's bounds speak, under ``\"chosen\"`` in the"
        " state.")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter, and what is drawn."""
        x = check_start(x, "x")
        return {"t": 0, "weight": 0.0, "chosen": copied(x)} if self.chooses else {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Minimise the model of this step's examples beside the squared distance."""
        t = s["t"] + 1
        alpha = self.rate(t)
        new: dict[str, Any] = {"t": t}
        if self.chooses:
            # One pass: the point of step t replaces what was chosen with probability α_t / Σ α.
            weight = s["weight"] + alpha
            new["weight"] = weight
            new["chosen"] = copied(x) if oracle.rng.random() * weight < alpha else s["chosen"]
        return self.move(x, alpha, oracle) if alpha > 0.0 else copied(x), new

    def move(self, x: Params, alpha: float, oracle: Oracle) -> Params:
        """Return the model's minimiser."""
        raise NotImplementedError


@register("prox-subgradient", source=DAVIS, where="the proximal stochastic subgradient method", needs=("grad", "prox"), calm_problem=("logistic", {"l1": 0.01}))  # fmt: skip
class ProxSubgradient(ModelBased):
    """The proximal stochastic subgradient method: the model is linear.

    ``x_{t+1} = prox_{α_t r}(x_t - α_t G(x_t, ξ_t))``, G a subgradient of f: of a smooth f it is `proximal-sgd`'s rule.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l1=0.01)
    >>> r = refopt.minimize(p, "prox-subgradient", lr=0.1, batch_size=32, steps=200)
    >>> int((r.x == 0).sum()) > 0
    True
    """

    def move(self, x: Params, alpha: float, oracle: Oracle) -> Params:
        """Return the proximal point of r from where the subgradient leads."""
        return oracle.prox(axpy(-alpha, oracle.grad(x), x), alpha)


@register("prox-point-sgd", source=DAVIS, where="the stochastic proximal point method", needs=("example_prox",), calm_problem=("phase-retrieval", {"n": 3}))  # fmt: skip
class ProxPointSGD(ModelBased):
    """The stochastic proximal point method: the model of an example is the example's own function.

    ``x_{t+1} = argmin_x f(x, ξ_t) + ‖x - x_t‖² / (2 α_t)``, ξ_t one example drawn from the step's batch.

    Notes
    -----
    Each f(·, ξ) is ρ-weakly convex; with α_t < 1 / ρ the step is unique. There is no r.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("phase-retrieval", n=5)
    >>> r = refopt.minimize(p, "prox-point-sgd", lr=1.0, batch_size=1, steps=400)
    >>> p.error(r.x) < 1e-6
    True
    """

    def move(self, x: Params, alpha: float, oracle: Oracle) -> Params:
        """Return the proximal point of one example."""
        return oracle.example_prox(x, alpha)


@register("prox-linear", source=DAVIS, where="the stochastic prox-linear method", needs=("residual", "vjp"), calm_problem=("phase-retrieval", {"n": 3}))  # fmt: skip
class ProxLinear(ModelBased):
    """The stochastic prox-linear method, for f the mean of h(c(x, ξ)): c is made linear, h is kept.

    ``x_{t+1} = argmin_x h(c + ⟨v, x - x_t⟩) + ‖x - x_t‖² / (2 α_t)``, c = c(x_t, ξ_t) and v its gradient, of one example
    drawn from the step's batch. h = |·|: ``x_t - α clip(c / (α ‖v‖²), -1, 1) v``. h = (·)² / 2: ``x_t - α c v / (1 + α ‖v‖²)``,
    Levenberg's step.

    Notes
    -----
    The problem's ``residual`` must be the numbers c, one an example. There is no r.

    Raises
    ------
    ShapeError
        An example has more than one residual.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("phase-retrieval", n=5)
    >>> r = refopt.minimize(p, "prox-linear", lr=1.0, batch_size=1, steps=400)
    >>> p.error(r.x) < 1e-6
    True
    """

    outer: str = hyper("absolute", ("absolute", "half-square"), "h.")

    def move(self, x: Params, alpha: float, oracle: Oracle) -> Params:
        """Return the model's minimiser."""
        one = oracle.on(oracle.example())
        r = one.residual(x)
        if tuple(r.shape) != (1,):
            raise ShapeError(f"residual: wanted one number an example, shape (1,), got {tuple(r.shape)}")
        c, v = float(r[0]), one.vjp(x, namespace(r).ones_like(r))
        # In units of the gradient's length, whose square may leave the dtype's range.
        length = norm(v)
        if length == 0.0:
            return copied(x)
        if self.outer == "half-square":
            return axpy(-alpha * c / (1.0 + alpha * length * length), v, x)
        return axpy(-min(max(c / length / length, -alpha), alpha), v, x)
