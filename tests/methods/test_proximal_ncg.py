"""The proximal Hager-Zhang method written out, its smooth limits, and what its manuscript says of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.optimizers.constrained.proximal_ncg import Trial
from scipy.optimize import brentq

from tests.alike import steps_on
from tests.methods.test_constrained import folded, soft

L1, RHO = 0.3, 0.4
SEARCHES = ("wolfe-powell", "exact", "backtracking")


def hager_zhang(new: np.ndarray, old: np.ndarray, d: np.ndarray, eta: float) -> float:
    """The conjugate parameter from s_{k+1}, s_k and d_k."""
    y = new - old
    beta = (y - 2 * d * (y @ y) / (d @ y)) @ new / (d @ y)
    return float(max(beta, -1 / (np.linalg.norm(d) * min(eta, np.linalg.norm(old)))))


def alpha_of(how: str, phi: Any, G: Any, x: np.ndarray, d: np.ndarray, c: dict[str, float]) -> float:
    """The step length of each search, from the conditions as the manuscript prints them."""
    if how == "exact":
        high = 1.0
        while G(x + high * d) @ d < 0:
            high *= 2
        return float(brentq(lambda a: G(x + a * d) @ d, 0.0, high, xtol=1e-15, rtol=1e-14))
    if how == "backtracking":
        a = 1.0
        while -G(x + c["kappa"] * a * d) @ d < c["kappa"] * c["sigma"] * a * (d @ d):
            a /= 2
        return a
    low, high, a = 0.0, np.inf, 1.0
    for _ in range(60):
        if phi(x + a * d) > phi(x) + c["c1"] * a * (G(x) @ d):
            high = a
        elif G(x + a * d) @ d < c["c2"] * (G(x) @ d):
            low = a
        else:
            return a
        a = (low + high) / 2 if high < np.inf else 2 * low
    raise AssertionError("no step fulfils both conditions")


@pytest.mark.identity("proximal-ncg")
@pytest.mark.parametrize(
    ("how", "surrogate", "steps", "c"),
    [
        ("wolfe-powell", "quadratic", 12, {"c1": 0.02, "c2": 0.3}),
        ("wolfe-powell", "quadratic", 6, {"c1": 0.35, "c2": 0.95}),
        ("wolfe-powell", "composed", 4, {"c1": 0.02, "c2": 0.3}),
        ("exact", "quadratic", 12, {}),
        ("backtracking", "quadratic", 12, {"kappa": 0.8, "sigma": 1.9}),
        ("backtracking", "quadratic", 12, {"kappa": 1.0, "sigma": 0.1}),
    ],
)
def test_transcribed(how: str, surrogate: str, steps: int, c: dict[str, float]) -> None:
    """Algorithm 3 written out with soft thresholds on a SCAD penalty, with each line search, both lines of (91) and several constants: 4 to
    12 steps (4 of the first line, with which no step fulfils both conditions later), x_k and p_k to 1e-10.
    """
    p = folded("scad", L1)

    def prox(x: np.ndarray) -> np.ndarray:
        return soft(x - RHO * p.grad(x), RHO * L1)

    def G(x: np.ndarray) -> np.ndarray:
        return (x - prox(x)) / RHO

    def phi(x: np.ndarray) -> float:
        g, u = p.grad(x), prox(x)
        value = p.value(x) + g @ (u - x) + (u - x) @ (u - x) / (2 * RHO) + L1 * np.sum(np.abs(u))
        return float(value + (RHO * (g @ g) / 2 if surrogate == "composed" else 0.0))

    o = refopt.optimizer("proximal-ncg", lr=RHO, line_search=how, surrogate=surrogate, **c)
    x, d, before = np.full(8, 0.5), None, None
    for point, state in steps_on(p, o, steps, np.full(8, 0.5)):
        s = x - prox(x)
        d = -s if d is None else -s + hager_zhang(s, before, d, 0.01) * d
        x, before = x + alpha_of(how, phi, G, x, d, c) * d, s
        np.testing.assert_allclose(state["x"], x, rtol=0, atol=1e-10)
        np.testing.assert_allclose(point, prox(x), rtol=0, atol=1e-10)


@pytest.mark.identity("proximal-ncg")
def test_the_two_surrogates() -> None:
    """Of an l1 penalty the first line of (91) is f and the Moreau envelope of the penalty at ``x - ρ ∇f(x)``, a sum of Huber functions; the last
    one has ``ρ ‖∇f(x)‖² / 2`` less: 50 points, to 1e-12. The slope along d is ``<G, d>``.
    """
    p, rng = folded("mcp", L1), np.random.default_rng(0)
    d = rng.standard_normal(8)
    for _ in range(50):
        x = rng.standard_normal(8)
        g = p.grad(x)
        away = np.abs(x - RHO * g)
        huber = np.where(away <= RHO * L1, away**2 / (2 * RHO), L1 * away - RHO * L1**2 / 2)
        for surrogate, less in (("composed", 0.0), ("quadratic", RHO * (g @ g) / 2)):
            o: Any = refopt.optimizer("proximal-ncg", surrogate=surrogate)
            trial = o.at(Oracle(p), x, RHO, d)
            assert trial.value == pytest.approx(p.value(x) + np.sum(huber) - less, rel=1e-12)
            assert trial.slope == pytest.approx((x - soft(x - RHO * g, RHO * L1)) @ d / RHO, rel=1e-12)


@pytest.mark.identity("proximal-ncg")
def test_without_h_it_is_conjugate_gradients() -> None:
    """f a quadratic of six variables, no h, exact line searches: x_k are linear conjugate gradients', to 1e-9, and the sixth is the minimum."""
    rng = np.random.default_rng(1)
    M = rng.standard_normal((6, 6))
    A, b = M @ M.T + np.eye(6), rng.standard_normal(6)
    p = refopt.from_functions(
        lambda x: x @ A @ x / 2 - b @ x, lambda x: A @ x - b, prox=lambda x, step: x, x0=np.zeros(6)
    )
    o = refopt.optimizer("proximal-ncg", lr=0.9 / np.linalg.norm(A, 2), line_search="exact")
    y, r = np.zeros(6), b
    d = r
    for _, state in steps_on(p, o, 6, np.zeros(6)):
        alpha = (r @ r) / (d @ A @ d)
        y, before = y + alpha * d, r @ r
        r = r - alpha * A @ d
        d = r + (r @ r) / before * d
        np.testing.assert_allclose(state["x"], y, rtol=0, atol=1e-9)
    np.testing.assert_allclose(A @ state["x"], b, atol=1e-9)


