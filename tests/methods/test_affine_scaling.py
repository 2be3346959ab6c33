"""Affine scaling trust regions: written out, inside their box, quadratic, and beside SciPy on bounded least squares."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.optimizers.constrained.affine_scaling import KNOWN
from scipy.optimize import fsolve, least_squares

ALL = ("convex", *KNOWN)
NAME = "affine-scaling-trust-region"


def scaling(
    kind: str, x: np.ndarray, g: np.ndarray, low: np.ndarray, up: np.ndarray, options: dict[str, Any]
) -> np.ndarray:
    """d of one of the papers' scalings, coordinate by coordinate."""
    p, gamma, alpha = options["power"], options["gamma"], options["alpha"]
    if kind == "convex":
        return sum(w * scaling(k, x, g, low, up, options) for w, k in zip(options["weights"], KNOWN))
    d = []
    for xi, gi, li, ui in zip(x, g, low, up):
        ahead = ui - xi if gi < 0 else xi - li
        cl = 1.0 if math.isinf(ahead) else ahead
        least = min(xi - li, ui - xi)
        if kind == "coleman-li":
            d.append(cl)
        elif kind == "heinkenschloss-ulbrich-ulbrich":
            d.append(cl if abs(gi) < least**p or least < abs(gi) ** p else 1.0)
        elif kind == "kanzow-klug":
            free = math.isinf(li) and math.isinf(ui)
            d.append(1.0 if free else min(xi - li + gamma * max(0.0, -gi), ui - xi + gamma * max(0.0, gi)))
        else:
            d.append(1 / alpha if math.isinf(ahead) else ahead / (alpha * ahead + abs(gi)))
    return np.array(d)


def written_out(
    p: Any, x: np.ndarray, kind: str, radius: float | None, theta: float, steps: int, **options: Any
) -> list[tuple[np.ndarray, float]]:
    """The algorithm of Bellavia, Macconi and Morini, with any scaling: point and Δ after every step."""
    low, up = p.bounds(x)
    seen = []
    for _ in range(steps):
        F = p.residual(x)
        J = np.array([p.jvp(x, e) for e in np.eye(x.size)]).T
        g = J.T @ F
        d = scaling(kind, x, g, low, up, options)
        D = np.diag(d**-0.5)
        radius = float(np.linalg.norm(np.linalg.inv(D) @ g)) if radius is None else radius

        def m(s: np.ndarray) -> float:
            return float(g @ s + 0.5 * np.sum((J @ s) ** 2))

        def short(s: np.ndarray) -> np.ndarray:
            alpha = min(
                max((li - xi) / si, (ui - xi) / si) if si else math.inf
                for xi, si, li, ui in zip(x, s, low, up)
            )
            return max(theta, 1 - np.linalg.norm(s)) * alpha * s if alpha <= 1 else s

        newton = -np.linalg.solve(J, F)
        free = -(np.sum(d * g**2) / np.sum((J @ (d * g)) ** 2)) * d * g
        while True:
            cauchy = (
                -radius * d * g / np.linalg.norm(d**0.5 * g) if np.linalg.norm(D @ free) > radius else free
            )
            if np.linalg.norm(D @ newton) <= radius:
                s = short(newton)
            elif np.linalg.norm(D @ free) >= radius:
                s = short(cauchy)
            else:
                a, b = D @ free, D @ (newton - free)
                tau = max(np.roots([b @ b, 2 * a @ b, a @ a - radius**2]).real)
                s = short(free + tau * (newton - free))
            share = m(s) / m(short(cauchy))
            if share < 0.1:
                s = short(cauchy)
            rho = 0.5 * (np.sum(p.residual(x + s) ** 2) - F @ F) / m(s)
            length = float(np.linalg.norm(D @ s))
            if rho >= 0.25:
                break
            radius = min(0.25 * radius, 0.5 * length)
        x = x + s
        if rho > 0.75 and share > 0.1:
            radius = max(radius, 2 * length)
        seen.append((x, radius))
    return seen


BOXES: dict[str, dict[str, Any]] = {
    "inner": {"lower": -2.0, "upper": 1.5},
    "active": {"lower": [-np.inf, -2.0], "upper": [2.0, 1.0]},
    "half": {"lower": [-1.3, -np.inf]},
}


@pytest.mark.identity("affine-scaling-trust-region")
@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("box", BOXES)
def test_written_out(kind: str, box: str) -> None:
    """Point and radius after each of ten steps equal the algorithm written out coordinate by coordinate, for every scaling
    on three boxes, three starting radii and two thetas, to 1e-8 (rounding grows along the valley).
    """
    p = refopt.problem("rosenbrock", **BOXES[box])
    options = {"weights": (0.1, 0.2, 0.3, 0.4), "power": 1.5, "gamma": 0.7, "alpha": 2.5}
    start = np.array([-1.2, 0.9])
    for radius, theta in ((None, 0.99995), (0.7, 0.9), (80.0, 0.99)):
        o = refopt.optimizer(
            NAME, scaling=kind, theta=theta, **options, **({} if radius is None else {"radius": radius})
        )
        x, oracle = start, Oracle(p)
        s = o.init(x)
        for want, size in written_out(p, start, kind, radius, theta, 10, **options):
            x, s = o.step(x, s, oracle)
            np.testing.assert_allclose(x, want, rtol=1e-8, atol=1e-10)
            assert s["radius"] == pytest.approx(size, rel=1e-7)


