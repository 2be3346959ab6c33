"""Claims on AMSGrad, AdamNC, AdaBound and AMSBound: convergence on the counterexample, rates, limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt

from tests.streams import stream

SLOPES = np.resize(np.array([1010.0, *[-10.0] * 100]), 30_000)  # the online experiment of section 5


def walk(method: Any, slopes: np.ndarray, x0: float) -> tuple[np.ndarray, Any]:
    """The iterates on linear functions of these slopes, clipped to [-1, 1], and the last state."""
    x = np.array([x0])
    s = method.init(x)
    path = [x0]
    for slope in slopes:
        x, s = method.update(x, np.array([slope]), s)
        x = np.clip(x, -1.0, 1.0)
        path.append(float(x[0]))
    return np.array(path), s


def root(t: int) -> float:
    return 1.0 / math.sqrt(t)


def test_the_problem_has_these_slopes() -> None:
    p = refopt.problem("adam-counterexample")
    np.testing.assert_array_equal(np.resize(p.slopes, 202), SLOPES[:202])


@pytest.mark.claim(
    "adam",
    says="On the counterexample of Reddi et al. (x* = -1) it is at 0.994 after 30000 steps, AMSGrad at -0.867, AdamNC at -0.217 and falling.",
)
@pytest.mark.claim("adamnc", "amsgrad")
def test_adam_diverges_and_the_others_converge() -> None:
    """The paper's experiment: after 30000 steps Adam is at 0.994, AMSGrad at -0.867, AdamNC at -0.217
    and falling (x* = -1).

    Section 5's online experiment, rate 0.5 / sqrt(t): x* = -1, and Adam goes to the other end.
    """
    given = {"lr": 0.5, "beta1": 0.9, "lower": -1.0, "upper": 1.0}
    adam, _ = walk(refopt.optimizer("adam", lr=0.5, beta2=0.99, eps=0.0, schedule=root), SLOPES, 0.0)
    amsgrad, _ = walk(refopt.optimizer("amsgrad", beta2=0.99, **given), SLOPES, 0.0)
    adamnc, _ = walk(refopt.optimizer("adamnc", **given), SLOPES, 0.0)
    constant, _ = walk(refopt.optimizer("adamnc", beta2=lambda t: 0.99, **given), SLOPES, 0.0)
    # Corrected or not, Adam with a constant beta2 ends near 1.
    assert np.min(adam[-1000:]) > 0.9
    assert np.min(constant[-1000:]) > 0.9
    assert amsgrad[-1] < amsgrad[3000] < 0.0
    assert adamnc[-1] < adamnc[3000] < 0.0
    assert (adam[-1], amsgrad[-1], adamnc[-1]) == pytest.approx((0.994, -0.867, -0.217), abs=5e-4)


def test_theorem_1() -> None:
    """C = 3, beta1 = 0, beta2 = 1 / (1 + C²): Adam is back at 1 after every cycle, AMSGrad ends below -0.99."""
    p = refopt.problem("adam-counterexample", setting="theorem-1", C=3.0)
    slopes = np.resize(p.slopes, 30_000)
    given = {"lr": 0.5, "beta1": 0.0, "lower": -1.0, "upper": 1.0}
    adam, _ = walk(refopt.optimizer("adamnc", beta2=lambda t: 0.1, **given), slopes[:3000], 1.0)
    np.testing.assert_array_equal(adam[::3], 1.0)
    amsgrad, _ = walk(refopt.optimizer("amsgrad", beta2=0.1, **given), slopes, 1.0)
    assert amsgrad[-1] < -0.99


@pytest.mark.claim("adamnc")
@pytest.mark.claim("amsgrad", says="sqrt(V_t) / α_t never falls, which is what the proof needs; Adam's does.")
def test_gamma_is_never_negative() -> None:
    """sqrt(v_t) / α_t never falls; with Adam's constant beta2 it does.

    sqrt(V_t) / α_t - sqrt(V_{t-1}) / α_{t-1} >= 0, but for Adam's constant beta2.
    """

    def least(name: str, slot: str, **kwargs: Any) -> float:
        o = refopt.optimizer(name, lr=0.5, **kwargs)
        x = np.zeros(1)
        s, before, lowest = o.init(x), 0.0, math.inf
        for t, slope in enumerate(SLOPES[:2000], 1):
            x, s = o.update(x, np.array([slope]), s)
            now = math.sqrt(float(s[slot][0])) / o.rate(t)
            lowest, before = min(lowest, now - before), now
        return lowest

    # V_t may stand still; then sqrt(t) grows.
    assert least("amsgrad", "V", beta2=0.99) > 0.0
    assert least("adamnc", "v") > 0.0
    assert least("adamnc", "v", beta2=lambda t: 0.99) < -1.0


@pytest.mark.claim("adabound", "amsbound")
@pytest.mark.parametrize("name", ["adabound", "amsbound"])
def test_adabound_ends_as_sgd(name: str) -> None:
    """With narrow bounds it is SGD: in 50 steps x is moved by final_lr times the average gradient, to
    1e-11.

    gamma -> inf: x moves by final_lr times the average gradient; bounds are 1 ± 1e-12 wide here.
    """
    x, gradients = stream(0, "random", steps=50)
    o = refopt.optimizer(name, dialect="official", gamma=1e12, final_lr=0.2, beta1=0.8)
    y, s, m = dict(x), o.init(x), {k: np.zeros_like(v) for k, v in x.items()}
    for g in gradients:
        x, s = o.update(x, g, s)
        for k in y:
            m[k] = 0.8 * m[k] + 0.2 * g[k]
            y[k] = y[k] - 0.2 * m[k]
            # 50 rates, each within 1e-12 of 0.2
            np.testing.assert_allclose(x[k], y[k], rtol=0, atol=1e-11)
    # and with the paper's slow bounds it gets there: late steps of a long run are SGD's
    o = refopt.optimizer(name, dialect="official", gamma=1.0, final_lr=0.2, beta1=0.0, lr=1e-3)
    z = np.ones(1)
    s = {**o.init(z), "t": 10**9}
    new, _ = o.update(z, np.array([0.25]), s)
    assert float((z - new)[0]) == pytest.approx(0.2 * 0.25, rel=2e-9)


@pytest.mark.claim("adabound")
@pytest.mark.parametrize("name", ["adabound", "amsbound"])
def test_rates_stay_inside_the_bounds(name: str) -> None:
    """Every rate that is applied lies between the bounds of its step.

    The rate applied to m is in [l_t, u_t], touches both, and is between them somewhere.
    """
    o = refopt.optimizer(name, lr=0.05, gamma=0.2, beta2=0.9, rate_root=False)
    x, gradients = stream(0, "ill", steps=60)
    s = o.init(x)
    low = high = inside = 0
    for t, g in enumerate(gradients, 1):
        new, s = o.update(x, g, s)
        least, most = 0.1 - 0.1 / (0.2 * t + 1), 0.1 + 0.1 / (0.2 * t)
        for k in x:
            some = np.abs(s["m"][k]) > 1e-3 * np.max(np.abs(x[k]))
            rate = ((x[k] - new[k])[some]) / s["m"][k][some]
            # x - new loses digits of a step that is small beside x
            assert np.all(rate >= least - 1e-11)
            assert np.all(rate <= most + 1e-11)
            low += int(np.sum(rate < least + 1e-11))
            high += int(np.sum(rate > most - 1e-11))
            inside += int(np.sum((rate > least + 1e-6) & (rate < most - 1e-6)))
        x = new
    assert min(low, high, inside) > 0
