"""What the methods for two levels share: two named players, and implicit derivatives by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, copied, max_abs
from refopt.core.problem import require
from refopt.linear.conjugate_gradient import cg

Solve = Callable[[Callable[[Array], Array], Array], Array]


class Bilevel(Method):
    """Base of the room: ``x = {"upper": ..., "lower": ...}``, and the upper player's rate is `lr`."""

    lr: Rate = hyper(0.1, "[0, inf)", "α, the upper player's rate.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: no more than the count."""
        checked(x)
        return {"t": 0}

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the largest entry of the lower gradient and of the hypergradient there."""
        needs = ("upper_grad", "lower_grad", "lower_hvp", "lower_mixed")
        require(oracle.problem, needs, "tol, which is held against the hypergradient,")
        away = max_abs(oracle.lower_grad(x)["lower"])
        return max(away, max_abs(hypergradient(oracle, x, solver(None, 1e-10))))


def checked(x: Params) -> Params:
    """Return a copy of a start that has two players, or raise.

    Raises
    ------
    ArgumentTypeError, ArgumentError
    """
    if not isinstance(x, dict):
        raise ArgumentTypeError(f"x: wanted a dict with upper and lower, got {type(x).__qualname__}")
    if x.keys() != {"upper", "lower"}:
        raise ArgumentError(f"x: wanted the names upper and lower, got {', '.join(map(str, x))}")
    return copied(check_start(x, "x"))


def pair(upper: Array, lower: Array) -> Params:
    """Return both players as parameters."""
    return {"upper": upper, "lower": lower}


def descend(oracle: Oracle, x: Params, lr: float, steps: int) -> Params:
    """Return the pair after so many gradient steps of the lower player."""
    for _ in range(steps):
        x = pair(x["upper"], x["lower"] - lr * oracle.lower_grad(x)["lower"])
    return x


def hypergradient(oracle: Oracle, x: Params, solve: Solve) -> Array:
    """Return ``∇_x F - ∇²_xy f q`` with ``q = solve(H, ∇_y F)``, H a function that multiplies by ``∇²_yy f``."""
    upper = copied(oracle.upper_grad(x))
    q = solve(lambda v: oracle.lower_hvp(x, v), upper["lower"])
    return upper["upper"] - oracle.lower_mixed(x, q)


def solver(steps: int | None, rtol: float) -> Solve:
    """Return ``solve(H, b)`` by conjugate gradients from 0, for right sides of any shape."""

    def solve(product: Callable[[Array], Array], b: Array) -> Array:
        xp, shape = namespace(b), b.shape
        flat = cg(
            lambda v: xp.reshape(product(xp.reshape(v, shape)), (-1,)),
            xp.reshape(b, (-1,)),
            rtol=rtol,
            maxiter=steps,
        )
        return xp.reshape(flat.x, shape)

    return solve
