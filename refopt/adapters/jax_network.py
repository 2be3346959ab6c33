"""A network in JAX, its loss and data as a problem; trees of parameters as flat dicts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from refopt.core.arrays import to_numpy
from refopt.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from refopt.core.params import Params, leaves, map_leaves


def into(x: Params) -> Any:
    """Return x in JAX, and raise where JAX would round it."""
    if not all(hasattr(v, "dtype") for v in leaves(x).values()):
        raise ArgumentTypeError(
            "x: wanted the flat dict of a run, such as problem.x0; problem.flat(tree) makes it of a tree, and problem.tree(x)"
            " gives the tree of a result"
        )
    if not jax.config.jax_enable_x64 and any(v.dtype == np.float64 for v in leaves(x).values()):
        raise ArgumentError(
            "x: is float64, but JAX would round it to float32; call"
            " jax.config.update('jax_enable_x64', True) first, or start from float32"
        )
    return map_leaves(jnp.asarray, x)


def back(value: Any, x: Params) -> Any:
    """Return an answer in the library of x."""
    if all(isinstance(v, jax.Array) for v in leaves(x).values()):
        return value
    return map_leaves(to_numpy, value)


class Tree:
    """The form of nested parameters, whose leaves have dotted names in a run.

    Attributes
    ----------
    start : array, dict of arrays or None
        The parameters that the form is taken from, in NumPy.
    """

    def __init__(self, x0: Any) -> None:
        self._names: list[str] | None = None
        plain = x0 is None or hasattr(x0, "shape")
        if not plain and not (isinstance(x0, dict) and all(hasattr(v, "shape") for v in x0.values())):
            paths, self._form = jax.tree_util.tree_flatten_with_path(x0)
            self._names = [".".join(map(_part, path)) for path, _ in paths]
            twice = sorted({n for n in self._names if self._names.count(n) > 1})
            if twice:
                raise ArgumentError(f"x0: more than one leaf would be called {', '.join(twice)}")
            if not paths:
                raise ArgumentTypeError(
                    f"x0: wanted an array or a tree of arrays, got {type(x0).__qualname__}"
                )
        self.start: Params | None = None if x0 is None else map_leaves(to_numpy, self.flat(x0))

    def flat(self, tree: Any) -> Params:
        """Return a tree as the flat dict that a run has."""
        if self._names is None:
            return tree
        found, form = jax.tree_util.tree_flatten(tree)
        if form != self._form:
            raise ShapeError(f"tree: wanted the form of x0, {self._form}, got {form}")
        return dict(zip(self._names, map(jnp.asarray, found)))

    def nested(self, x: Params) -> Any:
        """Return the tree of a run's x."""
        if self._names is None:
            return x
        return jax.tree_util.tree_unflatten(self._form, [x[n] for n in self._names])


