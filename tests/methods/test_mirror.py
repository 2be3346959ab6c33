"""Optimistic and composite mirror descent: regret, last iterates, and what they are without their extras."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.parity.case import Case
from tests.parity.libraries import run_optax
from tests.parity.makers import TWO, ours
from tests.streams import flat, stream

CASES = [
    Case("optimistic-mirror-descent", "optax", "optax",
        ours("optimistic-mirror-descent", scheduled=False, lr=0.03, first="own"),
        lambda seed: run_optax(lambda optax: optax.optimistic_gradient_descent(0.03), seed, TWO),
        says="200 steps of optax's optimistic_gradient_descent, which starts with M_1 = g_1, to 1e-12"),
]  # fmt: skip


class Online:
    """A linear function a step, whose gradient the step alone decides; the feasible set is a ball about zero."""

    def __init__(self, gradients: np.ndarray, radius: float = 1.0) -> None:
        self.gradients, self.radius, self.now = gradients, radius, 0

    def value(self, x: np.ndarray) -> float:
        return 0.0

    def grad(self, x: np.ndarray) -> np.ndarray:
        return self.gradients[self.now]

    def project(self, x: np.ndarray) -> np.ndarray:
        return x * min(1.0, self.radius / max(float(np.linalg.norm(x)), 1e-300))

    def prox(self, x: np.ndarray, step: float) -> np.ndarray:
        return np.sign(x) * np.maximum(np.abs(x) - 0.2 * step, 0.0)


def play(o: Any, problem: Online, x: np.ndarray) -> np.ndarray:
    """The points that are played, one a function, and the one after."""
    s, oracle, out = o.init(x), Oracle(problem), [x]
    for t in range(len(problem.gradients)):
        problem.now = t
        oracle.begin(t + 1)
        oracle.forget()
        x, s = o.step(x, s, oracle)
        out.append(x)
    return np.stack(out)


def _drifting(steps: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    lead = np.stack([np.sin(0.05 * np.arange(steps) + k) for k in range(d)], axis=1)
    return lead + 0.1 * rng.standard_normal((steps, d))


@pytest.mark.claim("optimistic-mirror-descent")
def test_regret() -> None:
    """On a ball and on the simplex the regret stays below D / eta + eta sum |g_t - g_{t-1}|^2 (D half the squared distance,
    or log n; the dual norm), and with drifting gradients below half the bound that plain descent has.
    """
    steps, d = 300, 4
    g = _drifting(steps, d)
    missed = np.diff(g, axis=0, prepend=0.0)
    for eta in (0.05, 0.3, 1.0):
        x = play(
            refopt.optimizer("optimistic-mirror-descent", lr=eta, domain="feasible"), Online(g), np.zeros(d)
        )[:-1]
        best = -np.linalg.norm(np.sum(g, axis=0))
        assert np.sum(g * x) - best <= 0.5 / eta + eta * np.sum(missed**2)
        start = np.full(d, 1 / d)
        x = play(refopt.optimizer("optimistic-mirror-descent", lr=eta, domain="simplex"), Online(g), start)[
            :-1
        ]
        np.testing.assert_allclose(np.sum(x, axis=1), 1.0, rtol=1e-13)
        best = np.min(np.sum(g, axis=0))
        assert np.sum(g * x) - best <= math.log(d) / eta + eta * np.sum(np.max(np.abs(missed), axis=1) ** 2)
    assert np.sum(missed[1:] ** 2) < 0.25 * np.sum(g**2)


@pytest.mark.claim("optimistic-mirror-descent")
def test_a_fixed_smooth_function_costs_a_constant() -> None:
    """On one smooth convex f with eta = 1 / (2 L) the summed regret stays below |x_1 - x*|^2 / (2 eta) + eta |g_1|^2 however
    long it runs, and adaptive rates have a regret that stops growing.
    """
    p = refopt.problem("quadratic", spectrum=np.geomspace(0.05, 2.0, 5))
    x0, eta = p.start(), 0.25
    for k, bound in (
        (
            {"lr": eta},
            float(np.sum((x0 - p.solution) ** 2)) / (2 * eta) + eta * float(np.sum(p.grad(x0) ** 2)),
        ),
        ({"rates": "adaptive", "lr": 4.0, "offset": 16.0}, math.inf),
    ):
        seen: list[float] = [float(p.value(x0))]
        refopt.minimize(
            p,
            "optimistic-mirror-descent",
            x0,
            steps=600,
            callback=lambda x: seen.append(float(p.value(x))),
            **k,
        )
        assert sum(seen) <= bound
        assert sum(seen[300:]) < 0.01 * sum(seen[:300])


@pytest.mark.identity("optimistic-mirror-descent")
def test_two_steps_written_out() -> None:
    """Without constraints x_{t+1} = x_t - 2 eta g_t + eta g_{t-1}; with a ball, the simplex and adaptive rates the two
    lines transcribed, to 1e-12 over 40 steps.
    """
    start, gradients = stream(0, "random", steps=40)
    o = refopt.optimizer("optimistic-mirror-descent", lr=0.1)
    x, s, w, last = start, o.init(start), flat(start), 0.0 * flat(start)
    for g in gradients:
        x, s = o.update(x, g, s)
        w, last = w - 0.2 * flat(g) + 0.1 * last, flat(g)
        np.testing.assert_allclose(flat(x), w, rtol=1e-11, atol=1e-13)
    assert s["t"] == 40

    g = _drifting(40, 3)
    entropy: Callable[[Any, Any], Any] = lambda z, v: z * np.exp(-v) / np.sum(z * np.exp(-v))  # noqa: E731
    for domain, x0, move in (
        ("feasible", np.array([0.1, 0.2, -0.3]), lambda z, v: Online(g).project(z - v)),
        ("simplex", np.array([0.2, 0.3, 0.5]), entropy),
    ):
        for rates in ("constant", "adaptive"):
            o = refopt.optimizer(
                "optimistic-mirror-descent",
                lr=0.7,
                domain=domain,
                rates=rates,
                offset=3.0,
                schedule=lambda t: t**-0.1,
            )
            z, x, total, want, before = x0, x0, 0.0, [x0], np.zeros(3)

            def eta(t: int, total: float) -> float:
                return 0.7 * t**-0.1 / (math.sqrt(3.0 + total) if rates == "adaptive" else 1.0)

            for t in range(1, 41):
                z = move(z, eta(t, total) * g[t - 1])
                total += float(np.sum((g[t - 1] - before) ** 2))
                before = g[t - 1]
                want.append(move(z, eta(t + 1, total) * before))
            np.testing.assert_allclose(play(o, Online(g), x0), np.stack(want), rtol=1e-11, atol=1e-14)


@pytest.mark.identity("optimistic-mirror-descent")
def test_the_gradient_is_of_the_played_point() -> None:
    """On a quadratic whose feasible set is everything both domains are one run, bit for bit."""
    p = refopt.problem("quadratic", n=4)
    free = refopt.from_functions(p.value, p.grad, project=lambda x: x, x0=p.start())
    a = refopt.minimize(free, "optimistic-mirror-descent", lr=0.3, steps=30).x
    b = refopt.minimize(free, "optimistic-mirror-descent", lr=0.3, domain="feasible", steps=30).x
    np.testing.assert_array_equal(a, b)


@pytest.mark.identity("composite-mirror-descent")
def test_composite_steps_minimise() -> None:
    """Each D's step is the minimiser of h + <g, x> + D / eta: no feasible move of 1e-4 lowers it; exact zeros under the p-norm."""
    rng = np.random.default_rng(1)
    eta, lam, p = 0.3, 0.2, 1.5
    g = rng.standard_normal((1, 4))
    for potential in ("euclidean", "p-norm", "entropy"):
        x0 = np.array([0.1, 0.2, 0.3, 0.4]) if potential == "entropy" else np.array([0.5, -0.05, 0.02, -1.0])
        k = {} if potential == "euclidean" else {"penalty": lam, "p": p}
        x = play(
            refopt.optimizer("composite-mirror-descent", potential=potential, lr=eta, **k), Online(g), x0
        )[-1]

        def psi(u: np.ndarray) -> float:
            if potential == "entropy":
                return float(np.sum(u * np.log(u)))
            q = 2.0 if potential == "euclidean" else p
            return 0.5 * float(np.sum(np.abs(u) ** q)) ** (2 / q)

        def slope(u: np.ndarray) -> np.ndarray:
            return np.array([(psi(u + d) - psi(u - d)) / 2e-6 for d in 1e-6 * np.eye(4)])

        def objective(u: np.ndarray) -> float:
            h = psi(u) if potential == "entropy" else float(np.sum(np.abs(u)))
            return lam * h + float(g[0] @ u) + (psi(u) - float(slope(x0) @ (u - x0))) / eta

        least = objective(x)
        for d in rng.standard_normal((60, 4)):
            d = d - np.mean(d) if potential == "entropy" else d
            assert objective(x + 1e-4 * d / np.linalg.norm(d)) > least
        if potential == "entropy":
            assert np.sum(x) == pytest.approx(1.0, rel=1e-14)


