"""Dion."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import schedule, stream


@pytest.mark.identity("dion")
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 2, 2)])
def test_by_hand(shape: tuple[int, ...]) -> None:
    """Eight steps of rank 2 by Gram-Schmidt with NumPy alone, with decay, a large ε and a schedule,
    to 1e-9."""
    o = refopt.optimizer(
        "dion", lr=0.1, momentum=0.7, fraction=0.5, eps=0.1, weight_decay=0.2, schedule=schedule
    )
    x, gradients = stream(0, "random", steps=8, shapes={"w": shape})
    y, x = x["w"].reshape(shape[0], -1), x["w"]
    s = o.init(x)
    q, m, scale = s["q"][""], 0.0 * y, np.sqrt(y.shape[0] / y.shape[1])
    assert q.shape == (y.shape[1], 2)
    for t, g in enumerate((g["w"] for g in gradients), 1):
        x, s = o.update(x, g, s)
        b = m + g.reshape(y.shape)
        # Gram-Schmidt, column by column.
        columns = []
        for a in (b @ q).T:
            for c in columns:
                a = a - (a @ c) * c
            columns.append(a / np.linalg.norm(a))
        p = np.stack(columns, axis=1)
        r = b.T @ p
        m = b - 0.3 * p @ r.T
        q = r / (np.linalg.norm(r, axis=0) + 0.1)
        lr = 0.1 * schedule(t)
        y = (1 - 0.2 * lr) * y - lr * scale * p @ q.T
        np.testing.assert_allclose(x.reshape(y.shape), y, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(s["m"][""].reshape(y.shape), m, rtol=1e-9, atol=1e-9)


@pytest.mark.claim("dion")
def test_the_polar_factor_at_full_rank() -> None:
    """A constant gradient at full rank: the step tends to the polar factor times η sqrt(m / n) and M to μ / (1 - μ) G, in 60 steps, to 1e-9; a
    gradient of zero at first moves nothing and keeps Q."""
    g = np.random.default_rng(0).standard_normal((4, 3))
    o = refopt.optimizer("dion", lr=1.0, momentum=0.5, weight_decay=0.0, eps=0.0)
    x, start = np.ones((4, 3)), o.init(np.ones((4, 3)))
    x, s = o.update(x, 0.0 * g, start)
    np.testing.assert_array_equal(x, np.ones((4, 3)))
    np.testing.assert_array_equal(s["q"][""], start["q"][""])
    for _ in range(60):
        y, s = o.update(x, g, s)
        step, x = y - x, y
    u, _, vt = np.linalg.svd(g, full_matrices=False)
    np.testing.assert_allclose(step, -np.sqrt(4 / 3) * u @ vt, atol=1e-9)
    np.testing.assert_allclose(s["m"][""], g, atol=1e-9)


@pytest.mark.claim("dion")
def test_nothing_is_lost() -> None:
    """Error feedback: M_t and what the steps of rank 1 took, (1 - μ) Σ P Rᵀ, are together the sum of all gradients, over twelve steps, to 1e-12;
    every step but for decay has rank 1 and the norm η sqrt(m / n)."""
    o = refopt.optimizer("dion", lr=0.5, momentum=0.8, fraction=0.2, weight_decay=0.0, eps=0.0, seed=3)
    x, gradients = stream(1, "ill", steps=12, shapes={"w": (4, 3)})
    x, s, taken, total = x["w"], o.init(x["w"]), np.zeros((4, 3)), np.zeros((4, 3))
    for g in (g["w"] for g in gradients):
        before = s["m"][""]
        y, s = o.update(x, g, s)
        values = np.linalg.svd(y - x, compute_uv=False)
        assert values[0] == pytest.approx(0.5 * np.sqrt(4 / 3), rel=1e-10)
        assert values[1] < 1e-10
        part = before + g - s["m"][""]
        assert np.linalg.svd(part, compute_uv=False)[1] < 1e-10 * np.linalg.norm(part)
        taken, total, x = taken + part, total + g, y
    np.testing.assert_allclose(s["m"][""] + taken, total, rtol=1e-9, atol=1e-9)


def test_the_unit_of_the_loss_does_not_matter() -> None:
    """Without ε gradients a 1024th as large give the same run, to 1e-9: Q follows small R, too."""
    o = refopt.optimizer("dion", eps=0.0, fraction=0.5)
    run = stream(2, "random", steps=8, shapes={"w": (4, 3)})
    assert_same_run(o, o, run, rtol=1e-9, atol=1e-9, change=lambda g: {k: 2.0**-10 * v for k, v in g.items()})
