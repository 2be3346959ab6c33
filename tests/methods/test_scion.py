"""The norm ball holds what is in it.

Scion and the methods it contains.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream

BALLS: dict[str, Callable[[np.ndarray], float]] = {
    "spectral": lambda T: float(np.sqrt(T.shape[1] / T.shape[0]) * np.linalg.norm(T, 2)),
    "sign": lambda T: float(T.shape[1] * np.max(np.abs(T))),
    "column": lambda T: float(T.shape[1] * np.max(np.sqrt(np.mean(T**2, axis=0)))),
    "row": lambda T: float(np.sqrt(T.shape[1]) * np.max(np.linalg.norm(T, axis=1))),
}


@pytest.mark.claim("scion")
@pytest.mark.parametrize("norm", list(BALLS))
def test_stays_in_the_ball(norm: str) -> None:
    """constrained: no iterate leaves the ball of radius rho, and from outside the excess shrinks by 1
    - lr a step.

    |x| <= rho once inside; the excess over rho shrinks by 1 - lr or more a step from outside.
    """
    rng = np.random.default_rng(0)
    size, rho, lr = BALLS[norm], 0.7, 0.2
    o = refopt.optimizer("scion", norm=norm, lr=lr, radius=rho, alpha=0.3)
    x = rng.standard_normal((4, 3))
    x = 2.0 * rho * x / size(x)
    s, reached = o.init(x), 0.0
    for _ in range(60):
        new, s = o.update(x, rng.standard_normal((4, 3)), s)
        assert size(new) - rho <= max((1 - lr) * (size(x) - rho), 0.0) + 1e-14
        x = new
    for _ in range(60):
        x, s = o.update(
            x, np.ones((4, 3)) * [[1.0], [1.0], [-1.0], [1.0]] + 0.1 * rng.standard_normal((4, 3)), s
        )
        reached = max(reached, size(x))
    # A lasting direction drives x to the boundary: the radius is the radius.
    assert 0.9 * rho < reached <= rho * (1 + 1e-14)


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
