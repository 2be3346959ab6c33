"""Identities of SOR, its bandits, sketching and the thermodynamic solver."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from refopt.core import errors
from refopt.core.arrays import to_numpy
from refopt.linear.iterative_sketching import draw_sketch, iterative_sketching
from refopt.linear.preconditioners import ssor
from refopt.linear.sor import sor
from refopt.linear.sor_bandit import sor_bandit, tsallis_probabilities
from refopt.linear.thermodynamic import thermodynamic
from refopt.problems.linear_systems import diffusion_2d, poisson_2d, random_spd


@pytest.mark.identity("sor")
@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("engine", ["array", "numba"])
@pytest.mark.parametrize("sparse", [False, True])
def test_sor_sweep(complex_: bool, engine: str, sparse: bool) -> None:
    """A pass is the elementwise sweep x_i += omega (b_i - sum_j A_ij x_j) / A_ii to 1e-13, a
    symmetric one M^-1 r of the SSOR preconditioner; compiled and array forms agree.
    """
    if engine == "numba":
        pytest.importorskip("numba")
    A = random_spd(11, 9.0, seed=1, complex_=complex_)
    rng = np.random.default_rng(1)
    b, x0 = rng.standard_normal(11), rng.standard_normal(11)
    if complex_:
        b, x0 = b + 1j * x0, x0 - 1j * b
    given = scipy.sparse.csr_array(A) if sparse else A
    for omega in (0.7, 1.0, 1.6):
        x = x0.copy()
        for i in range(11):
            x[i] += omega * (b[i] - A[i] @ x) / A[i, i]
        r = sor(given, b, x0, omega=omega, maxiter=1, engine=engine)
        np.testing.assert_allclose(r.x, x, rtol=0, atol=1e-14 * 10 * np.abs(x).max())
        for i in reversed(range(11)):
            x[i] += omega * (b[i] - A[i] @ x) / A[i, i]
        r = sor(given, b, x0, omega=omega, maxiter=1, symmetric=True, engine=engine)
        np.testing.assert_allclose(r.x, x, rtol=0, atol=1e-14 * 10 * np.abs(x).max())
        correction = ssor(A, omega).apply(b - A @ x0)
        np.testing.assert_allclose(r.x - x0, correction, rtol=0, atol=1e-13 * np.abs(correction).max())
    far = x0 + 1e4
    first, right = (
        sor(given, b, far, rtol=1e-3, relative_to=scale, engine=engine).residuals for scale in ("start", "b")
    )
    assert first[-1] <= 1e-3 * first[0] < first[-2]
    assert right[-1] <= 1e-3 * np.linalg.norm(b) < right[-2]
    assert len(right) > len(first)
    r = sor(given, b, rtol=1e-11, engine=engine)
    np.testing.assert_allclose(r.x, np.linalg.solve(A, b), rtol=0, atol=1e-9)
    assert r.residuals[-1] <= 1e-11 * r.residuals[0] < r.residuals[-2]


def test_every_library(xp: Any, dtype: str) -> None:
    host = random_spd(8, 5.0, seed=2).astype(dtype)
    host = (host + host.T) / 2
    A, b = xp.asarray(host), xp.asarray(np.arange(1.0, 9.0).astype(dtype))
    want = np.linalg.solve(host.astype(float), np.arange(1.0, 9.0))
    tol = 1e-5 if dtype == "float32" else 1e-11
    for r in (
        sor(A, b, rtol=tol / 10),
        iterative_sketching(A, b, rtol=tol / 10, sketch="count", sketch_size=4),
    ):
        assert (r.status, r.x.dtype) == ("converged", b.dtype)
        np.testing.assert_allclose(to_numpy(r.x), want, rtol=0, atol=tol * np.abs(want).max())
    r = thermodynamic(A, b, beta=1e8, steps=400)
    assert r.x.dtype == b.dtype
    assert r.status == "converged"
    assert r.residuals.shape == (401,)


@pytest.mark.identity("sor-bandit")
def test_tsallis_optimality() -> None:
    """The Tsallis distribution sums to 1 to 1e-12 and meets its optimality conditions to 1e-9; the
    official normaliser's does not.
    """
    rng = np.random.default_rng(3)
    for losses, eta in ((rng.random(20) * 3, 0.3), (1e4 + rng.random(20) * 1e3, 0.05), (np.zeros(5), 1.0)):
        p = tsallis_probabilities(losses, eta)
        np.testing.assert_allclose(p.sum(), 1, rtol=0, atol=1e-12)
        assert np.all(p > 0)
        # Stationary on the simplex: K_i - 2 / (eta sqrt(p_i)) is the same number for every arm.
        slope = losses - 2 / (eta * np.sqrt(p))
        np.testing.assert_allclose(slope, slope[0], rtol=1e-9)
    assert abs(tsallis_probabilities(300 + 30 * rng.random(20), 0.05, "official").sum() - 1) > 0.5
    near = rng.random(20)
    np.testing.assert_allclose(
        tsallis_probabilities(near, 0.1, "official"), tsallis_probabilities(near, 0.1), rtol=1e-10
    )


@pytest.mark.identity("iterative-sketching")
@pytest.mark.parametrize("sketch", ["gaussian", "kaczmarz", "kaczmarz-norms", "kaczmarz-cyclic", "count"])
def test_sketch_projection(sketch: str) -> None:
    """Each pass is the projection onto {y: S^T K y = S^T b} to 1e-12; exact in one pass for a full
    sketch; cyclic rows are Kaczmarz's method.
    """
    rng = np.random.default_rng(4)
    K = rng.standard_normal((9, 9)) + 1j * rng.standard_normal((9, 9))
    solution = rng.standard_normal(9) + 0j
    b, x0 = K @ solution, rng.standard_normal(9) + 1j
    weights = np.sum(np.abs(K) ** 2, axis=1) / np.sum(np.abs(K) ** 2)
    for size in (1, 3):
        from refopt.core.rng import generator

        S = draw_sketch(sketch, size, 0, weights, generator(5, "method"))
        r = iterative_sketching(K, b, x0, sketch=sketch, sketch_size=size, maxiter=1, seed=5)
        nearest = x0 + np.linalg.lstsq(S.T @ K, S.T @ (b - K @ x0), rcond=None)[0]
        np.testing.assert_allclose(r.x, nearest, rtol=0, atol=1e-12 * np.abs(nearest).max())
    r = iterative_sketching(K, b, x0, sketch="gaussian", sketch_size=9, maxiter=1)
    np.testing.assert_allclose(r.x, solution, rtol=0, atol=1e-10)
    Q = np.linalg.qr(K)[0]
    r = iterative_sketching(Q, Q @ solution, sketch="kaczmarz-cyclic", rtol=1e-12)
    assert r.iterations == 9  # orthogonal rows: one turn
    sparse = iterative_sketching(scipy.sparse.csr_array(K), b, sketch=sketch, maxiter=20, seed=1)
    dense = iterative_sketching(K, b, sketch=sketch, maxiter=20, seed=1)
    np.testing.assert_allclose(sparse.x, dense.x, rtol=0, atol=1e-12)


def test_row_norms() -> None:
    K, b = np.diag([10.0, 1.0, 1.0]), np.ones(3)
    hits = [
        iterative_sketching(K, b, sketch="kaczmarz-norms", maxiter=1, seed=s, rtol=0.0).x[0] > 0
        for s in range(200)
    ]
    assert sum(hits) > 180  # 100 / 102 of the draws
    even = [
        iterative_sketching(K, b, sketch="kaczmarz", maxiter=1, seed=s, rtol=0.0).x[0] > 0 for s in range(200)
    ]
    assert 40 < sum(even) < 95


@pytest.mark.identity("thermodynamic")
def test_thermal_covariance() -> None:
    """Euler's stationary covariance is [A (I - h A / 2)]^-1 / beta, the exact step's A^-1 / beta
    (40000 states, within 6 %); without noise it is Richardson's iteration to 1e-13.
    """
    A = random_spd(3, 4.0, seed=5, spectrum=np.array([1.0, 2.0, 4.0]))
    b = np.array([1.0, -2.0, 0.5])
    solution = np.linalg.solve(A, b)
    beta, dt = 3.0, 0.35
    for method, want in (
        ("euler", np.linalg.inv(A @ (np.eye(3) - dt / 2 * A)) / beta),
        ("exact", np.linalg.inv(A) / beta),
    ):
        states: list[np.ndarray] = []
        thermodynamic(A, b, beta=beta, method=method, dt=dt, steps=40_000, callback=states.append)
        gaps = np.array(states)[100:] - solution
        sample = gaps.T @ gaps / len(gaps)
        # 40000 correlated states scatter by about 2 %; the two formulas differ by up to 3 times.
        np.testing.assert_allclose(sample, want, rtol=0, atol=0.06 * np.abs(want).max())
    x = np.zeros(3)
    states = []
    thermodynamic(A, b, beta=math.inf, method="euler", dt=dt, steps=20, callback=states.append)
    for state in states:
        x = x - dt * (A @ x - b)
        np.testing.assert_allclose(state, x, rtol=0, atol=1e-13)
    states = []
    r = thermodynamic(A, b, beta=math.inf, dt=dt, steps=4, callback=states.append, include_start=True)
    values, vectors = np.linalg.eigh(A)
    decayed = solution - vectors @ (np.exp(-4 * dt * values) * (vectors.T @ solution))
    np.testing.assert_allclose(states[-1], decayed, rtol=0, atol=1e-13)
    np.testing.assert_allclose(r.x, np.sum(states, axis=0) / 5, rtol=0, atol=1e-14)
    r = thermodynamic(A, b, beta=math.inf, dt=dt, steps=2, burn_in=2)
    np.testing.assert_allclose(r.x, np.sum(states[2:], axis=0) / 2, rtol=0, atol=1e-14)


def test_bad_input() -> None:
    A, b = poisson_2d(3), np.ones(9)
    singular = np.diag([1.0, -1.0])
    for call, error in (
        (lambda: sor(A, b, omega=2.0), errors.ArgumentError),
        (lambda: sor(lambda v: v, b), errors.ArgumentTypeError),
        (lambda: sor(singular, np.ones(2)), errors.ArgumentError),
        (lambda: sor(A, b, relative_to="r"), errors.ArgumentError),
        (lambda: sor_bandit([(A, b)], omegas=np.array([2.5])), errors.ArgumentError),
        (lambda: sor_bandit([(A, b)], contexts=[0.1]), errors.ArgumentTypeError),
        (lambda: sor_bandit([(A, b)], contexts=[3.0], interval=(0.0, 1.0)), errors.ArgumentError),
        (lambda: iterative_sketching(A, b, sketch="fast"), errors.ArgumentError),
        (lambda: iterative_sketching(A, b, sketch_size=10), errors.ArgumentError),
        (lambda: iterative_sketching(0 * A.toarray(), b), errors.ArgumentError),
        (lambda: thermodynamic(singular, np.ones(2)), errors.ArgumentError),
        (lambda: thermodynamic(A, b, method="euler", dt=0.3), errors.ConvergenceError),
        (lambda: thermodynamic(A, b, beta=0.0), errors.ArgumentError),
        (lambda: thermodynamic(lambda v: v, b), errors.ArgumentTypeError),
    ):
        with pytest.raises(error):
            call()
    grow = np.array([[1.0, 3.0], [3.0, 1.0]])  # indefinite with a positive diagonal
    r = sor(grow, np.ones(2), omega=1.5)
    assert r.status == "diverged"
    assert np.all(np.isfinite(r.x))
    assert not sor(diffusion_2d(np.ones((3, 3))), b, maxiter=2).success
