"""What the ratios are."""

from __future__ import annotations

import numpy as np
from refopt.wrappers.vrgd import signal_to_noise


def _ratios(groups: np.ndarray, floor: float = 0.1) -> np.ndarray:
    return signal_to_noise(groups.mean(0), (groups**2).mean(0), floor)


def test_ratios() -> None:
    """Invariant to one factor a leaf, between floor and 1, falling with the noise; 0/0 as documented."""
    rng = np.random.default_rng(0)
    noise = np.array([0.2, 0.7, 1.0, 2.0, 5.0, 50.0])
    groups = 1.0 + noise * rng.standard_normal((64, 6))
    r = _ratios(groups, 0.01)
    np.testing.assert_array_equal(r, _ratios(1024.0 * groups, 0.01))
    assert np.all((r >= 0.01) & (r <= 1.0))
    assert np.all(np.diff(r) <= 0.0)
    assert r[0] == 1.0
    assert r[-1] == 0.01
    # A coordinate that is always zero, and one that never varies, beside two that do.
    groups = rng.standard_normal((8, 4)) + 0.5
    groups[:, 0], groups[:, 1] = 0.0, 3.0
    r = _ratios(groups)
    assert r[0] == 0.1
    assert r[1] == 1.0
    np.testing.assert_array_equal(r[2:], _ratios(groups[:, 2:]))
    # One group has no variance.
    np.testing.assert_array_equal(_ratios(np.array([[2.0, 0.0]])), [1.0, 0.1])
