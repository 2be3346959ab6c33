"""Layer-wise steps: a fixed share of the layer's size."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import stream


@pytest.mark.claim("lars")
def test_lars_step_is_a_share_of_the_layer() -> None:
    """Without momentum and decay every layer moves by exactly lr * trust * |w| (to 1e-13), whatever
    its gradient's scale.

    Without momentum and decay the step's norm is lr * trust * |w|, for gradients of any scale.
    """
    x, gradients = stream(0, "ill", steps=20)
    o = refopt.optimizer("lars", lr=2.0, trust=0.01, momentum=0.0, weight_decay=0.0)
    s = o.init(x)
    for g in gradients:
        new, s = o.update(x, g, s)
        scaled, _ = o.update(x, {k: 1024.0 * v for k, v in g.items()}, s)
        for k in x:
            assert np.linalg.norm(new[k] - x[k]) == pytest.approx(0.02 * np.linalg.norm(x[k]), rel=1e-13)
            np.testing.assert_array_equal(new[k], scaled[k])
        x = new


@pytest.mark.claim("lamb")
def test_lamb_step_is_a_share_of_the_layer() -> None:
    """Every layer moves by exactly lr * phi(|x|), to 1e-13.

    The step's norm is lr * min(max(|x|, low), high), decay included.
    """
    x, gradients = stream(0, "ill", steps=20)
    o = refopt.optimizer("lamb", lr=0.02, weight_decay=0.1, smallest_size=2.0, largest_size=4.0)
    s = o.init(x)
    for g in gradients:
        new, s = o.update(x, g, s)
        for k in x:
            phi = np.clip(np.linalg.norm(x[k]), 2.0, 4.0)
            assert np.linalg.norm(new[k] - x[k]) == pytest.approx(0.02 * phi, rel=1e-13)
        x = new
