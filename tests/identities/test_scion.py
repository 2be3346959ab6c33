"""Scion and the methods it contains."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream


@pytest.mark.identity("scion")
def test_sign_is_signum() -> None:
    """Unconstrained sign norm is the sign of averaged momentum: Lion with equal betas, to 1e-13.

    Unconstrained, sign without 1 / d_in: Lion with equal betas (the sign of the average).
    """
    x, gradients = stream(0, "flip", steps=40, shapes={"w": (3, 4)})
    a = refopt.optimizer(
        "scion", lr=0.1, alpha=0.2, norm="sign", normalized=False, constrained=False, schedule=schedule
    )
    b = refopt.optimizer("lion", lr=0.1, beta1=0.8, beta2=0.8, schedule=schedule)
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        np.testing.assert_allclose(x["w"], y["w"], rtol=1e-13, atol=1e-13)


def test_constrained_is_unconstrained_with_decay() -> None:
    """Radius rho is decoupled decay 1 / rho at rate lr rho: here beside Muon without Nesterov momentum."""
    rho = 3.0
    x, gradients = stream(0, "random", steps=40, shapes={"w": (3, 4)})
    a = refopt.optimizer("scion", lr=0.02, alpha=0.1, radius=rho)
    b = refopt.optimizer(
        "muon", lr=0.02 * rho, weight_decay=1 / rho, momentum=0.9, nesterov=False, scale="spectral",
        coefficients="cubic", ns_steps=60, eps=0.0,
    )  # fmt: skip
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        # A polar factor's condition is that of the matrix, here below 1e3.
        np.testing.assert_allclose(x["w"], y["w"], atol=1e-10)
