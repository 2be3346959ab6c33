"""What Bonet et al. claim of the sliced Wasserstein distance of positive definite matrices, and its identities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from refopt.core import errors
from refopt.core.arrays import namespace, to_numpy
from refopt.core.rng import generator
from refopt.transport.slices import wasserstein_line
from refopt.transport.spd_sliced_wasserstein import LAWS, spd_sliced_wasserstein

from tests.methods.test_smooth_ot import linear_program
from tests.parity.case import Arrays, Case


def _samples(seed: int, n: int = 4, m: int = 3, d: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    F, G = rng.standard_normal((n, d, d)), rng.standard_normal((m, d, d))
    return F @ F.swapaxes(1, 2) + 0.5 * np.eye(d), G @ G.swapaxes(1, 2) + 0.3 * np.eye(d)


def _masses(seed: int, *sizes: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [w / w.sum() for w in (rng.random(n) + 0.1 for n in sizes)]


@pytest.mark.identity("spd-sliced-wasserstein")
def test_one_direction_at_a_time() -> None:
    """Every slice is the linear program of transport between the coordinates tr(A log X), matrix logarithms by SciPy: unequal
    masses and numbers, p = 1, 2 and 3, both laws of directions, to 1e-12.
    """
    X, Y = _samples(0)
    a, b = _masses(0, 4, 3)
    for law in LAWS:
        A = LAWS[law](generator(5, "method"), 3, 3)
        s, t = (np.array([[np.trace(D.T @ scipy.linalg.logm(M)) for M in Z] for D in A]) for Z in (X, Y))
        for p in (1.0, 2.0, 3.0):
            want = np.mean([linear_program(a, b, np.abs(u[:, None] - v) ** p) for u, v in zip(s, t)])
            found = spd_sliced_wasserstein(X, Y, a=a, b=b, p=p, law=law, slices=3, seed=5)
            np.testing.assert_allclose(found.value, want, rtol=1e-12)
    same = spd_sliced_wasserstein(X, X[[2, 0, 3, 1]], slices=4)
    assert same.value < 1e-28 and np.abs(same.gradient_x).max() < 1e-13


@pytest.mark.identity("spd-sliced-wasserstein")
def test_the_gradients_are_the_values() -> None:
    """Both gradients are the value's derivatives, along symmetric matrices and with the directions kept, by differences to
    1e-6; p = 1.5 and 2, uniform masses and unequal ones.
    """
    X, Y = _samples(1)
    U, V = ((Z + Z.swapaxes(1, 2)) / 2 for Z in _samples(2))
    a, b = _masses(1, 4, 3)
    for p, law, masses in ((2.0, "spdsw", {}), (1.5, "logsw", {"a": a, "b": b})):
        found = spd_sliced_wasserstein(X, Y, p=p, law=law, slices=3, **masses)
        up, down = (
            spd_sliced_wasserstein(X + h * U, Y + h * V, p=p, law=law, slices=3, **masses).value
            for h in (1e-5, -1e-5)
        )
        slope = (found.gradient_x * U).sum() + (found.gradient_y * V).sum()
        np.testing.assert_allclose((up - down) / 2e-5, slope, rtol=1e-6)
        np.testing.assert_allclose(found.gradient_x, found.gradient_x.swapaxes(1, 2), rtol=0, atol=1e-15)


@pytest.mark.identity("spd-sliced-wasserstein")
def test_the_line() -> None:
    """Of a sample on a line with ties the distance is SciPy's linear program, the derivatives are its plan's: to 1e-12."""
    rng = np.random.default_rng(3)
    s, t = np.round(rng.standard_normal(7), 1), np.round(rng.standard_normal(6), 1)
    s[1] = s[0]
    a, b = _masses(3, 7, 6)
    value, on_s, on_t = wasserstein_line(namespace(s), s, t, a, b, 2.0)
    np.testing.assert_allclose(value, linear_program(a, b, (s[:, None] - t) ** 2), rtol=1e-12)
    # A shift of all points moves nothing; a shift of one sample meets its mean.
    np.testing.assert_allclose(on_s.sum(), 2 * (a @ s - b @ t), rtol=1e-12)
    np.testing.assert_allclose(on_t.sum(), -on_s.sum(), rtol=1e-12)


@pytest.mark.claim("spd-sliced-wasserstein")
def test_two_points() -> None:
    """Between two matrices the mean over directions is (tr S / d)^2 + 2 / (d (d + 2)) ||S - tr S / d I||^2 with
    S = log X - log Y ("logsw": ||S||^2 / d^2), at 20,000 directions to four standard errors; at most ||S||^2 / d, the paper's
    bound.
    """
    X, Y = _samples(4, 1, 1, 4)
    S = scipy.linalg.logm(X[0]) - scipy.linalg.logm(Y[0])
    trace, square = np.trace(S), float(np.sum(S * S))
    want = {
        "spdsw": (trace / 4) ** 2 + 2 / (4 * 6) * (square - trace**2 / 4),
        "logsw": square / 16,
    }
    for law, mean in want.items():
        parts = np.einsum("kij,ij->k", LAWS[law](generator(0, "method"), 20_000, 4), S) ** 2
        assert abs(parts.mean() - mean) < 4 * parts.std() / np.sqrt(20_000) < 0.05 * mean
        few = spd_sliced_wasserstein(X, Y, law=law, slices=20).value
        np.testing.assert_allclose(
            few, np.mean(np.einsum("kij,ij->k", LAWS[law](generator(0, "method"), 20, 4), S) ** 2), rtol=1e-10
        )
    assert want["spdsw"] <= square / 4


@pytest.mark.claim("spd-sliced-wasserstein")
def test_invariances() -> None:
    """Inverting every matrix leaves the distance as it is, to 1e-10; it is symmetric and the triangle holds at p = 1 and 2."""
    X, Y = _samples(5)
    Z = _samples(6)[0]
    first = spd_sliced_wasserstein(X, Y, slices=6).value
    np.testing.assert_allclose(
        spd_sliced_wasserstein(np.linalg.inv(X), np.linalg.inv(Y), slices=6).value, first, rtol=1e-10
    )
    np.testing.assert_allclose(spd_sliced_wasserstein(Y, X, slices=6).value, first, rtol=1e-12)
    for p in (1.0, 2.0):
        xy, yz, xz = (
            float(spd_sliced_wasserstein(P, Q, p=p, slices=6).value) ** (1 / p)
            for P, Q in ((X, Y), (Y, Z), (X, Z))
        )
        assert xz <= xy + yz and xy <= xz + yz and yz <= xy + xz


def test_every_library(xp: Any, dtype: str) -> None:
    X, Y = (v.astype(dtype) for v in _samples(7))
    a = _masses(7, 4)[0].astype(dtype)
    want = spd_sliced_wasserstein(
        X.astype(float), Y.astype(float), a=a.astype(float) / a.sum(dtype=float), slices=4
    )
    found = spd_sliced_wasserstein(xp.asarray(X), xp.asarray(Y), a=xp.asarray(a), slices=4)
    for name in ("value", "gradient_x", "gradient_y"):
        got = getattr(found, name)
        assert got.dtype == xp.asarray(X).dtype
        scale = np.abs(getattr(want, name)).max()
        np.testing.assert_allclose(
            to_numpy(got), getattr(want, name), rtol=0, atol=scale * (1e-4 if dtype == "float32" else 1e-12)
        )


def test_bad_input() -> None:
    X, Y = _samples(8)
    a, b = _masses(8, 4, 3)
    for arguments, keywords, error, word in (
        ((X, Y[:, :2, :2]), {}, errors.ShapeError, "X, Y"),
        ((X[0], Y), {}, errors.ShapeError, "X, Y"),
        ((X, -Y), {}, errors.RefoptError, "positive"),
        ((X, np.triu(Y)), {}, errors.ArgumentError, "Y"),
        ((X, Y.astype(np.float32)), {}, errors.DtypeError, "X, Y"),
        ((X, Y), {"a": b}, errors.ShapeError, "a"),
        ((X, Y), {"b": 2 * b}, errors.ArgumentError, "total"),
        ((X, Y), {"a": -a}, errors.ArgumentError, "a"),
        ((X, Y), {"p": 0.5}, errors.ArgumentError, "p"),
        ((X, Y), {"law": "sw"}, errors.ArgumentError, "law"),
        ((X, Y), {"slices": 0}, errors.ArgumentError, "slices"),
    ):
        with pytest.raises(error, match=word):
            spd_sliced_wasserstein(*arguments, **keywords)


def _ours(seed: int) -> Arrays:
    X, Y = _samples(seed, 5, 4)
    a, b = _masses(seed, 5, 4)
    return {
        "uniform": spd_sliced_wasserstein(X, Y, slices=6).value,
        "weighted": spd_sliced_wasserstein(X, Y, a=a, b=b, slices=6, p=3.0).value,
        "logsw": spd_sliced_wasserstein(X, Y, slices=6, law="logsw", p=1.0).value,
    }


CASES = [
    Case(
        "spd-sliced-wasserstein", "official", "clbonet/SPDSW@cf0933c897b642f29ab0e1c68ef1597988724039", _ours, None,
        says="The authors' code with refopt's directions, three powers, uniform and unequal masses, both laws, to 1e-12.",
    ),
]  # fmt: skip
