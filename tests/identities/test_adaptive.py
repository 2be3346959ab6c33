"""AdaGrad, ADADELTA, RMSprop and Nadam: literal transcriptions and limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream

ILL = stream(3, "ill", steps=60, shapes={"w": (4,)})


def follow(name: str, theirs: Any, **kwargs: Any) -> None:
    """Hold a method to `theirs(x, g, t, memory)`, one coordinate's next value in Python floats."""
    x, gradients = ILL
    o = refopt.optimizer(name, **kwargs)
    s, theta = o.init(x), [float(v) for v in x["w"]]
    memories: list[dict[str, float]] = [{} for _ in theta]
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        theta = [theirs(v, float(g["w"][i]), t, memories[i]) for i, v in enumerate(theta)]
        np.testing.assert_allclose(x["w"], theta, rtol=1e-13, atol=1e-14)


def test_adagrad_line_by_line() -> None:
    """The overview's rule, and Keras's start."""

    def overview(x: float, g: float, t: int, memory: dict[str, float], start: float = 0.0) -> float:
        memory["G"] = memory.get("G", start) + g * g
        return x - 0.3 * g / math.sqrt(memory["G"] + 1e-2)

    follow("adagrad", overview, lr=0.3, eps=1e-2)
    follow("adagrad", lambda *a: overview(*a, start=0.1), dialect="keras", lr=0.3, eps=1e-2)


