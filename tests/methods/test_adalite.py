"""Adalite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Case
from tests.parity.makers import ours, torch_side
from tests.streams import schedule, stream

AT: dict[str, Any] = {"lr": 0.05, "beta1": 0.6, "beta2": 0.7, "eps": 1e-2, "weight_decay": 0.1}
SHAPES = {"w": (3, 4), "b": (5,), "k": (2, 3, 2), "s": (1,)}


def softmax(a: np.ndarray) -> np.ndarray:
    return np.exp(a) / np.exp(a).sum()


@pytest.mark.identity("adalite")
def test_line_by_line() -> None:
    """Fifteen steps of a matrix, a kernel, a vector and a single entry line by line with NumPy alone, with decay, a temperature and a schedule, to
    1e-11.
    """
    x, gradients = stream(0, "random", steps=15, shapes=SHAPES)
    o = refopt.optimizer("adalite", temperature=0.5, schedule=schedule, **AT)
    s, X = o.init(x), dict(x)
    kept: dict[str, Any] = {}
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        for k, G in g.items():
            if G.size > 1:
                G = G * np.linalg.norm(X[k]) / np.linalg.norm(G)
            matrix = G.ndim > 1
            G = G.reshape(G.shape[0], -1) if matrix else G
            m, v = kept.get(k, (0.0 * G, 0.0 * G))
            m = 0.6 * m + 0.4 * G
            v = 0.7 * v + 0.3 * (G - m) ** 2
            if matrix:
                W = np.outer(softmax(v.mean(axis=1)), softmax(v.mean(axis=0)))
                m = W * m + (1 - W) * G
            U = (0.6 * m + 0.4 * G) / np.sqrt(v / (1 - 0.7**t) + 1e-2)
            X[k] = X[k] - 0.05 * schedule(t) * (U.reshape(X[k].shape) + 0.1 * X[k])
            if matrix:
                a, b = softmax(v.mean(axis=1) / 0.5), softmax(v.mean(axis=0) / 0.5)
                C, R = m @ b, m.T @ a
                m = (C @ m @ R) / (C @ C) / (R @ R) * np.outer(C, R)
                v = np.outer(v.sum(axis=1), v.sum(axis=0)) / v.sum() / v.sum()
            kept[k] = m, v
            np.testing.assert_allclose(x[k], X[k], rtol=1e-11, atol=1e-11)


@pytest.mark.claim("adalite")
def test_relative_gradients() -> None:
    """Gradients of any scale, leaf by leaf, make the same run (1024 times, bit for bit), but for a leaf of one entry; and the rank-one average of a
    matrix of rank one loses nothing: the state gives it back, to 1e-13.
    """
    x, gradients = stream(1, "random", steps=20, shapes={"w": (3, 4), "b": (5,)})
    o = refopt.optimizer("adalite", **AT)
    y, z, s, r = x, x, o.init(x), o.init(x)
    for g in gradients:
        y, s = o.update(y, g, s)
        z, r = o.update(z, {k: 1024.0 * v for k, v in g.items()}, r)
        for k in x:
            np.testing.assert_array_equal(y[k], z[k])
    one = np.outer([1.0, -2.0, 0.5], [3.0, 1.0, -1.0, 2.0])
    o = refopt.optimizer("adalite", beta1=0.0, eps=1e9, weight_decay=0.0)
    _, s = o.update({"w": one}, {"w": one}, o.init({"w": one}))
    u, C, R = s["m"]["w"]
    np.testing.assert_allclose(u * np.outer(C, R), one, rtol=1e-13)


CASES = [
    Case("adalite", "kozistr", "pytorch-optimizer", ours("adalite", kinds=("random",), shapes={k: SHAPES[k] for k in "wbk"}, dialect="kozistr", **AT),
        torch_side("Adalite", kinds=("random",), shapes={k: SHAPES[k] for k in "wbk"}, lr=0.05, betas=(0.6, 0.7), eps1=1e-2, weight_decay=0.1),
        says="pytorch_optimizer.Adalite, a matrix, a kernel and a vector, with decay, a large ε and a schedule, 200 steps, to 1e-12."),
    Case("adalite", "official", "VatsaDev/adalite@76abe81", ours("adalite", kinds=("random",), shapes={k: SHAPES[k] for k in "wbk"}, **AT), None,
        says="The author's code in float64, a matrix, a kernel and a vector, with decay, a large ε and a schedule, 200 steps, to 1e-12."),
]  # fmt: skip
