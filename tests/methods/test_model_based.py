"""The three stochastic models of weakly convex functions, and proximal SGD."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt
import scipy.optimize

NAMES = ("prox-subgradient", "prox-point-sgd", "prox-linear")


def retrieval(**more: Any) -> Any:
    return refopt.problem("phase-retrieval", **{"n": 2, "measurements": 12, "seed": 3, **more})


def unregularised(p: Any) -> Any:
    """The same problem with r = 0 as a proximal map."""
    p.prox, p.penalty = lambda x, step: x, lambda x: 0.0
    return p


def one_step(name: str, p: Any, x: np.ndarray, alpha: float, i: int, **more: Any) -> np.ndarray:
    from refopt.core.oracle import Oracle

    o = refopt.optimizer(name, lr=alpha, **more)
    oracle = Oracle(p).on(np.array([i]))
    return o.step(x, o.init(x), oracle)[0]


@pytest.mark.identity("prox-point-sgd", "prox-linear", "phase-retrieval")
@pytest.mark.parametrize("alpha", [0.02, 0.3, 5.0])
def test_a_step_minimises_its_model(alpha: float) -> None:
    """Against a search of the line along a_i, on which both minimisers lie, over 4e5 points: no point is lower by 1e-9."""
    p = retrieval(outliers=0.2)
    x = np.array([0.4, -1.1])
    for i in range(6):
        a, b = p.vectors[i], p.observations[i]
        c, v = (a @ x) ** 2 - b, 2 * (a @ x) * a
        for name, model in (
            ("prox-point-sgd", lambda y, a=a, b=b: np.abs((y @ a) ** 2 - b)),
            ("prox-linear", lambda y, c=c, v=v: np.abs(c + (y - x) @ v)),
        ):
            y = one_step(name, p, x, alpha, i)
            line = x + np.linspace(-3, 3, 400_001)[:, None] * a

            def cost(z: np.ndarray, model: Any = model) -> Any:
                return model(z) + np.sum((z - x) ** 2, axis=-1) / (2 * alpha)

            assert cost(y) <= np.min(cost(line)) + 1e-9 * (1.0 + cost(y))
            assert abs((y - x)[0] * a[1] - (y - x)[1] * a[0]) < 1e-12 * (1.0 + np.linalg.norm(y - x))


@pytest.mark.identity("prox-linear")
def test_levenberg_and_sgd_are_its_limits() -> None:
    """h half the square: the step of (v vᵀ + I/α) d = -c v, to rounding; |·| far from a kink: SGD's step, to the bit."""
    p, x = retrieval(), np.array([0.4, -1.1])
    for i in range(4):
        c, v = float(p.residual(x, np.array([i]))[0]), p.vjp(x, np.ones(1), np.array([i]))
        d = np.linalg.solve(np.outer(v, v) + np.eye(2) / 0.3, -c * v)
        np.testing.assert_allclose(
            one_step("prox-linear", p, x, 0.3, i, outer="half-square") - x, d, rtol=1e-13, atol=1e-15
        )
        np.testing.assert_allclose(
            one_step("prox-linear", p, x, 1e-4, i), one_step("sgd", p, x, 1e-4, i), rtol=1e-15
        )


@pytest.mark.identity("prox-point-sgd", "prox-linear")
def test_a_linear_least_squares_residual_gives_kaczmarz_in_the_limit() -> None:
    """c = ⟨a, x⟩ - b and α to infinity: both steps are the projection on the equation's plane, Kaczmarz's, to 1e-10."""
    rng = np.random.default_rng(0)
    A, b, x = rng.standard_normal((5, 3)), rng.standard_normal(5), rng.standard_normal(3)

    def rows(batch: Any) -> Any:
        return slice(None) if batch is None else batch

    p = refopt.from_functions(
        lambda x, batch=None: float(np.mean(np.abs((A @ x - b)[rows(batch)]))), n_examples=5, x0=x,
        residual=lambda x, batch=None: (A @ x - b)[rows(batch)], vjp=lambda x, u, batch=None: A[rows(batch)].T @ u,
        example_prox=lambda x, step, batch: x - step * np.clip(
            (A @ x - b)[batch[0]] / (step * A[batch[0]] @ A[batch[0]]), -1, 1) * A[batch[0]],
    )  # fmt: skip
    for i in range(5):
        want = x - (A[i] @ x - b[i]) / (A[i] @ A[i]) * A[i]
        for name in ("prox-point-sgd", "prox-linear"):
            np.testing.assert_allclose(one_step(name, p, x, 1e12, i), want, rtol=1e-10)


