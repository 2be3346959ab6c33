"""What the papers on the polar factor's quintics claim."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.matrix.polar import polar_newton_schulz
from refopt.matrix.polar_schedules import SCHEDULES, polar_express_coefficients


def scalar_map(x, coefficients, steps):
    """Singular values through the iteration, the largest of them at 1 (a diagonal stack of 1x1)."""
    triples = SCHEDULES[coefficients].triples
    for k in range(steps):
        a, b, c = triples[min(k, len(triples) - 1)]
        x = a * x + b * x**3 + c * x**5
    return x


@pytest.mark.parametrize(
    ("name", "steps", "low", "interval"),
    [
        ("jordan", 5, 0.01, (0.6818, 1.1344)),
        ("jordan", 5, 0.001, (0.4705, 1.2024)),
        ("you", 6, 0.005, (0.9956, 0.9993)),
        ("leloykun", 5, 0.01, (0.978, 1.032)),
        ("cans", 5, 0.001, (0.884, 1.120)),
        ("polar-express-raw", 5, 0.001, (0.8764, 1.1236)),
        ("polar-express-raw", 6, 0.001, (0.9988, 1.0012)),
        ("polar-express", 5, 0.001, (0.8462, 1.1236)),
    ],
)
def test_intervals(name, steps, low, interval):
    """Every schedule carries [low, 1] onto the interval stated for it."""
    sigma = np.concatenate([np.geomspace(low, 1, 4000), np.linspace(low, 1, 4000)])
    landed = scalar_map(sigma, name, steps)
    digits = 5e-5 if len(str(interval[0])) > 5 else 6e-4
    assert abs(landed.min() - interval[0]) <= digits
    assert abs(landed.max() - interval[1]) <= digits


@pytest.mark.claim("polar-newton-schulz")
def test_jordan_interval():
    """Singular values in [0.01, 1] land in [0.6818, 1.1344] after five steps.

    On a matrix: singular values in [0.01, 1] of the norm land in [0.6818, 1.1344], and not in less.
    """
    rng = np.random.default_rng(0)
    U = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    V = np.linalg.qr(rng.standard_normal((50, 40)))[0]
    found = []
    for small in np.geomspace(0.01, 0.05, 25):
        sigma = np.full(40, small)
        sigma[0] = np.sqrt(1 - 39 * small**2)  # Frobenius norm 1: the division changes nothing
        found.append(np.linalg.svd(polar_newton_schulz(U * sigma @ V.T), compute_uv=False))
    found = np.array(found)
    assert found.min() >= 0.6818
    assert found.max() <= 1.1344
    assert found.min() < 0.70
    assert found.max() > 1.12


@pytest.mark.claim("polar-newton-schulz")
def test_polar_express_list():
    """The published list of Polar Express is regenerated to 1e-10.

    The recursion with the authors' cushion gives the published numbers, with none those of CANS.
    """
    made = polar_express_coefficients(1e-3, 7)
    published = SCHEDULES["polar-express-raw"].triples[:7]
    # 1e-10: the published numbers carry the rounding of their own 4 x 4 solves (7.4e-11 measured).
    np.testing.assert_allclose(made, published, rtol=1e-10)
    np.testing.assert_allclose(
        polar_express_coefficients(1e-3, 5, cushion=0.0), SCHEDULES["cans"].triples, atol=5.1e-5
    )


def test_integer_schedule_is_transcribed():
    """The six triples over 1024: slopes at 0 and values at 1 are these integers over 1024."""
    triples = 1024 * np.array(SCHEDULES["you"].triples)
    np.testing.assert_array_equal(triples[:, 0], [3955, 3735, 3799, 4019, 2677, 2172])
    np.testing.assert_array_equal(triples.sum(axis=1), [657, 517, 511, 540, 810, 1021])
    np.testing.assert_array_equal(triples @ [1, 3, 5], [4077, 1007, 357, -606, -600, 83])


def test_polar_express_error_bound():
    """‖polar(A) - X_T‖ <= 1 - l_{T+1}, and the bound is attained at the lower end."""
    rng = np.random.default_rng(1)
    U = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    V = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    sigma = np.geomspace(1e-3, 1, 30)
    A = U * sigma @ V.T
    norm = np.linalg.norm(A)
    for steps in range(1, 8):
        low = 1e-3 / norm
        triples = polar_express_coefficients(low, steps, cushion=0.0)
        for a, b, c in triples:
            low = a * low + b * low**3 + c * low**5
        error = np.linalg.norm(polar_newton_schulz(A, steps, triples, eps=0.0) - U @ V.T, 2)
        assert error <= (1 - low) + 1e-12
        assert error >= 0.999 * (1 - low) - 1e-12
