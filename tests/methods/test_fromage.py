"""Fromage."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream


@pytest.mark.identity("fromage")
def test_by_hand() -> None:
    """Six steps of two leaves under a schedule, with and without a bound, one of zeros first and one gradient zero, to 1e-13."""
    for bound, least in ((None, 0.0), (1.2, 0.0), (None, 0.4)):
        o = refopt.optimizer("fromage", lr=0.8, bound=bound, least=least, schedule=lambda t: 1.0 / t)
        x, gradients = stream(1, "random", steps=6, shapes={"w": (3, 2), "b": (4,)})
        x["b"] *= 0.05
        gradients[3]["w"] *= 0.0
        y, s, start = dict(x), o.init(x), {k: np.linalg.norm(v) for k, v in x.items()}
        for t, g in enumerate(gradients, 1):
            x, s = o.update(x, g, s)
            for k in y:
                eta, size, length = (
                    0.8 / t,
                    max(np.linalg.norm(y[k]), least),
                    max(np.linalg.norm(g[k]), least),
                )
                ratio = size / length if size > 0 and length > 0 else 1.0
                y[k] = (y[k] - eta * ratio * g[k]) / np.sqrt(1 + eta**2)
                if bound is not None and np.linalg.norm(y[k]) > bound * start[k]:
                    y[k] = y[k] * bound * start[k] / np.linalg.norm(y[k])
                np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-14)
    o = refopt.optimizer("fromage", lr=0.75)
    x, _ = o.update(np.zeros(2), np.array([1.0, -2.0]), o.init(np.zeros(2)))
    np.testing.assert_allclose(x, [-0.6, 1.2], rtol=1e-14)


@pytest.mark.claim("fromage")
def test_norms_stay_and_scales_do_not_matter() -> None:
    """A gradient across the weights leaves their norm, to 1e-14, where none grows by more than (1 + η) / sqrt(1 + η²); gradients
    times 1e5 give the same run, to 1e-13, and weights times 8 that run times 8, to the bit."""
    rng = np.random.default_rng(2)
    o = refopt.optimizer("fromage", lr=0.3)
    x = rng.standard_normal(6)
    s = o.init(x)
    for _ in range(5):
        g = rng.standard_normal(6)
        y, _ = o.update(x, g - (g @ x) / (x @ x) * x, s)
        np.testing.assert_allclose(np.linalg.norm(y), np.linalg.norm(x), rtol=1e-14)
        x, s = o.update(x, g, s)
    longest = np.linalg.norm(o.update(x, -x, s)[0]) / np.linalg.norm(x)
    np.testing.assert_allclose(longest, 1.3 / np.sqrt(1.09), rtol=1e-14)
    x, gradients = stream(3, "random", steps=10)
    assert_same_run(
        o, o, (x, gradients), rtol=1e-12, atol=1e-13, change=lambda g: {k: 1e5 * v for k, v in g.items()}
    )
    big = {k: 8.0 * v for k, v in x.items()}
    s, r = o.init(x), o.init(big)
    for g in gradients:
        (x, s), (big, r) = o.update(x, g, s), o.update(big, g, r)
    for k in x:
        np.testing.assert_array_equal(8.0 * x[k], big[k])
