"""Nero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Case
from tests.parity.makers import ours, torch_side
from tests.streams import stream

SHAPES: dict[str, Any] = {"w": (3, 4), "b": (3,), "k": (2, 2, 2)}


@pytest.mark.identity("nero")
@pytest.mark.parametrize("constrained", [True, False])
def test_by_hand(constrained: bool) -> None:
    """Eight steps of matrix, kernel and vector, neuron by neuron with NumPy alone, with a large ε, a schedule and a leaf that starts at zero,
    to 1e-12."""
    o = refopt.optimizer("nero", lr=0.1, beta=0.7, eps=0.1, constrained=constrained, schedule=lambda t: 1 / t)
    x, gradients = stream(0, "random", steps=8, shapes=SHAPES)
    x["b"] = 0.0 * x["b"]
    s, neurons, sizes = o.init(x), {}, {}

    def put(v: np.ndarray) -> np.ndarray:
        if not constrained or v.size == 1:
            return v
        v = v - v.mean()
        return v / (np.linalg.norm(v) + 0.1)

    for k, v in x.items():
        neurons[k] = [(put(np.array(row).ravel()), 0.0) for row in v]
        sizes[k] = np.mean([np.linalg.norm(row) for row, _ in neurons[k]]) or 0.01
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        for k, rows in neurons.items():
            for i, (row, v) in enumerate(rows):
                v = 0.7 * v + 0.3 * np.sum(g[k][i] ** 2)
                step = 0.1 / t * sizes[k] * np.ravel(g[k][i]) / (np.sqrt(v / (1 - 0.7**t)) + 0.1)
                rows[i] = (put(row - step), v)
                np.testing.assert_allclose(np.ravel(x[k][i]), rows[i][0], rtol=1e-12, atol=1e-14)


@pytest.mark.claim("nero")
def test_balanced_neurons_and_any_unit() -> None:
    """After each of 20 steps a neuron's weights have mean 0 and norm 1, to 1e-14; each neuron's gradient may have a unit of its own, a power
    of two, to the bit."""
    o = refopt.optimizer("nero", lr=0.3)
    x, gradients = stream(1, "ill", steps=20, shapes={"w": (4, 6)})
    unit = 2.0 ** np.array([[-20.0], [0.0], [3.0], [40.0]])
    y, s = x, o.init(x)
    r = o.init(y)
    for g in gradients:
        x, s = o.update(x, g, s)
        y, r = o.update(y, {"w": unit * g["w"]}, r)
        np.testing.assert_allclose(x["w"].mean(1), 0.0, atol=1e-14)
        np.testing.assert_allclose(np.linalg.norm(x["w"], axis=1), 1.0, rtol=1e-14)
        np.testing.assert_array_equal(x["w"], y["w"])


def test_neurons_of_one_value() -> None:
    """A neuron of equal weights becomes zero and not NaN; one second moment is kept for each neuron."""
    o = refopt.optimizer("nero", lr=0.1)
    x = np.array([[2.0, 2.0], [1.0, 0.0]])
    s = o.init(x)
    assert s["v"].shape == (2, 1)
    assert s["scale"].item() == pytest.approx(0.5, rel=1e-14)
    x, _ = o.update(x, np.zeros((2, 2)), s)
    np.testing.assert_allclose(x, [[0.0, 0.0], [0.5**0.5, -(0.5**0.5)]], rtol=1e-14)


KIND = ("random",)
CASES = [
    Case("nero", "official", "jxbz/nero@32436c0", ours("nero", kinds=KIND, shapes=SHAPES, dialect="official", lr=0.05, beta=0.9), None,
        says="The authors' Nero on matrix, kernel and vector with a schedule, 200 steps, to 1e-12."),
    Case("nero", "kozistr", "pytorch-optimizer", ours("nero", kinds=KIND, shapes=SHAPES, dialect="kozistr", lr=0.05, beta=0.9, eps=1e-2),
        torch_side("Nero", kinds=KIND, shapes=SHAPES, double=True, lr=0.05, beta=0.9, eps=1e-2, constraints=True),
        says="pytorch_optimizer.Nero with a large ε and a schedule, 200 steps, to 1e-12."),
]  # fmt: skip
