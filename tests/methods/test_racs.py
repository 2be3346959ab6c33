"""RACS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Case
from tests.parity.makers import ours, torch_side
from tests.streams import schedule, stream


@pytest.mark.identity("racs")
@pytest.mark.parametrize("means", [False, True])
def test_by_hand(means: bool) -> None:
    """Ten steps of a matrix and a kernel with NumPy alone, of which the limiter holds some back, with decay and a schedule, by three steps of
    the fixed point or by means, to 1e-12."""
    o = refopt.optimizer("racs", lr=0.3, beta=0.7, alpha=0.2, gamma=1.2, iterations=3, weight_decay=0.2, schedule=schedule,
        **({"scales": "means", "start": 0.5, "eps": 0.1} if means else {}))  # fmt: skip
    for shape in ((3, 4), (2, 3, 2)):
        x, gradients = stream(0, "random", steps=10, shapes={"w": shape})
        gradients[6]["w"] *= 4.0
        y = x["w"]
        x, s = y, o.init(y)
        rows, columns = shape[0], y.size // shape[0]
        q, v, phi, held, eps = (
            np.zeros(rows),
            np.full(columns, 0.5 if means else 0.0),
            None,
            0,
            0.1 if means else 0.0,
        )
        assert (s["q"][""].shape, s["s"][""].shape) == ((rows, 1), (1, columns))
        for t, g in enumerate((g["w"] for g in gradients), 1):
            x, s = o.update(x, g, s)
            G = g.reshape(rows, -1)
            a, b = np.mean(G**2, axis=1), np.mean(G**2, axis=0)
            if not means:
                a = np.ones(rows)
                for _ in range(3):
                    b = np.diag(G.T @ np.diag(a) @ G) / np.sum(a**2)
                    a = np.diag(G @ np.diag(b) @ G.T) / np.sum(b**2)
            q, v = 0.7 * q + 0.3 * a, 0.7 * v + 0.3 * b
            u = G / np.sqrt(np.outer(q + eps, v + eps))
            size = np.linalg.norm(u)
            eta = 1.0 if phi is None else 1.2 / max(size / (phi + eps), 1.2)
            held += eta < 1.0
            phi = eta * size
            lr = 0.3 * schedule(t)
            y = (1 - 0.2 * lr) * y - lr * 0.2 * eta * u.reshape(shape)
            np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)
        assert 0 < held < 9


@pytest.mark.claim("racs")
def test_the_limiter_and_squares_of_rank_one() -> None:
    """20 steps on an ill scaled stream: no step is above γ times the last, to 1e-12. Gradients whose squares are a bᵀ: all entries move by
    λ α / (1 - β^t), whatever a and b and the unit (1e-150), to 1e-12."""
    o = refopt.optimizer("racs", lr=0.1)
    x, gradients = stream(1, "ill", steps=20, shapes={"w": (3, 4)})
    x, s, last = x["w"], o.init(x["w"]), np.inf
    for g in gradients:
        y, s = o.update(x, g["w"], s)
        size = np.linalg.norm(y - x)
        assert size <= 1.01 * last * (1 + 1e-12)
        x, last = y, size
    rng = np.random.default_rng(2)
    root = np.outer(10.0 ** rng.uniform(-3, 3, 3), 10.0 ** rng.uniform(-3, 3, 4))
    for unit in (1.0, 1e-150):
        x, s = np.zeros((3, 4)), o.init(np.zeros((3, 4)))
        for t in range(1, 6):
            g = unit * root * np.sign(rng.standard_normal((3, 4)))
            y, s = o.update(x, g, s)
            np.testing.assert_allclose(y - x, -0.1 * 0.05 / (1 - 0.9**t) * np.sign(g), rtol=1e-11)
            x = y


@pytest.mark.claim("racs")
def test_the_fixed_point_is_the_leading_pair() -> None:
    """q and s of 60 steps are the leading singular vectors of G², and their product its best approximation of rank one, to 1e-10; one step is
    not. A leaf whose first gradient is zero is not limited by that."""
    rng = np.random.default_rng(3)
    g = -np.abs(rng.standard_normal((3, 4)))
    left, values, right = np.linalg.svd(g**2)
    for steps, near in ((60, True), (1, False)):
        o = refopt.optimizer("racs", beta=0.0, iterations=steps)
        _, s = o.update(np.zeros((3, 4)), g, o.init(np.zeros((3, 4))))
        best = values[0] * np.outer(left[:, 0], right[0])
        assert np.allclose(s["q"][""] * s["s"][""], best, rtol=1e-10) == near
    o = refopt.optimizer("racs", lr=1.0, beta=0.0, alpha=1.0)
    x, s = o.update(np.zeros((3, 4)), 0.0 * g, o.init(np.zeros((3, 4))))
    np.testing.assert_array_equal(x, np.zeros((3, 4)))
    x, s = o.update(x, g, s)
    assert np.linalg.norm(x) > 2.0


AT: dict[str, Any] = {"lr": 0.3, "beta": 0.7, "alpha": 0.2, "gamma": 1.05, "eps": 1e-2, "weight_decay": 0.1}
SHAPES = {"w": (3, 4), "b": (4,), "k": (2, 3, 2)}
CASES = [
    Case("racs", "kozistr", "pytorch-optimizer", ours("racs", kinds=("random",), shapes=SHAPES, dialect="kozistr", **AT),
        torch_side("RACS", kinds=("random",), shapes=SHAPES, double=True, **AT),
        says="pytorch_optimizer.RACS on matrix, vector and kernel with decay, a large ε and a schedule, 200 steps, to 1e-12."),
]  # fmt: skip
