"""Losses of a model's outputs, each for one example: value, gradient, Hessian, labels from the model.

Outputs z and targets y have examples on the first axis. Every function is stable for any finite z in
its dtype, and analytic in z (complex z comes from a complex step).
"""

from __future__ import annotations

import numpy as np
from refopt.core.arrays import Array, like, namespace, to_numpy
from refopt.problems.common import real_part


def _decay(t: Array) -> tuple[Array, Array]:
    """Return ``exp(-|t|)``, with t's own sign taken at its real part, and where that is >= 0."""
    xp = namespace(t)
    positive = real_part(t) >= 0
    return xp.exp(xp.where(positive, -t, t)), positive


def sigmoid(t: Array) -> Array:
    """Return ``1 / (1 + exp(-t))`` without overflow and without cancellation."""
    xp = namespace(t)
    e, positive = _decay(t)
    return xp.where(positive, 1 / (1 + e), e / (1 + e))


def softplus(t: Array) -> Array:
    """Return ``log(1 + exp(t))`` without overflow and without cancellation."""
    xp = namespace(t)
    e, positive = _decay(t)
    return xp.where(positive, t, xp.zeros_like(t)) + xp.log1p(e)


class Logistic:
    """``l(z, y) = log(1 + exp(-y z))`` for y = ±1, z of shape (B,)."""

    least_squares = False

    @staticmethod
    def each(z: Array, y: Array) -> Array:
        """Return the loss of each example, shape (B,)."""
        return softplus(-y * z)

    @staticmethod
    def gradient(z: Array, y: Array) -> Array:
        """Return ``dl/dz = -y sigmoid(-y z)``."""
        return -y * sigmoid(-y * z)

    @staticmethod
    def hessian(z: Array, y: Array, u: Array) -> Array:
        """Return ``l''(z) u = sigmoid(z) sigmoid(-z) u``."""
        e, _ = _decay(z)
        return e / (1 + e) ** 2 * u

    @staticmethod
    def third(z: Array, y: Array, u: Array) -> Array:
        """Return ``l'''(z) u = -l''(z) tanh(z/2) u``."""
        return -namespace(z).tanh(z / 2) * Logistic.hessian(z, y, u)

    @staticmethod
    def sample(z: Array, rng: np.random.Generator) -> Array:
        """Draw y = 1 with probability sigmoid(z), else -1."""
        p = to_numpy(sigmoid(z))
        return like(np.where(rng.random(p.shape) < p, 1.0, -1.0), z)


def softmax(z: Array) -> Array:
    """Return ``exp(z) / sum(exp(z))`` along the last axis without overflow."""
    xp = namespace(z)
    e = xp.exp(z - xp.max(real_part(z), axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


class CrossEntropy:
    """``l(z, y) = log(sum(exp(z))) - y^T z`` for one-hot y, z of shape (B, C)."""

    least_squares = False

    @staticmethod
    def each(z: Array, y: Array) -> Array:
        """Return the loss of each example, shape (B,)."""
        xp = namespace(z)
        shifted = z - xp.max(real_part(z), axis=-1, keepdims=True)
        return xp.log(xp.sum(xp.exp(shifted), axis=-1)) - xp.sum(y * shifted, axis=-1)

    @staticmethod
    def gradient(z: Array, y: Array) -> Array:
        """Return ``dl/dz = softmax(z) - y``."""
        return softmax(z) - y

    @staticmethod
    def hessian(z: Array, y: Array, u: Array) -> Array:
        """Return ``(diag(p) - p p^T) u`` with p = softmax(z)."""
        xp = namespace(z)
        p = softmax(z)
        return p * (u - xp.sum(p * u, axis=-1, keepdims=True))

    @staticmethod
    def sample(z: Array, rng: np.random.Generator) -> Array:
        """Draw one-hot y from softmax(z)."""
        below = np.cumsum(to_numpy(softmax(z)), axis=-1)
        draw = rng.random((below.shape[0], 1)) * below[:, -1:]
        index = np.minimum((below <= draw).sum(axis=-1), below.shape[1] - 1)
        return like(np.eye(below.shape[1])[index], z)


class HalfSquares:
    """``l(z, y) = ||z - y||^2 / 2``, z of shape (B, C): minus the log-likelihood of unit variance."""

    least_squares = True

    @staticmethod
    def each(z: Array, y: Array) -> Array:
        """Return the loss of each example, shape (B,)."""
        return namespace(z).sum((z - y) * (z - y), axis=-1) / 2

    @staticmethod
    def gradient(z: Array, y: Array) -> Array:
        """Return ``dl/dz = z - y``."""
        return z - y

    @staticmethod
    def hessian(z: Array, y: Array, u: Array) -> Array:
        """Return u: the Hessian is the identity."""
        return u

    @staticmethod
    def sample(z: Array, rng: np.random.Generator) -> Array:
        """Draw y from the normal distribution of mean z and unit variance."""
        return z + like(rng.standard_normal(z.shape), z)
