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


def test_a_fault_that_needs_a_setting_is_none_without_it() -> None:
    """Warm-up and decay that are not there cannot be late or misplaced."""
    assert _with("warm-up-of-the-last-step", "schedule-free-sgd") is None
    assert _with("decay-divides-the-point-alone", "momo") is None
    assert _with("average-from-the-new-iterate", "schedule-free-sgd", beta=0.0) is None
    assert _with("decay-of-the-iterate-alone", "schedule-free-adamw") is None
    assert _with("decay-of-the-iterate-alone", "schedule-free-adamw", beta=0.0, weight_decay=0.1) is None
