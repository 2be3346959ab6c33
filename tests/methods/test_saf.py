"""SAF and MESA: the term's gradient, its epochs, and what is remembered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.sampling import Sampler


def problem(n: int = 12) -> Any:
    rng = np.random.default_rng(0)
    return refopt.problem("softmax", data=(rng.standard_normal((n, 4)), np.arange(n) % 3))


def soft(z: np.ndarray) -> np.ndarray:
    e = np.exp(z)
    return e / e.sum(1, keepdims=True)


def kl(past: np.ndarray, z: np.ndarray, t: float, weight: float) -> Any:
    """The term itself, as the paper has it with the code's T²."""
    p, q = soft(past / t), soft(z / t)
    return weight * t**2 * np.mean(np.sum(p * (np.log(p) - np.log(q)), axis=1))


@pytest.mark.claim("saf")
def test_gradient_of_the_term() -> None:
    """By the logits it is the derivative of λ T² mean KL (complex step, 1e-12), zero where nothing has changed; for a
    small change the term is (λ/2) δᵀ(diag p - ppᵀ)δ, whatever T.
    """
    p, rng, t, weight = problem(), np.random.default_rng(1), 3.0, 0.7
    x = {k: rng.standard_normal(v.shape) for k, v in p.start().items()}
    past = {k: rng.standard_normal(v.shape) for k, v in p.start().items()}
    o = refopt.optimizer("saf", teacher="average", temperature=t, weight=weight)
    got = o.pull(x, {"average": past}, Oracle(p), 9)
    z, old = p.residual(x), p.residual(past)
    for i in range(3):
        for c in range(3):
            step = np.zeros_like(z)
            step[i, c] = 1.0
            want = np.imag(kl(old, z + 1e-30j * step, t, weight)) / 1e-30
            np.testing.assert_allclose(got[i, c], want, rtol=1e-10, atol=1e-14)
    np.testing.assert_array_equal(o.pull(x, {"average": x}, Oracle(p), 9), 0.0)
    delta = 1e-5 * rng.standard_normal(z.shape)
    for hot in (20.0, 40.0):
        q = soft(z / hot)
        want = weight / 2 * np.mean(np.sum(q * delta**2, axis=1) - np.sum(q * delta, axis=1) ** 2)
        np.testing.assert_allclose(kl(z, z + delta, hot, weight), want, rtol=1e-2)


@pytest.mark.identity("saf")
@pytest.mark.parametrize("sampling", ["shuffle", "cyclic", "replacement"])
def test_epochs_written_out(sampling: str) -> None:
    """Seven epochs of three batches, written out with a dict of all logits by epoch and example: the term joins from
    epoch start + 1 to end - 1, with the logits of E epochs before, of examples that were asked for then; to 1e-12.
    """
    p, lr, t, weight, lag = problem(), 0.5, 2.0, 0.8, 2
    o = refopt.optimizer("saf", lr=lr, temperature=t, weight=weight, lag=lag, start=2, end=6)
    sampler = Sampler(12, 4, sampling, 3)
    oracle, x = Oracle(p, 3, sampler), p.start()
    y, s, seen, joined = x, o.init(x), {}, 0
    for k in range(1, 22):
        oracle.begin(k)
        x, s = o.step(x, s, oracle)
        epoch, rows = (k - 1) // 3, sampler.draw(k)
        z, g = p.residual(y, batch=rows), p.grad(y, batch=rows)
        for i, zi in zip(rows, z):
            seen[epoch, int(i)] = zi
        if 2 < epoch < 6:
            u = np.zeros_like(z)
            for j, i in enumerate(rows):
                if (epoch - lag, int(i)) in seen:
                    joined += 1
                    u[j] = soft(z[j : j + 1] / t)[0] - soft(seen[epoch - lag, int(i)][None] / t)[0]
            extra = p.vjp(y, weight * t / 4 * u, batch=rows)
            g = {n: g[n] + extra[n] for n in g}
        y = {n: y[n] - lr * g[n] for n in y}
        for n in x:
            np.testing.assert_allclose(x[n], y[n], rtol=1e-12, atol=1e-14)
    assert joined == 36 if sampling != "replacement" else 12 < joined < 36
    assert oracle.counts.calls["vjp"] == 9
    assert s["t"] == s["base"]["t"] == 21


@pytest.mark.identity("saf")
def test_mesa_written_out() -> None:
    """MESA on all examples: twelve epochs of one step, with the averaged weights' logits on the same batch and the
    average taken after the step, written out to 1e-12; it remembers no logits.
    """
    p, lr, t, weight, decay = problem(), 0.5, 2.0, 0.8, 0.7
    o = refopt.optimizer("saf", dialect="mesa", lr=lr, temperature=t, weight=weight, decay=decay, start=1)
    x = y = average = p.start()
    s, oracle = o.init(x), Oracle(p)
    for k in range(1, 13):
        oracle.begin(k)
        x, s = o.step(x, s, oracle)
        g = p.grad(y)
        if k - 1 > 1:
            u = soft(p.residual(y) / t) - soft(p.residual(average) / t)
            extra = p.vjp(y, weight * t / 12 * u)
            g = {n: g[n] + extra[n] for n in g}
        y = {n: y[n] - lr * g[n] for n in y}
        average = {n: decay * average[n] + (1 - decay) * y[n] for n in y}
        for n in x:
            np.testing.assert_allclose(x[n], y[n], rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(s["average"][n], average[n], rtol=1e-12, atol=1e-14)
    assert "logits" not in s


@pytest.mark.claim("saf")
def test_free_until_it_starts() -> None:
    """λ = 0, or a start after the run, is the base bit for bit, at one gradient a step."""
    p = problem(60)
    common = {"lr": 0.2, "steps": 15, "batch_size": 10}
    base = refopt.minimize(p, "adam", **common)
    for more in ({"weight": 0.0, "start": 0, "lag": 1}, {"start": 9}):
        r = refopt.minimize(p, "saf", base="adam", **more, **common)
        for k in base.x:
            np.testing.assert_array_equal(r.x[k], base.x[k])
        assert r.calls["grad"] == 15


def test_what_has_no_logits() -> None:
    o, x, whole = refopt.optimizer("saf"), np.ones(3), Oracle(refopt.problem("quadratic", n=3))
    with pytest.raises(refopt.errors.CapabilityError, match="not a sum over examples"):
        o.step(x, o.init(x), whole)
    with pytest.raises(refopt.errors.CapabilityError, match="saf needs layers"):
        refopt.minimize(refopt.problem("logistic"), "saf", steps=1)
    plain, x = refopt.problem("logistic", n_examples=20), np.zeros(31)
    with pytest.raises(refopt.errors.CapabilityError, match="logits of a classifier"):
        o.step(x, o.init(x), Oracle(plain))


@pytest.mark.identity("saf")
def test_large_logits() -> None:
    """Logits beyond the range of exp give probabilities all the same."""
    from refopt.wrappers.saf import softened

    for row, want in (([1e4, -1e4, 0.0], [1.0, 0.0, 0.0]), ([-1e4, -1e4, -1e5], [0.5, 0.5, 0.0])):
        np.testing.assert_array_equal(softened(np.array([row]), 1.0), [want])