def _part(key: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def cross_entropy(z: Any, y: Any) -> Any:
    """Return the mean of ``log(sum_c exp(z_c)) - z_y`` for labels, of ``-Σ_c y_c log softmax(z)_c`` for probabilities."""
    logs = jax.nn.log_softmax(z, axis=-1)
    if jnp.issubdtype(y.dtype, jnp.integer):
        return -jnp.mean(jnp.take_along_axis(logs, y[:, None], axis=-1))
    return -jnp.mean(jnp.sum(y * logs, axis=-1))


def half_squares(z: Any, y: Any) -> Any:
    """Return the mean of ``||z - y||^2 / 2``."""
    return jnp.sum((z - y) ** 2) / (2 * z.shape[0])


LOSSES: dict[str, Callable[..., Any]] = {"cross-entropy": cross_entropy, "mse": half_squares}


class JaxNetwork:
    """A network as a problem; `refopt.from_jax` makes it.

    ``f(x) = loss(z, y)``, the mean over examples, with the network's outputs z. As a composition f = phi(r(x)): r is z,
    or ``(z - y) / sqrt(B)`` with phi half the squares for "mse".

    Attributes
    ----------
    x0 : array or dict of arrays
    n_examples : int
    least_squares : bool
    """

    def __init__(self, apply: Any, x0: Any, loss: Any, data: Any) -> None:
        if isinstance(loss, str) and loss not in LOSSES:
            raise ArgumentError(f"loss: wanted {', '.join(map(repr, LOSSES))} or a function, got {loss!r}")
        if not callable(apply) or not (isinstance(loss, str) or callable(loss)):
            raise ArgumentTypeError("from_jax: wanted apply(x, inputs) and a loss's name or loss(z, y)")
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise ArgumentTypeError(
                f"data: wanted a pair of arrays (inputs, targets), got {type(data).__qualname__}"
            )
        self._inputs, self._targets = (np.array(d) for d in data)
        if self._inputs.ndim == 0 or self._inputs.shape[:1] != self._targets.shape[:1]:
            raise ShapeError(
                f"data: wanted as many inputs as targets, got shapes {self._inputs.shape} and {self._targets.shape}"
            )
        self._tree = Tree(x0)
        self.tree, self.flat = self._tree.nested, self._tree.flat
        self.x0, self.n_examples = self._tree.start, len(self._inputs)
        self.kind = loss if isinstance(loss, str) else ""
        self.least_squares = self.kind == "mse"
        self._apply, self._loss = apply, LOSSES[loss] if isinstance(loss, str) else loss
        self._compile()

    def __repr__(self) -> str:
        return f"JaxNetwork({self.kind or 'loss'}, {self.n_examples} examples)"

    def _compile(self) -> None:
        def objective(x: Any, a: Any, y: Any) -> Any:
            return self._loss(self._apply(self.tree(x), a), y)

        def inner(x: Any, a: Any, y: Any) -> Any:
            z = self._apply(self.tree(x), a)
            return (z - y) * (1 / math.sqrt(len(a))) if self.least_squares else z

        def phi(r: Any, y: Any) -> Any:
            return jnp.sum(r * r) / 2 if self.least_squares else self._loss(r, y)

        gradient, outer = jax.grad(objective), jax.grad(phi)

        def one(x: Any, a: Any, y: Any) -> Any:
            return gradient(x, a[None], y[None])

        self._value = jax.jit(objective)
        self._both = jax.jit(jax.value_and_grad(objective))
        self._hvp = jax.jit(lambda x, v, a, y: jax.jvp(lambda w: gradient(w, a, y), (x,), (v,))[1])
        self._each = jax.jit(jax.vmap(one, (None, 0, 0)))
        self._inner = jax.jit(inner)
        self._forward = jax.jit(lambda x, v, a, y: jax.jvp(lambda w: inner(w, a, y), (x,), (v,))[1])
        self._reverse = jax.jit(lambda x, u, a, y: jax.vjp(lambda w: inner(w, a, y), x)[1](u)[0])
        self._outer = jax.jit(lambda x, a, y: outer(inner(x, a, y), y))
        self._outer_product = jax.jit(
            lambda x, u, a, y: jax.jvp(lambda r: outer(r, y), (inner(x, a, y),), (u,))[1]
        )

    def examples(self, x: Params, batch: Any = None) -> tuple[Any, Any]:
        """Return inputs and targets of a batch, or of all examples, in the dtype of x where they are not integers."""
        dtype = next(iter(leaves(x).values())).dtype
        chosen = slice(None) if batch is None else np.asarray(batch)
        return tuple(
            jnp.asarray(d[chosen], dtype=dtype if d.dtype.kind == "f" else None)
            for d in (self._inputs, self._targets)
        )

    def value(self, x: Params, batch: Any = None) -> Any:
        """Return f(x), a 0-d array."""
        return back(self._value(into(x), *self.examples(x, batch)), x)

    def grad(self, x: Params, batch: Any = None) -> Params:
        """Return its gradient."""
        return self.value_and_grad(x, batch)[1]

    def value_and_grad(self, x: Params, batch: Any = None) -> tuple[Any, Params]:
        """Return both from one pass."""
        f, g = self._both(into(x), *self.examples(x, batch))
        return back(f, x), back(g, x)

    def hvp(self, x: Params, v: Params, batch: Any = None) -> Params:
        """Return the Hessian of f at x times v."""
        return back(self._hvp(into(x), into(v), *self.examples(x, batch)), x)

    def example_grads(self, x: Params, batch: Any = None) -> Params:
        """Return each example's gradient on a new first axis."""
        return back(self._each(into(x), *self.examples(x, batch)), x)

    def residual(self, x: Params, batch: Any = None) -> Any:
        """Return r(x)."""
        return back(self._inner(into(x), *self.examples(x, batch)), x)

    def jvp(self, x: Params, v: Params, batch: Any = None) -> Any:
        """Return the Jacobian of r at x times v."""
        return back(self._forward(into(x), into(v), *self.examples(x, batch)), x)

    def vjp(self, x: Params, u: Any, batch: Any = None) -> Params:
        """Return the transposed Jacobian of r at x times u."""
        return back(self._reverse(into(x), into(u), *self.examples(x, batch)), x)

    def loss_gradient(self, x: Params, batch: Any = None) -> Any:
        """Return the gradient of phi at r(x)."""
        return back(self._outer(into(x), *self.examples(x, batch)), x)

    def loss_hessian(self, x: Params, u: Any, batch: Any = None) -> Any:
        """Return the Hessian of phi at r(x) times u."""
        return back(self._outer_product(into(x), into(u), *self.examples(x, batch)), x)
