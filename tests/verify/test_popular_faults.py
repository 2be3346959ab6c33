"""Faults of the widespread methods: what each makes of its method; those of newest releases stand beside them in tests/parity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.verify.variants.deviation import known

from tests.alike import assert_same_run
from tests.streams import schedule, stream


def _with(fault: str, name: str, **options: Any) -> Any:
    (found,) = (d for d in known(name) if d.name == fault)
    return found.change(refopt.optimizer(name, **options))


@pytest.mark.parametrize(
    ("fault", "name"),
    [("step-of-the-last-call", "rprop"), ("average-from-the-new-iterate", "schedule-free-sgd")],
)
def test_the_fault_is_named(fault: str, name: str) -> None:
    """The reference with the fault, handed over as a plain function, is explained by the fault's name alone."""
    made = _with(fault, name)

    def mine(x: Any, g: Any, state: Any) -> Any:
        return made.update(x, g, made.init(x) if state is None else state)

    why = refopt.verify.diagnose(mine, name, steps=5, effort=25)
    assert why.explained_by == (fault,), str(why)


def test_norms_that_are_not_kept_leave_adam() -> None:
    """AdaNorm whose average norm begins anew at every step lengthens nothing: Adam, to 1e-13."""
    run = stream(1, "ill", steps=10)
    made = _with("norm-not-kept", "adanorm", lr=0.1)
    assert_same_run(made, refopt.optimizer("adam", lr=0.1), run, rtol=1e-12, atol=1e-14)


def test_what_is_clipped_from_below_is_lengthened() -> None:
    """Adafactor's short second step is brought to the threshold, where the right one leaves it; the long first is left long."""
    wide = {"lr": 1.0, "relative_step": False, "scale_parameter": False}
    for fault, first, second in ((None, 1.0, 0.01), ("clipped-from-below", 1.0, 1.0)):
        o = refopt.optimizer("adafactor", **wide) if fault is None else _with(fault, "adafactor", **wide)
        x, s = o.update(np.zeros(2), np.ones(2), o.init(np.zeros(2)))
        y, _ = o.update(x, np.full(2, 0.01), s)
        np.testing.assert_allclose(-x, first, rtol=1e-12)
        k = 2**-0.8
        np.testing.assert_allclose(x - y, second if fault else 0.01 / np.sqrt(1 - k + k * 1e-4), rtol=1e-9)


def test_a_vectors_average_is_kept_times_the_rate() -> None:
    """CAME's first steps are right, and the next begins from a tenth of the vector's average at a rate of 0.1; the matrix's is its own."""
    right, wrong = refopt.optimizer("came", lr=0.1), _with("vectors-average-times-the-rate", "came", lr=0.1)
    x, gradients = stream(2, "random", steps=2, shapes={"w": (3, 2), "b": (3,)})
    (y, s), (z, r) = (
        right.update(x, gradients[0], right.init(x)),
        wrong.update(x, gradients[0], wrong.init(x)),
    )
    for k in x:
        np.testing.assert_array_equal(y[k], z[k])
    np.testing.assert_allclose(r["m"]["b"], 0.1 * s["m"]["b"], rtol=1e-14)
    np.testing.assert_array_equal(r["m"]["w"], s["m"]["w"])


def test_the_average_rebuilt_from_a_decayed_iterate() -> None:
    """Keras 3.15.1's ScheduleFreeAdamW written out from its source, 20 steps with decay and a schedule: the named fault, to 1e-13."""
    lr, beta, beta2, eps, decay = 0.03, 0.8, 0.7, 2.0**-7, 0.1
    start, gradients = stream(3, "random", steps=20, shapes={"w": (3, 2)})
    made = _with(
        "decay-of-the-iterate-alone", "schedule-free-adamw", dialect="keras", lr=lr, beta=beta, beta2=beta2, eps=eps,
        weight_decay=decay, schedule=schedule,
    )  # fmt: skip
    x, s = start, made.init(start)
    y, z, v = start["w"], start["w"], 0.0
    for t, g in enumerate(gradients, 1):
        x, s = made.update(x, g, s)
        rate = lr * schedule(t)
        y = y - y * decay * rate
        before = (y - (1 - beta) * z) / beta
        v = v + (g["w"] ** 2 - v) * (1 - beta2)
        z = z - rate * g["w"] / (np.sqrt(v / (1 - beta2**t)) + eps)
        y = (1 - beta) * z + beta * ((1 - 1 / t) * before + z / t)
        np.testing.assert_allclose(x["w"], y, rtol=1e-13, atol=1e-14)


def test_leaves_whose_gradient_is_zero_are_held() -> None:
    """Stable-SPAM's fault: where a leaf's gradient is zero nothing of it moves but by decay; the right one goes on; the largest entry's average falls."""
    options = {"lr": 0.1, "weight_decay": 0.5}
    right = refopt.optimizer("stable-spam", **options)
    wrong = _with("held-at-a-zero-gradient", "stable-spam", **options)
    x = {"w": np.array([1.0, -2.0]), "b": np.array([3.0])}
    g = {"w": np.array([0.5, 0.1]), "b": np.array([1.0])}
    (x, s), (z, r) = right.update(x, g, right.init(x)), wrong.update(x, g, wrong.init(x))
    for k in x:
        np.testing.assert_array_equal(x[k], z[k])
    g = {"w": np.zeros(2), "b": np.array([1.0])}
    (y, _), (z, r2) = right.update(x, g, s), wrong.update(x, g, r)
    np.testing.assert_array_equal(z["w"], (1.0 - 0.1 * 0.5) * x["w"])
    for slot in ("m", "v", "norm", "square"):
        np.testing.assert_array_equal(r2[slot]["w"], r[slot]["w"])
    np.testing.assert_allclose(r2["top"]["w"], 0.999 * r["top"]["w"], rtol=1e-14)
    assert np.all(np.abs(y["w"] - z["w"]) > 1e-3)
    np.testing.assert_array_equal(y["b"], z["b"])


