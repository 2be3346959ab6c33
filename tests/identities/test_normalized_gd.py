"""Normalised gradient descent at beta = 0 and 1."""

from __future__ import annotations

import numpy as np
import refopt

from tests.streams import stream


def test_ends() -> None:
    """beta = 0: gradient descent; beta = 1: a step of length lr along the gradient; clipped: both."""
    x, gradients = stream(0, "ill", steps=10, shapes={"w": (3, 4)})
    plain, sgd = refopt.optimizer("normalized-gd", lr=0.1, beta=0.0), refopt.optimizer("sgd", lr=0.1)
    whole = refopt.optimizer("normalized-gd", lr=0.1)
    steepest = refopt.optimizer("steepest-descent", lr=0.1, norm="frobenius", dual_scaled=False)
    for g in gradients:
        np.testing.assert_array_equal(
            plain.update(x, g, {"t": 0})[0]["w"], sgd.update(x, g, sgd.init(x))[0]["w"]
        )
        np.testing.assert_allclose(
            whole.update(x, g, {"t": 0})[0]["w"],
            steepest.update(x, g, {"t": 0})[0]["w"],
            rtol=1e-13,
            atol=1e-14,
        )
    clipped = refopt.optimizer("normalized-gd", lr=0.1, least=2.0, added=1.0)
    for g, want in (([0.3, 0.4], 2.0), ([3.0, 4.0], 6.0)):
        np.testing.assert_allclose(
            clipped.update(np.zeros(2), np.array(g), {"t": 0})[0], -0.1 * np.array(g) / want, rtol=1e-14
        )
