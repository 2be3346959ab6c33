"""Hyperball."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError

from tests.alike import assert_same_run
from tests.streams import schedule, stream

SHAPES = {"w": (3, 4), "b": (3,), "k": (2, 2, 2)}


@pytest.mark.identity("hyperball")
def test_by_hand() -> None:
    """Ten steps round Adam under a schedule, matrix and kernel turned with NumPy alone, the vector Adam's, to 1e-12."""
    base: dict[str, Any] = {"lr": 0.2, "beta1": 0.6, "beta2": 0.7, "eps": 0.1, "schedule": schedule}
    o = refopt.optimizer("hyperball", base=refopt.optimizer("adam", **base))
    x, gradients = stream(0, "random", steps=10, shapes=SHAPES)
    s, y = o.init(x), dict(x)
    radius = {k: np.linalg.norm(v) for k, v in x.items()}
    m, v = {k: 0.0 * a for k, a in x.items()}, {k: 0.0 * a for k, a in x.items()}
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        lr = 0.2 * schedule(t)
        for k in y:
            m[k], v[k] = 0.6 * m[k] + 0.4 * g[k], 0.7 * v[k] + 0.3 * g[k] ** 2
            u = m[k] / (1 - 0.6**t) / (np.sqrt(v[k] / (1 - 0.7**t)) + 0.1)
            if k == "b":
                y[k] = y[k] - lr * u
            else:
                new = y[k] - lr * radius[k] * u / np.linalg.norm(u)
                y[k] = radius[k] * new / np.linalg.norm(new)
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-13)


@pytest.mark.claim("hyperball")
def test_norm_and_angle() -> None:
    """Round SGD 20 steps keep ‖X‖_F to 1e-13; a gradient at a right angle to X turns it by arctan(η); gradients in any unit (1024 times) make the
    same run, to 1e-9."""
    o = refopt.optimizer("hyperball", base="sgd", lr=0.3)
    x, gradients = stream(1, "ill", steps=20, shapes={"w": (3, 4)})
    s, start = o.init(x), np.linalg.norm(x["w"])
    for g in gradients:
        g = g["w"] - x["w"] * np.sum(g["w"] * x["w"]) / start**2
        y, s = o.update(x, {"w": g}, s)
        assert np.linalg.norm(y["w"]) == pytest.approx(start, rel=1e-13)
        cosine = np.sum(x["w"] * y["w"]) / start**2
        assert cosine == pytest.approx(1 / np.sqrt(1 + 0.3**2), rel=1e-9)
        x = y
    run = stream(2, "random", steps=10, shapes={"w": (3, 4)})
    assert_same_run(o, o, run, rtol=1e-9, atol=1e-9, change=lambda g: {k: 1024.0 * v for k, v in g.items()})


@pytest.mark.claim("hyperball")
def test_what_stands_still() -> None:
    """No gradient: the matrix stays, to the bit. A matrix that starts at zero stays zero. A base without a rate is refused."""
    o = refopt.optimizer("hyperball", base="sgd", lr=0.3)
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.standard_normal((3, 3))
        y, _ = o.update(x, 0.0 * x, o.init(x))
        np.testing.assert_array_equal(y, x)
    y, _ = o.update(0.0 * x, x, o.init(0.0 * x))
    np.testing.assert_array_equal(y, 0.0 * x)
    for base in ("cubic-newton", refopt.optimizer("lookahead", base="sgd", lr=0.1)):
        with pytest.raises(ArgumentError, match="base: hyperball takes the angle"):
            refopt.optimizer("hyperball", base=base)
