"""LoRA-RITE."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import RefoptError

from tests.parity.case import Arrays, Case
from tests.parity.makers import torch_side
from tests.streams import run_method, schedule, stream

PAIRS = [("a", "b"), ("c", "d")]
SHAPES = {"a": (2, 5), "b": (4, 2), "c": (3, 4), "d": (6, 3)}
AT: dict[str, Any] = {"lr": 0.02, "beta1": 0.8, "beta2": 0.7, "eps": 1e-2, "weight_decay": 0.1}


def factors(V: np.ndarray, eps: float, rho: float) -> np.ndarray:
    values, vectors = np.linalg.eigh((V + V.T) / 2)
    return vectors @ np.diag(1 / (np.sqrt(np.maximum(values, 0) + rho) + eps)) @ vectors.T


@pytest.mark.identity("lora-rite")
@pytest.mark.parametrize("escape", [False, True])
def test_line_by_line(escape: bool) -> None:
    """Fifteen steps of two pairs line by line with NumPy alone, with clipping that is met, a skip that is met, with and without the escaped mass,
    decay, a large ε and a schedule, to 1e-10.
    """
    x, gradients = stream(0, "random", steps=15, shapes=SHAPES)
    o = refopt.optimizer("lora-rite", clip=1.2, skip=1.5, escape=escape, schedule=schedule, **AT)
    s, X = o.init(x), {k: (v.T if k in "ac" else v) for k, v in x.items()}
    m = {k: np.zeros_like(v) for k, v in X.items()}
    V = {k: np.zeros((v.shape[1],) * 2) for k, v in X.items()}
    old, rho, met = {k: np.zeros_like(v) for k, v in X.items()}, dict.fromkeys(X, 0.0), {"clip": 0, "skip": 0}
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        G = {k: (v.T if k in "ac" else v) for k, v in g.items()}
        b1, b2 = (b * (1 - b ** (t - 1)) / (1 - b**t) for b in (0.8, 0.7))
        QR = {k: np.linalg.qr(v) for k, v in X.items()}
        partner = dict([*PAIRS, *((b, a) for a, b in PAIRS)])
        U = {k: G[k] @ np.linalg.inv(QR[partner[k]][1]) for k in X}
        for k in U:
            if np.sqrt(np.mean(U[k] ** 2)) > 1.5:
                U[k], met["skip"] = 0 * U[k], met["skip"] + 1
        total = np.sqrt(sum(np.sum(u**2) for u in U.values()))
        met["clip"] += total > 1.2
        new = {}
        for k in X:
            u, P = U[k] * min(1.0, 1.2 / total), QR[partner[k]][0].T @ old[partner[k]]
            turned = P @ V[k] @ P.T
            if escape:
                gap = np.max(np.linalg.eigvalsh(V[k]) - np.linalg.eigvalsh((turned + turned.T) / 2))
                rho[k] = b2 * (rho[k] + min(max(gap, 0), max(np.trace(V[k]) - np.trace(turned), 0)))
            V[k] = b2 * turned + (1 - b2) * u.T @ u / u.shape[0]
            m[k] = b1 * m[k] @ P.T + (1 - b1) * u @ factors(V[k], 1e-2, rho[k])
            new[k] = X[k] - 0.02 * schedule(t) * (m[k] @ np.linalg.inv(QR[partner[k]][1]).T + 0.1 * X[k])
        X, old = new, {k: QR[k][0] for k in X}
        for k in X:
            np.testing.assert_allclose(x[k].T if k in "ac" else x[k], X[k], rtol=1e-10, atol=1e-10)
    assert met["skip"] and met["clip"]


@pytest.mark.claim("lora-rite")
def test_does_not_see_the_factors() -> None:
    """Runs from (A, B) and (T A, B T^-1) have the same products B A over twenty steps of a matrix regression, to 1e-9, ε being zero; AdamW's are
    apart by more than 0.1.
    """
    rng = np.random.default_rng(0)
    target, T = rng.standard_normal((4, 5)), np.array([[2.0, 1.0], [0.3, -0.7]])
    A, B = rng.standard_normal((2, 5)), rng.standard_normal((4, 2))

    def run(name: str, A: np.ndarray, B: np.ndarray, **options: Any) -> np.ndarray:
        o, x = refopt.optimizer(name, lr=0.1, **options), {"a": A, "b": B}
        s, rows = o.init(x), []
        for _ in range(20):
            E = x["b"] @ x["a"] - target
            x, s = o.update(x, {"a": x["b"].T @ E, "b": E @ x["a"].T}, s)
            rows.append(x["b"] @ x["a"])
        return np.array(rows)

    two = [run("lora-rite", *start, eps=0.0) for start in ((A, B), (T @ A, B @ np.linalg.inv(T)))]
    np.testing.assert_allclose(two[0], two[1], atol=1e-9)
    adam = [run("adamw", *start) for start in ((A, B), (T @ A, B @ np.linalg.inv(T)))]
    assert np.max(np.abs(adam[0] - adam[1])) > 0.1


def test_pairs_and_the_rest() -> None:
    """Matrices pair up in their order where they fit, the rest has AdamW at the same rate; a zero B gives A no step at first, and no NaN."""
    x, gradients = stream(0, "random", steps=6, shapes={"a": (2, 5), "b": (4, 2), "w": (3, 4), "v": (5,)})
    x["b"] = 0.0 * x["b"]
    o = refopt.optimizer("lora-rite", lr=0.05)
    named = refopt.optimizer("lora-rite", lr=0.05, pairs=[("a", "b")])
    assert o.paired(x) == [("a", "b")]
    adam = refopt.optimizer("adamw", lr=0.05, decay="decoupled")
    rest = {k: x[k] for k in "wv"}
    y, z, s, r, q = x, x, o.init(x), named.init(x), adam.init(rest)
    for t, g in enumerate(gradients):
        y, s = o.update(y, g, s)
        z, r = named.update(z, g, r)
        rest, q = adam.update(rest, {k: g[k] for k in "wv"}, q)
        for k in x:
            np.testing.assert_array_equal(y[k], z[k])
            assert np.all(np.isfinite(y[k]))
        for k in "wv":
            np.testing.assert_array_equal(y[k], rest[k])
        if t == 0:
            np.testing.assert_array_equal(y["a"], x["a"])
            assert np.any(y["b"])


def test_bad_pairs() -> None:
    """Leaves that there are not, twice, or that do not fit are told."""
    x = {k: np.ones(v) for k, v in SHAPES.items()}
    for pairs, match in (
        ([("a", "x")], "at most once"),
        ([("a", "b"), ("a", "b")], "at most once"),
        ([("a", "d")], "shape"),
        (3, "pairs of names"),
    ):
        with pytest.raises(RefoptError, match=match):
            refopt.optimizer("lora-rite", pairs=pairs).init(x)
    with pytest.raises(RefoptError, match="others"):
        refopt.optimizer("lora-rite", others="adam")


def _runs(dialect: str) -> Any:
    def side(seed: int) -> Arrays:
        return run_method(
            lambda: refopt.optimizer("lora-rite", dialect=dialect, pairs=PAIRS, schedule=schedule, escape=True, **AT),
            seed, ("random",), SHAPES,
        )  # fmt: skip

    return side


CASES = [
    Case("lora-rite", "official", "gkevinyen5418/LoRA-RITE@c9bb451", _runs("official"), None,
        says="The authors' code in float64 on two pairs, with its clipping, skipping and the escaped mass, decay, a large ε and a schedule, 200 steps, to"
        " 1e-12."),
    Case("lora-rite", "kozistr", "pytorch-optimizer", _runs("kozistr"),
        torch_side("LoRARite", kinds=("random",), shapes=SHAPES, double=True, lr=0.02, betas=(0.8, 0.7), eps=1e-2, weight_decay=0.1, apply_escape=True),
        says="pytorch_optimizer.LoRARite on two pairs, with its clipping, skipping and the escaped mass, decay, a large ε and a schedule, 200 steps, to"
        " 1e-12."),
]  # fmt: skip
