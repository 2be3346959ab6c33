"""Mano."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Case
from tests.parity.makers import ours
from tests.streams import schedule, stream


@pytest.mark.identity("mano")
@pytest.mark.parametrize("second", [False, True])
def test_line_by_line(second: bool) -> None:
    """Nine steps of a matrix and a kernel, line by line with NumPy alone, both versions, with decay, a large ε and a schedule, to 1e-12."""
    other: dict[str, Any] = {"nesterov": True, "unit": False, "eps_rule": "add"} if second else {}
    o = refopt.optimizer("mano", lr=0.3, momentum=0.6, eps=0.5, weight_decay=0.2, schedule=schedule, **other)
    for shape in ((3, 4), (3, 2, 2)):
        x, gradients = stream(0, "random", steps=9, shapes={"w": shape})
        x = 0.3 * x["w"]
        y, s, m = x.reshape(3, -1), o.init(x), np.zeros((3, 4))
        for t, g in enumerate((g["w"].reshape(3, -1) for g in gradients), 1):
            x, s = o.update(x, g.reshape(shape), s)
            m = 0.6 * m + g
            u, lr = (g + 0.6 * m if second else m), 0.3 * schedule(t)
            new = (1 - 0.2 * lr) * y
            # Columns first, then rows.
            for i in range(4 if t % 2 else 3):
                line = (slice(None), i) if t % 2 else (i, slice(None))
                a, p = u[line], y[line]
                p = p if second else p / max(np.linalg.norm(p), 0.5)
                a = a - (a @ p) * p
                a = a / (np.linalg.norm(a) + 0.5 if second else max(np.linalg.norm(a), 0.5))
                new[line] -= lr * 0.2 * np.sqrt(a.size) * a
            y = new
            np.testing.assert_allclose(x.reshape(3, -1), y, rtol=1e-12, atol=1e-13)


@pytest.mark.claim("mano")
def test_tangent_steps() -> None:
    """Without decay every line of a step is at a right angle to the weights' line and 0.2 η sqrt(n) long, columns and rows in turn, so that a
    line's norm grows, to 1e-12, over ten steps."""
    o = refopt.optimizer("mano", lr=0.5, weight_decay=0.0)
    x, gradients = stream(1, "ill", steps=10, shapes={"w": (3, 5)})
    x, s = x["w"], o.init(x["w"])
    for t, g in enumerate(g["w"] for g in gradients):
        y, s = o.update(x, g, s)
        step, axis = y - x, t % 2
        np.testing.assert_allclose(np.sum(step * x, axis=axis), 0.0, atol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(step, axis=axis), 0.1 * np.sqrt(x.shape[axis]), rtol=1e-12)
        x = y


def test_lines_of_zeros() -> None:
    """Without ε a column of X that is zero, and a momentum along X, make no NaN: no tangent, no step of that line."""
    o = refopt.optimizer("mano", lr=1.0, eps=0.0, weight_decay=0.0)
    x = np.array([[0.0, 3.0], [0.0, 4.0]])
    y, _ = o.update(x, np.array([[0.0, 0.0], [2.0, 0.0]]), o.init(x))
    np.testing.assert_allclose(y, [[0.0, 3.0], [-0.2 * np.sqrt(2), 4.0]], rtol=1e-14)


SHAPES = {"tall": (4, 2), "wide": (2, 3)}
AT: dict[str, Any] = {"lr": 0.3, "momentum": 0.8, "eps": 1e-2, "weight_decay": 0.1}
MANO = "xie-lab-ml/Mano-Restriking-Manifold-Optimization-for-LLM-Training@b78b952"
CASES = [
    Case("mano", label, MANO, ours("mano", kinds=("random",), shapes=SHAPES, dialect=label, **AT), None,
        says=f"The authors' {what} with decay, a large ε and a schedule, 200 steps, to 1e-12.")
    for label, what in (("official", "Mano"), ("official-v2", "Mano_v2"))
]  # fmt: skip
