"""What decay and the sign imply for Lion."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import stream


@pytest.mark.claim("lion")
def test_decay_bounds_the_parameters() -> None:
    """With decay, |x_i| stays below max(|x_i at the start|, 1 / lambda), and is driven to 1 / lambda.

    |x_i| <= max(|x_0i|, 1/lambda); a constant gradient drives x to the bound itself.
    """
    lam = 0.5
    x, gradients = stream(0, "flip", steps=200)
    start = {k: np.maximum(np.abs(v), 1 / lam) for k, v in x.items()}
    o = refopt.optimizer("lion", lr=0.3, weight_decay=lam)
    s = o.init(x)
    for g in gradients:
        x, s = o.update(x, g, s)
        for k in x:
            assert np.all(np.abs(x[k]) <= start[k] * (1 + 1e-15))
    y, s = np.array([5.0, -5.0]), o.init(np.zeros(2))
    for _ in range(400):
        y, s = o.update(y, np.array([1e-3, -1e3]), s)
    assert y == pytest.approx([-2.0, 2.0], rel=1e-12)


def test_step_size_is_the_rate() -> None:
    """Without decay every coordinate with momentum moves by exactly lr."""
    x, gradients = stream(0, "ill", steps=50)
    o = refopt.optimizer("lion", lr=0.25)
    x = {k: np.zeros_like(v) for k, v in x.items()}
    s = o.init(x)
    for g in gradients:
        new, s = o.update(x, g, s)
        for k in x:
            assert set(np.abs(new[k] - x[k]).ravel()) == {0.0, 0.25}
        x = new
