"""ZO-subspace: Adam before the first decomposition, what is removed, and what is kept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.methods.values import Cubic, H, Linear, X, at


@pytest.mark.identity("zo-subspace")
def test_adam_on_scaled_estimates() -> None:
    """Until the first decomposition it is Adam with ε = 1e-3 on Σ c z/(n sqrt((d + n - 1)/n)), to 1e-12: n + 1
    values a step.
    """
    p, n = Cubic(H, 0.7), 3
    own = {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "schedule": lambda t: 1 / t}
    o, adam = refopt.optimizer("zo-subspace", samples=n, **own), refopt.optimizer("adam", eps=1e-3, **own)
    twin = refopt.optimizer("two-point-gradient", samples=n, form="one-sided")
    x = y = X
    s, r, oracle, other = o.init(x), adam.init(y), Oracle(p, 1), Oracle(p, 1)
    for t in range(1, 9):
        oracle.begin(t), other.begin(t)
        x, s = o.step(x, s, oracle)
        y, r = adam.update(y, twin.estimate(other, y) / ((3 + n - 1) / n) ** 0.5, r)
        np.testing.assert_allclose(x, y, rtol=1e-12)
        np.testing.assert_array_equal(s["history"][t - 1], x)
    assert oracle.counts.calls == {"value": 32}


@pytest.mark.claim("zo-subspace")
def test_removed_directions() -> None:
    """The projected estimate has nothing of P (1e-14) and all of the rest; P's rows are orthonormal, the principal
    directions after the one that brings the share of the variance above 1 - ν; d' is smaller by their number.
    """
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    scales = np.array([10.0, 3.0, 0.1, 0.01, 0.0, 0.0])
    coefficients = np.linalg.qr(rng.standard_normal((8, 6)) - rng.standard_normal((8, 6)).mean(0))[0]
    coefficients = np.linalg.qr(coefficients - coefficients.mean(0))[0]
    history = 5.0 + (coefficients * scales) @ q.T
    for share, names in ((0.5, (1, 2, 3)), (1e-3, (2, 3)), (1e-6, (3,)), (0.0, ())):
        o = refopt.optimizer("zo-subspace", period=8, share=share, samples=2)
        removed = o.least(history)
        gone = removed[: len(names)]
        assert not removed[len(names) :].any()
        np.testing.assert_allclose(gone.T @ gone, q[:, names] @ q[:, names].T, atol=1e-8)
        if not names:
            continue
        p, x, z = Cubic(np.eye(6)), np.ones(6), rng.standard_normal((2, 6))
        got = o.estimate(x, removed, at(p, *z))
        plain = refopt.optimizer("two-point-gradient", radius=1e-3, samples=2, form="one-sided").estimate(
            at(p, *z), x
        )
        plain = plain / ((6 - len(names) + 1) / 2) ** 0.5
        np.testing.assert_allclose(gone @ got, 0.0, atol=1e-13)
        np.testing.assert_allclose(got, plain - gone.T @ (gone @ plain), rtol=1e-10, atol=1e-12)


@pytest.mark.identity("zo-subspace")
def test_standardized_history() -> None:
    """The official dialect decomposes the correlations: columns of standard deviation one, a constant one left as
    it is; to 1e-8 the eigenvectors of the correlation matrix.
    """
    rng = np.random.default_rng(1)
    history = (
        rng.standard_normal((10, 4)) @ rng.standard_normal((4, 4)) * np.array([1.0, 100.0, 0.01, 0.0]) + 3.0
    )
    o = refopt.optimizer("zo-subspace", dialect="official", period=10, share=0.2)
    removed = o.least(history)
    values, vectors = np.linalg.eigh(np.corrcoef(history[:, :3].T))
    shares = np.cumsum(values[::-1]) / values.sum()
    low = vectors[:, : 3 - 1 - int(np.argmax(shares > 0.8))]
    assert low.size
    np.testing.assert_allclose(removed[:, :3].T @ removed[:, :3], low @ low.T, atol=1e-8)
    np.testing.assert_allclose(removed[:, 3], 0.0, atol=1e-12)
    assert not o.least(np.ones((10, 4))).any()
    assert not refopt.optimizer("zo-subspace", period=10, share=0.0).least(history).any()
    # More iterates than coordinates, so that every direction has a variance: none goes at ν = 0.
    assert not refopt.optimizer("zo-subspace", period=10, share=0.0).least(rng.standard_normal((10, 4))).any()


@pytest.mark.identity("zo-subspace")
def test_refresh() -> None:
    """P is made anew at every τ-th step of the last τ iterates, which a ring holds, and not between; the step after
    it uses it.
    """
    p = refopt.problem("quadratic", n=6)
    o = refopt.optimizer("zo-subspace", period=4, share=0.3, lr=0.05)
    x, oracle, points = p.start(), Oracle(p, 2), []
    s = o.init(x)
    before = s["removed"]
    for t in range(1, 12):
        oracle.begin(t)
        old, m = x, s["m"]
        x, s = o.step(x, s, oracle)
        points.append(x)
        if t % 4 == 0:
            np.testing.assert_array_equal(s["removed"], o.least(np.array(points[-4:])))
            assert s["removed"].any()
        else:
            np.testing.assert_array_equal(s["removed"], before)
        twin = Oracle(p, 2)
        twin.begin(t)
        g = o.estimate(old, before, twin)
        np.testing.assert_allclose(s["m"], 0.9 * m + 0.1 * g, rtol=1e-9, atol=1e-12)
        before = s["removed"]


@pytest.mark.claim("zo-subspace")
def test_removed_directions_are_removed_noise() -> None:
    """Of f that does not change along P the estimate is denoised: E‖ĝ‖² is (d' + n + 1)/(d' + n - 1) ‖g‖² and
    E ĝ = g/((d' + n - 1)/n)^½, so that a sample's square over its mean's falls from d + 2 to d' + 2; of a gradient
    along P nothing is left. With d = 3, d' = 2 and 3, n = 1 and 2, by quadrature to 1e-10.
    """
    z, w = np.polynomial.hermite_e.hermegauss(3)
    one = [(a * b * c, np.array(p)) for (a, b, c), p in zip(
        itertools.product(w / w.sum(), repeat=3), itertools.product(z, repeat=3), strict=True
    )]  # fmt: skip
    q = np.linalg.qr(np.random.default_rng(5).standard_normal((3, 3)))[0]
    g = 1.5 * q[0] - 0.4 * q[1]
    for n, gone in ((1, 0), (1, 1), (2, 1)):
        removed = np.vstack([q[2:] if gone else np.zeros((1, 3)), np.zeros((3, 3))])
        o, mean, square, along = refopt.optimizer("zo-subspace", samples=n, period=4), np.zeros(3), 0.0, 0.0
        for parts in itertools.product(one, repeat=n):
            weight, drawn = float(np.prod([a for a, _ in parts])), [b for _, b in parts]
            got = o.estimate(np.zeros(3), removed, at(Linear(0.0, g), *drawn))
            mean, square = mean + weight * got, square + weight * float(got @ got)
            if gone and n == 1:
                along += weight * abs(o.estimate(np.zeros(3), removed, at(Linear(0.0, q[2]), *drawn)) @ q[2])
        left = 3 - gone
        np.testing.assert_allclose(mean, g / np.sqrt((left + n - 1) / n), atol=1e-10)
        np.testing.assert_allclose(square, (left + n + 1) / (left + n - 1) * (g @ g), rtol=1e-10)
        assert along < 1e-12
