"""Kron."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import refopt
import scipy.linalg
from refopt.core.oracle import Oracle
from refopt.core.rng import generator
from refopt.optimizers.second_order.kron import fitted
from refopt.optimizers.second_order.psgd_kron import norm_bound

from tests.parity.case import Arrays, Case
from tests.parity.makers import Side
from tests.streams import Leaves, schedule, stream, trajectory

SHAPES = {"w": (3, 4), "b": (5,), "k": (2, 3, 2)}
AT: dict[str, Any] = {
    "lr": 0.05,
    "momentum": 0.7,
    "weight_decay": 0.1,
    "update_probability": 0.4,
    "balance_probability": 0.3,
}


class Fed:
    """A problem whose gradients are given, step by step."""

    def __init__(self, x: Leaves) -> None:
        self.x0, self.g = x, x

    def grad(self, x: Leaves) -> Leaves:
        return self.g


@pytest.mark.identity("kron")
def test_line_by_line() -> None:
    """Fourteen steps of a matrix and a vector line by line with NumPy and SciPy alone, on the same noise, a fit in every third, some of them
    balanced, with decay, steps that are shortened and a schedule, to 1e-10.
    """
    x, gradients = stream(0, "random", steps=14, shapes={"w": (3, 4), "b": (5,)})
    given = {**AT, "balance_probability": 0.6, "max_rms": 0.8}
    o, problem = refopt.optimizer("kron", schedule=schedule, init_scale=1.5, **given), Fed(x)
    oracle, s, X = Oracle(problem, 3), o.init(x), dict(x)
    Q1, Q2, q = 1.5**0.5 * np.eye(3), 1.5**0.5 * np.eye(4), 1.5 * np.ones(5)
    m, waited, fits, cut = {k: 0.0 * v for k, v in x.items()}, 0, [], 0
    for t, g in enumerate(gradients, 1):
        oracle.begin(t)
        problem.g = g
        x, s = o.step(x, s, oracle)
        rng, waited = generator(3, "method", t), waited + 1
        m = {k: 0.7 * m[k] + 0.3 * g[k] for k in m}
        M, b = m["w"] / (1 - 0.7**t), m["b"] / (1 - 0.7**t)
        if waited >= 1 / 0.4:
            waited, balance = 0, rng.random() < 0.6
            fits.append(balance)
            V, v = rng.standard_normal((3, 4)), rng.standard_normal(5)
            if balance:
                tops = np.abs(Q1).max(), np.abs(Q2).max()
                Q1, Q2 = Q1 * np.sqrt(tops[1] / tops[0]), Q2 * np.sqrt(tops[0] / tops[1])
            A = Q1 @ M @ Q2.T
            B = scipy.linalg.solve_triangular(Q1.T, V, lower=True) @ np.linalg.inv(Q2)
            new1 = Q1 - 0.1 * np.triu(A @ A.T - B @ B.T) @ Q1 / norm_bound(A @ A.T + B @ B.T)
            Q2 = Q2 - 0.1 * np.triu(A.T @ A - B.T @ B) @ Q2 / norm_bound(A.T @ A + B.T @ B)
            Q1, a, c = new1, q * b, v / q
            q = q - 0.1 * (a**2 - c**2) * q / np.max(a**2 + c**2)
        lr = 0.05 * schedule(t)
        for k, P in (("w", Q1.T @ Q1 @ M @ Q2.T @ Q2), ("b", q * q * b)):
            size = np.sqrt(np.mean(P**2)) + 1e-6
            cut += size > 0.8
            X[k] = X[k] - lr * (P * min(1.0, 0.8 / size) + (0.1 * X[k] if k == "w" else 0.0))
            np.testing.assert_allclose(x[k], X[k], rtol=1e-10, atol=1e-10)
    assert len(fits) == 4 and any(fits) and not all(fits) and 0 < cut < 28


@pytest.mark.claim("kron")
def test_whitens() -> None:
    """Fitted to normal gradients of covariance B Bᵀ ⊗ A Aᵀ, the factors make them white: after 1600 fits P g has a covariance whose eigenvalues
    are within 0.5 and 2, where those of the gradients spread over a factor of 1e3.
    """
    rng = np.random.default_rng(0)
    A, B = np.diag([3.0, 1.0, 0.5]) + np.triu(np.ones((3, 3)), 1), np.diag([2.0, 0.5])
    factors = (np.eye(3), np.eye(2))
    for k in range(1600):
        h, v = A @ rng.standard_normal((3, 2)) @ B.T, rng.standard_normal((3, 2))
        factors = fitted(factors, h, v, 0.1 if k < 800 else 0.01)
    Q = np.kron(*factors)
    S = np.kron(A, B)
    P = Q.T @ Q
    values = np.linalg.eigvalsh(P @ S @ S.T @ P)
    assert values[0] > 0.5 and values[-1] < 2.0
    spread = np.linalg.eigvalsh(S @ S.T)
    assert spread[-1] / spread[0] > 1e3


@pytest.mark.claim("kron")
def test_when_it_is_fitted() -> None:
    """All of the first 501 steps have a fit, then ever fewer, and from 4008 on one in 34, the least number above 1 / 0.03."""
    o, waited, fits = refopt.optimizer("kron"), 0, []
    for t in range(1, 5001):
        waited += 1
        if o.due(t, waited):
            fits.append(t)
            waited = 0
    assert fits[:501] == list(range(1, 502)) and fits[501] > 502
    assert set(np.diff([t for t in fits if t > 4100])) == {34}


def _side(run: Any) -> Side:
    """The points of a run on the stream; `run` gives a function that makes a step."""

    def side(seed: int) -> Arrays:
        x, gradients = stream(seed, "random", shapes=SHAPES)
        return {"random": trajectory(run(x, seed), x, gradients)}

    return side


def _ours(x: Leaves, seed: int) -> Any:
    o, problem = refopt.optimizer("kron", dialect="kozistr", schedule=schedule, **AT), Fed(x)
    oracle, state = Oracle(problem, seed), o.init(x)

    def advance(x: Leaves, g: Leaves, t: int) -> Leaves:
        nonlocal state
        oracle.begin(t)
        problem.g = g
        x, state = o.step(x, state, oracle)
        return x

    return advance


def _kozistr(x: Leaves, seed: int) -> Any:
    """pytorch_optimizer's Kron in float64, handed the noise and the draws of the reference."""
    import torch
    from pytorch_optimizer.optimizer import psgd

    p = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in x.items()}
    o = psgd.Kron(
        list(p.values()), lr=0.05, momentum=0.7, weight_decay=0.1, pre_conditioner_update_probability=0.4, balance_prob=0.3,
        precondition_dtype=torch.float64,
    )  # fmt: skip

    def solve(b: Any, a: Any) -> Any:
        return torch.linalg.solve_triangular(a, b.reshape(-1, b.size(-1)), upper=True, left=False).reshape_as(
            b
        )

    def advance(x: Leaves, g: Leaves, t: int) -> Leaves:
        rng = generator(seed, "method", t)
        for k, leaf in p.items():
            leaf.grad = torch.tensor(g[k])
        o.param_groups[0]["lr"] = 0.05 * schedule(t)
        with (
            mock.patch.object(psgd, "solve_triangular_right", solve),
            mock.patch.object(np.random, "random", rng.random),
            mock.patch.object(
                torch, "randn_like", lambda a, dtype: torch.tensor(rng.standard_normal(tuple(a.shape)))
            ),
        ):
            o.step()
        return {k: leaf.detach().numpy().copy() for k, leaf in p.items()}

    return advance


CASES = [
    Case("kron", "kozistr", "pytorch-optimizer", _side(_ours), _side(_kozistr),
        says="pytorch_optimizer.Kron without its casts, handed the same noise, a matrix, a vector and a kernel, fitted in every third step and balanced at"
        " times, with decay and a schedule, 200 steps, to 1e-12."),
]  # fmt: skip
