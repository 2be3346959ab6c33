"""Problems from functions written in PyTorch (autodiff supplies gradients and products), and methods for its loops."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from refopt.adapters.functions import from_functions
from refopt.core.arrays import Array, is_array
from refopt.core.errors import ArgumentTypeError, missing_extra
from refopt.core.params import Params, leaves, map_leaves


def from_torch(
    fun: Any,
    x0: Any = None,
    data: Any = None,
    *,
    loss: Any = None,
    residual: Callable[..., Any] | None = None,
    n_examples: int | None = None,
) -> Any:
    """Return a problem from PyTorch: ``from_torch(module, loss, data)``, or ``from_torch(fun, x0)``.

    Parameters
    ----------
    fun : torch.nn.Module or callable
        A network; or ``fun(x)``, a 0-d tensor, of a tensor or a dict of tensors (``fun(x, batch)`` for a sum).
    x0 : tensor or dict of tensors, optional
        A function's start. For a network, in its place the `loss`.
    data : pair of tensors or Dataset
        A network's inputs and targets, examples on the first axis; or a dataset with a length, whose items are such
        pairs.
    loss : {"cross-entropy", "mse"} or callable
        Of a network's outputs z and the targets y. "cross-entropy": the mean of ``log(sum_c exp(z_c)) - z_y``; "mse": the
        mean of half the squares ``||z - y||^2 / 2``; ``loss(z, y)``: any mean over examples.
    residual : callable, optional
        ``r(x)``, a tensor, with ``fun = ||r||² / 2``: gives residual, jvp and vjp too.
    n_examples : int, optional
        As in `refopt.from_functions`.

    Returns
    -------
    FunctionProblem or TorchModule
        Of a function, with value, grad and hvp. Of a network, with x0 its parameters by name, and further per-example
        gradients, outputs (residual) with jvp, vjp and the loss's Hessian, so that every curvature object has what it
        needs, and for networks of `torch.nn.Linear` and `torch.nn.Conv2d` layers, for K-FAC. It takes and returns what the run is in, torch
        or NumPy.

    Raises
    ------
    MissingExtraError
        PyTorch is not installed.
    ArgumentError, ArgumentTypeError
        A network that draws (dropout) or mixes examples (batch normalisation) while it trains; no such loss or data.
    """
    try:
        import torch
    except ImportError:
        raise missing_extra("parity", "torch") from None
    from torch.func import grad, jvp, vjp

    from refopt.adapters.torch_module import TorchModule, value_and_gradient

    if isinstance(fun, torch.nn.Module):
        if residual is not None or n_examples is not None:
            raise ArgumentTypeError(
                "from_torch: residual and n_examples belong to a function, not to a network"
            )
        return TorchModule(fun, loss if loss is not None else x0, data)
    if data is not None or loss is not None:
        raise ArgumentTypeError(
            "from_torch: loss and data belong to a torch.nn.Module; wanted one as the first argument"
        )
    if not callable(fun):
        raise ArgumentTypeError(
            f"fun: wanted a torch.nn.Module or a function of tensors, got {type(fun).__name__}"
        )

    def into(x: Params) -> Params:
        return map_leaves(lambda a: a if torch.is_tensor(a) else torch.as_tensor(_writable(a)), x)

    def back(value: Any, x: Params) -> Any:
        if all(torch.is_tensor(a) for a in leaves(x).values()):
            return map_leaves(lambda a: a.detach(), value)
        return map_leaves(lambda a: a.detach().cpu().numpy(), value)

    def bound(f: Callable[..., Any], batch: Any) -> Callable[..., Any]:
        return f if n_examples is None else lambda x: f(x, batch)

    def value(x: Params, batch: Any = None) -> Array:
        return back(bound(fun, batch)(into(x)), x)

    def gradient(x: Params, batch: Any = None) -> Params:
        return value_and_grad(x, batch)[1]

    def value_and_grad(x: Params, batch: Any = None) -> tuple[Array, Params]:
        f, g = value_and_gradient(bound(fun, batch), into(x))
        return back(f, x), back(g, x)

    def hvp(x: Params, v: Params, batch: Any = None) -> Params:
        return back(jvp(grad(bound(fun, batch)), (into(x),), (into(v),))[1], x)

    given: dict[str, Any] = {"hvp": hvp, "value_and_grad": value_and_grad}
    if residual is not None:
        given["residual"] = lambda x, batch=None: back(bound(residual, batch)(into(x)), x)
        given["jvp"] = lambda x, v, batch=None: back(
            jvp(bound(residual, batch), (into(x),), (into(v),))[1], x
        )
        given["vjp"] = lambda x, u, batch=None: back(vjp(bound(residual, batch), into(x))[1](into(u))[0], x)
    return from_functions(
        value, gradient, x0=x0, n_examples=n_examples, least_squares=residual is not None, **given
    )


def as_torch(name: str, params: Any = None, **options: Any) -> Any:
    """Return a method as a ``torch.optim.Optimizer``.

    Parameters
    ----------
    name : str
        A registered optimizer, wrapper or estimator that asks for gradients, or for values and gradients through
        ``step(closure)``.
    params : iterable, optional
        As torch's optimizers take them: tensors, named tensors or groups, whose own numbers stand under refopt's
        names (``betas`` for ``beta1`` and ``beta2``). Without it, what is returned is called with them.
    options
        Hyperparameters, ``dialect``, ``maximize``, ``seed`` of the method's random numbers, and ``master_weights``: True
        keeps for each float16 or bfloat16 parameter its weights and the method's state in float32, in
        ``state[p]["master"]`` and in ``state_dict``, and the parameter is the master, rounded, after every step; and
        ``differentiable``: True keeps the graph of a step, from the new parameters to the old and their gradients, for methods
        of one rule for every leaf. ``foreach`` and ``fused`` say how torch computes, and are passed over.

    Returns
    -------
    torch.optim.Optimizer
        Or, without `params`, a function of them.

    Raises
    ------
    MissingExtraError
        PyTorch is not installed.
    CapabilityError
        The method asks for what no closure gives.

    Notes
    -----
    Complex parameters are pairs of reals, and sparse gradients made dense. A parameter without a gradient stands
    still, with its state. For methods whose leaves do not look at each other the state is held by parameter, else by
    group, under ``state["groups"]``; ``state_dict`` has both. Each group is a run by itself, which asks while the others
    stand where the step began: what a method takes over all parameters, as SAM and clipping by the norm do, it takes over the
    group. (`minimize` hands the groups of a wrapper on to its base, and the norm is over all.)
    """
    try:
        from refopt.adapters.torch_optimizer import TorchOptimizer
    except ImportError:
        raise missing_extra("parity", "torch") from None
    if params is None:
        return functools.partial(TorchOptimizer, name=name, **options)
    return TorchOptimizer(params, name, **options)


def _writable(array: Any) -> Any:
    # torch shares memory with NumPy and warns about arrays that are not writable.
    return array.copy() if is_array(array) and not array.flags.writeable else array
