"""KL-Shampoo and KL-SOAP."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Case
from tests.parity.makers import ours
from tests.streams import schedule, stream

AT: dict[str, Any] = {
    "lr": 0.05,
    "beta1": 0.8,
    "beta2": 0.7,
    "eps": 1e-2,
    "weight_decay": 0.1,
    "update_every": 3,
}


@pytest.mark.identity("kl-shampoo")
@pytest.mark.identity("kl-soap")
@pytest.mark.parametrize("bound", [np.inf, 0.5, 4000.0])
def test_line_by_line(bound: float) -> None:
    """Fourteen steps of a square matrix line by line with NumPy alone, four refreshes, with decay, a large ε and a schedule, the inverse roots of
    the eigenvalues bounded or not, to 1e-11.
    """
    x, gradients = stream(0, "random", steps=14, shapes={"w": (12, 12)})
    gradients = [{"w": 0.1 * g["w"] + np.diag(np.arange(12.0))} for g in gradients]
    o, p = (
        refopt.optimizer(n, largest_inverse=bound, first_eigenvalue=0.3, schedule=schedule, **AT)
        for n in ("kl-shampoo", "kl-soap")
    )
    G = gradients[0]["w"]
    L, R = 0.3 * G @ G.T / 12, 0.3 * G.T @ G / 12
    QL, QR = np.linalg.eigh(L)[1][:, ::-1], np.linalg.eigh(R)[1][:, ::-1]
    a, b = np.full(12, 0.3), np.full(12, 0.3)
    least = 0.0 if np.isinf(bound) else max(10.0, min(12, bound)) ** -2
    W = Z = x["w"]
    M, N, V = np.zeros((12, 12)), np.zeros((12, 12)), np.zeros((12, 12))
    y, s, r = x, o.init(x), p.init(x)
    for t, g in enumerate(gradients):
        x, s = o.update(x, g, s)
        y, r = p.update(y, g, r)
        if t > 0:
            G, lr = g["w"], 0.05 * schedule(t + 1)
            M = 0.8 * M + 0.2 * G
            E = 1 / (np.sqrt(np.outer(a, b)) + 1e-2)
            W = (1 - 0.1 * lr) * (W - lr * QL @ ((QL.T @ M @ QR) * E) @ QR.T)
            P = QL.T @ G @ QR
            # KL-SOAP's average lives in the basis.
            N, V = 0.8 * N + 0.2 * P, 0.7 * V + 0.3 * P**2
            Z = (1 - 0.1 * lr) * (Z - lr * QL @ (N / (np.sqrt(V) + 1e-2)) @ QR.T)
            L, R = (
                0.7 * L + 0.3 * G @ (QR / b) @ QR.T @ G.T / 12,
                0.7 * R + 0.3 * G.T @ (QL / a) @ QL.T @ G / 12,
            )
            a, b = (
                np.maximum(0.7 * a + 0.3 * np.mean(P**2 / b, axis=1), least),
                np.maximum(0.7 * b + 0.3 * np.mean(P**2 / a[:, None], axis=0), least),
            )
            if t % 3 == 0:
                whole = QL @ N @ QR.T
                QL, QR = np.linalg.qr(L @ QL)[0], np.linalg.qr(R @ QR)[0]
                N = QL.T @ whole @ QR
        np.testing.assert_allclose(x["w"], W, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(y["w"], Z, rtol=1e-11, atol=1e-11)


@pytest.mark.claim("kl-shampoo")
def test_constant_gradient() -> None:
    """At a constant invertible gradient of n rows and columns the step tends to sqrt(n) η times its polar factor, whatever its scale, to 1e-9."""
    rng = np.random.default_rng(0)
    G = rng.standard_normal((4, 4)) + 2.0 * np.eye(4)
    U, _, Vh = np.linalg.svd(G)
    for scale in (1.0, 3.0):
        o = refopt.optimizer("kl-shampoo", lr=0.1, beta1=0.5, beta2=0.5, eps=0.0, weight_decay=0.0)
        x = np.zeros((4, 4))
        s = o.init(x)
        for _ in range(80):
            before, (x, s) = x, o.update(x, scale * G, s)
        np.testing.assert_allclose(before - x, 0.1 * 2.0 * U @ Vh, atol=1e-9)


@pytest.mark.claim("kl-shampoo")
def test_fits_a_matrix_gaussian() -> None:
    """Where gradients are drawn with covariance B ⊗ A, S_L ⊗ S_R tends to it: the largest error of an average over about five hundred draws is below
    0.25 of the entries' scale. The product of Shampoo's Gram matrices is the same but for a factor of 46, tr(A) tr(B).
    """
    rng = np.random.default_rng(1)
    A, B = np.diag([4.0, 1.0, 0.04]), np.diag([9.0, 0.25])
    o: Any = refopt.optimizer("kl-shampoo", beta2=0.998, largest_inverse=np.inf)
    # The covariances are diagonal, so that the axes are their bases.
    grams, bases, values = (
        (np.zeros((3, 3)), np.zeros((2, 2))),
        (np.eye(3), np.eye(2)),
        (np.ones(3), np.ones(2)),
    )
    L, R = np.zeros((3, 3)), np.zeros((2, 2))
    for _ in range(3000):
        g = np.sqrt(A) @ rng.standard_normal((3, 2)) @ np.sqrt(B)
        grams, values = o.fitted(g, grams, bases, values)
        L, R = 0.998 * L + 0.002 * g @ g.T, 0.998 * R + 0.002 * g.T @ g
    want = np.kron(A, B)
    scale = np.sqrt(np.outer(np.diag(want), np.diag(want)))
    fitted, plain = np.kron(*grams), np.kron(L, R)
    assert np.max(np.abs(fitted - want) / scale) < 0.25
    assert np.max(np.abs(plain * np.trace(want) / np.trace(plain) - want) / scale) < 0.25
    # Shampoo's product is the covariance times tr(A) tr(B).
    assert np.max(np.abs(plain - want) / scale) > 20.0


@pytest.mark.claim("kl-soap")
def test_turned_gradients() -> None:
    """f(P g Q) = P f(g) Q for orthogonal P and Q over 25 steps from zero, both methods, to 1e-9: the bases undo every rotation."""
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
    gradients = rng.standard_normal((25, 4, 4))
    for name in ("kl-soap", "kl-shampoo"):
        o = refopt.optimizer(name, **AT)
        x = y = np.zeros((4, 4))
        sx, sy = o.init(x), o.init(y)
        for g in gradients:
            x, sx = o.update(x, g, sx)
            y, sy = o.update(y, P @ g @ Q, sy)
        np.testing.assert_allclose(y, P @ x @ Q, atol=1e-9)


@pytest.mark.parametrize("name", ["kl-shampoo", "kl-soap"])
def test_three_axes_of_which_one_is_one(name: str) -> None:
    """An axis of one entry is a number that the others' fit does not see the direction of: the bases are those of the matrix."""
    x, gradients = stream(0, "random", steps=9, shapes={"w": (4, 4)})
    o = refopt.optimizer(name, **{**AT, "first_eigenvalue": 1.0})
    s, r = o.init(x), o.init({"w": x["w"][None]})
    y = {"w": x["w"][None]}
    for g in gradients[:3]:
        x, s = o.update(x, g, s)
        y, r = o.update(y, {"w": g["w"][None]}, r)
        for one, other in zip(s["bases"]["w"], r["bases"]["w"][1:]):
            np.testing.assert_allclose(np.abs(one.T @ other), np.eye(4), atol=1e-10)


