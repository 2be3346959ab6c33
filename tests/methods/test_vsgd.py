"""VSGD."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Case
from tests.parity.makers import ours, torch_side
from tests.streams import stream

MINE: dict[str, Any] = {"lr": 0.05, "ratio": 4.0, "strength": 1e-2, "power_change": 0.7, "power_noise": 0.6, "eps": 0.1,
    "weight_decay": 0.1}  # fmt: skip
THEIRS: dict[str, Any] = {
    "lr": 0.05,
    "ghattg": 4.0,
    "ps": 1e-2,
    "tau1": 0.7,
    "tau2": 0.6,
    "eps": 0.1,
    "weight_decay": 0.1,
}


@pytest.mark.identity("vsgd")
def test_the_posterior_written_out() -> None:
    """Ten steps from the conjugate posteriors of a Gaussian with two Gamma precisions, in the paper's own a and b (not twice them),
    with a schedule and decay, to 1e-12."""
    o = refopt.optimizer("vsgd", schedule=lambda t: 1 / t, excess=0.3, **MINE)
    x, gradients = stream(0, "random", steps=10, shapes={"w": (4,)})
    x, s = x["w"], o.init(x["w"])
    y, mean = x, np.zeros(4)
    shape = 0.01 + 0.5 + 0.15  # a of both, half the excess in it
    rate_g, rate_n = np.full(4, 0.01), np.full(4, 0.04)  # γ and K γ
    for t, g in enumerate((g["w"] for g in gradients), 1):
        x, s = o.update(x, g, s)
        # Before any gradient the prior's own mean variance b / (a - 1/2) stands in the place of b / a.
        below = shape if t > 1 else shape - 0.5
        precision_g, precision_n = below / rate_g, below / rate_n
        new = (precision_g * mean + precision_n * g) / (precision_g + precision_n)
        variance = 1 / (precision_g + precision_n)
        wanted_g = 0.01 + 0.5 * (variance + (new - mean) ** 2)
        wanted_n = 0.04 + 0.5 * (variance + (new - g) ** 2)
        keep_g, keep_n = (1.0 if t > 1 else 0.0) * (1 - t**-0.7), (1.0 if t > 1 else 0.0) * (1 - t**-0.6)
        rate_g = keep_g * rate_g + t**-0.7 * wanted_g
        rate_n = keep_n * rate_n + t**-0.6 * wanted_n
        y = (1 - 0.05 / t * 0.1) * y - 0.05 / t * new / (np.sqrt(new**2 + variance) + 0.1)
        mean = new
        np.testing.assert_allclose(x, y, rtol=1e-12)
        np.testing.assert_allclose(s["mu"], mean, rtol=1e-12)


@pytest.mark.claim("vsgd")
def test_the_mean_is_a_weighted_one_and_the_step_is_bounded() -> None:
    """The first mean is g / (1 + K); every mean lies between the last one and the gradient; no step is above the rate: 50 steps."""
    o = refopt.optimizer("vsgd", lr=0.5, ratio=30.0)
    x, gradients = stream(1, "ill", steps=50, shapes={"w": (6,)})
    x, last = x["w"], np.zeros(6)
    s = o.init(x)
    for t, g in enumerate((g["w"] for g in gradients), 1):
        y, s = o.update(x, g, s)
        if t == 1:
            np.testing.assert_allclose(s["mu"], g / 31, rtol=1e-14)
        assert np.all((s["mu"] - last) * (s["mu"] - g) <= 0.0)
        assert np.all(np.abs(y - x) <= 0.5 + np.spacing(np.abs(x)))
        x, last = y, s["mu"]


CASES = [
    Case("vsgd", "kozistr", "pytorch-optimizer", ours("vsgd", kinds=("ill",), dialect="kozistr", **MINE),
        torch_side("VSGD", kinds=("ill",), double=True, **THEIRS), rtol=1e-11,
        why="q - 2 μ μ' + μ'² cancels where the mean moves little",
        says="pytorch_optimizer.VSGD in double precision with a strong prior, low powers, large ε, decay and a schedule, 200 steps on an ill"
        " scaled stream, to 1e-11."),
    Case("vsgd", "official", "generativeai-tue/vsgd@ab7a2f5", ours("vsgd", kinds=("random",), dialect="official", lr=0.05), None, rtol=1e-10,
        why="q - 2 μ μ' + μ'² cancels where the mean moves little",
        says="The authors' VSGD in double precision at its defaults but for the rate, with a schedule, 200 steps, to 1e-10."),
]  # fmt: skip
