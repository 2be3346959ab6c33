"""XGrad on a quadratic."""

from __future__ import annotations

import numpy as np
import pytest
import refopt


@pytest.mark.parametrize("ahead", [0.5, 1.0, 3.0])
def test_rate_on_a_quadratic(ahead: float) -> None:
    """v' = mu v + h (x - lr s v), x' = x - lr v': the run contracts by the iteration's spectral radius."""
    h, lr, mu = np.array([1.0, 8.0]), 0.05, 0.6
    p = refopt.from_functions(lambda x: float(0.5 * np.sum(h * x * x)), lambda x: h * x, x0=np.ones(2))
    norms: list[float] = []
    refopt.minimize(
        p, "xgrad", base="momentum", rate_inside=False, momentum=mu, lr=lr, steps_ahead=ahead, steps=400,
        callback=lambda x: norms.append(float(np.linalg.norm(x))),
    )  # fmt: skip
    radius = 0.0
    for k in h:
        a = np.array([[mu - k * lr * ahead, k], [-lr * (mu - k * lr * ahead), 1 - lr * k]])
        radius = max(radius, float(np.abs(np.linalg.eigvals(a)).max()))
    n = 200
    assert (norms[-1] / norms[-1 - n]) ** (1 / n) == pytest.approx(radius, rel=2e-3)
    assert radius < 1
