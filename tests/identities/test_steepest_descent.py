"""Steepest descent is Adam, Shampoo, and gradient descent without their averages."""

from __future__ import annotations

import numpy as np
import refopt

from tests.streams import stream


def _step(name: str, g: object, **kwargs: object) -> dict[str, np.ndarray]:
    o = refopt.optimizer(name, **kwargs)
    x = {k: np.zeros_like(v) for k, v in g.items()}
    return o.update(x, g, o.init(x))[0]


def test_max_norm_is_adam_without_averages() -> None:
    """beta1 = beta2 = eps = 0 in Adam: sign descent."""
    _, gradients = stream(0, "ill", steps=5)
    for g in gradients:
        a = _step("steepest-descent", g, norm="max", lr=0.5, dual_scaled=False)
        b = _step("adam", g, lr=0.5, beta1=0.0, beta2=0.0, eps=0.0)
        for k in g:
            np.testing.assert_allclose(a[k], b[k], rtol=1e-15)


def test_spectral_norm_is_shampoo_without_averages() -> None:
    """A first step of Shampoo, (G G^T)^{-1/4} G (G^T G)^{-1/4}, as eps -> 0."""
    _, gradients = stream(0, "random", steps=5, shapes={"w": (3, 4), "v": (4, 2)})
    for g in gradients:
        a = _step("steepest-descent", g, norm="spectral", lr=0.5, dual_scaled=False)
        b = _step("shampoo", g, lr=0.5, eps=1e-9)
        for k in g:
            np.testing.assert_allclose(a[k], b[k], atol=1e-6)


def test_euclidean_norm_is_gradient_descent() -> None:
    """One leaf, dual-scaled, Frobenius: plain gradient descent."""
    _, gradients = stream(0, "ill", steps=5, shapes={"w": (3, 4)})
    for g in gradients:
        a = _step("steepest-descent", g, norm="frobenius", lr=0.5)
        np.testing.assert_allclose(a["w"], -0.5 * g["w"], rtol=1e-14)
