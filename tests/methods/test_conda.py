"""Conda's equivariance.

Conda written out.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream


@pytest.mark.claim("conda")
def test_left_orthogonal_equivariance() -> None:
    """equivariant: R g in place of g moves R times as far, for orthogonal R and wide g, eps included
    (1e-11).

    Wide matrices from zero: gradients R g give the point R x, eps and decay included.
    """
    rng = np.random.default_rng(0)
    r = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    o = refopt.optimizer("conda", lr=0.1, eps=1e-2, beta2=0.9, update_every=4, weight_decay=0.1)
    x = y = np.zeros((3, 6))
    sx, sy = o.init(x), o.init(y)
    for _ in range(15):
        g = rng.standard_normal((3, 6))
        x, sx = o.update(x, g, sx)
        y, sy = o.update(y, r @ g, sy)
    np.testing.assert_allclose(y, r @ x, atol=1e-11)
    # Elementwise Adam has no such property, so the test can fail.
    a = refopt.optimizer("adam", lr=0.1)
    x, _ = a.update(np.zeros((3, 6)), g, a.init(np.zeros((3, 6))))
    y, _ = a.update(np.zeros((3, 6)), r @ g, a.init(np.zeros((3, 6))))
    assert np.max(np.abs(y - r @ x)) > 0.01


@pytest.mark.identity("conda")
@pytest.mark.parametrize("at_multiples", [False, True])
@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_written_out(shape: tuple[int, int], at_multiples: bool) -> None:
    """60 steps of tall, wide and square matrices over three bases equal the algorithm written out, to
    1e-10.
    """
    lr, b1, b2, eps, period, scale, wd = 0.03, 0.8, 0.7, 1e-3, 20, 0.5, 0.1
    x, gradients = stream(0, "random", steps=60, shapes={"w": shape})
    o = refopt.optimizer(
        "conda", lr=lr, beta1=b1, beta2=b2, eps=eps, update_every=period, scale=scale, weight_decay=wd, schedule=schedule,
        refresh_at_multiples=at_multiples,
    )  # fmt: skip
    s, y, m, v, q = o.init(x), x["w"], np.zeros(shape), np.zeros(shape), None
    right = shape[0] >= shape[1]
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        m = b1 * m + (1 - b1) * g["w"]
        if q is None or (t if at_multiples else t - 1) % period == 0:
            u, _, vt = np.linalg.svd(m, full_matrices=False)
            q = vt if right else u
        rotated, momentum = (g["w"] @ q.T, m @ q.T) if right else (q.T @ g["w"], q.T @ m)
        v = b2 * v + (1 - b2) * rotated**2
        n = momentum / (np.sqrt(v) + eps)
        n = scale * (n @ q if right else q @ n)
        eta = lr * schedule(t)
        y = y - eta * np.sqrt(1 - b2**t) / (1 - b1**t) * n
        y = y - eta * wd * y
        # Singular vectors are determined to rounding over the gaps of the singular values.
        np.testing.assert_allclose(x["w"], y, rtol=1e-10, atol=1e-11)


@pytest.mark.identity("conda")
def test_without_averages() -> None:
    """beta1 = beta2 = eps = 0 and a basis a step: a wide matrix moves by lr U sign(V'), to 1e-12.

    G = U S V': G' = U' G = S V', so M' / |G'| = sign(V').
    """
    g = np.random.default_rng(0).standard_normal((3, 5))
    o = refopt.optimizer("conda", lr=0.5, beta1=0.0, beta2=0.0, eps=0.0)
    x, _ = o.update(np.zeros((3, 5)), g, o.init(np.zeros((3, 5))))
    u, _, vt = np.linalg.svd(g, full_matrices=False)
    np.testing.assert_allclose(x, -0.5 * u @ np.sign(vt), rtol=1e-12, atol=1e-13)


def test_vectors_belong_to_adam() -> None:
    x, gradients = stream(0, "random", steps=5, shapes={"w": (3, 4), "b": (4,)})
    o, adam = refopt.optimizer("conda"), refopt.optimizer("adam")
    s, a, y = o.init(x), adam.init({"b": x["b"]}), {"b": x["b"]}
    for g in gradients:
        x, s = o.update(x, g, s)
        y, a = adam.update(y, {"b": g["b"]}, a)
    np.testing.assert_array_equal(x["b"], y["b"])
