"""COSMOS written out, the size of its steps and of its state."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream

SHAPES = {"tall": (5, 3), "wide": (3, 5), "square": (4, 4)}


def quintic(A: np.ndarray) -> np.ndarray:
    X = A / (np.linalg.norm(A) + 1e-7)
    for _ in range(5):
        B = X @ X.T
        X = 3.4445 * X + (-4.7750 * B + 2.0315 * B @ B) @ X
    return X


@pytest.mark.identity("cosmos")
@pytest.mark.parametrize("nesterov", [False, True])
def test_written_out(nesterov: bool) -> None:
    """30 steps of tall, wide and square matrices equal the algorithm written out with eigenvectors, to 1e-9."""
    lr, b1, b2, eps, gamma, wd, r = 0.03, 0.8, 0.7, 1e-3, 0.3, 0.1, 2
    x, gradients = stream(0, "random", steps=30, shapes=SHAPES)
    o = refopt.optimizer(
        "cosmos", lr=lr, beta1=b1, beta2=b2, eps=eps, gamma=gamma, rank=r, weight_decay=wd, nesterov=nesterov,
        ratio=0.5, schedule=schedule,
    )  # fmt: skip
    s, points = o.init(x), []
    for g in gradients:
        x, s = o.update(x, g, s)
        points.append(x)
    start, _ = stream(0, "random", steps=1, shapes=SHAPES)
    for k, w in start.items():
        m, v = np.zeros(w.shape), np.zeros((w.shape[0], r))
        for t, leaves in enumerate(gradients, 1):
            g = leaves[k]
            m = b1 * m + (1 - b1) * g
            if t == 1:
                U = np.linalg.eigh(g.T @ g)[1][:, ::-1][:, :r]
                S = (1 - b2) * U.T @ g.T @ g @ U
            else:
                old, U = U, np.linalg.qr(b2 * U @ S + (1 - b2) * g.T @ g @ U)[0]
                S = b2 * (old.T @ U).T @ S @ (old.T @ U) + (1 - b2) * U.T @ g.T @ g @ U
            v = b2 * v + (1 - b2) * (g @ U) ** 2
            d = m / (1 - b1**t)
            if nesterov:
                d = (g + b1 * m / (1 - b1)) / (1 + b1 * (1 - b1**t) / (1 - b1))
            rest = quintic(d - d @ U @ U.T)
            step = (d @ U / np.sqrt((v + eps) / (1 - b2**t))) @ U.T
            step = step + gamma * np.sqrt(w.size) * rest / np.linalg.norm(rest)
            eta = lr * schedule(t)
            w = w - eta * wd * w - 0.5 * eta * np.sqrt(w.shape[1]) * step / np.linalg.norm(step)
            np.testing.assert_allclose(points[t - 1][k], w, rtol=1e-9, atol=1e-9)


@pytest.mark.claim("cosmos")
def test_size_of_a_step() -> None:
    """Every step of an m × n matrix has the norm η sqrt(n), and η sqrt(m n) with per_entry, to 1e-12."""
    rng = np.random.default_rng(0)
    for per_entry, size in ((False, 5**0.5), (True, 15**0.5)):
        o = refopt.optimizer("cosmos", lr=0.1, rank=2, per_entry=per_entry)
        x = np.zeros((3, 5))
        s = o.init(x)
        for t in range(5):
            new, s = o.update(x, 10.0**t * rng.standard_normal((3, 5)), s)
            np.testing.assert_allclose(np.linalg.norm(new - x), 0.1 * size, rtol=1e-12)
            x = new


@pytest.mark.claim("cosmos")
def test_memory() -> None:
    """m n + r (m + n) + r² numbers of state for an m × n matrix, where SOAP has 2 m n + 2 m² + 2 n²."""
    s = refopt.optimizer("cosmos", rank=3).init(np.zeros((20, 7)))
    held = (s["m"], s["v"], *s["basis"], *s["gram"])
    assert sum(a.size for a in held) == 20 * 7 + 3 * (20 + 7) + 9


@pytest.mark.identity("cosmos")
def test_full_rank_leaves_nothing_over() -> None:
    """r = n, no averages, eps = 0: the step is sqrt(n) sign(G U) Uᵀ over its norm, with no part of Muon's,
    to 1e-12.
    """
    g = np.random.default_rng(0).standard_normal((4, 3))
    o = refopt.optimizer("cosmos", lr=1.0, beta1=0.0, beta2=0.0, eps=0.0)
    x, _ = o.update(np.zeros((4, 3)), g, o.init(np.zeros((4, 3))))
    U = np.linalg.svd(g)[2].T
    want = np.sign(g @ U) @ U.T
    np.testing.assert_allclose(x, -np.sqrt(3) * want / np.linalg.norm(want), rtol=1e-12)


def test_other_leaves_have_adam() -> None:
    x, gradients = stream(0, "random", steps=5, shapes={"w": (3, 4), "b": (4,), "large": (5, 2)})
    o = refopt.optimizer(
        "cosmos", lr=0.1, weight_decay=0.1, beta1=0.7, beta2=0.8, eps_inside=False, max_size=4, ratio=0.5
    )
    adam = refopt.optimizer("adam", lr=0.1, weight_decay=0.1, beta1=0.7, beta2=0.8)
    s, y = o.init(x), x
    a = adam.init(y)
    for g in gradients:
        x, s = o.update(x, g, s)
        y, a = adam.update(y, g, a)
    np.testing.assert_allclose(x["b"], y["b"], rtol=1e-14)
    np.testing.assert_allclose(x["large"], y["large"], rtol=1e-14)
    assert not np.allclose(x["w"], y["w"])
