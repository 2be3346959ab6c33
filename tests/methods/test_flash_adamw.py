"""FlashAdamW."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import refopt
from refopt.optimizers.low_memory.flash_adamw import quantized

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_torch
from tests.parity.makers import ours
from tests.streams import schedule, stream

AT: dict[str, Any] = {"lr": 0.05, "beta1": 0.6, "beta2": 0.7, "eps": 1e-2, "weight_decay": 0.1}


@pytest.mark.identity("flash-adamw")
def test_line_by_line() -> None:
    """Twenty steps line by line with NumPy alone, integers of eight bits and scales of sixteen between steps, runs of four entries of which the last
    is shorter, with decay, a large ε and a schedule, to 1e-13.
    """
    x, gradients = stream(0, "ill", steps=20, shapes={"w": (3, 5), "b": (6,)})
    o = refopt.optimizer("flash-adamw", run=4, schedule=schedule, **AT)
    s, X = o.init(x), dict(x)
    codes = {k: (np.zeros(v.size, np.int8), np.zeros(-(-v.size // 4), np.float16)) for k, v in x.items()}
    roots = {k: (np.zeros(v.size, np.uint8), np.zeros(-(-v.size // 4), np.float16)) for k, v in x.items()}
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        lr = 0.05 * schedule(t)
        for k, v in g.items():
            run = np.arange(v.size) // 4
            y = codes[k][0].astype(float) / 127
            m = 0.6 * (y / (2 - np.abs(y)) * codes[k][1].astype(float)[run]) + 0.4 * v.ravel()
            root = roots[k][0].astype(float) / 255 * roots[k][1].astype(float)[run]
            u = 0.7 * root**2 + 0.3 * v.ravel() ** 2
            step = (m / (1 - 0.6**t) / (np.sqrt(u / (1 - 0.7**t)) + 1e-2)).reshape(v.shape)
            X[k] = X[k] - lr * (step + 0.1 * X[k])
            np.testing.assert_allclose(x[k], X[k], rtol=1e-13, atol=1e-13)
            top, high = (
                np.array([np.abs(a[run == i]).max() for i in range(run[-1] + 1)]) for a in (m, np.sqrt(u))
            )
            b = m / top[run]
            codes[k] = np.round(127 * 2 * b / (1 + np.abs(b))).astype(np.int8), top.astype(np.float16)
            roots[k] = np.round(255 * np.sqrt(u) / high[run]).astype(np.uint8), high.astype(np.float16)


@pytest.mark.claim("flash-adamw")
def test_how_much_is_kept() -> None:
    """A number is wrong by at most 1/508 of its run's scale s near zero and 1/127 at s, from the slope of the companding, and by half a unit of half
    precision besides; roots by 1/510 of theirs. A second pass changes nothing where the scale is a half-precision number.
    """
    rng = np.random.default_rng(0)
    a = rng.uniform(-1.0, 1.0, 32 * 400)
    a[::32] = 1.0
    error = np.abs(quantized(a, 127.0, 32, softsign=True) - a)
    assert np.all(error <= (1 + np.abs(a)) ** 2 / 4 / 127 * (1 + 1e-2))
    near, far = error[np.abs(a) < 0.02].max(), error[np.abs(a) > 0.9].max()
    assert 0.9 / 508 < near < 1.06 / 508 and 0.8 / 127 < far < 1.01 / 127
    r = np.abs(a)
    error = np.abs(quantized(r, 255.0, 32, softsign=False) - r)
    assert 0.99 / 510 < error.max() <= 1 / 510 + 1e-15
    once = quantized(a, 127.0, 32, softsign=True)
    np.testing.assert_allclose(quantized(once, 127.0, 32, softsign=True), once, rtol=1e-14)
    assert abs(quantized(np.array([0.1]), 255.0, 32, softsign=False)[0] / 0.1 - 1) < 2**-11


@pytest.mark.claim("flash-adamw")
def test_close_to_adamw() -> None:
    """Gradients of equal magnitude lose nothing but the scales' rounding: after 50 steps x is AdamW's to 1e-3 of its way, and to 5e-2 on random
    gradients.
    """
    b = refopt.optimizer("adamw", lr=0.01, decay="decoupled", weight_decay=0.0)
    a = refopt.optimizer("flash-adamw", lr=0.01, weight_decay=0.0)
    for kind, most in (("equal", 1e-3), ("random", 5e-2)):
        x, gradients = stream(0, "random", steps=50, shapes={"w": (8, 8)})
        y, s, r, start = x, a.init(x), b.init(x), x["w"]
        for g in gradients:
            g = {"w": np.where(start > 0, 1.0, -1.0) * (1.0 + 0.1 * g["w"][0, 1])} if kind == "equal" else g
            x, s = a.update(x, g, s)
            y, r = b.update(y, g, r)
        gap = np.linalg.norm(x["w"] - y["w"]) / np.linalg.norm(y["w"] - start)
        assert 0.0 < gap < most


def _kozistr(seed: int) -> Arrays:
    """pytorch_optimizer's FlashAdamW with its casts to float32 taken out, between which it quantises."""
    import torch
    from pytorch_optimizer import FlashAdamW

    cast = torch.Tensor.to

    def to(self: Any, *a: Any, **k: Any) -> Any:
        if torch.float32 in (*a, k.get("dtype")):
            return cast(self, torch.float64)
        return cast(self, *a, **k)

    with mock.patch.object(torch.Tensor, "to", to):
        return run_torch(
            lambda p: FlashAdamW(p, lr=0.05, betas=(0.6, 0.7), eps=1e-2, weight_decay=0.1, foreach=False),
            seed,
            schedule,
            ("random",),
            SHAPES,
        )


SHAPES = {"w": (7, 6), "b": (5,)}
CASES = [
    Case("flash-adamw", "kozistr", "pytorch-optimizer", ours("flash-adamw", kinds=("random",), shapes=SHAPES, **AT), _kozistr,
        says="pytorch_optimizer.FlashAdamW in float64, its states in eight bits between steps, a matrix of two runs and a vector, with decay, a large ε and"
        " a schedule, 200 steps, to 1e-12."),
]  # fmt: skip
