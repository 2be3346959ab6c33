"""MARS against a literal transcription, Lion and Muon."""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream


@pytest.mark.identity("mars-adamw")
def test_algorithm_2() -> None:
    """Equals Algorithm 2 transcribed with Python floats, clipped by the whole vector, to 1e-13."""
    lr, b1, b2, eps, gamma, lam = 0.02, 0.8, 0.7, 1e-3, 0.3, 0.1
    x, gradients = stream(3, "random", steps=60, shapes={"a": (4,), "b": (2,)})
    gradients = [{k: v * (0.02 if t % 3 else 1.0) for k, v in g.items()} for t, g in enumerate(gradients)]
    o = refopt.optimizer(
        "mars-adamw", lr=lr, beta1=b1, beta2=b2, eps=eps, gamma=gamma, weight_decay=lam, schedule=schedule
    )
    s = o.init(x)
    theta = [float(v) for v in (*x["a"], *x["b"])]
    m, v, last = [0.0] * 6, [0.0] * 6, None
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        now = [float(e) for e in (*g["a"], *g["b"])]
        c = [gi + gamma * b1 / (1 - b1) * (gi - li) for gi, li in zip(now, last or now)]
        last, length = now, math.sqrt(sum(e * e for e in c))
        if length > 1:
            c = [e / length for e in c]
        eta = lr * schedule(t)
        for i in range(6):
            m[i] = b1 * m[i] + (1 - b1) * c[i]
            v[i] = b2 * v[i] + (1 - b2) * c[i] ** 2
            u = (m[i] / (1 - b1**t)) / (math.sqrt(v[i] / (1 - b2**t)) + eps)
            theta[i] -= eta * (u + lam * theta[i])
        np.testing.assert_allclose([*x["a"], *x["b"]], theta, rtol=1e-13, atol=1e-13)


@pytest.mark.identity("mars-lion")
def test_mars_lion_contains_lion() -> None:
    """Unclipped from zero with beta1 = Lion's beta2, gamma = 1 - beta1 / beta2: Lion, to 1e-13.

    beta1 = b2, gamma = 1 - b1 / b2, unclipped, last gradient zero: Lion(b1, b2); not from x_1 = x_0.
    """
    b1, b2 = 0.7, 0.9
    x, gradients = stream(0, "flip", steps=80)
    common = {"lr": 0.05, "weight_decay": 0.1, "schedule": schedule}
    lion = refopt.optimizer("lion", beta1=b1, beta2=b2, **common)
    mars = {
        first: refopt.optimizer("mars-lion", beta1=b2, gamma=1 - b1 / b2, clip="none", first=first, **common)
        for first in ("zero", "current")
    }
    points, states = dict.fromkeys(mars, x), {k: o.init(x) for k, o in mars.items()}
    s = lion.init(x)
    for g in gradients:
        x, s = lion.update(x, g, s)
        for k, o in mars.items():
            points[k], states[k] = o.update(points[k], g, states[k])
        for k in x:
            np.testing.assert_allclose(points["zero"][k], x[k], rtol=1e-13, atol=1e-13)
    assert any(np.max(np.abs(points["current"][k] - x[k])) > 1e-2 for k in x)


@pytest.mark.identity("mars-shampoo")
def test_mars_shampoo_contains_muon() -> None:
    """gamma = 0: Muon without Nesterov momentum, both with a converged polar factor, to 1e-10.

    gamma = 0: momentum's polar factor, as Muon's without Nesterov and with converged Newton-Schulz.
    """
    x, gradients = stream(0, "random", steps=30, shapes={"w": (3, 4)})
    common = {"lr": 0.05, "weight_decay": 0.1, "schedule": schedule}
    a = refopt.optimizer("mars-shampoo", beta1=0.9, gamma=0.0, **common)
    b = refopt.optimizer(
        "muon",
        momentum=0.9,
        nesterov=False,
        coefficients="cubic",
        ns_steps=60,
        scale="none",
        eps=0.0,
        **common,
    )
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        # A polar factor's condition is that of the matrix, here below 1e3.
        np.testing.assert_allclose(x["w"], y["w"], atol=1e-10)


def test_last_gradient_is_a_copy() -> None:
    """Gradients that are written into one buffer give the same run (the official code does not)."""
    x, gradients = stream(0, "random", steps=6, shapes={"w": (3, 4)})
    o = refopt.optimizer("mars-adamw", lr=0.1)
    y, s, sb, buffer = x, o.init(x), o.init(x), {"w": np.empty((3, 4))}
    for g in gradients:
        x, s = o.update(x, g, s)
        buffer["w"][...] = g["w"]
        y, sb = o.update(y, buffer, sb)
    np.testing.assert_array_equal(x["w"], y["w"])