@pytest.mark.identity("composite-mirror-descent")
def test_without_extras() -> None:
    """With the Euclidean D it is the proximal gradient method, bit for bit; with p = 2 and no h SGD; with the entropy and no
    h multiplicative weights, x exp(-eta sum g) over its sum, to 1e-12.
    """
    p = refopt.problem(
        "logistic", data=(np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 2), l1=0.02
    )
    common: dict[str, Any] = {"x0": np.full(4, 0.3), "steps": 25}
    a = refopt.minimize(p, "composite-mirror-descent", potential="euclidean", lr=0.5, **common).x
    np.testing.assert_array_equal(a, refopt.minimize(p, "proximal-gradient", lr=0.5, **common).x)
    a = refopt.minimize(p, "composite-mirror-descent", p=2.0, lr=0.5, **common).x
    np.testing.assert_array_equal(a, refopt.minimize(p, "sgd", lr=0.5, **common).x)
    g = _drifting(30, 3)
    x0 = np.array([0.2, 0.3, 0.5])
    x = play(refopt.optimizer("composite-mirror-descent", potential="entropy", lr=0.4), Online(g), x0)[-1]
    w = x0 * np.exp(-0.4 * np.sum(g, axis=0))
    np.testing.assert_allclose(x, w / np.sum(w), rtol=1e-12)


