"""What the paper claims of Sinkhorn-Newton-sparse.

Identities of Sinkhorn-Newton-sparse.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from refopt.core import errors
from refopt.core.arrays import to_numpy
from refopt.transport.sinkhorn_log import sinkhorn_log
from refopt.transport.sinkhorn_newton_sparse import (
    plan_of,
    potential,
    sinkhorn_newton_sparse,
    sparsify,
)

from tests.parity.peers.transport import _problem


@pytest.mark.claim("sinkhorn-newton-sparse")
def test_fewer_iterations() -> None:
    """Random assignment n = 500, eta = 1200: 20 Sinkhorn and at most 15 Newton passes to 1e-12, where
    Sinkhorn is above 1e-5 after 300.
    """
    C = np.random.default_rng(0).random((500, 500))
    newton = sinkhorn_newton_sparse(None, None, C, 1 / 1200, tol=1e-12)
    assert newton.status == "converged"
    assert newton.iterations <= 35
    assert newton.marginal_error < 1e-12
    plain = sinkhorn_log(None, None, C, 1 / 1200, tol=0.0, maxiter=300)
    assert plain.marginal_error > 1e-5


@pytest.mark.identity("sinkhorn-newton-sparse")
def test_derivatives() -> None:
    """The potential's gradient is the marginals' gap and minus the full Hessian the Newton matrix, by
    differences to 1e-6; keeping everything, errors fall as their power 1.8 or faster.
    """
    a, b, C = _problem(1, 5, 4)
    rng = np.random.default_rng(1)
    z, eta = 0.1 * rng.standard_normal(9), 8.0

    def value(z: np.ndarray) -> float:
        return potential(z[:5], z[5:], a, b, C, eta)

    def gap(z: np.ndarray) -> np.ndarray:
        P = plan_of(z[:5], z[5:], C, eta)
        return np.concatenate([a - P.sum(1), b - P.sum(0)])

    P = plan_of(z[:5], z[5:], C, eta)
    newton = eta * np.block([[np.diag(P.sum(1)), P], [P.T, np.diag(P.sum(0))]])
    steps = 1e-6 * np.eye(9)
    slopes = np.array([(value(z + h) - value(z - h)) / 2e-6 for h in steps])
    np.testing.assert_allclose(slopes, gap(z), rtol=1e-6, atol=1e-8)
    curvature = np.array([(gap(z + h) - gap(z - h)) / 2e-6 for h in steps])
    np.testing.assert_allclose(curvature, -newton, rtol=1e-6, atol=1e-7)
    # Everything kept: Newton's method, whose error squares from pass to pass near the end.
    errors_ = [
        sinkhorn_newton_sparse(a, b, C, 0.05, warmup=2, keep=100.0, tol=1e-15, maxiter=k).marginal_error
        for k in range(1, 6)
    ]
    assert errors_[-1] < 1e-13
    falling = [e for e in errors_ if e > 1e-12]
    assert all(later < 100 * early**1.8 for early, later in itertools.pairwise(falling))
    assert sparsify(P, 7).nnz == 7
    assert (
        sparsify(P, 7).toarray().min(where=sparsify(P, 7).toarray() > 0, initial=9.0)
        >= np.sort(P.ravel())[-7]
    )


def test_limits() -> None:
    a, b, C = _problem(2)
    stage = sinkhorn_newton_sparse(a, b, C, 0.02, warmup=7, maxiter=0)
    plain = sinkhorn_log(a, b, C, 0.02, tol=0.0, maxiter=7)
    np.testing.assert_allclose(stage.plan, plain.plan, rtol=1e-11)
    assert stage.iterations == 7
    r = sinkhorn_newton_sparse(a, b, C, 0.02)
    f, g = r.potentials
    np.testing.assert_allclose(r.plan, np.exp((f[:, None] + g - C) / 0.02), rtol=1e-11)
    warm = sinkhorn_newton_sparse(a, b, C, 0.02, warmup=0, potentials=r.potentials)
    assert warm.iterations == 0
    assert warm.status == "converged"


def test_every_library(xp: Any, dtype: str) -> None:
    a, b, C = (m.astype(dtype) for m in _problem(3))
    r = sinkhorn_newton_sparse(xp.asarray(a / a.sum()), xp.asarray(b / b.sum()), xp.asarray(C), 0.05)
    assert r.status == "converged"
    assert r.plan.dtype == xp.asarray(C).dtype
    want = sinkhorn_log(*_problem(3), 0.05, tol=1e-13).plan
    np.testing.assert_allclose(to_numpy(r.plan), want, atol=1e-5 if dtype == "float32" else 1e-9)


def test_bad_input() -> None:
    a, b, C = _problem(4)
    a[0] = 0
    for arguments, keywords, error in (
        ((a / a.sum(), b, C, 0.1), {}, errors.ArgumentError),
        ((None, b, C, 0.1), {"keep": 0.5}, errors.ArgumentError),
        ((None, b, C, 0.1), {"warmup": -1}, errors.ArgumentError),
        ((None, b, C[None], 0.1), {}, errors.ShapeError),
    ):
        with pytest.raises(error):
            sinkhorn_newton_sparse(*arguments, **keywords)
