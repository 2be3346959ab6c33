"""Forward gradients: moments, never an ascent direction, and projections on guesses."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.methods.values import Cubic, H, Linear, X, at, nodes

G = np.array([1.5, -0.5])


@pytest.mark.claim("forward-gradient")
def test_covariance() -> None:
    """One Gaussian sample has the covariance ‖g‖² I + g gᵀ, by quadrature to 1e-12."""
    o, second = refopt.optimizer("forward-gradient"), np.zeros((2, 2))
    for w, z in nodes("gaussian", 1):
        g = o.estimate(at(Linear(0.0, G), *z), np.zeros(2))
        second += w * np.outer(g, g)
    np.testing.assert_allclose(second - np.outer(G, G), G @ G * np.eye(2) + np.outer(G, G), atol=1e-12)


@pytest.mark.identity("forward-gradient")
def test_is_the_limit_of_two_points() -> None:
    """On a quadratic it equals the two-point estimate along the same direction, whatever μ, to 1e-11; ĝᵀg is
    (gᵀv)², so never an ascent direction.
    """
    p = Cubic(H)
    for seed in range(5):
        one, two = Oracle(p, seed), Oracle(p, seed)
        one.begin(1), two.begin(1)
        got = refopt.optimizer("forward-gradient").estimate(one, X)
        want = refopt.optimizer("two-point-gradient", radius=0.7).estimate(two, X)
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)
        assert got @ p.grad(X) >= 0
        assert one.counts.calls == {"directional": 1}


@pytest.mark.identity("forward-gradient-guided")
def test_projection() -> None:
    """It is the orthogonal projection of the gradient on the guess: G = -3 g gives g, the rest of any other is
    orthogonal to the guess, and its length does not matter (1e-12).
    """
    p = Cubic(H)
    g = p.grad(X)

    def guided(guess: np.ndarray, **more: object) -> np.ndarray:
        return refopt.optimizer("forward-gradient-guided", guess=lambda oracle, x: guess, **more).estimate(
            Oracle(p), X
        )

    np.testing.assert_allclose(guided(-3.0 * g), g, rtol=1e-12)
    other = np.array([1.0, 2.0, -0.5])
    got = guided(other)
    np.testing.assert_allclose(got, (g @ other) / (other @ other) * other, rtol=1e-12)
    np.testing.assert_allclose(guided(1e-200 * other), got, rtol=1e-12)
    np.testing.assert_allclose(
        guided(other, eps=2.0), (g @ other) / (other @ other + 2.0) * other, rtol=1e-12
    )
    np.testing.assert_allclose(guided(other, normalize=False), (g @ other) * other, rtol=1e-12)
    np.testing.assert_array_equal(guided(0.0 * other), 0.0)


@pytest.mark.claim("forward-gradient-guided")
def test_random_guesses() -> None:
    """A random direction of R^d keeps ‖g‖²/d of the gradient's square and has the mean g/d; not divided, it is
    the unbiased forward gradient (d + 2)‖g‖²: by quadrature over the circle and the normal law, to 1e-12.
    """
    p = Linear(0.0, G)
    for normalize, law in ((True, "sphere"), (False, "gaussian")):
        o = refopt.optimizer("forward-gradient-guided", normalize=normalize)
        mean, square = np.zeros(2), 0.0
        for w, z in nodes(law, 1):
            g = o.estimate(at(p, *z), np.zeros(2))
            mean, square = mean + w * g, square + w * float(g @ g)
        want = (G / 2, G @ G / 2) if normalize else (G, 4 * (G @ G))
        np.testing.assert_allclose(mean, want[0], atol=1e-12)
        np.testing.assert_allclose(square, want[1], rtol=1e-12)
        np.testing.assert_allclose(o.moments(0.0, G)[0], want[0])
        np.testing.assert_allclose(o.moments(0.0, G)[1], want[1])


@pytest.mark.identity("forward-gradient-guided")
def test_leaf_by_leaf_and_example_by_example() -> None:
    """Weights and biases have a projection each, and so has every example where that is asked for: the formula
    written out on the example gradients of a softmax layer, to 1e-12.
    """
    rng = np.random.default_rng(0)
    p = refopt.problem("softmax", data=(rng.standard_normal((6, 3)), np.arange(6) % 3), l2=0.1)
    x = {k: 0.3 * rng.standard_normal(v.shape) for k, v in p.start().items()}
    rows = np.array([4, 1, 3])
    there = {k: v + 1.0 for k, v in x.items()}
    targets, guesses = p.example_grads(x, batch=rows), p.example_grads(there, batch=rows)

    def projected(t: np.ndarray, g: np.ndarray) -> np.ndarray:
        return np.sum(t * g) / np.sum(g * g) * g

    for each in (True, False):
        o = refopt.optimizer(
            "forward-gradient-guided", guess=lambda oracle, w: oracle.grad(there), per_example=each
        )
        oracle = Oracle(p).on(rows)
        got = o.estimate(oracle, x)
        for k in x:
            if each:
                want = np.mean([projected(t, g) for t, g in zip(targets[k], guesses[k])], axis=0)
            else:
                want = projected(targets[k].mean(0), guesses[k].mean(0))
            np.testing.assert_allclose(got[k], want, rtol=1e-12, atol=1e-15)
        assert oracle.counts.calls["directional"] == (6 if each else 2)
    whole = refopt.optimizer("forward-gradient-guided", guess=lambda o, w: there, per_example=True)
    oracle = Oracle(p)
    whole.estimate(oracle, x)
    assert oracle.counts.calls == {"directional": 12}


def test_guess_that_is_none() -> None:
    with pytest.raises(refopt.errors.ArgumentTypeError, match="guess: wanted a function"):
        refopt.optimizer("forward-gradient-guided", guess=3)
