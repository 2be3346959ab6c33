"""Problems from plain functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refopt.core.arguments import check_flag
from refopt.core.errors import ArgumentTypeError, nearest
from refopt.core.hyper import check_number
from refopt.core.problem import CAPABILITIES


class FunctionProblem:
    """A problem made of functions; it offers exactly those that it was given."""

    def __init__(
        self, x0: Any, n_examples: int | None, lipschitz: float | None, functions: dict[str, Any]
    ) -> None:
        self.x0, self.n_examples, self.lipschitz = x0, n_examples, lipschitz
        for name, function in functions.items():
            setattr(self, name, function)

    def __repr__(self) -> str:
        return f"FunctionProblem({', '.join(n for n in CAPABILITIES if hasattr(self, n))})"


def from_functions(
    fun: Callable[..., Any],
    grad: Callable[..., Any] | None = None,
    *,
    x0: Any = None,
    n_examples: int | None = None,
    lipschitz: float | None = None,
    least_squares: bool = False,
    **capabilities: Callable[..., Any],
) -> FunctionProblem:
    """Return a problem made of functions.

    Parameters
    ----------
    fun : callable
        The objective, ``fun(x)``, a number.
    grad : callable, optional
        Its gradient, ``grad(x)``, like x.
    x0 : array or dict of arrays, optional
        The default start.
    n_examples : int, optional
        For a finite sum: every function then also takes ``batch``, a NumPy array of example indices
        or None, as a keyword.
    lipschitz : float, optional
        The gradient's Lipschitz constant L, where it is known.
    least_squares : bool
        Says that fun is ``||residual||² / 2``.
    capabilities
        Further members of `refopt.core.problem.CAPABILITIES`, such as ``hvp(x, v)``,
        ``residual(x)``, ``jvp(x, v)``, ``prox(x, step)``.

    Returns
    -------
    FunctionProblem

    Raises
    ------
    ArgumentTypeError
        Something is not callable, or has an unknown name.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(lambda x: float(x @ x), lambda x: 2 * x, x0=np.array([1.0, 2.0]))
    >>> refopt.minimize(p, "sgd", lr=0.5, steps=1).fun
    0.0
    """
    functions: dict[str, Any] = {"value": fun, **({"grad": grad} if grad is not None else {}), **capabilities}
    for name, function in functions.items():
        if name not in CAPABILITIES:
            raise ArgumentTypeError(
                f"from_functions knows no capability {name!r}.{nearest(name, CAPABILITIES)} It knows:"
                f" {', '.join(CAPABILITIES)}"
            )
        if not callable(function):
            raise ArgumentTypeError(f"{name}: wanted a callable, got {type(function).__qualname__}")
    if n_examples is not None:
        check_number(n_examples, "int [1, inf)", "n_examples")
    if lipschitz is not None:
        check_number(lipschitz, "(0, inf)", "lipschitz")
    if check_flag(least_squares, "least_squares"):
        functions["least_squares"] = True
    return FunctionProblem(x0, n_examples, lipschitz, functions)