def test_adadelta_line_by_line() -> None:
    """Algorithm 1 of the ADADELTA paper."""

    def zeiler(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        memory["E"] = 0.6 * memory.get("E", 0.0) + 0.4 * g**2
        step = -math.sqrt(memory.get("D", 0.0) + 1e-2) / math.sqrt(memory["E"] + 1e-2) * g
        memory["D"] = 0.6 * memory.get("D", 0.0) + 0.4 * step**2
        return x + step

    follow("adadelta", zeiler, rho=0.6, eps=1e-2)


def test_rmsprop_line_by_line() -> None:
    """The overview's RMSprop, and Keras's with momentum, centering and decay."""

    def overview(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        memory["v"] = 0.9 * memory.get("v", 0.0) + 0.1 * g * g
        return x - 0.01 * g / math.sqrt(memory["v"] + 1e-2)

    def keras(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        lr = 0.01 * schedule(t)
        x = x - lr * 0.1 * x
        memory["v"] = 0.7 * memory.get("v", 0.0) + 0.3 * g * g
        memory["m"] = 0.7 * memory.get("m", 0.0) + 0.3 * g
        increment = lr * g / math.sqrt(memory["v"] - memory["m"] ** 2 + 1e-2)
        memory["b"] = 0.8 * memory.get("b", 0.0) + increment
        return x - memory["b"]

    follow("rmsprop", overview, lr=0.01, eps=1e-2)
    follow(
        "rmsprop", keras, dialect="keras", lr=0.01, beta2=0.7, eps=1e-2, momentum=0.8, centered=True,
        weight_decay=0.1, schedule=schedule,
    )  # fmt: skip


def test_timm_starts_rmsprop_from_one() -> None:
    """timm's RMSpropTF: v_0 = 1, eps inside, the rate inside the velocity."""

    def timm(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        g = g + 0.1 * x
        memory["v"] = 0.9 * memory.get("v", 1.0) + 0.1 * g * g
        memory["b"] = 0.8 * memory.get("b", 0.0) + 0.02 * schedule(t) * g / math.sqrt(memory["v"] + 1e-10)
        return x - memory["b"]

    follow("rmsprop", timm, dialect="timm", lr=0.02, momentum=0.8, weight_decay=0.1, schedule=schedule)


@pytest.mark.identity("nadam")
def test_nadam_line_by_line() -> None:
    """The overview's form and Dozat's, transcribed line by line with Python floats, to 1e-13."""
    b1, b2, eps = 0.8, 0.6, 1e-2

    def averages(g: float, memory: dict[str, float], b: float = b1) -> tuple[float, float]:
        memory["m"] = b * memory.get("m", 0.0) + (1 - b) * g
        memory["v"] = b2 * memory.get("v", 0.0) + (1 - b2) * g * g
        return memory["m"], memory["v"]

    def overview(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        m, v = averages(g, memory)
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        return x - 0.02 / (math.sqrt(v_hat) + eps) * (b1 * m_hat + (1 - b1) * g / (1 - b1**t))

    def mu(t: int, psi: float) -> float:
        return b1 * (1 - 0.5 * 0.96 ** (t * psi))

    def scheduled(x: float, g: float, t: int, memory: dict[str, float], psi: float, dozat: bool) -> float:
        m, v = averages(g, memory, mu(t, psi) if dozat else b1)
        memory["P"] = memory.get("P", 1.0) * mu(t, psi)
        m_bar = (1 - mu(t, psi)) * g / (1 - memory["P"])
        m_bar += mu(t + 1, psi) * m / (1 - memory["P"] * mu(t + 1, psi))
        v_hat = (b2 if dozat else 1.0) * v / (1 - b2**t)
        return x - 0.02 * m_bar / (math.sqrt(v_hat) + eps)

    given = {"lr": 0.02, "beta1": b1, "beta2": b2, "eps": eps}
    follow("nadam", overview, **given)
    follow("nadam", overview, dialect="timm", **given)
    follow("nadam", lambda *a: scheduled(*a, psi=1.0, dozat=False), dialect="keras", **given)
    follow("nadam", lambda *a: scheduled(*a, psi=0.004, dozat=True), dialect="dozat", **given)


def same_run(a: Any, b: Any, rtol: float) -> None:
    """Two methods walk alike on the random stream."""
    x, gradients = stream(0, "random", steps=60)
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
    for k in x:
        np.testing.assert_allclose(x[k], y[k], rtol=rtol, atol=1e-14)


@pytest.mark.identity("rmsprop")
def test_rmsprop_with_bias_correction_is_adam_without_momentum() -> None:
    """With bias correction and eps beside the root it is Adam with beta1 = 0, to 1e-13."""
    given = {"lr": 0.03, "beta2": 0.7, "eps": 1e-2}
    same_run(
        refopt.optimizer("rmsprop", bias_correction=True, eps_inside=False, **given),
        refopt.optimizer("adam", beta1=0.0, **given),
        1e-13,
    )


@pytest.mark.identity("nadam")
@pytest.mark.parametrize("dialect", ["paper", "torch", "optax", "keras"])
def test_nadam_without_momentum_is_adam(dialect: str) -> None:
    """With beta1 = 0 the forms of overview, torch, optax and Keras are Adam with beta1 = 0, to 1e-13."""
    given = {"lr": 0.03, "beta1": 0.0, "beta2": 0.7, "eps": 1e-2}
    same_run(refopt.optimizer("nadam", dialect=dialect, **given), refopt.optimizer("adam", **given), 1e-13)


def test_nadam_with_a_finished_momentum_schedule_is_optax() -> None:
    """0.96^(t psi) -> 0: mu = beta1 from the first step on."""
    given = {"lr": 0.03, "beta1": 0.8, "beta2": 0.7}
    same_run(
        refopt.optimizer("nadam", dialect="torch", momentum_decay=1e6, **given),
        refopt.optimizer("nadam", dialect="optax", **given),
        1e-14,
    )


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_rmsprop_has_one_rule_on_both_engines(centered: bool, momentum: float) -> None:
    """All four forms give NumPy's bits in the compiled loop."""
    pytest.importorskip("numba")
    x, gradients = stream(1, "random", steps=10)
    given = {"centered": centered, "momentum": momentum, "nesterov": centered, "weight_decay": 0.1}
    a, b = refopt.optimizer("rmsprop", **given), refopt.optimizer("rmsprop", engine="numba", **given)
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
    for k in x:
        np.testing.assert_array_equal(x[k], y[k])
