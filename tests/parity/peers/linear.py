"""Linear solvers beside SciPy, PyAMG and thermox."""

from __future__ import annotations

import numpy as np
import refopt
from refopt.core.registry import entry
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


def _pyamg_systems(seed: int) -> dict[str, tuple]:
    """Name -> A, b, x0, passes: dense and complex (its rounding grows later on), and a grid's matrix."""
    return {"hermitian": (*_hermitian(seed), 10), "poisson": (*_poisson(seed), None, 25)}


def _cg_every_eighth(seed: int) -> Arrays:
    out: Arrays = {}
    settings = dict(entry("cg").dialects["pyamg"].settings)
    for name, (A, b, x0, passes) in _pyamg_systems(seed).items():
        iterates: list[np.ndarray] = []
        r = refopt.get("cg")(
            A, b, x0, rtol=1e-9, maxiter=passes, callback=lambda x: iterates.append(x.copy()), **settings
        )
        out |= {f"{name}-x": np.array(iterates), f"{name}-residuals": r.residuals}
    return out


def _pyamg_cg(seed: int) -> Arrays:
    from pyamg.krylov import cg

    out: Arrays = {}
    for name, (A, b, x0, passes) in _pyamg_systems(seed).items():
        iterates: list[np.ndarray] = []
        residuals: list[float] = []
        cg(
            A, b, x0, tol=1e-9, maxiter=passes, residuals=residuals,
            callback=lambda x: iterates.append(x.copy()),
        )  # fmt: skip
        out |= {f"{name}-x": np.array(iterates), f"{name}-residuals": np.array(residuals)}
    return out


def _pcg_every_eighth(seed: int) -> Arrays:
    A, b = _poisson(seed)
    iterates: list[np.ndarray] = []
    settings = dict(entry("pcg").dialects["pyamg"].settings)
    r = refopt.get("pcg")(
        A, b, preconditioner="ssor", omega=1.0, rtol=1e-6,
        callback=lambda x: iterates.append(x.copy()), **settings,
    )  # fmt: skip
    return {"x": np.array(iterates), "residuals": r.residuals}


def _pyamg_pcg(seed: int) -> Arrays:
    from pyamg.krylov import cg

    A, b = _poisson(seed)
    dense = A.toarray()
    D, L = np.diag(np.diag(dense)), np.tril(dense, -1)
    M = np.linalg.inv((D + L) @ np.linalg.inv(D) @ (D + L).T)
    iterates: list[np.ndarray] = []
    residuals: list[float] = []
    cg(A, b, M=M, tol=1e-6, residuals=residuals, callback=lambda x: iterates.append(x.copy()))
    return {"x": np.array(iterates), "residuals": np.array(residuals)}


def _langevin(seed: int) -> Arrays:
    """thermox's process with this library's normal numbers; a diagonal A leaves no sign to LAPACK."""
    settings = dict(entry("thermodynamic").dialects["thermox"].settings)
    A = np.diag([0.2, 0.7, 1.5, 4.0])
    b = np.random.default_rng(seed).standard_normal(4)
    r = refopt.get("thermodynamic")(A, b, steps=200, seed=seed, **settings)
    started = refopt.get("thermodynamic")(A, b, np.ones(4), steps=200, seed=seed, **settings)
    return {"zeros": r.x, "ones": started.x}


CASES = [
    Case(
        "cg",
        "pyamg",
        "pyamg",
        _cg_every_eighth,
        _pyamg_cg,
        says="PyAMG's cg, residuals too: 10 passes on a complex Hermitian system, 25 on a grid's, to 1e-12.",
    ),
    Case(
        "pcg",
        "pyamg",
        "pyamg",
        _pcg_every_eighth,
        _pyamg_pcg,
        says="Every iterate and residual of PyAMG's cg with that M at omega 1 to 1e-12.",
    ),
    Case(
        "thermodynamic",
        "thermox",
        "normal-computing/thermox@0.0.6",
        _langevin,
        None,
        says="thermox's solve with the same normal numbers, a diagonal A, 200 samples, both starts, to 1e-12.",
    ),
    Case(
        "cg",
        "scipy-hermitian",
        "scipy",
        _cg,
        _scipy_cg,
        says="12 iterates of scipy.sparse.linalg.cg on a Hermitian system to 1e-12.",
    ),
    Case(
        "pcg",
        "scipy-ssor",
        "scipy",
        _pcg,
        _scipy_pcg,
        says="10 iterates of scipy.sparse.linalg.cg with a dense SSOR inverse as M to 1e-12.",
    ),
]
