"""Yogi."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import stream


@pytest.mark.claim("yogi")
def test_the_second_moment_moves_by_no_more_than_a_share_of_the_square() -> None:
    """|v_t - v_{t-1}| = (1 - β2) g² wherever v is not g², to rounding, and v stays positive; Adam's moves by up to 100
    times as much."""
    x, gradients = stream(1, "flip", steps=60)
    o, a = refopt.optimizer("yogi"), refopt.optimizer("adam")
    s, r, most = o.init(x), a.init(x), 0.0
    for t, g in enumerate(gradients):
        g = {k: v * (100.0 if t < 20 else 1.0) for k, v in g.items()}
        before, other = s["v"], r["v"]
        (_, s), (_, r) = o.update(x, g, s), a.update(x, g, r)
        for k in x:
            moved = np.abs(s["v"][k] - before[k])
            np.testing.assert_allclose(moved, 0.001 * g[k] ** 2, rtol=1e-6, atol=1e-11)
            assert np.all(s["v"][k] >= 0.0)
            hot = g[k] != 0.0
            most = max(most, float(np.max(np.abs(r["v"][k] - other[k])[hot] / (0.001 * g[k][hot] ** 2))))
    assert most > 100.0


@pytest.mark.identity("yogi")
def test_by_hand_and_without_a_gradient() -> None:
    """Four steps written out, to 1e-14; with a gradient of zero v stays, where Adam's shrinks."""
    o = refopt.optimizer(
        "yogi",
        lr=0.1,
        beta1=0.8,
        beta2=0.9,
        eps=0.01,
        initial=0.5,
        initial_momentum=0.2,
        bias_correction=True,
    )
    x = np.array([1.0, -2.0])
    s, m, v, y = o.init(x), np.full(2, 0.2), np.full(2, 0.5), x
    for t, g in enumerate(([1.0, 0.1], [-0.2, 0.0], [0.3, 5.0], [0.0, 0.0]), 1):
        g = np.array(g)
        x, s = o.update(x, g, s)
        m, v = 0.8 * m + 0.2 * g, v - 0.1 * np.sign(v - g * g) * g * g
        y = y - 0.1 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.9**t)) + 0.01)
        np.testing.assert_allclose(x, y, rtol=1e-14)
    plain = refopt.optimizer("yogi", lr=0.1, beta1=0.8, beta2=0.9)
    z, r = plain.update(x, np.ones(2), plain.init(x))
    np.testing.assert_allclose(z, x - 0.1 * 0.2 / (np.sqrt(1e-6 + 0.1) + 1e-3), rtol=1e-14)
    np.testing.assert_array_equal(plain.update(z, np.zeros(2), r)[1]["v"], r["v"])


@pytest.mark.identity("yogi")
def test_where_the_square_is_the_moment_it_stays() -> None:
    """v = g² exactly: the sign is 0, v is unchanged; and with v_0 = ε = 0 a coordinate without gradient stays."""
    o = refopt.optimizer("yogi", initial=0.25)
    x = np.array([1.0, 1.0])
    _, s = o.update(x, np.array([0.5, -0.5]), o.init(x))
    np.testing.assert_array_equal(s["v"], [0.25, 0.25])
    still = refopt.optimizer("yogi", initial=0.0, eps=0.0)
    np.testing.assert_array_equal(still.update(x, np.zeros(2), still.init(x))[0], x)
