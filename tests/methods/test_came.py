"""CAME."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import stream

SHAPES = {"w": (3, 2), "b": (3,), "k": (2, 4, 3)}


@pytest.mark.identity("came")
def test_the_papers_algorithm_written_out() -> None:
    """Algorithm 2 with NumPy alone, eight steps on a matrix, a vector and a stack of matrices, with large ε, a small d, decay and a
    schedule, to 1e-12."""
    o = refopt.optimizer("came", lr=0.1, beta1=0.6, beta2=0.7, beta3=0.8, eps1=0.1, eps2=0.01, clip=0.9, weight_decay=0.2,
        schedule=lambda t: 1 / t**0.5)  # fmt: skip
    x, gradients = stream(1, "ill", steps=8, shapes=SHAPES)
    s, y = o.init(x), dict(x)
    memory = {k: [0.0, 0.0, 0.0, 0.0, 0.0] for k in y}

    def outer(R, C):
        return R[..., :, None] * C[..., None, :] / R.mean(-1)[..., None, None]

    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        eta = 0.1 / t**0.5
        for k in y:
            R, C, m, A, B = memory[k]
            square = g[k] ** 2 + 0.1
            if y[k].ndim == 1:
                V = R = 0.7 * R + 0.3 * square
            else:
                R, C = 0.7 * R + 0.3 * square.mean(-1), 0.7 * C + 0.3 * square.mean(-2)
                V = outer(R, C)
            u = g[k] / np.sqrt(V)
            u = u / max(1.0, np.sqrt(np.mean(u * u)) / 0.9)
            m = 0.6 * m + 0.4 * u
            step = m
            if y[k].ndim > 1:
                away = (u - m) ** 2 + 0.01
                A, B = 0.8 * A + 0.2 * away.mean(-1), 0.8 * B + 0.2 * away.mean(-2)
                step = m / np.sqrt(outer(A, B))
            memory[k] = [R, C, m, A, B]
            y[k] = (1 - 0.2 * eta) * y[k] - eta * step
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-13, err_msg=k)
    shapes = {slot: {k: np.shape(v) for k, v in o.init(x)[slot].items()} for slot in ("R", "C", "SR", "SC")}
    assert shapes["R"] == {"w": (3, 1), "b": (3,), "k": (2, 4, 1)}
    assert shapes["C"] == shapes["SC"] == {"w": (1, 2), "b": (), "k": (2, 1, 3)}
    assert shapes["SR"] == {"w": (3, 1), "b": (), "k": (2, 4, 1)}


@pytest.mark.claim("came")
def test_steps_are_confident_where_they_agree() -> None:
    """Squares of rank one: the first step of a matrix is ((1 - β1) / β1) / sqrt(1 - β3) = 11.11 rates in every entry, to 1e-8; and of two matrices,
    one whose gradients keep their signs and one whose signs are drawn, the first moves ten times as far in the 60th step."""
    rng = np.random.default_rng(2)
    o = refopt.optimizer("came", lr=1.0)
    g = rng.choice([-1.0, 1.0], (4, 3)) * np.outer(rng.uniform(0.5, 2.0, 4), rng.uniform(0.5, 2.0, 3))
    x, _ = o.update(np.zeros((4, 3)), g, o.init(np.zeros((4, 3))))
    np.testing.assert_allclose(np.abs(x), 0.1 / 0.9 / 0.01, rtol=1e-8)
    o = refopt.optimizer("came", lr=1.0, beta3=0.9)
    x = {"same": np.zeros((4, 4)), "drawn": np.zeros((4, 4))}
    s = o.init(x)
    for _ in range(60):
        g = {"same": np.ones((4, 4)) * rng.uniform(0.9, 1.1), "drawn": rng.choice([-1.0, 1.0], (4, 4))}
        y, s = o.update(x, g, s)
        moved = {k: np.sqrt(np.mean((y[k] - x[k]) ** 2)) for k in x}
        x = y
    assert moved["same"] > 10 * moved["drawn"]
