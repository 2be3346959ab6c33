"""Alice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.rng import generator
from refopt.optimizers.low_memory.alice import outside

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_torch
from tests.parity.makers import ours
from tests.streams import schedule, stream

AT: dict[str, Any] = {
    "lr": 0.05, "alpha": 0.7, "beta1": 0.6, "beta2": 0.7, "beta3": 0.8, "eps": 1e-2, "update_every": 4, "alpha_c": 0.5,
}  # fmt: skip


def signed(P: np.ndarray) -> np.ndarray:
    return P * np.where(P.max(axis=0) >= (-P).max(axis=0), 1.0, -1.0)


@pytest.mark.identity("alice")
@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize(("rank", "leading"), [(3, 1), (4, 1), (2, 2)])
def test_line_by_line(tall: bool, rank: int, leading: int) -> None:
    """Fourteen steps of a matrix of five by seven, and of its transposed, line by line with NumPy alone, four subspaces with one or two random
    directions, or none, with decay, a limiter that is met, a large ε and a schedule, to 1e-9.
    """
    x, gradients = stream(0, "random", steps=14, shapes={"w": (5, 7)})
    o = refopt.optimizer(
        "alice", rank=rank, leading=leading, weight_decay=0.1, seed=3, schedule=schedule, **AT
    )
    W, y = x["w"], {"w": x["w"].T if tall else x["w"]}
    s, met, phi = o.init(y), [], 0.0
    U, Q = np.zeros((5, rank)), np.zeros((rank, rank))
    M, V, p = np.zeros((rank, 7)), np.zeros((rank, 7)), np.zeros(7)
    for t, g in enumerate(gradients, 1):
        G, lr = g["w"], 0.05 * schedule(t)
        y, s = o.update(y, {"w": G.T if tall else G}, s)
        if t == 1 or t % 4 == 0:
            if t == 1:
                B = signed(np.linalg.svd(G, full_matrices=False)[0][:, :rank])
            else:
                F = 0.8 * U @ Q @ U.T + 0.2 * G @ G.T
                B = np.linalg.qr(F @ U)[0]
                B = signed(B @ np.linalg.eigh(B.T @ F @ B)[1][:, ::-1])
            count = min(rank - leading, 5 - rank)
            U = B
            if count:
                Z = generator(3, "method", t).standard_normal((5, count))
                Z = Z - B @ B.T @ Z
                # Gram-Schmidt, each column's own part positive.
                for i in range(count):
                    Z[:, i] -= Z[:, :i] @ (Z[:, :i].T @ Z[:, i])
                    Z[:, i] /= np.linalg.norm(Z[:, i])
                U = np.hstack([B[:, : rank - count], signed(Z)])
        S = U.T @ G
        Q, M, V = 0.8 * Q + 0.2 * S @ S.T, 0.6 * M + 0.4 * S, 0.7 * V + 0.3 * S**2
        p = 0.6 * p + 0.4 * (np.sum(G**2, axis=0) - np.sum(S**2, axis=0))
        C = np.sqrt(5 - rank) * (G - U @ S) / np.sqrt(p)
        if t > 1:
            met.append(np.linalg.norm(C) > 1.01 * phi)
            C = C * min(1.0, 1.01 * phi / np.linalg.norm(C))
        phi = np.linalg.norm(C)
        W = (1 - 0.1 * lr) * W - lr * 0.7 * (U @ (M / (np.sqrt(V) + 1e-2)) + 0.5 * C)
        np.testing.assert_allclose(y["w"].T if tall else y["w"], W, rtol=1e-9, atol=1e-9)
    assert any(met) and not all(met)


@pytest.mark.claim("alice")
def test_complement() -> None:
    """Drawn columns are orthonormal and at a right angle to U, to 1e-14, and their projector is on average the complement's over its dimension, to
    four standard errors of 2000 draws.
    """
    rng = np.random.default_rng(0)
    U = np.linalg.qr(rng.standard_normal((6, 3)))[0]
    total = np.zeros((6, 6))
    for _ in range(2000):
        Z = outside(U, 1, rng)
        total += Z @ Z.T / 2000
    np.testing.assert_allclose(total, (np.eye(6) - U @ U.T) / 3, atol=4 * 0.3 / np.sqrt(2000))
    Z = outside(U, 3, rng)
    np.testing.assert_allclose(Z.T @ Z, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(U.T @ Z, 0.0, atol=1e-14)


@pytest.mark.claim("alice")
def test_compensation_is_full_rank_and_limited() -> None:
    """With one direction the step still has full rank, the rest's columns have lengths of sqrt(m - 1) without averages, and what is compensated
    grows by no more than 1.01 a step, to 1e-12.
    """
    x, gradients = stream(1, "ill", steps=20, shapes={"w": (3, 6)})
    o = refopt.optimizer(
        "alice",
        lr=1.0,
        alpha=1.0,
        alpha_c=1.0,
        rank=1,
        leading=1,
        beta1=0.0,
        beta2=0.0,
        eps=0.0,
        update_every=5,
    )
    y, s = o.update(x, gradients[0], o.init(x))
    U, step = s["basis"]["w"][0], x["w"] - y["w"]
    outer = step - U @ U.T @ step
    np.testing.assert_allclose(np.linalg.norm(outer, axis=0), np.sqrt(2.0), rtol=1e-12)
    assert np.linalg.matrix_rank(step) == 3
    last = np.linalg.norm(outer)
    for g in gradients[1:]:
        z, s = o.update(y, g, s)
        U, step, y = s["basis"]["w"][0], y["w"] - z["w"], z
        size = np.linalg.norm(step - U @ U.T @ step)
        assert size <= 1.01 * last * (1 + 1e-12)
        last = size


@pytest.mark.identity("alice")
def test_other_leaves_have_adamw() -> None:
    """Vectors beside a matrix take AdamW's steps, whatever the matrix does, to 1e-14, 15 steps with decay, a large ε and a schedule, ε beside either
    root; coupled decay is in the gradient that the subspace is found from.
    """
    x, gradients = stream(0, "random", steps=15, shapes={"w": (4, 5), "b": (6,)})
    given: dict[str, Any] = {
        "lr": 0.05,
        "beta1": 0.6,
        "beta2": 0.7,
        "eps": 1e-2,
        "weight_decay": 0.1,
        "schedule": schedule,
    }
    for corrected in (True, False):
        a = refopt.optimizer("alice", rank=2, eps_corrected=corrected, **given)
        b = refopt.optimizer("adamw", decay="decoupled", eps_corrected=corrected, **given)
        y, z, s, r = x, {"b": x["b"]}, a.init(x), b.init({"b": x["b"]})
        for g in gradients:
            y, s = a.update(y, g, s)
            z, r = b.update(z, {"b": g["b"]}, r)
            np.testing.assert_allclose(y["b"], z["b"], rtol=1e-14, atol=1e-15)
    coupled = refopt.optimizer("alice", rank=2, leading=2, weight_decay=0.3, decay="coupled")
    plain = refopt.optimizer("alice", rank=2, leading=2)
    y, _ = coupled.update(x, gradients[0], coupled.init(x))
    z, _ = plain.update(x, {k: v + 0.3 * x[k] for k, v in gradients[0].items()}, plain.init(x))
    np.testing.assert_allclose(y["w"], z["w"], rtol=1e-12)


def _kozistr(seed: int) -> Arrays:
    """pytorch_optimizer's Alice in float64 on a whole basis, whose signs are those of the reference."""
    import torch
    from pytorch_optimizer.optimizer import racs

    class Signed(racs.Alice):
        def switch(self, q: Any, u_prev: Any, rank: int, leading_basis: int) -> Any:
            values, vectors = torch.linalg.eigh(q)
            u = vectors[:, torch.argsort(values, descending=True)]
            return u * torch.where(u.max(0).values >= (-u).max(0).values, 1.0, -1.0).to(u.dtype)

    return run_torch(
        lambda p: Signed(
            p, lr=0.05, betas=(0.6, 0.7, 0.8), alpha=0.7, alpha_c=0.5, update_interval=4, rank=3, leading_basis=3, weight_decay=0.1, eps=1e-2
        ),
        seed, schedule, ("random",), {"w": (3, 5)},
    )  # fmt: skip


CASES = [
    Case("alice", "kozistr", "pytorch-optimizer",
        ours("alice", kinds=("random",), shapes={"w": (3, 5)}, rank=3, leading=3, weight_decay=0.1, **AT), _kozistr,
        says="pytorch_optimizer.Alice in float64 on a wide matrix with a whole basis of fixed signs, found by eigendecomposition, with decay and a schedule, 200 steps, to"
        " 1e-12."),
]  # fmt: skip
