"""NAdamW's first step and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import stream


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
    x, gradients = stream(1, "ill", steps=30)
    kwargs = {"lr": 0.1, "beta1": 0.0, "beta2": 0.7, "weight_decay": 0.1}
    a = refopt.optimizer("nadamw", corrections=form, **kwargs)
    b = refopt.optimizer("adamw", dialect="torch", **kwargs)
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-13, atol=1e-13)
