"""What decay and the sign imply for Lion.

Lion against a literal transcription, and its degenerate case.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream


@pytest.mark.claim("lion")
def test_decay_bounds_the_parameters() -> None:
    """With decay, |x_i| stays below max(|x_i at the start|, 1 / lambda), and is driven to 1 / lambda.

    |x_i| <= max(|x_0i|, 1/lambda); a constant gradient drives x to the bound itself.
    """
    lam = 0.5
    x, gradients = stream(0, "flip", steps=200)
    start = {k: np.maximum(np.abs(v), 1 / lam) for k, v in x.items()}
    o = refopt.optimizer("lion", lr=0.3, weight_decay=lam)
    s = o.init(x)
    for g in gradients:
        x, s = o.update(x, g, s)
        for k in x:
            assert np.all(np.abs(x[k]) <= start[k] * (1 + 1e-15))
    y, s = np.array([5.0, -5.0]), o.init(np.zeros(2))
    for _ in range(400):
        y, s = o.update(y, np.array([1e-3, -1e3]), s)
    assert y == pytest.approx([-2.0, 2.0], rel=1e-12)


def test_step_size_is_the_rate() -> None:
    """Without decay every coordinate with momentum moves by exactly lr."""
    x, gradients = stream(0, "ill", steps=50)
    o = refopt.optimizer("lion", lr=0.25)
    x = {k: np.zeros_like(v) for k, v in x.items()}
    s = o.init(x)
    for g in gradients:
        new, s = o.update(x, g, s)
        for k in x:
            assert set(np.abs(new[k] - x[k]).ravel()) == {0.0, 0.25}
        x = new


@pytest.mark.identity("lion")
def test_algorithm() -> None:
    """Equals the algorithm transcribed line by line with Python floats, to 1e-14."""
    eta, b1, b2, lam = 0.02, 0.7, 0.9, 0.1
    x, gradients = stream(3, "flip", steps=60, shapes={"w": (4,)})
    o = refopt.optimizer("lion", lr=eta, beta1=b1, beta2=b2, weight_decay=lam, schedule=schedule)
    s, theta, m = o.init(x), [float(v) for v in x["w"]], [0.0] * 4
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        for i in range(4):
            gi = float(g["w"][i])
            c = b1 * m[i] + (1 - b1) * gi
            sign = (c > 0) - (c < 0)
            theta[i] -= eta * schedule(t) * (sign + lam * theta[i])
            m[i] = b2 * m[i] + (1 - b2) * gi
        np.testing.assert_allclose(x["w"], theta, rtol=1e-14, atol=1e-14)


@pytest.mark.identity("lion")
def test_coupled_decay_is_part_of_the_gradient() -> None:
    """Coupled decay of strength λ is Lion fed with g + λ x, bit for bit."""
    x, gradients = stream(2, "random", steps=30, shapes={"w": (6,)})
    coupled = refopt.optimizer("lion", lr=0.05, weight_decay=0.3, decay="coupled")
    plain = refopt.optimizer("lion", lr=0.05)
    y, s, r = x, coupled.init(x), plain.init(x)
    for g in gradients:
        y, r = plain.update(y, {"w": g["w"] + 0.3 * y["w"]}, r)
        x, s = coupled.update(x, g, s)
        np.testing.assert_array_equal(x["w"], y["w"])
    assert np.all(np.isfinite(x["w"]))


def test_equal_betas_are_sign_momentum() -> None:
    """beta1 = beta2: the step is -lr sign of the averaged gradient, the new average included."""
    x, gradients = stream(1, "random", steps=30, shapes={"w": (6,)})
    o = refopt.optimizer("lion", lr=0.5, beta1=0.8, beta2=0.8)
    s = o.init(x)
    for g in gradients:
        new, s = o.update(x, g, s)
        np.testing.assert_allclose(x["w"] - new["w"], 0.5 * np.sign(s["m"]["w"]), rtol=0, atol=1e-14)
        x = new
