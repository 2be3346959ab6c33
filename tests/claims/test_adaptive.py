"""Claims of the papers on AdaGrad, ADADELTA, RMSprop and Nadam, with their true constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.streams import stream


def first_step(name: str, g: float = 50.0, **kwargs: Any) -> float:
    """|x_1 - x_0| / lr on a first gradient g."""
    o = refopt.optimizer(name, **kwargs)
    x, _ = o.update(np.zeros(1), np.array([g]), o.init(np.zeros(1)))
    return float(-x[0]) / o.rate(1)


@pytest.mark.claim("adadelta")
@pytest.mark.claim(
    "nadam",
    says="First steps of 1.9 (overview), 1.4737 (optax), 1.05645 (torch) and 1.06279 (Keras) times lr.",
)
@pytest.mark.parametrize(
    ("name", "settings", "multiplier"),
    [
        ("adagrad", {"eps": 0.0}, 1.0),
        ("rmsprop", {"eps": 0.0}, 10.0**0.5),
        ("rmsprop", {"dialect": "torch", "eps": 0.0}, 10.0),
        ("nadam", {"eps": 0.0}, 1.9),
        ("nadam", {"dialect": "optax", "eps": 0.0}, 0.9 / 1.9 + 1.0),
        ("nadam", {"dialect": "torch", "eps": 0.0}, 1.05645),
        ("nadam", {"dialect": "keras", "eps": 0.0}, 1.06279),
        ("amsgrad", {}, 0.1 * 1000.0**0.5),
        ("amsgrad", {"dialect": "torch", "eps": 0.0}, 1.0),
        ("adamnc", {}, 0.1),
        ("diffgrad", {"g": 0.7}, 1 / (1 + np.exp(-0.7))),
        ("diffgrad", {"g": 0.7, "dialect": "official"}, 1 / (1 + np.exp(-0.7))),
        ("adan", {}, 1.0),
        ("adan", {"dialect": "official"}, 1.0),
        ("ademamix", {}, 1.0 + 5.0 * 1e-4),
        ("novograd", {}, 1.0),
        ("adamp", {}, 1.0),
        ("fadam", {"weight_decay": 0.0}, 0.1),
        # sqrt(eps / (1 - rho)) for a gradient that is large beside eps
        ("adadelta", {}, (1e-6 / 0.05) ** 0.5),
        ("adadelta", {"dialect": "torch"}, (1e-6 / 0.1) ** 0.5),
    ],
)
def test_first_step_multipliers(name: str, settings: dict[str, Any], multiplier: float) -> None:
    """The first step is sqrt(eps / (1 - rho)) in size whatever the gradient: 4.47e-3 at the defaults."""
    assert first_step(name, **settings) == pytest.approx(multiplier, rel=5e-6)


@pytest.mark.claim("adagrad")
def test_adagrad_constant_gradient() -> None:
    """Under a constant gradient the way made in t steps is lr sum k^(-1/2), to 1e-13.

    |x_t - x_0| = lr sum_{k <= t} k^(-1/2), whatever the gradient.
    """
    o = refopt.optimizer("adagrad", lr=0.3, eps=0.0)
    x = np.zeros(2)
    s = o.init(x)
    for t in range(1, 101):
        x, s = o.update(x, np.array([7.0, -0.1]), s)
        way = 0.3 * np.sum(np.arange(1, t + 1) ** -0.5)
        np.testing.assert_allclose(x, [-way, way], rtol=1e-13)


@pytest.mark.claim("adagrad")
def test_adagrad_invariant_to_diagonal_rescaling() -> None:
    """With eps = 0 rescaling the gradients coordinate by coordinate changes no bit.

    eps = 0: g -> D g leaves the trajectory as it is (powers of two, so to the last bit).
    """
    x, gradients = stream(0, "random", steps=50)
    scale = {k: 2.0 ** np.random.default_rng(1).integers(-8, 9, v.shape) for k, v in x.items()}
    o = refopt.optimizer("adagrad", lr=0.1, eps=0.0)
    y, sx, sy = x, o.init(x), o.init(x)
    for g in gradients:
        x, sx = o.update(x, g, sx)
        y, sy = o.update(y, {k: scale[k] * v for k, v in g.items()}, sy)
        for k in x:
            np.testing.assert_array_equal(x[k], y[k])


@pytest.mark.claim("adadelta")
def test_adadelta_units() -> None:
    """In other units of x (and of each eps) the run is the same run, to 1e-12.

    x' = x / u (so g' = u g), eps of D over u², eps of E times u²: the same run in other units.
    """
    unit = 37.5
    x, gradients = stream(0, "random", steps=100)
    a = refopt.optimizer("adadelta", rho=0.8, eps=1e-2, eps_step=3e-3)
    b = refopt.optimizer("adadelta", rho=0.8, eps=1e-2 * unit**2, eps_step=3e-3 / unit**2)
    y = {k: v / unit for k, v in x.items()}
    sx, sy = a.init(x), b.init(y)
    moved = 0.0
    for g in gradients:
        new, sx = a.update(x, g, sx)
        moved += sum(float(np.sum(np.abs(new[k] - x[k]))) for k in x)
        x = new
        y, sy = b.update(y, {k: unit * v for k, v in g.items()}, sy)
        for k in x:
            np.testing.assert_allclose(unit * y[k], x[k], rtol=1e-12, atol=1e-14)
    assert moved > 1.0


@pytest.mark.claim("rmsprop")
def test_centered_rmsprop_under_a_constant_gradient() -> None:
    """centered, under a constant gradient: v - m² = g² b^t (1 - b^t), so that steps grow as b^(-t/2),
    to 1e-10.

    v - m² = g² b^t (1 - b^t): the step is lr / sqrt(b^t (1 - b^t)), and grows.
    """
    b, g = 0.9, 3.0
    o = refopt.optimizer("rmsprop", lr=1.0, beta2=b, eps=0.0, centered=True)
    x = np.zeros(1)
    s = o.init(x)
    for t in range(1, 81):
        new, s = o.update(x, np.array([g]), s)
        # v - m² is b^t of v: that many digits are lost.
        assert float((x - new)[0]) == pytest.approx((b**t * (1 - b**t)) ** -0.5, rel=1e-14 * b**-t + 1e-13)
        x = new


def test_centered_rmsprop_is_never_nan() -> None:
    """Where rounding brings v - m² below zero (torch then answers NaN), zero takes its place."""
    below = 0
    for g in (0.1, 0.7, 0.9, 1.3):
        o = refopt.optimizer("rmsprop", dialect="torch", lr=1.0, eps=0.5, centered=True)
        x = np.zeros(1, dtype=np.float32)
        s = o.init(x)
        for _ in range(2500):
            new, s = o.update(0.0 * x, np.array([g], dtype=np.float32), s)
            variance = s["v"] - s["m"] * s["m"]
            below += int(variance[0] < 0)
            want = -np.float32(g) / (np.sqrt(np.maximum(variance, 0.0)) + np.float32(0.5))
            np.testing.assert_allclose(new, want, rtol=1e-6)
    assert below > 0
