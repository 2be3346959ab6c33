"""The signal-to-noise ratio of SGD-SaI."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.optimizers.first_order.sgd_sai import signal_to_noise


@pytest.mark.claim("sgd-sai")
def test_ratio_identity() -> None:
    """eps = 0: G^2 = (n - 1) + n mean(g)^2 / s^2 exactly (1e-12), so G >= sqrt(n - 1).

    G² = (n - 1) + n mean² / s²: at least n - 1, and scale-free.
    """
    rng = np.random.default_rng(0)
    for n, shift in ((2, 0.0), (50, 0.3), (400, -2.0)):
        g = rng.standard_normal(n) + shift
        ratio = float(signal_to_noise(g, 0.0))
        assert ratio**2 == pytest.approx((n - 1) + n * g.mean() ** 2 / g.var(ddof=1), rel=1e-12)
        assert ratio >= np.sqrt(n - 1)
        assert float(signal_to_noise(1e3 * g, 0.0)) == pytest.approx(ratio, rel=1e-12)
