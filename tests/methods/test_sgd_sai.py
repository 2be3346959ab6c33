"""The signal-to-noise ratio of SGD-SaI.

SGD-SaI written out.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.optimizers.first_order.sgd_sai import signal_to_noise

from tests.streams import schedule, stream


@pytest.mark.claim("sgd-sai")
def test_ratio_identity() -> None:
    """eps = 0: G^2 = (n - 1) + n mean(g)^2 / s^2 exactly (1e-12), so G >= sqrt(n - 1).

    G² = (n - 1) + n mean² / s²: at least n - 1, and scale-free.
    """
    rng = np.random.default_rng(0)
    for n, shift in ((2, 0.0), (50, 0.3), (400, -2.0)):
        g = rng.standard_normal(n) + shift
        ratio = float(signal_to_noise(g, 0.0))
        assert ratio**2 == pytest.approx((n - 1) + n * g.mean() ** 2 / g.var(ddof=1), rel=1e-12)
        assert ratio >= np.sqrt(n - 1)
        assert float(signal_to_noise(1e3 * g, 0.0)) == pytest.approx(ratio, rel=1e-12)


@pytest.mark.identity("sgd-sai")
def test_one_block_is_momentum() -> None:
    """One block: momentum SGD on the averaged gradient started at the first one, to 1e-13.

    Normalised, one block has gain 1 (but for eps): m_1 = g_1, m = mu m + (1 - mu) g, x -= lr m.
    """
    x, gradients = stream(0, "random", steps=40, shapes={"w": (6,)})
    o = refopt.optimizer("sgd-sai", lr=0.05, momentum=0.8, weight_decay=0.0, schedule=schedule)
    twin = refopt.optimizer(
        "momentum",
        lr=0.05,
        momentum=0.8,
        dampening=0.8,
        full_first=True,
        rate_inside=False,
        schedule=schedule,
    )
    s, y = o.init(x), x
    r = twin.init(y)
    for g in gradients:
        x, s = o.update(x, g, s)
        y, r = twin.update(y, g, r)
        np.testing.assert_allclose(x["w"], y["w"], rtol=1e-13)


@pytest.mark.identity("sgd-sai")
@pytest.mark.parametrize("dialect", ["paper", "official"])
def test_algorithm_1(dialect: str) -> None:
    """60 steps with decay equal Algorithm 1 written out, normalised and not, to 1e-12."""
    x, gradients = stream(2, "ill", steps=60)
    o = refopt.optimizer(
        "sgd-sai", dialect=dialect, lr=0.01, momentum=0.7, weight_decay=0.1, schedule=schedule
    )
    s, y, m, gain = o.init(x), dict(x), {}, {}
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        lr = 0.01 * schedule(t)
        for k in y:
            if t == 1:
                gain[k] = np.sqrt(np.sum(g[k] ** 2)) / (np.std(g[k], ddof=1) + 1e-8)
            m[k] = g[k] if t == 1 else 0.7 * m[k] + 0.3 * g[k]
        top = max(gain.values()) if dialect == "paper" else 1.0
        for k in y:
            y[k] = (1 - lr * 0.1) * y[k] - lr * gain[k] / top * m[k]
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-11)


def test_gains_of_weak_blocks() -> None:
    """The largest ratio is divided by even below 1; a block without signal keeps 0, one entry or many."""
    o = refopt.optimizer("sgd-sai", eps=10.0)
    x = {"a": np.zeros(2), "b": np.zeros(2), "one": np.zeros(1), "still": np.zeros(3)}
    g = {"a": np.array([1.0, -1.0]), "b": np.array([0.5, -0.5]), "one": np.zeros(1), "still": np.zeros(3)}
    _, s = o.update(x, g, o.init(x))
    assert float(s["gain"]["a"]) == 1.0
    assert 0.0 < float(s["gain"]["b"]) < 1.0
    assert float(s["gain"]["one"]) == float(s["gain"]["still"]) == 0.0
    _, s = o.update(x, {k: 0.0 * v for k, v in g.items()}, o.init(x))
    assert all(float(v) == 0.0 for v in s["gain"].values())
