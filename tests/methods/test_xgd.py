"""Cross gradient descent: written out, its inequality, its bound, its limits, and checkered regression."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.sampling import Sampler

from tests.methods.matrices import close, complex_columns


def terms(p: Any, x: np.ndarray, i: int) -> tuple[np.ndarray, np.ndarray]:
    """The losses and the gradients of one example's terms, over sign vectors of its label's parity."""
    losses, grads = [], []
    a, m = p.inputs[i], p.planes
    for free in itertools.product((1, -1), repeat=m - 1):
        last = int(np.prod(free)) * (-1 if p.labels[i] else 1)
        eps = np.array([*free, last])
        z = eps * (x @ a)
        losses.append(np.sum(np.log1p(np.exp(-z))))
        grads.append(np.outer(-eps / (1 + np.exp(z)), a))
    return np.array(losses), np.array(grads)


def shares(losses: np.ndarray) -> np.ndarray:
    return np.exp(-losses) / np.sum(np.exp(-losses))


@pytest.mark.identity("xgd")
@pytest.mark.parametrize("planes", [2, 3])
def test_written_out(planes: int) -> None:
    """Seven steps on batches with a falling rate, under equal weights, given ones, and those seen from a point, equal the sum over
    examples and terms written out, to 1e-12.
    """
    p = refopt.problem("checkered-regression", planes=planes, n_examples=15, seed=3)
    S = 2 ** (planes - 1)
    law = np.arange(1.0, S + 1) / np.sum(np.arange(1.0, S + 1))
    eta = p.start(9)
    for kind, options in (("equal", {}), ("given", {"weights": tuple(law)}), ("seen", {"seen_from": eta})):
        o = refopt.optimizer("xgd", lr=lambda t: 0.7 / t, **options)
        oracle, x = Oracle(p, 1, Sampler(15, 6, "shuffle", 1)), p.start(1)
        s = o.init(x)
        for t in range(1, 8):
            oracle.begin(t, x)
            move = np.zeros_like(x)
            for i in oracle.batch:
                mu = {"equal": np.full(S, 1 / S), "given": law, "seen": shares(terms(p, eta, i)[0])}[kind]
                move += np.tensordot(mu, terms(p, x, i)[1], axes=1) / 6
            new, s = o.step(x, s, oracle)
            np.testing.assert_allclose(new, x - 0.7 / t * move, rtol=1e-12)
            assert o.stationarity(x, s, oracle) == pytest.approx(np.max(np.abs(move)), rel=1e-12)
            x = new
        assert s["t"] == 7


@pytest.mark.claim("xgd")
def test_cross_convexity_and_the_bound() -> None:
    """F(η) - F(θ) >= <cross gradient at θ seen from η, η - θ> + mean KL(shares at η, shares at θ) for 300 random pairs (1e-12), and for
    a tenth of them the gradient has no such inequality without the KL; along 80 steps of XGD seen from η
    ``Σ γ (F(θ) - F(η)) <= ‖θ_0 - η‖²/2 + B² Σ γ²/2``, B the mean of √m ‖a_i‖, at every T for three η.
    """
    p = refopt.problem("checkered-regression", planes=3, n_examples=10)
    rng = np.random.default_rng(0)
    broken = 0
    for _ in range(300):
        theta, eta = 2 * rng.standard_normal((2, 3, 2))
        at_eta, at_theta = p.term_weights(eta), p.term_weights(theta)
        kl = float(np.mean(np.sum(at_eta * np.log(at_eta / at_theta), axis=1)))
        rise = float(p.value(eta) - p.value(theta))
        assert rise >= float(np.sum(p.term_grad(theta, at_eta) * (eta - theta))) + kl - 1e-12
        broken += rise < float(np.sum(p.grad(theta) * (eta - theta))) - 1e-9
    assert broken > 30
    B = float(np.mean(np.sqrt(3) * np.linalg.norm(p.inputs, axis=1)))
    for seed in range(3):
        eta, start, seen = 2 * p.start(seed), p.start(seed + 10), []
        gamma = [0.9 / (B * t**0.5) for t in range(1, 81)]
        refopt.minimize(
            p, "xgd", start, lr=lambda t: 0.9 / (B * t**0.5), seen_from=eta, steps=80, callback=seen.append
        )
        left = 0.0
        for T, x in enumerate([start, *seen[:-1]]):
            left += gamma[T] * float(p.value(x) - p.value(eta))
            used = np.array(gamma[: T + 1])
            assert left <= np.sum((start - eta) ** 2) / 2 + B**2 * np.sum(used**2) / 2


@pytest.mark.identity("xgd")
def test_limits() -> None:
    """One plane: the gradient descent of logistic regression, 20 steps, to 1e-13; seen from the point itself a step is gradient
    descent's (1e-14); in the terms' saddle at 0 gradient descent stays, and XGD seen from elsewhere leaves it.
    """
    p = refopt.problem("checkered-regression", planes=1, n_examples=12)
    q = refopt.problem("logistic", data=(p.inputs, 1.0 - p.labels), intercept=False)
    a = refopt.minimize(p, "xgd", np.array([[0.3, -0.2]]), lr=0.5, steps=20)
    b = refopt.minimize(q, "sgd", np.array([0.3, -0.2]), lr=0.5, steps=20)
    np.testing.assert_allclose(a.x[0], b.x, rtol=1e-13)
    p = refopt.problem("checkered-regression")
    x = p.start(3)
    one = refopt.minimize(p, "xgd", x, lr=0.5, seen_from=x, steps=1).x
    np.testing.assert_allclose(one, x - 0.5 * p.grad(x), rtol=1e-14)
    zero = np.zeros((2, 2))
    np.testing.assert_array_equal(refopt.minimize(p, "sgd", zero, lr=1.0, steps=5).x, 0.0)
    eta = np.array([[3.0, 0.0], [0.0, 3.0]])
    r = refopt.minimize(p, "xgd", zero, lr=1.0, seen_from=eta, steps=100)
    assert r.fun < 0.25 < 0.69 < float(p.value(zero))


def test_weights_that_are_no_law() -> None:
    p = refopt.problem("checkered-regression")
    for options, error, name in (
        ({"weights": (0.5, 0.4)}, "ArgumentError", "weights"),
        ({"weights": (0.7, 0.4)}, "ArgumentError", "weights"),
        ({"weights": (1.5, -0.5)}, "ArgumentError", "weights"),
        ({"weights": (0.5, 0.5), "seen_from": p.start()}, "ArgumentError", "seen_from"),
        ({"weights": (0.5, 0.25, 0.25)}, "ShapeError", "weights"),
    ):
        with pytest.raises(getattr(refopt.errors, error), match=name):
            refopt.minimize(p, "xgd", steps=1, **options)


@pytest.mark.identity("checkered-regression")
@pytest.mark.parametrize("planes", [1, 2, 4])
def test_checkered_derivatives(planes: int) -> None:
    """The loss is -log of (1 ± Π tanh(<w_k, a>/2))/2, to 1e-12, shares are those of the terms written out (1e-12), and the gradient
    equals complex steps, on all examples and a batch, and for m >= 2 the closed form with one factor left out (1e-11).
    """
    p = refopt.problem("checkered-regression", planes=planes, n_examples=9)
    x = p.start(2)
    for batch in (None, np.array([1, 7])):
        chosen = np.arange(9) if batch is None else batch
        z, y = p.inputs[chosen] @ x.T, p.labels[chosen]
        probability = (1 + np.where(y, -1, 1) * np.prod(np.tanh(z / 2), axis=1)) / 2
        assert float(p.value(x, batch)) == pytest.approx(-np.mean(np.log(probability)), rel=1e-12)
        close(p.grad(x, batch).ravel(), complex_columns(lambda w, b=batch: p.value(w, b).reshape(1), x)[0])
        np.testing.assert_allclose(
            p.term_weights(x, batch), [shares(terms(p, x, i)[0]) for i in chosen], rtol=1e-12
        )
        if planes > 1:
            slopes = np.empty_like(z)
            for k in range(planes):
                rest = (1 + np.where(y, -1, 1) * np.prod(np.tanh(np.delete(z, k, 1) / 2), axis=1)) / 2
                slopes[:, k] = (1 - rest / probability) / (1 + np.exp(-z[:, k]))
            np.testing.assert_allclose(
                p.grad(x, batch), slopes.T @ p.inputs[chosen] / len(chosen), rtol=1e-11
            )
    far = np.full((planes, 2), 400.0)
    assert np.isfinite(p.value(far)) and np.all(np.isfinite(p.grad(far)))


@pytest.mark.claim("checkered-regression")
def test_checkerboard() -> None:
    """Every flip of one plane's side turns the decision over: P(0) becomes 1 - P(0), to 1e-14; the four clouds are told apart by two
    planes to 0.05, which one cannot do, whose loss stays above 0.6.
    """
    p = refopt.problem("checkered-regression", planes=3, n_examples=5)
    x = p.start(1)
    flipped = x * np.array([[1.0], [-1.0], [1.0]])
    for i in range(5):
        one = np.exp(-float(p.value(x, np.array([i])))), np.exp(-float(p.value(flipped, np.array([i]))))
        assert sum(one) == pytest.approx(1.0, abs=1e-14)
    fun = {
        m: refopt.minimize(refopt.problem("checkered-regression", planes=m), "sgd", lr=3.0, steps=300).fun
        for m in (1, 2)
    }
    assert fun[2] < 0.05 < 0.6 < fun[1]
    with pytest.raises(refopt.errors.ArgumentError, match="labels"):
        refopt.problem("checkered-regression", data=(np.ones((3, 2)), np.array([0, 1, 2])))
    with pytest.raises(refopt.errors.ShapeError, match="weights"):
        p.term_grad(x, np.ones(4))
