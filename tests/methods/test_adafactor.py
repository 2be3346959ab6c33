"""Adafactor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.streams import stream

SHAPES = {"w": (3, 2), "b": (3,), "k": (2, 4, 3)}


def _rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.mean(a * a)))


@pytest.mark.identity("adafactor")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 0.6, "eps1": 0.1, "eps2": 0.5, "clip": 0.7, "weight_decay": 0.1, "beta2_power": 0.6},
        {"beta1": 0.7, "clip": np.inf, "beta2_cap": 0.5, "eps2": 2.0, "weight_decay": 0.2},
        {"scale_parameter": False, "relative_step": False, "lr": 0.9, "beta1": 0.7, "momentum_scaled": False},
    ],
    ids=["plain", "large", "momentum", "absolute"],
)
def test_the_papers_algorithm_written_out(options: dict[str, Any]) -> None:
    """Algorithms 4 and 5 with NumPy alone, eight steps on a matrix, a vector and a stack of matrices, to 1e-12."""
    at = {"lr": 1e-2, "eps1": 1e-30, "eps2": 1e-3, "clip": 1.0, "beta1": 0.0, "beta2_power": 0.8, "beta2_cap": 1.0,
        "weight_decay": 0.0, "scale_parameter": True, "relative_step": True, "momentum_scaled": True} | options  # fmt: skip
    o = refopt.optimizer("adafactor", **options)
    x, gradients = stream(1, "ill", steps=8, shapes=SHAPES)
    s, y = o.init(x), {k: v.copy() for k, v in x.items()}
    memory: dict[str, Any] = {k: [0.0, 0.0, 0.0] for k in y}
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        beta = min(1 - t ** -at["beta2_power"], at["beta2_cap"])
        rho = min(at["lr"], t**-0.5) if at["relative_step"] else at["lr"]
        for k in y:
            square, (R, C, m) = g[k] ** 2 + at["eps1"], memory[k]
            if y[k].ndim == 1:
                R = V = beta * R + (1 - beta) * square
            else:
                R = beta * R + (1 - beta) * square.mean(-1)
                C = beta * C + (1 - beta) * square.mean(-2)
                V = R[..., :, None] * C[..., None, :] / R.mean(-1)[..., None, None]
            u = g[k] / np.sqrt(V)
            u = u / max(1.0, _rms(u) / at["clip"])
            alpha = rho * (max(at["eps2"], _rms(y[k])) if at["scale_parameter"] else 1.0)
            step = alpha * u if at["momentum_scaled"] else u
            m = step if at["beta1"] == 0.0 else at["beta1"] * m + (1 - at["beta1"]) * step
            memory[k] = [R, C, m]
            y[k] = y[k] - (m if at["momentum_scaled"] else alpha * m) - at["weight_decay"] * alpha * y[k]
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-14, err_msg=k)


@pytest.mark.claim("adafactor")
def test_squares_of_rank_one_lose_nothing() -> None:
    """Where g² = a bᵀ times a number of the step, V is the exact average of the squares: the run is that of the method that keeps
    V whole, to 1e-13; and of any squares the row and column means are kept."""
    rng = np.random.default_rng(3)
    a, b = rng.uniform(0.1, 3.0, (4, 1)), rng.uniform(0.1, 3.0, (1, 5))
    factored, whole = (refopt.optimizer("adafactor", lr=0.5, factored_from=n) for n in (1, 9))
    x = y = rng.standard_normal((4, 5))
    sx, sy = factored.init(x), whole.init(y)
    for _ in range(6):
        g = rng.choice([-1.0, 1.0], (4, 5)) * np.sqrt(a * b) * rng.uniform(0.5, 2.0)
        x, sx = factored.update(x, g, sx)
        y, sy = whole.update(y, g, sy)
        np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-14)
    for _ in range(6):
        g = rng.standard_normal((4, 5))
        (_, sx), (_, sy) = factored.update(x, g, sx), whole.update(y, g, sy)
    V = sx["R"] * sx["C"] / np.mean(sx["R"])
    for axis in (0, 1):
        np.testing.assert_allclose(V.mean(axis), sy["R"].mean(axis), rtol=1e-13)


@pytest.mark.claim("adafactor")
def test_no_step_is_longer_than_the_threshold_says() -> None:
    """RMS(Δ) ≤ d ρ_t max(ε2, RMS(x)) after gradients that grow a thousandfold, where without clipping it is up to 15 times more;
    the first step of a vector is the sign."""
    rng = np.random.default_rng(5)
    longest = {}
    for clip in (1.0, np.inf):
        o = refopt.optimizer("adafactor", lr=0.1, clip=clip)
        x = np.full(4, 2.0)
        s, longest[clip] = o.init(x), 0.0
        for t in range(1, 30):
            g = rng.standard_normal(4) * (1e3 if t == 29 else 1.0)
            y, s = o.update(x, g, s)
            if t == 1:
                np.testing.assert_allclose(x - y, 0.1 * 2.0 * np.sign(g), rtol=1e-12)
            longest[clip] = max(longest[clip], _rms(y - x) / (min(0.1, t**-0.5) * _rms(x)))
            x = y
    assert longest[1.0] <= 1.0 + 1e-12
    assert longest[np.inf] > 3.0


@pytest.mark.identity("adafactor")
def test_which_axes_are_the_matrices() -> None:
    """The last two, the first two where they are long enough, or the two longest; and floors in place of an added ε1."""
    x, gradients = stream(2, "random", steps=3, shapes={"k": (5, 4, 3)})
    for axes, order in (("first", (2, 0, 1)), ("largest", (2, 1, 0)), ("last", (0, 1, 2))):
        o = refopt.optimizer("adafactor", factored_axes=axes, factored_from=4 if axes != "last" else 1)
        r = refopt.optimizer("adafactor")
        y, z = x["k"], np.transpose(x["k"], order)
        s, q = o.init(y), r.init(z)
        for g in gradients:
            y, s = o.update(y, g["k"], s)
            z, q = r.update(z, np.transpose(g["k"], order), q)
        np.testing.assert_allclose(np.transpose(y, order), z, rtol=1e-12)
    short = refopt.optimizer("adafactor", factored_axes="first", factored_from=4)
    assert short.axes((3, 5, 4)) == (1, 2)
    assert short.axes((5, 4, 3)) == (0, 1)
    assert short.axes((5, 3)) is None
    floor = refopt.optimizer("adafactor", eps_form="floor", eps1=0.5, relative_step=False, scale_parameter=False, lr=1.0, clip=np.inf)  # fmt: skip
    y, _ = floor.update(np.zeros(2), np.array([0.1, 2.0]), floor.init(np.zeros(2)))
    np.testing.assert_allclose(y, [-0.1 / 0.5, -1.0], rtol=1e-14)
    y, _ = floor.update(np.zeros((1, 2)), np.array([[0.1, 0.7]]), floor.init(np.zeros((1, 2))))
    np.testing.assert_allclose(y, [[-0.1 / 0.5, -0.7 / np.sqrt(max(0.25, 0.25 * 0.49 / 0.5))]], rtol=1e-14)
    assert refopt.optimizer("adafactor", factored_from=4).axes((5, 3)) is None
    assert refopt.optimizer("adafactor", factored_from=4).axes((3, 5)) is None
    assert short.axes((5, 3, 4)) is None
    assert short.axes((5, 3, 6, 6)) == (2, 3)


@pytest.mark.identity("adafactor")
def test_the_state_is_rows_and_columns() -> None:
    """Of a stack of two 4 x 3 matrices four and three numbers each, of a vector all squares; and torch's floors are the machine's ε."""
    x, _ = stream(1, "random", steps=1, shapes=SHAPES)
    s = refopt.optimizer("adafactor", beta1=0.5).init(x)
    shapes = {slot: {k: np.shape(v) for k, v in s[slot].items()} for slot in ("R", "C", "m")}
    assert shapes["R"] == {"w": (3, 1), "b": (3,), "k": (2, 4, 1)}
    assert shapes["C"] == {"w": (1, 2), "b": (), "k": (2, 1, 3)}
    assert shapes["m"] == {k: v.shape for k, v in x.items()}
    o = refopt.optimizer("adafactor", dialect="torch", lr=1.0, scale_parameter=False, clip=np.inf)
    for dtype in (np.float32, np.float64):
        least = np.finfo(dtype).eps
        y, _ = o.update(np.zeros(1, dtype), np.array([0.25 * least], dtype), o.init(np.zeros(1, dtype)))
        np.testing.assert_allclose(y, -0.25, rtol=1e-6)
