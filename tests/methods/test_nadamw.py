"""NAdamW's first step and its limits.

NAdamW's three forms against their formulas.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import schedule, stream


@pytest.mark.claim("nadamw")
def test_first_step_and_limit() -> None:
    """The first step is lr (1 + beta1 / (1 + beta1)), larger than Adam's lr; timm's steps agree with
    it to 1e-13 after 380 of them.

    First step lr (1 + b1 / (1 + b1)); both library forms coincide as t grows; b1 = 0 is AdamW.
    """
    b1 = 0.9
    g = np.array([3.0, -0.1])
    o = refopt.optimizer("nadamw", lr=0.1, beta1=b1, eps=0.0, weight_decay=0.0)
    x = np.zeros(2)
    new, _ = o.update(x, g, o.init(x))
    assert new == pytest.approx(-0.1 * (1 + b1 / (1 + b1)) * np.sign(g), rel=1e-14)

    x, gradients = stream(0, "random", steps=400, shapes={"w": (6,)})
    common = {"lr": 0.1, "weight_decay": 0.0}
    a, b = refopt.optimizer("nadamw", **common), refopt.optimizer("nadamw", dialect="timm", **common)
    y, sa, sb, gaps = x, a.init(x), b.init(x), []
    for g in gradients:
        new_x, sa = a.update(x, g, sa)
        new_y, sb = b.update(y, g, sb)
        gaps.append(np.max(np.abs((new_x["w"] - x["w"]) - (new_y["w"] - y["w"]))))
        x, y = new_x, new_y
    assert gaps[0] > 1e-2
    assert max(gaps[-20:]) < 1e-13


@pytest.mark.parametrize("form", ["next", "same", "schedule"])
def test_without_momentum_it_is_adamw(form: str) -> None:
    """beta1 = 0: AdamW without momentum, in every form."""
    kwargs = {"lr": 0.1, "beta1": 0.0, "beta2": 0.7, "weight_decay": 0.1}
    a = refopt.optimizer("nadamw", corrections=form, **kwargs)
    b = refopt.optimizer("adamw", dialect="torch", **kwargs)
    assert_same_run(a, b, stream(1, "ill", steps=30), rtol=1e-13, atol=1e-13)


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
