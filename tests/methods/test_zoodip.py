"""ZO-subspace: Adam before the first decomposition, what is removed, and what is kept."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.methods.values import Cubic, H, X, at


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
