"""XGrad on a quadratic."""

from __future__ import annotations

import numpy as np
import pytest
import refopt


@pytest.mark.claim("xgrad")
@pytest.mark.parametrize("ahead", [0.5, 1.0, 3.0])
def test_rate_on_a_quadratic(ahead: float) -> None:
    """On a quadratic 400 steps are the powers of the 2 x 2 iteration with g(x - lr s v), to 1e-10 of
    its radius' power.

    v' = mu v + h (x - lr s v), x' = x - lr v': the run is the powers of this iteration.
    """
    h, lr, mu = np.array([1.0, 8.0]), 0.05, 0.6
    p = refopt.from_functions(lambda x: float(0.5 * np.sum(h * x * x)), lambda x: h * x, x0=np.ones(2))
    visited: list[np.ndarray] = []
    refopt.minimize(
        p, "xgrad", base="momentum", rate_inside=False, momentum=mu, lr=lr, steps_ahead=ahead, steps=400,
        callback=visited.append,
    )  # fmt: skip
    for i, k in enumerate(h):
        a = np.array([[mu - k * lr * ahead, k], [-lr * (mu - k * lr * ahead), 1 - lr * k]])
        radius = float(np.abs(np.linalg.eigvals(a)).max())
        assert radius < 1
        for t in (1, 2, 10, 100, 400):
            want = (np.linalg.matrix_power(a, t) @ np.array([0.0, 1.0]))[1]
            # 400 products, each rounded, in an iteration that is not normal.
            assert abs(visited[t - 1][i] - want) <= 1e-10 * radius**t