@pytest.mark.identity("proximal-ncg")
def test_without_h_it_is_hager_and_zhangs_method() -> None:
    """No h, the first line of (91): the method in f and ∇f alone, its steps ρ times as long, on a sum of quartics in two leaves, 15 steps,
    to 1e-9. One array and a dict have one run.
    """
    rng = np.random.default_rng(2)
    M = rng.standard_normal((5, 5))
    A = M @ M.T / 5 + 0.1 * np.eye(5)

    def f(x: np.ndarray) -> float:
        return float(x @ A @ x / 2 + np.sum(x**4) / 4)

    def slope(x: np.ndarray) -> np.ndarray:
        return A @ x + x**3

    def join(x: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([x["a"], x["b"].ravel()])

    def split(x: np.ndarray) -> dict[str, np.ndarray]:
        return {"a": x[:3], "b": x[3:].reshape(2, 1)}

    start, rho = 2.0 * rng.standard_normal(5), 0.05
    more: dict[str, Any] = {"penalty": lambda x: 0.0, "prox": lambda x, step: x}
    whole = refopt.from_functions(f, slope, x0=start, **more)
    parts = refopt.from_functions(
        lambda x: f(join(x)), lambda x: split(slope(join(x))), x0=split(start), **more
    )
    o = refopt.optimizer("proximal-ncg", lr=rho, surrogate="composed", c1=0.1)
    x, d, before = start, None, None
    both = zip(steps_on(whole, o, 15, start), steps_on(parts, o, 15, split(start)))
    for (point, state), (_, in_parts) in both:
        g = slope(x)
        d = -g if d is None else -g + hager_zhang(g, before, d, 0.01) * d
        alpha = alpha_of("wolfe-powell", f, slope, x, rho * d, {"c1": 0.1, "c2": 0.9})
        x, before = x + alpha * rho * d, g
        np.testing.assert_allclose(state["x"], x, rtol=0, atol=1e-9)
        np.testing.assert_allclose(point, x - rho * slope(x), rtol=0, atol=1e-9)
        np.testing.assert_allclose(join(in_parts["x"]), x, rtol=0, atol=1e-9)


@pytest.mark.claim("proximal-ncg")
def test_every_direction_descends() -> None:
    """Whatever the line search, ``<s, d> ≤ -7/8 ‖s‖²`` (Hager and Zhang's Theorem 1.1, by which the manuscript's root exists): 2000 random
    triples of five sizes, where the bound η_k is the larger of the two in some and not in others.
    """
    o: Any = refopt.optimizer("proximal-ncg", eta=0.5)
    rng = np.random.default_rng(0)
    bound = 0
    for i in range(2000):
        new, old, d = 10.0 ** (i % 5 - 2) * rng.standard_normal((3, 3))
        d = d if d @ (new - old) > 0 else -d
        want = hager_zhang(new, old, d, 0.5)
        bound += want == -1 / (np.linalg.norm(d) * min(0.5, np.linalg.norm(old)))
        got = o.beta(new, old, d)
        assert got == pytest.approx(want, rel=1e-12)
        assert new @ (-new + got * d) <= -7 / 8 * (new @ new) * (1 - 1e-9)
    assert 200 < bound < 1800
    assert o.beta(new, new, d) == 0.0
    assert o.beta(new, 0.0 * new, d) == 0.0


@pytest.mark.claim("proximal-ncg")
def test_the_gradient_analog_is_lipschitz() -> None:
    """Lemma 11: ``‖G(x) - G(y)‖ ≤ (L + 1/ρ) ‖x - y‖``, with the MCP penalty at 500 pairs of points; at a quarter of them by more than half of it."""
    p = folded("mcp")
    rho = 0.9 / p.lipschitz
    o: Any = refopt.optimizer("proximal-ncg", lr=rho)
    rng, shares = np.random.default_rng(0), []
    for _ in range(500):
        x = rng.standard_normal(8)
        y = x + rng.choice([1e-3, 1.0]) * rng.standard_normal(8)
        gap = (o.at(Oracle(p), x, rho, None).s - o.at(Oracle(p), y, rho, None).s) / rho
        shares.append(np.linalg.norm(gap) / ((p.lipschitz + 1 / rho) * np.linalg.norm(x - y)))
    assert max(shares) <= 1.0
    assert np.quantile(shares, 0.75) > 0.3


@pytest.mark.claim("proximal-ncg")
@pytest.mark.parametrize("how", SEARCHES)
@pytest.mark.parametrize("kind", ["scad", "mcp"])
def test_stationary_points(kind: str, how: str) -> None:
    """With SCAD and MCP penalties G vanishes where a Clarke subgradient of the whole objective does (Lemma 10): the coefficients of
    least squares on the support, zeros elsewhere, to 1e-7, with every line search.
    """
    p = folded(kind)
    r = refopt.minimize(p, "proximal-ncg", line_search=how, steps=200, tol=1e-8)
    assert r.status == "converged"
    rng = np.random.default_rng(0)
    A = rng.standard_normal((60, 8))
    b = A @ np.array([2.0, -1.5, 0, 0, 0, 0, 3.0, 0]) + 0.2 * rng.standard_normal(60)
    free = np.linalg.lstsq(A[:, [0, 1, 6]], b, rcond=None)[0]
    np.testing.assert_array_equal(np.nonzero(r.x)[0], [0, 1, 6])
    np.testing.assert_allclose(r.x[[0, 1, 6]], free, rtol=0, atol=1e-7)


def lasso(condition: float) -> Any:
    """An l1 penalty and least squares of L = 1 with the condition number."""
    rng, n, l1 = np.random.default_rng(0), 40, 1e-3
    A = np.linalg.qr(rng.standard_normal((60, n)))[0] * np.geomspace(condition**-0.5, 1, n)
    A = A @ np.linalg.qr(rng.standard_normal((n, n)))[0]
    b = A @ np.where(rng.random(n) < 0.3, 3.0 * rng.standard_normal(n), 0.0)
    return refopt.from_functions(
        lambda x: np.sum((A @ x - b) ** 2) / 2, lambda x: A.T @ (A @ x - b), penalty=lambda x: l1 * np.sum(np.abs(x)),
        prox=lambda x, step: soft(x, l1 * step), x0=np.zeros(n), lipschitz=1.0,
    )  # fmt: skip


@pytest.mark.claim("proximal-ncg")
def test_it_accelerates() -> None:
    """A lasso of condition 10 and of 1000, to a gradient mapping of 1e-6: proximal gradient takes 68 and 1221 gradients, this method 35 and
    213, its line searches included; a hundredfold condition costs less than tenfold, as of conjugate gradients, where there it costs more.
    """
    calls = {}
    for name in ("proximal-gradient", "proximal-ncg"):
        for condition in (10.0, 1000.0):
            r = refopt.minimize(lasso(condition), name, steps=2000, tol=1e-6, record_every=2000)
            assert r.status == "converged"
            calls[name, condition] = r.calls["grad"]
    assert calls["proximal-ncg", 10.0] < 0.6 * calls["proximal-gradient", 10.0]
    assert calls["proximal-ncg", 1000.0] < 0.25 * calls["proximal-gradient", 1000.0]
    assert calls["proximal-ncg", 1000.0] < 10 * calls["proximal-ncg", 10.0]
    assert calls["proximal-gradient", 1000.0] > 15 * calls["proximal-gradient", 10.0]


@pytest.mark.identity("proximal-ncg")
def test_where_a_search_finds_nothing() -> None:
    """Behind `evaluations` points: x stays and the next direction is -s, along which α = 1 is the proximal step; a function that is
    infinite behind a wall is searched in front of it; the longest step of enough decrease is kept; at a minimum nothing moves.
    """
    p = folded("scad")
    o = refopt.optimizer("proximal-ncg", lr=RHO, c1=0.999, evaluations=2)
    start = np.full(8, 0.5)
    (x, s), (y, u) = steps_on(p, o, 2, start)
    np.testing.assert_array_equal(s["x"], start)
    np.testing.assert_array_equal(u["d"], -(start - x))
    np.testing.assert_array_equal(x, y)
    # The curvature condition alone fails: the second point, twice as far, is kept.
    flat = refopt.from_functions(
        lambda x: 1e-3 * x @ x / 2, lambda x: 1e-3 * x, penalty=lambda x: 0.0, prox=lambda x, step: x, x0=np.ones(2)
    )  # fmt: skip
    for how in ("wolfe-powell", "exact"):
        narrow = refopt.optimizer("proximal-ncg", lr=1.0, line_search=how, evaluations=2)
        _, s = steps_on(flat, narrow, 1, np.ones(2))[0]
        np.testing.assert_allclose(s["x"], np.ones(2) * (1 - 2e-3), rtol=1e-13)
    halved = refopt.optimizer("proximal-ncg", lr=1.0, line_search="backtracking", evaluations=2)
    _, s = steps_on(flat, halved, 1, np.ones(2))[0]
    np.testing.assert_allclose(s["x"], np.ones(2) * (1 - 1e-3), rtol=1e-13)
    wall = refopt.from_functions(
        lambda x: -np.log(x[0]) + x[0] if x[0] > 0 else np.inf, lambda x: 1.0 - 1.0 / np.where(x > 0, x, np.nan),
        penalty=lambda x: 0.0, prox=lambda x, step: x, x0=np.array([3.0]),
    )  # fmt: skip
    for how in ("wolfe-powell", "exact"):
        r = refopt.minimize(
            wall, "proximal-ncg", lr=8.0, line_search=how, surrogate="composed", steps=60, tol=1e-7
        )
        assert r.status == "converged"
        np.testing.assert_allclose(r.x, 1.0, atol=1e-6)
    best = refopt.minimize(p, "proximal-ncg", start, line_search="exact", steps=200, tol=1e-13)
    for how in SEARCHES:
        _, s = steps_on(flat, refopt.optimizer("proximal-ncg", lr=0.5, line_search=how), 1, np.zeros(2))[0]
        np.testing.assert_array_equal(s["x"], 0.0)
    assert best.nit < 60


@pytest.mark.identity("proximal-ncg")
def test_what_a_search_tries() -> None:
    """α = 1, 2 and 4 while the slope is too steep, then the middle of what is too short and what is too high, by hand; and no more gradients
    than allowed: a point's is asked for once, and one more where κ < 1.
    """
    o: Any = refopt.optimizer("proximal-ncg", c1=0.1, c2=0.5)
    tried = []

    def trial(alpha: float) -> Trial:
        tried.append(alpha)
        value = {1.0: -1.0, 2.0: -2.0, 4.0: 1.0, 3.0: -2.6, 3.5: -3.0}[alpha]
        slope = {1.0: -1.0, 2.0: -1.0, 4.0: 2.0, 3.0: -0.6, 3.5: -0.5}[alpha]
        return Trial(alpha, 0.0, None, None, None, slope, value)

    start = Trial(0.0, 0.0, None, None, None, 0.0, 0.0)
    assert o.wolfe_powell(trial, start, -1.0).x == 3.5
    assert tried == [1.0, 2.0, 4.0, 3.0, 3.5]
    # φ(4) = -0.39 is above φ(0) - 0.1 · 4, and would not be above φ(0) - 0.1.
    tried.clear()
    assert (
        o.wolfe_powell(
            lambda alpha: dataclasses.replace(trial(alpha), value=-0.39) if alpha == 4.0 else trial(alpha),
            start,
            -1.0,
        ).x
        == 3.5
    )
    p = folded("scad")
    for kappa, asked in ((1.0, 2), (0.5, 3)):
        r = refopt.minimize(p, "proximal-ncg", line_search="backtracking", kappa=kappa, steps=1)
        assert r.calls["grad"] == asked
    for most in (2, 3, 5):
        oracle = Oracle(p)
        o = refopt.optimizer("proximal-ncg", line_search="exact", evaluations=most)
        o.step(np.full(8, 0.5), o.init(np.full(8, 0.5)), oracle)
        assert oracle.counts.calls["grad"] == 1 + most


@pytest.mark.identity("proximal-ncg")
def test_what_it_asks_for() -> None:
    """One gradient a point that is looked at, the start's among them; values only for wolfe-powell; no rate and no L is an error that says
    so; a rate of zero stays, and one that falls with the step is the step's; a batch's gradient is asked for anew.
    """
    p = folded("scad")
    for how, names in (("wolfe-powell", {"value", "grad", "prox", "penalty"}), ("exact", {"grad", "prox"})):
        r = refopt.minimize(p, "proximal-ncg", line_search=how, steps=1)
        assert set(r.calls) - {"recorded"} == names
        assert set(refopt.optimizer("proximal-ncg", line_search=how).needs) == names
    r = refopt.minimize(p, "proximal-ncg", steps=1)
    assert r.calls["grad"] == r.calls["value"] == 2
    plain = refopt.from_functions(
        lambda x: x @ x, lambda x: 2 * x, penalty=lambda x: 0.0, prox=lambda x, step: x, x0=np.ones(2)
    )
    with pytest.raises(refopt.errors.ArgumentError, match="lr is None"):
        refopt.minimize(plain, "proximal-ncg", steps=2)
    r = refopt.minimize(plain, "proximal-ncg", lr=0.0, steps=3, tol=1e-9)
    np.testing.assert_array_equal(r.x, 1.0)
    assert r.status == "converged"
    o = refopt.optimizer("proximal-ncg", lr=lambda t: {1: 0.0, 2: 0.25, 3: 0.125}[t])
    points = steps_on(plain, o, 2, np.ones(2))
    np.testing.assert_array_equal(points[0][0], 1.0)
    assert points[1][1]["t"] == 2
    np.testing.assert_allclose(points[1][1]["s"], 0.5, rtol=1e-14)
    here = refopt.optimizer("proximal-ncg", lr=lambda t: {1: 0.3, 3: 0.125}[t])
    x, s = steps_on(p, refopt.optimizer("proximal-ncg", lr=0.2), 2, np.full(8, 0.5))[1]
    for t, y, rho in ((2, s["x"], 0.125), (0, x, 0.3)):
        want = np.max(np.abs(y - soft(y - rho * p.grad(y), rho * L1))) / rho
        assert here.stationarity(x, {**s, "t": t}, Oracle(p)) == pytest.approx(want, rel=1e-12)
    known, given = (
        steps_on(p, refopt.optimizer("proximal-ncg", lr=lr), 3, np.full(8, 0.5))
        for lr in (None, 0.99 / p.lipschitz)
    )
    for (x, s), (y, _) in zip(known, given):
        np.testing.assert_array_equal(x, y)
        measures = (
            refopt.optimizer("proximal-ncg", lr=lr).stationarity(x, s, Oracle(p))
            for lr in (None, 0.99 / p.lipschitz)
        )
        assert len(set(measures)) == 1


@pytest.mark.identity("proximal-ncg")
@pytest.mark.parametrize("how", SEARCHES)
def test_on_batches(how: str) -> None:
    """The gradient at x_k, which the last search saw, is kept where all examples are looked at, and asked for anew on a batch: one more
    gradient a step behind the first, and with a batch of all examples the same run, to 1e-12.
    """
    A, b = np.arange(12.0).reshape(6, 2) % 5 - 2.0, np.array([1.0, -1.0, 1.0, 1.0, -1.0, 1.0])
    p = refopt.problem("logistic", data=(A, b), l1=0.01)
    o = refopt.optimizer("proximal-ncg", lr=0.2, line_search=how)
    whole, batch = Oracle(p), Oracle(p).on(np.arange(6))
    x = y = p.start()
    s, u = o.init(x), o.init(y)
    for _ in range(5):
        x, s = o.step(x, s, whole)
        batch.forget()  # as where a new batch is drawn
        y, u = o.step(y, u, batch)
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)
    assert batch.counts.calls["grad"] == whole.counts.calls["grad"] + 4


