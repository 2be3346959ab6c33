"""The gradient cache: the whole gradient by chunks, beside the authors' code, and the two towers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.params import flatten

from tests.methods.matrices import close, complex_columns, product_columns
from tests.parity.case import Arrays, Case


def ours(seed: int, chunk: int) -> Arrays:
    p = refopt.problem("two-tower", seed=seed)
    seen: list[np.ndarray] = []
    refopt.minimize(p, "gradient-cache", p.start(seed), base="momentum", chunk=chunk, lr=0.3, momentum=0.5, steps=6,
        callback=lambda x: seen.append(flatten(x)))  # fmt: skip
    return {"x": np.stack(seen)}


CASES = [
    Case("gradient-cache", f"official-{chunk}", "luyug/GradCache@906f038", functools.partial(ours, chunk=chunk), None,
        says=f"The authors' class (6 steps with momentum on twelve pairs in chunks of {chunk}, two tanh encoders, their loss) to 1e-12")
    for chunk in (4, 5)
]  # fmt: skip


@pytest.mark.identity("gradient-cache")
@pytest.mark.parametrize("chunk", [1, 5, 12, 50])
def test_is_the_gradient(chunk: int) -> None:
    """On all pairs and on a batch of seven, by ones, fives, all at once and fewer than the chunk, it is the gradient to 1e-14 of it, with one
    product a chunk; the mean of the chunks' own gradients is off by more than a half.
    """
    p = refopt.problem("two-tower")
    x, o = p.start(1), refopt.optimizer("gradient-cache", chunk=chunk)
    for batch in (None, np.array([3, 1, 8, 10, 2, 0, 5])):
        oracle = Oracle(p) if batch is None else Oracle(p).on(batch)
        got, want = o.estimate(oracle, x), p.grad(x, batch)
        size = np.linalg.norm(flatten(want))
        assert np.linalg.norm(flatten(got) - flatten(want)) < 1e-14 * size
        n = 12 if batch is None else 7
        assert oracle.counts.calls["vjp"] == -(-n // chunk)
        assert oracle.counts.calls["loss_gradient"] == 1
        rows = np.arange(12) if batch is None else batch
        parts = [p.grad(x, rows[i : i + chunk]) for i in range(0, n, chunk)]
        naive = sum(flatten(g) for g in parts) / len(parts)
        assert len(parts) == 1 or np.linalg.norm(naive - flatten(want)) > 0.2 * size


@pytest.mark.claim("gradient-cache")
def test_memory_is_a_chunk() -> None:
    """No product looks at more than a chunk of 64 pairs, and the run is that of the whole gradient, 15 steps of Adam, to 1e-9; a residual
    that is divided by the size of its batch is refused.
    """
    p = refopt.problem("two-tower", n_examples=64)
    widest = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(p, name)

        def vjp(self, x: Any, u: np.ndarray, batch: Any = None) -> Any:
            widest.append(len(u))
            return p.vjp(x, u, batch)

    a = refopt.minimize(Watched(), "gradient-cache", p.start(1), base="adam", chunk=10, lr=0.05, steps=15).x
    b = refopt.minimize(p, "adam", p.start(1), lr=0.05, steps=15).x
    assert max(widest) == 10 and min(widest) == 4
    np.testing.assert_allclose(flatten(a), flatten(b), rtol=1e-9, atol=1e-10)
    rng = np.random.default_rng(0)
    q = refopt.problem(
        "mlp", widths=(3,), loss="mse", data=(rng.standard_normal((9, 2)), rng.standard_normal(9))
    )
    with pytest.raises(refopt.errors.ArgumentError, match="residual: wanted rows"):
        refopt.minimize(q, "gradient-cache", steps=1)


@pytest.mark.identity("two-tower")
def test_derivatives() -> None:
    """f is the mean cross-entropy of the logits written out pair by pair (1e-13); gradient, Jacobian and the gradient by the
    representations equal complex steps, on all pairs and a batch; representations are those of their own example.
    """
    p = refopt.problem("two-tower", n_examples=6)
    x = p.start(3)
    for batch in (None, np.array([4, 0, 2])):
        chosen = np.arange(6) if batch is None else batch
        left, right = np.tanh(p.first[chosen] @ x["W"].T), np.tanh(p.second[chosen] @ x["V"].T)
        each = [
            np.log(sum(np.exp(left[i] @ right[j]) for j in range(len(chosen)))) - left[i] @ right[i]
            for i in range(len(chosen))
        ]
        assert float(p.value(x, batch)) == pytest.approx(np.mean(each), rel=1e-13)
        close(flatten(p.grad(x, batch)), complex_columns(lambda w, b=batch: p.value(w, b).reshape(1), x)[0])
        jacobian = complex_columns(lambda w, b=batch: p.residual(w, b), x)
        close(product_columns(lambda v, b=batch: p.jvp(x, v, b), x), jacobian)
        close(product_columns(lambda u, b=batch: p.vjp(x, u, b), p.residual(x, batch)), jacobian.T)
        close(flatten(p.vjp(x, p.loss_gradient(x, batch), batch)), flatten(p.grad(x, batch)))
        np.testing.assert_array_equal(p.residual(x, batch), p.residual(x)[chosen])


@pytest.mark.claim("two-tower")
def test_negatives_make_the_loss() -> None:
    """At zero f is log B for every batch size (1e-14); shuffling pairs changes nothing (1e-14), parting them does: the whole is above the
    mean of its halves, by more negatives; 200 steps of gradient descent tell twelve pairs apart far better than chance.
    """
    p = refopt.problem("two-tower")
    zero = {k: 0.0 * v for k, v in p.start().items()}
    for B in (1, 5, 12):
        assert float(p.value(zero, np.arange(B))) == pytest.approx(np.log(B), abs=1e-14)
    x, order = p.start(1), np.random.default_rng(0).permutation(12)
    assert float(p.value(x, order)) == pytest.approx(float(p.value(x)), rel=1e-13)
    halves = [float(p.value(x, order[:6])), float(p.value(x, order[6:]))]
    assert float(p.value(x)) > np.mean(halves) + 0.3
    r = refopt.minimize(p, "sgd", x, lr=1.0, steps=200)
    assert r.fun < 0.7 * np.log(12)
    with pytest.raises(refopt.errors.ShapeError, match="u: wanted shape"):
        p.vjp(x, np.ones((2, 2)))
