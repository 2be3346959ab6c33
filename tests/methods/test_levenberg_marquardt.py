"""Levenberg-Marquardt's local convergence.

Levenberg-Marquardt against a dense transcription, and its limits.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle


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


X0 = np.array([-1.2, 1.0])


def _jacobian(p: object, x: np.ndarray) -> np.ndarray:
    return np.stack([p.jvp(x, e) for e in np.eye(2)], axis=1)


@pytest.mark.identity("levenberg-marquardt")
@pytest.mark.parametrize("rule", ["marquardt", "nielsen"])
@pytest.mark.parametrize("scaling", ["identity", "diagonal", "running-maximum"])
def test_transcription(rule: str, scaling: str) -> None:
    """25 steps equal a transcription with dense Jacobians, for both rules and all scalings, to 1e-8."""
    p = rosenbrock()
    visited: list[np.ndarray] = []
    refopt.minimize(p, "levenberg-marquardt", steps=25, rule=rule, scaling=scaling, callback=visited.append)
    x, top, nu = X0, np.zeros(2), 2.0
    lam = 1e-3 * np.max(np.diag(_jacobian(p, x).T @ _jacobian(p, x)))
    for got in visited:
        j, r = _jacobian(p, x), p.residual(x)
        diagonal = np.diag(j.T @ j)
        top = np.maximum(top, diagonal)
        d = {"identity": np.ones(2), "diagonal": diagonal, "running-maximum": top}[scaling]
        delta = np.linalg.solve(j.T @ j + lam * np.diag(d), -j.T @ r)
        rho = (p.value(x) - p.value(x + delta)) / (0.5 * delta @ (lam * d * delta - j.T @ r))
        if rho > 0:
            x = x + delta
            lam, nu = (lam / 10 if rule == "marquardt" else lam * max(1 / 3, 1 - (2 * rho - 1) ** 3)), 2.0
        else:
            lam, nu = (lam * 10 if rule == "marquardt" else lam * nu), 2 * nu
        np.testing.assert_allclose(got, x, rtol=1e-8, atol=1e-10)  # J^T J squares the condition number, 2500
        if p.value(x) < 1e-20:
            break


@pytest.mark.identity("levenberg-marquardt")
def test_model_decrease() -> None:
    """The linear model decreases by delta^T (lambda D delta - J^T r) / 2, to 1e-12.

    |r|²/2 - |r + J delta|²/2 is the gain's denominator, delta^T (lambda D delta - J^T r) / 2.
    """
    p, o = rosenbrock(), refopt.optimizer("levenberg-marquardt", damping=0.7)
    gram, gradient, value = o.linearise(X0, Oracle(p))
    delta = o.damped_step(gram, gradient, 0.7 * np.ones(2))
    linear = 0.5 * float(np.sum((p.residual(X0) + _jacobian(p, X0) @ delta) ** 2))
    predicted = 0.5 * float(delta @ (0.7 * delta - gradient))
    assert math.isclose(value - linear, predicted, rel_tol=1e-12)


@pytest.mark.identity("levenberg-marquardt")
def test_gauss_newton_limit() -> None:
    """With lambda = 0 the first step is the Gauss-Newton step of numpy.linalg.lstsq, to 1e-10.

    lambda = 0: the step is the least-squares solution of J delta = -r.
    """
    p, o = rosenbrock(), refopt.optimizer("levenberg-marquardt", damping=0.0)
    gram, gradient, _ = o.linearise(X0, Oracle(p))
    delta = o.damped_step(gram, gradient, np.zeros(2))
    want = np.linalg.lstsq(_jacobian(p, X0), -p.residual(X0), rcond=None)[0]
    np.testing.assert_allclose(delta, want, rtol=1e-10)
