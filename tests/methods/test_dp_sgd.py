"""DP-SGD: written out, its limits, its noise, and the accountant against published epsilons."""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator
from refopt.optimizers.private.accountant import epsilon, renyi
from refopt.optimizers.private.dp_sgd import clipped_sum

P = refopt.problem("logistic", l2=0.1, n_examples=40)
X = P.start(1) + 0.3


@pytest.mark.identity("dp-sgd")
def test_written_out() -> None:
    """Eight steps equal Algorithm 1 written out with the same draws, example by example, to 1e-12."""
    lr, C, sigma, q = 0.4, 1.5, 0.7, 0.3
    r = refopt.minimize(
        P, "dp-sgd", X, lr=lr, clip=C, noise=sigma, sampling_rate=q, schedule=lambda t: 1 / t, steps=8, seed=5
    )
    x, short, asked = X, 0, 0
    for t in range(1, 9):
        rng = generator(5, "method", t)
        chosen = np.flatnonzero(rng.random(40) < q)
        total = np.zeros_like(x)
        for i in chosen:
            g = P.grad(x, batch=np.array([i]))
            size = np.linalg.norm(g)
            short += size > C
            total += g * min(1.0, C / size)
        asked += len(chosen)
        x = x - lr / t * (total + sigma * C * rng.standard_normal(x.shape)) / (q * 40)
    np.testing.assert_allclose(r.x, x, rtol=1e-12)
    assert 0 < short < asked
    assert r.state["t"] == 8


@pytest.mark.identity("dp-sgd")
def test_limits() -> None:
    """Without noise, with a C that shortens nothing and q = 1, it is gradient descent (1e-12); over several leaves the
    norm is that of all of them together; an empty batch is noise alone.
    """
    a = refopt.minimize(P, "dp-sgd", X, lr=0.3, clip=1e6, noise=0.0, sampling_rate=1.0, steps=10)
    b = refopt.minimize(P, "sgd", X, lr=0.3, steps=10)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-12)
    each = {"a": np.array([[3.0, 0.0], [0.3, 0.0], [0.0, 0.0]]), "b": np.array([[[4.0]], [[0.4]], [[0.0]]])}
    got = clipped_sum(each, 1.0)
    np.testing.assert_allclose(got["a"], [0.6 + 0.3, 0.0], rtol=1e-14)
    np.testing.assert_allclose(got["b"], [[0.8 + 0.4]], rtol=1e-14)
    for unit in (1e200, 1e-200):
        np.testing.assert_allclose(
            clipped_sum(unit * np.array([[3.0, 4.0]]), unit), unit * np.array([0.6, 0.8])
        )
    apart = clipped_sum({"a": np.array([[-3e200, 1.0]]), "b": np.array([[1e-200]])}, 1.0)
    np.testing.assert_allclose(apart["a"], [-1.0, 1 / 3e200], rtol=1e-14)
    o = refopt.optimizer("dp-sgd", lr=1.0, clip=2.0, noise=0.5, sampling_rate=1e-12)
    oracle = Oracle(P, 3)
    oracle.begin(1)
    x, _ = o.step(X, o.init(X), oracle)
    rng = generator(3, "method", 1)
    rng.random(40)
    np.testing.assert_allclose(x - X, -rng.standard_normal(X.shape) * 0.5 * 2.0 / (1e-12 * 40), rtol=1e-12)
    assert oracle.counts.calls == {}


@pytest.mark.claim("dp-sgd")
def test_sensitivity() -> None:
    """One example more moves the sum by at most C, and by C where its gradient is longer (1e-12)."""
    rng = np.random.default_rng(0)
    g = rng.standard_normal((20, 6)) * np.geomspace(0.05, 10.0, 20)[:, None]
    for i in range(20):
        moved = np.linalg.norm(clipped_sum(g, 1.3) - clipped_sum(np.delete(g, i, 0), 1.3))
        assert moved == pytest.approx(min(1.3, np.linalg.norm(g[i])), rel=1e-12)


@pytest.mark.claim("dp-sgd")
def test_accountant() -> None:
    """The Rényi bound gives the ε of Opacus' accountant to six decimals: 1.711770, 6.712738, 6.034322 and 4.728507 in
    four settings, and its divergences at α = 2, 8, 32; each lies above the tight numerical ε (1.51537, 6.18772, 5.55547).
    """
    for q, sigma, T, want, tight in (
        (0.01, 1.1, 1000, 1.711770, 1.51537),
        (0.01, 1.0, 10000, 6.712738, 6.18772),
        (0.1, 2.0, 500, 6.034322, 5.55547),
        (1.0, 10.0, 100, 4.728507, 0.0),
    ):
        found = epsilon(q, sigma, T, 1e-5)
        assert found == pytest.approx(want, abs=1e-6)
        assert found > tight
    for a, want in ((2, 1.285101e-4), (8, 5.840703e-4), (32, 8.469416)):
        assert renyi(a, 0.01, 1.1) == pytest.approx(want, rel=1e-6)
    o = refopt.optimizer("dp-sgd", noise=1.1, sampling_rate=0.01)
    assert o.epsilon(1000, 1e-5) == epsilon(0.01, 1.1, 1000, 1e-5)
    assert refopt.optimizer("dp-sgd", noise=0.0).epsilon(1, 1e-5) == math.inf
    assert epsilon(0.1, 1.0, 0, 1e-5) == 0.0 and renyi(3.5, 0.0, 1.0) == 0.0


@pytest.mark.claim("dp-sgd")
def test_accountant_of_a_library() -> None:
    """Beside dp-accounting 0.6.0's Rényi accountant ε is no more, and at most 1e-4 of it less (its series stop earlier),
    and above its privacy loss distribution's, in four settings.
    """
    for q, sigma, T, delta, renyi_bound, tight in (
        (0.01, 1.1, 1000, 1e-5, 1.7117701662429012, 1.5153702481094293),
        (0.02, 0.8, 300, 1e-6, 5.1863199602367684, 4.489043515469937),
        (0.1, 2.0, 500, 1e-5, 6.034562203370491, 5.5554699547216435),
        (1.0, 10.0, 100, 1e-5, 4.728507067217623, 4.377178519105209),
    ):
        assert tight < epsilon(q, sigma, T, delta) <= renyi_bound * (1 + 1e-12)
        assert epsilon(q, sigma, T, delta) >= renyi_bound * (1 - 1e-4)


@pytest.mark.identity("dp-sgd")
def test_divergence_by_quadrature() -> None:
    """At whole and broken orders the divergence is log ∫ μ_0 ((1-q) + q μ_1/μ_0)^α / (α - 1) by quadrature (1e-8)."""
    for q, sigma in ((0.2, 1.5), (0.02, 0.8)):
        z = np.linspace(-40 * sigma, 40 * sigma + 20, 400_001)
        base = np.exp(-(z**2) / (2 * sigma**2)) / np.sqrt(2 * np.pi * sigma**2)
        mix = np.log((1 - q) + q * np.exp(np.minimum((2 * z - 1) / (2 * sigma**2), 600.0)))
        for a in (1.5, 2.0, 3.0, 4.7, 6.3):
            integral = np.sum(base * np.exp(a * mix)) * (z[1] - z[0])
            assert renyi(a, q, sigma) == pytest.approx(np.log(integral) / (a - 1), rel=1e-8)
