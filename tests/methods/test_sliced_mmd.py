"""What Hertrich et al. claim of the sliced MMD, and its identities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from refopt.core import errors
from refopt.core.arrays import namespace, to_numpy
from refopt.transport.sliced_mmd import sliced_mmd, slicing_constant, sorted_line

from tests.parity.case import Arrays, Case


def _clouds(seed: int, n: int = 6, m: int = 5, d: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal((m, d)) + 0.4


def _literal(x: np.ndarray, y: np.ndarray, r: float) -> tuple[float, np.ndarray]:
    """The definition, pair by pair: the value and the derivatives in x."""
    n, m = len(x), len(y)
    value, gradient = 0.0, np.zeros_like(x)
    for i in range(n):
        for j in range(m):
            d = np.linalg.norm(x[i] - y[j])
            value += d**r / (n * m)
            gradient[i] += r * d ** (r - 2) * (x[i] - y[j]) / (n * m) if d > 0 else 0
        for k in range(n):
            d = np.linalg.norm(x[i] - x[k])
            value -= d**r / (2 * n * n)
            gradient[i] -= r * d ** (r - 2) * (x[i] - x[k]) / (n * n) if d > 0 else 0
    for j in range(m):
        for k in range(m):
            value -= np.linalg.norm(y[j] - y[k]) ** r / (2 * m * m)
    return value, gradient


@pytest.mark.identity("sliced-mmd")
def test_the_definition() -> None:
    """All pairs in three dimensions and the sorted line are the definition, value and both gradients, to 1e-14: exponents
    0.5, 1 and 1.6, ties within and between the samples.
    """
    x, y = _clouds(0)
    y[0], x[1], y[2] = x[0], x[2], y[1]
    for a, b in ((x, y), (x[:, :1], y[:, :1])):
        for r in (0.5, 1.0, 1.6):
            value, gradient = _literal(a, b, r)
            _, other = _literal(b, a, r)
            for slices in (None, 2) if a.shape[1] == 1 else (None,):
                found = sliced_mmd(a, b, r=r, slices=slices)
                for got, want in (
                    (found.value, value),
                    (found.gradient_x, gradient),
                    (found.gradient_y, other),
                ):
                    np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)
    assert sliced_mmd(x, x[::-1].copy(), slices=3).value == 0.0
    assert not sliced_mmd(x, x[::-1].copy(), slices=3).gradient_x.any()


@pytest.mark.claim("sliced-mmd")
def test_slices_stand_for_the_whole() -> None:
    """The mean over slices is the discrepancy in d dimensions (512 slices, within four standard errors of value and
    gradients, r = 1 and 1.5), and four times the slices quarter the gradient's variance (to a factor of 1.5).
    """
    x, y = _clouds(1, 5, 4)
    for r, runs in ((1.0, 64), (1.5, 16)):
        exact = sliced_mmd(x, y, r=r, slices=None)
        found = [sliced_mmd(x, y, r=r, slices=8, seed=s) for s in range(runs)]
        for name in ("value", "gradient_x", "gradient_y"):
            parts = np.array([getattr(f, name) for f in found])
            standard = parts.std(0, ddof=1) / np.sqrt(runs)
            assert np.all(np.abs(parts.mean(0) - getattr(exact, name)) < 4 * standard)
    want = sliced_mmd(x, y, slices=None).gradient_x

    def variance(slices: int, runs: int) -> float:
        parts = [sliced_mmd(x, y, slices=slices, seed=s).gradient_x - want for s in range(runs)]
        return float(np.mean(np.square(parts)))

    assert 4 / 1.5 < variance(4, 64) / variance(16, 64) < 4 * 1.5


@pytest.mark.identity("sliced-mmd")
def test_the_gradients_are_the_values() -> None:
    """With directions kept, both gradients are the value's derivatives in three dimensions, by differences to 1e-7."""
    x, y = _clouds(6, 4, 3)
    u, v = _clouds(7, 4, 3)
    for r in (1.0, 1.5):
        found = sliced_mmd(x, y, r=r, slices=3)
        up, down = (sliced_mmd(x + h * u, y + h * v, r=r, slices=3).value for h in (1e-6, -1e-6))
        slope = (found.gradient_x * u).sum() + (found.gradient_y * v).sum()
        np.testing.assert_allclose((up - down) / 2e-6, slope, rtol=1e-7)


