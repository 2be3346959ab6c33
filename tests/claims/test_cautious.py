"""What caution promises."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import stream


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
