"""Tiger."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.parity.case import Case
from tests.parity.makers import ours, torch_side
from tests.streams import stream


@pytest.mark.identity("tiger")
@pytest.mark.parametrize("decay", ["coupled", "decoupled", "independent"])
def test_small_batches_by_hand(decay: str) -> None:
    """Nine small batches, three a step, at the relative rate under a schedule, with each decay: the average takes their mean, the rate the
    root mean square of x, to 1e-13."""
    o = refopt.optimizer("tiger", lr=0.1, beta=0.6, accumulate=3, relative=True, weight_decay=0.2, decay=decay,
        schedule=lambda t: 1 / t)  # fmt: skip
    x, gradients = stream(0, "random", steps=9, shapes={"w": (3, 2)})
    x, s = x["w"], o.init(x["w"])
    y, m, seen = x, np.zeros((3, 2)), []
    for t, g in enumerate((g["w"] for g in gradients), 1):
        x, s = o.update(x, g, s)
        seen.append(g + (0.2 * y if decay == "coupled" else 0.0))
        if t % 3 == 0:
            m = 0.6 * m + 0.4 * np.mean(seen, axis=0)
            share = {"coupled": 0.0, "decoupled": 0.1 / t * 0.2, "independent": 0.2 / t}[decay]
            y = y - np.sqrt(np.mean(y**2)) * (0.1 / t * np.sign(m) + share * y)
            seen = []
            np.testing.assert_allclose(s["m"], m, rtol=1e-13)
        np.testing.assert_allclose(x, y, rtol=1e-13)


@pytest.mark.identity("tiger")
def test_one_batch_a_step_is_signum() -> None:
    """k = 1 and the plain rate: Signum with decoupled decay, 20 steps, to 1e-14."""
    run = stream(1, "flip", steps=20)
    options = {"lr": 0.05, "beta": 0.7, "weight_decay": 0.1}
    assert_same_run(
        refopt.optimizer("tiger", **options),
        refopt.optimizer("signum", **options),
        run,
        rtol=1e-13,
        atol=1e-14,
    )


CASES = [
    Case("tiger", "kozistr", "pytorch-optimizer", ours("tiger", kinds=("random",), dialect="kozistr", lr=0.05, beta=0.6, weight_decay=0.1),
        torch_side("Tiger", kinds=("random",), lr=0.05, beta=0.6, weight_decay=0.1),
        says="pytorch_optimizer.Tiger with decay and a schedule, 200 steps on a random stream, to 1e-12."),
]  # fmt: skip
