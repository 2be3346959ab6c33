"""AdaFisher written out, with the Kronecker product dense, and its limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import SMALL_MLP, steps_on
from tests.streams import schedule

PROBLEM = refopt.problem("mlp", **SMALL_MLP)


def run(o: Any, steps: int) -> list[Any]:
    return [x for x, _ in steps_on(PROBLEM, o, steps)]


@pytest.mark.identity("adafisher")
@pytest.mark.parametrize("dialect", [None, "official"])
def test_written_out(dialect: str | None) -> None:
    """12 steps, refreshed every third, equal the algorithm with the Kronecker product of the two diagonal factors
    as a dense diagonal matrix, decay and a schedule, to 1e-11; in both readings.
    """
    lr, beta, gamma, damp, wd, official = 0.05, 0.7, 0.6, 0.05, 0.1, dialect is not None
    kwargs = {"dialect": dialect} if official else {}
    o = refopt.optimizer("adafisher", lr=lr, beta=beta, gamma=gamma, damping=damp, weight_decay=wd, schedule=schedule,
        update_every=3, least=1e-3, **kwargs)  # fmt: skip
    y = PROBLEM.start(1)
    m = {k: np.zeros_like(v) for k, v in y.items()}
    kept: dict[str, list[np.ndarray]] = {}
    for t, x in enumerate(run(o, 12), 1):
        g, new, step = PROBLEM.grad(y), {}, lr * schedule(t)
        for layer in PROBLEM.layers(y, None):
            a = np.column_stack([layer.inputs, np.ones(20)])
            s = layer.output_grads / (20 if official else 1)
            factors = kept.setdefault(layer.weight, [np.ones(a.shape[1]), np.ones(s.shape[1])])
            if t % 3 == 1:
                for i, rows in enumerate((a, s)):
                    v = np.sum(rows**2, axis=0) / 20
                    v = (v - v.min()) / (v.max() - v.min() + 1e-3)
                    old, add = (0.1 * gamma, 0.01 * gamma) if official else (gamma, 1 - gamma)
                    factors[i] = old * factors[i] + add * v
            F = np.kron(np.diag(factors[1]), np.diag(factors[0])) + damp * np.eye(a.shape[1] * s.shape[1])
            w = np.column_stack([y[layer.weight], y[layer.bias]])
            d = np.column_stack([g[layer.weight], g[layer.bias]]) + (wd * w if official else 0.0)
            average = np.column_stack([m[layer.weight], m[layer.bias]])
            average = beta * average + (1 - beta) * d
            m[layer.weight], m[layer.bias] = average[:, :-1], average[:, -1]
            u = np.reshape(np.linalg.solve(F, average.ravel()), w.shape) / (1 - beta**t)
            w = (1.0 if official else 1 - step * wd) * w - step * u
            new[layer.weight], new[layer.bias] = w[:, :-1], w[:, -1]
        y = new
        for k in y:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-11, atol=1e-12)


@pytest.mark.claim("adafisher")
def test_large_damping_is_momentum() -> None:
    """With λ = 1e14 and η in proportion it is bias-corrected momentum descent: Adam's first moment, to 1e-12."""
    y = PROBLEM.start(1)
    m = dict.fromkeys(y, 0.0)
    for t, x in enumerate(run(refopt.optimizer("adafisher", lr=1e13, damping=1e14), 10), 1):
        g = PROBLEM.grad(y)
        m = {k: 0.9 * m[k] + 0.1 * g[k] for k in y}
        y = {k: y[k] - 0.1 * m[k] / (1 - 0.9**t) for k in y}
        for k in y:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-12)


@pytest.mark.claim("adafisher")
def test_the_scale_of_inputs_does_not_count() -> None:
    """Without κ the factors are the same whatever the scale of inputs and losses: only their ratios within a layer
    count, to 1e-12.
    """
    rng = np.random.default_rng(0)
    a, s = rng.standard_normal((9, 3)), rng.standard_normal((9, 4))
    o: Any = refopt.optimizer("adafisher", least=0.0)
    layer = refopt.core.problem.Layer
    one = o._updated(layer("W", None, a, s), {})
    two = o._updated(layer("W", None, 1e3 * a, 1e-4 * s), {})
    for u, v in zip(one, two):
        np.testing.assert_allclose(u, v, rtol=1e-12)
        assert np.max(u) == pytest.approx(1.0)


@pytest.mark.identity("adafisher")
def test_a_leaf_without_a_layer_has_no_curvature() -> None:
    """F = 1 there, and S Hᵀ + λ of the weight's shape where a layer has no bias; equal entries spread to zero."""
    o: Any = refopt.optimizer("adafisher")
    x = {"W": np.ones((4, 3)), "other": np.ones(2)}
    rng = np.random.default_rng(0)
    layers = [refopt.core.problem.Layer("W", None, rng.standard_normal((9, 3)), rng.standard_normal((9, 4)))]
    F = o.diagonal(x, layers, {"W": o._updated(layers[0], {})})
    h, s = o._updated(layers[0], {})
    np.testing.assert_array_equal(F["other"], np.ones(2))
    np.testing.assert_allclose(F["W"], np.outer(s, h) + o.damping, rtol=1e-15)
    flat = refopt.core.problem.Layer("W", None, np.ones((9, 3)), -np.ones((9, 4)))
    for v in refopt.optimizer("adafisher", least=0.0, gamma=0.7)._updated(flat, {}):
        np.testing.assert_array_equal(v, 0.7 * np.ones(v.size))
