"""The tracked median: its steps are the minimisers that define them, and outliers do not move it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt
from scipy.optimize import minimize as scipy_minimize

from tests.streams import run_refopt

KINDS = ("random", "ill")


def _distance(name: str, z: np.ndarray, mu: float) -> float:
    length = float(np.linalg.norm(z))
    if name == "norm":
        return length
    if name == "absolute":
        return float(np.sum(np.abs(z)))
    if name == "squared":
        return length**2 / 2
    return length**2 / (2 * mu) if length <= mu else length - mu / 2


def _median(settings: dict[str, Any], m: np.ndarray, g: np.ndarray) -> np.ndarray:
    o = refopt.optimizer("median-sgd", lr=0.0, **settings)
    return o.update(m, g, {"t": 0, "m": m})[1]["m"]


@pytest.mark.identity("median-sgd")
@pytest.mark.parametrize("tau", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("name", ["norm", "absolute", "huber", "squared"])
def test_the_proximal_step(name: str, tau: float) -> None:
    """m minimises D(m - g) + |m - m_last|^2 / (2 tau) for all four D: no step of 1e-3 to any side is lower, and
    SciPy finds nothing lower.
    """
    rng = np.random.default_rng(0)
    m, g = rng.standard_normal(3), 2 * rng.standard_normal(3)
    settings = {"distance": name, "tau": tau, "mu": 0.7}
    got = _median(settings, m, g)

    def objective(z: np.ndarray) -> float:
        return _distance(name, z - g, 0.7) + float(np.sum((z - m) ** 2)) / (2 * tau)

    least = objective(got)
    for d in rng.standard_normal((40, 3)):
        assert objective(got + 1e-3 * d / np.linalg.norm(d)) > least
    assert scipy_minimize(objective, m, method="Nelder-Mead", options={"maxiter": 300}).fun >= least - 1e-12


@pytest.mark.identity("median-sgd")
def test_limits() -> None:
    """Anchored at zero it is clipped SGD; half the squared norm is momentum with beta = 1 / (1 + tau); Huber's with
    a tiny mu is the norm's: 200 steps of two streams, to 1e-12.
    """

    def both(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
        for k in KINDS:
            np.testing.assert_allclose(a[k], b[k], rtol=0.0, atol=1e-12 * np.max(np.abs(b[k])))

    common: dict[str, Any] = {"lr": 0.1, "kinds": KINDS}
    both(
        run_refopt("median-sgd", 0, anchor="zero", tau=2.0, **common),
        run_refopt("clipped-sgd", 0, threshold=2.0, **common),
    )
    both(
        run_refopt("median-sgd", 0, distance="squared", tau=0.25, **common),
        run_refopt("momentum", 0, momentum=0.8, dampening=0.8, **common),
    )
    both(
        run_refopt("median-sgd", 0, distance="huber", mu=1e-13, tau=0.5, **common),
        run_refopt("median-sgd", 0, distance="norm", tau=0.5, **common),
    )


@pytest.mark.claim("median-sgd")
@pytest.mark.parametrize("name", ["norm", "absolute", "huber"])
def test_outliers_do_not_move_it(name: str) -> None:
    """With a fifth of the gradients at 1e6, m stays within 15 tau of the median of the others, where the average of the
    squared norm goes beyond 1e4.
    """
    rng = np.random.default_rng(0)
    tau, m, far, mean = 0.02, np.zeros(1), [], np.zeros(1)
    for t in range(1500):
        g = np.array([1e6 if rng.random() < 0.2 else 1.0 + 0.1 * rng.standard_normal()])
        m = _median({"distance": name, "tau": tau, "mu": 0.05}, m, g)
        mean = _median({"distance": "squared", "tau": tau}, mean, g)
        if t > 300:
            far.append(abs(float(m[0]) - 1.0))
    assert max(far) < 15 * tau
    assert mean[0] > 1e4


@pytest.mark.identity("median-sgd")
def test_the_step_is_against_the_median() -> None:
    """x moves by the rate times the new m, from m_0 = 0; a gradient of zero moves nothing at first."""
    o = refopt.optimizer("median-sgd", lr=0.5, tau=0.1)
    x = {"a": np.array([1.0]), "b": np.array([2.0])}
    g = {"a": np.array([3.0]), "b": np.array([4.0])}
    y, s = o.update(x, g, o.init(x))
    assert s["t"] == 1
    assert math.hypot(float(s["m"]["a"][0]), float(s["m"]["b"][0])) == pytest.approx(0.1, rel=1e-14)
    for k in x:
        np.testing.assert_allclose(y[k], x[k] - 0.5 * s["m"][k], rtol=1e-15)
    z, _ = o.update(x, {k: 0.0 * v for k, v in x.items()}, o.init(x))
    np.testing.assert_array_equal(z["a"], x["a"])


@pytest.mark.claim("median-sgd")
@pytest.mark.parametrize("tau", [0.04, 0.02])
def test_which_median(tau: float) -> None:
    """Shown five gradients in turn, of which one is far off, m comes to within 1.04 τ of their geometric median with the
    norm (and with Huber's function of a small μ), 2 τ of the coordinates' medians with absolute values, and with the
    square to within 3.7 τ of their mean, which is 1.8 away, and its mean over a round is that (1e-9).
    """
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.5, 1.2], [9.0, 7.0]])
    middle = points.mean(axis=0)
    for _ in range(500):  # Weiszfeld
        w = 1 / np.linalg.norm(points - middle, axis=1)
        middle = w @ points / np.sum(w)
    assert np.linalg.norm(points.mean(axis=0) - middle) > 1.8
    for distance in ("norm", "huber", "absolute", "squared"):
        o, x, seen = (
            refopt.optimizer("median-sgd", lr=0.0, distance=distance, tau=tau, mu=0.05),
            np.zeros(2),
            [],
        )
        s = o.init(x)
        steps = 5 * math.ceil(6 / tau)
        for t in range(steps):
            x, s = o.update(x, points[t % 5], s)
            seen.append(s["m"])
        last = np.array(seen[-5:])
        if distance == "squared":
            np.testing.assert_allclose(last.mean(axis=0), points.mean(axis=0), atol=1e-9)
            assert 3.68 < np.max(np.abs(last - points.mean(axis=0))) / tau < 3.7
            continue
        want = np.median(points, axis=0) if distance == "absolute" else middle
        away = float(np.max(np.abs(last - want))) / tau
        assert away == pytest.approx(2.0, abs=1e-9) if distance == "absolute" else 1.03 < away < 1.04