@pytest.mark.claim("prox-point-sgd", "prox-linear", "prox-subgradient")
def test_the_paper_s_robustness_to_the_step() -> None:
    """Phase retrieval without noise, one measurement a step, 300 steps of α = 0.01 to 10: the proximal point and the
    prox-linear method end within 1e-8 of the truth with each, the subgradient method with none."""
    p = unregularised(refopt.problem("phase-retrieval", n=5))
    for alpha in (0.03, 0.3, 3.0, 10.0):
        ends = {n: refopt.minimize(p, n, lr=alpha, batch_size=1, steps=300) for n in NAMES}
        assert p.error(ends["prox-point-sgd"].x) < 1e-8
        assert p.error(ends["prox-linear"].x) < 1e-8
        assert ends["prox-subgradient"].status == "diverged" or p.error(ends["prox-subgradient"].x) > 1e-3


@pytest.mark.claim("prox-point-sgd", "prox-linear", "prox-subgradient")
@pytest.mark.parametrize("name", NAMES)
def test_a_step_brings_the_point_nearer_to_its_moreau_point(name: str) -> None:
    """The inequality under the rates: over all examples at once, with x̂ the proximal point of the whole f and ρ̄ twice its
    weak convexity, E‖x̂ - x⁺‖² ≤ (β + τ - ρ̄)/(β - η) ‖x̂ - x‖² + 4 L²/((β - ρ̄)(β - η)), at four points and two β."""
    p = unregularised(retrieval(outliers=0.2))
    n = p.n_examples
    moduli = 2.0 * np.sum(np.asarray(p.vectors) ** 2, axis=1)  # of each example
    each = float(np.max(moduli))
    for x in (np.array([0.4, -1.1]), np.array([1.5, 0.2]), p.truth + 0.1, np.array([-0.2, 0.1])):
        # η: weak convexity of the model itself, τ: of f below the model.
        eta, tau = (each, 0.0) if name == "prox-point-sgd" else (0.0, each)
        bar = 2.0 * (tau + eta)
        moreau = min(
            (
                scipy.optimize.minimize(
                    lambda y, x=x: float(p.value(y)) + bar / 2 * float(np.sum((y - x) ** 2)), start, method="Nelder-Mead",
                    options={"xatol": 1e-10, "fatol": 1e-14, "maxiter": 4000},
                )
                for start in (x, x + 0.05)
            ),
            key=lambda r: r.fun,
        ).x  # fmt: skip
        for beta in (1.5 * bar, 6.0 * bar):
            after = [one_step(name, p, x, 1.0 / beta, i) for i in range(n)]
            got = np.mean([np.sum((moreau - y) ** 2) for y in after])
            reach = max(np.linalg.norm(x), np.linalg.norm(moreau), *(np.linalg.norm(y) for y in after))
            lip = np.mean(moduli**2) ** 0.5 * reach
            bound = (beta + tau - bar) / (beta - eta) * np.sum((moreau - x) ** 2) + 4 * lip**2 / (
                (beta - bar) * (beta - eta)
            )
            assert got <= bound * (1 + 1e-9)


