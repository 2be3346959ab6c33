"""Linear solvers beside SciPy."""

from __future__ import annotations

import numpy as np
from refopt.problems.linear_systems import poisson_2d, random_spd

from tests.parity.case import Arrays, Case


def _hermitian(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    A = random_spd(24, 50.0, seed=seed, complex_=True)
    b, x0 = (rng.standard_normal(24) + 1j * rng.standard_normal(24) for _ in range(2))
    return A, b, x0


def _cg(seed: int) -> Arrays:
    from refopt.linear.conjugate_gradient import cg

    A, b, x0 = _hermitian(seed)
    iterates: list[np.ndarray] = []
    cg(A, b, x0, rtol=0.0, maxiter=12, callback=lambda x: iterates.append(x.copy()))
    return {"x": np.array(iterates)}


def _scipy_cg(seed: int) -> Arrays:
    from scipy.sparse.linalg import cg

    A, b, x0 = _hermitian(seed)
    iterates: list[np.ndarray] = []
    cg(A, b, x0, rtol=0.0, maxiter=12, callback=lambda x: iterates.append(x.copy()))
    return {"x": np.array(iterates)}


def _poisson(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return poisson_2d(9), np.random.default_rng(seed).standard_normal(81)


def _pcg(seed: int) -> Arrays:
    from refopt.linear.conjugate_gradient import pcg

    A, b = _poisson(seed)
    iterates: list[np.ndarray] = []
    r = pcg(A, b, preconditioner="ssor", omega=1.4, rtol=1e-6, callback=lambda x: iterates.append(x.copy()))
    return {"x": np.array(iterates), "passes": np.array(r.iterations)}


def _scipy_pcg(seed: int) -> Arrays:
    from scipy.sparse.linalg import cg

    A, b = _poisson(seed)
    dense, omega = A.toarray(), 1.4
    D, L = np.diag(np.diag(dense)), np.tril(dense, -1)
    M = (D / omega + L) @ np.linalg.inv(D) @ (D / omega + L).T * omega / (2 - omega)
    iterates: list[np.ndarray] = []
    cg(A, b, M=np.linalg.inv(M), rtol=1e-6, callback=lambda x: iterates.append(x.copy()))
    return {"x": np.array(iterates), "passes": np.array(len(iterates))}


CASES = [
    Case("cg", "scipy-hermitian", "scipy", _cg, _scipy_cg),
    Case("pcg", "scipy-ssor", "scipy", _pcg, _scipy_pcg),
]
