"""What the papers claim of quadratic and k-sparse transport."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
from refopt.transport.smooth_ot import (
    dual_objective,
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
