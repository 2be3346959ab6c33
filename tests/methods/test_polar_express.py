"""Polar Express."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError, HyperparameterError, RefoptError
from refopt.matrix.polar_schedules import SCHEDULES
from scipy.optimize import linprog

polar_express = refopt.get("polar-express")


@pytest.mark.identity("polar-express")
@pytest.mark.parametrize("shape", [(6, 4), (3, 5), (2, 4, 4)])
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_published_quintics(shape: tuple[int, ...], kind: str) -> None:
    """At its defaults the singular values go through the paper's published quintics, all but the last of them shrunk by 1.01, from one to seven
    steps, real and complex, to 1e-9, which is the rounding in the published numbers.
    """
    rng = np.random.default_rng(0)
    A = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if kind == "complex" else 0.0)
    U, sigma, Vh = np.linalg.svd(A, full_matrices=False)
    for steps in (1, 2, 5, 7):
        y = sigma / (1.01 * np.linalg.norm(A, axis=(-2, -1))[..., None] + 1e-7)
        for k, (a, b, c) in enumerate(SCHEDULES["polar-express-raw"].triples[:steps], 1):
            z = y if k == steps else y / 1.01
            y = a * z + b * z**3 + c * z**5
        np.testing.assert_allclose(polar_express(A, steps), U * y[..., None, :] @ Vh, atol=1e-9)


@pytest.mark.claim("polar-express")
@pytest.mark.parametrize("lower", [0.05, 0.3])
def test_no_better_quintic(lower: float) -> None:
    """One step is the odd quintic of the smallest largest error on [l, 1]: a linear program finds none better, to 1e-6, and the error is met at
    both ends.
    """
    x = np.linspace(lower, 1.0, 2001)
    M, one = np.stack([x, x**3, x**5], axis=1), np.ones((x.size, 1))
    best = linprog(
        [0, 0, 0, 1], np.block([[M, -one], [-M, -one]]), np.r_[np.ones(x.size), -np.ones(x.size)],
        bounds=[(None, None)] * 3 + [(0, None)],
    )  # fmt: skip
    # Frobenius norm 1, so that no division changes the singular values.
    A = np.diag([np.sqrt(1 - lower**2), lower])
    found = np.diag(polar_express(A, 1, lower, cushion=0.0, safety=1.0, eps=0.0))
    assert abs(abs(1 - found[1]) - best.fun) < 1e-6
    top = polar_express(np.ones((1, 1)), 1, lower, cushion=0.0, safety=1.0, eps=0.0)
    assert abs(abs(1 - top[0, 0]) - best.fun) < 1e-6


@pytest.mark.claim("polar-express")
def test_error_bound_and_rivals() -> None:
    """On singular values in [1e-3, 1] of the norm five steps without cushion and safety are wrong by 1 - l_6 at most, which is 0.11345, and attain
    it; the tables of Jordan, You, Cesista and the classical iterations are wrong by more.
    """
    rng = np.random.default_rng(1)
    U = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    V = np.linalg.qr(rng.standard_normal((50, 40)))[0]
    errors = []
    for first in np.geomspace(1e-3, 0.15, 60):
        sigma = np.full(40, first)
        sigma[1] = 1e-3
        sigma[0] = np.sqrt(1 - np.sum(sigma[1:] ** 2))
        A = U * sigma @ V.T
        errors.append(np.linalg.norm(polar_express(A, cushion=0.0, safety=1.0, eps=0.0) - U @ V.T, 2))
    assert abs(max(errors) - 0.11345) < 5e-6
    for rival in ("jordan", "you", "leloykun", "cubic", "quintic", "polar-express"):
        assert np.linalg.norm(refopt.get("polar-newton-schulz")(A, 5, rival, eps=0.0) - U @ V.T, 2) > max(
            errors
        )


def test_cushion_keeps_the_slopes_low() -> None:
    """With a smaller lower end the first quintic's slope at 0 grows without a cushion and stays with one."""
    tiny = np.diag([1.0, 1e-9])
    steep, mild = (
        polar_express(tiny, 1, 1e-6, cushion=c, safety=1.0, eps=0.0)[1, 1] / 1e-9 for c in (0.0, 0.1)
    )
    assert mild < steep


def test_bad_arguments() -> None:
    """Numbers outside their ranges are told by name."""
    for name, value in (
        ("lower", 0.0),
        ("lower", 1.0),
        ("steps", 0),
        ("safety", 0.9),
        ("cushion", -0.1),
        ("eps", -1.0),
    ):
        with pytest.raises((RefoptError, HyperparameterError), match=name):
            polar_express(np.eye(2), **{name: value})


@pytest.mark.parametrize(
    "given", [{"safety": 0.99}, {"lower": 0.0}, {"lower": 1.0}, {"steps": 0}, {"cushion": 1.0}, {"eps": -1.0}]
)
def test_numbers_out_of_range_are_refused(given: dict[str, float]) -> None:
    """By name, before anything is computed."""
    with pytest.raises(ArgumentError, match=next(iter(given))):
        polar_express(np.eye(2), **given)
