"""What clipping and normalising promise."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import stream


@pytest.mark.claim("spam")
def test_a_spike_is_bounded() -> None:
    """A coordinate multiplied by 1e6 in one step moves m by at most (1 - beta1) sqrt(theta v).

    One coordinate times 1e6 at step 50: |m| grows by at most (1 - beta1) sqrt(theta v) there.
    """
    o = refopt.optimizer("spam", threshold=10.0)
    x, gradients = stream(0, "random", steps=50, shapes={"w": (6,)})
    s = o.init(x)
    for g in gradients[:-1]:
        x, s = o.update(x, g, s)
    spike = {"w": gradients[-1]["w"].copy()}
    spike["w"][2] *= 1e6
    _, after = o.update(x, spike, s)
    bound = 0.1 * np.sqrt(10.0 * s["v"]["w"][2])
    growth = abs(after["m"]["w"][2] - 0.9 * s["m"]["w"][2])
    np.testing.assert_allclose(growth, bound, rtol=1e-12)


@pytest.mark.claim("stable-spam")
def test_stable_spam_is_scale_free() -> None:
    """Multiplying all gradients by a constant does not change the trajectory (power of two, eps = 0:
    to the bit).

    Gradients times 2^12, eps = 0: the same bits.
    """
    x, gradients = stream(0, "random", steps=30)
    o = refopt.optimizer("stable-spam", eps=0.0, reset_every=11)
    y, sx, sy = x, o.init(x), o.init(x)
    for g in gradients:
        x, sx = o.update(x, g, sx)
        y, sy = o.update(y, {k: 4096.0 * v for k, v in g.items()}, sy)
    for k in x:
        np.testing.assert_array_equal(x[k], y[k])


@pytest.mark.claim("stable-spam")
def test_norm_after_adagn() -> None:
    """Gradients of constant norm and largest entry reach Adam with norm 1, to 1e-12.

    Constant norm: p_hat = sqrt(q_hat) = n, so beta1 = 0 leaves Adam's m with norm 1.
    """
    o = refopt.optimizer("stable-spam", eps=0.0, beta1=0.0)
    x, g = np.zeros(4), np.array([3.0, -1.0, 2.0, 0.5])
    s = o.init(x)
    for k in range(20):
        x, s = o.update(x, np.roll(g, k), s)
        np.testing.assert_allclose(np.linalg.norm(s["m"]), 1.0, rtol=1e-12)
