"""Claims of the Adam paper, with their true constants."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import stream


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
    y, sx, sy = x, o.init(x), o.init(x)
    for g in gradients:
        x, sx = o.update(x, g, sx)
        y, sy = o.update(y, {k: scale[k] * v for k, v in g.items()}, sy)
        for k in x:
            np.testing.assert_array_equal(x[k], y[k])


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
