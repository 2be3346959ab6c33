"""What the signal-to-noise ratio does to rates."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.wrappers.vrgd import signal_to_noise


@pytest.mark.claim("vrgd")
def test_rates_are_bounded() -> None:
    """Every coordinate's rate is in [gamma lr, lr]; scaling a tensor's gradients leaves r as it is
    (to the bit).
    """
    rng = np.random.default_rng(0)
    groups = list(rng.standard_normal((6, 5, 4)) + 0.3)
    r = signal_to_noise(groups, 0.1)
    assert r.min() == 0.1
    assert r.max() == 1.0
    np.testing.assert_array_equal(r, signal_to_noise([64.0 * g for g in groups], 0.1))
    for zero in (np.zeros(3), np.array([1.0, 0.0, -2.0])):
        np.testing.assert_array_equal(signal_to_noise([zero, zero], 0.1), np.where(zero == 0, 0.1, 1.0))


@pytest.mark.claim("vrgd")
def test_noise_is_damped() -> None:
    """Coordinates of high signal-to-noise ratio get 1, those of pure noise about gamma."""
    rng = np.random.default_rng(1)
    groups = [np.concatenate([10.0 + rng.standard_normal(500), rng.standard_normal(500)]) for _ in range(16)]
    r = signal_to_noise(groups, 0.1)
    assert r[:500].mean() > 0.9
    assert np.mean(r[500:] == 0.1) > 0.99