@pytest.mark.identity("composite-mirror-descent")
def test_rates_written_out() -> None:
    """eta / sqrt(t), and eta (T - t + 1) / T^1.5, not over 1 / (2 L), times the schedule; zero after T."""
    make = lambda **k: refopt.optimizer("composite-mirror-descent", lr=2.0, **k)  # noqa: E731
    root, line = make(rates="root", lipschitz=0.5), make(rates="linear", steps=9, schedule=lambda t: 0.5)
    assert [root.rate(t) for t in (1, 4, 16)] == [1.0, 1.0, 0.5]
    assert [line.rate(t) for t in (1, 9, 10, 30)] == pytest.approx([9 / 27, 1 / 27, 0.0, 0.0], rel=1e-15)
    assert make(rates="linear", steps=9, lipschitz=5.0).rate(1) == 0.1
    g = np.array([[1.0], [1.0]])
    path = play(make(rates="root", p=2.0), Online(g), np.array([0.0]))
    np.testing.assert_allclose(path[:, 0], [0.0, -2.0, -2.0 - math.sqrt(2.0)], rtol=1e-15)


@pytest.mark.claim("composite-mirror-descent")
@pytest.mark.parametrize("potential", ["p-norm", "entropy"])
def test_last_iterate(potential: str) -> None:
    """With linear rates the last iterate of a nonsmooth f is within 2 D G / sqrt(T) of the least value, for T = 50 to 800, on
    piecewise linear functions; D and G in the norms of the potential.
    """
    d = 6
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((8, d))
        rows = np.vstack([rows, -rows])
        best = np.full(d, 1 / d) if potential == "entropy" else np.zeros(d)
        x0 = rng.dirichlet(np.ones(d)) if potential == "entropy" else rng.standard_normal(d)
        p = refopt.from_functions(
            lambda x: float(np.max(rows @ (x - best))),
            lambda x: rows[int(np.argmax(rows @ (x - best)))],
            x0=x0,
        )
        if potential == "entropy":
            distance, g_max = math.sqrt(2 * float(best @ np.log(best / x0))), float(np.max(np.abs(rows)))
        else:
            # Half the squared 1.5-norm is 1/2-strongly convex; its dual norm is the 3-norm.
            distance = math.sqrt(2.0) * float(np.sum(np.abs(x0) ** 1.5) ** (1 / 1.5))
            g_max = float(np.max(np.sum(np.abs(rows) ** 3, axis=1) ** (1 / 3)))
        for steps in (50, 200, 800):
            o = refopt.optimizer(
                "composite-mirror-descent",
                potential=potential,
                rates="linear",
                steps=steps,
                lr=distance / g_max,
            )
            r = refopt.minimize(p, o, steps=steps, record_every=steps)
            assert r.fun <= 2 * distance * g_max / math.sqrt(steps)


def test_bad_settings_and_starts() -> None:
    """What does not go together, and starts off the simplex, are told before anything moves."""
    errors = refopt.errors
    with pytest.raises(errors.ArgumentError, match="first"):
        refopt.optimizer("optimistic-mirror-descent", first="own", domain="simplex")
    for name, k in (
        ("optimistic-mirror-descent", {"domain": "simplex"}),
        ("composite-mirror-descent", {"potential": "entropy"}),
    ):
        for x in (np.array([0.5, 0.6]), np.array([1.5, -0.5])):
            with pytest.raises(errors.ArgumentError, match="sum to 1"):
                refopt.optimizer(name, **k).init(x)
    with pytest.raises(errors.ArgumentError, match="steps"):
        refopt.optimizer("composite-mirror-descent", rates="linear")
    with pytest.raises(errors.ArgumentError, match="penalty"):
        refopt.optimizer("composite-mirror-descent", potential="euclidean", penalty=1.0)
    o = refopt.optimizer("optimistic-mirror-descent", domain="feasible")
    with pytest.raises(errors.ArgumentError, match="feasible"):
        o.update(np.zeros(2), np.zeros(2), o.init(np.zeros(2)))
    assert refopt.optimizer("composite-mirror-descent", potential="euclidean").needs == ("grad", "prox")
    assert o.needs == ("grad", "project")


