"""Claims of the papers on AdaGrad, ADADELTA, RMSprop and Nadam, with their true constants.

AdaGrad, ADADELTA, RMSprop and Nadam: literal transcriptions and limits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import schedule, stream


def first_step(name: str, g: float = 50.0, **kwargs: Any) -> float:
    """|x_1 - x_0| / lr on a first gradient g."""
    o = refopt.optimizer(name, **kwargs)
    x, _ = o.update(np.zeros(1), np.array([g]), o.init(np.zeros(1)))
    return float(-x[0]) / o.rate(1)


@pytest.mark.claim("adadelta")
@pytest.mark.claim(
    "nadam",
    says="First steps of 1.9 (overview), 1.4737 (optax), 1.05645 (torch) and 1.06279 (Keras) times lr.",
)
@pytest.mark.parametrize(
    ("name", "settings", "multiplier"),
    [
        ("adagrad", {"eps": 0.0}, 1.0),
        ("rmsprop", {"eps": 0.0}, 10.0**0.5),
        ("rmsprop", {"dialect": "torch", "eps": 0.0}, 10.0),
        ("nadam", {"eps": 0.0}, 1.9),
        ("nadam", {"dialect": "optax", "eps": 0.0}, 0.9 / 1.9 + 1.0),
        ("nadam", {"dialect": "torch", "eps": 0.0}, 1.05645),
        ("nadam", {"dialect": "keras", "eps": 0.0}, 1.06279),
        ("amsgrad", {}, 0.1 * 1000.0**0.5),
        ("amsgrad", {"dialect": "torch", "eps": 0.0}, 1.0),
        ("adamnc", {}, 0.1),
        ("diffgrad", {"g": 0.7}, 1 / (1 + np.exp(-0.7))),
        ("diffgrad", {"g": 0.7, "dialect": "official"}, 1 / (1 + np.exp(-0.7))),
        ("adan", {}, 1.0),
        ("adan", {"dialect": "official"}, 1.0),
        ("ademamix", {}, 1.0 + 5.0 * 1e-4),
        ("novograd", {}, 1.0),
        ("adamp", {}, 1.0),
        ("fadam", {"weight_decay": 0.0}, 0.1),
        # sqrt(eps / (1 - rho)) for a gradient that is large beside eps
        ("adadelta", {}, (1e-6 / 0.05) ** 0.5),
        ("adadelta", {"dialect": "torch"}, (1e-6 / 0.1) ** 0.5),
    ],
)
def test_first_step_multipliers(name: str, settings: dict[str, Any], multiplier: float) -> None:
    """The first step is sqrt(eps / (1 - rho)) in size whatever the gradient: 4.47e-3 at the defaults."""
    assert first_step(name, **settings) == pytest.approx(multiplier, rel=5e-6)


@pytest.mark.claim("adagrad")
def test_adagrad_constant_gradient() -> None:
    """Under a constant gradient the way made in t steps is lr sum k^(-1/2), to 1e-13.

    |x_t - x_0| = lr sum_{k <= t} k^(-1/2), whatever the gradient.
    """
    o = refopt.optimizer("adagrad", lr=0.3, eps=0.0)
    x = np.zeros(2)
    s = o.init(x)
    for t in range(1, 101):
        x, s = o.update(x, np.array([7.0, -0.1]), s)
        way = 0.3 * np.sum(np.arange(1, t + 1) ** -0.5)
        np.testing.assert_allclose(x, [-way, way], rtol=1e-13)


@pytest.mark.claim("adagrad")
def test_adagrad_invariant_to_diagonal_rescaling() -> None:
    """With eps = 0 rescaling the gradients coordinate by coordinate changes no bit.

    eps = 0: g -> D g leaves the trajectory as it is (powers of two, so to the last bit).
    """
    x, gradients = stream(0, "random", steps=50)
    scale = {k: 2.0 ** np.random.default_rng(1).integers(-8, 9, v.shape) for k, v in x.items()}
    o = refopt.optimizer("adagrad", lr=0.1, eps=0.0)
    assert_same_run(o, o, (x, gradients), change=lambda g: {k: scale[k] * v for k, v in g.items()})


@pytest.mark.claim("adadelta")
def test_adadelta_units() -> None:
    """In other units of x (and of each eps) the run is the same run, to 1e-12.

    x' = x / u (so g' = u g), eps of D over u², eps of E times u²: the same run in other units.
    """
    unit = 37.5
    x, gradients = stream(0, "random", steps=100)
    a = refopt.optimizer("adadelta", rho=0.8, eps=1e-2, eps_step=3e-3)
    b = refopt.optimizer("adadelta", rho=0.8, eps=1e-2 * unit**2, eps_step=3e-3 / unit**2)
    y = {k: v / unit for k, v in x.items()}
    sx, sy = a.init(x), b.init(y)
    moved = 0.0
    for g in gradients:
        new, sx = a.update(x, g, sx)
        moved += sum(float(np.sum(np.abs(new[k] - x[k]))) for k in x)
        x = new
        y, sy = b.update(y, {k: unit * v for k, v in g.items()}, sy)
        for k in x:
            np.testing.assert_allclose(unit * y[k], x[k], rtol=1e-12, atol=1e-14)
    assert moved > 1.0


@pytest.mark.claim("rmsprop")
def test_centered_rmsprop_under_a_constant_gradient() -> None:
    """centered, under a constant gradient: v - m² = g² b^t (1 - b^t), so that steps grow as b^(-t/2),
    to 1e-10.

    v - m² = g² b^t (1 - b^t): the step is lr / sqrt(b^t (1 - b^t)), and grows.
    """
    b, g = 0.9, 3.0
    o = refopt.optimizer("rmsprop", lr=1.0, beta2=b, eps=0.0, centered=True)
    x = np.zeros(1)
    s = o.init(x)
    for t in range(1, 81):
        new, s = o.update(x, np.array([g]), s)
        # v - m² is b^t of v: that many digits are lost.
        assert float((x - new)[0]) == pytest.approx((b**t * (1 - b**t)) ** -0.5, rel=1e-14 * b**-t + 1e-13)
        x = new


def test_centered_rmsprop_is_never_nan() -> None:
    """Where rounding brings v - m² below zero (torch then answers NaN), zero takes its place."""
    below = 0
    for g in (0.1, 0.7, 0.9, 1.3):
        o = refopt.optimizer("rmsprop", dialect="torch", lr=1.0, eps=0.5, centered=True)
        x = np.zeros(1, dtype=np.float32)
        s = o.init(x)
        for _ in range(2500):
            new, s = o.update(0.0 * x, np.array([g], dtype=np.float32), s)
            variance = s["v"] - s["m"] * s["m"]
            below += int(variance[0] < 0)
            want = -np.float32(g) / (np.sqrt(np.maximum(variance, 0.0)) + np.float32(0.5))
            np.testing.assert_allclose(new, want, rtol=1e-6)
    assert below > 0


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
    assert_same_run(a, b, stream(0, "random", steps=60), rtol=rtol, atol=1e-14)


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
    given = {"centered": centered, "momentum": momentum, "nesterov": centered, "weight_decay": 0.1}
    a, b = refopt.optimizer("rmsprop", **given), refopt.optimizer("rmsprop", engine="numba", **given)
    assert_same_run(a, b, stream(1, "random", steps=10))
