"""Identities of the Bures-Wasserstein batch normalisation."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.core.errors import ArgumentError, ConvergenceError
from refopt.matrix.bures import bures_wasserstein_distance
from refopt.matrix.bures_mean import bures_wasserstein_mean
from refopt.matrix.spd_batchnorm import (
    BuresBatchNorm,
    RunningStatistics,
    transport_from_identity,
    transport_to_identity,
)
from refopt.matrix.spd_geometry import spd_inner

from tests.methods.test_bures import spd


def test_transport_is_an_isometry():
    """The metric tensor is kept both ways, and the two maps undo each other."""
    rng = np.random.default_rng(0)
    G, U = spd(rng, 4), rng.standard_normal((4, 4))
    U = U + U.T
    V = transport_to_identity(G, U)
    want = spd_inner(G, U, U, "bures-wasserstein")
    np.testing.assert_allclose(spd_inner(np.eye(4), V, V, "bures-wasserstein"), want, rtol=1e-12)
    np.testing.assert_allclose(transport_from_identity(G, V), U, atol=1e-13)


def test_diagonal_batches():
    """Commuting matrices: scalar batch normalisation of the roots, in closed form, M and theta included."""
    rng = np.random.default_rng(1)
    x = rng.uniform(1, 2, (6, 3))
    w, m, theta, scale = np.array([1.0, 2.0, 0.5]), np.array([1.0, 0.5, 2.0]), 0.5, 0.4
    diagonal = lambda rows: np.stack([np.diag(r) for r in rows])  # noqa: E731
    norm = BuresBatchNorm(theta=theta)
    M, W = np.diag(m), np.diag(w)
    got, running = norm.train(diagonal(x), W, norm.init(np.eye(3)), scale=scale, M=M)
    root = np.sqrt(x**theta / m)
    mean = root.mean(axis=0)
    variance = np.sum((root - mean) ** 2) / 6 / theta**2
    # Log_G is 2 sqrt(g) (sqrt y - sqrt g); to I and on to W' it is 2 sqrt(w') (sqrt y - sqrt g) f.
    out = np.sqrt(w**theta / m) + scale / np.sqrt(variance + 1e-5) * (root - mean)
    np.testing.assert_allclose(got, diagonal((out**2 * m) ** (1 / theta)), atol=1e-12)
    np.testing.assert_allclose(running.variance, 0.9 + 0.1 * variance, rtol=1e-12)
    np.testing.assert_allclose(running.mean, np.diag((0.9 + 0.1 * mean) ** 2), atol=1e-12)


def test_centring_and_scale():
    """The output's mean is the identity and its dispersion about it s^2, near enough to I for both."""
    rng = np.random.default_rng(2)
    X = np.eye(3) + 0.05 * spd(rng, 8, 3)
    norm = BuresBatchNorm(eps=0.0)
    Y, _ = norm.train(X, np.eye(3), norm.init(np.eye(3)), scale=0.3)
    distances = bures_wasserstein_distance(np.broadcast_to(np.eye(3), Y.shape), Y, squared=True)
    np.testing.assert_allclose(np.mean(distances), 0.09, rtol=1e-10)
    np.testing.assert_allclose(bures_wasserstein_mean(Y), np.eye(3), atol=1e-10)


def test_equal_matrices_and_evaluation():
    """A batch of equal matrices lands on the bias; evaluation with the batch's statistics is training."""
    rng = np.random.default_rng(3)
    A, W, M = (spd(rng, 3) + 0.5 * np.eye(3) for _ in range(3))
    norm = BuresBatchNorm(theta=0.5, momentum=1.0)
    Y, _ = norm.train(np.stack([A, A]), W, norm.init(np.eye(3)), M=M)
    np.testing.assert_allclose(Y, np.stack([W, W]), atol=1e-11)
    X = A + 0.1 * spd(rng, 5, 3)
    Y, running = norm.train(X, W, norm.init(np.eye(3)), scale=0.2, M=M)
    np.testing.assert_allclose(norm.evaluate(X, W, running, scale=0.2, M=M), Y, atol=1e-10)


def test_official_switches():
    """Variance about I, one step of the mean; folding is an error, or what the code makes of it."""
    X = np.stack([np.diag([0.01, 1.0]), np.diag([4.0, 1.0])])
    root = np.array([0.1, 2.0])
    running = RunningStatistics(np.eye(2), np.array(1.0))
    about = BuresBatchNorm(variance_about="identity", mean_steps=1, momentum=1.0)
    _, updated = about.train(X, np.eye(2), running, scale=0.5)
    np.testing.assert_allclose(updated.variance, np.mean((root - 1) ** 2), rtol=1e-12)
    strict = BuresBatchNorm(eps=0.0)
    with pytest.raises(ConvergenceError, match="V"):
        strict.train(X, np.eye(2), running, scale=1.2)
    got, _ = BuresBatchNorm(eps=0.0, fold=True).train(X, np.eye(2), running, scale=1.2)
    np.testing.assert_allclose(got[:, 0, 0], (1 + 1.2 * np.array([-1.0, 1.0])) ** 2, rtol=1e-10)
    for options in ({"theta": 0.0}, {"momentum": 1.5}):
        with pytest.raises(ArgumentError, match=next(iter(options))):
            BuresBatchNorm(**options)
    with pytest.raises(ArgumentError, match="variance_about"):
        BuresBatchNorm(variance_about="zero")
