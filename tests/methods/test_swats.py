"""SWATS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream

SHAPES = {"w": (2, 3), "b": (2,)}


def _flat(x: Any) -> np.ndarray:
    return np.concatenate([v.ravel() for v in x.values()])


@pytest.mark.identity("swats")
def test_by_hand() -> None:
    """Twenty steps over two leaves as one vector with NumPy alone, with decay, a large ε and a schedule; it switches within them, to 1e-12."""
    o = refopt.optimizer(
        "swats",
        lr=0.1,
        beta1=0.6,
        beta2=0.9,
        eps=0.1,
        tolerance=2e-3,
        weight_decay=0.2,
        schedule=lambda t: 1 / t**0.5,
    )
    x, gradients = stream(0, "random", steps=20, shapes=SHAPES)
    s, y = o.init(x), _flat(x)
    m, v, b, average, sgd, switched = np.zeros(8), np.zeros(8), np.zeros(8), 0.0, 0.0, None
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        g, eta = _flat(g) + 0.2 * y, 1 / t**0.5
        if sgd:
            b = 0.6 * b + g
            y = y - 0.4 * sgd * eta * b
        else:
            m, v = 0.6 * m + 0.4 * g, 0.9 * v + 0.1 * g * g
            p = -0.1 * eta * np.sqrt(1 - 0.9**t) / (1 - 0.6**t) * m / (np.sqrt(v) + 0.1)
            y = y + p
            gamma = p @ p / -(p @ g) / eta
            average = 0.9 * average + 0.1 * gamma
            if t > 1 and average > 0 and abs(average / (1 - 0.9**t) - gamma) < 2e-3:
                sgd, switched = average / (1 - 0.9**t), t
        assert s["sgd"] == pytest.approx(sgd, rel=1e-12)
        np.testing.assert_allclose(_flat(x), y, rtol=1e-12, atol=1e-13)
    assert switched is not None and 1 < switched < 15


@pytest.mark.claim("swats")
def test_the_rate_of_the_projection() -> None:
    """A constant gradient: it switches at the second step, to Λ = α d / ‖g‖_1, and the step of SGD at Λ along -g, projected onto Adam's step p,
    is p, to 1e-12; in the loss's unit times 1024, Λ is a 1024th."""
    g = np.array([3.0, -0.5, 0.01])
    for unit in (1.0, 1024.0):
        o = refopt.optimizer("swats", lr=0.1, eps=0.0)
        x, s = np.zeros(3), o.init(np.zeros(3))
        x, s = o.update(x, unit * g, s)
        assert s["sgd"] == 0.0
        p = x
        x, s = o.update(x, unit * g, s)
        assert s["sgd"] == pytest.approx(0.1 * 3 / np.abs(unit * g).sum(), rel=1e-12)
        step = -s["sgd"] * unit * g
        np.testing.assert_allclose(p * (step @ p) / (p @ p), p, rtol=1e-12)


@pytest.mark.identity("swats")
def test_before_the_switch_it_is_adam() -> None:
    """Without a match of 1e-300 it is Adam with ε beside the uncorrected root, 20 steps, to 1e-13; gradients of zero change no rate, and steps
    that go uphill on average are no rate for SGD."""
    run = stream(1, "ill", steps=20, shapes=SHAPES)
    at: dict[str, Any] = {"lr": 0.1, "eps": 0.01, "beta2": 0.99}
    a, b = (
        refopt.optimizer("swats", tolerance=1e-300, **at),
        refopt.optimizer("adam", eps_corrected=False, **at),
    )
    assert_same_run(a, b, run, rtol=1e-12, atol=1e-13)
    o = refopt.optimizer("swats", tolerance=1e9)
    x, s = o.update(np.ones(2), np.zeros(2), o.init(np.ones(2)))
    assert s["average"] == 0.0
    np.testing.assert_array_equal(x, np.ones(2))
    o = refopt.optimizer("swats", tolerance=1e9, beta2=0.1)
    x, s = o.update(np.ones(2), np.ones(2), o.init(np.ones(2)))
    x, s = o.update(x, np.full(2, -0.01), s)
    assert s["average"] < 0.0 and s["sgd"] == 0.0
