"""Two-layer ReLU networks, and the convex programme that has the same optimum (Pilanci and Ergen 2020)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from refopt.core.arrays import Array, lengths, namespace, to_numpy
from refopt.core.errors import ShapeError
from refopt.core.hyper import check_number
from refopt.core.params import Params
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, count, frozen, product, real_part, rows, square
from refopt.problems.data import load

PILANCI = Source("pilanci-2020-neural", "M. Pilanci, T. Ergen",
    "Neural Networks are Convex Regularizers: Exact Polynomial-time Convex Optimization Formulations for Two-layer Networks",
    arxiv="2002.10553")  # fmt: skip


def regression(data: Any, n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs (n, d) and targets (n,): given ones, or normal inputs and what a network of three neurons says of them,
    with noise of deviation 0.1.
    """
    if data is not None:
        inputs, targets = load(data)
        if targets.ndim != 1:
            raise ShapeError(f"data: wanted targets of shape (n,), got {targets.shape}")
        return frozen(inputs), frozen(targets)
    rng = generator(seed, "problem")
    inputs = rng.standard_normal((n, d))
    hidden = np.maximum(inputs @ rng.standard_normal((d, 3)), 0.0)
    return frozen(inputs), frozen(hidden @ rng.standard_normal(3) + 0.1 * rng.standard_normal(n))


