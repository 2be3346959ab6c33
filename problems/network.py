"""Feedforward networks of linear layers, and every derivative that methods ask of them.

``a_0`` = inputs; ``s_l = a_{l-1} W_l^T + b_l``; ``a_l = act(s_l)``; the outputs z are the last s. Rows are
examples. Every derivative is written out: reverse for gradients, forward for the Jacobian, and
Pearlmutter's R-operator (the directional derivative of the whole reverse pass) for the Hessian.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ShapeError
from refopt.core.problem import Layer, Problem
from refopt.core.registry import Source
from refopt.problems.blocks import in_numbers
from refopt.problems.common import (
    check_batch,
    check_point,
    count,
    dense,
    frozen,
    product,
    real_part,
    rows,
    square,
)
from refopt.problems.losses import CrossEntropy, HalfSquares

Params = dict[str, Array]

HESSIAN_PRODUCT = Source(
    key="pearlmutter-1994-hessian",
    authors="Barak A. Pearlmutter",
    title="Fast Exact Multiplication by the Hessian",
    venue="Neural Computation 6(1), 147-160",
    doi="10.1162/neco.1994.6.1.147",
)
GELU = Source(
    key="hendrycks-2016-gelu",
    authors="Dan Hendrycks, Kevin Gimpel",
    title="Gaussian Error Linear Units (GELUs)",
    arxiv="1606.08415",
)

Activation = Callable[[Array], tuple[Array, Array, Array]]


def tanh(s: Array) -> tuple[Array, Array, Array]:
    """Return tanh(s) with its first and second derivative."""
    t = namespace(s).tanh(s)
    d = 1 - t * t
    return t, d, -2 * t * d


def relu(s: Array) -> tuple[Array, Array, Array]:
    """Return max(s, 0) with its derivatives; at the kink s = 0 both are taken as 0."""
    xp = namespace(s)
    on = xp.astype(real_part(s) > 0, s.dtype)
    return s * on, on, xp.zeros_like(s)


def gelu(s: Array) -> tuple[Array, Array, Array]:
    """Return ``s (1 + tanh(c (s + 0.044715 s^3))) / 2``, c = sqrt(2 / pi), with its derivatives.

    This is the tanh form, taken as the definition (not the one with the normal distribution
    function, from which it differs by up to 5e-4); its derivatives are exact.
    """
    c = math.sqrt(2 / math.pi)
    s2 = s * s
    t, d, dd = tanh(c * s * (1 + 0.044715 * s2))
    inner = c * (1 + 3 * 0.044715 * s2)
    first = (1 + t) / 2 + s * d * inner / 2
    second = d * inner + s * (dd * inner * inner + d * (6 * 0.044715 * c) * s) / 2
    return s * (1 + t) / 2, first, second


ACTIVATIONS: dict[str, Activation] = {"tanh": tanh, "relu": relu, "gelu": gelu}
LOSSES: dict[str, Any] = {"cross-entropy": CrossEntropy, "mse": HalfSquares}


class Pass:
    """One forward pass: each layer's inputs a and, between layers, act'(s) and act''(s)."""

    def __init__(self, network: Network, x: Params, batch: np.ndarray | None) -> None:
        a = rows(network, "inputs", x, batch)
        self.a, self.d1, self.d2 = [a], [], []
        for i, (weight, bias) in enumerate(network.names):
            s = a @ x[weight].T + x[bias]
            if i + 1 < len(network.names):
                a, d1, d2 = network.act(s)
                self.a.append(a)
                self.d1.append(d1)
                self.d2.append(d2)
        self.z = s
        self.y = rows(network, "targets", x, batch)

    def backward(self, network: Network, x: Params, delta: Array) -> list[Array]:
        """Return the gradients by each layer's s, given `delta`, that by the outputs."""
        deltas = [delta]
        for i in range(len(network.names) - 1, 0, -1):
            deltas.append((deltas[-1] @ x[network.names[i][0]]) * self.d1[i - 1])
        return deltas[::-1]

    def forward(self, network: Network, x: Params, v: Params) -> tuple[list[Any], list[Array]]:
        """Return the derivatives along v of each layer's inputs and of each layer's s."""
        ra: list[Any] = [None]  # the data do not move
        rs = []
        for i, (weight, bias) in enumerate(network.names):
            s = self.a[i] @ v[weight].T + v[bias]
            if i > 0:
                s = s + ra[i] @ x[weight].T
            rs.append(s)
            if i + 1 < len(network.names):
                ra.append(self.d1[i] * s)
        return ra, rs


