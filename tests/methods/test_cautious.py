"""What caution promises.

Cautious AdamW against a literal transcription.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream


@pytest.mark.claim("cautious-adamw")
def test_never_uphill() -> None:
    """No coordinate steps uphill, and where all agree it is AdamW up to the normaliser, to 1e-13."""
    x, gradients = stream(0, "flip", steps=60)
    o, a = refopt.optimizer("cautious-adamw", lr=0.1), refopt.optimizer("adam", lr=0.1, eps=1e-6)
    s, uphill_of_adam, sa = o.init(x), False, a.init(x)
    for g in gradients:
        new, s = o.update(x, g, s)
        plain, sa = a.update(x, g, sa)
        for k in x:
            assert np.all((new[k] - x[k]) * g[k] <= 0.0)
            uphill_of_adam |= bool(np.any((plain[k] - x[k]) * g[k] > 0.0))
        x = new
    assert uphill_of_adam

    kwargs = {"lr": 0.1, "eps": 1e-3, "weight_decay": 0.1}
    g = np.array([1.0, -2.0, 0.5])
    for normalizer, factor in (("mean", 1 / (1 + 1e-3)), ("floor", 1.0), ("count", 3 / 4)):
        c = refopt.optimizer("cautious-adamw", normalizer=normalizer, **kwargs)
        w = refopt.optimizer("adamw", dialect="torch", **kwargs)
        y = z = np.array([1.0, 2.0, 3.0])
        sc, sw = c.init(y), w.init(z)
        for t in range(1, 10):
            before = (1 - 0.1 * 0.1) * y
            (y, sc), (z, sw) = c.update(y, t * g, sc), w.update(y, t * g, sw)
            np.testing.assert_allclose(y - before, factor * (z - before), rtol=1e-13)


@pytest.mark.identity("cautious-adamw")
@pytest.mark.parametrize("normalizer", ["mean", "floor", "count"])
def test_algorithm(normalizer: str) -> None:
    """Equals the algorithm transcribed line by line with Python floats, to 1e-13."""
    lr, b1, b2, eps, lam = 0.02, 0.8, 0.7, 1e-2, 0.1
    x, gradients = stream(3, "flip", steps=60, shapes={"w": (5,)})
    o = refopt.optimizer(
        "cautious-adamw", lr=lr, beta1=b1, beta2=b2, eps=eps, weight_decay=lam, normalizer=normalizer,
        schedule=schedule,
    )  # fmt: skip
    s, theta = o.init(x), [float(v) for v in x["w"]]
    m, v = [0.0] * 5, [0.0] * 5
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        phi, u = [], []
        for i in range(5):
            gi = float(g["w"][i])
            m[i] = b1 * m[i] + (1 - b1) * gi
            v[i] = b2 * v[i] + (1 - b2) * gi**2
            phi.append(1.0 if m[i] * gi > 0 else 0.0)
            u.append((m[i] / (1 - b1**t)) / (math.sqrt(v[i] / (1 - b2**t)) + eps))
        mean = sum(phi) / 5
        below = {"mean": mean + eps, "floor": max(mean, 1e-3), "count": (sum(phi) + 1) / 5}[normalizer]
        rate = lr * schedule(t)
        theta = [(1 - rate * lam) * e - rate * ui * p / below for e, ui, p in zip(theta, u, phi)]
        np.testing.assert_allclose(x["w"], theta, rtol=1e-13, atol=1e-14)
