"""What a prediction is worth.

Optimistic AMSGrad written out, and without predictions.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.optimizers.first_order.optimistic_amsgrad import extrapolate

from tests.streams import schedule, stream


@pytest.mark.claim("optimistic-amsgrad")
def test_perfect_prediction() -> None:
    """Gradients that are predicted exactly let v decay by beta2 a step (to 1e-12) and leave its
    maximum as it is, bit for bit.

    A constant gradient is predicted exactly once r + 1 are known: v only decays, its maximum stays.
    """
    o = refopt.optimizer("optimistic-amsgrad", history=3)
    x, g = np.zeros(2), np.array([3.0, -1.0])
    s = o.init(x)
    for t in range(1, 12):
        before = s
        x, s = o.update(x, g, s)
        if t >= 4:
            np.testing.assert_allclose(s["prediction"], g, rtol=1e-12)
        if t >= 5:
            np.testing.assert_allclose(s["v"], 0.99 * before["v"], rtol=1e-12)
            np.testing.assert_array_equal(s["v_max"], before["v_max"])


@pytest.mark.claim("optimistic-amsgrad")
def test_extrapolation_of_a_linear_iteration() -> None:
    """RMPE of a linear iteration with r - 1 distinct eigenvalues finds its fixed point as lambda -> 0
    (1e-4 of the last error).

    x <- x* + G (x - x*) with three eigenvalues, r = 4: the extrapolation tends to x* with lambda.
    """
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    g = (q * np.array([0.9, 0.9, 0.5, 0.5, -0.3, -0.3])) @ q.T
    target, x = rng.standard_normal(6), rng.standard_normal(6)
    points = [x]
    for _ in range(4):
        points.append(target + g @ (points[-1] - target))
    last = np.linalg.norm(points[-1] - target)
    errors = [np.linalg.norm(extrapolate(points, lam) - target) for lam in (1e-2, 1e-5, 1e-8, 1e-11)]
    assert np.all(np.diff(errors) < 0)
    assert errors[-1] < 1e-4 * last


@pytest.mark.identity("optimistic-amsgrad")
def test_written_out() -> None:
    """60 steps equal method and extrapolation written out, to 1e-12."""
    lr, b1, b2, eps, r, lam = 0.02, 0.8, 0.7, 1e-4, 3, 1e-2
    x, gradients = stream(0, "flip", steps=60, shapes={"a": (2, 3), "b": (4,)})
    o = refopt.optimizer(
        "optimistic-amsgrad",
        lr=lr,
        beta1=b1,
        beta2=b2,
        eps=eps,
        history=r,
        regularization=lam,
        schedule=schedule,
    )
    s = o.init(x)
    w = half = np.concatenate([x["a"].ravel(), x["b"]])
    theta, v = np.zeros(10), np.full(10, eps)
    top, m, seen = v.copy(), np.zeros(10), []
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        flat, eta = np.concatenate([g["a"].ravel(), g["b"]]), lr * schedule(t)
        old, theta = theta, b1 * theta + (1 - b1) * flat
        v = b2 * v + (1 - b2) * (flat - m) ** 2
        top = np.maximum(top, v)
        half = half - eta * theta / np.sqrt(top)
        seen.append(flat)
        m = np.zeros(10)
        if len(seen) > r:
            last = np.stack(seen[-r - 1 :], axis=1)
            u = np.diff(last, axis=1)
            z = np.linalg.solve(u.T @ u + lam * np.eye(r), np.ones(r))
            m = last[:, :-1] @ (z / z.sum())
        w = half - eta * (b1 * old + (1 - b1) * m) / np.sqrt(top)
        # The solve's condition number is about |U|^2 / lambda, 1e3.
        np.testing.assert_allclose(np.concatenate([x["a"].ravel(), x["b"]]), w, rtol=1e-12, atol=1e-13)


@pytest.mark.identity("optimistic-amsgrad")
def test_without_prediction() -> None:
    """Without prediction and with beta1 = 0 it is AMSGrad with beta1 = 0 written out, to 1e-13.

    history = 0, beta1 = 0: x = w~, and w~ <- w~ - lr g / sqrt(max of v).
    """
    x, gradients = stream(1, "random", steps=40, shapes={"w": (5,)})
    o = refopt.optimizer("optimistic-amsgrad", lr=0.05, beta1=0.0, history=0)
    s, y, v, top = o.init(x), x["w"], np.full(5, 1e-8), np.full(5, 1e-8)
    for g in gradients:
        x, s = o.update(x, g, s)
        v = 0.99 * v + 0.01 * g["w"] ** 2
        top = np.maximum(top, v)
        y = y - 0.05 * g["w"] / np.sqrt(top)
        np.testing.assert_allclose(x["w"], y, rtol=1e-13)
