"""Problems from functions written in JAX: autodiff supplies gradients and products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.adapters.functions import FunctionProblem, from_functions
from refopt.core.arrays import to_numpy
from refopt.core.errors import ArgumentError, missing_extra
from refopt.core.params import Params, leaves, map_leaves


def from_jax(
    fun: Callable[..., Any],
    x0: Any = None,
    *,
    residual: Callable[..., Any] | None = None,
    n_examples: int | None = None,
) -> FunctionProblem:
    """Return a problem whose objective is a JAX function; the run itself is in NumPy.

    Parameters
    ----------
    fun : callable
        ``fun(x)``, a scalar, of an array or a dict of arrays (``fun(x, batch)`` for a sum). It is
        compiled by ``jax.jit``.
    x0 : array or dict of arrays, optional
    residual : callable, optional
        ``r(x)`` with ``fun = ||r||² / 2``: gives residual, jvp and vjp too.
    n_examples : int, optional
        As in `refopt.from_functions`.

    Returns
    -------
    FunctionProblem
        With value, grad and hvp.

    Raises
    ------
    MissingExtraError
        JAX is not installed.
    ArgumentError
        The run is in float64 but JAX is set to float32: set ``jax_enable_x64`` first.
    """
    try:
        import jax
    except ImportError:
        raise missing_extra("parity", "jax") from None

    def into(x: Params) -> Params:
        if not jax.config.jax_enable_x64 and any(v.dtype == np.float64 for v in leaves(x).values()):
            raise ArgumentError(
                "x: is float64, but JAX would round it to float32; call"
                " jax.config.update('jax_enable_x64', True) first, or start from float32"
            )
        return map_leaves(jax.numpy.asarray, x)

    def back(value: Any) -> Any:
        return map_leaves(to_numpy, value)

    def with_batch(f: Callable[..., Any]) -> Callable[..., Any]:
        return f if n_examples is not None else lambda x, batch: f(x)

    objective = with_batch(fun)
    value = jax.jit(objective)
    gradient = jax.jit(jax.grad(objective))
    product = jax.jit(lambda x, v, batch: jax.jvp(lambda y: jax.grad(objective)(y, batch), (x,), (v,))[1])
    given: dict[str, Any] = {"hvp": lambda x, v, batch=None: back(product(into(x), into(v), batch))}
    if residual is not None:
        inner = with_batch(residual)
        forward = jax.jit(lambda x, v, batch: jax.jvp(lambda y: inner(y, batch), (x,), (v,))[1])
        reverse = jax.jit(lambda x, u, batch: jax.vjp(lambda y: inner(y, batch), x)[1](u)[0])
        given["residual"] = lambda x, batch=None: back(inner(into(x), batch))
        given["jvp"] = lambda x, v, batch=None: back(forward(into(x), into(v), batch))
        given["vjp"] = lambda x, u, batch=None: back(reverse(into(x), into(u), batch))
    return from_functions(
        lambda x, batch=None: back(value(into(x), batch)),
        lambda x, batch=None: back(gradient(into(x), batch)),
        x0=map_leaves(to_numpy, x0) if x0 is not None else None,
        n_examples=n_examples,
        least_squares=residual is not None,
        **given,
    )
