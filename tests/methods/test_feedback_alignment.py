"""Direct feedback alignment: written out, exact with the true feedback, and aligning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator

from tests.methods.matrices import close, complex_columns


def network(l2: float = 0.0, widths: tuple[int, ...] = (6, 4), activation: str = "tanh") -> Any:
    rng = np.random.default_rng(5)
    A = rng.standard_normal((60, 5))
    labels = np.argmax(np.column_stack([A[:, 0] * A[:, 1], A[:, 2], 0.5 - A[:, 3] ** 2]), axis=1)
    return refopt.problem("mlp", widths=widths, activation=activation, l2=l2, data=(A, labels))


@pytest.mark.identity("feedback-alignment")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_written_out(reduction: str) -> None:
    """Five steps with momentum on batches of 9 of a network of two hidden layers with decay equal the forward pass and the projected
    errors written out, with one matrix for both layers, mean or sum in the hidden ones, to 1e-11.
    """
    p, rng = network(0.1), np.random.default_rng(1)
    base = refopt.optimizer("momentum", lr=0.02, momentum=0.5)
    o = refopt.optimizer("feedback-alignment", base=base, reduction=reduction)
    shared = generator(7, "method", 0).standard_normal((3, 6))
    x = y = p.start(1)
    s, b = o.init(x), base.init(y)
    for t in range(1, 6):
        rows = rng.choice(60, 9, replace=False)
        oracle = Oracle(p, 7)
        oracle.begin(t)
        x, s = o.step(x, s, oracle.on(rows))
        a, Y = p.inputs[rows], p.targets[rows]
        h1 = np.tanh(a @ y["W1"].T + y["b1"])
        h2 = np.tanh(h1 @ y["W2"].T + y["b2"])
        z = h2 @ y["W3"].T + y["b3"]
        e = np.exp(z) / np.exp(z).sum(1, keepdims=True) - Y
        d1 = (e @ shared) / np.sqrt(3 * 6) * (1 - h1**2)
        d2 = (e @ shared[:, :4]) / np.sqrt(3 * 4) * (1 - h2**2)
        k = 1 if reduction == "sum" else 9
        g = {
            "W1": d1.T @ a / k,
            "b1": d1.sum(0) / k,
            "W2": d2.T @ h1 / k,
            "b2": d2.sum(0) / k,
            "W3": e.T @ h2 / 9,
            "b3": e.mean(0),
        }
        y, b = base.update(y, {name: g[name] + 0.1 * y[name] for name in y}, b)
        for name in y:
            np.testing.assert_allclose(x[name], y[name], rtol=1e-11, atol=1e-12)


@pytest.mark.identity("feedback-alignment")
def test_true_feedback_is_back_propagation() -> None:
    """Where the last layer's weights are the feedback itself, the gradient is the exact one, to 1e-13; and the activations' slopes equal
    complex steps of the hidden layer's outputs, for three activations.
    """
    p = network(widths=(6,))
    x = p.start(2)
    x["W2"] = generator(3, "method", 0).standard_normal((3, 6)) / np.sqrt(18)
    oracle = Oracle(p, 3)
    oracle.begin(1)
    got, want = refopt.optimizer("feedback-alignment").estimate(oracle, x), p.grad(x)
    for k in want:
        np.testing.assert_allclose(got[k], want[k], rtol=1e-12, atol=1e-13)
    for activation in ("tanh", "gelu", "relu"):
        q = network(widths=(4, 3), activation=activation)
        w = q.start(1)
        batch = np.array([2, 5])
        for i, slope in enumerate(q.slopes(w, batch)):
            name = f"b{i + 1}"

            def hidden(b: np.ndarray, q: Any = q, w: Any = w, name: str = name, i: int = i) -> np.ndarray:
                return q.layers({**w, name: b}, batch)[i + 1].inputs

            # The bias of a unit moves its own output alone.
            jacobian = complex_columns(hidden, w[name]).reshape(2, slope.shape[1], slope.shape[1])
            close(np.stack([np.diag(j) for j in jacobian]), slope)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.claim("feedback-alignment")
def test_alignment_grows() -> None:
    """In 300 steps of a network of two layers of 16 the loss falls to a third, and the cosines between what hidden layers are given and the gradient grow from below 0.1
    in the mean over three seeds to above 0.4; the last layer's is 1 throughout.
    """
    p = network(widths=(16, 16))
    o = refopt.optimizer("feedback-alignment", lr=0.5)
    before, after = [], []
    for seed in range(3):
        x = p.start(seed)
        r = refopt.minimize(p, o, x, steps=300, seed=seed, record_every=300)
        assert float(p.value(r.x)) < float(p.value(x)) / 3
        for at, found in ((x, before), (r.x, after)):
            oracle = Oracle(p, seed)
            oracle.begin(1)
            got, want = o.estimate(oracle, at), p.grad(at)
            found.append(np.mean([cosine(got[k], want[k]) for k in ("W1", "W2")]))
            assert cosine(got["W3"], want["W3"]) == pytest.approx(1.0, abs=1e-12)
    assert np.mean(before) < 0.1 < 0.4 < np.mean(after)
