"""Regularised Newton methods: the cubic step and its hard case, the authors' codes, and orders of convergence."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.optimizers.second_order.newton import cubic_step

from tests.parity.case import Arrays, Case

STEPS = 8


def smooth(seed: int = 0, n: int = 4, l2: float = 0.01) -> Any:
    """Regularised logistic regression without noise in the labels: convex, with a Hessian that changes."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((15, n)) * np.linspace(0.3, 3.0, n)

    def weights(x: np.ndarray) -> np.ndarray:
        return 1.0 / (1.0 + np.exp(-A @ x))

    def hess(x: np.ndarray) -> np.ndarray:
        s = weights(x)
        return A.T @ ((s * (1.0 - s))[:, None] * A) / 15 + l2 * np.eye(n)

    y = (A @ np.linspace(-1.0, 1.0, n) > 0).astype(float)
    p = refopt.from_functions(
        lambda x: float(np.mean(np.logaddexp(0.0, A @ x) - y * (A @ x)) + 0.5 * l2 * (x @ x)),
        lambda x: A.T @ (weights(x) - y) / 15 + l2 * x,
        hvp=lambda x, v: hess(x) @ v,
        x0=3.0 * np.ones(n),
    )
    p.hess = hess
    return p


def points(name: str, steps: int = STEPS, p: Any = None, x0: Any = None, **kwargs: Any) -> np.ndarray:
    rows: list[np.ndarray] = []
    refopt.minimize(
        smooth() if p is None else p, name, x0, steps=steps, callback=lambda x: rows.append(x), **kwargs
    )
    return np.stack(rows)


def _cubic(seed: int) -> Arrays:
    return {
        "search": points("cubic-newton", p=smooth(seed)),
        "large": points("cubic-newton", p=smooth(seed), first=50.0),
        "small": points("cubic-newton", p=smooth(seed), first=1e-3),
        "fixed": points("cubic-newton", p=smooth(seed), M=2.0),
    }


def _gns(seed: int) -> Arrays:
    return {
        "search": points("gns-newton", p=smooth(seed), dialect="official"),
        "small": points("gns-newton", p=smooth(seed), dialect="official", first=0.01),
        "fixed": points("gns-newton", p=smooth(seed), eps=1e-8, first=0.5, search=False),
    }


PEER = "epfml/grad-norm-smooth@9f4ca00"
CASES = [
    Case("cubic-newton", "doikov", PEER, _cubic, None,
        says="The code of Semenov, Jaggi and Doikov (8 steps of logistic regression; with a search from M = 1, 50 and 1e-3, and M"
        " fixed; its tolerance for the step's length set to 1e-13) to 1e-12"),
    Case("gns-newton", "official", PEER, _gns, None,
        says="The authors' code (8 steps of logistic regression; with a search from γ = 1 and 0.01, and γ fixed; its tolerance for the step's length set to 1e-13) to 1e-12"),
]  # fmt: skip


@pytest.mark.identity("cubic-newton")
@pytest.mark.parametrize("shift", [0.0, -2.0, -30.0])
def test_the_cubic_step(shift: float) -> None:
    """g + Hh + (M/2)‖h‖h = 0 and H + (M/2)‖h‖I ⪰ 0, to 1e-12, for definite and indefinite H; the model is ½gᵀh - (M/12)‖h‖³."""
    rng = np.random.default_rng(0)
    for trial in range(20):
        values = np.sort(rng.uniform(0.1, 10.0, 5)) + shift
        g, M = rng.standard_normal(5) * 10.0 ** rng.uniform(-6, 3), 10.0 ** rng.uniform(-2, 2)
        if trial % 4 == 1:  # the hard case, or near it
            g[0] = 0.0 if trial % 8 == 1 else 1e-14
        h = cubic_step(values, g, M)
        r = np.linalg.norm(h)
        scale = np.max(np.abs(values)) * r + np.linalg.norm(g)
        np.testing.assert_allclose(g + values * h + M / 2 * r * h, 0.0, atol=1e-12 * scale)
        assert values[0] + M / 2 * r >= -1e-12 * np.abs(values).max()
        model = g @ h + 0.5 * h @ (values * h) + M / 6 * r**3
        np.testing.assert_allclose(model, 0.5 * g @ h - M / 12 * r**3, rtol=1e-9, atol=1e-12 * scale * r)


