"""Claims on AMSGrad, AdamNC, AdaBound and AMSBound: convergence on the counterexample, rates, limits.

AMSGrad, AdamNC, AdaBound and AMSBound: literal transcriptions and limits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError, ArgumentTypeError

from tests.methods.test_adaptive import follow, same_run
from tests.streams import schedule, stream

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


def clip(v: float, low: float, high: float) -> float:
    return min(high, max(low, v))


def safe(a: float, b: float) -> float:
    """a / b, and 0 for the coordinate whose gradient is always zero."""
    return a / b if b else 0.0


@pytest.mark.identity("amsgrad")
def test_amsgrad_line_by_line() -> None:
    """Equals Algorithm 2 transcribed line by line, with falling beta1 and a box, to 1e-13.

    Algorithm 2 with β1t = β1 λ^(t-1), α_t = α / sqrt(t) and F = [-0.9, 1.1].
    """

    def reddi(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        b1 = 0.8 * 0.95 ** (t - 1)
        memory["m"] = b1 * memory.get("m", 0.0) + (1 - b1) * g
        memory["v"] = 0.6 * memory.get("v", 0.0) + 0.4 * g**2
        memory["top"] = max(memory.get("top", 0.0), memory["v"])
        new = x - safe(0.3 / math.sqrt(t) * memory["m"], math.sqrt(memory["top"]))
        return clip(new, -0.9, 1.1)

    follow("amsgrad", reddi, lr=0.3, beta1=0.8, beta1_decay=0.95, beta2=0.6, lower=-0.9, upper=1.1)


def test_keras_amsgrad() -> None:
    """Keras 3: decay beside, the raw maximum, α sqrt(c2) / c1 · m / (sqrt(V) + ε)."""

    def keras(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        lr = 0.03 * schedule(t)
        x = x - 0.1 * lr * x
        memory["m"] = memory.get("m", 0.0) + (g - memory.get("m", 0.0)) * (1 - 0.8)
        memory["v"] = memory.get("v", 0.0) + (g * g - memory.get("v", 0.0)) * (1 - 0.6)
        memory["top"] = max(memory.get("top", 0.0), memory["v"])
        alpha = lr * math.sqrt(1 - 0.6**t) / (1 - 0.8**t)
        return x - memory["m"] * alpha / (math.sqrt(memory["top"]) + 1e-2)

    follow(
        "amsgrad", keras, dialect="keras", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, weight_decay=0.1,
        schedule=schedule,
    )  # fmt: skip


def test_corrections_with_a_falling_beta1() -> None:
    """Under a constant gradient the corrected average is the gradient: a first step of lr, and all others."""
    o = refopt.optimizer("amsgrad", dialect="torch", lr=0.1, beta1_decay=0.9, beta2=0.0, eps=0.0)
    x = np.zeros(1)
    s = o.init(x)
    for t in range(1, 30):
        x, s = o.update(x, np.array([3.0]), s)
        assert float(x[0]) == pytest.approx(-0.1 * t, rel=1e-13)


@pytest.mark.identity("adamnc")
def test_adamnc_line_by_line() -> None:
    """Equals Algorithm 3 transcribed line by line, with falling beta1 and a box, to 1e-13.

    Algorithm 3: v_t is the mean of squares, kept here as their sum.
    """

    def reddi(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        b1 = 0.8 * 0.95 ** (t - 1)
        memory["m"] = b1 * memory.get("m", 0.0) + (1 - b1) * g
        memory["sum"] = memory.get("sum", 0.0) + g**2
        new = x - safe(0.3 / math.sqrt(t) * memory["m"], math.sqrt(memory["sum"] / t))
        return clip(new, -0.9, 1.1)

    follow("adamnc", reddi, lr=0.3, beta1=0.8, beta1_decay=0.95, lower=-0.9, upper=1.1)


@pytest.mark.identity("adagrad")
@pytest.mark.identity(
    "adamnc", says="With beta1 = 0 it is AdaGrad, to 1e-13: v_t is the mean and α_t = α / sqrt(t)."
)
def test_adamnc_without_momentum_is_adagrad() -> None:
    """Is AdamNC with beta1 = 0, to 1e-13.

    beta1 = 0: α / sqrt(t) over the root of the mean is α over the root of the sum.
    """
    same_run(
        refopt.optimizer("adamnc", lr=0.3, beta1=0.0, schedule=schedule),
        refopt.optimizer("adagrad", lr=0.3, eps=0.0, schedule=schedule),
        1e-13,
    )


@pytest.mark.identity("adabound", "amsbound")
@pytest.mark.parametrize("name", ["adabound", "amsbound"])
def test_adabound_line_by_line(name: str) -> None:
    """Equals the algorithm transcribed line by line with Python floats, to 1e-13."""

    def luo(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        b1 = 0.8 * 0.95 ** (t - 1)
        memory["m"] = b1 * memory.get("m", 0.0) + (1 - b1) * g
        memory["v"] = 0.9 * memory.get("v", 0.0) + 0.1 * g**2
        memory["top"] = max(memory.get("top", 0.0), memory["v"]) if name == "amsbound" else memory["v"]
        low, high = 0.1 - 0.1 / (0.1 * t + 1), 0.1 + 0.1 / (0.1 * t)
        eta = clip(0.05 * schedule(t) / math.sqrt(memory["top"]), low, high) if memory["top"] else high
        return x - eta / math.sqrt(t) * memory["m"]

    follow(name, luo, lr=0.05, beta1=0.8, beta1_decay=0.95, beta2=0.9, schedule=schedule)


def test_adabound_w_decays_apart() -> None:
    """The authors' AdaBoundW: x - a m - λ x, not times the rate."""

    def bound_w(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * g
        memory["v"] = 0.6 * memory.get("v", 0.0) + 0.4 * g**2
        low, high = 0.1 * (1 - 1 / (1e-3 * t + 1)), 0.1 * (1 + 1 / (1e-3 * t))
        size = 0.03 * math.sqrt(1 - 0.6**t) / (1 - 0.9**t)
        return x - clip(size / (math.sqrt(memory["v"]) + 1e-2), low, high) * memory["m"] - 0.02 * x

    follow(
        "adabound",
        bound_w,
        dialect="official",
        lr=0.03,
        beta2=0.6,
        eps=1e-2,
        decay="independent",
        weight_decay=0.02,
    )


@pytest.mark.identity("amsbound")
def test_amsbound_is_adabound_while_v_grows() -> None:
    """Is AdaBound, bit for bit, while the average of squares grows, and parts from it when that
    falls.

    The same bits while |g| grows; from the first fall on they differ.
    """
    given = {"lr": 0.3, "beta2": 0.9, "gamma": 1e-6}
    a, b = refopt.optimizer("adabound", **given), refopt.optimizer("amsbound", **given)
    x = y = np.ones(3)
    sa, sb = a.init(x), b.init(y)
    for t in range(1, 30):
        g = t * np.array([1.0, -2.0, 3.0])
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        np.testing.assert_array_equal(x, y)
    for _ in range(5):
        x, sa = a.update(x, np.full(3, 0.1), sa)
        y, sb = b.update(y, np.full(3, 0.1), sb)
    assert np.min(np.abs(x - y)) > 1e-6


def test_adabound_without_bounds_is_adam() -> None:
    """gamma -> 0: Adam with eps beside the uncorrected root."""
    given = {"lr": 0.03, "beta1": 0.8, "beta2": 0.6, "eps": 1e-2}
    same_run(
        refopt.optimizer("adabound", dialect="official", gamma=1e-12, **given),
        refopt.optimizer("adam", eps_corrected=False, **given),
        1e-11,  # the lower bound is 1e-13, not zero
    )


def test_unbounded_stream_is_kept_finite() -> None:
    """No NaN where a gradient has always been zero, and eps is zero."""
    x, gradients = stream(0, "small", steps=20)
    for name in ("amsgrad", "adamnc", "adabound", "amsbound"):
        o = refopt.optimizer(name)
        y, s = x, o.init(x)
        for g in gradients:
            y, s = o.update(y, g, s)
        for k in x:
            assert np.all(np.isfinite(y[k]))
            assert y[k].flat[0] == x[k].flat[0]


def test_bad_boxes_and_weights() -> None:
    """Errors name the argument."""
    with pytest.raises(ArgumentError, match="lower"):
        refopt.optimizer("amsgrad", lower=1.0, upper=0.0)
    with pytest.raises(ArgumentTypeError, match="beta2"):
        refopt.optimizer("adamnc", beta2=0.999)
    o, x = refopt.optimizer("adamnc", beta2=lambda t: 1.5), np.ones(2)
    with pytest.raises(ArgumentError, match="beta2"):
        o.update(x, x, o.init(x))
