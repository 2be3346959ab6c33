"""Averages behind the step: EMA and SWA."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream


def points(o, x, gradients):
    s, out = o.init(x), []
    for g in gradients:
        x, s = o.update(x, g, s)
        out.append(x["w"])
    return np.stack(out), o.average(s)["w"]


@pytest.mark.identity("ema", "swa")
def test_they_steer_nothing() -> None:
    """The points are the base's, bit for bit."""
    for name in ("ema", "swa"):
        o = refopt.optimizer(name, base="adam", lr=0.1)
        assert_same_run(o, refopt.optimizer("adam", lr=0.1), stream(1, "random", steps=10))


@pytest.mark.identity("ema", "swa")
def test_the_weights_of_the_points() -> None:
    """Every average as the weighted mean of the points written out: exponential from x_0, from the first point and from a
    corrected zero, every step and every third; the plain mean from the fourth step on, every third; to 1e-13."""
    x, gradients = stream(2, "random", steps=11)
    for begins in ("start", "first", "zero"):
        for every in (1, 3):
            o = refopt.optimizer("ema", base="sgd", lr=0.1, decay_rate=0.7, begins=begins, every=every)
            found, got = points(o, x, gradients)
            seen = found[every - 1 :: every]
            n = len(seen)
            weights = 0.3 * 0.7 ** np.arange(n - 1, -1, -1)
            if begins == "first":
                weights[0] = 0.7 ** (n - 1)
            if begins == "zero":
                weights = weights / weights.sum()
            want = np.tensordot(weights, seen, axes=1) + (0.7**n * x["w"] if begins == "start" else 0.0)
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)
    found, got = points(refopt.optimizer("swa", base="sgd", lr=0.1, first_step=4, every=3), x, gradients)
    np.testing.assert_allclose(got, found[3::3].mean(axis=0), rtol=1e-12, atol=1e-14)
    for o in (refopt.optimizer("swa"), refopt.optimizer("ema", begins="zero"), refopt.optimizer("ema")):
        want = 0.0 * x["w"] if getattr(o, "begins", "") == "zero" else x["w"]
        np.testing.assert_array_equal(o.average(o.init(x))["w"], want)


@pytest.mark.claim("swa", "ema")
def test_averages_beat_the_last_point_under_noise() -> None:
    """Noisy gradients of x²/2, rate 0.1, 300 seeds of 400 steps: the mean square of the last point is lr/(2 - lr) = 0.0526 to 12 %, of
    the mean of the last 300 a tenth and less of it, of the exponential average (d = 0.99) a fifth and less."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((400, 300))
    ends = {}
    for name, options in (("swa", {"first_step": 101}), ("ema", {"decay_rate": 0.99})):
        o = refopt.optimizer(name, base="sgd", lr=0.1, **options)
        x = np.zeros(300)
        s = o.init(x)
        for t in range(400):
            x, s = o.update(x, x + noise[t], s)
        ends[name], ends["last"] = float(np.mean(o.average(s) ** 2)), float(np.mean(x**2))
    assert abs(ends["last"] - 0.1 / 1.9) < 0.12 * 0.1 / 1.9
    assert ends["swa"] < ends["last"] / 10 and ends["ema"] < ends["last"] / 5
