"""Multigrid through PyAMG: passes that do not grow with the grid. Runs where PyAMG is installed: `make parity`."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from refopt.core import errors
from refopt.linear.conjugate_gradient import cg, pcg
from refopt.linear.preconditioners import amg
from refopt.problems.linear_systems import diffusion_2d, poisson_2d, poisson_3d

pytest.importorskip("pyamg")


def _passes(A: scipy.sparse.csr_array, **options: str) -> int:
    b = np.random.default_rng(0).standard_normal(A.shape[0])
    r = pcg(A, b, preconditioner="amg", rtol=1e-8, **options)
    assert r.success
    np.testing.assert_allclose(np.linalg.norm(A @ r.x - b), r.residuals[-1], rtol=1e-3)
    return r.iterations


def test_passes_do_not_grow() -> None:
    """To 1e-8 on Poisson 2D from 32^2 to 256^2 points and 3D from 8^3 to 32^3: classical coarsening takes at most one pass
    more for each doubling and 10 in all, smoothed aggregation 18; cg doubles its passes with the side.
    """
    for grids in ([poisson_2d(n) for n in (32, 64, 128, 256)], [poisson_3d(n) for n in (8, 16, 32)]):
        classical = [_passes(A, coarsening="ruge-stuben") for A in grids]
        assert max(classical) <= 10 and np.all(np.diff(classical) <= 1), classical
        smoothed = [_passes(A) for A in grids]
        assert max(smoothed) <= 18 and np.all(np.diff(smoothed) <= 4), smoothed
    b = np.ones(64 * 64)
    assert (
        cg(poisson_2d(64), b, rtol=1e-8).iterations > 1.8 * cg(poisson_2d(32), b[:1024], rtol=1e-8).iterations
    )


def test_it_is_a_preconditioner() -> None:
    """Symmetric and positive definite, also for rough coefficients; the same answer twice, and NumPy's generator unmoved."""
    A = diffusion_2d(np.exp(2 * np.random.default_rng(1).standard_normal((12, 11))))
    for options in ({}, {"coarsening": "ruge-stuben"}, {"cycle": "W"}):
        M = amg(A, **options)
        dense = np.array([M.apply(e) for e in np.eye(132)])
        np.testing.assert_allclose(dense, dense.T, rtol=0, atol=1e-12 * np.abs(dense).max())
        assert np.linalg.eigvalsh((dense + dense.T) / 2)[0] > 0
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    runs = [pcg(A, np.ones(132), preconditioner="amg").x for _ in range(2)]
    np.testing.assert_array_equal(*runs)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    full = pcg(A.toarray(), np.ones(132), preconditioner="amg")
    np.testing.assert_allclose(full.x, runs[0], rtol=1e-10)


def test_bad_input() -> None:
    A, b = poisson_2d(6), np.ones(36)
    with pytest.raises(errors.ArgumentError, match="coarsening"):
        pcg(A, b, preconditioner="amg", coarsening="none")
    with pytest.raises(errors.ArgumentError, match="cycle"):
        pcg(A, b, preconditioner="amg", cycle="U")
    with pytest.raises(errors.HyperparameterError, match="omega"):
        pcg(A, b, preconditioner="amg", omega=1.0)
    with pytest.raises(errors.ArgumentTypeError, match="entries"):
        pcg(lambda v: v, b, preconditioner="amg")
