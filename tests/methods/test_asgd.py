"""Averaged SGD."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream


@pytest.mark.identity("asgd")
def test_by_hand() -> None:
    """Ten steps with a strong quadratic term, decay and points averaged from the fourth on, to 1e-13; `average` is the mean of them."""
    o = refopt.optimizer(
        "asgd", lr=0.2, strength=0.3, power=0.6, average_from=4, weight_decay=0.1, decay="coupled"
    )
    x, gradients = stream(1, "random", steps=10)
    y, s, points = dict(x), o.init(x), []
    np.testing.assert_array_equal(o.average(s)["b"], x["b"])
    assert not np.shares_memory(o.average(s)["b"], s["a"]["b"])
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        eta = 0.2 / (1 + 0.3 * 0.2 * (t - 1)) ** 0.6
        y = {k: (1 - 0.3 * eta) * y[k] - eta * (g[k] + 0.1 * y[k]) for k in y}
        points.append(y)
        for k in y:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-14)
            mean = np.mean([p[k] for p in points[3:]] or [y[k]], axis=0)
            np.testing.assert_allclose(o.average(s)[k], mean, rtol=1e-12, atol=1e-14)


@pytest.mark.identity("asgd")
def test_without_the_quadratic_term_the_points_are_those_of_sgd() -> None:
    """λ = 0: SGD to the bit, and the average is what `swa` from the first step keeps, to 1e-14."""
    run = stream(2, "random", steps=12)
    assert_same_run(refopt.optimizer("asgd", lr=0.1), refopt.optimizer("sgd", lr=0.1), run)
    a, b = refopt.optimizer("asgd", lr=0.1), refopt.optimizer("swa", base="sgd", lr=0.1)
    (x, gradients), y = run, run[0]
    s, r = a.init(x), b.init(x)
    for g in gradients:
        (x, s), (y, r) = a.update(x, g, s), b.update(y, g, r)
    for k in x:
        np.testing.assert_allclose(a.average(s)[k], b.average(r)[k], rtol=1e-13, atol=1e-14)


@pytest.mark.claim("asgd")
def test_the_mean_of_noisy_steps_is_nearer() -> None:
    """f = h x² / 2 with unit noise in the gradient, 64 runs of 4000 steps at a rate of 0.2: the mean's variance is within a quarter
    of the best possible, 1 / (h² t), and less than a hundredth of the last point's."""
    rng = np.random.default_rng(3)
    h = np.repeat([1.0, 4.0], 64)
    o = refopt.optimizer("asgd", lr=0.2)
    x = np.zeros(128)
    s = o.init(x)
    for _ in range(4000):
        x, s = o.update(x, h * x + rng.standard_normal(128), s)
    mean = o.average(s)
    for part, curvature in ((slice(0, 64), 1.0), (slice(64, 128), 4.0)):
        spread = np.mean(mean[part] ** 2)
        assert abs(spread * curvature**2 * 4000 - 1.0) < 0.25
        assert spread < np.mean(x[part] ** 2) / 100
