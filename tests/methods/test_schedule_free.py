"""Schedule-Free SGD and AdamW."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Case
from tests.parity.makers import ours, torch_side
from tests.streams import stream

SGD = {"lr": 0.2, "beta": 0.7, "warmup": 4, "rate_power": 1.5, "step_power": 0.5, "weight_decay": 0.1}


@pytest.mark.identity("schedule-free-sgd", "schedule-free-adamw")
@pytest.mark.parametrize("adam", [None, {}, {"correction_in": "denominator", "decay_at": "z"}, {"weights": "equal"}],
    ids=["sgd", "adamw", "denominator", "equal"])  # fmt: skip
def test_three_sequences_written_out(adam: dict[str, Any] | None) -> None:
    """x, y and z of ten steps with warm-up, a schedule that falls, both powers and decay, with NumPy alone, to 1e-12."""
    at = {"beta2": 0.8, "eps": 0.05, **(adam or {})}
    name = "schedule-free-sgd" if adam is None else "schedule-free-adamw"
    options = SGD if adam is None else {**SGD, **at}
    o = refopt.optimizer(name, schedule=lambda t: 1.0 if t < 7 else 0.5, **options)
    start, gradients = stream(1, "random", steps=10, shapes={"w": (3, 2)})
    y, s = start["w"], o.init(start["w"])
    x = z = yy = start["w"]
    v, top, weights = np.zeros((3, 2)), 0.0, []
    for t, g in enumerate((g["w"] for g in gradients), 1):
        y, s = o.update(y, g, s)
        gamma = 0.2 * (1.0 if t < 7 else 0.5) * min(1.0, t / 4)
        d, decay = g, 0.1 * yy
        if adam is not None:
            v = 0.8 * v + 0.2 * g * g
            c2 = 1 - 0.8**t
            if at.get("correction_in") == "denominator":
                d = g / (np.sqrt(v / c2) + 0.05)
            else:
                gamma *= np.sqrt(c2)
                d = g / (np.sqrt(v) + 0.05)
            decay = 0.1 * (z if at.get("decay_at") == "z" else yy)
        top = max(top, gamma)
        weights.append(1.0 if at.get("weights") == "equal" else t**0.5 * top**1.5)
        c = weights[-1] / sum(weights)
        z = z - gamma * (d + decay)
        x = (1 - c) * x + c * z
        yy = 0.3 * z + 0.7 * x
        np.testing.assert_allclose(y, yy, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(o.average(s), x, rtol=1e-12, atol=1e-14)


@pytest.mark.identity("schedule-free-radam")
@pytest.mark.parametrize("silent", [True, False])
def test_radam_written_out(silent: bool) -> None:
    """x, y and z of fourteen steps, of which the first four have ρ ≤ 4, with a schedule that falls, both powers and decay, with NumPy
    alone, to 1e-12."""
    o = refopt.optimizer(
        "schedule-free-radam",
        beta2=0.95,
        eps=0.05,
        silent=silent,
        schedule=lambda t: 1.0 if t < 9 else 0.5,
        **SGD,
    )
    start, gradients = stream(1, "random", steps=14, shapes={"w": (3, 2)})
    y, s = start["w"], o.init(start["w"])
    x = z = yy = start["w"]
    v, top, weights, plain = np.zeros((3, 2)), 0.0, [], 0
    for t, g in enumerate((g["w"] for g in gradients), 1):
        y, s = o.update(y, g, s)
        gamma = 0.2 * (1.0 if t < 9 else 0.5) * min(1.0, t / 4)
        v = 0.95 * v + 0.05 * g * g
        end = 2 / 0.05 - 1
        rho = end - 2 * t * 0.95**t / (1 - 0.95**t)
        if rho > 4:
            gamma *= np.sqrt((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho))
            d = g / (np.sqrt(v / (1 - 0.95**t)) + 0.05)
        else:
            plain += 1
            gamma *= 0.0 if silent else 1.0
            d = g
        top = max(top, gamma)
        weights.append(t**0.5 * top**1.5)
        c = weights[-1] / sum(weights) if sum(weights) else 0.0
        z = z - gamma * (d + 0.1 * yy)
        x = (1 - c) * x + c * z
        yy = 0.3 * z + 0.7 * x
        np.testing.assert_allclose(y, yy, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(o.average(s), x, rtol=1e-12, atol=1e-14)
    assert plain == 4
    assert not np.shares_memory(o.average(s), s["average"])


@pytest.mark.identity("schedule-free-sgd")
def test_polyak_averaging_and_primal_averaging_are_its_ends() -> None:
    """β = 0: y is SGD's point to the bit and x the mean of the points; β = 1: y is x, the mean of all z, to 1e-13."""
    start, gradients = stream(2, "random", steps=15, shapes={"w": (3, 2)})
    free, plain = refopt.optimizer("schedule-free-sgd", lr=0.1, beta=0.0), refopt.optimizer("sgd", lr=0.1)
    one = refopt.optimizer("schedule-free-sgd", lr=0.1, beta=1.0)
    y = x = w = start["w"]
    s, r, q, points, zs = free.init(y), plain.init(x), one.init(w), [], []
    for g in gradients:
        (y, s), (x, r), (w, q) = (
            free.update(y, g["w"], s),
            plain.update(x, g["w"], r),
            one.update(w, g["w"], q),
        )
        points.append(x)
        zs.append(q["z"])
        np.testing.assert_array_equal(y, x)
        np.testing.assert_allclose(free.average(s), np.mean(points, axis=0), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(w, np.mean(zs, axis=0), rtol=1e-12, atol=1e-14)


@pytest.mark.claim("schedule-free-sgd")
def test_the_worst_case_rate_without_knowing_the_end() -> None:
    """The paper's rate on f = |x| from distance 1 with γ = D / (G sqrt(T)): f(x_T) ≤ D G / sqrt(T) for T = 20, 80, 320 and β = 0, 0.5, 0.9."""
    for steps in (20, 80, 320):
        for beta in (0.0, 0.5, 0.9):
            o = refopt.optimizer("schedule-free-sgd", lr=steps**-0.5, beta=beta)
            y = np.array([1.0])
            s = o.init(y)
            for _ in range(steps):
                y, s = o.update(y, np.sign(y), s)
            assert abs(o.average(s)[0]) <= steps**-0.5


@pytest.mark.identity("schedule-free-adamw")
def test_without_memory_it_is_schedule_free_sign_descent() -> None:
    """β2 = ε = 0: the run of Schedule-Free SGD on the signs, to 1e-13, whichever place the correction has."""
    start, gradients = stream(3, "ill", steps=15, shapes={"w": (3, 2)})
    for place in ("rate", "denominator"):
        a = refopt.optimizer("schedule-free-adamw", lr=0.1, beta=0.8, beta2=0.0, eps=0.0, correction_in=place)
        b = refopt.optimizer("schedule-free-sgd", lr=0.1, beta=0.8)
        x = y = start["w"]
        s, r = a.init(x), b.init(y)
        for g in gradients:
            (x, s), (y, r) = a.update(x, g["w"], s), b.update(y, np.sign(g["w"]), r)
            np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)


