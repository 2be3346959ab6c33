"""AMSGrad, AdamNC, AdaBound and AMSBound: literal transcriptions and limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError, ArgumentTypeError

from tests.identities.test_adaptive import follow, same_run
from tests.streams import schedule, stream


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
