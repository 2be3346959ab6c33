"""AdamW's best decay does not depend on the rate, coupled Adam's does: digits, held-out loss, a grid of both.

The decay is the paper's, which the rate does not multiply. Seen on weights of which only the direction
counts, as in the paper's normalised networks; where the size of weights counts, the point at which AdamW
comes to rest depends on decay over rate.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import refopt
from refopt.problems.data import load

STEPS, BATCH, TRAIN, GAIN, SEEDS = 300, 16, 300, 20.0, 2
RATES = (0.03, 0.085, 0.24)
# Powers of two; coupled Adam's grid is coarser, as it must be far wider.
GRID = {"independent": tuple(range(-2, -8, -1)), "coupled": tuple(range(0, -16, -2))}


class Normalised:
    """Softmax regression whose weights count by their direction alone, as before a batch normalisation.

    Logits ``GAIN <pixels, W> / |W|``: decay then acts through the size of the steps, not as a penalty.
    """

    def __init__(self) -> None:
        X, y = load("digits")
        X = X - X.mean(axis=0)
        order = np.random.default_rng(0).permutation(len(X))
        X, y = X[order] / np.abs(X).max(), y[order].astype(int)
        self.X, self.y, self.held_X, self.held_y = X[:TRAIN], y[:TRAIN], X[1000:], y[1000:]

    def grad(self, W: np.ndarray, rows: np.ndarray) -> np.ndarray:
        size = np.linalg.norm(W)
        U, X = W / size, self.X[rows]
        Z = GAIN * X @ U
        P = np.exp(Z - Z.max(axis=1, keepdims=True))
        P /= P.sum(axis=1, keepdims=True)
        P[np.arange(len(rows)), self.y[rows]] -= 1.0
        G = GAIN * X.T @ P / len(rows)
        return (G - U * np.sum(U * G)) / size

    def held_out(self, W: np.ndarray) -> float:
        Z = GAIN * self.held_X @ W / np.linalg.norm(W)
        top = Z.max(axis=1, keepdims=True)
        chosen = Z[np.arange(len(self.held_y)), self.held_y]
        return float(np.mean(np.log(np.exp(Z - top).sum(axis=1)) + top[:, 0] - chosen))


def cosine(t: int) -> float:
    """The paper's annealing of rate and decay."""
    return 0.5 + 0.5 * math.cos(math.pi * (t - 1) / STEPS)


@functools.cache
def losses(decay: str, lr: float) -> dict[int, float]:
    """Held-out loss at the end, averaged over the seeds, by the base-2 logarithm of the decay."""
    problem, out = Normalised(), {}
    for power in GRID[decay]:
        o = refopt.optimizer("adamw", decay=decay, lr=lr, weight_decay=2.0**power, schedule=cosine)
        ends = []
        for seed in range(SEEDS):
            x = np.random.default_rng([1, seed]).standard_normal((64, 10))
            s = o.init(x)
            for t in range(STEPS):
                rows = np.random.default_rng([seed, t]).integers(0, TRAIN, BATCH)
                x, s = o.update(x, problem.grad(x, rows), s)
            ends.append(problem.held_out(x))
        out[power] = float(np.mean(ends))
    return out


def best(decay: str) -> list[int]:
    """The best decay's logarithm, rate by rate."""
    tables = [losses(decay, lr) for lr in RATES]
    return [min(table, key=lambda power: table[power]) for table in tables]


@pytest.mark.claim("adamw")
def test_best_decay_of_adamw_is_independent_of_the_rate() -> None:
    """The best decay is 2^-4 at rates 0.03, 0.085 and 0.24 (digits, weight-normalised softmax,
    held-out losses within 1 % of each other).

    Measured: 2^-4 at all three rates, with losses 0.1975, 0.1964, 0.1969.
    """
    assert best("independent") == [-4, -4, -4]
    at_best = [losses("independent", lr)[-4] for lr in RATES]
    assert max(at_best) < 1.01 * min(at_best)


@pytest.mark.claim("adamw")
def test_best_decay_of_coupled_adam_falls_with_the_rate() -> None:
    """There coupled Adam's best decay falls at least 256-fold (2^-4, 2^-10, 2^-14 were measured), and
    its best loss is higher at every rate.

    Measured: 2^-4, 2^-10, 2^-14, the grid's end, with losses 0.2164, 0.2122, 0.2032.
    """
    low, _, high = best("coupled")
    assert low - high >= 8
    slow, fast = losses("coupled", RATES[0]), losses("coupled", RATES[-1])
    # Each rate's best decay is a bad one for the other: 1.45 and 1.10 times the loss.
    assert slow[high] > 1.4 * slow[low] and fast[low] > 1.08 * fast[high]
    for lr in RATES:
        assert min(losses("independent", lr).values()) < 0.975 * min(losses("coupled", lr).values())
