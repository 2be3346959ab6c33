"""What the papers claim of conjugate gradients.

Identities of conjugate gradients and their preconditioners, in every library and dtype.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
from refopt.core import errors
from refopt.core.arrays import to_numpy
from refopt.linear.compiled import require_numba
from refopt.linear.conjugate_gradient import cg, pcg
from refopt.linear.preconditioners import Factored, ic0, jacobi, ssor
from refopt.problems.linear_systems import diffusion_2d, poisson_2d, poisson_3d, random_spd


@pytest.mark.claim("cg")
def test_chebyshev_bound() -> None:
    """Energy error within 2 ((sqrt(k) - 1) / (sqrt(k) + 1))^j of the start's at every pass, k = 100."""
    condition = 100.0
    A = random_spd(120, condition, seed=1)
    rng = np.random.default_rng(1)
    solution = rng.standard_normal(120)
    energies = [solution @ A @ solution]
    cg(
        A,
        A @ solution,
        rtol=1e-10,
        callback=lambda x: energies.append((x - solution) @ A @ (x - solution)),
    )
    errors = np.sqrt(energies)
    factor = (np.sqrt(condition) - 1) / (np.sqrt(condition) + 1)
    bound = 2 * factor ** np.arange(errors.size) * errors[0]
    assert errors.size > 60
    assert np.all(errors <= bound * (1 + 1e-9))
    assert np.all(np.diff(errors) < 0)  # the energy error falls at every pass
    assert errors[-1] < 1e-9 * errors[0]
    # The rate is nearly attained: a faster method would mean a wrong condition number in this test.
    assert errors[30] > 1e-3 * bound[30]


@pytest.mark.claim("cg")
@pytest.mark.parametrize("distinct", [1, 2, 3, 5])
@pytest.mark.parametrize("complex_", [False, True])
def test_finite_termination(distinct: int, complex_: bool) -> None:
    """Ends in as many passes as A has distinct eigenvalues (1, 2, 3, 5)."""
    values = np.linspace(1.0, 3.0, distinct)[np.arange(40) % distinct]
    A = random_spd(40, 3.0, seed=2, spectrum=values, complex_=complex_)
    b = np.random.default_rng(2).standard_normal(40)
    r = cg(A, b, rtol=1e-11)
    assert (r.status, r.iterations) == ("converged", distinct)
    if distinct > 1:
        assert r.residuals[-2] > 1e-4 * r.residuals[0]


@pytest.mark.claim("pcg")
def test_pass_counts() -> None:
    """Poisson 32 x 32 to 1e-8: 102 passes plain, 41 with SSOR(1), 23 with SSOR(1.7), 35 with IC(0)
    (each within one).
    """
    A = poisson_2d(32)
    b = np.random.default_rng(0).standard_normal(1024)
    counts = {
        "cg": cg(A, b, rtol=1e-8).iterations,
        "jacobi": pcg(A, b, rtol=1e-8).iterations,
        "ssor 1": pcg(A, b, preconditioner="ssor", rtol=1e-8).iterations,
        "ssor 1.7": pcg(A, b, preconditioner="ssor", omega=1.7, rtol=1e-8).iterations,
        "ic0": pcg(A, b, preconditioner="ic0", rtol=1e-8).iterations,
    }
    # Another program counted 101, 101, 40, 23, 35 with another b. A count may move by one with rounding.
    wanted = {"cg": 102, "jacobi": 102, "ssor 1": 41, "ssor 1.7": 23, "ic0": 35}
    for name, count in wanted.items():
        assert abs(counts[name] - count) <= 1, (name, counts[name])
    assert counts["cg"] == counts["jacobi"]  # a constant diagonal changes nothing


@pytest.mark.identity("cg")
@pytest.mark.parametrize("complex_", [False, True])
def test_krylov_optimality(complex_: bool) -> None:
    """Every iterate minimises the energy norm over x0 + Krylov space, to 1e-12."""
    A = random_spd(20, 30.0, seed=3, complex_=complex_)
    rng = np.random.default_rng(3)
    b, x0 = rng.standard_normal(20), rng.standard_normal(20)
    if complex_:
        b, x0 = b + 1j * x0, x0 - 2j * b
    iterates: list[np.ndarray] = []
    r = cg(A, b, x0, rtol=0.0, maxiter=7, callback=lambda x: iterates.append(x.copy()))
    r0 = b - A @ x0
    basis = r0[:, None] / np.linalg.norm(r0)
    for k, x in enumerate(iterates):
        best = x0 + basis @ np.linalg.solve(basis.conj().T @ A @ basis, basis.conj().T @ r0)
        # The reference loses digits to the condition of the projected matrix.
        np.testing.assert_allclose(x, best, rtol=0, atol=1e-12 * np.abs(best).max())
        basis = np.linalg.qr(np.column_stack([basis, A @ basis[:, -1]]))[0]
        np.testing.assert_allclose(np.linalg.norm(b - A @ x), r.residuals[k + 1], rtol=1e-10)


