"""SOAP's basis turns with the gradients.

SOAP against AdamW and a literal transcription.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.optimizers.second_order.soap import eigenbasis, rotate

from tests.streams import schedule, stream


@pytest.mark.claim("soap")
def test_orthogonal_equivariance() -> None:
    """f(P g Q) = P f(g) Q for orthogonal P and Q over 25 steps: the rotation undoes every rotation,
    to 1e-9.

    Started at zero, f(P g Q) = P f(g) Q, which Adam itself is far from.
    """
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
    gaps = {}
    gradients = rng.standard_normal((25, 4, 4))
    for name, kwargs in (("soap", {"update_every": 5}), ("adam", {})):
        o = refopt.optimizer(name, lr=0.1, **kwargs)
        x = y = np.zeros((4, 4))
        sx, sy = o.init(x), o.init(y)
        for g in gradients:
            x, sx = o.update(x, g, sx)
            y, sy = o.update(y, P @ g @ Q, sy)
        gaps[name] = np.max(np.abs(y - P @ x @ Q))
    # Eigenvectors are found to eps_machine over the smallest gap of the eigenvalues.
    assert gaps["soap"] < 1e-9
    assert gaps["adam"] > 1e-1


@pytest.mark.claim("soap")
def test_shampoo_is_adafactor_in_the_eigenbasis() -> None:
    """The paper's Claim 1, of which SOAP is made: Adafactor's rank-one second moments of gradients in the eigenbasis of ``E G Gᵀ`` and
    ``E Gᵀ G`` give Shampoo's step with power 1/2 and its scale, ``tr(L)^{1/2} L^{-1/2} G R^{-1/2}``, to 1e-10, for 12 gradients of 4 x 6.
    """
    rng = np.random.default_rng(0)
    several = [rng.standard_normal((4, 6)) @ np.diag([3.0, 1.0, 1.0, 0.5, 0.3, 2.0]) for _ in range(12)]
    L, R = (sum(G @ G.T for G in several) / 12, sum(G.T @ G for G in several) / 12)
    bases, axes = (eigenbasis(L), eigenbasis(R)), (0, 1)
    squares = sum(rotate(G, bases, axes) ** 2 for G in several) / 12
    V = np.outer(squares.sum(1), squares.sum(0)) / squares.sum()
    for G in several:
        got = rotate(rotate(G, bases, axes) / np.sqrt(V), bases, axes, back=True)
        want = np.sqrt(np.trace(L)) * power(L, -0.5) @ G @ power(R, -0.5)
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-11)


def power(A: np.ndarray, p: float) -> np.ndarray:
    w, Q = np.linalg.eigh(A)
    return (Q * w**p) @ Q.T


@pytest.mark.claim("soap")
def test_memory() -> None:
    """Beside weights and gradient ``2 m² + 2 n² + 2 m n`` numbers, as the paper counts: two factors, their bases, and Adam's moments; an axis
    longer than max_size has neither factor nor basis.
    """
    for shape, max_size, want in (((5, 3), 99, 2 * 25 + 2 * 9 + 30), ((5, 3), 4, 2 * 9 + 30), ((7,), 99, 14)):
        x = np.ones(shape)
        o = refopt.optimizer("soap", max_size=max_size)
        _, s = o.update(x, x, o.init(x))
        parts = [
            a for v in s.values() for a in (v if isinstance(v, tuple) else (v,)) if isinstance(a, np.ndarray)
        ]
        assert sum(a.size for a in parts) == want


@pytest.mark.identity("soap")
def test_without_preconditioning_it_is_adamw() -> None:
    """With no axis preconditioned it is AdamW, to 1e-13.

    Axes longer than max_size, and vectors: AdamW; the official form one call late.
    """
    x, gradients = stream(0, "ill", steps=30)
    common = {"lr": 0.05, "beta1": 0.8, "beta2": 0.7, "weight_decay": 0.1, "eps": 1e-3}
    a = refopt.optimizer("soap", max_size=1, schedule=schedule, first_step=True, **common)
    b = refopt.optimizer("adamw", dialect="torch", schedule=schedule, **common)
    late = refopt.optimizer("soap", max_size=1, **common)
    plain = refopt.optimizer("adamw", dialect="torch", **common)
    y = z = w = x
    sa, sb, sl, sp = (o.init(x) for o in (a, b, late, plain))
    for t, g in enumerate(gradients, 1):
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        z, sl = late.update(z, g, sl)
        if t > 1:
            w, sp = plain.update(w, g, sp)
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-13, atol=1e-13)
            np.testing.assert_allclose(z[k], w[k], rtol=1e-13, atol=1e-13)


@pytest.mark.identity("soap")
def test_algorithm_3() -> None:
    """Equals the listing transcribed with the unrotated average, to 1e-11.

    The listing: M unrotated, projected every step; square leaves, 3 refreshes.
    """
    lr, b1, b2, bs, eps, lam, f = 0.05, 0.8, 0.7, 0.9, 1e-3, 0.1, 4
    x, gradients = stream(0, "random", steps=14, shapes={"w": (4, 4)})
    o = refopt.optimizer(
        "soap", lr=lr, beta1=b1, beta2=b2, shampoo_beta=bs, eps=eps, weight_decay=lam, update_every=f
    )
    W = x["w"]
    M, V, G = np.zeros((4, 4)), np.zeros((4, 4)), gradients[0]["w"]
    x, s = o.update(x, gradients[0], o.init(x))
    np.testing.assert_array_equal(x["w"], W)
    L, R = (1 - bs) * G @ G.T, (1 - bs) * G.T @ G
    # The eigenvectors in descending order: a QR power step treats the leading columns first.
    QL, QR = np.linalg.eigh(L)[1][:, ::-1], np.linalg.eigh(R)[1][:, ::-1]
    for t, g in enumerate(gradients[1:], 1):
        x, s = o.update(x, g, s)
        G = g["w"]
        M = b1 * M + (1 - b1) * G
        V = b2 * V + (1 - b2) * (QL.T @ G @ QR) ** 2
        N = (QL.T @ M @ QR / (1 - b1**t)) / (np.sqrt(V / (1 - b2**t)) + eps)
        W = (1 - lr * lam) * W - lr * QL @ N @ QR.T
        L, R = bs * L + (1 - bs) * G @ G.T, bs * R + (1 - bs) * G.T @ G
        if t % f == 0:
            QL, QR = np.linalg.qr(L @ QL)[0], np.linalg.qr(R @ QR)[0]
        # Eigenvectors are found to eps_machine over the smallest gap of the eigenvalues.
        np.testing.assert_allclose(x["w"], W, rtol=1e-11, atol=1e-11)


def test_refresh_keeps_the_average() -> None:
    """The average is kept in the basis and turned with it: turned back, it is the EMA of the gradients."""
    x, gradients = stream(1, "random", steps=25, shapes={"w": (4, 4)})
    o = refopt.optimizer("soap", beta1=0.8, update_every=3, sort=True)
    s, m = o.init(x), np.zeros((4, 4))
    x, s = o.update(x, gradients[0], s)
    for g in gradients[1:]:
        x, s = o.update(x, g, s)
        m = 0.8 * m + (1 - 0.8) * g["w"]
        left, right = s["bases"]["w"]
        np.testing.assert_allclose(left @ s["m"]["w"] @ right.T, m, rtol=1e-12, atol=1e-14)
        for Q in s["bases"]["w"]:
            np.testing.assert_allclose(Q.T @ Q, np.eye(4), atol=1e-13)
