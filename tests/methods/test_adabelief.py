"""AdaBelief."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream


@pytest.mark.claim("adabelief")
def test_steps_grow_where_the_gradient_is_believed() -> None:
    """A constant gradient g: g - m_t = β1^t g, so s is the closed sum of (1 - β2) β2^(t-k) β1^(2k) g², to 1e-13; the steps
    grow from lr / β1 = 1.11 to more than 1.7 in 12 steps, where Adam's stay at 1."""
    o = refopt.optimizer("adabelief", lr=1.0, eps=0.0)
    x = np.array([0.0])
    s, steps = o.init(x), []
    for t in range(1, 13):
        before = x
        x, s = o.update(x, np.array([3.0]), s)
        steps.append(float(before[0] - x[0]))
        k = np.arange(1, t + 1)
        np.testing.assert_allclose(s["s"], 9.0 * 0.001 * np.sum(0.999 ** (t - k) * 0.81**k), rtol=1e-13)
    assert abs(steps[0] - 1 / 0.9) < 1e-12 and steps[-1] > 1.7 and np.all(np.diff(steps) > 0)


@pytest.mark.identity("adabelief")
def test_without_momentum_it_is_sgd() -> None:
    """β1 = 0: no distance from the average, s is (1 - β2^t)/(1 - β2) ε, and the rate lr / (sqrt(ε / (1 - β2)) + ε), to 1e-12."""
    o = refopt.optimizer("adabelief", lr=0.1, beta1=0.0, beta2=0.9, eps=1e-4)
    rate = 0.1 / (np.sqrt(1e-4 / 0.1) + 1e-4)
    assert_same_run(o, refopt.optimizer("sgd", lr=rate), stream(1, "random", steps=20), rtol=1e-11)


@pytest.mark.identity("adabelief")
def test_rectified_it_takes_radam_s_factor() -> None:
    """While ρ < 5 the step is lr m̂; after that the unrectified one times RAdam's r, whatever s is, to 1e-12."""
    a = refopt.optimizer("adabelief", rectified=True, eps=1e-4)
    b = refopt.optimizer("adabelief", eps=1e-4)
    x, gradients = stream(3, "random", steps=9)
    end = 2 / (1 - 0.999) - 1
    sa, sb = a.init(x), b.init(x)
    for t, g in enumerate(gradients, 1):
        one, sa = a.update(x, g, sa)
        two, sb = b.update(x, g, sb)
        rho = end - 2 * t * 0.999**t / (1 - 0.999**t)
        for k in x:
            if rho < 5:
                np.testing.assert_allclose(one[k], x[k] - 1e-3 * sa["m"][k] / (1 - 0.9**t), rtol=1e-13)
            else:
                r = np.sqrt((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho))
                np.testing.assert_allclose(one[k] - x[k], r * (two[k] - x[k]), rtol=1e-9, atol=1e-15)
