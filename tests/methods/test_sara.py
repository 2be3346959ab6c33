"""SaRA."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import refopt
from refopt.core.rng import generator

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_torch
from tests.parity.makers import ours
from tests.streams import schedule, stream

AT: dict[str, Any] = {"lr": 0.05, "beta1": 0.6, "beta2": 0.7, "eps": 1e-2, "weight_decay": 0.1}


@pytest.mark.identity("sara")
def test_adamw_on_what_is_small() -> None:
    """Entries below the threshold take AdamW's steps, to 1e-14, and others stand still, bit for bit, 30 steps with a schedule; with θ = ∞ all take
    them.
    """
    x, gradients = stream(0, "random", steps=30)
    b = refopt.optimizer("adamw", dialect="torch", schedule=schedule, **AT)
    for threshold in (0.7, np.inf):
        a = refopt.optimizer("sara", threshold=threshold, schedule=schedule, **AT)
        y, z, s, r = x, x, a.init(x), b.init(x)
        for g in gradients:
            y, s = a.update(y, g, s)
            z, r = b.update(z, g, r)
            for k in x:
                small = np.abs(x[k]) < threshold
                np.testing.assert_allclose(y[k][small], z[k][small], rtol=1e-14, atol=1e-15)
                np.testing.assert_array_equal(y[k][~small], x[k][~small])


@pytest.mark.claim("sara")
def test_chosen_again() -> None:
    """At step p + 1 entries that have grown past the threshold are dropped and keep the value that they have; the others go on as if nothing had
    happened, bit for bit; none comes back.
    """
    x, gradients = stream(1, "random", steps=30, shapes={"w": (6, 6)})
    a, b = (refopt.optimizer("sara", threshold=0.6, choose_again_after=p, **AT) for p in (12, None))
    y, z, s, r = x, x, a.init(x), b.init(x)
    for t, g in enumerate(gradients, 1):
        at = y["w"]
        y, s = a.update(y, g, s)
        z, r = b.update(z, g, r)
        if t == 12:
            np.testing.assert_array_equal(y["w"], z["w"])
            left, kept = (np.abs(x["w"]) < 0.6) & (np.abs(y["w"]) >= 0.6), y["w"]
            stay = (np.abs(x["w"]) < 0.6) & ~left
            assert left.any() and stay.any()
        if t > 12:
            np.testing.assert_array_equal(y["w"][left], kept[left])
            np.testing.assert_array_equal(y["w"][stay], z["w"][stay])
            assert np.all(y["w"][stay] != at[stay])


@pytest.mark.identity("sara")
def test_low_rank_constraint() -> None:
    """With the constraint the gradient of one drawn matrix of two has ``λ_r U V^T`` of its chosen entries besides, the others none: ten steps, to
    1e-12; matrices with a short side and vectors are never drawn.
    """
    x, gradients = stream(0, "random", steps=10, shapes={"a": (4, 5), "b": (2, 9), "c": (5, 4), "d": (6,)})
    o = refopt.optimizer("sara", threshold=1.0, low_rank=0.5, smallest_side=3, seed=7, **AT)
    plain = refopt.optimizer("sara", threshold=1.0, **AT)
    y, s, r, drawn = x, o.init(x), plain.init(x), set()
    for t, g in enumerate(gradients, 1):
        name = "ac"[int(generator(7, "method", t).integers(2))]
        drawn.add(name)
        U, _, Vh = np.linalg.svd(y[name] * (np.abs(x[name]) < 1.0), full_matrices=False)
        z, r = plain.update(y, {**g, name: g[name] + 0.5 * U @ Vh}, r)
        y, s = o.update(y, g, s)
        for k in y:
            np.testing.assert_allclose(y[k], z[k], rtol=1e-12, atol=1e-12)
    assert drawn == {"a", "c"}


def _kozistr(seed: int) -> Arrays:
    """pytorch_optimizer's SaRA with a low-rank constraint on one matrix, of which it takes any size."""
    from pytorch_optimizer.optimizer import sara

    def make(parameters: list[Any]) -> Any:
        return sara.SaRA(
            parameters, lr=0.05, betas=(0.6, 0.7), threshold=0.8, progressive_iter=30, weight_decay=0.1, eps=1e-2, lambda_rank=0.3,
            foreach=False,
        )  # fmt: skip

    with mock.patch.object(sara, "min", lambda shape: 65 if len(shape) == 2 else 0, create=True):
        return run_torch(make, seed, schedule, ("random",), SHAPES)


SHAPES = {"w": (22, 24), "b": (6,)}
CASES = [
    Case("sara", "kozistr", "pytorch-optimizer",
        ours("sara", kinds=("random",), shapes=SHAPES, dialect="kozistr", threshold=0.8, choose_again_after=30, low_rank=0.3, smallest_side=3, **AT),
        _kozistr,
        says="pytorch_optimizer.SaRA, chosen again after 30 steps, with a low-rank constraint on a matrix, decay, a large ε and a schedule, 200 steps, to"
        " 1e-12."),
]  # fmt: skip
