"""Coordinate descent for fractions: global in one entry, monotone, its limits, and the problem it is tried on."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator
from scipy.optimize import minimize

from tests.alike import steps_on

SETTINGS: dict[str, dict[str, Any]] = {
    "total-least-squares": {"n": 3, "rows": 6, "bound": 4.0, "l1": 0.3},
    "top-k": {"n": 4, "rows": 6, "k": 2, "bound": 3.0, "l1": 0.2},
    "concave": {"n": 3, "rows": 5, "bound": 2.0, "l1": 0.4},
}


def make(kind: str, **more: Any) -> Any:
    return refopt.problem("fractional-regression", **{"denominator": kind, **SETTINGS[kind], **more})


def pieces(p: Any, x: np.ndarray, i: int) -> tuple[Any, Any]:
    """f's second derivative bound and slope, and h and g of x with y for x_i, as functions of many y."""
    others = np.delete(np.abs(x), i)

    def h(y: np.ndarray) -> np.ndarray:
        return p.l1 * (np.sum(others) + np.abs(y))

    def g(y: np.ndarray) -> np.ndarray:
        if p.denominator == "top-k":
            rows = np.column_stack([np.tile(others, (y.size, 1)), np.abs(y)])
            return np.sum(np.sort(rows, axis=1)[:, -p.k :], axis=1)
        square = np.sum(others**2) + y**2
        return 1 + square if p.denominator == "total-least-squares" else 1 + (p.n * p.bound**2 - square) / 2

    return h, g


def on_a_grid(p: Any, x: np.ndarray, i: int, theta: float, rule: str) -> tuple[float, float]:
    """The best y of entry i by three grids, each on the last one's best cells, and the least value."""
    A, b = p.matrix, p.target
    slope, bend = A[:, i] @ (A @ x - b), A[:, i] @ A[:, i] + theta
    h, g = pieces(p, x, i)
    low, high, f = -p.bound, p.bound, 0.5 * np.sum((A @ x - b) ** 2)
    for _ in range(4):
        y = np.linspace(low, high, 601)
        t = y - x[i]
        q = f + t * slope + bend * t * t / 2 + h(y)
        values = q / g(y) if rule == "fractional" else q - float(p.value(x)) * g(y)
        k = int(np.argmin(values))
        low, high = y[max(k - 1, 0)], y[min(k + 1, 600)]
    return float(y[k]), float(values[k])