@pytest.mark.parametrize("how", SEARCHES)
def test_nothing_is_shared(how: str) -> None:
    """A problem that writes every gradient into one buffer gives the same bits, and neither x nor state is what came in."""
    p, buffer = lasso(30.0), np.empty(40)

    def grad(x: np.ndarray) -> np.ndarray:
        buffer[:] = p.grad(x)
        return buffer

    reused = refopt.from_functions(p.value, grad, x0=p.x0, prox=p.prox, penalty=p.penalty)
    runs = [refopt.minimize(q, "proximal-ncg", lr=RHO, line_search=how, steps=8).x for q in (p, reused)]
    np.testing.assert_array_equal(*runs)
    o, x = refopt.optimizer("proximal-ncg", lr=0.0, line_search=how), p.x0
    s = o.init(x)
    new, after = o.step(x, s, Oracle(p))
    assert not any(np.shares_memory(a, x) for a in (s["x"], new, after["x"]))
    assert not np.shares_memory(o.step(x, s, Oracle(reused))[1]["g"], buffer)
    _, after = (o := refopt.optimizer("proximal-ncg", lr=RHO, line_search=how)).step(x, s, Oracle(reused))
    assert not any(np.shares_memory(v, buffer) for v in after.values() if isinstance(v, np.ndarray))


