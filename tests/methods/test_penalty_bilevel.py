"""Penalty methods for two levels: written out, minimisers in closed form, the order of the bias."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.sampling import Sampler

P = refopt.problem("bilevel-quadratic", seed=3)
X = P.start(1)
SCALAR = refopt.problem("bilevel-quadratic", scalar=True)


def low(u: np.ndarray, y: np.ndarray) -> np.ndarray:
    return P.A @ y - P.B.T @ u


@pytest.mark.identity("penalty-bilevel")
@pytest.mark.parametrize(("rho", "beta", "form"), [(None, 1.0, "double-loop"), (0.7, 0.6, "double-loop"), (None, 1.0, "single-loop")])  # fmt: skip
def test_penalty_written_out(rho: float | None, beta: float, form: str) -> None:
    """Six steps equal the algorithm written out, proximal terms and averages included, to 1e-11; with η = 1 the single
    loop is the double one with T = 1.
    """
    inner = 3 if form == "double-loop" else 1
    r = refopt.minimize(
        P, "penalty-bilevel", X, lr=0.02, lower_lr=0.3, sigma=0.5, power=0.25, lower_steps=3, beta=beta, rho=rho,
        form=form, schedule=lambda t: 1 / t, steps=6,
    )  # fmt: skip
    u, y, z = X["upper"], X["lower"], X["lower"]
    for t in range(1, 7):
        s, w, v = 0.5 * t**-0.25, y, z
        for _ in range(inner):
            dw = s * (P.P @ w) + low(u, w) + (0 if rho is None else (w - y) / rho)
            dv = low(u, v) + (0 if rho is None else (v - z) / rho)
            w, v = w - 0.3 * dw, v - 0.3 * dv
        y, z = (1 - beta) * y + beta * w, (1 - beta) * z + beta * v
        u = u - 0.02 / t * (P.D @ (u - P.c) + (-P.B @ y + P.B @ z) / s)
    np.testing.assert_allclose(r.x["upper"], u, rtol=1e-11)
    np.testing.assert_allclose(r.x["lower"], y, rtol=1e-11)
    np.testing.assert_allclose(r.state["z"], z, rtol=1e-11)
    assert r.state["t"] == 6


@pytest.mark.identity("penalty-bilevel")
def test_penalty_recursive_estimates() -> None:
    """On batches, five steps equal Algorithm 2 written out with six estimates e ← G(now) + (1 - η)(e - G(before)),
    to 1e-11.
    """
    p, eta, sigma = refopt.problem("ridge-hyperparameter", per_block=12), 0.3, 0.5
    x0 = {"upper": np.zeros(4), "lower": np.ones((1, 4))}
    r = refopt.minimize(
        p, "penalty-bilevel", x0, lr=0.1, lower_lr=0.2, sigma=sigma, form="single-loop", eta=eta, batch_size=4,
        seed=3, steps=5,
    )  # fmt: skip
    sampler, e, before = Sampler(12, 4, "shuffle", 3), {}, {}
    u, y, z = x0["upper"], x0["lower"], x0["lower"]

    def estimate(
        name: str, grad: str, at: tuple[np.ndarray, np.ndarray], batch: np.ndarray, part: str
    ) -> np.ndarray:
        def G(q: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
            return getattr(p, grad)({"upper": q[0], "lower": q[1]}, batch=batch)[part]

        e[name] = G(at) + ((1 - eta) * (e[name] - G(before[name])) if name in e else 0.0)
        before[name] = at
        return e[name]

    for t in range(1, 6):
        b = sampler.draw(t)
        dy = sigma * estimate("1", "upper_grad", (u, y), b, "lower") + estimate(
            "2", "lower_grad", (u, y), b, "lower"
        )
        dz = estimate("3", "lower_grad", (u, z), b, "lower")
        y, z = y - 0.2 * dy, z - 0.2 * dz
        gap = estimate("5", "lower_grad", (u, y), b, "upper") - estimate(
            "6", "lower_grad", (u, z), b, "upper"
        )
        u = u - 0.1 * (estimate("4", "upper_grad", (u, y), b, "upper") + gap / sigma)
    np.testing.assert_allclose(r.x["upper"], u, rtol=1e-11)
    np.testing.assert_allclose(r.state["z"], z, rtol=1e-11)


@pytest.mark.claim("penalty-bilevel")
def test_penalty_bias() -> None:
    """The fixed point of the scalar problem is x = (1 + σ)/(2 + σ) (1e-9), 1/2 as σ → 0; at inner minimisers the step's
    direction is O(σ) from the exact hypergradient, with a fitted order between 0.95 and 1.05.
    """
    for sigma in (0.5, 0.1):
        r = refopt.minimize(
            SCALAR, "penalty-bilevel", lr=0.3, sigma=sigma, lower_lr=0.5, lower_steps=30, steps=120
        )
        assert r.x["upper"][0] == pytest.approx((1 + sigma) / (2 + sigma), abs=1e-9)
    errors = []
    for sigma in (1e-2, 1e-3):
        y = np.linalg.solve(P.A + sigma * P.P, P.B.T @ X["upper"])
        o = refopt.optimizer("penalty-bilevel", lr=1.0, sigma=sigma, lower_lr=0.5, lower_steps=1)
        start = {"upper": X["upper"], "lower": y}
        new, _ = o.step(start, {"t": 0, "z": P.response(X["upper"])}, Oracle(P))
        errors.append(np.linalg.norm(X["upper"] - new["upper"] - P.hypergradient(X["upper"])))
    assert 0.95 < np.log10(errors[0] / errors[1]) < 1.05


@pytest.mark.claim("penalty-bilevel")
@pytest.mark.parametrize("form", ["double-loop", "single-loop"])
@pytest.mark.parametrize("power", [0.25, 0.5])
def test_penalty_that_grows(form: str, power: float) -> None:
    """On the scalar problem with σ_t = t^{-q} the distance to the solution is σ_t/(2 (2 + σ_t)) within 1 %, in both loops,
    at t = 2000: it falls with t^{-q}. At inner minimisers the direction is the hypergradient less σ x/(1 + σ),
    to 1e-12.
    """
    r = refopt.minimize(
        SCALAR,
        "penalty-bilevel",
        lr=0.1,
        sigma=1.0,
        power=power,
        lower_lr=0.5,
        lower_steps=2,
        form=form,
        steps=2000,
    )
    sigma = 2000**-power
    assert r.x["upper"][0] - 0.5 == pytest.approx(sigma / (2 * (2 + sigma)), rel=0.01)
    x, sigma = 0.8, 0.3
    o = refopt.optimizer("penalty-bilevel", lr=1.0, sigma=sigma, form=form)
    at = {"upper": np.array([x]), "lower": np.array([x / (1 + sigma)])}
    new, _ = o.step(at, {"t": 0, "z": np.array([x])}, Oracle(SCALAR))
    np.testing.assert_allclose(x - new["upper"], 2 * x - 1 - sigma * x / (1 + sigma), rtol=1e-12)


@pytest.mark.identity("scalebio")
def test_scalebio_written_out() -> None:
    """Seven steps in rounds of two equal the algorithm written out: a_0 τ^i, rates times τ^{-i}, all at the old point
    (1e-12).
    """
    r = refopt.minimize(
        P, "scalebio", X, lr=0.02, w_lr=0.03, u_lr=0.04, alpha=1.5, growth=2.0, inner_steps=2,
        schedule=lambda t: 1 / t, steps=7,
    )  # fmt: skip
    u, w, v = X["upper"], X["lower"], X["lower"]
    for t in range(1, 8):
        f = 2.0 ** (1 + (t - 1) // 2)
        a, c = 1.5 * f, 1 / (f * t)
        du = P.D @ (u - P.c) + a * (-P.B @ w + P.B @ v)
        dw, dv = P.P @ w + a * low(u, w), a * low(u, v)
        u, w, v = u - 0.02 * c * du, w - 0.03 * c * dw, v - 0.04 * c * dv
    np.testing.assert_allclose(r.x["upper"], u, rtol=1e-12)
    np.testing.assert_allclose(r.x["lower"], w, rtol=1e-12)
    np.testing.assert_allclose(r.state["u"], v, rtol=1e-12)
    assert r.state["t"] == 7 and r.calls == {"upper_grad": 7, "lower_grad": 14}


@pytest.mark.claim("scalebio")
@pytest.mark.parametrize("a", [2.0, 10.0])
def test_scalebio_fixed_point(a: float) -> None:
    """The scalar problem ends at x = (a + 1)/(2a + 1), w = a x/(1 + a), u = x (1e-8): the penalty's minimiser for
    σ = 1/a.
    """
    rate = 0.5 / a
    r = refopt.minimize(SCALAR, "scalebio", lr=rate, w_lr=rate, u_lr=rate, alpha=a, steps=800)
    x = (a + 1) / (2 * a + 1)
    assert r.x["upper"][0] == pytest.approx(x, abs=1e-8)
    assert r.x["lower"][0] == pytest.approx(a * x / (1 + a), abs=1e-8)
    assert r.state["u"][0] == pytest.approx(x, abs=1e-8)


@pytest.mark.claim("scalebio")
def test_scalebio_rounds() -> None:
    """Rounds with τ = 2 from a_0 = 1 end at the scalar problem's 1/2 plus 1/(2 (2 a + 1)), a = 2, 4, 8, 16, within 0.1 %:
    each halves what the penalty leaves. With τ = 1 it stays at 1/6 (1e-9).
    """
    rates = {"lr": 0.3, "w_lr": 0.3, "u_lr": 0.3, "alpha": 1.0, "inner_steps": 200}
    for i in range(1, 5):
        r = refopt.minimize(SCALAR, "scalebio", growth=2.0, **rates, steps=200 * i)
        assert r.x["upper"][0] - 0.5 == pytest.approx(1 / (2 * (2 * 2**i + 1)), rel=1e-3)
    r = refopt.minimize(SCALAR, "scalebio", growth=1.0, **rates, steps=800)
    assert r.x["upper"][0] - 0.5 == pytest.approx(1 / 6, abs=1e-9)