KL = "yorkerlin/KL-Methods@a02e622"
SHAPES = {"w": (4, 4), "v": (3, 3)}
CASES = [
    Case(name, "official", KL, ours(name, dialect="official", kinds=("random",), shapes=SHAPES, **AT), None,
        says="The authors' code in float64 on square matrices with decay, a large ε and a schedule, 200 steps and 66 refreshes, to 1e-12.")
    for name in ("kl-shampoo", "kl-soap")
]  # fmt: skip


@pytest.mark.identity("kl-shampoo", "kl-soap")
@pytest.mark.parametrize(("largest", "long"), [(4000.0, 144.0), (11.0, 121.0), (5.0, 100.0), (np.inf, None)])
@pytest.mark.parametrize("name", ["kl-shampoo", "kl-soap"])
def test_eigenvalues_have_a_least(name: str, largest: float, long: float | None) -> None:
    """Gradients of 1e-12 let λ fall by β2 a step until ``max(10, min(n, c))^-2``: of axes of 12 and 3 entries 1/144 and 1/100 at the default c,
    1/121 with c = 11; without a bound to below 1e-7 in 40 steps, from 0.1 with β2 = 1/2.
    """
    o = refopt.optimizer(name, beta2=0.5, largest_inverse=largest, lr=0.1)
    x, rng = {"w": np.zeros((12, 3))}, np.random.default_rng(0)
    s = o.init(x)
    for _ in range(40):
        x, s = o.update(x, {"w": 1e-12 * rng.standard_normal((12, 3))}, s)
    rows, columns = s["values"]["w"]
    if long is None:
        assert rows.max() < 1e-7 and columns.max() < 1e-7
    else:
        np.testing.assert_allclose(rows, np.full(12, 1.0 / long), rtol=1e-14)
        np.testing.assert_allclose(columns, np.full(3, 0.01), rtol=1e-14)
