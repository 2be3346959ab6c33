"""Rprop."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream


@pytest.mark.identity("rprop")
@pytest.mark.parametrize("turned", ["back", "none", "step"])
@pytest.mark.parametrize("always", [True, False])
def test_coordinate_by_coordinate(turned: str, always: bool) -> None:
    """Rprop+, Rprop- and iRprop- written out entry by entry with NumPy alone, forty steps with bounds that are met, to the bit."""
    o = refopt.optimizer("rprop", initial=0.005, grow=1.3, shrink=0.6, least=0.01, most=0.04, turned=turned, bounds_always=always)  # fmt: skip
    x, gradients = stream(1, "random", steps=40, shapes={"w": (6,)})
    s, y = o.init(x), list(x["w"])
    delta, before, made = [0.005] * 6, [0.0] * 6, [0.0] * 6
    seen = set()
    for g in gradients:
        x, s = o.update(x, g, s)
        for i, gi in enumerate(g["w"]):
            same = np.sign(gi) * np.sign(before[i])
            if same > 0:
                delta[i] = min(delta[i] * 1.3, 0.04)
            elif same < 0:
                delta[i] = max(delta[i] * 0.6, 0.01)
            if always:
                delta[i] = min(max(delta[i], 0.01), 0.04)
            if same < 0 and turned != "step":
                made[i] = -made[i] if turned == "back" else 0.0
                gi = 0.0
            else:
                made[i] = -np.sign(gi) * delta[i]
            before[i], y[i] = gi, y[i] + made[i]
            seen.add(delta[i])
        np.testing.assert_array_equal(x["w"], y)
    assert {0.01, 0.04} <= seen
    long = refopt.optimizer("rprop", initial=0.5, most=0.04, turned=turned, bounds_always=always)
    np.testing.assert_allclose(
        long.update(np.zeros(1), np.ones(1), long.init(np.zeros(1)))[0], -0.04 if always else -0.5, rtol=1e-15
    )
    assert (0.005 in seen) == (not always)


@pytest.mark.claim("rprop")
def test_the_size_of_gradients_says_nothing() -> None:
    """Gradients cubed, times 1e6, or their signs alone: the same run to the bit."""
    run = stream(2, "random", steps=20)
    o = refopt.optimizer("rprop")
    assert_same_run(o, o, run, change=lambda g: {k: 1e6 * v**3 for k, v in g.items()})
    assert_same_run(o, o, run, change=lambda g: {k: np.sign(v) for k, v in g.items()})


@pytest.mark.claim("rprop")
def test_steps_grow_along_a_slope_and_a_minimum_is_closed_in_on() -> None:
    """Of equal signs the k-th step is 1.2^(k-1) times the first; on a bowl of condition 1e6 every coordinate is at 1e-6 of its way
    after 120 steps."""
    o = refopt.optimizer("rprop", initial=0.1)
    x = np.zeros(1)
    s = o.init(x)
    for k in range(8):
        y, s = o.update(x, np.ones(1), s)
        np.testing.assert_allclose(x - y, 0.1 * 1.2**k, rtol=1e-13)
        x = y
    h = np.array([1e-3, 1.0, 1e3])
    for turned in ("back", "none", "step"):
        o = refopt.optimizer("rprop", turned=turned, least=0.0)
        x = np.array([1.0, -2.0, 3.0])
        s = o.init(x)
        for _ in range(120):
            x, s = o.update(x, h * x, s)
        assert np.max(np.abs(x)) < 1e-6
