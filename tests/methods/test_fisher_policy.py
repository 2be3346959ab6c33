"""N-PG-IGT and HARPG: exact where the gradient is affine, unbiased otherwise, written out with trajectories."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator

from tests.methods.values import Cubic, H, X

BANDIT = {"states": 2, "actions": 3, "horizon": 2, "seed": 1}


class Curved(Cubic):
    def hvp(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return self.h @ v + self.c * x * v


@pytest.mark.claim("n-pg-igt", "harpg")
@pytest.mark.parametrize("power", [0.5, 0.8, 1.0])
def test_affine_gradient_is_tracked(power: float) -> None:
    """With an affine gradient and exact answers d_t is the gradient at θ_t at every step, whatever η: N-PG-IGT and
    N-HARPG are normalised gradient descent with rates 2 γ_0/(t + 2), HARPG is descent with γ_0 (2/(t + 2))^½, to
    1e-11.
    """
    p = Curved(H)
    for name, more in (("n-pg-igt", {}), ("harpg", {"normalize": True}), ("harpg", {})):
        o = refopt.optimizer(name, lr=0.3, power=power, **more)
        plain = name == "harpg" and not more
        oracle, x, y = Oracle(p, 2), X, X
        s = o.init(x)
        for t in range(12):
            oracle.begin(t + 1)
            at, (x, s) = x, o.step(x, s, oracle)
            np.testing.assert_allclose(s["d"], H @ at, rtol=1e-10, atol=1e-12)
            g = H @ y
            y = y - 0.3 * ((2 / (t + 2)) ** 0.5 * g if plain else 2 / (t + 2) * g / np.linalg.norm(g))
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-11)
        assert s["t"] == 12


@pytest.mark.identity("n-pg-igt")
@pytest.mark.parametrize("dialect", ["paper", "official"])
def test_transport_written_out(dialect: str) -> None:
    """Eight steps on a curved function equal the algorithm written out, to 1e-11; in the authors' code the
    extrapolation is by the η of the step before, none at t = 1.
    """
    p = Curved(H, 1.3)
    o = refopt.optimizer("n-pg-igt", dialect=dialect, lr=0.2, schedule=lambda t: 1 / t)
    x = theta = before = X
    s, d, oracle = o.init(x), np.zeros(3), Oracle(p)
    for t in range(8):
        x, s = o.step(x, s, oracle)
        eta = (2 / (t + 2)) ** 0.8
        by = eta if dialect == "paper" else (2 / (max(t - 1, 0) + 2)) ** 0.8
        d = (1 - eta) * d + eta * p.grad(theta + (1 - by) / by * (theta - before))
        before, theta = theta, theta - 0.2 / (t + 1) * 2 / (t + 2) * d / np.linalg.norm(d)
        np.testing.assert_allclose(x, theta, rtol=1e-11)
    assert oracle.counts.calls == {"grad": 8}
    still = refopt.optimizer("n-pg-igt")
    np.testing.assert_array_equal(still.step(np.zeros(3), still.init(np.zeros(3)), Oracle(p))[0], 0.0)


@pytest.mark.identity("harpg")
@pytest.mark.parametrize("normalize", [False, True])
def test_hessian_aid_written_out(normalize: bool) -> None:
    """Eight steps on a curved function, with q drawn first at each, equal the algorithm written out, to 1e-11."""
    p = Curved(H, 1.3)
    o = refopt.optimizer("harpg", lr=0.2, normalize=normalize, schedule=lambda t: 1 / t)
    x = theta = before = X
    s, d, oracle = o.init(x), np.zeros(3), Oracle(p, 6)
    for t in range(8):
        oracle.begin(t + 1)
        x, s = o.step(x, s, oracle)
        eta = 2 / (t + 2)
        if t:
            q = generator(6, "method", t + 1).random()
            d = d + p.hvp(q * theta + (1 - q) * before, theta - before)
        d = (1 - eta) * d + eta * p.grad(theta)
        gamma = 0.2 / (t + 1) * (eta / np.linalg.norm(d) if normalize else eta**0.5)
        before, theta = theta, theta - gamma * d
        np.testing.assert_allclose(x, theta, rtol=1e-11)
    assert oracle.counts.calls == {"grad": 8, "hvp": 7}


@pytest.mark.claim("harpg")
def test_mean_over_q_is_the_change_of_the_gradient() -> None:
    """With q averaged by Gauss's rule v_t is ∇f(θ_t) - ∇f(θ_{t-1}): on the tabular policy, to 1e-12."""
    p, rng = refopt.problem("tabular-policy", **BANDIT), np.random.default_rng(0)
    x, before, d = rng.standard_normal((2, 3)), rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    o = refopt.optimizer("harpg", lr=1.0)
    nodes, weights = np.polynomial.legendre.leggauss(14)
    total = np.zeros((2, 3))

    class Fixed:
        def __init__(self, q: float) -> None:
            self.q = q

        def random(self) -> float:
            return self.q

    for q, w in zip((nodes + 1) / 2, weights / 2):
        oracle = Oracle(p)
        oracle._rng = Fixed(q)  # type: ignore[assignment]
        _, s = o.step(x, {"t": 4, "d": d, "previous": before}, oracle)
        total += w * s["d"]
    want = 2 / 3 * (d + p.grad(x) - p.grad(before)) + 1 / 3 * p.grad(x)
    np.testing.assert_allclose(total, want, rtol=1e-11)


