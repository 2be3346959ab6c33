"""What is claimed of the inverse iterations: orders and step counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from refopt.core.errors import ConvergenceError
from refopt.matrix.inverse_newton import inverse_newton
from refopt.matrix.inverse_root import newton_root

from tests.identities.test_roots import with_eigenvalues


def _steps_needed(D, p):
    for steps in range(1, 60):
        try:
            H = newton_root(D, p, 1e-30, steps)
        except ConvergenceError:
            continue
        if np.abs(np.linalg.matrix_power(H, p) @ D - np.eye(len(D))).max() < 1e-4:
            return steps
    raise AssertionError("never")


@pytest.mark.claim("inverse-pth-root")
@pytest.mark.parametrize("p", [1, 2, 4, 8])
def test_root_step_counts(p):
    """From condition number 1e2 to 1e6 it needs ln(1e4) / (p ln((p + 1) / p)) more steps, within one,
    for p = 1, 2, 4, 8.

    k ~ ln(norm / lambda_min) / ln(((p + 1) / p)^p) + a constant: the slope over condition numbers.
    """
    growth = p * np.log((p + 1) / p)
    counts = [_steps_needed(with_eigenvalues(np.geomspace(1, 1 / kappa, 8))[0], p) for kappa in (1e2, 1e6)]
    expected = np.log(1e4) / growth
    assert abs((counts[1] - counts[0]) - expected) <= 1.0
    assert counts[0] <= np.log(1e2 * 1.5) / growth + 5


@pytest.mark.claim("inverse-newton")
@pytest.mark.parametrize(("kappa", "stated"), [(10.0, 14), (1e2, 20), (1e4, 33), (1e6, 46), (1e8, 59)])
def test_newton_inverse_step_counts(kappa, stated):
    """Steps to a residual of 1e-9 sqrt(kappa), n = 20: 14, 20, 33, 46, 59 or one less for kappa = 10,
    1e2, 1e4, 1e6, 1e8.

    Steps to a residual of 1e-9 sqrt(kappa) at n = 20: the stated ones or one less.
    """
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((20, 20)))[0] for _ in range(2))
    A = U * np.geomspace(1, 1 / kappa, 20) @ V.T

    def residual(steps):
        return np.linalg.norm(np.eye(20) - A @ inverse_newton(A, steps))

    bound = 1e-9 * np.sqrt(kappa)
    assert residual(stated - 2) > bound
    assert residual(stated) <= bound


def test_newton_inverse_is_quadratic():
    """Near the end every step squares the residual."""
    A, _ = with_eigenvalues([1.0, 2.0, 3.0])
    residuals = [np.linalg.norm(np.eye(3) - A @ inverse_newton(A, k), 2) for k in range(1, 9)]
    late = [(a, b) for a, b in itertools.pairwise(residuals) if 1e-7 < a < 0.5]
    assert len(late) >= 2
    for a, b in late:
        assert b == pytest.approx(a * a, rel=1e-2)