def test_stationarity_at_the_schedule_s_step() -> None:
    """ρ of the step to come, 0.1 at t = 2: the proximal point of 0.1 is 0, so G is 1, where ρ = 0.2 would say 0.7; without a rate 0."""
    p = refopt.from_functions(
        lambda x: np.sum(x), np.ones_like, penalty=lambda x: 0.3 * np.sum(np.abs(x)),
        prox=lambda x, step: soft(x, 0.3 * step), x0=np.full(1, 0.1),
    )  # fmt: skip
    o = refopt.optimizer("proximal-ncg", lr=0.2, schedule=lambda t: 1.0 / t)
    s = {**o.init(p.x0), "t": 1, "g": np.ones(1)}
    assert o.stationarity(p.x0, s, Oracle(p)) == pytest.approx(1.0, rel=1e-12)
    assert refopt.optimizer("proximal-ncg", lr=0.0).stationarity(p.x0, s, Oracle(p)) == 0.0


@pytest.mark.parametrize("how", SEARCHES)
def test_a_rate_of_zero_waits(how: str) -> None:
    """Where the schedule is 0 at first, x stays, and the steps behind it are those of a run without it."""
    p = lasso(30.0)
    plain, late = (
        refopt.optimizer("proximal-ncg", lr=RHO, line_search=how, schedule=schedule)
        for schedule in (None, lambda t: float(t > 1))
    )
    waited = steps_on(p, late, 6, p.x0)
    np.testing.assert_array_equal(waited[0][0], p.x0)
    for (x, _), (y, _) in zip(steps_on(p, plain, 5, p.x0), waited[1:], strict=True):
        np.testing.assert_array_equal(x, y)