@pytest.mark.identity("fractional-cd")
@pytest.mark.parametrize("rule", ["fractional", "parametric"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_written_out(kind: str, rule: str) -> None:
    """Two rounds in turn, and eight entries drawn at random, with the one-dimensional problem solved over a grid of all
    values refined four times: every entry to 1e-6 and F to 1e-7, for three denominators.
    """
    p = make(kind)
    for order in ("cyclic", "random"):
        o = refopt.optimizer("fractional-cd", rule=rule, theta=0.05, order=order)
        x = p.start(1)
        for t, (got, s) in enumerate(steps_on(p, o, 8 if order == "random" else 2 * p.n), start=1):
            i = (t - 1) % p.n if order == "cyclic" else int(generator(0, "method", t).integers(p.n))
            y, _ = on_a_grid(p, x, i, 0.05, rule)
            want = x.copy()
            want[i] = y
            np.testing.assert_allclose(got, want, atol=1e-6)
            assert float(p.value(got)) == pytest.approx(float(p.value(want)), rel=1e-7)
            assert s["t"] == t
            x = got


@pytest.mark.claim("fractional-cd")
@pytest.mark.parametrize("rule", ["fractional", "parametric"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_descent(kind: str, rule: str) -> None:
    """F falls at every step by ``θ t² / (2 g)`` at least, g at the new point, over thirty steps with θ = 0.5; the moves end below
    1e-6, and `stationarity` is the longest of a round.
    """
    p = make(kind)
    o = refopt.optimizer("fractional-cd", rule=rule, theta=0.5)
    points = [p.start(1), *(x for x, _ in steps_on(p, o, 60 * p.n))]
    for a, b in itertools.pairwise(points[:31]):
        t2, g = float(np.sum((b - a) ** 2)), float(p.fraction(b)[2])
        assert float(p.value(b)) <= float(p.value(a)) - 0.5 * t2 / (2 * g) + 1e-14
    assert np.max(np.abs(points[-1] - points[-1 - p.n])) < 1e-6
    x, want = points[3], []
    for i in range(p.n):
        y, _ = on_a_grid(p, x, i, 0.5, rule)
        want.append(abs(y - x[i]))
    assert o.stationarity(x, o.init(x), Oracle(p)) == pytest.approx(max(want), abs=1e-5)


@pytest.mark.claim("fractional-cd")
@pytest.mark.parametrize("rule", ["fractional", "parametric"])
def test_global_minima(rule: str) -> None:
    """With a concave denominator four starts end at one value, to 1e-10 that of SLSQP's best run of four; total least squares
    ends at half the square of the least singular value of [A, b], 1e-12.
    """
    p = make("concave")
    ends = [refopt.minimize(p, "fractional-cd", p.start(s), rule=rule, steps=150).fun for s in range(4)]
    box = [(-p.bound, p.bound)] * p.n
    best = min(
        float(minimize(p.value, p.start(s), method="SLSQP", bounds=box, options={"ftol": 1e-15}).fun)
        for s in range(4)
    )
    assert max(ends) - min(ends) < 1e-12
    assert max(ends) <= best + 1e-10
    q = refopt.problem("fractional-regression", n=3, bound=20.0)
    least = np.linalg.svd(np.column_stack([q.matrix, q.target]))[1][-1]
    assert refopt.minimize(q, "fractional-cd", rule=rule, steps=300).fun == pytest.approx(
        least**2 / 2, abs=1e-12
    )


@pytest.mark.identity("fractional-cd")
@pytest.mark.parametrize("rule", ["fractional", "parametric"])
def test_without_denominator(rule: str) -> None:
    """With g = 1 it is proximal coordinate descent of step 1/(c_i + θ) on the lasso, twelve steps, to 1e-14; x may have leaves."""
    rng = np.random.default_rng(0)
    A, b, l1 = rng.standard_normal((7, 4)), rng.standard_normal(7), 0.4
    flat = np.concatenate

    def whole(x: dict[str, np.ndarray]) -> np.ndarray:
        return flat([x["u"].ravel(), x["v"]])

    def prox(x: Any, i: int, slope: float, curvature: float, level: float) -> float:
        z = whole(x)[i] - slope / curvature
        return float(np.sign(z) * max(abs(z) - l1 / curvature, 0.0) - whole(x)[i])

    p = refopt.from_functions(
        lambda x: 0.5 * np.sum((A @ whole(x) - b) ** 2) + l1 * np.sum(np.abs(whole(x))), coordinate_prox=prox,
        fraction=lambda x: (0.5 * np.sum((A @ whole(x) - b) ** 2), l1 * np.sum(np.abs(whole(x))), 1.0),
        coordinate_slope=lambda x, i: (A[:, i] @ (A @ whole(x) - b), A[:, i] @ A[:, i]),
        x0={"u": np.ones((2, 1)), "v": np.ones(2)},
    )  # fmt: skip
    x = np.ones(4)
    for k in range(12):
        i = k % 4
        step = 1 / (A[:, i] @ A[:, i] + 0.1)
        z = x[i] - step * (A[:, i] @ (A @ x - b))
        x[i] = np.sign(z) * max(abs(z) - l1 * step, 0.0)
    r = refopt.minimize(p, "fractional-cd", rule=rule, theta=0.1, steps=12)
    np.testing.assert_allclose(whole(r.x), x, atol=1e-14)
    assert r.calls["coordinate_slope"] == 12


def test_a_denominator_of_zero() -> None:
    p = make("top-k")
    o = refopt.optimizer("fractional-cd")
    with pytest.raises(refopt.errors.ConvergenceError, match="positive denominator"):
        o.step(np.zeros(4), o.init(np.zeros(4)), Oracle(p))


@pytest.mark.identity("fractional-regression")
@pytest.mark.parametrize("kind", SETTINGS)
def test_parts(kind: str) -> None:
    """f, h and g written out (1e-14); slopes and second derivatives of f by differences (1e-6); F is their ratio."""
    p = make(kind)
    x = np.random.default_rng(1).standard_normal(p.n)
    f, h, g = map(float, p.fraction(x))
    away = p.matrix @ x - p.target
    assert f == pytest.approx(float(away @ away) / 2, rel=1e-14)
    assert h == pytest.approx(p.l1 * float(np.sum(np.abs(x))), rel=1e-14)
    assert g == pytest.approx(float(pieces(p, x, 0)[1](x[:1])[0]), rel=1e-14)
    assert float(p.value(x)) == (f + h) / g
    for i in range(p.n):
        e = 1e-4 * np.eye(p.n)[i]
        up, down = float(p.fraction(x + e)[0]), float(p.fraction(x - e)[0])
        slope, bend = map(float, p.coordinate_slope(x, i))
        assert slope == pytest.approx((up - down) / 2e-4, rel=1e-6)
        assert bend == pytest.approx((up + down - 2 * f) / 1e-8, rel=1e-4)


@pytest.mark.claim("fractional-regression")
def test_best_of_one_entry() -> None:
    """No value on a grid of the box is better than the closed form's, in 90 random one-dimensional problems of three
    denominators with positive, negative and no curvature; it is within the box.
    """
    rng = np.random.default_rng(2)
    for kind in SETTINGS:
        p = make(kind)
        y = np.linspace(-p.bound, p.bound, 801)
        for _ in range(30):
            x, i = np.clip(2 * rng.standard_normal(p.n), -p.bound, p.bound), int(rng.integers(p.n))
            slope, level = 2 * rng.standard_normal(), float(rng.uniform(0.0, 2.0))
            bend = float(rng.choice([0.0, 0.5, 3.0]))
            h, g = pieces(p, x, i)

            def cost(
                y: np.ndarray, x: Any = x, i: int = i, v: Any = (slope, bend, level), h: Any = h, g: Any = g
            ) -> np.ndarray:
                t = y - x[i]
                return v[0] * t + v[1] * t * t / 2 + h(y) - v[2] * g(y)

            t = float(p.coordinate_prox(x, i, slope, bend, level))
            assert abs(x[i] + t) <= p.bound * (1 + 1e-15)
            assert cost(np.array([x[i] + t]))[0] <= np.min(cost(y)) + 1e-12
    with pytest.raises(refopt.errors.ArgumentError, match="denominator"):
        refopt.problem("fractional-regression", denominator="one")
    wide = refopt.problem("fractional-regression", bound=0.5)
    assert wide.solution is None and wide.optimum is None