@pytest.mark.claim("cubic-newton")
def test_it_leaves_a_saddle_where_the_gradient_is_zero() -> None:
    """f = (x² - y²)/2 + y⁴/4 from (0, 0): the step is 2/M long along y, and the run ends in a minimum, to 1e-10."""
    p = refopt.from_functions(
        lambda x: 0.5 * float(x[0] ** 2 - x[1] ** 2) + 0.25 * float(x[1] ** 4),
        lambda x: np.array([x[0], x[1] ** 3 - x[1]]),
        hvp=lambda x, v: np.array([1.0, 3.0 * x[1] ** 2 - 1.0]) * v,
    )
    first = points("cubic-newton", 1, p, np.zeros(2), M=8.0)
    np.testing.assert_allclose(np.abs(first), [[0.0, 0.25]], rtol=1e-12, atol=1e-14)
    last = points("cubic-newton", 30, p, np.zeros(2))[-1]
    np.testing.assert_allclose(np.abs(last), [0.0, 1.0], atol=1e-10)


def root_of_one_and_square() -> Any:
    """sqrt(1 + x²) of one variable: convex, with a curvature that falls as |x|³."""
    return refopt.from_functions(
        lambda x: float(np.sqrt(1.0 + x @ x)),
        lambda x: x / np.sqrt(1.0 + x * x),
        hvp=lambda x, v: v / (1.0 + x * x) ** 1.5,
        x0=np.array([2.0]),
    )


@pytest.mark.identity("cubic-newton")
def test_the_search() -> None:
    """On sqrt(1 + x²), whose step has a closed form: the first M, 2M, 4M, … under which f falls as the model says; to 1e-12."""
    p = root_of_one_and_square()
    o = refopt.optimizer("cubic-newton", first=0.01)
    x, s, M, doubled = p.x0, o.init(p.x0), 0.01, set()
    for _ in range(5):
        x, s = o.step(x, s, refopt.core.oracle.Oracle(p))
        y = float(p.x0[0])
        g, H = y / np.sqrt(1 + y * y), (1 + y * y) ** -1.5
        k, r, new = 0, 0.0, np.inf
        while (
            k == 0 or np.sqrt(1 + new * new) > np.sqrt(1 + y * y) - abs(g) * r + H * r * r / 2 + M * r**3 / 6
        ):
            M *= 2.0 if k else 1.0
            r = (-H + np.sqrt(H * H + 2 * M * abs(g))) / M
            k, new = k + 1, y - np.sign(g) * r
        doubled.add(k)
        M = M / 2
        np.testing.assert_allclose(x, [new], rtol=1e-9, atol=1e-14)
        np.testing.assert_allclose(s["M"], M, rtol=1e-15)
        p.x0 = x
    assert max(doubled) >= 3
    # A model that is f needs no M: it is halved, to the least.
    bowl = refopt.from_functions(lambda x: 0.5 * float(x @ x), lambda x: x, hvp=lambda x, v: v, x0=np.ones(2))
    kept = [refopt.minimize(bowl, "cubic-newton", steps=k, least=0.3).state["M"] for k in (1, 2, 3)]
    assert kept == [0.5, 0.3, 0.3]


@pytest.mark.claim("cubic-newton")
def test_the_decrease() -> None:
    """With M = L (here Σ|a|³/(6√3 m)) every step of length r lowers f by M r³/12, and ‖∇f‖ after it is at most M r²."""
    p = smooth(1)
    A = np.random.default_rng(1).standard_normal((15, 4)) * np.linspace(0.3, 3.0, 4)
    M = float(np.mean(np.linalg.norm(A, axis=1) ** 3)) / (6 * 3**0.5)
    rows = np.concatenate([[p.x0], points("cubic-newton", 12, p, M=M)])
    for x, y in itertools.pairwise(rows):
        r = np.linalg.norm(y - x)
        assert p.value(x) - p.value(y) >= M * r**3 / 12 - 1e-14
        assert np.linalg.norm(p.grad(y)) <= M * r * r + 1e-14