@pytest.mark.identity("affine-scaling-trust-region")
@pytest.mark.parametrize(
    ("A", "b", "start", "radius", "grows"),
    [
        ([[-1.1, 0.5], [0.5, 1.8]], [-1.0, 0.2], [9e-4, 2.86015], 3.1, False),
        ([[-0.5, -1.7], [-0.5, 2.2]], [-2.5, 0.0], [2.54e-3, 1.33084], 2.0, False),
        ([[1.0, 0.9], [0.2, 1.0]], [1.0, 2.0], [0.9, 1.9], 90.0, False),
        ([[1.0, 0.9], [0.2, 1.0]], [1.0, 2.0], [0.5, 0.9], 0.2, True),
    ],
)
def test_when_the_radius_grows(A: Any, b: Any, start: list[float], radius: float, grows: bool) -> None:
    """On linear systems the model is exact. Beside a bound behind which the root lies, Newton's step is cut to nothing and the
    Cauchy step taken, and the radius stays, although the step is longer than half of it; it stays after a step shorter
    than that, and doubles after one of its own length: as written out, to 1e-12.
    """
    A, b, low, up = np.array(A), np.array(b), np.zeros(2), np.full(2, 3.0)
    p = refopt.from_functions(
        lambda x: 0.5 * np.sum((A @ (x - b)) ** 2),
        residual=lambda x: A @ (x - b), jvp=lambda x, v: A @ v, vjp=lambda x, u: A.T @ u,
        bounds=lambda x: (low, up), x0=np.array(start), least_squares=True,
    )  # fmt: skip
    o = refopt.optimizer("affine-scaling-trust-region", scaling="coleman-li", radius=radius)
    x, s = o.step(p.x0, o.init(p.x0), Oracle(p))
    options = {"power": 2.0, "gamma": 1.0, "alpha": 1.0}
    ((want, size),) = written_out(p, p.x0, "coleman-li", radius, 0.99995, 1, **options)
    np.testing.assert_allclose(x, want, rtol=1e-12)
    assert (
        s["radius"]
        == pytest.approx(size, rel=1e-12)
        == pytest.approx(2 * radius if grows else radius, rel=1e-12)
    )
    flat = refopt.from_functions(
        lambda x: 0.5, residual=lambda x: np.ones(2), jvp=lambda x, v: 0.0 * v, vjp=lambda x, u: 0.0 * u,
        bounds=p.bounds, x0=p.x0, least_squares=True,
    )  # fmt: skip
    np.testing.assert_array_equal(o.step(p.x0, o.init(p.x0), Oracle(flat))[0], p.x0)


@pytest.mark.claim("affine-scaling-trust-region")
@pytest.mark.parametrize("kind", ALL)
def test_quadratic_and_inside(kind: str) -> None:
    """Chandrasekhar's H-equation, c = 0.99, ten unknowns, positive: from ones the errors' exponents at least double, 1e-3 to
    1e-12 within two steps, to SciPy's root (1e-10); with the root on a bound of Rosenbrock's box every point is strictly
    inside, and |F|² ends below 1e-24.
    """
    n, c = 10, 0.99
    mu = (np.arange(1, n + 1) - 0.5) / n
    A = c / (2 * n) * mu[:, None] / (mu[:, None] + mu)

    def F(x: np.ndarray) -> np.ndarray:
        return x - 1 / (1 - A @ x)

    def J(x: np.ndarray) -> np.ndarray:
        return np.eye(n) - A / (1 - A @ x)[:, None] ** 2

    p = refopt.from_functions(
        lambda x: 0.5 * np.sum(F(x) ** 2), residual=F, jvp=lambda x, v: J(x) @ v, vjp=lambda x, u: J(x).T @ u,
        bounds=lambda x: (np.zeros(n), np.full(n, np.inf)), x0=np.ones(n), least_squares=True,
    )  # fmt: skip
    root, seen = fsolve(F, np.ones(n), fprime=J, xtol=1e-12), []
    refopt.minimize(p, NAME, scaling=kind, steps=14, callback=seen.append)
    np.testing.assert_allclose(seen[-1], root, rtol=1e-10)
    errors = [float(np.linalg.norm(x - seen[-1])) for x in seen]
    k = next(i for i, e in enumerate(errors) if e < 0.03)
    for a, b in zip(errors[k:], errors[k + 1 : k + 3]):
        assert b < 5 * a * a + 1e-14
    box = refopt.problem("rosenbrock", lower=-2.0, upper=[2.0, 1.0])
    r = refopt.minimize(box, NAME, np.array([-1.2, 0.9]), scaling=kind, steps=30, callback=seen.append)
    assert r.fun < 1e-24
    assert all(np.all((x > -2.0) & (x < [2.0, 1.0])) for x in seen[14:])


