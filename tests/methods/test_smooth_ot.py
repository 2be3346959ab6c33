"""What the papers claim of quadratic and k-sparse transport.

Identities of quadratic and k-sparse transport.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from refopt.core import errors
from refopt.core.arrays import to_numpy
from refopt.transport.smooth_ot import (
    dual_objective,
    project_simplex,
    quadratic_ot,
    semi_dual_objective,
    sparse_ot,
)

from tests.parity.peers.transport import _problem


def linear_program(a: np.ndarray, b: np.ndarray, C: np.ndarray) -> float:
    n, m = C.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    found = scipy.optimize.linprog(
        C.ravel(), A_eq=np.vstack([rows, columns[:-1]]), b_eq=np.concatenate([a, b[:-1]]), method="highs"
    )
    return float(found.fun)


@pytest.mark.claim("quadratic-ot")
def test_limits() -> None:
    """Tends to unregularised transport (linear program, to 1e-6) and, for large reg, to a / m + b / n
    - 1 / (n m).
    """
    a, b, C = _problem(1, 7, 6)
    a, b = (m + 3 * m.mean() for m in (a, b))
    a, b = a / a.sum(), b / b.sum()  # so that the far limit is positive everywhere
    exact = linear_program(a, b, C)
    costs = [quadratic_ot(a, b, C, reg, tol=1e-8).cost for reg in (1.0, 0.1, 0.01)]
    assert costs[0] > costs[1] > costs[2] >= exact - 1e-7
    np.testing.assert_allclose(costs[2], exact, rtol=1e-6)  # exact for every reg below a positive one
    spread = a[:, None] / 6 + b / 7 - 1 / 42
    assert spread.min() > 0
    reg = 1e4
    far = quadratic_ot(a, b, C, reg, form="dual", tol=1e-8).plan
    # The cost moves the plan by its doubly centred part over reg.
    centred = C - C.mean(0) - C.mean(1)[:, None] + C.mean()
    np.testing.assert_allclose(far, spread - centred / reg, rtol=0, atol=1e-7)


@pytest.mark.claim("sparse-ot")
def test_sparsity() -> None:
    """At most k nonzeros a column; k = 1 is the unregularised semi-dual plus a constant to 1e-13; the
    optimal value rises as k falls.
    """
    a, b, C = _problem(2)
    rng = np.random.default_rng(2)
    alpha, beta = 0.2 * rng.standard_normal(14), 0.2 * rng.standard_normal(11)
    values = []
    for k in (1, 2, 3, 14):
        for form in ("dual", "semi-dual"):
            r = sparse_ot(a, b, C, 0.3, sparsity=k, form=form, maxiter=300)
            assert int((r.plan > 0).sum(0).max()) <= k
        np.testing.assert_allclose(r.plan.sum(0), b, rtol=1e-12)  # the semi-dual's columns are exact
        values.append(semi_dual_objective(r.potentials[0], a, b, C, 0.3, k)[0])
        assert np.count_nonzero(dual_objective(alpha, beta, a, b, C, 0.3, k)[1], axis=0).max() <= k
    assert values[0] > values[1] > values[2] >= values[3] - 1e-9
    # k = 1: phi_j(s) = max_i s_i - reg b_j / 2, the unregularised semi-dual plus a constant.
    value, _ = semi_dual_objective(alpha, a, b, C, 0.3, 1)
    plain = alpha @ a - b @ (alpha[:, None] - C).max(0)
    np.testing.assert_allclose(value, plain + 0.3 / 2 * (b @ b), rtol=1e-13)
    # So its maximum is the linear program's value plus that constant; L-BFGS nears it from below.
    best = linear_program(a, b, C) + 0.3 / 2 * (b @ b)
    assert values[0] <= best + 1e-12
    assert values[0] > best - 0.05 * abs(best)


@pytest.mark.identity("quadratic-ot")
@pytest.mark.parametrize("form", ["dual", "semi-dual"])
def test_quadratic_optimality(form: str) -> None:
    """Optimality of the primal: T = [alpha + beta - C]_+ / reg with both marginals to 1e-6; dual and
    semi-dual agree; gradients by differences to 1e-6.
    """
    a, b, C = _problem(1)
    r = quadratic_ot(a, b, C, 0.4, form=form, tol=1e-8)
    f, g = r.potentials
    np.testing.assert_allclose(
        r.plan, np.maximum(f[:, None] + g - C, 0) / 0.4, rtol=0, atol=1e-12 * r.plan.max() * 100
    )
    np.testing.assert_allclose(r.plan.sum(1), a, rtol=0, atol=1e-6)
    np.testing.assert_allclose(r.plan.sum(0), b, rtol=0, atol=1e-6)
    other = quadratic_ot(a, b, C, 0.4, form="dual", tol=1e-8).plan
    np.testing.assert_allclose(r.plan, other, rtol=0, atol=1e-6)
    assert np.mean(r.plan == 0) > 0.2
    value = (r.plan * C).sum() + 0.2 * (r.plan**2).sum()
    np.testing.assert_allclose(r.value, value, rtol=1e-13)
    np.testing.assert_allclose(r.dual_value, value, rtol=1e-7)
    for unit in (1e-200, 1e200):
        scaled = quadratic_ot(a, b, unit * C, 0.4 * unit, form=form, tol=1e-8)
        np.testing.assert_allclose(scaled.plan, r.plan, rtol=0, atol=1e-7)
        np.testing.assert_allclose([scaled.value / unit, scaled.dual_value / unit], value, rtol=1e-7)
        np.testing.assert_allclose(
            scaled.potentials[0] / unit - scaled.potentials[0][0] / unit, f - f[0], rtol=0, atol=1e-6
        )
    thrice = quadratic_ot(3 * a, 3 * b, C, 0.4 / 3, form=form, tol=1e-8)
    np.testing.assert_allclose(thrice.plan, 3 * r.plan, rtol=0, atol=1e-6)
    assert thrice.marginal_error <= 3e-8 and quadratic_ot(a, b, C, 0.4, form=form).marginal_error <= 1e-5
    rng = np.random.default_rng(1)
    alpha, beta = rng.standard_normal(14), rng.standard_normal(11)
    for k in (None, 3):
        _, T = dual_objective(alpha, beta, a, b, C, 0.4, k)
        _, S = semi_dual_objective(alpha, a, b, C, 0.4, k)
        for h in 1e-6 * np.eye(14):
            slope = [dual_objective(alpha + s * h, beta, a, b, C, 0.4, k)[0] for s in (1, -1)]
            np.testing.assert_allclose(
                (slope[0] - slope[1]) / 2e-6, (a - T.sum(1)) @ h / 1e-6, rtol=1e-6, atol=1e-6
            )
            slope = [semi_dual_objective(alpha + s * h, a, b, C, 0.4, k)[0] for s in (1, -1)]
            np.testing.assert_allclose(
                (slope[0] - slope[1]) / 2e-6, (a - S.sum(1)) @ h / 1e-6, rtol=1e-6, atol=1e-6
            )
        for h in 1e-6 * np.eye(11):
            slope = [dual_objective(alpha, beta + s * h, a, b, C, 0.4, k)[0] for s in (1, -1)]
            np.testing.assert_allclose(
                (slope[0] - slope[1]) / 2e-6, (b - T.sum(0)) @ h / 1e-6, rtol=1e-6, atol=1e-6
            )


def _best_column(s: np.ndarray, weight: float, k: int) -> float:
    """Maximise ``y s - weight |y|^2 / 2`` over the simplex by trying every support of at most k."""
    best = -np.inf
    for size in range(1, k + 1):
        for support in itertools.combinations(range(s.size), size):
            part = s[list(support)]
            y = part / weight + (1 - part.sum() / weight) / size
            if y.min() >= 0:
                best = max(best, float(y @ part - weight / 2 * y @ y))
    return best


@pytest.mark.identity("sparse-ot")
def test_sparse_columns() -> None:
    """K = n is quadratic-ot; columns solve the k-sparse problem, by enumeration of supports to 1e-12."""
    a, b, C = _problem(2, 6, 5)
    rng = np.random.default_rng(2)
    for k in (1, 2, 3, 6):
        alpha = rng.standard_normal(6)
        value, _ = semi_dual_objective(alpha, a, b, C, 0.7, k)
        phi = [_best_column(alpha - C[:, j], 0.7 * b[j], k) for j in range(5)]
        np.testing.assert_allclose(value, alpha @ a - b @ np.array(phi), rtol=1e-12)
    for k in (6, 50):
        for form in ("dual", "semi-dual"):
            np.testing.assert_array_equal(
                sparse_ot(a, b, C, 0.7, sparsity=k, form=form).plan,
                quadratic_ot(a, b, C, 0.7, form=form).plan,
            )
    v = rng.standard_normal((6, 4))
    y = project_simplex(v)
    np.testing.assert_allclose(y.sum(0), 1, rtol=1e-14)
    for j in range(4):  # the projection: the residual is constant on the support and larger nowhere
        residual = (v - y)[:, j]
        np.testing.assert_allclose(residual[y[:, j] > 0], residual.max(), rtol=0, atol=1e-14)


def test_every_library(xp: Any, dtype: str) -> None:
    a, b, C = (m.astype(dtype) for m in _problem(3))
    given = xp.asarray(a / a.sum()), xp.asarray(b / b.sum()), xp.asarray(C)
    for r in (
        quadratic_ot(*given, 0.5),
        quadratic_ot(*given, 0.5, form="dual"),
        sparse_ot(*given, 0.5, sparsity=9),
    ):
        assert r.plan.dtype == r.potentials[1].dtype == given[2].dtype
    want = quadratic_ot(*_problem(3), 0.5, tol=1e-8).plan
    np.testing.assert_allclose(to_numpy(quadratic_ot(*given, 0.5).plan), want, rtol=0, atol=2e-5)
    assert quadratic_ot(*given, 0.5).status == "converged"
    a, b, C = _problem(4)
    a[1] = b[2] = 0
    r = quadratic_ot(a / a.sum(), b / b.sum(), C, 0.5)
    assert r.plan[:, 2].tolist() == [0.0] * 14
    np.testing.assert_allclose(r.plan[1].sum(), 0, atol=1e-5)


def test_bad_input() -> None:
    a, b, C = _problem(5)
    for keywords, error in (
        ({"form": "primal"}, errors.ArgumentError),
        ({"sparsity": 0}, errors.ArgumentError),
        ({"tol": -1.0}, errors.ArgumentError),
    ):
        with pytest.raises(error):
            sparse_ot(a, b, C, 0.1, **keywords)
    with pytest.raises(errors.ArgumentError, match="reg"):
        quadratic_ot(a, b, C, -0.1)
    assert quadratic_ot(a, b, C, 0.01, maxiter=1).status == "iterations"
    stalled = quadratic_ot(a, b, C, 0.1, tol=0.0)
    assert (
        stalled.marginal_error < 1e-12
        and "more passes do not" in stalled.message
        and stalled.iterations < 2000
    )