@pytest.mark.identity("lazy-newton")
def test_a_period_of_one() -> None:
    """With m = 1 the cubic form is cubic-newton at the same M, bit for bit, and the gradient form dense algebra, to 1e-12."""
    p = smooth(2)
    np.testing.assert_array_equal(
        points("lazy-newton", p=p, period=1, M=3.0), points("cubic-newton", p=p, M=3.0)
    )
    x = p.x0
    for row in points("lazy-newton", p=p, period=1, M=0.7, form="gradient"):
        g = p.grad(x)
        x = x - np.linalg.solve(p.hess(x) + np.sqrt(0.7 * np.linalg.norm(g)) * np.eye(4), g)
        np.testing.assert_allclose(row, x, rtol=1e-12, atol=1e-13)


@pytest.mark.identity("lazy-newton")
@pytest.mark.parametrize("form", ["cubic", "gradient"])
def test_algorithms_1_and_2(form: str) -> None:
    """With m = 3: a fresh gradient and the Hessian of steps 1, 4, 7, transcribed (the cubic step by its equation), to 1e-9."""
    p, M = smooth(3), 2.0
    rows = points("lazy-newton", 8, p, period=3, M=M, form=form)
    x = p.x0
    for k, row in enumerate(rows):
        if k % 3 == 0:
            H = p.hess(x)
        g, h = p.grad(x), row - x
        shift = M / 2 * np.linalg.norm(h) if form == "cubic" else np.sqrt(M * np.linalg.norm(g))
        np.testing.assert_allclose((H + shift * np.eye(4)) @ h, -g, rtol=1e-9, atol=1e-11)
        x = row
    r = refopt.minimize(p, "lazy-newton", steps=8, period=3, M=M, form=form)
    assert dict(r.calls) == {"grad": 8, "hvp": 12}


@pytest.mark.claim("lazy-newton")
def test_the_order_of_a_phase() -> None:
    """Near a solution, with M near zero, a phase of m steps raises the error to the power m + 1: exponents within 0.35."""
    p = smooth(4, n=2, l2=0.1)
    solution = points("cubic-newton", 40, p)[-1]
    for m in (1, 2, 3):
        errors = []
        for size in (1e-2, 1e-3):
            x0 = solution + size * np.array([0.6, -0.8])
            x = points("lazy-newton", m, p, x0, period=m, M=1e-12)[-1]
            errors.append(np.linalg.norm(x - solution))
        assert abs(np.log10(errors[0] / errors[1]) - (m + 1)) < 0.35
        assert errors[0] < 10.0 ** (-2 * m)


@pytest.mark.identity("gns-newton")
def test_limits() -> None:
    """With H = 0 a step is γ long against the gradient; with γ = sqrt(‖g‖/M) it is lazy-newton's of m = 1; to 1e-12."""
    p = smooth(5)
    c = np.array([3.0, -4.0])
    flat = refopt.from_functions(
        lambda x: float(c @ x), lambda x: c, hvp=lambda x, v: 0.0 * v, x0=np.zeros(2)
    )
    np.testing.assert_allclose(
        points("gns-newton", 2, flat, first=0.5, search=False), [[-0.3, 0.4], [-0.6, 0.8]], rtol=1e-13
    )
    gamma = float(np.sqrt(np.linalg.norm(p.grad(p.x0)) / 0.7))
    np.testing.assert_allclose(
        points("gns-newton", 1, p, first=gamma, search=False),
        points("lazy-newton", 1, p, period=1, M=0.7, form="gradient"),
        rtol=1e-12,
    )


@pytest.mark.claim("gns-newton")
def test_steps_and_decreases() -> None:
    """Every step is at most γ long and lowers f by γ‖g⁺‖²/(8‖g‖), γ that of the step; γ is doubled after each."""
    p = smooth(6)
    o = refopt.optimizer("gns-newton", first=100.0)
    x, s = p.x0, o.init(p.x0)
    for _ in range(6):
        new, s = o.step(x, s, refopt.core.oracle.Oracle(p))
        gamma, g = s["gamma"] / 2, np.linalg.norm(p.grad(x))
        assert 0 < np.linalg.norm(new - x) <= gamma * (1 + 1e-12)
        assert p.value(x) - p.value(new) >= gamma * np.linalg.norm(p.grad(new)) ** 2 / (8 * g)
        # It is the largest of γ, γ/2, … that does: twice as long a one was refused, or it is the first.
        np.testing.assert_allclose(
            (p.hess(x) + g / gamma * np.eye(4)) @ (new - x), -p.grad(x), rtol=1e-9, atol=1e-11
        )
        x = new


