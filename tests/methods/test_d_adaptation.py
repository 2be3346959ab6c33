"""D-Adaptation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream

SHAPES = {"w": (3, 2), "b": (3,)}


def _joined(run: tuple[Any, Any]) -> tuple[np.ndarray, list[np.ndarray]]:
    return np.concatenate([v.ravel() for v in run[0].values()]), [
        np.concatenate([v.ravel() for v in g.values()]) for g in run[1]
    ]


def _drifting(seed: int) -> tuple[Any, Any]:
    """Twelve gradients that agree on a direction, so that d grows."""
    x, gradients = stream(seed, "random", steps=12, shapes=SHAPES)
    return x, [{k: v + 1.5 for k, v in g.items()} for g in gradients]


@pytest.mark.identity("d-adapt-sgd")
@pytest.mark.parametrize("first", [True, False])
def test_sgd_by_hand(first: bool) -> None:
    """Twelve steps on one vector with NumPy alone, with momentum, decay, a growth that is held back and a schedule, to 1e-12."""
    run = _drifting(1)
    o = refopt.optimizer("d-adapt-sgd", lr=0.8, d0=0.1, momentum=0.6, growth_rate=1.2, weight_decay=0.3, decays_first=first,
        schedule=lambda t: 1 / t**0.25)  # fmt: skip
    x, s = run[0], o.init(run[0])
    y, gradients = _joined(run)
    start, total, r, d, ds = y, np.zeros(9), 0.0, 0.1, []
    size = np.linalg.norm(gradients[0] + (0.3 * y if first else 0.0))
    for t, (g, h) in enumerate(zip(run[1], gradients), 1):
        x, s = o.update(x, g, s)
        h = h + 0.3 * y
        weight = d * 0.8 / t**0.25 / size
        r += weight * (h @ total)
        total = total + weight * h
        d = max(d, min(2 * r / np.linalg.norm(total), 1.2 * d))
        y = 0.6 * y + 0.4 * (start - total)
        ds.append(d)
        np.testing.assert_allclose(_joined((x, []))[0], y, rtol=1e-12, atol=1e-13)
        assert s["d"] == pytest.approx(d, rel=1e-12)
    assert len(set(ds)) > 2


@pytest.mark.identity("d-adapt-adam")
@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
def test_adam_by_hand(corrected: bool, decay: str) -> None:
    """Twelve steps on one vector with NumPy alone, with both decays and corrections, a growth that is held back and a schedule, to 1e-12."""
    run = _drifting(2)
    o = refopt.optimizer("d-adapt-adam", lr=0.8, d0=0.1, beta1=0.6, beta2=0.7, eps=0.1, growth_rate=1.2, weight_decay=0.3, decay=decay,
        bias_correction=corrected, schedule=lambda t: 1 / t**0.25)  # fmt: skip
    x, s = run[0], o.init(run[0])
    y, gradients = _joined(run)
    m, v, total, r, d, b, ds = np.zeros(9), np.zeros(9), np.zeros(9), 0.0, 0.1, 0.7**0.5, []
    for t, (g, h) in enumerate(zip(run[1], gradients), 1):
        x, s = o.update(x, g, s)
        weight = d * 0.8 / t**0.25 * (np.sqrt(1 - 0.7**t) / (1 - 0.6**t) if corrected else 1.0)
        h = h + (0.3 * y if decay == "coupled" else 0.0)
        product = weight * (h @ (total / (np.sqrt(v) + 0.1)))
        m, v, total = 0.6 * m + 0.4 * weight * h, 0.7 * v + 0.3 * h * h, b * total + (1 - b) * weight * h
        r = b * r + (1 - b) * product
        d = max(d, min(r / ((1 - b) * np.sum(np.abs(total))), 1.2 * d))
        y = y * (1.0 - (0.3 * weight if decay == "decoupled" else 0.0)) - m / (np.sqrt(v) + 0.1)
        ds.append(d)
        np.testing.assert_allclose(_joined((x, []))[0], y, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(_joined((s["s"], []))[0], total, rtol=1e-12, atol=1e-13)
    assert len(set(ds)) > 2


@pytest.mark.claim("d-adapt-sgd", "d-adapt-adam")
def test_the_bound_of_the_distance() -> None:
    """f = Σ log cosh(x - a) with ‖a‖ = 3 from a guess of 1e-4: D-Adapt SGD's d never falls, never exceeds 3 (the paper's bound) and
    comes within a quarter of it, and both reach a loss of 0.01 of the start's in 300 steps."""
    a = np.array([1.0, -2.0, 2.0])
    for name in ("d-adapt-sgd", "d-adapt-adam"):
        o = refopt.optimizer(name, d0=1e-4)
        x, last, best = np.zeros(3), 0.0, np.inf
        s = o.init(x)
        for _ in range(300):
            x, s = o.update(x, np.tanh(x - a), s)
            best = min(best, float(np.sum(np.log(np.cosh(x - a)))))
            assert s["d"] >= last
            last = s["d"]
            assert name == "d-adapt-adam" or last <= 3.0
        assert last > 3.0 / 4
        assert best < 0.01 * np.sum(np.log(np.cosh(a)))


@pytest.mark.claim("d-adapt-sgd", "d-adapt-adam")
def test_the_unit_of_the_loss_does_not_matter() -> None:
    """ε = 0: gradients times 1024 give the same run, to the bit or to 1e-12; and before the first gradient that is not zero nothing
    moves and no step is counted."""
    run = stream(3, "random", steps=15, shapes=SHAPES)
    for o in (
        refopt.optimizer("d-adapt-sgd", d0=0.1),
        refopt.optimizer("d-adapt-adam", d0=0.1, eps=0.0, bias_correction=True),
    ):
        assert_same_run(
            o, o, run, rtol=1e-12, atol=1e-13, change=lambda g: {k: 1024.0 * v for k, v in g.items()}
        )
        still = [{k: 0.0 * v for k, v in g.items()} for g in run[1][:2]]
        x, y = run[0], run[0]
        s, r = o.init(x), o.init(y)
        for g in still:
            x, s = o.update(x, g, s)
            for k in x:
                np.testing.assert_array_equal(x[k], run[0][k])
        for g in run[1]:
            (x, s), (y, r) = o.update(x, g, s), o.update(y, g, r)
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12)
        frozen = refopt.optimizer(o.registered_name, d0=0.1, lr=0.0)
        x, s = frozen.update(run[0], run[1][0], frozen.init(run[0]))
        np.testing.assert_array_equal(x["w"], run[0]["w"])
        assert s["d"] == 0.1
