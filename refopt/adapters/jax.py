"""Problems from functions and networks written in JAX: autodiff supplies gradients and products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refopt.adapters.functions import from_functions
from refopt.core.errors import ArgumentTypeError, missing_extra
from refopt.core.params import Params


def from_jax(
    fun: Callable[..., Any],
    x0: Any = None,
    data: Any = None,
    *,
    loss: Any = None,
    residual: Callable[..., Any] | None = None,
    n_examples: int | None = None,
) -> Any:
    """Return a problem from JAX: ``from_jax(apply, x0, data, loss=...)`` of a network, or ``from_jax(fun, x0)``.

    Parameters
    ----------
    fun : callable
        ``fun(x)``, a scalar, of an array or a tree of arrays (``fun(x, batch)`` for a sum); or, with `loss`, a network's
        ``apply(x, inputs)``, its outputs with examples on the first axis. It is compiled by ``jax.jit``.
    x0 : array or tree of arrays, optional
        Dicts, lists and tuples, nested as JAX takes them, are one flat dict in the run, with names such as
        ``"hidden.w"`` and ``"blocks.0.b"``; `fun` is called with the tree. ``problem.tree(x)`` gives the tree of a run's x, and
        ``problem.flat(tree)`` the other way.
    data : pair of arrays
        A network's inputs and targets, examples on the first axis.
    loss : {"cross-entropy", "mse"} or callable
        Of a network's outputs z and the targets y, as in `refopt.from_torch`; ``loss(z, y)``: any mean over examples.
    residual : callable, optional
        ``r(x)`` with ``fun = ||r||² / 2``: gives residual, jvp and vjp too.
    n_examples : int, optional
        As in `refopt.from_functions`.

    Returns
    -------
    FunctionProblem or JaxNetwork
        Of a function, with value, grad and hvp. Of a network, with per-example gradients, outputs (residual) with jvp, vjp
        and the loss's Hessian besides. It takes NumPy or JAX arrays and returns the same; without an x the run is in NumPy.

    Raises
    ------
    MissingExtraError
        JAX is not installed.
    ArgumentError
        The run is in float64 but JAX is set to float32: set ``jax_enable_x64`` first. No such loss; two leaves of one name.
    ArgumentTypeError
        What belongs to a function was given with a network, or the other way round.
    """
    try:
        import jax
    except ImportError:
        raise missing_extra("parity", "jax") from None

    from refopt.adapters.jax_network import JaxNetwork, Tree, back, into

    if loss is not None:
        if residual is not None or n_examples is not None:
            raise ArgumentTypeError(
                "from_jax: residual and n_examples belong to a function, not to a network"
            )
        return JaxNetwork(fun, x0, loss, data)
    if data is not None:
        raise ArgumentTypeError("from_jax: data belong to a network, whose loss must be given too")
    tree = Tree(x0)

    def with_batch(f: Callable[..., Any]) -> Callable[..., Any]:
        return (lambda x, batch: f(tree.nested(x), batch)) if n_examples is not None else (
            lambda x, batch: f(tree.nested(x))
        )  # fmt: skip

    objective = with_batch(fun)
    value = jax.jit(objective)
    both = jax.jit(jax.value_and_grad(objective))
    product = jax.jit(lambda x, v, batch: jax.jvp(lambda y: jax.grad(objective)(y, batch), (x,), (v,))[1])

    def value_and_grad(x: Params, batch: Any = None) -> tuple[Any, Params]:
        f, g = both(into(x), batch)
        return back(f, x), back(g, x)

    given: dict[str, Any] = {
        "hvp": lambda x, v, batch=None: back(product(into(x), into(v), batch), x),
        "value_and_grad": value_and_grad,
    }
    if residual is not None:
        inner = with_batch(residual)
        forward = jax.jit(lambda x, v, batch: jax.jvp(lambda y: inner(y, batch), (x,), (v,))[1])
        reverse = jax.jit(lambda x, u, batch: jax.vjp(lambda y: inner(y, batch), x)[1](u)[0])
        given["residual"] = lambda x, batch=None: back(inner(into(x), batch), x)
        given["jvp"] = lambda x, v, batch=None: back(forward(into(x), into(v), batch), x)
        given["vjp"] = lambda x, u, batch=None: back(reverse(into(x), into(u), batch), x)
    problem: Any = from_functions(
        lambda x, batch=None: back(value(into(x), batch), x),
        lambda x, batch=None: value_and_grad(x, batch)[1],
        x0=tree.start,
        n_examples=n_examples,
        least_squares=residual is not None,
        **given,
    )
    problem.tree, problem.flat = tree.nested, tree.flat
    return problem