@pytest.mark.identity("affine-scaling-trust-region")
def test_without_bounds_it_is_the_dogleg() -> None:
    """Infinite bounds: d = 1, so all scalings give the same bits (α = 1), and 1/α for Hager, Mair and Zhang's; the run is
    that of Powell's dogleg with these ratios (1e-9), and a full step of Newton's where that is inside the radius.
    """
    p, start = refopt.problem("rosenbrock"), np.array([-1.2, 1.0])
    runs = [refopt.minimize(p, NAME, start, scaling=kind, radius=1.0, steps=8).x for kind in ALL]
    for x in runs[1:]:
        np.testing.assert_array_equal(x, runs[0])
    options = {"weights": (0.25,) * 4, "power": 2.0, "gamma": 1.0, "alpha": 1.0}
    want = written_out(p, start, "coleman-li", 1.0, 0.99995, 8, **options)[-1][0]
    np.testing.assert_allclose(runs[0], want, rtol=1e-9)
    x = np.array([0.9, 0.7])
    newton = x - np.linalg.solve(np.array([p.jvp(x, e) for e in np.eye(2)]).T, p.residual(x))
    np.testing.assert_allclose(refopt.minimize(p, NAME, x, radius=10.0, steps=1).x, newton, rtol=1e-12)


@pytest.mark.claim("affine-scaling-trust-region")
@pytest.mark.parametrize("kind", ALL)
def test_bounded_least_squares(kind: str) -> None:
    """Where no root is inside, it goes to the least sum of squares there, which SciPy's trf finds: 1e-5."""
    p = refopt.problem("rosenbrock", lower=-2.0, upper=[0.5, 2.0])
    want = least_squares(
        p.residual, [-1.2, 0.9], bounds=([-2.0, -2.0], [0.5, 2.0]), xtol=1e-14, ftol=1e-14, gtol=1e-14
    )
    r = refopt.minimize(p, NAME, np.array([-1.2, 0.9]), scaling=kind, steps=80, tol=1e-9)
    assert r.fun == pytest.approx(float(want.cost), rel=1e-5)
    np.testing.assert_allclose(r.x, want.x, atol=1e-5)


@pytest.mark.identity("affine-scaling-trust-region")
def test_stationarity_and_edges() -> None:
    """The measure is the largest |d g|; a root stays, and so does a point where no step gains; scales far beyond the range of
    squares change nothing (1e-12); a point on a bound, weights that do not sum to 1: typed errors.
    """
    p = refopt.problem("rosenbrock", **BOXES["inner"])
    x = np.array([-1.2, 0.9])
    o = refopt.optimizer(NAME, scaling="coleman-li")
    s = o.init(x)
    low, up = p.bounds(x)
    g = p.grad(x)
    want = np.max(
        np.abs(scaling("coleman-li", x, g, low, up, dict.fromkeys(("power", "gamma", "alpha"), 1.0)) * g)
    )
    assert o.stationarity(x, s, Oracle(p)) == pytest.approx(float(want), rel=1e-12)
    y, s = o.step(np.ones(2), {"t": 3, "radius": 0.3}, Oracle(p))
    np.testing.assert_array_equal(y, 1.0)
    assert s == {"t": 4, "radius": 0.3}
    # A gradient with the wrong sign: no step gains.
    wrong = refopt.from_functions(
        p.value, residual=p.residual, jvp=lambda x, v: -p.jvp(x, v), vjp=lambda x, u: -p.vjp(x, u), bounds=p.bounds,
        x0=x, least_squares=True,
    )  # fmt: skip
    y, s = o.step(x, {"t": 0, "radius": 0.3}, Oracle(wrong))
    np.testing.assert_array_equal(y, x)
    assert s == {"t": 1, "radius": 0.3}
    runs = []
    for size in (1.0, 1e-180, 1e180):
        far = refopt.from_functions(
            lambda x: 0.0, residual=lambda x, c=size: c * p.residual(x), jvp=lambda x, v, c=size: c * p.jvp(x, v),
            vjp=lambda x, u, c=size: (p.vjp(x, u / c)), bounds=p.bounds, x0=x, least_squares=True,
        )  # fmt: skip
        runs.append(refopt.minimize(far, NAME, scaling="coleman-li", radius=1.0, steps=5).x)
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-12)
    np.testing.assert_allclose(runs[2], runs[0], rtol=1e-12)
    with pytest.raises(refopt.errors.ArgumentError, match="x0: wanted a point strictly inside"):
        refopt.minimize(p, NAME, np.array([-2.0, 0.0]), steps=1)
    for weights, error in (
        ((0.5, 0.5), "ArgumentTypeError"),
        ((0.3,) * 4, "ArgumentError"),
        ((0.1,) * 4, "ArgumentError"),
        ({0: 0.25, 1: 0.25, 2: 0.25, 3: 0.25}, "ArgumentTypeError"),
        ((-1.0, 1.0, 1.0, 0.0), "ArgumentError"),
    ):
        with pytest.raises(getattr(refopt.errors, error), match="weights"):
            refopt.optimizer(NAME, weights=weights)
