"""Ranger21."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_torch
from tests.parity.makers import ours
from tests.streams import schedule, stream

SHAPES = {"w": (3, 4), "b": (5,), "k": (2, 3, 2, 2), "c": (2, 2, 3)}
AT: dict[str, Any] = {"lr": 0.05, "beta0": 0.7, "beta1": 0.6, "beta2": 0.8, "eps": 1e-2}


def lengths(a: np.ndarray) -> np.ndarray:
    axis = None if a.ndim == 1 else 1 if a.ndim < 4 else tuple(range(1, a.ndim))
    return np.sqrt(np.sum(a**2, axis=axis, keepdims=True))


@pytest.mark.identity("ranger21")
def test_line_by_line() -> None:
    """Twelve steps line by line with NumPy alone, of a vector, a matrix and kernels of three and four axes, two of them back to the slow weights,
    with clipping that is met in some units and not in others, both decays, softplus, and a schedule, to 1e-11.
    """
    x, gradients = stream(0, "random", steps=12, shapes=SHAPES)
    x = {k: 3.0 * v for k, v in x.items()}
    o = refopt.optimizer(
        "ranger21", clip=0.4, weight_decay=0.3, norm_loss=0.2, softplus=3.0, schedule=schedule, **AT
    )
    s, X, met = o.init(x), dict(x), []
    zero = {k: np.zeros_like(v) for k, v in x.items()}
    M, V, top, slow = [zero, zero], dict(zero), dict(zero), dict(x)

    def shaped(g: np.ndarray) -> np.ndarray:
        g = g - g.mean(axis=tuple(range(1, g.ndim)), keepdims=True) if g.ndim > 1 else g
        return g / (np.std(g, ddof=1) + 1e-8)

    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        G, lr = {}, 0.05 * schedule(t)
        for k, v in g.items():
            most = 0.4 * np.maximum(lengths(X[k]), 1e-3)
            met += list((lengths(v) > most).ravel())
            G[k] = shaped(v * np.minimum(1.0, most / lengths(v)))
            V[k] = 0.8 * V[k] + 0.2 * G[k] ** 2
            top[k] = np.maximum(top[k], V[k])
        S = np.sqrt(sum(np.sum(v) for v in V.values()) / (1 - 0.8**t) / sum(v.size for v in V.values()))
        fresh = {k: 0.36 * M[t % 2][k] + 0.64 * shaped(G[k]) for k in X}
        for k in X:
            X[k] = X[k] * (1 - lr * 0.3 / S)
            X[k] = X[k] * (1 - lr * 2 * 0.2 * (1 - 1 / (lengths(X[k]) + 1e-2)))
            d = np.log1p(np.exp(3.0 * (np.sqrt(top[k] / (1 - 0.8**t)) + 1e-2))) / 3.0
            u = (1.7 * fresh[k] - 0.7 * M[1 - t % 2][k]) / np.sqrt(1.7**2 + 0.7**2)
            X[k] = X[k] - lr / (1 - 0.6**t) * u / d
            if t % 5 == 0:
                X[k] = (X[k] + slow[k]) / 2
                slow[k] = X[k]
            np.testing.assert_allclose(x[k], X[k], rtol=1e-11, atol=1e-11)
        M[t % 2] = fresh
    assert any(met) and not all(met)


@pytest.mark.identity("ranger21")
def test_bare_it_is_adapnm() -> None:
    """Without clipping, centring, standardising, decays, softplus and Lookahead it is AdaPNM, to 1e-13, 30 steps with a schedule."""
    x, gradients = stream(0, "ill", steps=30)
    a = refopt.optimizer(
        "ranger21", clip=np.inf, centralize=False, standardize=False, softplus=0.0, weight_decay=0.0, norm_loss=0.0, alpha=1.0,
        schedule=schedule, **AT,
    )  # fmt: skip
    b = refopt.optimizer("adapnm", schedule=schedule, **AT)
    y, s, r = x, a.init(x), b.init(x)
    for g in gradients:
        x, s = a.update(x, g, s)
        y, r = b.update(y, g, r)
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-13, atol=1e-13)


@pytest.mark.claim("ranger21")
def test_scale_of_the_gradients_is_not_seen() -> None:
    """Standardised gradients: multiplied by a hundred, leaf by leaf, they give the same run, to 1e-7, which is the 1e-8 beside a deviation of about
    0.1; and norm loss alone draws the rows' lengths to 1.
    """
    x, gradients = stream(0, "random", steps=20)
    runs = []
    for scale in (1.0, 100.0):
        o, y = refopt.optimizer("ranger21", clip=np.inf, **AT), x
        s = o.init(x)
        for g in gradients:
            y, s = o.update(y, {k: scale * v for k, v in g.items()}, s)
        runs.append(y)
    for k in x:
        np.testing.assert_allclose(runs[0][k], runs[1][k], atol=1e-7)
    o = refopt.optimizer("ranger21", lr=0.1, norm_loss=1.0, alpha=1.0)
    y = {"w": np.array([[3.0, 4.0], [0.1, 0.2]])}
    s = o.init(y)
    for _ in range(60):
        y, s = o.update(y, {"w": np.zeros((2, 2))}, s)
    np.testing.assert_allclose(np.linalg.norm(y["w"], axis=1), 1.0, atol=1e-4)


def test_rise_and_fall_of_the_rate() -> None:
    """Of a thousand steps 220 lead up, and from 720 on the rate falls in equal parts to η_min + one part; with β2 = 0.75 eight lead up."""
    o = refopt.optimizer("ranger21", lr=1.0, total=1000, lr_min=0.1)
    assert o.rate(22) == pytest.approx(0.1) and o.rate(220) == o.rate(719) == 1.0
    assert o.rate(720) == pytest.approx(1 - 0.9 / 281) and o.rate(1000) == pytest.approx(0.1)
    assert o.rate(2000) == 0.1
    assert refopt.optimizer("ranger21", lr=1.0, beta2=0.75, total=1000).rate(4) == pytest.approx(0.5)


def _kozistr(seed: int) -> Arrays:
    from pytorch_optimizer import Ranger21

    return run_torch(
        lambda p: Ranger21(
            p, num_iterations=200, lr=0.05, beta0=0.7, betas=(0.6, 0.8), eps=1e-2, weight_decay=0.0, norm_loss_factor=0.2, agc_clipping_value=0.4,
            foreach=False,
        ),
        seed, None, ("random",), SHAPES,
    )  # fmt: skip


CASES = [
    Case("ranger21", "kozistr", "pytorch-optimizer",
        ours("ranger21", scheduled=False, kinds=("random",), shapes=SHAPES, total=200, weight_decay=0.0, norm_loss=0.2, clip=0.4, **AT), _kozistr,
        says="pytorch_optimizer.Ranger21 without stable decay, whose sum begins at 1, over the 200 steps of its own schedule, a vector, a matrix and"
        " kernels, to 1e-12."),
]  # fmt: skip
