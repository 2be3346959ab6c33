"""MARS and STORM; exact and approximate form; orthogonal steps."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle, Sampler

from tests.streams import stream


@pytest.mark.claim("mars-adamw")
def test_exact_form_is_storm() -> None:
    """gamma = 1, exact, unclipped: the averaged gradient is STORM's estimator, to 1e-12.

    gamma = 1, exact, unclipped: m_t = b1 (m_{t-1} - grad f(x_{t-1}, xi_t)) + grad f(x_t, xi_t).
    """
    p, b1 = refopt.problem("logistic", l2=0.1), 0.8
    o = refopt.optimizer("mars-adamw", lr=0.05, beta1=b1, gamma=1.0, exact=True, clip="none")
    oracle = Oracle(p, 0, Sampler(p.n_examples, 8, "shuffle", 0))
    x = p.start(0)
    s, before, storm = o.init(x), None, None
    for t in range(1, 25):
        oracle.begin(t)
        now = p.grad(x, batch=oracle.batch)
        # m_0 = 0 gives (1 - b1) g_1, where STORM starts with g_1; from there it is STORM's recursion.
        storm = (1 - b1) * now if t == 1 else b1 * (storm - p.grad(before, batch=oracle.batch)) + now
        new, s = o.step(x, s, oracle)
        np.testing.assert_allclose(s["m"][""], storm, rtol=1e-12, atol=1e-14)
        before, x = x, new


@pytest.mark.claim("mars-adamw", "mars-lion")
@pytest.mark.parametrize("name", ["mars-adamw", "mars-lion", "mars-shampoo"])
def test_forms_agree_without_noise(name: str) -> None:
    """On a deterministic function exact and approximate form agree, to 1e-13.

    A deterministic function: the gradient at the last point is the last gradient.
    """
    p = refopt.problem("mlp", widths=(4,))
    a = refopt.minimize(p, name, steps=25, lr=0.02, gamma=0.2)
    b = refopt.minimize(p, name, steps=25, lr=0.02, gamma=0.2, exact=True)
    for k in a.x:
        np.testing.assert_allclose(a.x[k], b.x[k], rtol=1e-13, atol=1e-13)
    assert b.calls["grad"] == 2 * a.calls["grad"] - 1


@pytest.mark.claim("mars-shampoo")
def test_shampoo_step_is_orthogonal() -> None:
    """Every singular value of the step is lr, to 1e-13.

    Without decay every singular value of a step is lr, whatever the gradients' scale.
    """
    x, gradients = stream(0, "ill", steps=20, shapes={"w": (3, 4)})
    o = refopt.optimizer("mars-shampoo", lr=0.25)
    s = o.init(x)
    for g in gradients:
        new, s = o.update(x, g, s)
        np.testing.assert_allclose(np.linalg.svd(new["w"] - x["w"], compute_uv=False), 0.25, rtol=1e-13)
        x = new


def test_shampoo_scale() -> None:
    """scale="max" multiplies a tall matrix's step by sqrt(rows / columns)."""
    x = np.zeros((6, 2))
    o = refopt.optimizer("mars-shampoo", lr=0.25, scale="max")
    new, _ = o.update(x, np.random.default_rng(0).standard_normal((6, 2)), o.init(x))
    np.testing.assert_allclose(np.linalg.svd(new, compute_uv=False), 0.25 * np.sqrt(3.0), rtol=1e-13)
