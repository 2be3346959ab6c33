"""SCALE's normalisation.

SCALE written out.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.optimizers.first_order.scale import normalize_lines

from tests.streams import schedule, stream


@pytest.mark.claim("scale")
@pytest.mark.parametrize(("dialect", "rms"), [("paper", False), ("official", True)])
def test_line_lengths(dialect: str, rms: bool) -> None:
    """Every normalised line of a matrix moves by exactly lr (paper) or has RMS lr (official),
    whatever the gradient's scale.
    """
    rng = np.random.default_rng(0)
    x = {"embed": np.zeros((7, 3)), "w": np.zeros((4, 5)), "head": np.zeros((2, 3))}
    g = {k: rng.standard_normal(v.shape) for k, v in x.items()}
    o = refopt.optimizer("scale", dialect=dialect, lr=0.25)
    new, _ = o.update(x, g, o.init(x))
    huge, _ = o.update(x, {k: 2.0**20 * v for k, v in g.items()}, o.init(x))
    for k, axis in (("embed", 0), ("w", 1), ("head", 1)):
        length = np.linalg.norm(new[k], axis=axis) / (np.sqrt(x[k].shape[axis]) if rms else 1.0)
        np.testing.assert_allclose(length, 0.25, rtol=1e-14)
        np.testing.assert_array_equal(new[k], huge[k])


@pytest.mark.claim("scale")
def test_duality() -> None:
    """For a linear layer it is the duality map of the norm max over rows of the 2-norm (none of 200
    random unit matrices does better).

    <G, C(G)> is the largest inner product with a matrix whose rows have 2-norm at most 1.
    """
    rng = np.random.default_rng(0)
    g = rng.standard_normal((4, 6))
    best = np.sum(g * normalize_lines(g, 1, rms=False, floor=0.0))
    assert best == pytest.approx(np.linalg.norm(g, axis=1).sum(), rel=1e-14)
    for _ in range(200):
        t = rng.standard_normal((4, 6))
        assert np.sum(g * t) / np.linalg.norm(t, axis=1).max() <= best


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
