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


class Leaves:
    """f = Σ xᵀHx/2 over the leaves."""

    def __init__(self, hess: dict[str, np.ndarray]) -> None:
        self.hess = hess

    def value(self, x: dict[str, np.ndarray]) -> float:
        return sum(float(x[k] @ h @ x[k]) / 2 for k, h in self.hess.items())

    def directional(self, x: dict[str, np.ndarray], v: dict[str, np.ndarray]) -> float:
        return sum(float(v[k] @ h @ x[k]) for k, h in self.hess.items())


@pytest.mark.claim("forward-gradient-guided")
def test_descent_by_the_cosine_of_the_guess() -> None:
    """Whatever the guess, ĝᵀg = ‖ĝ‖² = Σ cos²(g_l, G_l) ‖g_l‖² over the leaves (1e-11), and no other multiple of G is
    nearer to g; so with η = 1/L each of 40 steps lowers f by that over 2 L at least, and by just that where H = L I:
    there guesses with cos² = 1/1.09 leave (0.09/1.09)^40 of f; where it is not, 3e-7, random ones 4e-3.
    """
    rng, left = np.random.default_rng(3), {}
    h = {"w": np.diag([1.0, 2.0, 4.0]), "bias": np.diag([0.5, 4.0])}
    start = {k: rng.standard_normal(v.shape[0]) for k, v in h.items()}
    for alike in (False, True):
        hess = {k: 4.0 * np.eye(len(v)) if alike else v for k, v in h.items()}
        p = Leaves(hess)
        for local in (True, False):
            x = start
            for _ in range(40):
                g, guess, share = {k: hess[k] @ x[k] for k in x}, {}, 0.0
                for k, v in g.items():
                    u = rng.standard_normal(len(v))
                    u = u - (u @ v) / (v @ v) * v
                    guess[k] = (
                        -3.0 * (v + 0.3 * np.linalg.norm(v) * u / np.linalg.norm(u)) if local else u + v
                    )
                    share += (v @ guess[k]) ** 2 / (guess[k] @ guess[k])
                o = refopt.optimizer("forward-gradient-guided", guess=lambda oracle, w, G=guess: G)
                got = o.estimate(Oracle(p), x)
                for k, v in g.items():
                    for other in (0.99, 1.01):
                        assert np.linalg.norm(other * got[k] - v) > np.linalg.norm(got[k] - v)
                np.testing.assert_allclose(sum(got[k] @ g[k] for k in g), share, rtol=1e-11)
                np.testing.assert_allclose(sum(got[k] @ got[k] for k in g), share, rtol=1e-11)
                new = {k: x[k] - got[k] / 4.0 for k in x}
                drop = p.value(x) - p.value(new)
                assert drop >= share / 8.0 * (1 - 1e-9)
                if alike:
                    np.testing.assert_allclose(drop, share / 8.0, rtol=1e-9)
                x = new
            left[alike, local] = p.value(x) / p.value(start)
    np.testing.assert_allclose(left[True, True], (0.09 / 1.09) ** 40, rtol=1e-6)
    assert left[False, True] < 1e-6 and left[False, False] > 1e-3


@pytest.mark.claim("forward-gradient-guided")
def test_a_batch_of_one() -> None:
    """On a batch of one example, example by example and leaf by leaf are the same, bit for bit; on two they differ."""
    rng = np.random.default_rng(0)
    p = refopt.problem("softmax", data=(rng.standard_normal((6, 3)), np.arange(6) % 3), l2=0.1)
    x = {k: 0.3 * rng.standard_normal(v.shape) for k, v in p.start().items()}
    there = {k: v + 1.0 for k, v in x.items()}
    for rows, same in ((np.array([4]), True), (np.array([4, 1]), False)):
        a, b = (
            refopt.optimizer(
                "forward-gradient-guided", guess=lambda oracle, w: oracle.grad(there), per_example=each
            ).estimate(Oracle(p).on(rows), x)
            for each in (True, False)
        )
        assert all(np.array_equal(a[k], b[k]) for k in x) == same


def test_guess_that_is_none() -> None:
    with pytest.raises(refopt.errors.ArgumentTypeError, match="guess: wanted a function"):
        refopt.optimizer("forward-gradient-guided", guess=3)
