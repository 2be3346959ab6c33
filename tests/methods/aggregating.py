"""What the tests of the aggregators share: several quadratics, and descent on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Aggregate = Callable[[np.ndarray], np.ndarray]


def quadratics(seed: int, m: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hessians (m, n, n), minima (m, n) and a start."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((m, n, n))
    hessians = factors @ factors.transpose(0, 2, 1) / n + 0.1 * np.eye(n)
    return hessians, rng.standard_normal((m, n)), 3.0 * rng.standard_normal(n)


def descent(
    aggregate: Aggregate, seed: int, m: int, n: int = 6, steps: int = 30, lr: float = 0.05
) -> np.ndarray:
    """All points of descent along the aggregated gradients of m quadratics."""
    hessians, minima, x = quadratics(seed, m, n)
    points = [x]
    for _ in range(steps):
        x = x - lr * aggregate(np.einsum("ijk,ik->ij", hessians, x - minima))
        points.append(x)
    return np.array(points)
