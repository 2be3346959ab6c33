"""More of what is claimed of the constrained and proximal methods: the Handbook's theorems with their constants, and convex networks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import refopt
import scipy.optimize
from refopt.core.oracle import Oracle


def soft(z: np.ndarray, t: float) -> np.ndarray:
    return np.sign(z) * np.maximum(np.abs(z) - t, 0.0)


def one_step(name: str, p: Any, x: np.ndarray, lr: float, batch: np.ndarray) -> np.ndarray:
    o = refopt.optimizer(name, lr=lr)
    return o.step(x, o.init(x), Oracle(p).on(batch))[0]


@pytest.mark.claim("proximal-sgd")
def test_noise_is_the_variance_at_the_solution() -> None:
    """Six quadratics with an l1 term: the mean over examples of a step's squared distance to x* is at most (1 - γμ) ‖x - x*‖² + 2 γ² σ²
    at 60 points for γ of 0.1 to 1 of 1/(2 L_max); where all gradients are alike at x*, none of them zero, σ = 0 and every run
    ends at x* (1e-12), by 1 - γμ and more a step.
    """
    rng, n, d, l1 = np.random.default_rng(0), 6, 4, 0.3
    F = rng.standard_normal((n, d, d))
    H = F @ F.transpose(0, 2, 1) / d + 0.2 * np.eye(d)
    solution = np.array([1.0, 0.0, -2.0, 0.0])
    # -∂ l1 ‖x*‖_1, which the mean gradient has to be.
    v = -l1 * np.array([1.0, 0.4, -1.0, -0.9])
    top, mu = float(np.linalg.eigvalsh(H).max()), float(np.linalg.eigvalsh(H.mean(axis=0))[0])
    least = float(np.linalg.eigvalsh(H).min())
    for noise in (0.0, 0.7):
        e = rng.standard_normal((n, d))
        at = v + noise * (e - e.mean(axis=0))

        def grads(x: np.ndarray, at: np.ndarray = at) -> np.ndarray:
            return np.einsum("ijk,k->ij", H, x - solution) + at

        p = refopt.from_functions(
            lambda x, batch=None: 0.0, lambda x, batch=None, grads=grads: grads(x)[slice(None) if batch is None else batch].mean(axis=0),
            n_examples=n, prox=lambda x, step: soft(x, step * l1), penalty=lambda x: l1 * float(np.abs(x).sum()), x0=np.full(d, 3.0),
        )  # fmt: skip
        sigma = float(np.mean(np.sum((at - v) ** 2, axis=1)))
        assert noise == 0.0 or sigma > 0.3
        for share, _ in itertools.product((0.1, 0.5, 1.0), range(20)):
            gamma, x = share / (2.0 * top), solution + 10.0 ** rng.uniform(-2, 1) * rng.standard_normal(d)
            after = [one_step("proximal-sgd", p, x, gamma, np.array([i])) for i in range(n)]
            got = np.mean([np.sum((y - solution) ** 2) for y in after])
            assert got <= (1 - gamma * mu) * np.sum((x - solution) ** 2) + 2 * gamma**2 * sigma + 1e-13
        gamma, far = 1.0 / (2.0 * top), [np.linalg.norm(p.x0 - solution)]
        refopt.minimize(p, "proximal-sgd", lr=gamma, batch_size=1, steps=1200,
            callback=lambda x, far=far: far.append(np.linalg.norm(x - solution)))  # fmt: skip
        if noise:
            assert far[-1] > 1e-3
        else:
            assert np.all(np.array(far[1:]) <= (1 - gamma * least) * np.array(far[:-1]) + 1e-14)
            assert far[-1] < 1e-12


@pytest.mark.claim("proximal-sgd")
@pytest.mark.parametrize("falling", [False, True])
def test_the_convex_theorem(falling: bool) -> None:
    """Without strong convexity, γ_t of 1/(8 L_max) and that over √t: at the mean point x̄ with weights γ_t (1 - 4 γ_t L_max) the mean gap of
    50 runs is at most (‖x_0 - x*‖² + 2 γ_0 (F(x_0) - F*) + 4 σ² Σ γ_t²)/(2 Σ γ_t (1 - 4 γ_t L_max)), T = 5, 20 and 60.
    """
    rng, l1 = np.random.default_rng(4), 0.1
    A, b = rng.standard_normal((4, 6)) @ np.diag(np.geomspace(1.0, 0.1, 6)), rng.standard_normal(4)

    def objective(x: np.ndarray) -> float:
        return float(np.mean((A @ x - b) ** 2)) / 2 + l1 * float(np.abs(x).sum())

    p = refopt.from_functions(
        lambda x, batch=None: 0.0, lambda x, batch=None: np.mean(((A @ x - b)[:, None] * A)[slice(None) if batch is None else batch], axis=0),
        n_examples=4, prox=lambda x, step: soft(x, step * l1), penalty=lambda x: l1 * float(np.abs(x).sum()), x0=np.full(6, 1.5),
    )  # fmt: skip
    top = float(np.max(np.sum(A * A, axis=1)))
    best = refopt.minimize(p, "proximal-gradient", lr=1.0 / np.linalg.norm(A, 2) ** 2, steps=4000).x
    noise = (A @ best - b)[:, None] * A
    sigma = float(np.mean(np.sum((noise - noise.mean(axis=0)) ** 2, axis=1)))
    rates = 1.0 / (8.0 * top) / (np.arange(1.0, 61.0) ** 0.5 if falling else np.ones(60))
    runs = []
    for seed in range(50):
        points = [p.x0]
        refopt.minimize(p, "proximal-sgd", lr=lambda t: float(rates[t - 1]), batch_size=1, sampling="replacement", steps=59,
            seed=seed, callback=points.append)  # fmt: skip
        runs.append(np.array(points))
    for T in (5, 20, 60):
        weights = rates[:T] * (1 - 4 * rates[:T] * top)
        gap = np.mean([objective(weights @ points[:T] / weights.sum()) for points in runs]) - objective(best)
        start = np.sum((p.x0 - best) ** 2) + 2 * rates[0] * (objective(p.x0) - objective(best))
        bound = (start + 4 * sigma * np.sum(rates[:T] ** 2)) / (2 * weights.sum())
        assert 0.02 * bound < gap <= bound


@pytest.mark.claim("projected-gradient")
def test_the_linear_rate_and_the_fixed_points() -> None:
    """Strongly convex on a box, γ = 0.2, 0.6 and 1 times 1/L: ‖x_t - x*‖² <= (1 - γμ)^t ‖x_0 - x*‖² for 60 steps from three starts,
    in and outside; x* has sides of the box active and stays where it is for each γ up to 10/L (1e-13).
    """
    rng = np.random.default_rng(1)
    Q = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    for values in (np.geomspace(0.05, 1.0, 5), np.full(5, 0.3)):
        H, c = (Q * values) @ Q.T, 3.0 * rng.standard_normal(5)
        p = refopt.from_functions(
            lambda x, H=H, c=c: float((x - c) @ H @ (x - c)) / 2, lambda x, H=H, c=c: H @ (x - c),
            project=lambda x: np.clip(x, -1.0, 1.0), x0=np.zeros(5),
        )  # fmt: skip
        L, mu = values[-1], values[0]
        best = refopt.minimize(p, "projected-gradient", lr=1.0 / L, steps=2000).x
        assert np.any(np.abs(best) == 1.0)
        for times in (0.1, 1.0, 10.0):
            stays = refopt.minimize(p, "projected-gradient", best, lr=times / L, steps=1).x
            np.testing.assert_allclose(stays, best, rtol=0, atol=1e-13)
        for share, start in itertools.product((0.2, 0.6, 1.0), (np.zeros(5), np.ones(5), -4.0 * c)):
            gamma, far = share / L, [float(np.sum((start - best) ** 2))]
            refopt.minimize(p, "projected-gradient", start, lr=gamma, steps=60,
                callback=lambda x, far=far, best=best: far.append(float(np.sum((x - best) ** 2))))  # fmt: skip
            bound = (1 - gamma * mu) ** np.arange(61) * far[0]
            assert np.all(np.array(far) <= bound + 1e-24)


@pytest.mark.claim("projected-gradient")
def test_the_subgradient_theorems() -> None:
    """‖A x - b‖_1 on the unit ball from its middle, subgradients below G: with γ = 1/(G √T) the mean point's gap is at most G/√T; with
    μ‖x‖²/2 added and γ_t = 2/(μ (t + 1)) that of the mean weighted by t is at most 2 G²/(μ (T + 1)), at T = 30, 100, 300.
    """
    rng = np.random.default_rng(2)
    A, b = rng.standard_normal((12, 4)), 4.0 * rng.standard_normal(12)

    def on_the_ball(x: np.ndarray) -> np.ndarray:
        return x / max(1.0, float(np.linalg.norm(x)))

    for mu in (0.0, 0.5):

        def value(x: np.ndarray, mu: float = mu) -> float:
            return float(np.abs(A @ x - b).sum() + mu * x @ x / 2)

        p = refopt.from_functions(
            value, lambda x, mu=mu: A.T @ np.sign(A @ x - b) + mu * x, project=on_the_ball, x0=np.zeros(4)
        )
        G = float(np.linalg.norm(A, 2)) * 12**0.5 + mu
        fine: list[np.ndarray] = []
        refopt.minimize(p, "projected-gradient", lr=lambda t: 0.3 / t, steps=6000, callback=fine.append)
        low = min(value(x) for x in fine)
        for T in (30, 100, 300):
            seen: list[np.ndarray] = [p.x0]
            rate = (lambda t, mu=mu: 2.0 / (mu * (t + 1))) if mu else 1.0 / (G * T**0.5)
            refopt.minimize(p, "projected-gradient", lr=rate, steps=T - 1, callback=seen.append)
            weights = np.arange(1.0, T + 1) if mu else np.ones(T)
            mean = weights @ np.array(seen) / weights.sum()
            assert value(mean) - low <= (2 * G**2 / (mu * (T + 1)) if mu else G / T**0.5)
            assert np.linalg.norm(mean) <= 1.0 + 1e-15


@pytest.mark.claim("relu-admm")
def test_admm_converges_linearly() -> None:
    """Linear convergence: at ρ = 0.1 the residuals of a network of five examples fall 5.6-fold in every fifty steps from step 200 to
    500, to a tenth of the exponent each time, and v is as far from its limit within ten times of that.
    """
    p = refopt.problem("convex-relu", n_examples=5)
    o, oracle = refopt.optimizer("relu-admm", rho=0.1), Oracle(p)
    x, points, gaps = p.start(), [], []
    s = o.init(x)
    for _ in range(700):
        x, s = o.step(x, s, oracle)
        points.append(x)
        gaps.append(s["gap"])
    falls = np.diff(np.log10([gaps[k - 1] for k in range(200, 501, 50)]))
    np.testing.assert_allclose(falls, -0.75, rtol=0.1)
    away = [float(np.max(np.abs(points[k - 1] - x))) for k in (200, 500)]
    assert np.log10(away[1] / away[0]) == pytest.approx(falls.sum(), abs=1.0)


@pytest.mark.identity("relu-admm")
@pytest.mark.parametrize("seed", [0, 1])
def test_a_generic_convex_solver_finds_the_same(seed: int) -> None:
    """SciPy's SLSQP on the programme of four examples, its 32 unknowns and 64 constraints laid out and norms rounded off at 1e-7: the
    optimum is ADMM's, to 1e-6, and ADMM's point meets the constraints to 1e-9.
    """
    p = refopt.problem("convex-relu", n_examples=4, seed=seed)
    shape, size = p.start().shape, p.start().size
    r = refopt.minimize(p, "relu-admm", rho=0.1, steps=1500, record_every=1500)
    E = np.array([-p.constraint(e.reshape(shape)) for e in np.eye(size)]).T
    assert E.shape == (64, 32) and np.min(E @ r.x.ravel()) > -1e-9

    def rounded(v: np.ndarray) -> tuple[float, np.ndarray]:
        x = v.reshape(shape)
        norms = np.sqrt(np.sum(x * x, axis=-1) + 1e-14)
        slope = p.grad(x) + p.beta * x / norms[..., None]
        return float(p.value(x)) + p.beta * float(np.sum(norms - 1e-7)), slope.ravel()

    found = scipy.optimize.minimize(
        rounded, 0.01 * np.random.default_rng(0).standard_normal(size), jac=True, method="SLSQP",
        constraints={"type": "ineq", "fun": lambda v: E @ v, "jac": lambda v: E}, options={"maxiter": 3000, "ftol": 1e-14},
    )  # fmt: skip
    assert r.fun == pytest.approx(float(found.fun), abs=1e-6)


@pytest.mark.claim("relu-scp")
def test_more_samples_come_down_to_the_optimum() -> None:
    """Nested samples of 4, 16, 64 neurons: the objective never rises and ends within 1e-3 of ADMM's optimum over all patterns, and the
    residual, made feasible for the dual of all networks, proves it to be within 1e-3 of the optimum by itself, and 4 not within a tenth.
    """
    p = refopt.problem("convex-relu", n_examples=5)
    best = refopt.minimize(p, "relu-admm", rho=0.1, steps=500, record_every=500).fun
    angles = np.linspace(0.0, 2.0 * np.pi, 20_001)
    features = np.maximum(p.inputs @ np.stack([np.cos(angles), np.sin(angles)]), 0.0) / 5**0.5
    ends, gaps, drawn = [], [], []
    for width in (4, 16, 64):
        q = refopt.problem("two-layer-relu", width=width, l2=p.beta, data=(p.inputs, p.targets))
        r = refopt.minimize(q, "relu-scp", l1=p.beta, steps=3000, tol=1e-6, record_every=3000)
        drawn.append(r.state["U"])
        left = -q.residual(r.x)
        # <d, y> - ‖d‖²/2 of any d with |<d, feature>| <= β for every neuron is below the optimum.
        d = left * min(1.0, p.beta / float(np.max(np.abs(features.T @ left))))
        ends.append(r.fun)
        gaps.append(r.fun - (d @ p.targets / 5**0.5 - d @ d / 2))
    for few, more in itertools.pairwise(drawn):
        np.testing.assert_array_equal(few, more[: len(few)])
    assert ends[0] >= ends[1] - 1e-9 and ends[1] >= ends[2] - 1e-9
    assert best - 1e-6 < ends[2] < best * (1 + 1e-3)
    assert 0.0 < gaps[2] < 1e-3 * best and gaps[0] > 0.1 * best


@pytest.mark.claim("xgd")
def test_a_better_point_draws_near() -> None:
    """Seen from an η of checkered regression's two planes, with γ = (F(θ) - F(η))/B² the squared distance to η falls by
    (F(θ) - F(η))²/B² at least at each of 80 steps from 6 starts, so that the least gap is at most B ‖θ_0 - η‖/√80;
    the gradient's step of that size leads away from η at 30 of these 480 points and more.
    """
    p = refopt.problem("checkered-regression")
    eta = np.array([[10.0, -0.7], [-1.1, 11.0]])
    low, B = float(p.value(eta)), float(np.mean(np.sqrt(2) * np.linalg.norm(p.inputs, axis=1)))
    away = 0
    for seed in range(6):
        x = 3.0 * np.random.default_rng(seed).standard_normal((2, 2))
        first, gaps = np.linalg.norm(x - eta), []
        for _ in range(80):
            gap = float(p.value(x)) - low
            gaps.append(gap)
            o = refopt.optimizer("xgd", lr=gap / B**2, seen_from=eta)
            new = o.step(x, o.init(x), Oracle(p))[0]
            assert np.sum((new - eta) ** 2) <= np.sum((x - eta) ** 2) - gap**2 / B**2 + 1e-12
            away += np.sum((x - gap / B**2 * p.grad(x) - eta) ** 2) > np.sum((x - eta) ** 2)
            x = new
        assert min(gaps) <= B * first / 80**0.5
    assert away >= 30