@pytest.mark.claim("prox-subgradient")
def test_stationarity_of_the_moreau_envelope() -> None:
    """Corollary 2.2's measure, the envelope's gradient 2 ρ (x - x̂) at the proximal point x̂: over runs of T = 10 and 60 steps of γ/√(T + 1)
    on all of 12 measurements its weighted mean square is at most 2 (φ_{1/2ρ}(x_0) - min φ + ρ L² Σ α²)/Σ α, and falls from the one to the other.
    """
    p = unregularised(retrieval())
    rho, start, means = p.weak_convexity, np.array([1.6, -0.9]), []

    def moreau(x: np.ndarray) -> tuple[np.ndarray, float]:
        found = min(
            (
                scipy.optimize.minimize(
                    lambda y: float(p.value(y)) + rho * float(np.sum((y - x) ** 2)), begin, method="Nelder-Mead",
                    options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 3000},
                )
                for begin in (x, 0.5 * (x + p.truth))
            ),
            key=lambda r: r.fun,
        )  # fmt: skip
        return found.x, float(found.fun)

    for T in (10, 60):
        alpha, points = 0.15 / (T + 1) ** 0.5, [start]
        refopt.minimize(p, "prox-subgradient", start, lr=alpha, steps=T, callback=points.append)
        points = points[:-1]
        squares = [float(np.sum((2 * rho * (x - moreau(x)[0])) ** 2)) for x in points]
        top = max(float(np.sum(np.asarray(p.grad(x)) ** 2)) for x in points)
        # min φ = 0, without noise.
        bound = 2 * (moreau(start)[1] + rho * top * T * alpha**2) / (T * alpha)
        means.append(float(np.mean(squares)))
        assert means[-1] <= bound
    assert means[1] < 0.7 * means[0]


@pytest.mark.identity("prox-subgradient", "proximal-sgd")
def test_both_are_the_proximal_gradient_rule() -> None:
    """The same points as `proximal-gradient` with that rate on the same batches, to the bit; without r they are SGD's."""
    p = refopt.problem("logistic", l1=0.02)
    kw: dict[str, Any] = {"lr": 0.3, "batch_size": 16, "steps": 30, "schedule": lambda t: t**-0.5}
    want = refopt.minimize(p, "proximal-gradient", **kw).x
    plain = refopt.problem("logistic")
    for name in ("prox-subgradient", "proximal-sgd"):
        np.testing.assert_array_equal(refopt.minimize(p, name, **kw).x, want)
        np.testing.assert_array_equal(
            refopt.minimize(plain, name, **kw).x, refopt.minimize(plain, "sgd", **kw).x
        )
    assert np.any(want == 0.0)


@pytest.mark.claim("proximal-sgd")
def test_the_handbook_s_bound() -> None:
    """Ridge least squares with an l1 penalty, γ = 1/(2 L_max): the mean squared distance of 200 runs stays below
    (1 - γμ)^t ‖x_0 - x*‖² + 2 γ σ*²/μ, with σ*² the variance of the gradients at x*."""
    rng = np.random.default_rng(0)
    n, d, l1, mu = 12, 3, 0.05, 0.5
    A, b = rng.standard_normal((n, d)), rng.standard_normal(n)

    def grads(x: np.ndarray) -> np.ndarray:
        return (A @ x - b)[:, None] * A + mu * x

    top = float(np.max(np.sum(A * A, axis=1))) + mu
    gamma, x_star = 1.0 / (2.0 * top), np.zeros(d)
    for _ in range(4000):
        y = x_star - 0.05 * grads(x_star).mean(axis=0)
        x_star = np.sign(y) * np.maximum(np.abs(y) - 0.05 * l1, 0.0)
    modulus = mu + float(np.linalg.eigvalsh(A.T @ A / n)[0])
    noise = grads(x_star)
    sigma = float(np.mean(np.sum((noise - noise.mean(axis=0)) ** 2, axis=1)))
    p = refopt.from_functions(
        lambda x, batch=None: 0.0, lambda x, batch=None: (grads(x) if batch is None else grads(x)[batch]).mean(axis=0), n_examples=n,
        prox=lambda x, step: np.sign(x) * np.maximum(np.abs(x) - step * l1, 0.0), penalty=lambda x: l1 * float(np.abs(x).sum()), x0=np.full(d, 3.0),
    )  # fmt: skip
    steps = 60
    marks = {10: [], 30: [], steps: []}  # type: dict[int, list[float]]
    for seed in range(200):
        at = iter(range(1, steps + 1))

        def note(x: np.ndarray, at: Any = at) -> None:
            t = next(at)
            if t in marks:
                marks[t].append(float(np.sum((x - x_star) ** 2)))

        refopt.minimize(
            p,
            "proximal-sgd",
            lr=gamma,
            batch_size=1,
            sampling="replacement",
            steps=steps,
            seed=seed,
            callback=note,
        )
    for t, found in marks.items():
        bound = (1 - gamma * modulus) ** t * float(
            np.sum((np.full(d, 3.0) - x_star) ** 2)
        ) + 2 * gamma * sigma / modulus
        assert np.mean(found) <= bound
    # A hundredth of it and more: noise is what is left.
    assert np.mean(marks[steps]) > 0.01 * bound


