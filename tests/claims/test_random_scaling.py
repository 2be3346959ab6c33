"""The identity behind random scaling."""

from __future__ import annotations

import numpy as np
import pytest
import refopt


@pytest.mark.claim("randomly-scaled-sgdm")
def test_exponential_scaling_identity() -> None:
    """E[F(x + s D) - F(x)] = E<grad F(x + s D), D> for s ~ Exp(1): the drawn s obey it to 5 standard
    errors.

    F(z) = |z - 0.3| + z^4: E[F(x + sD) - F(x)] = E[F'(x + sD) D] for Exp(1), and not for s = 1.
    """
    x, d, n = -0.5, 0.9, 40_000

    def f(z: np.ndarray) -> np.ndarray:
        return np.abs(z - 0.3) + z**4

    def slope(z: np.ndarray) -> np.ndarray:
        return np.sign(z - 0.3) + 4 * z**3

    o = refopt.optimizer("randomly-scaled-sgdm", seed=5)
    s = np.array([o.scalars(t, {})["s"] for t in range(1, n + 1)])
    difference = f(x + s * d) - f(x) - slope(x + s * d) * d
    assert abs(difference.mean()) <= 5 * difference.std() / np.sqrt(n)
    assert abs(float(f(x + d) - f(x) - slope(np.array(x + d)) * d)) > 0.2
    # Exp(1): mean 1 and variance 1, within 5 standard errors (fourth central moment 9).
    assert abs(s.mean() - 1) <= 5 / np.sqrt(n)
    assert abs(s.var() - 1) <= 5 * np.sqrt(8 / n)
