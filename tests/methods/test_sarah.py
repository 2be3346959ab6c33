"""SARAH, SARAH+ and AI-SARAH: algorithms written out, rates in gradient equivalents, the implicit rate."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator
from refopt.core.sampling import Sampler

from tests.methods.test_svrg import LeastSquares
from tests.methods.values import Cubic, H, X


class Curved(Cubic):
    def hvp(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return self.h @ v + self.c * x * v

    def third(self, x: np.ndarray, v: np.ndarray) -> float:
        return self.c * float(np.sum(v**3))


@pytest.mark.identity("sarah", "ai-sarah")
def test_full_batch() -> None:
    """On all examples the direction is the gradient: SARAH is gradient descent (1e-12), and AI-SARAH takes
    α = vᵀHv/‖Hv‖² on a quadratic, within [1/L, 1/μ], bounded by its own first one (β = 1).
    """
    p = LeastSquares()
    a = refopt.minimize(
        p, "sarah", np.ones(3), lr=0.3, schedule=lambda t: 1 / t, inner_steps=7, option="last", steps=25
    )
    b = refopt.minimize(p, "sgd", np.ones(3), lr=0.3, schedule=lambda t: 1 / t, steps=25)
    assert a.calls["grad"] == 2 * 21 + 4
    np.testing.assert_allclose(a.x, b.x, rtol=1e-12)
    q, x, values = Curved(H), X, np.linalg.eigvalsh(H)
    o = refopt.optimizer("ai-sarah", beta=1.0)
    s, oracle, top = o.init(x), Oracle(q), np.inf
    for _ in range(6):
        g = H @ x
        rate = g @ H @ g / (H @ g @ H @ g)
        assert 1 / values[-1] <= rate <= 1 / values[0]
        alpha = min(rate, top)
        top = min(top, rate) if np.isinf(top) else top
        new, s = o.step(x, s, oracle)
        np.testing.assert_allclose(new, x - alpha * g, rtol=1e-9, atol=1e-13)
        x = new


@pytest.mark.claim("sarah")
def test_linear_terms_alone_are_no_noise() -> None:
    """If the f_i differ in linear terms alone, v_t = (I - ηH) v_{t-1} whatever is drawn: a loop is gradient descent,
    to 1e-12.
    """
    shifts = np.random.default_rng(0).standard_normal((9, 3))
    shifts -= shifts.mean(0)
    p = refopt.from_functions(
        lambda x, batch=None: float(x @ H @ x / 2),
        lambda x, batch=None: H @ x + (0.0 if batch is None else shifts[batch].mean(0)),
        n_examples=9,
    )
    a = refopt.minimize(p, "sarah", X, lr=0.1, inner_steps=50, steps=40, batch_size=2, seed=1)
    b = refopt.minimize(p, "sgd", X, lr=0.1, steps=40)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-10)


@pytest.mark.identity("sarah")
@pytest.mark.parametrize("option", ["uniform", "last"])
def test_algorithm_1(option: str) -> None:
    """Sixteen loops of three steps with one example a step equal Algorithm 1 written out, with the same indices and the
    same choice of w̃ among w_0 … w_m, to 1e-12; 2 m - 1 gradients a loop.
    """
    p, lr, m, seed = LeastSquares(), 0.1, 3, 7
    o = refopt.optimizer("sarah", lr=lr, inner_steps=m, option=option)
    sampler = Sampler(p.n_examples, 1, "replacement", seed)
    oracle, x, t, chosen = Oracle(p, seed, sampler), np.ones(3), 0, np.ones(3)
    s, taken = o.init(x), []
    for _ in range(16):
        choice = int(generator(seed, "method", t + 1).integers(0, m + 1))
        w, v, visited = chosen, p.grad(chosen), [chosen]
        for k in range(m):
            t += 1
            oracle.begin(t)
            x, s = o.step(x, s, oracle)
            if k:
                i = sampler.draw(t)
                v = p.grad(w, i) - p.grad(visited[-2], i) + v
            w = w - lr * v
            visited.append(w)
            np.testing.assert_allclose(x, w, rtol=1e-12)
        chosen = w if option == "last" else visited[choice]
        taken.append(choice)
    assert oracle.counts.calls["grad"] == 16 * (2 * m - 1)
    assert set(taken) == {0, 1, 2, 3}
    assert s["t"] == 48


@pytest.mark.identity("sarah")
@pytest.mark.parametrize(("batch", "steps"), [(1, 24), (5, 4), (12, 2)])
def test_default_inner_loop(batch: int, steps: int) -> None:
    """m is twice the number of batches in the data, at least 1, or what it is set to; without batches it is 2."""
    oracle = Oracle(LeastSquares(n=12))
    assert refopt.optimizer("sarah").inner_loop(oracle) == 2
    assert refopt.optimizer("sarah").inner_loop(oracle.on(np.arange(batch))) == steps
    assert refopt.optimizer("sarah", inner_steps=7).inner_loop(oracle) == 7


@pytest.mark.identity("sarah")
def test_sarah_plus() -> None:
    """SARAH+ begins a new loop from the last iterate as soon as ‖v_t‖² ≤ γ ‖v_0‖², or after m steps: written out, to
    1e-12.
    """
    p, lr, seed = LeastSquares(), 0.3, 3
    for gamma, m in ((0.125, 30), (0.125, 4), (0.9, 30)):
        o = refopt.optimizer("sarah", lr=lr, inner_steps=m, gamma=gamma)
        sampler = Sampler(p.n_examples, 8, "replacement", seed)
        oracle, x = Oracle(p, seed, sampler), np.ones(3)
        s, w, before, begin, k, lengths = o.init(x), x, x, True, 0, []
        for t in range(1, 41):
            oracle.begin(t)
            x, s = o.step(x, s, oracle)
            if begin:
                v = p.grad(w)
                first, k = v @ v, 0
            else:
                i = sampler.draw(t)
                v = p.grad(w, i) - p.grad(before, i) + v
            before, w, k = w, w - lr * v, k + 1
            begin = v @ v <= gamma * first or k == m
            if begin:
                lengths.append(k)
            np.testing.assert_allclose(x, w, rtol=1e-11, atol=1e-15)
        assert max(lengths) == 4 if m == 4 else 1 < max(lengths) < 30


@pytest.mark.claim("sarah", "ai-sarah")
def test_rates_on_logistic_regression() -> None:
    """To a gradient of 5e-4 on regularised logistic regression SARAH+, batches of 16, takes less than a third of the
    gradients that descent with 1/L takes (70 against 281), and AI-SARAH, with no rate to set, less than a quarter (58).
    """
    p = refopt.problem("logistic", l2=0.02)
    each = float(np.max(np.sum(p.inputs**2, axis=1))) / 4 + p.l2
    slow = refopt.minimize(p, "sgd", lr=1 / p.lipschitz, steps=4000, tol=5e-4, record_every=4000)
    common = {"tol": 5e-4, "batch_size": 16, "sampling": "replacement", "record_every": 20, "steps": 2500}
    fast = refopt.minimize(p, "sarah", lr=8 / each, gamma=1 / 8, inner_steps=400, **common)
    own = refopt.minimize(p, "ai-sarah", **common)
    assert slow.status == fast.status == own.status == "converged"
    assert fast.gradient_equivalents < slow.gradient_equivalents / 3
    assert own.gradient_equivalents < slow.gradient_equivalents / 4


@pytest.mark.claim("ai-sarah")
def test_implicit_rate() -> None:
    """α̃ is -ξ'(0)/|ξ''(0)| of ξ(α) = ‖∇f(w - αv) - ∇f(w) + v‖², by complex steps of it on a function with a third
    derivative, where ξ'' has either sign (1e-9); H = h I brings v to 0 in one step; of v = 0 the rate is 0.
    """
    from refopt.optimizers.variance_reduced.sarah import newton_rate

    signs = set()
    for c, w in ((1.3, X), (-9.0, 0 * X), (9.0, -X)):
        p, v = Curved(H, c), np.array([0.8, -0.3, 0.5])

        def slope(a: complex) -> complex:
            # ξ' written out, so that one complex step gives ξ''.
            at = w - a * v
            moved = H @ at + c * at**2 / 2 - p.grad(w) + v
            return -2 * np.sum(moved * (H @ v + c * at * v))

        first, second = slope(0.0), np.imag(slope(1e-30j)) / 1e-30
        signs.add(bool(second > 0))
        np.testing.assert_allclose(newton_rate(Oracle(p), w, v), -np.real(first) / abs(second), rtol=1e-9)
    assert signs == {True, False}
    o, q = refopt.optimizer("ai-sarah"), Curved(2.5 * np.eye(3))
    x, s = o.step(X, o.init(X), Oracle(q))
    np.testing.assert_allclose(x, 0.0, atol=1e-15)
    np.testing.assert_allclose(s["v"], 0.0, atol=1e-14)
    assert newton_rate(Oracle(q), X, 0.0 * X) == 0.0
    assert newton_rate(Oracle(q), X, 1e-200 * X) == pytest.approx(0.4)


@pytest.mark.identity("ai-sarah")
@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_ai_sarah_written_out(beta: float) -> None:
    """Thirty steps on batches equal the algorithm written out: the bound of the step before, δ's average over all
    loops, a new loop where ‖v‖² < γ‖v_0‖²; to 1e-9, and with β = 0 the rate is the less of the last two.
    """
    p, gamma, seed = refopt.problem("logistic", l2=0.05, n_examples=60), 0.2, 2
    o = refopt.optimizer("ai-sarah", beta=beta, gamma=gamma)
    sampler = Sampler(60, 20, "replacement", seed)
    oracle, x = Oracle(p, seed, sampler), p.start()
    s, w, begin, top, delta, loops = o.init(x), x, True, np.inf, None, 0
    for t in range(1, 31):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        i = sampler.draw(t)
        if begin:
            v = p.grad(w)
            first, loops = v @ v, loops + 1
        hv = p.hvp(w, v, batch=i)
        rate = 2 * (v @ hv) / abs(2 * (hv @ hv) + 2 * float(p.third(w, v, batch=i)))
        alpha = min(rate, top)
        delta = 1 / rate if delta is None else beta * delta + (1 - beta) / rate
        top = 1 / delta
        new = w - alpha * v
        v = p.grad(new, batch=i) - p.grad(w, batch=i) + v
        w, begin = new, v @ v < gamma * first
        np.testing.assert_allclose(x, w, rtol=1e-9, atol=1e-12)
    assert 1 < loops < 20
    assert oracle.counts.calls == {"grad": 60 + loops, "hvp": 30, "third": 30}
    assert s["t"] == 30
    half = refopt.optimizer("ai-sarah", schedule=lambda t: 0.5 if t == 1 else 0.0)
    whole = refopt.optimizer("ai-sarah")
    q = Curved(H)
    a, b = (m.step(X, m.init(X), Oracle(q))[0] for m in (half, whole))
    np.testing.assert_allclose(X - a, 0.5 * (X - b), rtol=1e-13)