@pytest.mark.identity("pcg")
def test_preconditioner_identities() -> None:
    """(L L^T)_ij = A_ij on the pattern for IC(0), one SSOR application is a forward and a backward
    SOR sweep, to 1e-13.
    """
    A = diffusion_2d(np.exp(np.random.default_rng(4).standard_normal((7, 6))))
    dense = A.toarray()
    F = ic0(A).factor
    pattern = dense != 0
    np.testing.assert_allclose((F @ F.T).toarray()[pattern], dense[pattern], rtol=0, atol=1e-14 * dense.max())
    assert np.all(np.tril(dense) != 0) == np.all(F.toarray() != 0)
    r = np.random.default_rng(5).standard_normal(42)
    for omega in (0.7, 1.0, 1.6):
        z = np.zeros(42)
        for order in (range(42), reversed(range(42))):
            for i in order:
                z[i] += omega * (r[i] - dense[i] @ z) / dense[i, i]
        np.testing.assert_allclose(ssor(A, omega).apply(r), z, rtol=0, atol=1e-14 * np.abs(z).max() * 10)
    np.testing.assert_allclose(jacobi(A).apply(r), r / np.diag(dense), rtol=1e-14)
    full = random_spd(9, 20.0, seed=4, complex_=True)
    right = np.arange(9) + 1j
    for build in (ssor, ic0):
        G = build(full).factor
        z = np.linalg.solve(G @ G.conj().T, right)
        np.testing.assert_allclose(build(full).apply(right), z, rtol=0, atol=1e-12 * np.abs(z).max())
    np.testing.assert_allclose(ic0(full).factor, np.linalg.cholesky(full), rtol=0, atol=1e-14)


def test_every_library(xp: Any, dtype: str) -> None:
    host = random_spd(16, 40.0, seed=6).astype(dtype)
    host = (host + host.T) / 2
    A = xp.asarray(host)
    b = xp.asarray(np.arange(1.0, 17.0).astype(dtype))
    tol = 2e-5 if dtype == "float32" else 1e-12
    want = np.linalg.solve(host.astype(float), np.arange(1.0, 17.0))
    for preconditioner in (None, "jacobi", "ssor", "ic0"):
        r = pcg(A, b, preconditioner=preconditioner, rtol=tol / 40)
        assert r.status == "converged"
        assert r.x.dtype == b.dtype
        # A residual of tol / 40 is an error of tol at this condition number.
        np.testing.assert_allclose(to_numpy(r.x), want, rtol=0, atol=2 * tol * np.abs(want).max())
    assert np.array_equal(to_numpy(b), np.arange(1.0, 17.0).astype(dtype))


