"""Optimistic GD, noisy SGD and COCOB."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.alike import assert_same_run
from tests.streams import stream


@pytest.mark.identity("optimistic-gd")
@pytest.mark.parametrize("first", ["own", "zero"])
def test_with_equal_weights_it_is_optimistic_mirror_descent(first: str) -> None:
    """α = β = 1: the points of `optimistic-mirror-descent` with the same start, to 1e-13; α and β apart written out, to the bit; β = 0 SGD."""
    run = stream(1, "random", steps=20)
    o = refopt.optimizer("optimistic-gd", lr=0.1, first=first)
    assert_same_run(
        o, refopt.optimizer("optimistic-mirror-descent", lr=0.1, first=first), run, rtol=1e-12, atol=1e-13
    )
    assert_same_run(refopt.optimizer("optimistic-gd", lr=0.1, beta=0.0), refopt.optimizer("sgd", lr=0.1), run)
    o = refopt.optimizer("optimistic-gd", lr=0.1, alpha=0.7, beta=0.3, first=first)
    x, last, s = (
        run[0],
        run[1][0] if first == "own" else {k: 0.0 * v for k, v in run[0].items()},
        o.init(run[0]),
    )
    y = x
    for g in run[1]:
        x, s = o.update(x, g, s)
        y = {k: y[k] - 0.1 * (1.0 * g[k] - 0.3 * last[k]) for k in y}
        last = g
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-13, atol=1e-14)


@pytest.mark.claim("optimistic-gd")
def test_the_bilinear_game_is_solved() -> None:
    """The field (y, -x) of the game x y: from (1, 1) at a rate of 0.1, 0.01 from the solution after 1000 steps, where gradient
    descent is at more than 100 (which the paper shows)."""
    ends = {}
    for name in ("optimistic-gd", "sgd"):
        o = refopt.optimizer(name, lr=0.1)
        z = np.ones(2)
        s = o.init(z)
        for _ in range(1000):
            z, s = o.update(z, np.array([z[1], -z[0]]), s)
        ends[name] = np.linalg.norm(z)
    assert ends["optimistic-gd"] < 0.01
    assert ends["sgd"] > 100.0


@pytest.mark.claim("noisy-sgd")
def test_the_noise_has_the_variance_of_its_step() -> None:
    """40 000 coordinates without gradient, η = 0.5, η_n = 0.3, γ = 0.8: at t = 1, 2, 5 the variance of the move is η² η_n / t^γ within five of its
    standard errors, the mean zero within five, and steps are uncorrelated."""
    n = 40_000
    p = refopt.from_functions(lambda x: 0.0, np.zeros_like, x0=np.zeros(n))
    o = refopt.optimizer("noisy-sgd", lr=0.5, variance=0.3, gamma=0.8)
    x, oracle, moves = np.zeros(n), Oracle(p, 3), []
    s = o.init(x)
    for t in range(1, 6):
        oracle.begin(t)
        y, s = o.step(x, s, oracle)
        moves.append(y - x)
        x = y
    for t in (1, 2, 5):
        variance = 0.25 * 0.3 / t**0.8
        assert abs(np.var(moves[t - 1]) / variance - 1.0) < 5 * (2 / n) ** 0.5
        assert abs(np.mean(moves[t - 1])) < 5 * (variance / n) ** 0.5
    assert abs(np.corrcoef(moves[0], moves[1])[0, 1]) < 5 / n**0.5


@pytest.mark.identity("noisy-sgd")
def test_without_noise_it_is_sgd_and_noise_is_added_to_the_gradient() -> None:
    """η_n = 0: SGD, to the bit; otherwise the first step is SGD's with the run's normal numbers in the gradient, to 1e-14."""
    p = refopt.problem("quadratic", n=5)
    a = refopt.minimize(p, "noisy-sgd", variance=0.0, lr=0.1, steps=10, seed=1)
    np.testing.assert_array_equal(a.x, refopt.minimize(p, "sgd", lr=0.1, steps=10, seed=1).x)
    x = p.start(0)
    oracle, other = Oracle(p, 7), Oracle(p, 7)
    oracle.begin(1)
    other.begin(1)
    o = refopt.optimizer("noisy-sgd", lr=0.1, variance=0.09, schedule=lambda t: 0.5)
    y, _ = o.step(x, o.init(x), oracle)
    np.testing.assert_allclose(
        y, x - 0.05 * (p.grad(x) + 0.3 * other.rng.standard_normal(5)), rtol=1e-13, atol=1e-14
    )


@pytest.mark.identity("cocob")
def test_the_bets_written_out() -> None:
    """Twenty steps of a coordinate at a time with plain numbers, with decay, a rate that changes and an α that both cases of the maximum
    meet, to 1e-12."""
    o = refopt.optimizer(
        "cocob", alpha=4.0, eps=0.2, weight_decay=0.1, lr=0.8, schedule=lambda t: 1.0 / t**0.5
    )
    x, gradients = stream(1, "random", steps=20, shapes={"w": (6,)})
    s, y, start = o.init(x), list(x["w"]), list(x["w"])
    theta, G, R, L = [0.0] * 6, [0.0] * 6, [0.0] * 6, [0.2] * 6
    won, early = 0, 0
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        for i, gi in enumerate(g["w"]):
            gi = 0.8 / t**0.5 * (gi + 0.1 * y[i])
            L[i] = max(L[i], abs(gi))
            G[i] += abs(gi)
            R[i] = max(R[i] - gi * (y[i] - start[i]), 0.0)
            theta[i] -= gi
            won, early = won + (R[i] > 0), early + (G[i] + L[i] < 4.0 * L[i])
            y[i] = start[i] + theta[i] / (L[i] * max(G[i] + L[i], 4.0 * L[i])) * (L[i] + R[i])
        np.testing.assert_allclose(x["w"], y, rtol=1e-12, atol=1e-13)
    assert 0 < won < 120
    assert 0 < early < 120


@pytest.mark.claim("cocob")
def test_there_is_no_rate() -> None:
    """ε = 0: gradients times powers of two, another one for each coordinate, give the same run to the bit; first moves are 1/α; and |x - 10|
    from 0, with first steps of 0.2, is near its minimum after 400 steps."""
    o = refopt.optimizer("cocob", eps=0.0, alpha=10.0)
    run = stream(2, "random", steps=20)
    scales = {k: 2.0 ** np.random.default_rng(1).integers(-8, 8, v.shape) for k, v in run[0].items()}
    assert_same_run(o, o, run, change=lambda g: {k: scales[k] * v for k, v in g.items()})
    x, _ = o.update(run[0], run[1][0], o.init(run[0]))
    for k in x:
        np.testing.assert_allclose(x[k] - run[0][k], -0.1 * np.sign(run[1][0][k]), rtol=1e-12, atol=1e-14)
    o = refopt.optimizer("cocob", alpha=5.0)
    x = np.zeros(1)
    s = o.init(x)
    for _ in range(400):
        x, s = o.update(x, np.sign(x - 10.0), s)
    assert abs(x[0] - 10.0) < 2.0