def test_a_first_gradient_of_zero_loses_everything_in_the_second_step() -> None:
    """D-Adapt Adam's fault: decay by d0's rate in the first step, and not a number after it; any other first gradient is right."""
    options = {"lr": 0.5, "d0": 0.25, "beta1": 0.8, "beta2": 0.91, "weight_decay": 0.1, "dialect": "optax"}
    right = refopt.optimizer("d-adapt-adam", **options)
    wrong = _with("nan-after-a-zero-gradient", "d-adapt-adam", **options)
    start = np.array([2.0])
    x, s = wrong.update(start, np.zeros(1), wrong.init(start))
    # d0 γ sqrt(1 - β2) / (1 - β1) λ = 0.25 · 0.5 · 0.3 / 0.2 · 0.1
    np.testing.assert_allclose(x, 2.0 * (1.0 - 0.01875), rtol=1e-14)
    x, s = wrong.update(x, np.ones(1), s)
    assert np.isnan(x).all()
    assert np.isnan(wrong.update(x, np.ones(1), s)[0]).all()
    assert_same_run(wrong, right, stream(4, "random", steps=5), rtol=0.0, atol=0.0)
    x, s = right.update(start, np.zeros(1), right.init(start))
    assert np.isfinite(right.update(x, np.ones(1), s)[0]).all()


def test_a_floor_stands_under_the_corrected_root() -> None:
    """With gradients of 3e-8 the second step of Schedule-Free AdamW is divided by sqrt(v̂ + 1e-15), written out."""
    options = {"dialect": "official", "lr": 1.0, "beta": 0.0, "beta2": 0.5, "eps": 1e-9}
    made = _with("floor-under-the-root", "schedule-free-adamw", **options)
    x, s = np.array([0.0]), made.init(np.array([0.0]))
    z, v = 0.0, 0.0
    for t, g in enumerate((3e-8, -1e-8), 1):
        x, s = made.update(x, np.array([g]), s)
        v = 0.5 * v + 0.5 * g * g
        z -= g / (np.sqrt(v / (1 - 0.5**t) + 1e-15) + 1e-9)
        np.testing.assert_allclose(s["z"], z, rtol=1e-13)


def test_a_start_is_lost_where_no_gradient_was() -> None:
    """FTRL's fault: an entry without a gradient falls to 0 in the first step; the others are right."""
    right, wrong = refopt.optimizer("ftrl", lr=0.5), _with("start-lost-where-no-gradient-was", "ftrl", lr=0.5)
    x, g = np.array([1.0, 2.0]), np.array([0.0, 3.0])
    (y, _), (z, s) = right.update(x, g, right.init(x)), wrong.update(x, g, wrong.init(x))
    np.testing.assert_array_equal([y[0], z[0]], [1.0, 0.0])
    assert y[1] == z[1]
    np.testing.assert_array_equal(wrong.update(z, np.array([1.0, 0.0]), s)[0] != 0.0, [True, True])


def test_faults_of_the_kin_need_what_they_change() -> None:
    """Without ε none is summed, other averages have no conditional moment, and the third variant has a fault of its own."""
    assert _with("eps-summed-with-the-squares", "kate") is None
    assert _with("moment-of-the-new-average", "bcos", mode="momentum") is None
    assert _with("weights-of-the-next-step", "a2grad", average="inc") is None


def test_the_faults_of_one_release_are_tried_together() -> None:
    """SGD-SaI as pytorch_optimizer has it, two faults on the official dialect, is explained within 60 variants."""
    made = _with("norm-as-the-gain-of-vectors", "sgd-sai", dialect="official")
    (zero,) = (d for d in known("sgd-sai") if d.name == "average-from-zero")
    made = zero.change(made)

    def mine(x: Any, g: Any, state: Any) -> Any:
        return made.update(x, g, made.init(x) if state is None else state)

    why = refopt.verify.diagnose(mine, "sgd-sai", steps=4, effort=150)
    assert why.explained_by == ("official", "norm-as-the-gain-of-vectors", "average-from-zero"), str(why)
    assert why.seen == ("pytorch-optimizer 4.1.0 SGDSaI",)


def test_a_fault_that_needs_a_setting_is_none_without_it() -> None:
    """Warm-up and decay that are not there cannot be late or misplaced."""
    assert _with("warm-up-of-the-last-step", "schedule-free-sgd") is None
    assert _with("decay-divides-the-point-alone", "momo") is None
    assert _with("average-from-the-new-iterate", "schedule-free-sgd", beta=0.0) is None
    assert _with("decay-of-the-iterate-alone", "schedule-free-adamw") is None
    assert _with("decay-of-the-iterate-alone", "schedule-free-adamw", beta=0.0, weight_decay=0.1) is None
