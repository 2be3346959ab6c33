"""TrAct: its closed form, what it minimises, its limits, and the layers that it leaves alone."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.sampling import Sampler
from refopt.wrappers.tract import fitted

from tests.alike import SMALL_MLP, steps_on
from tests.parity.case import Arrays, Case


def batches(size: int) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.choice(20, size, replace=False) for _ in range(6)]


def ours(seed: int, size: int) -> Arrays:
    p = refopt.problem("mlp", **SMALL_MLP)
    o = refopt.optimizer("tract", base="momentum", lr=0.2, momentum=0.6, damping=0.05)
    x, rows = p.start(seed), []
    s = o.init(x)
    for batch in batches(size):
        x, s = o.step(x, s, Oracle(p).on(batch))
        rows.append(np.concatenate([v.ravel() for v in x.values()]))
    return {"x": np.stack(rows)}


CASES = [
    Case("tract", f"official-{size}", "Felix-Petersen/tract@8c04529", functools.partial(ours, size=size), None,
        says=f"The authors' linear layer in a tanh network (6 steps with momentum, batches of {size}, of 5 inputs) to 1e-12")
    for size in (3, 12)
]  # fmt: skip


@pytest.mark.identity("tract")
@pytest.mark.parametrize("size", [3, 20])
def test_written_out(size: int) -> None:
    """Seven steps with momentum on batches of 3 (fewer than the 5 inputs) and 20 equal those with ``∇W1 inv(XᵀX/B + λ I)``, the rest
    untouched, to 1e-10.
    """
    p = refopt.problem("mlp", **SMALL_MLP)
    base = refopt.optimizer("momentum", lr=0.1, momentum=0.7)
    o = refopt.optimizer("tract", base=base, damping=0.3)
    sampler = Sampler(20, size, "shuffle", 1)
    oracle, x, y = Oracle(p, 0, sampler), p.start(1), p.start(1)
    s, b = o.init(x), base.init(y)
    for t in range(1, 8):
        oracle.begin(t, x)
        x, s = o.step(x, s, oracle)
        X = p.inputs[oracle.batch]
        g = dict(p.grad(y, oracle.batch))
        g["W1"] = g["W1"] @ np.linalg.inv(X.T @ X / size + 0.3 * np.eye(5))
        y, b = base.update(y, g, b)
        for k in y:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-10, atol=1e-12)
        assert s["t"] == t


@pytest.mark.claim("tract")
def test_what_it_minimises() -> None:
    """No other of 300 moves has a lower ``‖X Dᵀ - B Δ‖²/B + λ ‖D‖²`` than D = G (XᵀX/B + λ I)⁻¹, with more examples than inputs and with
    fewer, where both systems agree to 1e-12; for λ → 0 the pre-activations of fewer examples move by B Δ (1e-5), and for
    λ = 1e8 λ D is the gradient (1e-6).
    """
    rng = np.random.default_rng(0)
    for B, n in ((9, 4), (4, 9)):
        X, delta = rng.standard_normal((B, n)), rng.standard_normal((B, 3)) / B
        G = delta.T @ X
        D = fitted(G, X, 0.2)
        np.testing.assert_allclose(
            D, G @ np.linalg.inv(X.T @ X / B + 0.2 * np.eye(n)), rtol=1e-11, atol=1e-12
        )

        def cost(D: np.ndarray, X: Any = X, delta: Any = delta, B: int = B) -> float:
            return float(np.sum((X @ D.T - B * delta) ** 2) / B + 0.2 * np.sum(D**2))

        moves = [10 ** -rng.uniform(0, 4) * rng.standard_normal(D.shape) for _ in range(300)]
        assert all(cost(D) <= cost(D + m) for m in moves)
        np.testing.assert_allclose(1e8 * fitted(G, X, 1e8), G, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(X @ fitted(G, X, 1e-7).T, B * delta, rtol=1e-5, atol=1e-6)


@pytest.mark.claim("tract")
def test_it_trains_the_first_layer_faster() -> None:
    """On ill-scaled inputs thirty steps of gradient descent end lower than without it, whatever of four rates that has, in the
    first layer alone and all of them.
    """
    rng = np.random.default_rng(4)
    X = rng.standard_normal((60, 5)) * np.array([3.0, 1.0, 0.3, 0.1, 0.05])
    labels = (np.sin(X[:, 1] * 2) + 8 * X[:, 3] + 10 * X[:, 4] > 0).astype(int)
    p = refopt.problem("mlp", widths=(6,), data=(X, labels))
    x = p.start(1)
    plain = min(refopt.minimize(p, "sgd", x, lr=lr, steps=30).fun for lr in (0.1, 0.3, 1.0, 3.0))
    ours = min(
        refopt.minimize(p, "tract", x, lr=lr, damping=0.03, steps=30).fun for lr in (0.1, 0.3, 1.0, 3.0)
    )
    assert ours < 0.8 * plain


@pytest.mark.identity("tract")
def test_other_leaves_and_bases() -> None:
    """A softmax model's one layer is the first; SVRG's gradients elsewhere are replaced with the inputs of their own examples; steps
    from one start on one batch differ from the base's in W1 alone.
    """
    p = refopt.problem("mlp", **SMALL_MLP)
    plain = steps_on(p, refopt.optimizer("sgd", lr=0.1), 1)[0][0]
    ours = steps_on(p, refopt.optimizer("tract", lr=0.1), 1)[0][0]
    changed = [k for k in plain if not np.array_equal(plain[k], ours[k])]
    assert changed == ["W1"]
    q = refopt.problem("softmax", data=SMALL_MLP["data"])
    x = {k: v + 0.1 for k, v in q.start().items()}
    got = refopt.minimize(q, "tract", x, lr=1.0, damping=0.5, steps=1).x
    g = q.grad(x)
    np.testing.assert_allclose(
        x["W"] - got["W"], g["W"] @ np.linalg.inv(q.inputs.T @ q.inputs / 20 + 0.5 * np.eye(5)), rtol=1e-10
    )
    r = refopt.minimize(p, "tract", base="svrg", lr=0.05, batch_size=5, steps=6)
    assert r.calls["layers"] > 6 and np.isfinite(r.fun)
