"""DoG and DoWG."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError

from tests.alike import assert_same_run
from tests.parity.case import Case
from tests.parity.makers import ours
from tests.streams import stream

SHAPES = {"w": (3, 2), "b": (3,)}


def _join(x: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([v.ravel() for v in x.values()])


@pytest.mark.identity("dog", "dowg")
@pytest.mark.parametrize("options", [
    {"reps": 0.1, "eps": 0.3}, {"distance": 0.2, "gamma": 3.0, "weight_decay": 0.2}, {"first_rate": 0.05}, {"layerwise": True, "reps": 0.1},
    {"layerwise": True, "first_rate": 0.05, "weight_decay": 0.2}, {"dowg": True, "distance": 0.2, "weight_decay": 0.2, "eps": 0.3}],
    ids=["plain", "distance", "rate", "layers", "layers-rate", "dowg"])  # fmt: skip
def test_written_out(options: dict[str, Any]) -> None:
    """Twelve steps under a schedule with NumPy alone, of all parameters together and leaf by leaf, and DoG's average, to 1e-12."""
    given = dict(options)
    weighted = given.pop("dowg", False)
    at = {
        "reps": 1e-6,
        "distance": None,
        "first_rate": None,
        "eps": 1e-8,
        "gamma": 8.0,
        "weight_decay": 0.0,
        "layerwise": False,
    } | given
    o = refopt.optimizer("dowg" if weighted else "dog", lr=0.7, schedule=lambda t: 1.0 / t**0.5, **given)
    x, gradients = stream(1, "random", steps=12, shapes=SHAPES)
    s = o.init(x)
    parts = [["w"], ["b"]] if at["layerwise"] else [["w", "b"]]
    start, y, mean = dict(x), dict(x), dict(x)
    r, total = {}, {}
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        new = dict(y)
        for i, part in enumerate(parts):
            here, first = _join({k: y[k] for k in part}), _join({k: start[k] for k in part})
            d = _join({k: g[k] + at["weight_decay"] * y[k] for k in part})
            if t == 1:
                r[i], total[i] = at["distance"] or at["reps"] * (1 + np.linalg.norm(first)), 0.0
                r[i] = 0.0 if at["first_rate"] else r[i]
            r[i] = max(r[i], np.linalg.norm(here - first))
            if weighted:
                total[i] += r[i] ** 2 * (d @ d)
                eta = r[i] ** 2 / (np.sqrt(total[i]) + at["eps"])
            else:
                total[i] += d @ d
                eta = r[i] / np.sqrt(total[i] + at["eps"])
            rate = at["first_rate"] if t == 1 and at["first_rate"] else 0.7 / t**0.5 * eta
            for k in part:
                new[k] = y[k] - rate * (g[k] + at["weight_decay"] * y[k])
        y = new
        w = (1 + at["gamma"]) / (t + at["gamma"])
        mean = {k: (1 - w) * mean[k] + w * y[k] for k in y}
        for k in y:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-14)
            if not weighted:
                np.testing.assert_allclose(o.average(s)[k], mean[k], rtol=1e-12, atol=1e-14)


@pytest.mark.claim("dog", "dowg")
def test_the_scale_of_the_loss_does_not_matter_and_the_first_step_is_known() -> None:
    """ε = 0: gradients times 1024 give the same run to the bit, and the first step has the length r_ε."""
    run = stream(2, "random", steps=20, shapes=SHAPES)
    for o in (refopt.optimizer("dog", eps=0.0, distance=0.25), refopt.optimizer("dowg", distance=0.25)):
        assert_same_run(o, o, run, change=lambda g: {k: 1024.0 * v for k, v in g.items()})
        still = {k: 0.0 * v for k, v in run[0].items()}
        x, s = o.update(run[0], still, o.init(run[0]))
        np.testing.assert_array_equal(_join(x), _join(run[0]))
        assert np.all(np.isfinite(_join(o.update(x, run[1][0], s)[0])))
        x, _ = o.update(run[0], run[1][0], o.init(run[0]))
        np.testing.assert_allclose(np.linalg.norm(_join(x) - _join(run[0])), 0.25, rtol=1e-14)


@pytest.mark.claim("dog", "dowg")
def test_a_minimum_a_million_times_as_far_as_the_guess_is_found() -> None:
    """f = ‖x - a‖ with ‖a‖ = 3 from a guess of 3e-6: the best value so far is below 0.05 after 500 steps, and r̄ has never fallen."""
    a = np.array([1.0, -2.0, 2.0])
    s = refopt.optimizer("dog").init(a)
    assert not np.shares_memory(refopt.optimizer("dog").average(s), s["average"])
    for name in ("dog", "dowg"):
        o = refopt.optimizer(name, distance=3e-6)
        x, best, last = np.zeros(3), 3.0, 0.0
        s = o.init(x)
        for _ in range(500):
            x, s = o.update(x, (x - a) / np.linalg.norm(x - a), s)
            best = min(best, float(np.linalg.norm(x - a)))
            assert s["r"] >= last
            last = s["r"]
        assert best < 0.05
        assert s["r"] < 2 * 3.0


def test_a_first_distance_of_zero_is_refused() -> None:
    """DoWG from the root of an ε of zero would never move."""
    with pytest.raises(ArgumentError, match="dowg: eps: wanted more than 0"):
        refopt.optimizer("dowg", distance_from_eps=True)


CASES = [
    Case("dog", "official", "formll/dog@8d45cf5", ours("dog", kinds=("ill",), shapes=SHAPES, dialect="official", lr=0.9, reps=1e-2, eps=0.5,
        weight_decay=0.1), None, says="The authors' DoG with a large ε and coupled decay under a schedule, 200 steps on a small stream, to 1e-12."),
    Case("dog", "official-layers", "formll/dog@8d45cf5", ours("dog", kinds=("ill",), shapes=SHAPES, dialect="official", lr=0.9, reps=1e-2,
        layerwise=True), None, says="The authors' L-DoG under a schedule, 200 steps on a small stream, to 1e-12."),
    Case("dowg", "official", "rka97/dowg@e4dbe02", ours("dowg", kinds=("ill",), shapes=SHAPES, scheduled=False, dialect="official", eps=1e-4),
        None, says="The authors' DoWG, 200 steps on a small stream, to 1e-12."),
]  # fmt: skip
