"""Randomised backpropagation: mean and variance over all sketches, a run with the same draws, and what stays exact."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import refopt
import scipy.fft
from refopt.core.oracle import Oracle
from refopt.core.rng import generator
from refopt.estimators.gradient_sketch import sketch_matrix
from refopt.estimators.randomized_backprop import error

from tests.methods.test_gradient_sketch import laws


def every(sketch: str, k: int, B: int) -> list[tuple[float, np.ndarray]]:
    """All sketches with their probabilities."""
    if sketch != "dct":
        return laws(sketch, k, B)
    i, j = np.meshgrid(np.arange(B), np.arange(B), indexing="ij")
    C = math.sqrt(2 / B) * np.cos(math.pi * i * (2 * j + 1) / (2 * B))
    C[0] /= math.sqrt(2)
    rows = itertools.product(range(B), repeat=k)
    return [(1 / B**k, C[list(r)] * math.sqrt(B / k)) for r in rows]


@pytest.mark.claim("randomized-backprop")
@pytest.mark.parametrize(
    ("sketch", "k", "B"), [("gaussian", 1, 3), ("gaussian", 2, 2), ("rademacher", 2, 3), ("dct", 2, 4)]
)
def test_moments_exactly(sketch: str, k: int, B: int) -> None:
    """Over all sketches the mean error is zero (1e-13); E‖·‖² is (‖X‖²‖Y‖² + ‖YᵀX‖²)/k for normal entries and 2 Σ‖x_i‖²‖y_i‖²/k less for
    signs, (B Σ_j ‖ŷ_j‖²‖x̂_j‖² - ‖YᵀX‖²)/k for rows of the cosine transform, of X̂ and Ŷ the rows transformed: 1e-12.
    """
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((B, 3)), rng.standard_normal((B, 2))
    mean, square = np.zeros((2, 3)), 0.0
    known = every(sketch, k, B)
    for p, S in known:
        e = error(S, X, Y)
        mean, square = mean + p * e, square + p * float(np.sum(e**2))
    np.testing.assert_allclose(mean, 0.0, atol=1e-13)
    inner = np.sum((Y.T @ X) ** 2)
    want = (np.sum(X**2) * np.sum(Y**2) + inner) / k
    if sketch == "rademacher":
        want -= 2 * np.sum(np.sum(X**2, axis=1) * np.sum(Y**2, axis=1)) / k
    if sketch == "dct":
        one = [S[0] for p, S in every("dct", 1, B)]
        want = (np.mean([np.sum((s @ X) ** 2) * np.sum((s @ Y) ** 2) for s in one]) - inner) / k
    assert square == pytest.approx(want, rel=1e-12)
    if sketch == "dct":
        drawn = sketch_matrix("dct", 5, B, np.random.default_rng(1))
        rows = np.random.default_rng(1).integers(0, B, 5)
        np.testing.assert_allclose(
            drawn, scipy.fft.dct(np.eye(B), norm="ortho", axis=0)[rows] * math.sqrt(B / 5), rtol=1e-14
        )


@pytest.mark.identity("randomized-backprop")
@pytest.mark.parametrize("sketch", ["gaussian", "rademacher", "dct"])
def test_written_out(sketch: str) -> None:
    """Five steps with momentum on batches of 7, three rows kept, on a network with decay, equal ``(S Y)ᵀ(S X)`` and the decay for each
    layer with the same draws, to 1e-11; biases are exact.
    """
    rng = np.random.default_rng(5)
    p = refopt.problem("mlp", widths=(3,), l2=0.1, data=(rng.standard_normal((12, 4)), np.arange(12) % 3))
    base = refopt.optimizer("momentum", lr=0.1, momentum=0.5)
    o = refopt.optimizer("randomized-backprop", base=base, share=0.4, sketch=sketch)
    x = y = p.start(1)
    s, b = o.init(x), base.init(y)
    for t in range(1, 6):
        rows = rng.choice(12, 7, replace=False)
        oracle = Oracle(p, 9)
        oracle.begin(t)
        x, s = o.step(x, s, oracle.on(rows))
        draws, g = generator(9, "method", t), dict(p.grad(y, rows))
        for layer in p.layers(y, rows):
            S = sketch_matrix(sketch, 3, 7, draws)
            g[layer.weight] = (S @ layer.output_grads / 7).T @ (S @ layer.inputs) + 0.1 * y[layer.weight]
        y, b = base.update(y, g, b)
        for k in y:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-11, atol=1e-12)


@pytest.mark.claim("randomized-backprop")
def test_all_rows_once_are_exact() -> None:
    """An orthogonal S of all B rows loses nothing (1e-13), and a tenth of the rows trains softmax regression to within a tenth of what
    the exact gradient reaches in the same 80 steps.
    """
    rng = np.random.default_rng(2)
    X, Y = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    C = scipy.fft.dct(np.eye(6), norm="ortho", axis=0)
    np.testing.assert_allclose(error(C, X, Y), 0.0, atol=1e-13)
    A = rng.standard_normal((200, 5))
    labels = np.argmax(A @ rng.standard_normal((5, 3)) + rng.standard_normal((200, 3)), axis=1)
    p = refopt.problem("softmax", data=(A, labels))
    exact = refopt.minimize(p, "sgd", lr=0.3, steps=80).fun
    ends = [
        float(p.value(refopt.minimize(p, "randomized-backprop", share=0.1, lr=0.3, steps=80, seed=s).x))
        for s in range(3)
    ]
    assert exact < max(ends) < 1.1 * exact < float(p.value(p.start()))
    o, oracle = refopt.optimizer("randomized-backprop", share=1e-9), Oracle(p, 1)
    oracle.begin(1)
    g, x = o.estimate(oracle, p.start()), p.start()
    S = sketch_matrix("gaussian", 1, 200, generator(1, "method", 1))
    layer = p.layers(x)[0]
    np.testing.assert_allclose(g["W"], (S @ layer.output_grads).T @ (S @ layer.inputs) / 200, rtol=1e-10)
    np.testing.assert_array_equal(g["b"], p.grad(x)["b"])