@register("two-layer-relu", kind="problem", source=PILANCI, where="the non-convex training problem")
class TwoLayerReLU(Problem):
    """A two-layer ReLU network without biases, with the parameters ``{"W": (m, d), "a": (m,)}``.

    ``f = mean_i (Σ_j a_j relu(<w_j, x_i>) - y_i)²/2 + l2 (‖W‖² + ‖a‖²)/2``.

    As a composition ``r = (prediction - y)/√B`` and ``phi = ‖r‖²/2``, without the l2 term. The derivative of relu at 0 is
    taken as 0, its second derivative as 0 everywhere.

    Parameters
    ----------
    width : int
        m.
    l2 : float
        Weight decay, at least 0.
    n_examples, dimension : int
        n and d, where no data is given.
    data : pair of arrays or path, optional
        X (n, d) and y (n,); else normal inputs and the answers of three neurons with noise.
    seed : int
        Of these.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError, NonFiniteError
        A number out of its range, bad data.

    Examples
    --------
    >>> from refopt.problems.two_layer_relu import TwoLayerReLU
    >>> p = TwoLayerReLU(width=3)
    >>> {k: v.shape for k, v in p.grad(p.start()).items()}
    {'W': (3, 2), 'a': (3,)}
    """

    per_example = ("inputs", "targets")

    def __init__(
        self,
        width: int = 10,
        l2: float = 0.0,
        n_examples: int = 8,
        dimension: int = 2,
        data: Any = None,
        seed: int = 0,
    ) -> None:
        check_number(width, "int [1, inf)", "width")
        check_number(l2, "[0, inf)", "l2")
        check_number(n_examples, "int [1, inf)", "n_examples")
        check_number(dimension, "int [1, inf)", "dimension")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        self.inputs, self.targets = regression(data, n_examples, dimension, seed)
        self.n_examples, self.dimension = self.inputs.shape
        self.width, self.l2, self.least_squares = int(width), float(l2), l2 == 0
        self._shapes = {"W": (self.width, self.dimension), "a": (self.width,)}

    def start(self, seed: int = 0) -> Params:
        """Return weights of variance 1/d and 1/m."""
        rng = generator(seed, "start")
        return {k: rng.standard_normal(s) / math.sqrt(s[-1]) for k, s in self._shapes.items()}

    def _pass(self, x: Params, batch: np.ndarray | None) -> tuple[Array, Array, Array, Array]:
        """Return inputs, where neurons are on, their outputs, and r."""
        check_batch(batch, self.n_examples)
        check_point(x, self._shapes)
        inputs, y = rows(self, "inputs", x, batch), rows(self, "targets", x, batch)
        before = inputs @ x["W"].T
        on = namespace(before).astype(real_part(before) > 0, before.dtype)
        hidden = before * on
        return inputs, on, hidden, (hidden @ x["a"] - y) * self._root(batch)

    def _root(self, batch: np.ndarray | None) -> float:
        return 1.0 / math.sqrt(count(self, batch))

    @staticmethod
    def _back(inputs: Array, on: Array, hidden: Array, a: Array, u: Array) -> Params:
        """Return the gradient of u times the predictions."""
        return {"W": (on * (u[:, None] * a[None, :])).T @ inputs, "a": hidden.T @ u}

    def _decayed(self, g: Params, x: Params) -> Params:
        return {k: v + self.l2 * x[k] for k, v in g.items()} if self.l2 else g

    def value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return f(x)."""
        return square(self._pass(x, batch)[3]) / 2 + self.l2 / 2 * square(x)

    def grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient."""
        inputs, on, hidden, r = self._pass(x, batch)
        return self._decayed(self._back(inputs, on, hidden, x["a"], r * self._root(batch)), x)

    def directional(self, x: Params, v: Params, batch: np.ndarray | None = None) -> Array:
        """Return the derivative along v."""
        return product(self._pass(x, batch)[3], self.jvp(x, v, batch)) + self.l2 * product(x, v)

    def hvp(self, x: Params, v: Params, batch: np.ndarray | None = None) -> Params:
        """Return the Hessian times v, where no neuron is at its kink."""
        inputs, on, hidden, r = self._pass(x, batch)
        root = self._root(batch)
        gauss = self._back(inputs, on, hidden, x["a"], self.jvp(x, v, batch) * root)
        mixed = self._back(inputs, on, on * (inputs @ v["W"].T), v["a"], r * root)
        return self._decayed({k: g + mixed[k] for k, g in gauss.items()}, v)

    def example_grads(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of each example's loss and the decay, on a new first axis."""
        inputs, on, hidden, r = self._pass(x, batch)
        away = r / self._root(batch)
        each = {
            "W": (away[:, None] * on * x["a"][None, :])[:, :, None] * inputs[:, None, :],
            "a": away[:, None] * hidden,
        }
        return self._decayed(each, {k: v[None, ...] for k, v in x.items()})

    def residual(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return r(x), shape (B,)."""
        return self._pass(x, batch)[3]

    def jvp(self, x: Params, v: Params, batch: np.ndarray | None = None) -> Array:
        """Return the Jacobian of r times v."""
        check_point(v, self._shapes, "v")
        inputs, on, hidden, _ = self._pass(x, batch)
        return (hidden @ v["a"] + (on * (inputs @ v["W"].T)) @ x["a"]) * self._root(batch)

    def vjp(self, x: Params, u: Array, batch: np.ndarray | None = None) -> Params:
        """Return the transposed Jacobian of r times u."""
        inputs, on, hidden, r = self._pass(x, batch)
        _check_like(u, r)
        return self._back(inputs, on, hidden, x["a"], u * self._root(batch))

    def loss_gradient(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return r."""
        return self.residual(x, batch)

    def loss_hessian(self, x: Params, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return u."""
        _check_like(u, self.residual(x, batch))
        return u


def _check_like(u: Any, r: Array) -> None:
    if tuple(getattr(u, "shape", ())) != tuple(r.shape):
        raise ShapeError(f"u: wanted shape {tuple(r.shape)} like the residual, got {getattr(u, 'shape', ())}")


@register(
    "convex-relu",
    kind="problem",
    source=PILANCI,
    where="the convex programme, on sampled patterns",
)
class ConvexReLU(Problem):
    """The convex programme of a two-layer ReLU network: a group lasso with cones.

    ``‖Σ_i D_i X (v_i - w_i) - y‖²/(2n) + β Σ_i (‖v_i‖ + ‖w_i‖)``, (2 D_i - I) X v_i >= 0 and (2 D_i - I) X w_i >= 0.

    The D_i are the patterns ``diag(X u_i >= 0)`` of normal u_i, each once; x holds the v_i and the w_i, of shape (2, P, d).
    With all patterns its optimum is that of `two-layer-relu` with l2 = β and many neurons, which `network` gives.
    f is the first term, `penalty` and `prox` are of the second; `constraint` is the negative of what must not be negative.

    Parameters
    ----------
    beta : float
        β, at least 0.
    samples : int
        How many u_i are drawn, before doubles are left out.
    n_examples, dimension, data, seed
        As of `two-layer-relu`; the seed is also that of the u_i.

    Attributes
    ----------
    patterns : array of shape (P, n)
        Ones and zeros.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError, NonFiniteError
        A number out of its range, bad data.

    Examples
    --------
    >>> from refopt.problems.two_layer_relu import ConvexReLU
    >>> p = ConvexReLU(n_examples=6)
    >>> p.start().shape  # in the plane six lines make twelve patterns
    (2, 12, 2)
    """

    least_squares = True

    def __init__(
        self,
        beta: float = 0.1,
        samples: int = 400,
        n_examples: int = 8,
        dimension: int = 2,
        data: Any = None,
        seed: int = 0,
    ) -> None:
        check_number(beta, "[0, inf)", "beta")
        check_number(samples, "int [1, inf)", "samples")
        check_number(n_examples, "int [1, inf)", "n_examples")
        check_number(dimension, "int [1, inf)", "dimension")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        self.inputs, self.targets = regression(data, n_examples, dimension, seed)
        n, d = self.inputs.shape
        drawn = generator(seed, "tape").standard_normal((samples, d))
        self.beta, self.patterns = float(beta), frozen(np.unique(drawn @ self.inputs.T >= 0.0, axis=0))
        signs, P = 2.0 * self.patterns - 1.0, len(self.patterns)
        self._shapes = {"": (2, P, d)}
        on = self.patterns[:, :, None] * self.inputs
        self._map = frozen(np.stack([on, -on]).transpose(2, 0, 1, 3).reshape(n, -1) / math.sqrt(n))
        self._target = frozen(self.targets / math.sqrt(n))
        self._signed = frozen(signs[:, :, None] * self.inputs)

    def start(self, seed: int = 0) -> Array:
        """Return zeros, whatever the seed."""
        return np.zeros(self._shapes[""])

    def network(self, x: Array) -> Params:
        """Return the network ``{"W", "a"}`` whose predictions and weight decay are those of x where that is feasible."""
        groups = to_numpy(x).reshape(-1, self.inputs.shape[1]).astype(np.float64)
        sizes = np.linalg.norm(groups, axis=1)
        signs = np.repeat([1.0, -1.0], len(self.patterns))
        kept = sizes > 0.0
        root = np.sqrt(sizes[kept])
        return {"W": groups[kept] / root[:, None], "a": signs[kept] * root}

    def residual(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return r(x), shape (n,)."""
        check_batch(batch, None)
        check_point(x, self._shapes)
        return self._data("_map", x) @ namespace(x).reshape(x, (-1,)) - self._data("_target", x)

    def jvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the Jacobian of r times v."""
        self.residual(x, batch)
        check_point(v, self._shapes, "v")
        return self._data("_map", x) @ namespace(x).reshape(v, (-1,))

    def vjp(self, x: Array, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return the transposed Jacobian of r times u."""
        _check_like(u, self.residual(x, batch))
        return namespace(x).reshape(self._data("_map", x).T @ u, self._shapes[""])

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return ‖r‖²/2."""
        return square(self.residual(x, batch)) / 2

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return its gradient."""
        return self.vjp(x, self.residual(x, batch), batch)

    def hvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return its Hessian times v."""
        return self.vjp(x, self.jvp(x, v, batch), batch)

    def loss_gradient(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return r."""
        return self.residual(x, batch)

    def loss_hessian(self, x: Array, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return u."""
        _check_like(u, self.residual(x, batch))
        return u

    def _sizes(self, x: Array) -> Array:
        """Return the norms of the groups, shape (2, P, 1)."""
        return lengths(x, axis=-1, keepdims=True)

    def penalty(self, x: Array) -> Array:
        """Return ``β Σ ‖group‖``."""
        check_point(x, self._shapes)
        return self.beta * namespace(x).sum(self._sizes(x))

    def prox(self, x: Array, step: float) -> Array:
        """Return every group shortened by ``step β``, or zero where it is not longer."""
        check_point(x, self._shapes)
        xp, size, less = namespace(x), self._sizes(x), self.beta * step
        longer = size > less
        return xp.where(
            longer, x * (1.0 - less / xp.where(longer, size, xp.ones_like(size))), xp.zeros_like(x)
        )

    def constraint(self, x: Array) -> Array:
        """Return ``-(2 D_i - I) X v_i`` and ``-(2 D_i - I) X w_i``, shape (2 P n,)."""
        check_point(x, self._shapes)
        xp = namespace(x)
        return xp.reshape(-xp.sum(self._data("_signed", x)[None, ...] * x[:, :, None, :], axis=-1), (-1,))

    def constraint_vjp(self, x: Array, u: Array) -> Array:
        """Return the transposed Jacobian of the constraint times u."""
        _check_like(u, self.constraint(x))
        xp = namespace(x)
        by = xp.reshape(u, (2, *self.patterns.shape, 1))
        return -xp.sum(self._data("_signed", x)[None, ...] * by, axis=2)

    def constraint_hvp(self, x: Array, u: Array, v: Array) -> Array:
        """Return zeros: the constraint is linear."""
        _check_like(u, self.constraint(x))
        check_point(v, self._shapes, "v")
        return 0.0 * v
