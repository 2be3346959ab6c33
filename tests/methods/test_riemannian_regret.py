"""The regret bounds of the adaptive Riemannian methods, on Hadamard manifolds, with their constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

# Curvature bounds of the manifold as refopt has it.
SPACES: dict[str, tuple[Any, tuple[int, ...], float]] = {
    "poincare-ball": (refopt.manifold("poincare-ball"), (3,), -1.0),
    "hyperboloid": (refopt.manifold("hyperboloid"), (4,), -1.0),
    "spd": (refopt.manifold("spd"), (2, 2), -0.5),
}


@pytest.mark.claim("riemannian-amsgrad", "riemannian-adagrad")
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", ["riemannian-amsgrad", "riemannian-adagrad"])
def test_the_regret_bound(name: str, space: str) -> None:
    """Half squared distances to targets that are drawn anew, 120 rounds, β1 = 0, α/√t: at every T the regret against each target's mean
    is at most ``D² √(T v̂_T)/(2 α) + (ζ/2) Σ α_t ‖g_t‖²/√v̂_t`` (Theorem 1), for AdaGrad ``D² √S_T/(2 α) + (ζ α/2) Σ ‖g_t‖²/√S_t``
    (Theorem 2), ζ = D √|κ| coth(D √|κ|); every step is as long as the rate, the gradient and the divisor say (1e-9).
    """
    M, shape, curvature = SPACES[space]
    rng, alpha, beta2 = np.random.default_rng(0), 0.4, 0.9
    center = M.random(shape, 1)

    def near(scale: float) -> np.ndarray:
        u = M.random_tangent(center, rng)
        return M.exp(center, scale * u / M.norm(center, u))

    adagrad = name == "riemannian-adagrad"
    options: dict[str, Any] = {} if adagrad else {"beta1": 0.0, "beta2": beta2}
    rate = (lambda t: alpha) if adagrad else (lambda t: alpha / t**0.5)
    o = refopt.optimizer(name, manifold=M, lr=rate, **options)
    targets = [near(float(rng.uniform(0.1, 1.5))) for _ in range(120)]
    x = near(1.5)
    s, v, largest, total = o.init(x), 0.0, 0.0, 0.0
    points, under, squares = [], [], []
    for t, target in enumerate(targets, start=1):
        g = -M.log(x, target)  # the Riemannian gradient of d²/2
        # Of which Euclidean gradient it is: the metric's own.
        euclidean = np.linalg.lstsq(_tangent_map(M, x), g.ravel(), rcond=None)[0].reshape(shape)
        square = float(M.inner(x, g, g))
        v, total = beta2 * v + (1 - beta2) * square, total + square
        largest = max(largest, v)
        divisor = (total if adagrad else largest) ** 0.5
        new, s = o.update(x, euclidean, s)
        assert float(M.dist(x, new)) == pytest.approx(rate(t) * square**0.5 / divisor, rel=1e-9)
        points.append(x)
        under.append(divisor)
        squares.append(square)
        x = new
    losses = np.array([float(M.dist(p, z)) ** 2 / 2 for p, z in zip(points, targets)])
    steps = np.arange(1, 121)
    rates = np.full(120, alpha) if adagrad else alpha / steps**0.5
    for rival in (center, near(0.5), targets[3]):
        theirs = np.array([float(M.dist(rival, z)) ** 2 / 2 for z in targets])
        D = max(float(M.dist(rival, p)) for p in points)
        zeta = D * abs(curvature) ** 0.5 / np.tanh(D * abs(curvature) ** 0.5)
        regret = np.cumsum(losses - theirs)
        bound = D**2 * np.array(under) / (2 * rates) + zeta / 2 * np.cumsum(rates * np.array(squares) / under)
        assert np.all(regret <= bound)
        # Not by far: the last regret is above a fortieth of the bound against the best of them.
        if rival is center:
            assert regret[-1] > bound[-1] / 40


def _tangent_map(M: Any, x: np.ndarray) -> np.ndarray:
    """Columns: the Riemannian gradients of unit Euclidean ones."""
    eye = np.eye(x.size).reshape(x.size, *x.shape)
    return np.array([M.gradient(x, e).ravel() for e in eye]).T
