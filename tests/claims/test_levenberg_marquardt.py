"""Levenberg-Marquardt's local convergence."""

from __future__ import annotations

import numpy as np
import pytest
import refopt


def rosenbrock() -> object:
    """r = (10 (x2 - x1²), 1 - x1): the classical zero-residual problem."""

    def residual(x: np.ndarray) -> np.ndarray:
        return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])

    def jacobian(x: np.ndarray) -> np.ndarray:
        return np.array([[-20 * x[0], 10.0], [-1.0, 0.0]])

    return refopt.from_functions(
        lambda x: 0.5 * float(np.sum(residual(x) ** 2)),
        lambda x: jacobian(x).T @ residual(x),
        residual=residual,
        jvp=lambda x, v: jacobian(x) @ v,
        vjp=lambda x, u: jacobian(x).T @ u,
        least_squares=True,
        x0=np.array([-1.2, 1.0]),
    )


@pytest.mark.claim("levenberg-marquardt")
@pytest.mark.parametrize("rule", ["marquardt", "nielsen"])
def test_quadratic_convergence(rule: str) -> None:
    """Rosenbrock's zero residual, lambda near 0: the error is squared (at most 25 e^2) at every step.

    lambda near zero: the error is squared at every step; and lambda = 1 holds it back to a linear
    rate.
    """
    for damping, least in ((1e-12, 1.9), (1.0, 0.0)):
        errors: list[float] = []
        start = np.array([0.9, 0.95])
        r = refopt.minimize(
            rosenbrock(), "levenberg-marquardt", start, steps=8, rule=rule, damping=damping,
            callback=lambda x, errors=errors: errors.append(float(np.linalg.norm(x - 1))),
        )  # fmt: skip
        assert r.success
        e = np.array([0.05, *errors])
        e = e[(e > 1e-14) & (e < 0.5)]
        if least:
            assert e[-1] <= 25 * e[-2] ** 2
            assert errors[-1] < 1e-13
        else:
            assert errors[3] > 1e-6