def test_the_simplex_keeps_its_corners_open() -> None:
    """An entry never rounds to zero, however large the gradient, in one array and in two."""
    o = refopt.optimizer("optimistic-mirror-descent", domain="simplex", lr=1.0)
    x = {"a": np.array([0.25, 0.25], dtype=np.float32), "b": np.array([0.5], dtype=np.float32)}
    y, s = o.update(x, {"a": np.array([1e4, 0.0], np.float32), "b": np.array([5.0], np.float32)}, o.init(x))
    assert y["a"].dtype == np.float32
    assert y["a"][0] > 0.0
    assert float(np.sum(y["a"]) + y["b"][0]) == pytest.approx(1.0, rel=1e-6)
    z, _ = o.update(y, {"a": np.array([-1e4, 0.0], np.float32), "b": np.array([5.0], np.float32)}, s)
    assert z["a"][0] > 0.99


@pytest.mark.identity("composite-mirror-descent")
def test_from_zero() -> None:
    """At x = 0 the p-norm's map is 0, and the step that of its inverse at -η g: written out for p = 1.5 (q = 3), to 1e-13."""
    g = np.array([0.3, -0.4, 0.0])
    p = refopt.from_functions(lambda x: float(g @ x), lambda x: g, x0=np.zeros(3))
    r = refopt.minimize(p, "composite-mirror-descent", lr=0.5, p=1.5, steps=1)
    y = -0.5 * g
    want = np.sum(np.abs(y) ** 3) ** (2 / 3 - 1) * np.sign(y) * y**2
    np.testing.assert_allclose(r.x, want, rtol=1e-13)


@pytest.mark.claim("composite-mirror-descent")
def test_last_iterate_of_a_smooth_function() -> None:
    """With constant rates 1/L, L in the norm of the potential, the last iterate is within D(x*, x_1) L/T of the least
    value, T = 1 to 300, on the simplex and with the p-norm. Where f is linear and h is λ Σ x log x what is left of
    log x - log x* is (1 + η λ)^{-T} of what it was at first, whatever η, to 1e-12.
    """
    for seed in range(3):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((5, 8))
        H = A.T @ A
        inside = rng.dirichlet(np.ones(8))
        for potential in ("entropy", "p-norm"):
            if potential == "entropy":
                x0, size = np.full(8, 1 / 8), float(np.max(np.abs(H)))
                distance = float(inside @ np.log(inside / x0))
            else:
                # Half the squared 1.5-norm is 1/2-strongly convex, and ‖A v‖² ≤ ‖A‖² ‖v‖_2² ≤ ‖A‖² ‖v‖_{1.5}².
                x0, size = np.zeros(8), 2 * float(np.linalg.norm(A, 2) ** 2)
                distance = 0.5 * float(np.sum(inside**1.5) ** (2 / 1.5))
            p = refopt.from_functions(
                lambda x: 0.5 * float(np.sum((A @ (x - inside)) ** 2)), lambda x: H @ (x - inside), x0=x0
            )
            r = refopt.minimize(
                p,
                "composite-mirror-descent",
                potential=potential,
                lr=1 / size,
                steps=300,
                record="full",
                record_every=1,
            )
            values = np.append(r.history["value"], r.fun)[1:]
            assert np.all(values <= distance * size / np.arange(1, len(values) + 1))
            assert values[-1] < 1e-2 * values[0]
    cost, lam, x0 = np.array([0.3, -1.0, 2.0, 0.1]), 0.4, np.array([0.7, 0.1, 0.15, 0.05])
    p = refopt.from_functions(lambda x: float(cost @ x), lambda x: cost, x0=x0)
    for eta in (0.1, 5.0):
        r = refopt.minimize(p, "composite-mirror-descent", potential="entropy", lr=eta, penalty=lam, steps=7)
        left, first = np.log(r.x) + cost / lam, np.log(x0) + cost / lam
        want = (first - first.mean()) / (1 + eta * lam) ** 7
        np.testing.assert_allclose(left - left.mean(), want, rtol=0, atol=1e-12)
