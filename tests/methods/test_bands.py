"""The banded form of large Hermitian matrices: found where it is exact, and the same product."""

from __future__ import annotations

import numpy as np
import pytest
import refopt.linear.bands as bands_module
import scipy.sparse
from refopt.linear.bands import MOST, bands_of
from refopt.linear.compiled import BLOCK, kernels
from refopt.linear.conjugate_gradient import cg, pcg
from refopt.linear.operators import Operator
from refopt.linear.preconditioners import Factored, ic0
from refopt.linear.vectors import CompiledVectors
from refopt.problems.linear_systems import poisson_2d

pytest.importorskip("numba")
N = 2 * BLOCK + 700
FAR = BLOCK + 300  # a band that reaches over a whole block


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands_module, "LEAST_ROWS", 100)


def hermitian(kind: str, offsets: tuple[int, ...] = (1, 37, FAR)) -> scipy.sparse.csr_array:
    rng = np.random.default_rng(0)
    upper = []
    for o in offsets:
        d = rng.standard_normal(N - o)
        upper.append(d + 1j * rng.standard_normal(N - o) if kind.startswith("complex") else d)
    main = 8 + rng.random(N)
    diagonals = [main, *upper, *(d.conj() for d in upper)]
    places = [0, *offsets, *(-o for o in offsets)]
    return scipy.sparse.csr_array(scipy.sparse.diags_array(diagonals, offsets=places)).astype(kind)


@pytest.mark.parametrize(
    ("kind", "parallel"),
    [
        # Every one compiles; `make exhaustive` has the other parallel ones.
        pytest.param(kind, parallel, marks=[pytest.mark.exhaustive] if parallel and kind != "float64" else [])
        for parallel in (False, True)
        for kind in ("float32", "float64", "complex64", "complex128")
    ],
)
def test_product(kind: str, parallel: bool) -> None:
    """The rows' sums have the bits of the CSR loop, as their order is the same; p^H q agrees to rounding."""
    A = hermitian(kind)
    found = bands_of(A)
    assert found is not None
    bands, offsets = found
    np.testing.assert_array_equal(offsets, [0, 1, 37, FAR])
    for band, o in zip(bands, offsets):
        np.testing.assert_array_equal(band[: N - o], A.diagonal(o))
    p = np.random.default_rng(1).standard_normal(N).astype(kind)
    q, partial = np.full_like(p, np.nan), np.empty(-(-N // BLOCK), dtype=kind)
    kernels(parallel).band_product(bands, offsets, p, q, partial)
    other, shares = np.empty_like(p), np.empty_like(partial)
    kernels(parallel).csr_product(
        A.data, A.indices.view(np.uint32), A.indptr.view(np.uint32), p, other, shares
    )
    if kind.startswith("float"):
        np.testing.assert_array_equal(q, other)
    # Products of complex numbers may be fused differently by the two loops.
    np.testing.assert_allclose(q, other, rtol=0, atol=4 * np.finfo(kind).eps * np.abs(other).max())
    np.testing.assert_allclose(partial, shares, rtol=2e2 * np.finfo(kind).eps)


def test_offsets_are_sorted() -> None:
    """A band that turns up before a nearer one: the bands come in the order of their distance."""
    A = hermitian("float64").tolil()
    A[0, 1] = A[1, 0] = 0.0
    A = scipy.sparse.csr_array(A)
    A.eliminate_zeros()
    found = bands_of(A)
    assert found is not None
    np.testing.assert_array_equal(found[1], [0, 1, 37, FAR])
    np.testing.assert_array_equal(found[0][1, :3], [0.0, *A.diagonal(1)[1:3]])


def test_refused() -> None:
    """No bands where the triangles differ in a bit or a place, where there are many or empty ones, for few rows."""
    A = hermitian("float64")
    assert bands_of(A) is not None
    last = A.copy()
    last.data[A.indptr[500]] = np.nextafter(last.data[A.indptr[500]], 9.0)
    assert bands_of(last) is None
    missing = A.tolil()
    missing[5, 6] = 0.0
    missing = scipy.sparse.csr_array(missing)
    missing.eliminate_zeros()
    assert bands_of(missing) is None
    missing = A.tolil()
    missing[6, 5] = 0.0
    missing = scipy.sparse.csr_array(missing)
    missing.eliminate_zeros()
    assert bands_of(missing) is None
    assert bands_of(hermitian("float64", tuple(range(1, MOST)))) is not None
    assert bands_of(hermitian("float64", tuple(range(1, MOST + 1)))) is None
    thin = scipy.sparse.csr_array(scipy.sparse.eye_array(N) * 3.0)
    thin = scipy.sparse.csr_array(
        thin + scipy.sparse.coo_array(([1.0] * 4, ([0, 9, 0, 99], [9, 0, 99, 0])), shape=(N, N))
    )
    assert bands_of(thin) is None
    assert bands_of(hermitian("float64")[:50, :50]) is None


def test_solver() -> None:
    """Conjugate gradients on bands and as array code agree to the rounding of differently ordered sums."""
    A = poisson_2d(70)
    b = np.random.default_rng(2).standard_normal(4900)
    assert bands_of(A) is not None
    r, s = (cg(A, b, rtol=0.0, maxiter=20, engine=e) for e in ("numba", "array"))
    np.testing.assert_allclose(r.x, s.x, rtol=0, atol=1e-12 * np.abs(s.x).max())
    np.testing.assert_allclose(r.residuals, s.residuals, rtol=1e-12)


@pytest.mark.parametrize("kind", ["float64", "complex128"])
@pytest.mark.parametrize("offsets", [(), (1,), (1, 37, FAR), (1, FAR), (2, 5), (1, 3, 40), (FAR, FAR + 1)])
def test_solve(kind: str, offsets: tuple[int, ...]) -> None:
    """A factor's two solves by its bands, by CSR and by SuperLU are one answer; bands near and far, alone and together."""
    A = hermitian(kind, offsets)
    F = Factored(scipy.sparse.csr_array(scipy.sparse.tril(A)))
    L, scale = F.unit()
    found = bands_of(scipy.sparse.csr_array(L.T), triangle=True)
    assert found is not None
    r = np.random.default_rng(2).standard_normal(N).astype(kind)
    z, other = np.full_like(r, np.nan), np.full_like(r, np.nan)
    kernels(False).solve_bands(*found, scale, r, z)
    kernels(False).solve_factor(L.data, L.indices.view(np.uint32), L.indptr.view(np.uint32), scale, r, other)
    want = F.apply(r)
    tol = 64 * np.finfo(kind).eps * np.abs(want).max()
    np.testing.assert_allclose(z, want, rtol=0, atol=tol)
    np.testing.assert_allclose(other, want, rtol=0, atol=tol)
    assert bands_of(A, triangle=True) is None or not offsets  # a lower triangle that is not empty
    assert bands_of(scipy.sparse.csr_array(L.T)) is None or not offsets


def test_pcg_takes_the_bands() -> None:
    """The compiled pcg with IC(0) takes the banded solve, and its passes are those of the array engine."""
    A = poisson_2d(30, 40)
    b = np.random.default_rng(3).standard_normal(1200)
    for preconditioner in ("ic0", "ssor", "jacobi"):
        r, s = (
            pcg(A, b, preconditioner=preconditioner, rtol=0.0, maxiter=12, engine=e)
            for e in ("numba", "array")
        )
        np.testing.assert_allclose(r.residuals, s.residuals, rtol=1e-11)
        vectors = CompiledVectors(Operator(lambda v: A @ v, A), ic0(A))
        vectors.begin(0 * b, b)
        assert vectors.solve is vectors.kernels.solve_bands
