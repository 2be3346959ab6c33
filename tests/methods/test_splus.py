"""SPlus."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Case
from tests.parity.makers import ours
from tests.streams import schedule, stream


@pytest.mark.identity("splus")
@pytest.mark.parametrize("largest", [10, 3])
def test_by_hand(largest: int) -> None:
    """Ten steps of a square matrix and a vector with NumPy alone, bases made anew every three steps, with decay and a schedule, to 1e-11; and
    where a side has no factor."""
    o = refopt.optimizer("splus", lr=0.3, beta1=0.6, beta2=0.7, beta3=0.8, update_every=3, weight_decay=0.2, other_share=0.1,
        largest_side=largest, schedule=schedule)  # fmt: skip
    x, gradients = stream(0, "random", steps=10, shapes={"w": (3, 3), "b": (4,)})
    s, y, mean = o.init(x), dict(x), {k: 0.0 * v for k, v in x.items()}
    m, L, R, P, Q = (
        {k: 0.0 * v for k, v in x.items()},
        np.zeros((3, 3)),
        np.zeros((3, 3)),
        np.eye(3),
        np.eye(3),
    )
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        lr = 0.3 * schedule(t)
        for k in y:
            m[k] = 0.6 * m[k] + 0.4 * g[k]
            u, rate = np.sign(m[k]), 0.1 * lr
            if k == "w":
                u, rate = P @ np.sign(P.T @ m[k] @ Q) @ Q.T, lr * 2 / 6
            new = y[k] - rate * u
            mean[k] = 0.8 * mean[k] + 0.2 * new
            y[k] = (1 - 0.2 * rate) * new
        L, R = 0.7 * L + 0.3 * g["w"] @ g["w"].T, 0.7 * R + 0.3 * g["w"].T @ g["w"]
        if (t == 1 or t % 3 == 0) and largest > 3:
            P, Q = np.linalg.eigh(L)[1], np.linalg.eigh(R)[1]
        for k in y:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-11, atol=1e-12)
            np.testing.assert_allclose(o.average(s)[k], mean[k] / (1 - 0.8**t), rtol=1e-11, atol=1e-12)
    assert s["L"]["b"].shape == (1,) and s["L"]["w"].shape == ((3, 3) if largest > 3 else (1,))


@pytest.mark.claim("splus")
def test_every_step_has_one_length() -> None:
    """A step of an m × n matrix has the Frobenius norm 2 η sqrt(mn) / (m + n) whatever the bases and the gradient's unit, to 1e-12, and a rotation
    of both sides turns a run with it from the second step on, to 1e-9."""
    rng = np.random.default_rng(2)
    o = refopt.optimizer("splus", lr=0.5, update_every=2, weight_decay=0.0)
    x = rng.standard_normal((2, 5))
    s = o.init(x)
    for _ in range(8):
        y, s = o.update(x, 10.0 ** rng.uniform(-3, 3, (2, 5)) * rng.standard_normal((2, 5)), s)
        assert np.linalg.norm(y - x) == pytest.approx(0.5 * 2 / 7 * np.sqrt(10), rel=1e-12)
        x = y
    a = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    b = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    _, gradients = stream(2, "random", steps=6, shapes={"w": (3, 3)})
    zero = np.zeros((3, 3))
    y, z, s, r = zero, zero, o.init(zero), o.init(zero)
    for t, g in enumerate(g["w"] for g in gradients):
        (new, s), (other, r) = o.update(y, g, s), o.update(z, a @ g @ b, r)
        if t:
            np.testing.assert_allclose(other - z, a @ (new - y) @ b, atol=1e-9)
        y, z = new, other


def test_long_sides_have_no_factor() -> None:
    """A side of `largest_side` and more has no factor, and a matrix with a longer side the rate of other leaves."""
    for shape, share in (((2, 4), 2 / 6), ((4, 2), 2 / 6), ((2, 5), 0.1), ((5, 2), 0.1)):
        o = refopt.optimizer("splus", lr=0.5, weight_decay=0.0, other_share=0.1, largest_side=4)
        s = o.init(np.zeros(shape))
        sides = {k: s[k].shape for k in "LRPQ"}
        left, right = ((2, 2), (1,)) if shape[0] == 2 else ((1,), (2, 2))
        assert sides == {"L": left, "P": left, "R": right, "Q": right}
        x, _ = o.update(np.zeros(shape), np.ones(shape), s)
        np.testing.assert_allclose(x, -0.5 * share, rtol=1e-14)


AT: dict[str, Any] = {
    "lr": 0.3,
    "beta1": 0.6,
    "beta2": 0.7,
    "beta3": 0.8,
    "update_every": 7,
    "weight_decay": 0.2,
    "other_share": 0.1,
}
CASES = [
    Case("splus", "official", "kvfrans/splus@d96bd16",
        ours("splus", kinds=("random",), shapes={"w": (3, 3), "b": (4,)}, dialect="official", **AT), None, rtol=1e-10,
        why="eigenvectors amplify rounding by the inverse of the gaps between the eigenvalues",
        says="The authors' SPlus in double precision, square matrix and vector with decay and a schedule, 200 steps, to 1e-10."),
]  # fmt: skip
