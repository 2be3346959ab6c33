"""What Kaneda et al. claim of the deep conjugate direction method, and its identities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from refopt.core import errors
from refopt.core.arrays import namespace, to_numpy
from refopt.linear import convolution
from refopt.linear.conjugate_gradient import cg, pcg
from refopt.linear.dcdm import dcdm, poisson_2d
from refopt.problems.linear_systems import poisson_2d as laplacian
from refopt.problems.linear_systems import random_spd

from tests.parity.case import Arrays, Case


def _bent(r: np.ndarray) -> np.ndarray:
    """An approximate inverse that is not linear."""
    return r + 0.4 * np.sin(3 * r) + 0.1 * np.abs(r[::-1])


@pytest.mark.identity("dcdm")
@pytest.mark.parametrize("complex_", [False, True])
def test_linear_inverses(complex_: bool) -> None:
    """With f the identity the iterates are cg's, with f a fixed positive definite map pcg's, over 10 passes to 1e-10; real and
    complex, from a start.
    """
    A = random_spd(20, 30.0, seed=1, complex_=complex_)
    M = random_spd(20, 5.0, seed=2, complex_=complex_)
    rng = np.random.default_rng(1)
    b, x0 = rng.standard_normal(20), rng.standard_normal(20)
    if complex_:
        b, x0 = b + 1j * x0, x0 - 0.5j * b
    for f, reference in ((lambda r: r, None), (lambda r: 3 * M @ r, lambda r: M @ r)):
        ours: list[np.ndarray] = []
        theirs: list[np.ndarray] = []
        dcdm(A, b, x0, inverse=f, rtol=0.0, maxiter=10, callback=lambda x, o=ours: o.append(x))
        pcg(
            A, b, x0, preconditioner=reference, rtol=0.0, maxiter=10, callback=lambda x, t=theirs: t.append(x)
        )
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.identity("dcdm")
def test_the_algorithm() -> None:
    """The paper's passes written out with all directions kept, windows of 0, 1, 2 and 5: iterates and residuals to 1e-11; f is
    asked at residuals of norm 1, its length does not matter.
    """
    A = random_spd(15, 20.0, seed=3)
    b = 40 * np.random.default_rng(3).standard_normal(15)
    for history in (0, 1, 2, 5):
        x, P = np.zeros(15), []
        asked, norms = [], [np.linalg.norm(b)]
        for _ in range(7):
            r = b - A @ x
            raw = _bent(r / np.linalg.norm(r))
            asked.append(r / np.linalg.norm(r))
            d = raw - sum(((p @ A @ raw) / (p @ A @ p) * p for p in P[-history:] if history), np.zeros(15))
            x = x + (d @ r) / (d @ A @ d) * d
            P.append(d)
            norms.append(np.linalg.norm(b - A @ x))
        got: list[np.ndarray] = []

        def watched(r: np.ndarray, got: list[np.ndarray] = got) -> np.ndarray:
            got.append(r)
            return -7 * _bent(r)

        found = dcdm(A, b, inverse=watched, history=history, rtol=0.0, maxiter=7)
        np.testing.assert_allclose(found.x, x, rtol=0, atol=1e-11 * np.abs(x).max())
        np.testing.assert_allclose(found.residuals, norms, rtol=1e-9)
        np.testing.assert_allclose(got, asked, rtol=0, atol=1e-10)


@pytest.mark.claim("dcdm")
def test_the_error_falls_and_directions_are_conjugate() -> None:
    """For an f that is not linear the energy of the error falls at every pass; the last two directions are conjugate to a new
    one (1e-12 of their energies), older ones are not.
    """
    A = random_spd(25, 60.0, seed=4)
    solution = np.random.default_rng(4).standard_normal(25)
    xs = [np.zeros(25)]
    dcdm(A, A @ solution, inverse=_bent, rtol=0.0, maxiter=12, callback=xs.append)
    energies = [(x - solution) @ A @ (x - solution) for x in xs]
    assert np.all(np.diff(energies) < 0) and energies[-1] < 0.05 * energies[0]
    steps = np.diff(xs, axis=0)
    G = steps @ A @ steps.T
    cosines = np.abs(G) / np.sqrt(np.outer(np.diag(G), np.diag(G)))
    for k in range(2, 12):
        assert cosines[k, k - 2 : k].max() < 1e-9
    assert cosines[11, :9].max() > 1e-3


@pytest.mark.claim("dcdm")
def test_the_trained_convolution() -> None:
    """From residual to direction in one application: on the 32 x 32 grid of its training 1e-4 takes 5 passes (cg 68), on
    64 x 64 7 (cg 123), on 25 x 37 6 (cg 68), each to one; sides on which it was not trained.
    """
    for sides, wanted in (((32, 32), 5), ((64, 64), 7), ((25, 37), 6)):
        b = np.random.default_rng(0).standard_normal(sides)
        A = laplacian(*sides)
        r = dcdm(A, b)
        assert r.success and abs(r.iterations - wanted) <= 1, (sides, r.iterations)
        plain = cg(A, b.ravel(), rtol=1e-4).iterations
        assert plain > 10 * r.iterations, plain
        np.testing.assert_allclose(A @ r.x.ravel(), b.ravel(), rtol=0, atol=1e-4 * np.linalg.norm(b))
    np.testing.assert_array_equal(
        dcdm(laplacian(8), b[:8, :8].ravel()).x, dcdm(laplacian(8), b[:8, :8]).x.ravel()
    )


@pytest.mark.identity("dcdm")
def test_the_convolution() -> None:
    """A layer is the sum over nine shifts of the padded grid, written out, to 1e-12; odd sides are padded with zeros."""
    rng = np.random.default_rng(5)
    h, weight, bias = (
        rng.standard_normal((2, 5, 4)),
        rng.standard_normal((3, 2, 3, 3)),
        rng.standard_normal(3),
    )
    want = np.zeros((3, 5, 4))
    for k in range(3):
        for i in range(5):
            for j in range(4):
                want[k, i, j] = bias[k]
                for c in range(2):
                    for u in (-1, 0, 1):
                        for v in (-1, 0, 1):
                            if 0 <= i + u < 5 and 0 <= j + v < 4:
                                want[k, i, j] += weight[k, c, u + 1, v + 1] * h[c, i + u, j + v]
    np.testing.assert_allclose(convolution.convolve(namespace(h), h, weight, bias), want, rtol=0, atol=1e-12)
    grid = rng.standard_normal((7, 9))
    np.testing.assert_array_equal(poisson_2d(grid), convolution.apply(np.pad(grid, ((0, 1), (0, 1))))[:7, :9])
    assert {k: v.shape for k, v in convolution.weights().items()} == convolution.layer_shapes()


@pytest.mark.identity("dcdm")
def test_ends() -> None:
    """No new direction, negative curvature, a start that is right, b = 0, tiny b and an absolute tolerance, each told; sides that
    are no multiple of 4.
    """
    odd = laplacian(6, 10)
    assert dcdm(odd, np.ones((6, 10)), rtol=1e-6).success
    A, b = random_spd(6, 4.0, seed=6), np.arange(1.0, 7.0)
    fixed = dcdm(A, b, inverse=lambda r: np.ones(6))
    assert fixed.status == "iterations" and fixed.iterations == 1 and "no new direction" in fixed.message
    none = dcdm(A, b, inverse=lambda r: 0 * r)
    assert none.status == "iterations" and none.iterations == 0 and not none.x.any()
    bad = dcdm(np.diag([1.0, 1.0, 1.0, 1.0, 1.0, -1.0]), b, inverse=lambda r: r)
    assert bad.status == "negative-curvature" and bad.direction[5] != 0
    assert dcdm(A, b, np.linalg.solve(A, b), inverse=_bent).iterations == 0
    assert dcdm(A, 0 * b, inverse=_bent).success
    small = dcdm(A, 1e-200 * b, inverse=_bent, rtol=1e-8)
    np.testing.assert_allclose(1e200 * small.x, dcdm(A, b, inverse=_bent, rtol=1e-8).x, rtol=1e-9)
    loose = dcdm(A, b, inverse=_bent, rtol=0.0, atol=0.5)
    assert loose.success and loose.residuals[-1] <= 0.5 < loose.residuals[-2]


def test_every_library(xp: Any, dtype: str) -> None:
    A = laplacian(6).toarray().astype(dtype)
    b = np.random.default_rng(7).standard_normal((6, 6)).astype(dtype)
    want = dcdm(A.astype(float), b.astype(float), rtol=0.0, maxiter=4)
    r = dcdm(xp.asarray(A), xp.asarray(b), rtol=0.0, maxiter=4)
    assert r.x.dtype == xp.asarray(b).dtype
    np.testing.assert_allclose(to_numpy(r.x), want.x, rtol=0, atol=1e-4 if dtype == "float32" else 1e-11)


def test_bad_input() -> None:
    A, b = random_spd(6, 4.0, seed=8), np.ones(6)
    for arguments, keywords, error, word in (
        ((A, b), {}, errors.ShapeError, "grid"),
        ((np.eye(4), np.ones(4) + 0j), {}, errors.DtypeError, "b"),
        ((A, b), {"inverse": "poisson"}, errors.ArgumentError, "inverse"),
        ((A, b), {"inverse": lambda r: r[:2]}, errors.ShapeError, "inverse"),
        ((A, b), {"inverse": lambda r: r.astype(np.float32)}, errors.DtypeError, "inverse"),
        ((A, b), {"inverse": lambda r: 1.0}, errors.ArgumentTypeError, "inverse"),
        ((A, b, np.ones(5)), {"inverse": _bent}, errors.ShapeError, "x0"),
        ((A, b), {"inverse": _bent, "history": -1}, errors.ArgumentError, "history"),
        ((A, b), {"inverse": _bent, "rtol": -1.0}, errors.ArgumentError, "rtol"),
        ((A, "b"), {}, errors.ArgumentTypeError, "b"),
    ):
        with pytest.raises(error, match=word):
            dcdm(*arguments, **keywords)


def _ours(seed: int) -> Arrays:
    A, b = random_spd(16, 25.0, seed=seed), np.random.default_rng(seed).standard_normal(16)
    r = dcdm(A, b, 0.3 * b, inverse=_bent, rtol=0.0, maxiter=9)
    return {"x": r.x, "residuals": r.residuals}


CASES = [
    Case(
        "dcdm", "official", "ayano721/2023_DCDM@8cee1c5c0f55399990c0f73113564eda31a68264", _ours, None,
        says="The authors' dcdm with an f that is not linear, 9 passes from a start: solution and residuals, to 1e-12.",
    ),
]  # fmt: skip
