"""What a run's history costs, and what its rows say."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import refopt


class Bowl:
    """Two examples; every call is counted with the batch that it looks at."""

    n_examples = 2

    def __init__(self, both: bool = False) -> None:
        self.asked: Counter[str] = Counter()
        self.centres = np.array([[1.0, 0.0], [0.0, 2.0]])
        if both:
            self.value_and_grad = lambda x, batch=None: (self._value(x, batch), self.grad(x, batch))

    def _mean(self, batch: Any) -> np.ndarray:
        return self.centres[slice(None) if batch is None else batch]

    def _value(self, x: np.ndarray, batch: Any) -> float:
        return 0.5 * float(np.mean(np.sum((x - self._mean(batch)) ** 2, axis=1)))

    def value(self, x: np.ndarray, batch: Any = None) -> float:
        self.asked["value on all" if batch is None else "value"] += 1
        return self._value(x, batch)

    def grad(self, x: np.ndarray, batch: Any = None) -> np.ndarray:
        self.asked["grad on all" if batch is None else "grad"] += 1
        return x - self._mean(batch).mean(axis=0)


X0 = np.array([3.0, -1.0])
STEPS: dict[str, Any] = {"lr": 0.25, "steps": 8, "batch_size": 1, "sampling": "cyclic", "record_every": 1}


def test_a_run_asks_for_what_its_steps_ask_for() -> None:
    """By default n gradients for n steps, and one value: that of the result."""
    p = Bowl()
    r = refopt.minimize(p, "sgd", X0, **STEPS)
    assert dict(p.asked) == {"grad": 8, "value on all": 1}
    assert r.calls == {"grad": 8}
    assert r.recorded_calls == {"value": 1}
    assert r.history["step"].tolist() == list(range(9))
    assert r.history["full"].tolist() == [0.0] * 8 + [1.0]
    assert np.isnan(r.history["value"][:-1]).all()
    assert r.history["value"][-1] == r.fun == p._value(r.x, None)
    # The norm of the batch's gradient, at the point where the step starts.
    x = X0
    for k in range(8):
        g = x - p.centres[k % 2]
        assert r.history["grad_norm"][k] == pytest.approx(np.linalg.norm(g), rel=1e-14)
        x = x - 0.25 * g
    assert math.isnan(r.history["grad_norm"][-1])


def test_both_at_once_give_the_batch_value() -> None:
    """A problem with value_and_grad gives the batch's value for the gradient's price."""
    p = Bowl(both=True)
    r = refopt.minimize(p, "sgd", X0, **STEPS)
    assert r.calls == {"grad": 8}
    assert p.asked["grad"] == 8
    assert p.asked["value on all"] == 1
    x = X0
    for k in range(8):
        assert r.history["value"][k] == p._value(x, [k % 2])
        x = x - 0.25 * (x - p.centres[k % 2])


def test_full_rows_are_asked_for_and_counted_apart() -> None:
    p = Bowl()
    r = refopt.minimize(p, "sgd", X0, record="full", **STEPS)
    assert dict(p.asked) == {"grad": 8, "value on all": 9, "grad on all": 9}
    assert (r.calls, r.recorded_calls) == ({"grad": 8}, {"value": 9, "grad": 9})
    assert r.history["full"].all()
    assert r.history["value"][0] == p._value(X0, None)
    assert r.history["grad_norm"][0] == pytest.approx(np.linalg.norm(X0 - [0.5, 1.0]), rel=1e-14)
    np.testing.assert_array_equal(r.x, refopt.minimize(Bowl(), "sgd", X0, **STEPS).x)


def test_a_validation_problem() -> None:
    """Rows of another problem's value; `fun` stays the run's own."""
    p, other = Bowl(), refopt.from_functions(lambda x: float(x[0]) - 5.0)
    r = refopt.minimize(p, "sgd", X0, record=other, **STEPS)
    assert r.history["value"].tolist()[0] == -2.0
    assert r.history["value"][-1] == r.x[0] - 5.0
    assert r.fun == p._value(r.x, None)
    assert "grad on all" not in p.asked


@pytest.mark.parametrize("record", ["all", 3, None])
def test_no_such_record(record: Any) -> None:
    with pytest.raises(refopt.errors.ArgumentError, match="record"):
        refopt.minimize(Bowl(), "sgd", X0, record=record)


@pytest.mark.parametrize("record", ["step", "full"])
def test_divergence_comes_back_to_a_finite_objective(record: str) -> None:
    """An objective that overflows where x is still finite: the last point known to be good, or the start."""

    def value(x: np.ndarray) -> float:
        return math.exp(float(x[0])) if x[0] < 700 else math.inf

    p = refopt.from_functions(value, lambda x: -np.ones(1), x0=np.zeros(1))
    r = refopt.minimize(p, "sgd", lr=100.0, steps=20, record=record, record_every=4)
    assert (r.status, r.success) == ("diverged", False)
    assert math.isfinite(r.fun)
    assert math.isfinite(value(r.x))
    start = refopt.minimize(p, "sgd", np.array([800.0]), lr=1.0, steps=3, record=record)
    assert start.status == "diverged"
    assert "at the start" in start.message


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_the_step_saw_ends_the_run(value: float) -> None:
    """A batch's value that is not finite, beside a gradient that is: diverged, at the start."""
    p = refopt.from_functions(
        lambda x: value, lambda x: x, value_and_grad=lambda x: (value, x.copy()), x0=np.ones(2)
    )
    r = refopt.minimize(p, "sgd", lr=0.1, steps=5, record_every=1)
    assert (r.status, r.nit) == ("diverged", 0)
    assert "at the start" in r.message