@pytest.mark.identity("prox-subgradient", "prox-point-sgd", "prox-linear")
def test_the_chosen_point_is_drawn_with_the_steps_as_weights() -> None:
    """Steps of 1, 2, 3 (times 1e-9): over 3000 seeds x_0, x_1, x_2 are chosen in the ratio 1 : 2 : 3, to four deviations."""
    p = unregularised(retrieval())
    for name in NAMES:
        counts = np.zeros(3)
        for seed in range(1000):
            points = [np.array([0.4, -1.1])]
            r = refopt.minimize(p, name, points[0], lr=lambda t: 1e-9 * t, chooses=True, batch_size=1, steps=3, seed=seed,
                callback=lambda x, points=points: points.append(x))  # fmt: skip
            counts[[np.array_equal(r.state["chosen"], q) for q in points[:3]].index(True)] += 1
        share = np.array([1, 2, 3]) / 6
        assert np.all(np.abs(counts - 1000 * share) < 4 * np.sqrt(1000 * share * (1 - share)))


@pytest.mark.claim("phase-retrieval")
def test_weak_convexity() -> None:
    """f + ρ‖x‖²/2 is convex with ρ = `weak_convexity` on 3000 segments, and not with half of it; the truth's f is 0."""
    p = refopt.problem("phase-retrieval", n=3, outliers=0.25)
    rng = np.random.default_rng(0)
    violated = False
    for _ in range(3000):
        x, y = 0.4 * rng.standard_normal((2, 3))
        gap = float(p.value(x)) / 2 + float(p.value(y)) / 2 - float(p.value((x + y) / 2))
        square = float(np.sum((x - y) ** 2)) / 8
        assert gap + p.weak_convexity * square >= -1e-12
        violated |= gap + p.weak_convexity / 2 * square < -1e-12
    assert violated
    clean = refopt.problem("phase-retrieval", n=3)
    assert float(clean.value(-clean.truth)) == 0.0 and clean.error(-clean.truth) == 0.0


def test_what_cannot_be_is_told() -> None:
    p = retrieval()
    with pytest.raises(
        refopt.errors.ArgumentError, match="batch: the proximal point is of one example, got 12"
    ):
        p.example_prox(p.truth, 0.1)
    with pytest.raises(refopt.errors.CapabilityError, match="example_prox"):
        refopt.minimize("logistic", "prox-point-sgd")
    mlp = refopt.problem("mlp", widths=(3,))
    with pytest.raises(refopt.errors.ShapeError, match="one number an example"):
        refopt.minimize(mlp, "prox-linear", batch_size=1, steps=1)
    still = p.truth * 0.0
    for name in ("prox-linear", "prox-point-sgd"):
        assert np.all(np.isfinite(refopt.minimize(p, name, still, steps=2, batch_size=1).x)), math.nan
