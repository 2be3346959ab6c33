"""Prodigy with its distance held, and its switches."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream


@pytest.mark.identity("prodigy")
def test_fixed_distance_is_adam() -> None:
    """With bias correction, while d stays at d0, it is Adam with rate lr d0, eps beside the
    uncorrected root and decay at the corrected rate, to 1e-12.

    growth_rate = 1 after d0 is left once; here no estimate exceeds d0, so d stays and Adam is left.
    """
    d0, b1, b2, eps, lam = 50.0, 0.8, 0.7, 1e-2, 0.01
    x, gradients = stream(0, "random", steps=30)
    o = refopt.optimizer(
        "prodigy", lr=1e-3, d0=d0, beta1=b1, beta2=b2, eps=eps, weight_decay=lam, schedule=schedule,
        bias_correction=True,
    )  # fmt: skip
    # eps stands beside the uncorrected root, and decay is multiplied by the corrected rate.
    a = refopt.optimizer(
        "adam", lr=1e-3 * d0, beta1=b1, beta2=b2, eps=eps, eps_corrected=False, schedule=schedule
    )
    y, s, sa = x, o.init(x), a.init(x)
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        assert s["d"] == d0
        corrected = 1e-3 * d0 * schedule(t) * (1 - b2**t) ** 0.5 / (1 - b1**t)
        shrunk = {k: (1 - corrected * lam) * y[k] for k in y}
        step, sa = a.update(y, g, sa)
        y = {k: shrunk[k] + (step[k] - y[k]) for k in y}
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-12)
