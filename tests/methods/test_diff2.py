"""DIFF2: written out, telescoping, its noise, and what it costs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator
from refopt.optimizers.private.accountant import ORDERS, epsilon


def small() -> Any:
    """A regression on 23 inputs of length 1: gradients below 2, differences below 0.7 of the step."""
    a = np.random.default_rng(7).standard_normal((23, 4))
    data = a / np.linalg.norm(a, axis=1, keepdims=True), np.arange(23) % 3 == 0
    return refopt.problem("logistic", data=data, l2=0.1)


P = small()
X = np.array([0.6, -0.3, 0.2, 0.9, -0.5])


def shortened(z: np.ndarray, most: float) -> tuple[np.ndarray, int]:
    size = float(np.linalg.norm(z))
    return z * min(1.0, most / size), int(size > most)


@pytest.mark.identity("diff2")
@pytest.mark.parametrize("clients", [1, 3])
def test_written_out(clients: int) -> None:
    """Nine rounds, restarted every four, equal the paper's boxes written out example by example with the same draws, by
    one client and by three of 8, 8 and 7 examples, to 1e-12; some gradients and some differences are shortened.
    """
    lr, C1, C2, s1, s2, T = 0.4, 0.9, 0.33, 0.3, 0.2, 4
    options: dict[str, Any] = {"clip": C1, "clip_difference": C2, "noise": s1, "noise_difference": s2}
    r = refopt.minimize(P, "diff2", X, lr=lr, restart_every=T, clients=clients, schedule=lambda t: 1 / t, steps=9,
        seed=5, **options)  # fmt: skip
    parts = [range(23)] if clients == 1 else [range(8), range(8, 16), range(16, 23)]
    x, before, v, short = X, X, np.zeros_like(X), {True: 0, False: 0}
    for t in range(1, 10):
        rng, first, total = generator(5, "method", t), t in (1, 5, 9), np.zeros_like(X)
        size = float(np.linalg.norm(x - before))
        for part in parts:
            d = np.zeros_like(X)
            for i in part:
                one = np.array([i])
                z = P.grad(x, batch=one) - (0.0 if first else P.grad(before, batch=one))
                z, cut = shortened(z, C1 if first else C2 * size)
                short[first] += cut
                d += z / len(part)
            total += (d + (s1 if first else s2 * size) * rng.standard_normal(X.shape)) / clients
        v = total if first else v + total
        before, x = x, x - lr / t * v
    np.testing.assert_allclose(r.x, x, rtol=1e-12)
    assert 0 < short[True] < 3 * 23 and 0 < short[False] < 6 * 23
    assert r.state["t"] == 9
    assert dict(r.calls) == {"example_grads": clients * (3 + 2 * 6), "bytes_sent": 9 * clients * X.nbytes}


@pytest.mark.identity("diff2")
def test_limits() -> None:
    """Without noise and shortening the differences telescope: gradient descent whatever T, 30 steps, to 1e-11. With
    T = 1 it is DP-SGD on all examples, whose noise over the sum is n times ours over C, to 1e-12.
    """
    plain = refopt.minimize(P, "sgd", X, lr=0.3, steps=30)
    for T in (1, 7, 100):
        r = refopt.minimize(P, "diff2", X, lr=0.3, clip=1e6, clip_difference=1e6, noise=0.0, noise_difference=0.0,
            restart_every=T, steps=30)  # fmt: skip
        np.testing.assert_allclose(r.x, plain.x, rtol=1e-11)
    a = refopt.minimize(
        P, "diff2", X, lr=0.3, clip=1e6, noise=0.0, clip_difference=1e6, noise_difference=0.0, steps=6
    )
    assert a.calls["example_grads"] == 11
    draws = []
    for name, options in (
        ("diff2", {"clip": 1.3, "noise": 0.2, "restart_every": 1}),
        ("dp-sgd", {"clip": 1.3, "noise": 0.2 * 23 / 1.3, "sampling_rate": 1.0}),
    ):
        o, oracle = refopt.optimizer(name, lr=1.0, **options), Oracle(P, 2)
        oracle.begin(1)
        draws.append(o.step(X, o.init(X), oracle)[0])
    # DP-SGD draws who takes part before its noise.
    rng = generator(2, "method", 1)
    first = rng.standard_normal(X.shape)
    rng = generator(2, "method", 1)
    rng.random(23)
    second = rng.standard_normal(X.shape)
    np.testing.assert_allclose(draws[0] + 0.2 * first, draws[1] + 0.2 * second, rtol=1e-12)


@pytest.mark.claim("diff2")
def test_variance_of_the_estimate() -> None:
    """At the same ε over 100 rounds v is ten times nearer to the gradient in mean square than that of DP-GD (T = 1), and
    its error has the variance σ1² + σ2² Σ Δ² a coordinate, within five standard errors over six seeds.
    """
    R, n, C1, C2, spent = 100, 23, 2.0, 0.7, 400.0
    share = {
        "noise": 2 * C1 / n * (2 / spent) ** 0.5,
        "noise_difference": 2 * C2 / n * (2 * (R - 1) / spent) ** 0.5,
    }
    errors: dict[int, list[float]] = {}
    in_units: list[float] = []
    for T, noise in ((R, share), (1, {"noise": 2 * C1 / n * (R / spent) ** 0.5})):
        o = refopt.optimizer("diff2", lr=0.1, clip=C1, clip_difference=C2, restart_every=T, **noise)
        assert o.epsilon(R, n, 1e-5) == pytest.approx(epsilon(1.0, spent**-0.5, 1, 1e-5), rel=1e-9)
        errors[T] = []
        for seed in range(6):
            seen = [X]
            r = refopt.minimize(P, o, X, steps=R, seed=seed, callback=seen.append)
            error = r.state["v"] - P.grad(seen[-2])
            errors[T] += list(error)
            moved = np.sum(np.diff(seen[:-1], axis=0) ** 2)
            in_units += (
                list(error / (share["noise"] ** 2 + share["noise_difference"] ** 2 * moved) ** 0.5)
                if T > 1
                else []
            )
    assert np.mean(np.square(errors[R])) < 0.1 * np.mean(np.square(errors[1]))
    assert abs(np.mean(np.square(in_units)) - 1.0) < 5 * (2 / len(in_units)) ** 0.5


@pytest.mark.claim("diff2")
def test_sensitivity_and_epsilon() -> None:
    """One example replaced moves what is sent by at most 2 C1/n, and a difference by at most 2 C2 Δ/n; ε is the Rényi
    bound of all releases together (1e-12), of DP-SGD's accountant where there is one kind.
    """
    rng = np.random.default_rng(0)
    A, y = rng.standard_normal((12, 3)), np.arange(12) % 2
    B = A.copy()
    B[4], other = -30.0 * A[4], y.copy()
    other[4] = 1 - y[4]
    x = np.array([0.3, -0.2, 0.4])
    options: dict[str, Any] = {"lr": 1.0, "clip": 0.2, "clip_difference": 0.1, "noise": 0.0}
    o = refopt.optimizer("diff2", noise_difference=0.0, restart_every=2, **options)
    after = []
    for data in ((A, y), (B, other)):
        oracle = Oracle(refopt.problem("logistic", data=data, intercept=False))
        oracle.begin(1)
        one, s = o.step(x, o.init(x), oracle)
        after.append((x - one, s))
        _, s = o.step(x, {**s, "before": x + 0.5}, oracle)
        after.append((s["v"] - (x - one), s))
    moved = np.linalg.norm(after[0][0] - after[2][0])
    assert 0.0 < moved <= 2 * 0.2 / 12 * (1 + 1e-12)
    moved = np.linalg.norm(after[1][0] - after[3][0])
    assert 0.0 < moved <= 2 * 0.1 * 0.5 * math.sqrt(3) / 12 * (1 + 1e-12)
    o = refopt.optimizer(
        "diff2", clip=1.5, clip_difference=2.0, noise=0.1, noise_difference=0.3, restart_every=4
    )
    # Ten rounds: three anew, seven differences.
    z = 3 * (2 * 1.5 / (50 * 0.1)) ** 2 + 7 * (2 * 2.0 / (50 * 0.3)) ** 2
    want = min(a / 2 * z + math.log1p(-1 / a) - (math.log(1e-5) + math.log(a)) / (a - 1) for a in ORDERS)
    assert o.epsilon(10, 50, 1e-5) == pytest.approx(want, rel=1e-12)
    assert o.epsilon(0, 50, 1e-5) == 0.0
    each = refopt.optimizer("diff2", clip=1.0, noise=0.1, restart_every=1, noise_difference=0.0)
    assert each.epsilon(8, 40, 1e-5) == pytest.approx(epsilon(1.0, 40 * 0.1 / 2, 8, 1e-5), rel=1e-12)
    loud = refopt.optimizer("diff2", noise=50.0, noise_difference=50.0)
    assert 0.0 < loud.epsilon(10, 50, 1e-5) == pytest.approx(epsilon(1.0, 1250 / 10**0.5, 1, 1e-5), rel=1e-9)
    for steps, n, name in ((-1, 50, "steps"), (2, 0, "n_examples")):
        with pytest.raises(refopt.errors.ArgumentError, match=name):
            loud.epsilon(steps, n, 1e-5)
    assert refopt.optimizer("diff2", noise_difference=0.0).epsilon(30, 40, 1e-5) == math.inf
    assert refopt.optimizer("diff2", noise=0.0).epsilon(1, 40, 1e-5) == math.inf
    with pytest.raises(refopt.errors.ArgumentError, match="clients"):
        refopt.minimize(P, "diff2", clients=24, steps=1)
