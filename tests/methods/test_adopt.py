"""ADOPT."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import stream


@pytest.mark.claim("adopt")
def test_steps_are_bounded_by_the_clipping() -> None:
    """Gradients of any size: no step is longer than lr (t - 1)^(1/4) in a coordinate, the first is none, the second at most
    lr (1 - β1)."""
    o = refopt.optimizer("adopt", lr=1.0)
    x, gradients = stream(1, "ill", steps=40)
    s = o.init(x)
    for t, g in enumerate(gradients, 1):
        g = {k: v * 10.0 ** (3 * (t % 5)) for k, v in g.items()}
        y, s = o.update(x, g, s)
        most = max(float(np.max(np.abs(y[k] - x[k]))) for k in x)
        assert most <= (0.0 if t == 1 else 0.1 if t == 2 else (t - 1) ** 0.25) * (1 + 1e-12)
        x = y


@pytest.mark.claim("adopt")
def test_it_converges_where_adam_does_not() -> None:
    """Reddi's stochastic example with β2 = 0.1 (the paper's figure): Adam ends at the wrong end of [-1, 1], the first version of ADOPT
    at the right."""
    ends = {}
    for name in ("adam", "adopt"):
        own = {"clips": False} if name == "adopt" else {}
        o = refopt.optimizer(
            name, lr=0.01, beta1=0.9, beta2=0.1, schedule=lambda t: (1 + 0.01 * t) ** -0.5, **own
        )
        x, rng = np.zeros(1), np.random.default_rng(0)
        s = o.init(x)
        for _ in range(12_000):
            # f is k x with a small probability and -x else, of a small positive mean slope.
            g = np.array([50.0 if rng.random() < 0.02 * 1.2 else -1.0])
            x, s = o.update(x, g, s)
            x = np.clip(x, -1.0, 1.0)
        ends[name] = float(x[0])
    assert ends["adam"] > 0.5 and ends["adopt"] < -0.5


@pytest.mark.identity("adopt")
@pytest.mark.parametrize("options", [{}, {"clips": False}, {"clip_counts": "steps", "decays_first": False}])
def test_by_hand(options: dict) -> None:
    """Twenty steps written out, to 1e-13, with decay."""
    o = refopt.optimizer(
        "adopt", lr=0.1, beta1=0.7, beta2=0.8, eps=0.01, weight_decay=0.1, decay="decoupled", **options
    )
    x, gradients = stream(2, "random", steps=20)
    y, s = dict(x), o.init(x)
    m, v = ({k: np.zeros_like(a) for k, a in x.items()} for _ in range(2))
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        for k in y:
            if t == 1:
                v[k] = g[k] ** 2
                y[k] = y[k] * (1 - 0.01) if options.get("decays_first", True) else y[k]
                continue
            n = g[k] / np.maximum(np.sqrt(v[k]), 0.01)
            if options.get("clips", True):
                c = (t if options.get("clip_counts") else t - 1) ** 0.25
                n = np.clip(n, -c, c)
            m[k] = 0.7 * m[k] + 0.3 * n
            y[k] = y[k] * (1 - 0.01) - 0.1 * m[k]
            v[k] = 0.8 * v[k] + 0.2 * g[k] ** 2
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-14)
