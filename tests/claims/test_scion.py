"""The norm ball holds what is in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import refopt

BALLS: dict[str, Callable[[np.ndarray], float]] = {
    "spectral": lambda T: float(np.sqrt(T.shape[1] / T.shape[0]) * np.linalg.norm(T, 2)),
    "sign": lambda T: float(T.shape[1] * np.max(np.abs(T))),
    "column": lambda T: float(T.shape[1] * np.max(np.sqrt(np.mean(T**2, axis=0)))),
    "row": lambda T: float(np.sqrt(T.shape[1]) * np.max(np.linalg.norm(T, axis=1))),
}


@pytest.mark.claim("scion")
@pytest.mark.parametrize("norm", list(BALLS))
def test_stays_in_the_ball(norm: str) -> None:
    """constrained: no iterate leaves the ball of radius rho, and from outside the excess shrinks by 1
    - lr a step.

    |x| <= rho once inside; the excess over rho shrinks by 1 - lr or more a step from outside.
    """
    rng = np.random.default_rng(0)
    size, rho, lr = BALLS[norm], 0.7, 0.2
    o = refopt.optimizer("scion", norm=norm, lr=lr, radius=rho, alpha=0.3)
    x = rng.standard_normal((4, 3))
    x = 2.0 * rho * x / size(x)
    s, reached = o.init(x), 0.0
    for _ in range(60):
        new, s = o.update(x, rng.standard_normal((4, 3)), s)
        assert size(new) - rho <= max((1 - lr) * (size(x) - rho), 0.0) + 1e-14
        x = new
    for _ in range(60):
        x, s = o.update(
            x, np.ones((4, 3)) * [[1.0], [1.0], [-1.0], [1.0]] + 0.1 * rng.standard_normal((4, 3)), s
        )
        reached = max(reached, size(x))
    # A lasting direction drives x to the boundary: the radius is the radius.
    assert 0.9 * rho < reached <= rho * (1 + 1e-14)
