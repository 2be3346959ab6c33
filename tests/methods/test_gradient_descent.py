"""Rates of gradient descent, heavy ball and Nesterov on quadratics.

Identities between the forms of momentum.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.streams import schedule

H = np.array([0.5, 1.0, 3.0, 8.0, 50.0])
L, MU = H.max(), H.min()
KAPPA = L / MU


class Diagonal:
    """f(x) = sum h x² / 2."""

    def value(self, x: np.ndarray) -> float:
        return 0.5 * float(np.sum(H * x * x))

    def grad(self, x: np.ndarray) -> np.ndarray:
        return H * x


def _run(name: str, steps: int, **kwargs: object) -> np.ndarray:
    o, x = refopt.optimizer(name, **kwargs), np.ones(5)
    s, oracle, rows = o.init(x), Oracle(Diagonal()), [x]
    for t in range(1, steps + 1):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        rows.append(x)
    return np.stack(rows)


@pytest.mark.claim("sgd")
def test_error_by_eigenvalue() -> None:
    """On a quadratic every eigencomponent of the error is (1 - lr h)^t of its start, 50 steps to 200
    units in the last place.

    Each component of the error is (1 - lr h)^t exactly.
    """
    lr = 0.013
    rows = _run("sgd", 50, lr=lr)
    t = np.arange(51)[:, None]
    # 50 multiplications, each rounded once or twice.
    np.testing.assert_allclose(rows, (1 - lr * H) ** t, rtol=200 * np.finfo(float).eps)


@pytest.mark.claim("sgd")
def test_best_constant_rate() -> None:
    """Rate 2 / (L + mu) gives the factor (k - 1) / (k + 1), to 1e-10.

    lr = 2 / (L + mu): the error contracts by (kappa - 1) / (kappa + 1) a step, no less.
    """
    rows = _run("sgd", 900, lr=2 / (L + MU))
    norm = np.linalg.norm(rows, axis=1)
    factor = (KAPPA - 1) / (KAPPA + 1)
    assert norm[-1] / norm[-2] == pytest.approx(factor, rel=1e-10)


@pytest.mark.claim("momentum")
def test_heavy_ball_rate() -> None:
    """On a quadratic Polyak's rate and momentum give the factor (sqrt k - 1) / (sqrt k + 1), to 1 %
    over 125 steps.

    Polyak's rate and momentum: the spectral radius is (sqrt kappa - 1) / (sqrt kappa + 1).
    """
    root = np.sqrt(KAPPA)
    lr = 4 / (np.sqrt(L) + np.sqrt(MU)) ** 2
    gamma = ((root - 1) / (root + 1)) ** 2
    steps = 250
    rows = _run("momentum", steps, lr=lr, momentum=gamma)
    norm = np.linalg.norm(rows, axis=1)
    rate = (norm[steps] / norm[steps // 2]) ** (2 / steps)
    # A double root: the norm is t times the power, which the 125 steps leave as 2^(1/125) = 1.0056.
    assert rate == pytest.approx((root - 1) / (root + 1), rel=0.01)


@pytest.mark.claim("momentum")
def test_terminal_velocity() -> None:
    """Under a constant gradient the step tends to lr g / (1 - momentum), to 1e-12 after 200 steps."""
    o = refopt.optimizer("momentum", lr=0.1, momentum=0.7)
    x, g = np.zeros(1), np.array([2.0])
    s = o.init(x)
    for _ in range(200):
        before = x
        x, s = o.update(x, g, s)
    assert (before - x)[0] == pytest.approx(0.1 * 2.0 / 0.3, rel=1e-12)


@pytest.mark.claim("nesterov")
def test_nesterov_rate() -> None:
    """On a strongly convex quadratic f - f* stays below (1 - 1 / sqrt k)^t (f_0 - f* + mu |x_0 - x*|²
    / 2) for 200 steps.

    gamma = (sqrt kappa - 1) / (sqrt kappa + 1), lr = 1 / L: f - f* contracts by 1 - 1 / sqrt kappa.
    """
    root = np.sqrt(KAPPA)
    rows = _run("nesterov", 200, lr=1 / L, momentum=(root - 1) / (root + 1))
    f = 0.5 * np.sum(H * rows**2, axis=1)
    t = np.arange(201)
    bound = (f[0] + MU / 2 * 5) * (1 - 1 / root) ** t
    assert np.all(f <= bound * (1 + 1e-12))
    # The bound's rate is the right one: the run is not faster than its square.
    assert f[-1] >= f[0] * (1 - 1 / root) ** 400


def grad(x: np.ndarray) -> np.ndarray:
    return np.array([1.0, 10.0, 0.1]) * x + 0.3 * np.sin(x)


@pytest.mark.identity("nesterov")
@pytest.mark.parametrize(("dialect", "multiplier"), [("torch", None), ("keras", None), ("keras", schedule)])
def test_shifted_form_is_look_ahead_point(dialect: str, multiplier: object) -> None:
    """torch's x is the overview's look-ahead point y (constant rate), Keras's under a schedule too,
    to 1e-12.

    The libraries' x is the overview's y = x - gamma v: torch's at a constant rate, Keras's at any.
    """
    common = {"lr": 0.03, "momentum": 0.8, "schedule": multiplier}
    paper = refopt.optimizer("nesterov", **common)
    library = refopt.optimizer("nesterov", dialect=dialect, **common)
    x = y = np.array([1.0, -2.0, 3.0])
    sx, sy = paper.init(x), library.init(y)
    for _ in range(60):
        ahead = paper.look_ahead_point(x, sx)
        np.testing.assert_allclose(y, ahead, rtol=1e-12, atol=1e-14)
        x, sx = paper.update(x, grad(ahead), sx)
        y, sy = library.update(y, grad(y), sy)


def test_torch_form_leaves_the_overview_under_a_schedule() -> None:
    """Outside form: with a changing rate the two part, so the test above can fail."""
    common = {"lr": 0.03, "momentum": 0.8, "schedule": schedule}
    paper, library = (
        refopt.optimizer("nesterov", **common),
        refopt.optimizer("nesterov", dialect="torch", **common),
    )
    x = y = np.array([1.0, -2.0, 3.0])
    sx, sy = paper.init(x), library.init(y)
    for _ in range(5):
        x, sx = paper.update(x, grad(paper.look_ahead_point(x, sx)), sx)
        y, sy = library.update(y, grad(y), sy)
    assert np.max(np.abs(y - paper.look_ahead_point(x, sx))) > 1e-3


def test_rate_inside_equals_outside_at_a_constant_rate() -> None:
    """v inside is lr times v outside."""
    inside = refopt.optimizer("momentum", lr=0.05)
    outside = refopt.optimizer("momentum", lr=0.05, rate_inside=False)
    x = y = np.array([1.0, -2.0, 3.0])
    sx, sy = inside.init(x), outside.init(y)
    for _ in range(50):
        x, sx = inside.update(x, grad(x), sx)
        y, sy = outside.update(y, grad(y), sy)
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(sx["v"], 0.05 * sy["v"], rtol=1e-12, atol=1e-14)
