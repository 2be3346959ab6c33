"""A small Markov decision process under a tabular softmax policy, of which all trajectories are enumerated."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from refopt.core.arrays import Array, like, namespace, to_numpy
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.problem import Problem, Rollouts
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, frozen, real_part

SUTTON = Source("sutton-2018-reinforcement", "R. S. Sutton, A. G. Barto",
    "Reinforcement Learning: An Introduction", venue="MIT Press, second edition",
    url="http://incompleteideas.net/book/the-book-2nd.html")  # fmt: skip
BAXTER = Source("baxter-2001-infinite", "J. Baxter, P. L. Bartlett", "Infinite-Horizon Policy-Gradient Estimation",
    venue="Journal of Artificial Intelligence Research 15, 319-350", doi="10.1613/jair.806")  # fmt: skip


@register("tabular-policy", kind="problem", source=SUTTON, where="Section 13.1, softmax in action preferences",
    also=(BAXTER,))  # fmt: skip
class TabularPolicy(Problem):
    """Minus the expected return, ``f(x) = -E Σ_h γ^h r(s_h, a_h)``, of the policy ``π(a|s) = softmax(x[s, :])``.

    The first state is 0, a step from s by a leads to one state, and there are ``actions ** horizon`` trajectories, so
    that value, gradient and Hessian products are exact sums. `rollouts` gives each trajectory's GPOMDP estimates:
    ``∇Φ`` and ``∇Φ (∇log p · v) + ∇²Φ v`` with ``Φ = Σ_h (Σ_{i ≥ h} γ^i r_i) log π(a_h|s_h)``, negated. With one
    state and horizon 1 it is a bandit.

    Parameters
    ----------
    states, actions, horizon : int
        At least 1, 1 and 1; at most 100 000 trajectories.
    discount : float
        γ, in [0, 1].
    rewards : array of shape (states, actions), optional
        Default: uniform in [0, 1].
    transitions : array of int, shape (states, actions), optional
        The next state. Default: uniform.
    seed : int
        Of both defaults.

    Attributes
    ----------
    visits, to_go : array of shape (m, states, actions)
        Of each trajectory: how often an action is taken in a state, and the sum of its rewards to go there.
    returns : array of shape (m,)

    Raises
    ------
    ArgumentError, ArgumentTypeError
        Sizes out of range, arrays of another shape, a next state that is none, rewards that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from refopt.problems.tabular_policy import TabularPolicy
    >>> p = TabularPolicy(states=1, actions=2, horizon=1, rewards=np.array([[1.0, 0.0]]))
    >>> float(p.value(p.start())), p.grad(p.start())
    (-0.5, array([[-0.25,  0.25]]))
    """

    def __init__(
        self,
        states: int = 3,
        actions: int = 3,
        horizon: int = 3,
        discount: float = 0.9,
        rewards: Any = None,
        transitions: Any = None,
        seed: int = 0,
    ) -> None:
        for name, size in (("states", states), ("actions", actions), ("horizon", horizon)):
            check_number(size, "int [1, inf)", name)
        check_number(discount, "[0, 1]", "discount")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        if actions**horizon > 100_000:
            raise ArgumentError(f"horizon: wanted at most 100000 trajectories, got {actions}^{horizon}")
        rng, shape = generator(seed, "problem"), (states, actions)
        rewards = rng.random(shape) if rewards is None else np.asarray(rewards, dtype=np.float64)
        moves = rng.integers(0, states, shape) if transitions is None else np.asarray(transitions)
        if rewards.shape != shape or not np.all(np.isfinite(rewards)):
            raise ArgumentError(f"rewards: wanted finite numbers of shape {shape}, got shape {rewards.shape}")
        if moves.shape != shape or moves.dtype.kind not in "iu" or moves.min() < 0 or moves.max() >= states:
            raise ArgumentError(f"transitions: wanted states below {states} of shape {shape}, got {moves!r}")
        self.states, self.actions = int(states), int(actions)
        visits, to_go, returns = [], [], []
        for chosen in itertools.product(range(actions), repeat=horizon):
            state, counts, sums, path = 0, np.zeros(shape), np.zeros(shape), []
            for h, a in enumerate(chosen):
                path.append((state, a, discount**h * rewards[state, a]))
                state = int(moves[state, a])
            gains = np.cumsum([r for *_, r in path][::-1])[::-1]
            for (s, a, _), gain in zip(path, gains):
                counts[s, a] += 1.0
                sums[s, a] += gain
            visits.append(counts)
            to_go.append(sums)
            returns.append(gains[0])
        self.visits, self.to_go, self.returns = frozen(visits), frozen(to_go), frozen(returns)

    def start(self, seed: int = 0) -> Array:
        """Return zeros, the uniform policy, whatever the seed."""
        return np.zeros((self.states, self.actions))

    def _policy(self, x: Array, batch: Any) -> tuple[Array, Array, Array, Array]:
        """Return π, the probabilities of all trajectories, their visits and their returns."""
        check_batch(batch, None)
        check_point(x, {"": (self.states, self.actions)})
        xp = namespace(x)
        shifted = x - xp.max(real_part(x), axis=-1, keepdims=True)
        log = shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
        visits = self._data("visits", x)
        p = xp.exp(xp.sum(visits * log[None, ...], axis=(1, 2)))
        return xp.exp(log), p, visits, self._data("returns", x)

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return minus the expected return."""
        _, p, _, returns = self._policy(x, batch)
        return -namespace(x).sum(p * returns)

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return its gradient."""
        pi, p, visits, returns = self._policy(x, batch)
        return -namespace(x).tensordot(p * returns, score(visits, pi), axes=1)

    def hvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return its Hessian times v."""
        check_point(v, {"": (self.states, self.actions)}, "v")
        pi, p, visits, returns = self._policy(x, batch)
        xp, s = namespace(x), score(visits, pi)
        along = xp.sum(s * v[None, ...], axis=(1, 2))
        return -xp.tensordot(p * returns, along[:, None, None] * s + bend(visits, pi, v), axes=1)

    def rollouts(self, x: Array, n: int | None = None, rng: np.random.Generator | None = None) -> Rollouts:
        """Return all trajectories with their probabilities, or n drawn from the policy."""
        pi, p, visits, _ = self._policy(x, None)
        xp, to_go = namespace(x), self._data("to_go", x)
        if n is not None and rng is not None:
            q = np.cumsum(to_numpy(p).astype(np.float64))
            drawn = np.minimum(np.searchsorted(q, rng.random(n) * q[-1], side="right"), q.size - 1)
            index = like(drawn, x, dtype=xp.int64)
            visits, to_go = xp.take(visits, index, axis=0), xp.take(to_go, index, axis=0)
            p = like(np.full(n, 1.0 / n), x)
        scores, grads = score(visits, pi), score(to_go, pi)

        def hvps(v: Array) -> Array:
            along = xp.sum(scores * v[None, ...], axis=(1, 2))
            return -(along[:, None, None] * grads + bend(to_go, pi, v))

        return Rollouts(p, -grads, hvps)


def score(weights: Array, pi: Array) -> Array:
    """Return the gradient of ``Σ w[s, a] log π(a|s)`` for every row of `weights`."""
    return weights - namespace(pi).sum(weights, axis=-1, keepdims=True) * pi[None, ...]


def bend(weights: Array, pi: Array, v: Array) -> Array:
    """Return the Hessian of the same times v: ``-Σ_a w[s, a] (diag π - π πᵀ) v[s]``."""
    xp = namespace(pi)
    turned = pi * (v - xp.sum(pi * v, axis=-1, keepdims=True))
    return -xp.sum(weights, axis=-1, keepdims=True) * turned[None, ...]
