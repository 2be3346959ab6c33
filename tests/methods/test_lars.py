"""Layer-wise steps: a fixed share of the layer's size.

LARS and LAMB against literal transcriptions.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream


@pytest.mark.claim("lars")
def test_lars_step_is_a_share_of_the_layer() -> None:
    """Without momentum and decay every layer moves by exactly lr * trust * |w| (to 1e-13), whatever
    its gradient's scale.

    Without momentum and decay the step's norm is lr * trust * |w|, for gradients of any scale.
    """
    x, gradients = stream(0, "ill", steps=20)
    o = refopt.optimizer("lars", lr=2.0, trust=0.01, momentum=0.0, weight_decay=0.0)
    s = o.init(x)
    for g in gradients:
        new, s = o.update(x, g, s)
        scaled, _ = o.update(x, {k: 1024.0 * v for k, v in g.items()}, s)
        for k in x:
            assert np.linalg.norm(new[k] - x[k]) == pytest.approx(0.02 * np.linalg.norm(x[k]), rel=1e-13)
            np.testing.assert_array_equal(new[k], scaled[k])
        x = new


@pytest.mark.claim("lamb")
def test_lamb_step_is_a_share_of_the_layer() -> None:
    """Every layer moves by exactly lr * phi(|x|), to 1e-13.

    The step's norm is lr * min(max(|x|, low), high), decay included.
    """
    x, gradients = stream(0, "ill", steps=20)
    o = refopt.optimizer("lamb", lr=0.02, weight_decay=0.1, smallest_size=2.0, largest_size=4.0)
    s = o.init(x)
    for g in gradients:
        new, s = o.update(x, g, s)
        for k in x:
            phi = np.clip(np.linalg.norm(x[k]), 2.0, 4.0)
            assert np.linalg.norm(new[k] - x[k]) == pytest.approx(0.02 * phi, rel=1e-13)
        x = new


def _norm(a: list[float]) -> float:
    return math.sqrt(sum(v * v for v in a))


@pytest.mark.identity("lars")
def test_lars_algorithm_1() -> None:
    """Equals the update transcribed line by line with Python floats, to 1e-13."""
    gamma, eta, mu, beta = 0.7, 0.05, 0.8, 0.1
    x, gradients = stream(3, "ill", steps=60, shapes={"a": (4,), "b": (3,)})
    o = refopt.optimizer("lars", lr=gamma, trust=eta, momentum=mu, weight_decay=beta, schedule=schedule)
    s = o.init(x)
    w = {k: [float(e) for e in leaf] for k, leaf in x.items()}
    v = {k: [0.0] * len(w[k]) for k in w}
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        for k in w:
            gk = [float(e) for e in g[k]]
            local = eta * _norm(w[k]) / (_norm(gk) + beta * _norm(w[k]))
            v[k] = [
                mu * vi + gamma * schedule(t) * local * (gi + beta * wi) for vi, gi, wi in zip(v[k], gk, w[k])
            ]
            w[k] = [wi - vi for wi, vi in zip(w[k], v[k])]
            np.testing.assert_allclose(x[k], w[k], rtol=1e-13, atol=1e-13)


@pytest.mark.identity("lamb")
def test_lamb_algorithm_2() -> None:
    """Equals Algorithm 2 transcribed line by line with Python floats, to 1e-13."""
    lr, b1, b2, eps, lam, low, high = 0.05, 0.7, 0.9, 1e-3, 0.1, 1.8, 2.2
    x, gradients = stream(3, "ill", steps=60, shapes={"a": (4,), "b": (3,)})
    o = refopt.optimizer(
        "lamb", lr=lr, beta1=b1, beta2=b2, eps=eps, weight_decay=lam, smallest_size=low, largest_size=high,
        schedule=schedule,
    )  # fmt: skip
    s = o.init(x)
    w = {k: [float(e) for e in leaf] for k, leaf in x.items()}
    m = {k: [0.0] * len(w[k]) for k in w}
    v = {k: [0.0] * len(w[k]) for k in w}
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        for k in w:
            u = []
            for i, gi in enumerate(float(e) for e in g[k]):
                m[k][i] = b1 * m[k][i] + (1 - b1) * gi
                v[k][i] = b2 * v[k][i] + (1 - b2) * gi**2
                r = (m[k][i] / (1 - b1**t)) / (math.sqrt(v[k][i] / (1 - b2**t)) + eps)
                u.append(r + lam * w[k][i])
            phi = min(max(_norm(w[k]), low), high)
            w[k] = [wi - lr * schedule(t) * phi / _norm(u) * ui for wi, ui in zip(w[k], u)]
            np.testing.assert_allclose(x[k], w[k], rtol=1e-13, atol=1e-13)


@pytest.mark.identity("lamb")
def test_lamb_without_decay_needs_no_bias_correction() -> None:
    """Without decay and eps, with and without bias correction are the same, to 1e-13.

    The ratio removes the corrections' scalar factor when eps = 0 and there is no decay; else not.
    """
    x, gradients = stream(2, "random", steps=40)

    def run(**kwargs: object) -> np.ndarray:
        o = refopt.optimizer("lamb", lr=0.05, eps=0.0, **kwargs)
        y, s = x, o.init(x)
        for g in gradients:
            y, s = o.update(y, g, s)
        return y["w"]

    a = run(weight_decay=0.0)
    np.testing.assert_allclose(a, run(weight_decay=0.0, bias_correction="none"), rtol=1e-13, atol=1e-13)
    assert np.max(np.abs(run(weight_decay=0.5) - run(weight_decay=0.5, bias_correction="none"))) > 1e-4


def test_a_layer_at_zero_or_without_gradient() -> None:
    """The ratio is 1 there; LARS's libraries leave the whole rate, and nothing becomes NaN."""
    zero, g = np.zeros(2), np.array([3.0, 4.0])
    for dialect, want in (("paper", 1e-3 * g), ("optax", g)):
        o = refopt.optimizer("lars", dialect=dialect, lr=1.0)
        np.testing.assert_allclose(-o.update(zero, g, o.init(zero))[0], want, rtol=1e-15)
        np.testing.assert_array_equal(o.update(zero, zero, o.init(zero))[0], zero)
    o = refopt.optimizer("lamb", lr=1.0, eps=0.0)
    np.testing.assert_allclose(o.update(zero, g, o.init(zero))[0], [-1.0, -1.0], rtol=1e-14)
    np.testing.assert_array_equal(o.update(zero, zero, o.init(zero))[0], zero)
