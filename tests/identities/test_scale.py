"""SCALE written out."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream


@pytest.mark.identity("scale")
@pytest.mark.parametrize("dialect", ["paper", "official"])
def test_algorithm_1(dialect: str) -> None:
    """50 steps with decay equal the algorithm written out for hidden, embedding, last-layer and
    vector leaves, to 1e-12.
    """
    shapes = {"embed.tokens": (6, 3), "w": (4, 3), "b": (4,), "head": (6, 4)}
    x, gradients = stream(0, "ill", steps=50, shapes=shapes)
    adam = refopt.optimizer("adam", lr=0.02)
    o = refopt.optimizer(
        "scale", dialect=dialect, lr=0.05, momentum=0.8, weight_decay=0.1, schedule=schedule, others=adam
    )
    s, y, m = o.init(x), dict(x), np.zeros(shapes["head"])
    assert set(s["m"]) == {"head"}
    a = adam.init({"b": x["b"]})
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        lr = 0.05 * schedule(t)
        m = 0.8 * m + 0.2 * g["head"]
        for k, u, axis in (("embed.tokens", g["embed.tokens"], 0), ("w", g["w"], 1), ("head", m, 1)):
            size = np.sqrt(
                (u**2).mean(axis, keepdims=True) if dialect == "official" else (u**2).sum(axis, keepdims=True)
            )
            if dialect == "official":
                size = np.maximum(size, 1e-8)
            y[k] = (1 - lr * 0.1) * y[k] - lr * u / size
        vector, a = adam.update({"b": y["b"]}, {"b": g["b"]}, a)
        y.update(vector)
        for k in y:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-13)


def test_no_bias_correction_is_needed() -> None:
    """The average and the bias-corrected average of the last layer give the same step."""
    x, gradients = stream(0, "random", steps=10, shapes={"w": (3, 4)})
    o = refopt.optimizer("scale", lr=0.1)
    s, y, m = o.init(x), x["w"], np.zeros((3, 4))
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        m = 0.9 * m + 0.1 * g["w"]
        corrected = m / (1 - 0.9**t)
        y = y - 0.1 * corrected / np.linalg.norm(corrected, axis=1, keepdims=True)
        np.testing.assert_allclose(x["w"], y, rtol=1e-12)