@pytest.mark.parametrize("kind", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("preconditioner", [None, "jacobi", "ssor", "ic0"])
def test_compiled_loop(kind: str, preconditioner: str | None) -> None:
    pytest.importorskip("numba")
    A = scipy.sparse.csr_array(diffusion_2d(np.full((70, 71), 0.5)).astype(kind))
    if kind.startswith("complex"):  # a unitary diagonal scaling makes it Hermitian with complex entries
        phase = scipy.sparse.diags_array(np.exp(1j * np.arange(4970)).astype(kind))
        A = scipy.sparse.csr_array(phase @ A @ phase.conj())
        A.data = A.data.astype(kind)
    A = scipy.sparse.csr_array((A + A.conj().T) / 2).astype(kind)
    b = np.random.default_rng(7).standard_normal(4970).astype(kind)
    b.flags.writeable = False
    single = kind in ("float32", "complex64")
    r, s = (
        pcg(A, b, preconditioner=preconditioner, rtol=0, maxiter=20, engine=e) for e in ("numba", "array")
    )
    assert r.x.dtype == s.x.dtype == np.dtype(kind)
    # 20 passes of differently ordered sums.
    bound = 1e-4 if single else 1e-12
    np.testing.assert_allclose(r.x, s.x, rtol=0, atol=bound * np.abs(s.x).max())
    np.testing.assert_allclose(r.residuals, s.residuals, rtol=bound)
    np.testing.assert_allclose(np.linalg.norm(b - A @ r.x), r.residuals[-1], rtol=1e-3 if single else 1e-11)


def test_operators_agree() -> None:
    A = poisson_3d(4)
    b = np.arange(64.0)
    runs = [
        cg(form, b, rtol=0, maxiter=5).x
        for form in (A, A.toarray(), scipy.sparse.linalg.aslinearoperator(A), lambda v: A @ v, A.tocoo())
    ]
    for x in runs[1:]:
        np.testing.assert_allclose(x, runs[0], rtol=0, atol=1e-13 * np.abs(runs[0]).max())
    F = Factored(scipy.linalg.cholesky(A.toarray(), lower=True))
    assert pcg(A.toarray(), b, preconditioner=F, rtol=1e-12).iterations == 1
    inverse = np.linalg.inv(A.toarray())
    assert pcg(A, b, preconditioner=lambda r: inverse @ r, rtol=1e-12).iterations == 1
    plain = pcg(A, b, preconditioner="ic0", rtol=1e-10)
    flexible = pcg(A, b, preconditioner="ic0", rtol=1e-10, flexible=True, recompute_every=3)
    np.testing.assert_allclose(flexible.x, plain.x, rtol=0, atol=1e-8 * np.abs(plain.x).max())


def test_stopping() -> None:
    A, b = poisson_2d(6), np.arange(1.0, 37.0)
    r = cg(A, b, rtol=1e-3)
    assert r.residuals[-1] <= 1e-3 * np.linalg.norm(b) < r.residuals[-2]
    r = cg(A, b, rtol=0, atol=0.5)
    assert r.residuals[-1] <= 0.5 < r.residuals[-2]
    assert r.residuals.shape == (r.iterations + 1,)
    both = cg(A, b, rtol=1e-3, atol=1e-3 * float(np.linalg.norm(b)))  # the larger one, not the sum
    assert both.iterations == cg(A, b, rtol=1e-3).iterations < cg(A, b, rtol=2e-4).iterations
    assert both.residuals[-1] <= 1e-3 * np.linalg.norm(b)
    assert cg(A, 0 * b, x0=b).x.tolist() == [0.0] * 36
    short = cg(A, b, maxiter=2)
    assert (short.status, short.iterations, short.success) == ("iterations", 2, False)
    x = scipy.sparse.linalg.spsolve(A.tocsc(), b)
    assert cg(A, b, x0=x).iterations == 0
    assert cg(A, b, maxiter=0).status == "iterations"


@pytest.mark.parametrize("engine", ["array", "numba"])
def test_negative_curvature(engine: str) -> None:
    if engine == "numba":
        pytest.importorskip("numba")
    A = random_spd(30, 10.0, seed=8, spectrum=np.linspace(1, 2, 30)) - 1.05 * np.eye(30)
    A = scipy.sparse.csr_array((A + A.T) / 2)
    b = np.random.default_rng(8).standard_normal(30)
    r = cg(A, b, engine=engine)
    assert r.status == "negative-curvature"
    assert r.direction is not None
    assert r.direction @ (A @ r.direction) <= 0
    assert np.all(np.isfinite(r.x))
    bad = pcg(poisson_2d(5), np.ones(25), preconditioner=lambda v: -v)
    assert bad.status == "indefinite-preconditioner"


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setitem(sys.modules, "pyamg", None)
    with pytest.raises(errors.MissingExtraError, match=r"refopt\[amg\]"):
        pcg(poisson_2d(3), np.ones(9), preconditioner="amg")
    with pytest.raises(errors.MissingExtraError, match=r"refopt\[numba\]"):
        require_numba()


def test_bad_input() -> None:
    A, b = poisson_2d(3), np.ones(9)
    skew = A.copy()
    skew[0, 1] = 5.0
    nan = A.copy()
    nan[2, 2] = np.nan
    cases: list[tuple[Any, Any, type[Exception]]] = [
        (skew, b, errors.ArgumentError),
        (skew.toarray(), b, errors.ArgumentError),
        (A[:, :5], b, errors.ShapeError),
        (np.ones((3, 4)), np.ones(3), errors.ShapeError),
        (A, np.ones(8), errors.ShapeError),
        (A, np.ones((9, 2, 2)), errors.ShapeError),
        (A, np.ones((8, 2)), errors.ShapeError),
        (A, np.ones(0), errors.ShapeError),
        (nan, b, errors.NonFiniteError),
        (A, np.full(9, np.inf), errors.NonFiniteError),
        (lambda v: v[:3], b, errors.ShapeError),
        (lambda v: v.astype(np.float32), b, errors.DtypeError),
        ("A", b, errors.ArgumentError),
        (scipy.sparse.linalg.aslinearoperator(np.ones((4, 4))), b, errors.ShapeError),
    ]
    for matrix, right, error in cases:
        with pytest.raises(error, match=r"\bA|b"):
            cg(matrix, right)
    for keywords, error in (
        ({"rtol": -1.0}, errors.ArgumentError),
        ({"maxiter": 1.5}, errors.ArgumentTypeError),
        ({"x0": np.ones(3)}, errors.ShapeError),
        ({"x0": "Ab"}, errors.ArgumentError),
        ({"preconditioner": np.eye(3)}, errors.ShapeError),
        ({"engine": "gpu"}, errors.ArgumentError),
        ({"preconditioner": "ic1"}, errors.ArgumentError),
        ({"preconditioner": "ssor", "omega": 2.0}, errors.ArgumentError),
        ({"preconditioner": "ssor", "shift": 2.0}, errors.HyperparameterError),
    ):
        with pytest.raises(error):
            pcg(A, b, **keywords)  # type: ignore[arg-type]
    with pytest.raises(errors.ArgumentTypeError, match="entries"):
        pcg(lambda v: v, b, preconditioner="ic0")
    with pytest.raises(errors.ArgumentError, match="diagonal"):
        pcg(np.diag([1.0, -1.0]), np.ones(2), preconditioner="jacobi")
    # Kershaw's matrix: positive definite, and IC(0) meets a negative pivot.
    kershaw = np.array([[3.0, -2, 0, 2], [-2, 3, -2, 0], [0, -2, 3, -2], [2, 0, -2, 3]])
    with pytest.raises(errors.ConvergenceError, match="pivot"):
        ic0(kershaw, shift=0.0)
    assert pcg(kershaw, np.ones(4), preconditioner="ic0", rtol=1e-12).success


def test_default_maxiter() -> None:
    """Ten passes an unknown, where nothing else stops it."""
    n = 6
    A = scipy.linalg.hilbert(n) + 1e-9 * np.eye(n)
    r = cg(A, np.ones(n), rtol=0.0, atol=0.0)
    assert (r.iterations, r.status) == (10 * n, "iterations")


def test_as_scipys_users_expect() -> None:
    """Several right sides, a start of M^-1 b, matrices as preconditioners, no unknowns, a tolerance of infinity."""
    A = poisson_2d(5)
    B = np.random.default_rng(0).standard_normal((25, 3))
    inverse = np.linalg.inv(A.toarray())
    r = cg(A, B, rtol=1e-12)
    np.testing.assert_allclose(r.x, inverse @ B, rtol=1e-10, atol=1e-12)
    assert r.success and r.residuals.shape == (r.iterations + 1, 3) and r.message.startswith("3 right sides")
    for j in range(3):
        np.testing.assert_array_equal(r.x[:, j], cg(A, B[:, j], rtol=1e-12).x)
    for M in (inverse, scipy.sparse.csr_array(inverse), scipy.sparse.linalg.aslinearoperator(inverse)):
        assert pcg(A, B[:, 0], preconditioner=M, rtol=1e-10).iterations == 1
        assert pcg(A, B[:, 0], x0="Mb", preconditioner=M, rtol=1e-10).iterations == 0
    np.testing.assert_array_equal(cg(A, B[:, 0], x0="Mb").x, cg(A, B[:, 0], x0=B[:, 0]).x)
    assert cg(A, B[:, 0], rtol=np.inf).iterations == 0 and cg(A, B[:, 0], atol=np.inf).success
    assert cg(np.zeros((0, 0)), np.zeros(0)).x.shape == (0,)


def test_a_recursive_residual_that_has_parted_from_the_true_one_is_told() -> None:
    """Badly scaled, the recursive residual falls below what b - A x can reach: no success, and both are in the result."""
    d = np.logspace(0, 9, 60)
    rotate = np.linalg.qr(np.random.default_rng(0).standard_normal((60, 60)))[0]
    A = (rotate * d) @ rotate.T
    A = (A + A.T) / 2
    b = A @ np.ones(60)
    r = cg(A, b, x0=1e8 * np.ones(60), rtol=1e-14, maxiter=100_000)
    assert r.status == "residual-gap" and r.residuals[-1] <= 1e-14 * np.linalg.norm(b)
    np.testing.assert_allclose(r.true_residual, np.linalg.norm(b - A @ r.x), rtol=1e-12)
    fine = cg(A, b, rtol=1e-6, maxiter=100_000)
    assert fine.success and fine.true_residual <= 2e-6 * np.linalg.norm(b)


@pytest.mark.parametrize(("single", "double"), [("f4", "f8"), ("c8", "c16")])
def test_an_operator_in_single_precision_is_solved_in_the_right_side_s(single, double) -> None:
    """As a matrix is; an imaginary part of the operator stays."""
    entries = np.array([[3.0, 1.0], [1.0, 2.0]]).astype(single)
    if single == "c8":
        entries[0, 1], entries[1, 0] = 1j, -1j
    operator = scipy.sparse.linalg.aslinearoperator(entries)
    r = cg(operator, np.array([1.0, 2.0]), rtol=1e-12)
    assert r.x.dtype == double
    np.testing.assert_allclose(entries @ r.x, [1.0, 2.0], rtol=1e-11)
