"""The Handbook's theorems on the proximal gradient method."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import objective


def _problem(l2: float) -> object:
    return refopt.problem("logistic", l1=0.02, l2=l2)


def _run(p: object, steps: int) -> tuple[np.ndarray, list[np.ndarray]]:
    visited: list[np.ndarray] = []
    start = np.full(p.start().shape, 0.5)
    r = refopt.minimize(
        p, "proximal-gradient", start, steps=steps, callback=visited.append, record_every=steps
    )
    return r.x, [start, *visited]


@pytest.mark.claim("proximal-gradient")
def test_sublinear_bound() -> None:
    """convex: F(x_T) - F* <= |x_0 - x*|^2 / (2 lr T) at every T up to 300.

    F(x_T) - F* <= |x_0 - x*|² / (2 lr T), with lr = 1 / L.
    """
    p = _problem(0.0)
    best, _ = _run(p, 60_000)
    _, visited = _run(p, 300)
    f_best = objective(p, best)
    lr = 1 / p.lipschitz
    distance = float(np.sum((visited[0] - best) ** 2))
    for t in range(1, 301):
        assert objective(p, visited[t]) - f_best <= distance / (2 * lr * t)


@pytest.mark.claim("proximal-gradient")
def test_linear_bound() -> None:
    """Strongly convex: |x_t - x*|^2 <= (1 - lr mu)^t |x_0 - x*|^2, and F never increases.

    |x_t - x*|² <= (1 - lr mu)^t |x_0 - x*|²; F does not increase.
    """
    p = _problem(0.5)
    best, _ = _run(p, 4000)
    _, visited = _run(p, 200)
    factor = 1 - p.strong_convexity / p.lipschitz
    distance = [float(np.sum((x - best) ** 2)) for x in visited]
    for t, d in enumerate(distance):
        assert d <= factor**t * distance[0] * (1 + 1e-10) + 1e-24
    f = np.array([objective(p, x) for x in visited])
    assert np.all(np.diff(f) <= 4 * np.finfo(float).eps * f[0])
