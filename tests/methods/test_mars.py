"""MARS and STORM; exact and approximate form; orthogonal steps.

MARS against a literal transcription, Lion and Muon.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.sampling import Sampler

from tests.streams import schedule, stream


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


@pytest.mark.identity("mars-adamw", "mars-lion", "mars-shampoo")
@pytest.mark.parametrize("name", ["mars-adamw", "mars-lion", "mars-shampoo"])
def test_coupled_decay_is_part_of_the_corrected_gradient(name: str) -> None:
    """At gamma = 0, unclipped, coupled decay is the same method fed with g + λ x, to 1e-12."""
    x, gradients = stream(2, "random", steps=20, shapes={"w": (4, 3)})
    settings = {"lr": 0.05, "gamma": 0.0, "clip": "none"}
    coupled = refopt.optimizer(name, weight_decay=0.3, decay="coupled", **settings)
    plain = refopt.optimizer(name, weight_decay=0.0, **settings)
    y, s, r = x, coupled.init(x), plain.init(x)
    for g in gradients:
        y, r = plain.update(y, {"w": g["w"] + 0.3 * y["w"]}, r)
        x, s = coupled.update(x, g, s)
        np.testing.assert_allclose(x["w"], y["w"], rtol=1e-12, atol=1e-14)


@pytest.mark.identity("mars-adamw")
def test_algorithm_2() -> None:
    """Equals Algorithm 2 transcribed with Python floats, clipped by the whole vector, to 1e-13."""
    lr, b1, b2, eps, gamma, lam = 0.02, 0.8, 0.7, 1e-3, 0.3, 0.1
    x, gradients = stream(3, "random", steps=60, shapes={"a": (4,), "b": (2,)})
    gradients = [{k: v * (0.02 if t % 3 else 1.0) for k, v in g.items()} for t, g in enumerate(gradients)]
    o = refopt.optimizer(
        "mars-adamw", lr=lr, beta1=b1, beta2=b2, eps=eps, gamma=gamma, weight_decay=lam, schedule=schedule
    )
    s = o.init(x)
    theta = [float(v) for v in (*x["a"], *x["b"])]
    m, v, last = [0.0] * 6, [0.0] * 6, None
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        now = [float(e) for e in (*g["a"], *g["b"])]
        c = [gi + gamma * b1 / (1 - b1) * (gi - li) for gi, li in zip(now, last or now)]
        last, length = now, math.sqrt(sum(e * e for e in c))
        if length > 1:
            c = [e / length for e in c]
        eta = lr * schedule(t)
        for i in range(6):
            m[i] = b1 * m[i] + (1 - b1) * c[i]
            v[i] = b2 * v[i] + (1 - b2) * c[i] ** 2
            u = (m[i] / (1 - b1**t)) / (math.sqrt(v[i] / (1 - b2**t)) + eps)
            theta[i] -= eta * (u + lam * theta[i])
        np.testing.assert_allclose([*x["a"], *x["b"]], theta, rtol=1e-13, atol=1e-13)


@pytest.mark.identity("mars-lion")
def test_mars_lion_contains_lion() -> None:
    """Unclipped from zero with beta1 = Lion's beta2, gamma = 1 - beta1 / beta2: Lion, to 1e-13.

    beta1 = b2, gamma = 1 - b1 / b2, unclipped, last gradient zero: Lion(b1, b2); not from x_1 = x_0.
    """
    b1, b2 = 0.7, 0.9
    x, gradients = stream(0, "flip", steps=80)
    common = {"lr": 0.05, "weight_decay": 0.1, "schedule": schedule}
    lion = refopt.optimizer("lion", beta1=b1, beta2=b2, **common)
    mars = {
        first: refopt.optimizer("mars-lion", beta1=b2, gamma=1 - b1 / b2, clip="none", first=first, **common)
        for first in ("zero", "current")
    }
    points, states = dict.fromkeys(mars, x), {k: o.init(x) for k, o in mars.items()}
    s = lion.init(x)
    for g in gradients:
        x, s = lion.update(x, g, s)
        for k, o in mars.items():
            points[k], states[k] = o.update(points[k], g, states[k])
        for k in x:
            np.testing.assert_allclose(points["zero"][k], x[k], rtol=1e-13, atol=1e-13)
    assert any(np.max(np.abs(points["current"][k] - x[k])) > 1e-2 for k in x)


@pytest.mark.identity("mars-shampoo")
def test_mars_shampoo_contains_muon() -> None:
    """gamma = 0: Muon without Nesterov momentum, both with a converged polar factor, to 1e-10.

    gamma = 0: momentum's polar factor, as Muon's without Nesterov and with converged Newton-Schulz.
    """
    x, gradients = stream(0, "random", steps=30, shapes={"w": (3, 4)})
    common = {"lr": 0.05, "weight_decay": 0.1, "schedule": schedule}
    a = refopt.optimizer("mars-shampoo", beta1=0.9, gamma=0.0, **common)
    b = refopt.optimizer(
        "muon",
        momentum=0.9,
        nesterov=False,
        coefficients="cubic",
        ns_steps=60,
        scale="none",
        eps=0.0,
        **common,
    )
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        # A polar factor's condition is that of the matrix, here below 1e3.
        np.testing.assert_allclose(x["w"], y["w"], atol=1e-10)


def test_last_gradient_is_a_copy() -> None:
    """Gradients that are written into one buffer give the same run (the official code does not)."""
    x, gradients = stream(0, "random", steps=6, shapes={"w": (3, 4)})
    o = refopt.optimizer("mars-adamw", lr=0.1)
    y, s, sb, buffer = x, o.init(x), o.init(x), {"w": np.empty((3, 4))}
    for g in gradients:
        x, s = o.update(x, g, s)
        buffer["w"][...] = g["w"]
        y, sb = o.update(y, buffer, sb)
    np.testing.assert_array_equal(x["w"], y["w"])
