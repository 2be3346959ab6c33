"""NAdamW's three forms against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream


@pytest.mark.identity("nadamw")
@pytest.mark.parametrize("form", ["next", "same", "schedule"])
def test_forms(form: str) -> None:
    """All three forms equal their formulas transcribed with Python floats, to 1e-13."""
    lr, b1, b2, eps, lam, psi = 0.02, 0.8, 0.7, 1e-2, 0.1, 0.3
    x, gradients = stream(3, "ill", steps=60, shapes={"w": (4,)})
    o = refopt.optimizer(
        "nadamw", lr=lr, beta1=b1, beta2=b2, eps=eps, weight_decay=lam, corrections=form, momentum_decay=psi,
        schedule=schedule,
    )  # fmt: skip
    s, theta, m, v, product = o.init(x), [float(e) for e in x["w"]], [0.0] * 4, [0.0] * 4, 1.0
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        mu, after = (b1 * (1 - 0.5 * 0.96 ** (k * psi)) for k in (t, t + 1))
        product *= mu
        for i in range(4):
            gi = float(g["w"][i])
            m[i] = b1 * m[i] + (1 - b1) * gi
            v[i] = b2 * v[i] + (1 - b2) * gi**2
            u = {
                "next": b1 * m[i] / (1 - b1 ** (t + 1)) + (1 - b1) * gi / (1 - b1**t),
                "same": (b1 * m[i] + (1 - b1) * gi) / (1 - b1**t),
                "schedule": after * m[i] / (1 - product * after) + (1 - mu) * gi / (1 - product),
            }[form]
            u /= math.sqrt(v[i] / (1 - b2**t)) + eps
            theta[i] -= lr * schedule(t) * (u + lam * theta[i])
        np.testing.assert_allclose(x["w"], theta, rtol=1e-13, atol=1e-14)
