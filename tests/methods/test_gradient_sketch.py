"""Sketched gradients: moments exactly, the federated algorithm written out, the rate of sketched descent, privacy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator
from refopt.estimators.gradient_sketch import LAWS, sketch_matrix
from refopt.optimizers.private.accountant import epsilon


def laws(sketch: str, s: int, d: int) -> list[tuple[float, np.ndarray]]:
    """All matrices of a discrete law with their probabilities; for normal entries a quadrature of degree 5 in each."""
    if sketch == "gaussian":
        z, w = np.polynomial.hermite_e.hermegauss(3)
        one = list(zip(w / w.sum(), z / math.sqrt(s)))
    else:
        one = [(0.5, -1.0), (0.5, 1.0)]
    if sketch in ("gaussian", "rademacher"):
        unit = 1.0 if sketch == "gaussian" else 1 / math.sqrt(s)
        return [
            (math.prod(p for p, _ in c), unit * np.array([v for _, v in c]).reshape(s, d))
            for c in itertools.product(one, repeat=s * d)
        ]
    out = []
    order = 4
    H = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    for signs in itertools.product((-1.0, 1.0), repeat=d):
        for rows in itertools.product(
            range(s if sketch == "count" else order), repeat=d if sketch == "count" else s
        ):
            if sketch == "count":
                R = np.zeros((s, d))
                for j in range(d):
                    R[rows[j], j] = signs[j]
                out.append((0.5**d / s**d, R))
            else:
                out.append((0.5**d / order**s, H[list(rows)][:, :d] * np.array(signs) / math.sqrt(s)))
    return out


@pytest.mark.claim("gradient-sketch")
@pytest.mark.parametrize("sketch", LAWS)
def test_moments_exactly(sketch: str) -> None:
    """E[RᵀR] = I and E‖RᵀRh‖² = (1 + (d + 1)/s) ‖h‖² for normal entries, (1 + (d - 1)/s) ‖h‖² for signs, one sign a
    column and Hadamard rows, by sums over all of them, to 1e-12; what is drawn is among those that are summed over.
    """
    s, d = (2, 3) if sketch != "gaussian" else (2, 2)
    g = np.array([1.5, -0.5, 1.0])[:d]
    o = refopt.optimizer("gradient-sketch", size=s, sketch=sketch)
    mean, square = np.zeros((d, d)), 0.0
    every = laws(sketch, s, d)
    for p, R in every:
        mean, square = mean + p * R.T @ R, square + p * float(np.sum((R.T @ (R @ g)) ** 2))
    np.testing.assert_allclose(mean, np.eye(d), atol=1e-12)
    np.testing.assert_allclose(
        square, (1 + (d + (1 if sketch == "gaussian" else -1)) / s) * (g @ g), rtol=1e-12
    )
    np.testing.assert_allclose(o.moments(0.0, g)[1], square, rtol=1e-12)
    np.testing.assert_array_equal(o.moments(0.0, g)[0], g)
    if sketch == "gaussian":
        R = sketch_matrix(sketch, 3, 5, np.random.default_rng(0))
        np.testing.assert_array_equal(R.T, np.random.default_rng(0).standard_normal((5, 3)) / math.sqrt(3))
        return
    known = {np.round(R, 12).tobytes() for _, R in every}
    rng = np.random.default_rng(1)
    drawn = {np.round(sketch_matrix(sketch, s, d, rng) + 0.0, 12).tobytes() for _ in range(600)}
    assert drawn <= {(np.frombuffer(b) + 0.0).tobytes() for b in known}
    assert len(drawn) > 0.6 * len({(np.frombuffer(b) + 0.0).tobytes() for b in known})


def small() -> tuple[Any, np.ndarray]:
    a = np.random.default_rng(7).standard_normal((11, 4))
    return refopt.problem("logistic", data=(a, np.arange(11) % 3 == 0), l2=0.1), np.array(
        [0.6, -0.3, 0.2, 0.9, -0.5]
    )


@pytest.mark.identity("gradient-sketch")
@pytest.mark.parametrize("clients", [1, 3])
@pytest.mark.parametrize("clip", [None, 0.9])
def test_written_out(clients: int, clip: float | None) -> None:
    """Five rounds of the federated algorithm, its local steps, noise, sketches and the server's average written out with
    the same draws, for one client and for three of 4, 4 and 3 examples, with and without shortening, to 1e-12.
    """
    p, x = small()
    local, server, K, sigma, s = 0.3, 1.7, 3, 0.2, 2
    r = refopt.minimize(p, "gradient-sketch", x, lr=local * server, size=s, clients=clients, local_steps=K,
        local_lr=local, noise=sigma, clip=clip, steps=5, seed=4)  # fmt: skip
    parts = [range(11)] if clients == 1 else [range(4), range(4, 8), range(8, 11)]
    short = 0
    for t in range(1, 6):
        rng, moves = generator(4, "method", t), []
        for part in parts:
            u = x
            for _ in range(K):
                g = np.zeros_like(x)
                for i in part:
                    z = p.grad(u, batch=np.array([i]))
                    cut = 1.0 if clip is None else min(1.0, clip / np.linalg.norm(z))
                    short += cut < 1.0
                    g += cut * z / len(part)
                u = u - local * (g + sigma * rng.standard_normal(x.shape))
            moves.append(u - x)
        R = rng.standard_normal((5, s)).T / math.sqrt(s)
        x = x + R.T @ (server / clients * sum(R @ m for m in moves))
    np.testing.assert_allclose(r.x, x, rtol=1e-12)
    assert (short > 0) == (clip is not None) and short < 5 * K * 11
    asked = "grad" if clip is None else "example_grads"
    # Each client sends s numbers of eight bytes a round, whatever d and K are.
    assert dict(r.calls) == {asked: 5 * K * clients, "bytes_sent": 5 * clients * s * 8}
    few = refopt.minimize(
        p, "gradient-sketch", x, size=s, clients=clients, max_calls={"bytes_sent": 3 * clients * s * 8}
    )
    assert few.nit == 3 and few.status == "calls"


@pytest.mark.claim("gradient-sketch")
@pytest.mark.parametrize("sketch", ["gaussian", "count"])
def test_rate(sketch: str) -> None:
    """With η = 1/((1 + ω) L), ω = (d ± 1)/s, E f(x_T) - f* <= (1 - μ/((1 + ω) L))^T (f(x_0) - f*): the mean over 60 seeds is
    below it at T = 10 and T = 20, and f falls in the mean at every step, where the rate 1/L diverges.
    """
    p = refopt.problem("quadratic", n=8, condition_number=4.0)
    omega = (8 + (1 if sketch == "gaussian" else -1)) / 2
    lr = 1.0 / ((1 + omega) * p.lipschitz)
    start = p.start()
    found = []
    for seed in range(60):
        seen = [start]
        refopt.minimize(
            p,
            "gradient-sketch",
            start,
            size=2,
            sketch=sketch,
            lr=lr,
            steps=20,
            seed=seed,
            callback=seen.append,
        )
        found.append([float(p.value(x)) - p.optimum for x in seen])
    mean = np.mean(found, axis=0)
    for T in (10, 20):
        assert mean[T] <= (1 - lr * p.strong_convexity) ** T * mean[0]
    assert np.all(np.diff(mean) < 0)
    fast = refopt.minimize(p, "gradient-sketch", start, size=2, sketch=sketch, lr=1.0 / p.lipschitz, steps=60)
    assert fast.fun - p.optimum > mean[0]


@pytest.mark.identity("gradient-sketch")
def test_moments_of_the_private_federated_form() -> None:
    """Over N clients and K steps at a linear function the mean is K g and the noise adds K σ² d/N to ‖K g‖² before the
    sketch: within five standard errors of 1500 draws.
    """
    p = refopt.from_functions(
        lambda x, batch=None: float(np.sum(x)), lambda x, batch=None: np.ones(3),
        x0=np.zeros(3), n_examples=4,
    )  # fmt: skip
    o = refopt.optimizer("gradient-sketch", size=2, sketch="rademacher", clients=2, local_steps=3, noise=0.8)
    oracle = Oracle(p, seed=2)
    oracle.begin(1)
    drawn = np.array([o.estimate(oracle, np.zeros(3)) for _ in range(1500)])
    mean, square = o.moments(0.0, np.ones(3))
    np.testing.assert_array_equal(mean, 3.0)
    assert square == pytest.approx((1 + 2 / 2) * (27 + 3 * 0.64 * 3 / 2), rel=1e-14)
    squares = np.sum(drawn**2, axis=1)
    assert np.all(np.abs(drawn.mean(0) - 3.0) < 5 * drawn.std(0) / 1500**0.5)
    assert abs(squares.mean() - square) < 5 * squares.std() / 1500**0.5


@pytest.mark.claim("gradient-sketch")
def test_what_privacy_costs() -> None:
    """ε is that of K releases a round, of a mean of n gradients of length C at most, where one is another: sensitivity
    2 C/n; the sketch is made afterwards and costs nothing. Without noise or clipping it has no bound.
    """
    o = refopt.optimizer("gradient-sketch", noise=0.1, clip=1.5, local_steps=3)
    assert o.epsilon(7, 50, 1e-5) == pytest.approx(epsilon(1.0, 0.1 * 50 / 3.0, 21, 1e-5), rel=1e-13)
    assert refopt.optimizer("gradient-sketch", noise=0.1).epsilon(7, 50, 1e-5) == math.inf
    assert refopt.optimizer("gradient-sketch", clip=1.0).epsilon(7, 50, 1e-5) == math.inf
    with pytest.raises(refopt.errors.ArgumentError, match="n_examples"):
        o.epsilon(7, 0, 1e-5)
    assert refopt.optimizer("gradient-sketch").needs == ("grad",)
    assert o.needs == ("example_grads",)
    p, x = small()
    assert refopt.minimize(p, "gradient-sketch", x, clients=3, batch_size=3, steps=2).nit == 2
    with pytest.raises(refopt.errors.ArgumentError, match="clients"):
        refopt.minimize(p, "gradient-sketch", x, clients=3, batch_size=2, steps=2)
