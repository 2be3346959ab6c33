"""TNGD: its law against dense matrices and Euler's steps, and its two limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
import scipy.linalg
from refopt.core.oracle import Oracle
from refopt.core.params import flatten
from refopt.core.rng import generator


def network(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return refopt.problem("mlp", data=(rng.standard_normal((6, 2)), np.arange(6) % 2), widths=(2,), l2=0.0)


def matrices(p: Any, x: Any, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """A and the gradient."""
    G = refopt.curvature("ggn", p, x).dense()
    return G + damping * np.eye(len(G)), flatten(p.grad(x))


def moved(p: Any, x: Any, steps: int = 1, seed: int = 0, **kwargs: Any) -> np.ndarray:
    return flatten(refopt.minimize(p, "tngd", x, steps=steps, seed=seed, **kwargs).x)


@pytest.mark.identity("tngd")
@pytest.mark.parametrize("start", ["gradient", "last"])
def test_the_mean(start: str) -> None:
    """Three steps: y = e^(-Aτ) y(0) + A⁻¹ (I - e^(-Aτ)) g with dense A and SciPy's exponential, y(0) = g or the last y; to 1e-10."""
    p = network()
    x, lr, tau, lam = p.start(0), 0.3, 2.5, 0.2
    rows: list[Any] = []
    refopt.minimize(
        p, "tngd", x, lr=lr, time=tau, damping=lam, start=start, steps=3, callback=lambda x: rows.append(x)
    )
    y = np.zeros(flatten(x).size)
    for row in rows:
        A, g = matrices(p, x, lam)
        E = scipy.linalg.expm(-tau * A)
        y = E @ (g if start == "gradient" else y) + np.linalg.solve(A, g - E @ g)
        np.testing.assert_allclose(flatten(row), flatten(x) - lr * y, rtol=1e-10, atol=1e-11)
        x = row


@pytest.mark.claim("tngd")
def test_its_limits() -> None:
    """At once it is SGD, to 1e-13; after a long time without noise damped natural gradient, to 1e-10; early on, linear in τ."""
    p = network(1)
    x = p.start(1)
    A, g = matrices(p, x, 0.1)
    sgd = flatten(refopt.minimize(p, "sgd", x, lr=0.3, steps=4).x)
    np.testing.assert_allclose(moved(p, x, 4, lr=0.3, time=0.0), sgd, rtol=1e-13)
    for tau in (1e4, np.inf):
        np.testing.assert_allclose(
            moved(p, x, lr=0.3, time=tau, damping=0.1),
            flatten(x) - 0.3 * np.linalg.solve(A, g),
            rtol=1e-10,
            atol=1e-12,
        )
    tau = 1e-4
    y = (flatten(x) - moved(p, x, lr=1.0, time=tau, damping=0.1)) - g
    np.testing.assert_allclose(y / tau, -(A @ g - g), rtol=1e-3, atol=1e-3 * np.linalg.norm(g))


@pytest.mark.claim("tngd")
def test_the_covariance() -> None:
    """The noise is linear in the seed's normal numbers, by the symmetric root of κ A⁻¹ (I - e^(-2Aτ)), to 1e-10."""
    p = network(2)
    x, tau, kappa = p.start(2), 0.7, 0.04
    A, _ = matrices(p, x, 0.1)
    n = len(A)
    covariance = kappa * np.linalg.solve(A, np.eye(n) - scipy.linalg.expm(-2 * tau * A))
    values, vectors = np.linalg.eigh(covariance)
    root = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    quiet = moved(p, x, lr=1.0, time=tau, damping=0.1)
    for seed in range(3):
        z = generator(seed, "method", 1).standard_normal(n)
        noisy = moved(p, x, seed=seed, lr=1.0, time=tau, damping=0.1, temperature=kappa)
        np.testing.assert_allclose(quiet - noisy, root @ z, rtol=1e-9, atol=1e-11)


@pytest.mark.identity("tngd")
def test_euler() -> None:
    """Euler-Maruyama transcribed (a short last step included), to 1e-12; without noise it comes to the law's mean as dt falls."""
    p = network(3)
    x, tau, kappa, dt, lam = p.start(3), 0.35, 0.02, 0.1, 0.2
    A, g = matrices(p, x, lam)
    rng, y = generator(4, "method", 1), g
    for h in (0.1, 0.1, 0.1, 0.05):
        y = y - h * (A @ y - g) + np.sqrt(2 * kappa * h) * rng.standard_normal(len(g))
    common: dict[str, Any] = {"lr": 1.0, "damping": lam, "process": "euler", "time": tau}
    got = moved(p, x, seed=4, dt=dt, temperature=kappa, **common)
    np.testing.assert_allclose(got, flatten(x) - y, rtol=1e-12, atol=1e-13)
    exact = moved(p, x, lr=1.0, damping=lam, time=tau)
    gaps = [np.linalg.norm(moved(p, x, dt=h, **common) - exact) for h in (0.05, 0.025)]
    assert 1.8 < gaps[0] / gaps[1] < 2.3
    r = refopt.minimize(p, "tngd", x, steps=1, dt=dt, **common)
    assert dict(r.calls) == {"grad": 1, "jvp": 4, "loss_hessian": 4, "vjp": 4}
    assert "y" not in r.state


def test_a_step_on_batches() -> None:
    """The curvature is that of the step's batch."""
    p = network(4)
    x, at = p.start(4), np.arange(2)
    o = refopt.optimizer("tngd", lr=1.0, time=np.inf, damping=0.1)
    new, _ = o.step(x, o.init(x), Oracle(p).on(at))
    A = refopt.curvature("ggn", p, x, at).dense() + 0.1 * np.eye(flatten(x).size)
    np.testing.assert_allclose(
        flatten(x) - flatten(new), np.linalg.solve(A, flatten(p.grad(x, at))), rtol=1e-9, atol=1e-11
    )