@in_numbers
class Network(Problem):
    """Base of `softmax` and `mlp`: ``f(x) = mean_i loss(z(a_i; x), y_i) + l2 ||x||^2 / 2``.

    As a composition f = phi(r(x)) + the l2 term, which the inner map leaves out (add ``l2 I`` to a
    Gauss-Newton or Fisher matrix): for cross-entropy r is the outputs z, shape (B, C), and phi the
    mean loss; for "mse", r = (z - y) / sqrt(B) and phi(r) = ||r||^2 / 2, and `least_squares` is True
    as long as l2 = 0 (else f is not phi(r)).

    Attributes
    ----------
    names : list of (str, str)
        The names of each layer's W (out, in) and b (out,).
    widths : tuple of int
        From the inputs' to the outputs'.
    inputs, targets : array of shape (n, d), (n, C)
        Read-only; targets are one-hot for cross-entropy.
    """

    per_example = ("inputs", "targets")

    def _set(
        self,
        names: list[tuple[str, str]],
        widths: tuple[int, ...],
        activation: str,
        loss: str,
        inputs: np.ndarray,
        targets: np.ndarray,
        l2: float,
    ) -> None:
        self.names, self.widths, self.l2 = names, widths, float(l2)
        self.act, self.loss = ACTIVATIONS[activation], LOSSES[loss]
        self.inputs, self.targets = frozen(inputs), frozen(targets)
        self.n_examples = inputs.shape[0]
        self.least_squares = bool(self.loss.least_squares) and self.l2 == 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        for (weight, bias), fan_in, fan_out in zip(names, widths, widths[1:]):
            self._shapes[weight], self._shapes[bias] = (fan_out, fan_in), (fan_out,)

    def _pass(self, x: Params, batch: np.ndarray | None) -> Pass:
        check_point(x, self._shapes)
        check_batch(batch, self.n_examples)
        return Pass(self, x, batch)

    def _scale(self, batch: np.ndarray | None) -> float:
        """Return the factor of z in r."""
        return 1 / math.sqrt(count(self, batch)) if self.loss.least_squares else 1.0

    def _gather(self, a: list[Array], deltas: list[Array]) -> Params:
        """Return the gradients by W and b, summed over examples."""
        xp, out = namespace(deltas[0]), {}
        for (weight, bias), inputs, delta in zip(self.names, a, deltas):
            out[weight], out[bias] = delta.T @ inputs, xp.sum(delta, axis=0)
        return out

    def _regularised(self, g: Params, x: Params) -> Params:
        return {k: v + self.l2 * x[k] for k, v in g.items()} if self.l2 else g

    def predict(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return the outputs z, shape (B, C)."""
        return self._pass(x, batch).z

    def value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return f(x), a 0-d array."""
        return self._value(self._pass(x, batch), x)

    def _value(self, p: Pass, x: Params) -> Array:
        mean = namespace(p.z).mean(self.loss.each(p.z, p.y))
        return mean + self.l2 / 2 * square(x) if self.l2 else mean

    def grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of f."""
        return self._grad(self._pass(x, batch), x)

    def _grad(self, p: Pass, x: Params) -> Params:
        delta = self.loss.gradient(p.z, p.y) / p.z.shape[0]
        return self._regularised(self._gather(p.a, p.backward(self, x, delta)), x)

    def value_and_grad(self, x: Params, batch: np.ndarray | None = None) -> tuple[Array, Params]:
        """Return f(x) and its gradient from one forward pass."""
        p = self._pass(x, batch)
        return self._value(p, x), self._grad(p, x)

    def directional(self, x: Params, v: Params, batch: np.ndarray | None = None) -> Array:
        """Return the derivative of f at x along v, in one pass forward."""
        p = self._pass(x, batch)
        check_point(v, self._shapes, "v")
        along = p.forward(self, x, v)[1][-1]
        inner = namespace(p.z).sum(self.loss.gradient(p.z, p.y) * along) / p.z.shape[0]
        return inner + self.l2 * product(x, v) if self.l2 else inner

    def hvp(self, x: Params, v: Params, batch: np.ndarray | None = None) -> Params:
        """Return the Hessian of f at x times v, by the R-operator."""
        p = self._pass(x, batch)
        check_point(v, self._shapes, "v")
        n, (ra, rs) = p.z.shape[0], p.forward(self, x, v)
        delta, rdelta = self.loss.gradient(p.z, p.y) / n, self.loss.hessian(p.z, p.y, rs[-1]) / n
        xp, out = namespace(p.z), {}
        for i in range(len(self.names) - 1, -1, -1):
            weight, bias = self.names[i]
            out[weight] = rdelta.T @ p.a[i] + delta.T @ ra[i] if i else rdelta.T @ p.a[i]
            out[bias] = xp.sum(rdelta, axis=0)
            if i:
                back = delta @ x[weight]
                rback = rdelta @ x[weight] + delta @ v[weight]
                rdelta = rback * p.d1[i - 1] + back * p.d2[i - 1] * rs[i - 1]
                delta = back * p.d1[i - 1]
        return self._regularised({k: out[k] for k in self._shapes}, v)

    def example_grads(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of each ``f_i = loss_i + l2 ||x||^2 / 2`` on a new first axis."""
        p, out = self._pass(x, batch), {}
        deltas = p.backward(self, x, self.loss.gradient(p.z, p.y))
        for (weight, bias), inputs, delta in zip(self.names, p.a, deltas):
            out[weight], out[bias] = delta[:, :, None] * dense(inputs)[:, None, :], delta
        return self._regularised(out, {k: v[None, ...] for k, v in x.items()})

    def layers(
        self, x: Params, batch: np.ndarray | None = None, rng: np.random.Generator | None = None
    ) -> list[Layer]:
        """Return each layer's inputs and the gradients of each example's loss by its outputs.

        With `rng` the labels are drawn from the model: categorical for cross-entropy, normal of
        unit variance for "mse" (of which the half squares are minus the log-likelihood).
        """
        p = self._pass(x, batch)
        y = p.y if rng is None else self.loss.sample(p.z, rng)
        deltas = p.backward(self, x, self.loss.gradient(p.z, y))
        return [Layer(w, b, dense(a), d) for (w, b), a, d in zip(self.names, p.a, deltas)]

    def slopes(self, x: Params, batch: np.ndarray | None = None) -> list[Array]:
        """Return ``act'(s_l)`` of every layer but the last."""
        return self._pass(x, batch).d1

    def residual(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return r(x), shape (B, C): the outputs, or (z - y) / sqrt(B) for "mse"."""
        p = self._pass(x, batch)
        return (p.z - p.y) * self._scale(batch) if self.loss.least_squares else p.z

    def jvp(self, x: Params, v: Params, batch: np.ndarray | None = None) -> Array:
        """Return the Jacobian of r at x times v, like r."""
        check_point(v, self._shapes, "v")
        return self._pass(x, batch).forward(self, x, v)[1][-1] * self._scale(batch)

    def vjp(self, x: Params, u: Array, batch: np.ndarray | None = None) -> Params:
        """Return the transposed Jacobian of r at x times u, like x."""
        p = self._pass(x, batch)
        self._check_output(u, p)
        return self._gather(p.a, p.backward(self, x, u * self._scale(batch)))

    def loss_gradient(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return the gradient of phi at r(x), like r; without the l2 term."""
        p = self._pass(x, batch)
        return self.loss.gradient(p.z, p.y) * (
            self._scale(batch) if self.loss.least_squares else 1 / p.z.shape[0]
        )

    def loss_hessian(self, x: Params, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return the Hessian of phi at r(x) times u, like r; without the l2 term."""
        if self.loss.least_squares:
            check_point(x, self._shapes)
            return u
        p = self._pass(x, batch)
        self._check_output(u, p)
        return self.loss.hessian(p.z, p.y, u) / p.z.shape[0]

    @staticmethod
    def _check_output(u: Array, p: Pass) -> None:
        shape = tuple(getattr(u, "shape", ()))
        if shape != tuple(p.z.shape):
            raise ShapeError(f"u: wanted shape {tuple(p.z.shape)} like the residual, got {shape}")

    @property
    def dimension(self) -> int:
        """The number of parameters."""
        return sum(math.prod(shape) for shape in self._shapes.values())
