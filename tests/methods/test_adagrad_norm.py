"""AdaGrad-Norm: its invariances, AdaGrad in one dimension, and its rate without knowing L."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt

from tests.streams import flat, run_refopt, stream


@pytest.mark.identity("adagrad-norm")
def test_one_dimension_is_adagrad() -> None:
    """In one dimension it is AdaGrad with G_0 = b_0^2, to 1e-12 over 200 steps of three streams."""
    shapes: dict[str, Any] = {"w": (2,)}
    kinds = ("random", "ill", "flip")
    got = run_refopt("adagrad-norm", 2, kinds, shapes, lr=0.3, initial=0.5)
    want = run_refopt("adagrad", 2, kinds, shapes, lr=0.3, eps=0.0, initial=0.25)
    for k in kinds:
        # The first coordinate never has a gradient, so that the norm is the other's size.
        np.testing.assert_allclose(got[k], want[k], rtol=1e-12)


@pytest.mark.identity("adagrad-norm")
def test_algorithm_written_out() -> None:
    """Equals the sum of squared norms over all leaves, transcribed, to 1e-13 over 50 steps, with eps and a schedule."""
    x, gradients = stream(0, "random", steps=50)
    o = refopt.optimizer("adagrad-norm", lr=0.7, initial=0.2, eps=0.1, schedule=lambda t: 1 / t)
    s, w, total = o.init(x), flat(x), 0.04
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        total += float(np.sum(flat(g) ** 2))
        w = w - 0.7 / t * flat(g) / (math.sqrt(total) + 0.1)
        np.testing.assert_allclose(flat(x), w, rtol=1e-12, atol=1e-14)
    assert s["t"] == 50


@pytest.mark.claim("adagrad-norm")
def test_invariances() -> None:
    """With b_0 = 0 it is invariant under f -> c f, c from 1e-200 to 1e200, and turns with the coordinates, to 1e-12."""
    x, gradients = stream(3, "random", steps=30, shapes={"w": (5,)})
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]

    def run(scale: float, turn: np.ndarray) -> np.ndarray:
        o = refopt.optimizer("adagrad-norm", lr=0.5, initial=0.0)
        w = turn @ x["w"]
        s = o.init(w)
        for g in gradients:
            w, s = o.update(w, scale * (turn @ g["w"]), s)
        return turn.T @ w

    want = run(1.0, np.eye(5))
    for scale in (1e-200, 1e-3, 1e200):
        np.testing.assert_allclose(run(scale, np.eye(5)), want, rtol=1e-12)
    np.testing.assert_allclose(run(1.0, q), want, rtol=1e-12)


@pytest.mark.claim("adagrad-norm")
@pytest.mark.parametrize("initial", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("lr", [3.0, 30.0])
def test_any_rate_converges(initial: float, lr: float) -> None:
    """Without noise min ||grad f||^2 falls as 1 / T for every b_0 and rate: T times it stays below 20 on a quadratic
    with L = 10 and mu = 0.1, and the rate settles below 2 / L wherever it starts above.
    """
    p = refopt.problem("quadratic", spectrum=np.geomspace(0.1, 10.0, 6))
    points: list[np.ndarray] = [p.start()]
    r = refopt.minimize(
        p, "adagrad-norm", points[0], lr=lr, initial=initial, steps=400, callback=points.append
    )
    sizes = [float(np.sum(p.grad(x) ** 2)) for x in points]
    for t in (10, 50, 100, 400):
        assert t * min(sizes[: t + 1]) < 20
    assert lr / r.state["b"] < 2 / p.lipschitz or initial >= lr * p.lipschitz / 2
