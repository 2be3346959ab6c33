"""The tabular policy: a bandit in closed form, and trajectories whose estimates average to the derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.rng import generator


@pytest.mark.identity("tabular-policy")
def test_bandit() -> None:
    """With one state and one step it is the softmax bandit: J = πᵀr, ∇J = π ⊙ (r - J), the Hessian
    diag(g) - g πᵀ - π gᵀ; each arm's estimates are r_a (e_a - π) and r_a [(e_a - π)(e_a - π)ᵀ - (diag π - π πᵀ)], to
    1e-14.
    """
    r, x = np.array([0.3, 1.5, -0.4, 0.9]), np.array([0.2, -0.7, 0.4, 0.1])
    p = refopt.problem("tabular-policy", states=1, actions=4, horizon=1, rewards=r[None, :])
    pi = np.exp(x) / np.exp(x).sum()
    g = pi * (r - pi @ r)
    np.testing.assert_allclose(p.value(x[None]), -(pi @ r), rtol=1e-14)
    np.testing.assert_allclose(p.grad(x[None])[0], -g, rtol=1e-13)
    h = np.diag(g) - np.outer(g, pi) - np.outer(pi, g)
    found = p.rollouts(x[None])
    np.testing.assert_allclose(found.weights, pi, rtol=1e-14)
    for v in np.eye(4):
        np.testing.assert_allclose(p.hvp(x[None], v[None])[0], -h @ v, rtol=1e-12, atol=1e-15)
        for a in range(4):
            e = np.eye(4)[a] - pi
            b = r[a] * (np.outer(e, e) - np.diag(pi) + np.outer(pi, pi))
            np.testing.assert_allclose(found.grads[a, 0], -r[a] * e, rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(found.hvps(v[None])[a, 0], -b @ v, rtol=1e-12, atol=1e-15)


@pytest.mark.identity("tabular-policy")
def test_returns_of_a_short_process() -> None:
    """Two states, two steps: the four trajectories' returns, visits and rewards to go, by hand."""
    rewards, moves = np.array([[1.0, 2.0], [4.0, 8.0]]), np.array([[0, 1], [1, 0]])
    p = refopt.problem(
        "tabular-policy", states=2, actions=2, horizon=2, discount=0.5, rewards=rewards, transitions=moves
    )
    np.testing.assert_array_equal(p.returns, [1 + 0.5, 1 + 1.0, 2 + 2.0, 2 + 4.0])
    np.testing.assert_array_equal(p.visits[2], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(p.to_go[2], [[0, 4.0], [2.0, 0]])
    np.testing.assert_array_equal(p.to_go[0], [[1.5 + 0.5, 0], [0, 0]])
    np.testing.assert_allclose(p.value(p.start()), -(1.5 + 2 + 4 + 6) / 4)


@pytest.mark.claim("tabular-policy")
def test_drawn_trajectories() -> None:
    """Trajectories are drawn with their probabilities, so that the estimates' means over 20 000 of them are the
    gradient and the Hessian product within five standard errors.
    """
    p = refopt.problem("tabular-policy", states=2, actions=2, horizon=2)
    x, v = np.array([[0.5, -0.5], [0.2, 0.4]]), np.array([[1.0, 0.3], [-0.2, 0.5]])
    n = 20_000
    found = p.rollouts(x, n, generator(0, "method"))
    for rows, want in ((found.grads, p.grad(x)), (found.hvps(v), p.hvp(x, v))):
        assert np.all(np.abs(found.mean(rows) - want) <= 5 * rows.std(0) / n**0.5 + 1e-12)
    np.testing.assert_allclose(found.weights, 1 / n)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"actions": 10, "horizon": 6}, "at most 100000"),
        ({"rewards": np.zeros((2, 3))}, "rewards: wanted finite"),
        ({"rewards": np.full((3, 3), np.nan)}, "rewards: wanted finite"),
        ({"transitions": np.full((3, 3), 3)}, "transitions: wanted states below 3"),
        ({"transitions": np.zeros((3, 3))}, "transitions"),
        ({"discount": 1.5}, "discount"),
    ],
)
def test_bad_input(more: dict[str, Any], words: str) -> None:
    with pytest.raises(refopt.errors.ArgumentError, match=words):
        refopt.problem("tabular-policy", **more)
