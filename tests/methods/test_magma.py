"""Magma."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import refopt
from refopt.core.rng import generator

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_torch
from tests.streams import run_method, schedule, stream

ADAM: dict[str, Any] = {"lr": 0.05, "beta1": 0.6, "beta2": 0.7, "eps": 1e-2, "weight_decay": 0.1}


@pytest.mark.identity("magma")
@pytest.mark.parametrize("base", ["adamw", "rmsprop"])
def test_line_by_line(base: str) -> None:
    """Fifteen steps round AdamW, whose momentum it takes, and round RMSprop, for which it keeps one, line by line beside the base itself, one leaf
    left alone, to 1e-13.
    """
    given: dict[str, Any] = ADAM if base == "adamw" else {"lr": 0.05}
    inner = refopt.optimizer(base, schedule=schedule, **given)
    o = refopt.optimizer(
        "magma", base=inner, keep=0.6, temperature=0.5, score_beta=0.7, own_beta=0.8, seed=4, group=["w", "b"]
    )
    x, gradients = stream(0, "random", steps=15, shapes={"w": (3, 4), "b": (5,), "e": (2, 2)})
    s, y, r = o.init(x), dict(x), inner.init(x)
    score, m, kept = dict.fromkeys(x, 1.0), {k: 0.0 * v for k, v in x.items()}, []
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        new, r = inner.update(y, g, r)
        rng = generator(4, "wrapper", t)
        for k in y:
            drawn = rng.random() < 0.6
            m[k] = r["m"][k] if base == "adamw" else 0.8 * m[k] + 0.2 * g[k]
            if k != "e":
                c = np.sum(m[k] * g[k]) / np.linalg.norm(m[k]) / np.linalg.norm(g[k])
                score[k] = 0.7 * score[k] + 0.3 / (1 + np.exp(-c / 0.5))
                kept.append(drawn)
            factor = 1.0 if k == "e" else score[k] * drawn
            y[k] = y[k] + factor * (new[k] - y[k])
            np.testing.assert_allclose(x[k], y[k], rtol=1e-13, atol=1e-14)
    assert any(kept) and not all(kept)


@pytest.mark.claim("magma")
def test_a_third_of_the_steps() -> None:
    """Under a constant gradient the score tends to the sigmoid of 1/τ, 0.6225, and of 2000 draws a half moves: SGD's way times 0.311, to four
    standard errors; with p = 0 nothing moves, and the base's state goes on.
    """
    g = np.array([3.0, -4.0])
    o = refopt.optimizer("magma", base="sgd", lr=1.0)
    x, s = np.zeros(2), o.init(np.zeros(2))
    for _ in range(2000):
        x, s = o.update(x, g, s)
    want = 0.5 / (1 + np.exp(-0.5))
    assert s["score"][""] == pytest.approx(2 * want, rel=1e-12)
    assert np.all(np.abs(x / (-2000 * g) / want - 1) < 4 / np.sqrt(2000) + 0.02)
    o = refopt.optimizer("magma", base="momentum", keep=0.0)
    x, s = np.ones(2), o.init(np.ones(2))
    for _ in range(3):
        x, s = o.update(x, g, s)
    assert np.array_equal(x, np.ones(2)) and np.any(s["base"]["v"])


SHAPES = {"w": (3, 4), "b": (5,)}


def _ours(seed: int) -> Arrays:
    inner = refopt.optimizer("adamw", dialect="torch", schedule=schedule, **ADAM)
    return run_method(lambda: refopt.optimizer("magma", base=inner, seed=seed), seed, ("random",), SHAPES)


def _kozistr(seed: int) -> Arrays:
    """pytorch_optimizer's Magma round torch's AdamW, its scores in float64, handed the same draws."""
    import torch
    from pytorch_optimizer import Magma

    draws: list[bool] = []

    class Told(Magma):
        count = 0

        def step(self, closure: Any = None) -> Any:
            Told.count += 1
            rng = generator(seed, "wrapper", Told.count)
            draws[:] = [bool(rng.random() < 0.5) for _ in SHAPES]
            return super().step(closure)

    def make(p: list[Any]) -> Any:
        return Told(
            torch.optim.AdamW(p, lr=0.05, betas=(0.6, 0.7), eps=1e-2, weight_decay=0.1), foreach=False
        )

    def drawn(p: Any) -> Any:
        return torch.tensor(float(draws.pop(0)))

    with (
        mock.patch.object(torch, "bernoulli", drawn),
        mock.patch.object(torch.Tensor, "float", lambda self: self),
    ):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return run_torch(make, seed, schedule, ("random",), SHAPES)
        finally:
            torch.set_default_dtype(before)


CASES = [
    Case("magma", "kozistr", "pytorch-optimizer", _ours, _kozistr,
        says="pytorch_optimizer.Magma round torch's AdamW, without its casts, handed the same draws, a matrix and a vector, with a schedule, 200 steps, to"
        " 1e-12."),
]  # fmt: skip
