"""Lion against a literal transcription, and its degenerate case."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream


@pytest.mark.identity("lion")
def test_algorithm() -> None:
    """Equals the algorithm transcribed line by line with Python floats, to 1e-14."""
    eta, b1, b2, lam = 0.02, 0.7, 0.9, 0.1
    x, gradients = stream(3, "flip", steps=60, shapes={"w": (4,)})
    o = refopt.optimizer("lion", lr=eta, beta1=b1, beta2=b2, weight_decay=lam, schedule=schedule)
    s, theta, m = o.init(x), [float(v) for v in x["w"]], [0.0] * 4
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        for i in range(4):
            gi = float(g["w"][i])
            c = b1 * m[i] + (1 - b1) * gi
            sign = (c > 0) - (c < 0)
            theta[i] -= eta * schedule(t) * (sign + lam * theta[i])
            m[i] = b2 * m[i] + (1 - b2) * gi
        np.testing.assert_allclose(x["w"], theta, rtol=1e-14, atol=1e-14)


def test_equal_betas_are_sign_momentum() -> None:
    """beta1 = beta2: the step is -lr sign of the averaged gradient, the new average included."""
    x, gradients = stream(1, "random", steps=30, shapes={"w": (6,)})
    o = refopt.optimizer("lion", lr=0.5, beta1=0.8, beta2=0.8)
    s = o.init(x)
    for g in gradients:
        new, s = o.update(x, g, s)
        np.testing.assert_allclose(x["w"] - new["w"], 0.5 * np.sign(s["m"]["w"]), rtol=0, atol=1e-14)
        x = new
