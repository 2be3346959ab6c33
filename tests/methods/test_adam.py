"""Claims of the Adam paper, with their true constants.

Adam and its family against literal transcriptions, and their limits.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import schedule, stream


def _largest_step(name: str, gradients: np.ndarray) -> float:
    o = refopt.optimizer(name, lr=1.0, eps=0.0)
    x = np.zeros(1)
    s, largest = o.init(x), 0.0
    for g in gradients:
        new, s = o.update(x, np.array([g]), s)
        largest, x = max(largest, abs((new - x)[0])), new
    return largest


@pytest.mark.claim("adam")
def test_step_bound() -> None:
    """No step exceeds 7.270 lr, the supremum for the default betas, and more than 7.15 lr is reached.

    The supremum (1 - b1) / sqrt((1 - b2) (1 - b1² / b2)) = 7.270 holds, and is nearly reached.
    """
    b1, b2 = 0.9, 0.999
    bound = (1 - b1) / np.sqrt((1 - b2) * (1 - b1**2 / b2))
    assert bound == pytest.approx(7.270, abs=5e-4)
    age = np.arange(4000)[::-1]
    worst = _largest_step("adam", np.maximum((b1 / b2) ** age, 1e-150))
    assert 7.15 <= worst <= bound
    spike = _largest_step("adam", np.r_[np.full(3000, 1e-100), 1.0])
    assert spike == pytest.approx((1 - b1) / np.sqrt(1 - b2), rel=0.03)  # corrections: 1 - 0.999^3000
    rng = np.random.default_rng(0)
    assert _largest_step("adam", rng.standard_cauchy(2000)) <= bound


@pytest.mark.claim("adam")
def test_invariant_to_diagonal_rescaling() -> None:
    """With eps = 0 the trajectory does not change when the gradients are rescaled coordinate by
    coordinate.

    eps = 0: g -> D g leaves the trajectory as it is (powers of two, so to the last bit).
    """
    x, gradients = stream(0, "random", steps=50)
    scale = {k: 2.0 ** np.random.default_rng(1).integers(-8, 9, v.shape) for k, v in x.items()}
    o = refopt.optimizer("adam", lr=0.1, eps=0.0)
    assert_same_run(o, o, (x, gradients), change=lambda g: {k: scale[k] * v for k, v in g.items()})


@pytest.mark.claim("adamax")
def test_adamax_step_bound() -> None:
    """No step exceeds (1 - beta1) / (1 - beta1 / beta2) = 1.00909 lr, and that is reached.

    The supremum (1 - b1) / (1 - b1 / b2) = 1.00909 holds, and is reached by |g_t| = b2^t.
    """
    b1, b2 = 0.9, 0.999
    bound = (1 - b1) / (1 - b1 / b2)
    assert bound == pytest.approx(1.00909, abs=5e-6)
    assert _largest_step("adamax", b2 ** np.arange(2000)) == pytest.approx(bound, rel=1e-6)
    assert _largest_step("adamax", np.random.default_rng(0).standard_cauchy(2000)) <= bound


@pytest.mark.identity("adam")
def test_algorithm_1() -> None:
    """Equals Algorithm 1 transcribed line by line with Python floats, to 1e-13."""
    alpha, b1, b2, eps = 0.02, 0.8, 0.7, 1e-2
    x, gradients = stream(3, "ill", steps=60, shapes={"w": (4,)})
    o = refopt.optimizer("adam", lr=alpha, beta1=b1, beta2=b2, eps=eps)
    s, theta = o.init(x), [float(v) for v in x["w"]]
    m, v = [0.0] * 4, [0.0] * 4
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        for i in range(4):
            gi = float(g["w"][i])
            m[i] = b1 * m[i] + (1 - b1) * gi
            v[i] = b2 * v[i] + (1 - b2) * gi**2
            m_hat = m[i] / (1 - b1**t)
            v_hat = v[i] / (1 - b2**t)
            theta[i] = theta[i] - alpha * m_hat / (math.sqrt(v_hat) + eps)
        np.testing.assert_allclose(x["w"], theta, rtol=1e-13, atol=1e-14)


@pytest.mark.identity("adamw")
def test_adamw_without_decay_is_adam() -> None:
    """Without decay it is Adam, bit for bit.

    lambda = 0: the same bits.
    """
    plain, without = refopt.optimizer("adam", lr=0.1), refopt.optimizer("adamw", lr=0.1, weight_decay=0.0)
    assert_same_run(plain, without, stream(0, "random", steps=20))


@pytest.mark.identity("sgdw")
def test_sgdw_algorithm_1() -> None:
    """Equals Algorithm 1 transcribed line by line, to 1e-13, under a schedule."""
    alpha, b1, lam = 0.05, 0.8, 0.03
    x, gradients = stream(1, "random", steps=60, shapes={"w": (4,)})
    o = refopt.optimizer("sgdw", lr=alpha, momentum=b1, weight_decay=lam, schedule=schedule)
    s, theta, m = o.init(x), [float(v) for v in x["w"]], [0.0] * 4
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        eta = schedule(t)
        for i in range(4):
            m[i] = b1 * m[i] + eta * alpha * float(g["w"][i])
            theta[i] = theta[i] - m[i] - eta * lam * theta[i]
        np.testing.assert_allclose(x["w"], theta, rtol=1e-13, atol=1e-14)


@pytest.mark.identity("adamax")
def test_adamax_is_the_limit_of_p_norms() -> None:
    """u is the limit p -> infinity of the p-norm recursion (p = 2000: to 1e-6).

    u_t is the limit of (b2^p u^p + (1 - b2^p) |g|^p)^(1/p) (section 7.1).
    """
    b2, p = 0.9, 2000
    o = refopt.optimizer("adamax", beta2=b2)
    x, u = np.zeros(1), 0.0
    s = o.init(x)
    for g in np.random.default_rng(0).uniform(0.5, 2.0, 30):
        x, s = o.update(x, np.array([g]), s)
        top = max(b2 * u, g)
        u = top * ((b2 * u / top) ** p + (1 - b2**p) * (g / top) ** p) ** (1 / p)
        # Two numbers whose ratio is not within about log(2) / p of one: their p-norm is the larger one.
        assert abs(float(s["u"][0]) - u) <= 1e-6 * u
