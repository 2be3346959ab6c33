"""Claims on FAdam and Gravity."""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt

from tests.streams import stream


@pytest.mark.claim("fadam")
@pytest.mark.parametrize("clip", [1.0, 0.3])
def test_fadam_steps_are_clipped(clip: float) -> None:
    """No step is longer than lr c (1 + λ) times sqrt(n), whatever the gradients.

    ‖step‖ <= lr c (1 + λ) sqrt(n) for every array; and it comes near to that.
    """
    lam, nearest = 0.5, 0.0
    for kind in ("ill", "flip"):
        x, gradients = stream(0, kind, steps=60)
        o = refopt.optimizer("fadam", lr=0.1, beta1=0.3, beta2=0.9, clip=clip, weight_decay=lam)
        s = o.init(x)
        for g in gradients:
            new, s = o.update(x, g, s)
            for k in x:
                bound = 0.1 * clip * (1 + lam) * math.sqrt(x[k].size)
                length = np.linalg.norm((new[k] - x[k]).ravel())
                assert length <= bound * (1 + 1e-12)
                nearest = max(nearest, length / bound)
            x = new
    assert nearest > 0.6


@pytest.mark.claim("gravity")
def test_gravity_damps_large_gradients() -> None:
    """A gradient entry moves x most at abs(g) = 1 / M, and the largest less than that where M > 1.

    ζ peaks at |g| = 1/M with 1/(2M); the largest entry gives M / (1 + M⁴), less than that for M > 1.
    """
    o = refopt.optimizer("gravity", lr=1.0, alpha=0.0, beta=0.0)
    m = 5.0
    g = np.r_[np.linspace(0.0, 1.0, 1001), m]
    x, _ = o.update(np.zeros(1002), g, o.init(np.zeros(1002)))
    zeta = -x / (1 - 1 / 3)  # β̂ = 1/3 at t = 1 and β = 0
    assert g[np.argmax(zeta)] == pytest.approx(1 / m, abs=1e-12)
    assert np.max(zeta) == pytest.approx(1 / (2 * m), rel=1e-14)
    assert zeta[-1] == pytest.approx(m / (1 + m**4), rel=1e-14)
    # a small gradient is taken as it is
    x, _ = o.update(np.zeros(2), np.array([1e-6, -3e-6]), o.init(np.zeros(2)))
    np.testing.assert_allclose(x, [-2e-6 / 3, 2e-6], rtol=1e-10)


@pytest.mark.claim("gravity")
def test_gravity_starts_with_noise() -> None:
    """Without gradients the first step has the standard deviation (beta + 1) / 3 alpha of V_0's
    noise.

    V_0 ~ N(0, (α/l)²): x_1 - x_0 has the deviation β̂_1 α, its own in every array and seed.
    """
    n = 40_000
    x = {"a": np.zeros(n), "b": np.zeros(n)}
    o = refopt.optimizer("gravity", lr=0.5, alpha=0.02)
    new, _ = o.update(x, x, o.init(x))
    for k in x:
        want = (0.9 + 1) / 3 * 0.02
        assert np.std(new[k]) == pytest.approx(want, rel=5 / math.sqrt(2 * n))  # five deviations
        assert abs(np.mean(new[k])) < 5 * want / math.sqrt(n)
    assert abs(np.corrcoef(new["a"], new["b"])[0, 1]) < 5 / math.sqrt(n)
    same, _ = o.update(x, x, o.init(x))
    np.testing.assert_array_equal(same["a"], new["a"])
    other = refopt.optimizer("gravity", lr=0.5, alpha=0.02, seed=1)
    assert np.max(np.abs(other.update(x, x, other.init(x))[0]["a"] - new["a"])) > 0.01
    still = refopt.optimizer("gravity", alpha=0.0)
    np.testing.assert_array_equal(still.update(x, x, still.init(x))[0]["a"], 0.0)