@pytest.mark.identity("n-pg-igt", "harpg")
def test_trajectories_are_of_the_point_that_is_asked_about() -> None:
    """With trajectories drawn, both are the algorithm on the estimates of the problem's own draws at θ̃, or at θ̂ and
    then θ, to 1e-12; a problem without trajectories is refused.
    """
    p, seed = refopt.problem("tabular-policy", **BANDIT), 3
    for name in ("n-pg-igt", "harpg"):
        o = refopt.optimizer(name, lr=0.5, trajectories=4)
        x = before = p.start()
        s, d, oracle = o.init(x), 0.0 * x, Oracle(p, seed)
        for t in range(5):
            oracle.begin(t + 1)
            rng, theta = generator(seed, "method", t + 1), x
            x, s = o.step(x, s, oracle)
            if name == "n-pg-igt":
                eta = (2 / (t + 2)) ** 0.8
                found = p.rollouts(theta + (1 - eta) / eta * (theta - before), 4, rng)
            else:
                eta = 2 / (t + 2)
                if t:
                    q = rng.random()
                    between = p.rollouts(q * theta + (1 - q) * before, 4, rng)
                    d = d + between.hvps(theta - before).mean(0)
                found = p.rollouts(theta, 4, rng)
            d = (1 - eta) * d + eta * found.grads.mean(0)
            np.testing.assert_allclose(s["d"], d, rtol=1e-11, atol=1e-13)
            before = theta
        with pytest.raises(refopt.errors.CapabilityError, match="rollouts"):
            refopt.minimize(refopt.problem("quadratic"), o, steps=1)


@pytest.mark.claim("n-pg-igt")
def test_the_noise_alone_is_averaged() -> None:
    """With noise ξ_t on an affine gradient the error of d_t is (1 - η_t) e_{t-1} + η_t ξ_t, whatever steps were made: none
    is of the points' distance (1e-10), where an average without the transport is up to 8 times further off. Its mean
    square is at most η_t σ² at each of 1000 steps, 0.53 of it at the last: it falls with t^{-4/5}, fitted 0.82.
    """
    p, rng, steps = Curved(H), np.random.default_rng(0), 60
    noise, error, still = rng.standard_normal((steps, 3)), np.zeros(3), np.zeros(3)

    class Noisy(Curved):
        def grad(self, x: np.ndarray) -> np.ndarray:
            return self.h @ x + noise[t]

    o, oracle, x = refopt.optimizer("n-pg-igt", lr=3.0), Oracle(Noisy(H)), X
    s, worst = o.init(x), 0.0
    for t in range(steps):
        before, (x, s) = x, o.step(x, s, oracle)
        eta = (2 / (t + 2)) ** 0.8
        error = (1 - eta) * error + eta * noise[t]
        still = (1 - eta) * still + eta * (p.grad(before) + noise[t])
        np.testing.assert_allclose(s["d"] - p.grad(before), error, rtol=0, atol=1e-10)
        worst = max(worst, float(np.linalg.norm(still - p.grad(before)) / np.linalg.norm(error)))
    assert worst > 8

    class Units:
        def grad(self, x: np.ndarray) -> np.ndarray:
            return np.eye(1, 1000, s["t"])[0]

    # With the t-th noise the t-th unit vector, d_t holds the weights of all of them.
    o, oracle, x, found = refopt.optimizer("n-pg-igt"), Oracle(Units()), np.zeros(1000), []
    s = o.init(x)
    for _ in range(1000):
        x, s = o.step(x, s, oracle)
        found.append(float(s["d"] @ s["d"]))
    eta = (2 / (np.arange(1000) + 2)) ** 0.8
    assert np.all(np.array(found) <= eta)
    assert found[-1] / eta[-1] == pytest.approx(0.5328, abs=1e-4)
    assert np.log(found[100] / found[-1]) / np.log(1001 / 102) == pytest.approx(0.823, abs=1e-3)