@pytest.mark.identity("gns-newton")
def test_the_search_for_gamma() -> None:
    """On sqrt(1 + x²), Algorithm 1 in closed form: γ, γ/2, … until f falls by g⁺² γ/(8 |g|), then twice that; to 1e-12."""
    p, x, gamma, halved = root_of_one_and_square(), 3.0, 40.0, set()
    o = refopt.optimizer("gns-newton", first=gamma)
    at, s = np.array([x]), o.init(np.array([x]))
    for _ in range(6):
        at, s = o.step(at, s, refopt.core.oracle.Oracle(p))
        g, H = x / np.sqrt(1 + x * x), (1 + x * x) ** -1.5
        k, new = 0, np.inf
        while k == 0 or np.sqrt(1 + x * x) - np.sqrt(1 + new * new) < new**2 / (1 + new**2) * gamma / (
            8 * abs(g)
        ):
            gamma *= 0.5 if k else 1.0
            k, new = k + 1, x - g / (H + abs(g) / gamma)
        halved.add(k)
        x, gamma = new, 2 * gamma
        np.testing.assert_allclose(at, [x], rtol=1e-11, atol=1e-14)
        assert s["gamma"] == gamma
    assert len(halved) >= 2


@pytest.mark.identity("gns-newton")
def test_where_no_step_is_made() -> None:
    """At a zero gradient, and where every trial fails, the point and γ stay; an indefinite H is regularised until it is not."""
    p = refopt.from_functions(lambda x: 0.0, lambda x: 0.0 * x, hvp=lambda x, v: v, x0=np.ones(2))
    r = refopt.minimize(p, "gns-newton", steps=2)
    assert np.array_equal(r.x, [1.0, 1.0])
    assert r.state["gamma"] == 1.0
    up = refopt.from_functions(
        lambda x: -float(x[0]), lambda x: np.ones(1), hvp=lambda x, v: v, x0=np.zeros(1)
    )
    r = refopt.minimize(up, "gns-newton", steps=1)
    assert (float(r.x[0]), r.state["gamma"]) == (0.0, 1.0)
    # λ = 1/γ has to pass 3: γ = 1, 1/2, 1/4; the step is -g / (4 - 3).
    bent = refopt.from_functions(
        lambda x: float(x[0] - 1.5 * x[0] ** 2),
        lambda x: 1.0 - 3.0 * x,
        hvp=lambda x, v: -3.0 * v,
        x0=np.zeros(1),
    )
    r = refopt.minimize(bent, "gns-newton", steps=1, search=False)
    np.testing.assert_allclose(r.x, [-1.0], rtol=1e-13)


@pytest.mark.identity("gns-newton")
def test_the_gauss_newton_matrix() -> None:
    """With curvature="ggn" on a tanh network the step solves (JᵀQJ + ‖g‖/γ I) h = -g with the dense matrix, to 1e-9."""
    rng = np.random.default_rng(7)
    p = refopt.problem("mlp", data=(rng.standard_normal((6, 2)), np.arange(6) % 2), widths=(2,), l2=0.0)
    x = p.start(0)
    G = refopt.curvature("ggn", p, x).dense()
    r = refopt.minimize(p, "gns-newton", x, curvature="ggn", first=0.3, search=False, steps=1)
    flat = refopt.core.params.flatten
    g, h = flat(p.grad(x)), flat(r.x) - flat(x)
    np.testing.assert_allclose((G + np.linalg.norm(g) / 0.3 * np.eye(len(g))) @ h, -g, rtol=1e-9, atol=1e-12)
    assert "hvp" not in r.calls


@pytest.mark.identity("cubic-newton")
def test_a_search_that_fails() -> None:
    """Where no step lowers f as its model says, the point and M stay."""
    up = refopt.from_functions(
        lambda x: -float(x[0]), lambda x: np.ones(1), hvp=lambda x, v: v, x0=np.zeros(1)
    )
    r = refopt.minimize(up, "cubic-newton", steps=1)
    assert (float(r.x[0]), r.state["M"]) == (0.0, 1.0)