@pytest.mark.identity("sliced-mmd")
def test_the_constant() -> None:
    """c_{d,r} inverts E|<xi, e>|^r by quadrature over the sphere in 2, 3 and 5 dimensions, to 1e-10."""
    for d in (2, 3, 5):
        for r in (0.5, 1.0, 1.7):

            def weight(t: float, d: int = d, r: float = r) -> float:
                return float(np.cos(t) ** r * np.sin(t) ** (d - 2))

            top = scipy.integrate.quad(weight, 0, np.pi / 2, epsabs=1e-13)[0]
            whole = scipy.integrate.quad(lambda t, d=d: np.sin(t) ** (d - 2), 0, np.pi / 2)[0]
            np.testing.assert_allclose(slicing_constant(d, r) * top / whole, 1, rtol=1e-10)


class _Counted(float):
    """A number that counts how often two are compared."""

    compared = 0

    def __lt__(self, other: object) -> bool:
        _Counted.compared += 1
        return float(self) < float(other)  # type: ignore[arg-type]


@pytest.mark.claim("sliced-mmd")
def test_comparisons() -> None:
    """A slice makes at most 8 (M + N) log2(M + N) comparisons, counted at 128, 256 and 1024 points: no pair of points is
    looked at.
    """
    rng = np.random.default_rng(2)
    counts = []
    for n in (64, 128, 512):
        s, t = (np.array([_Counted(v) for v in rng.standard_normal(n)], dtype=object) for _ in range(2))
        _Counted.compared = 0
        sorted_line(namespace(s), s, t)
        counts.append(_Counted.compared)
        assert n < _Counted.compared <= 8 * 2 * n * np.log2(2 * n)
    assert counts[2] / counts[0] < 8 * np.log2(1024) / np.log2(128) * 1.05  # 64 times for all pairs


def test_every_library(xp: Any, dtype: str) -> None:
    x, y = (v.astype(dtype) for v in _clouds(4))
    want = sliced_mmd(x.astype(float), y.astype(float), slices=5, seed=3)
    found = sliced_mmd(xp.asarray(x), xp.asarray(y), slices=5, seed=3)
    for name in ("value", "gradient_x", "gradient_y"):
        got = getattr(found, name)
        assert got.dtype == xp.asarray(x).dtype
        np.testing.assert_allclose(
            to_numpy(got), getattr(want, name), rtol=0, atol=1e-6 if dtype == "float32" else 1e-15
        )
    whole = sliced_mmd(xp.asarray(x), xp.asarray(y), r=1.3, slices=None)
    assert whole.gradient_y.dtype == xp.asarray(x).dtype and tuple(whole.value.shape) == ()


def test_bad_input() -> None:
    x, y = _clouds(5)
    for arguments, keywords, error, word in (
        ((x, y[:, :2]), {}, errors.ShapeError, "x, y"),
        ((x[0], y), {}, errors.ShapeError, "x"),
        ((x[:0], y), {}, errors.ShapeError, "x, y"),
        ((x, y.astype(np.float32)), {}, errors.DtypeError, "x, y"),
        ((x * np.nan, y), {}, errors.NonFiniteError, "x"),
        ((x, y), {"r": 2.0}, errors.ArgumentError, "r"),
        ((x, y), {"r": 0.0}, errors.ArgumentError, "r"),
        ((x, y), {"slices": 0}, errors.ArgumentError, "slices"),
        ((x, y), {"slices": 1.5}, errors.ArgumentTypeError, "slices"),
    ):
        with pytest.raises(error, match=word):
            sliced_mmd(*arguments, **keywords)


def _ours(seed: int) -> Arrays:
    x, y = _clouds(seed, 9, 7, 1)
    return {"distance": np.sqrt(2 * sliced_mmd(x, y, slices=1).value)}


def _scipy(seed: int) -> Arrays:
    x, y = _clouds(seed, 9, 7, 1)
    return {"distance": np.array(scipy.stats.energy_distance(x[:, 0], y[:, 0]))}


CASES = [
    Case(
        "sliced-mmd", "scipy", "scipy", _ours, _scipy,
        says="SciPy's energy_distance of 9 and 7 points on a line, the root of twice the value, to 1e-12.",
    ),
]  # fmt: skip