@pytest.mark.identity("schedule-free-sgd", "schedule-free-adamw")
def test_without_a_rate_nothing_is_averaged() -> None:
    """A schedule that begins at zero: the first point stays, and the average with it."""
    for name in ("schedule-free-sgd", "schedule-free-adamw"):
        o = refopt.optimizer(name, schedule=lambda t: float(t > 2))
        x = y = np.array([1.0, -2.0])
        s = o.init(x)
        for _ in range(2):
            y, s = o.update(y, np.ones(2), s)
            np.testing.assert_allclose(y, x, rtol=1e-15)
        y, s = o.update(y, np.ones(2), s)
        np.testing.assert_allclose(o.average(s), s["z"], rtol=1e-15)
        assert np.all(y < x)
        assert not np.shares_memory(o.average(s), s["average"])


RADAM: dict[str, Any] = {
    "lr": 0.2,
    "beta": 0.7,
    "beta2": 0.95,
    "eps": 1e-2,
    "weight_decay": 0.1,
    "step_power": 0.5,
    "rate_power": 1.5,
}

CASES = [
    Case("schedule-free-radam", "official", "facebookresearch/schedule_free@70785b5",
        ours("schedule-free-radam", kinds=("random",), dialect="official", silent=False, **RADAM), None,
        says="The authors' RAdamScheduleFree, not silent, with weights of t, decay and a schedule, 200 steps, to 1e-12."),
    Case("schedule-free-radam", "kozistr", "pytorch-optimizer", ours("schedule-free-radam", kinds=("random",), dialect="kozistr", **RADAM),
        torch_side("ScheduleFreeRAdam", kinds=("random",), double=True, lr=0.2, betas=(0.7, 0.95), eps=1e-2, weight_decay=0.1, r=0.5,
            weight_lr_power=1.5),
        says="pytorch_optimizer.ScheduleFreeRAdam, silent, with weights of t, decay and a schedule, 200 steps, to 1e-12."),
]  # fmt: skip
