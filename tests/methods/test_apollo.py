"""APOLLO."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.rng import generator

from tests.parity.case import Arrays, Case
from tests.streams import run_method, schedule, stream

AT: dict[str, Any] = {
    "lr": 0.03,
    "beta1": 0.8,
    "beta2": 0.6,
    "eps": 1e-2,
    "weight_decay": 0.1,
    "seed": 5,
    "update_every": 7,
}


@pytest.mark.identity("apollo")
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
@pytest.mark.parametrize("per", ["channel", "tensor"])
def test_line_by_line(shape: tuple[int, int], per: str) -> None:
    """Sixteen steps line by line with NumPy alone, three projections, with decay, a large ε and a schedule, tall, wide and square, to 1e-12; the
    limiter is met in some steps and not in others.
    """
    x, gradients = stream(0, "random", steps=16, shapes={"w": shape})
    o = refopt.optimizer("apollo", rank=2, per=per, scale=1.3, schedule=schedule, **AT)
    s, W, met, before = o.init(x), x["w"], [], np.inf
    M = V = np.zeros(())
    left = shape[0] < shape[1]
    for t, g in enumerate(gradients, 1):
        G, lr = g["w"], 0.03 * schedule(t)
        x, s = o.update(x, g, s)
        if t % 7 == 1:
            P = generator(5, "method", t).standard_normal((min(shape), 2)) / np.sqrt(2)
        R = P.T @ G if left else G @ P
        M, V = 0.8 * M + 0.2 * R, 0.6 * V + 0.4 * R**2
        N = M / (np.sqrt(V) + 1e-2)
        axis = None if per == "tensor" else 0 if left else 1
        S = G * np.linalg.norm(N, axis=axis, keepdims=True) / np.linalg.norm(R, axis=axis, keepdims=True)
        if t > 1:
            met.append(np.linalg.norm(S) > 1.01 * before)
            S = S * min(1.0, 1.01 * before / np.linalg.norm(S))
        before = np.linalg.norm(S)
        W = (1 - 0.1 * lr) * (W - lr * 1.3 * np.sqrt(1 - 0.6**t) / (1 - 0.8**t) * S)
        np.testing.assert_allclose(x["w"], W, rtol=1e-12, atol=1e-12)
    assert any(met) and not all(met)


@pytest.mark.claim("apollo")
def test_growth_and_direction() -> None:
    """Every step of a wide matrix has the gradient's columns as directions, and is at most 1.01 times as long as the one before, to 1e-12, over
    forty steps.
    """
    x, gradients = stream(1, "ill", steps=40, shapes={"w": (3, 6)})
    o = refopt.optimizer("apollo", rank=1, beta1=0.0, beta2=0.0, weight_decay=0.0, lr=1.0)
    s, last = o.init(x), np.inf
    for g in gradients:
        y, s = o.update(x, g, s)
        step, G = x["w"] - y["w"], g["w"]
        x = y
        np.testing.assert_allclose(
            np.sum(step * G, axis=0), np.linalg.norm(step, axis=0) * np.linalg.norm(G, axis=0), rtol=1e-9
        )
        size = np.linalg.norm(step)
        assert size <= 1.01 * last * (1 + 1e-9)
        last = size


@pytest.mark.claim("apollo")
def test_projections_keep_lengths() -> None:
    """A random projection keeps squared column norms on average: over 400 seeds the mean of ‖P^T g‖² is ‖g‖² to four standard errors."""
    x = {"w": np.zeros((6, 8))}
    g = {"w": np.random.default_rng(0).standard_normal((6, 8))}
    ratios = []
    for seed in range(400):
        o = refopt.optimizer("apollo", rank=3, beta1=0.0, seed=seed)
        _, s = o.update(x, g, o.init(x))
        ratios.append(np.sum(s["m"]["w"] ** 2, axis=0) / np.sum(g["w"] ** 2, axis=0))
    mean, error = np.mean(ratios, axis=0), np.std(ratios, axis=0) / 20
    assert np.all(np.abs(mean - 1) < 4 * error)
    assert np.all(error < 0.05)


SHAPES = {"tall": (5, 3), "wide": (2, 6), "square": (3, 3), "bias": (4,)}
RUNS: dict[str, dict[str, Any]] = {
    "channel": {"rank": 2, "scale": 0.7**0.5},
    "mini": {"dialect": "mini", "norm_eps": 1e-8},
}


def _official(seed: int) -> Arrays:
    out = {}
    for label, settings in RUNS.items():
        given = {"dialect": "official", "schedule": schedule, **AT, **settings}
        runs = run_method(lambda given=given: refopt.optimizer("apollo", **given), seed, ("random",), SHAPES)
        out |= {f"{label}-{kind}": v for kind, v in runs.items()}
    return out


CASES = [
    Case("apollo", "official", "zhuhanqing/APOLLO@76b3472", _official, None,
        says="The authors' code in float64 on tall, wide and square matrices and a vector, APOLLO and APOLLO-Mini, handed the same projections,"
        " with decay, a large ε and a schedule, 200 steps, to 1e-12."),
]  # fmt: skip
