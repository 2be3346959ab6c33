"""SAM's 2-cycle around a minimum.

SAM in closed form and at rho = 0.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.methods.test_adahessian import Quadratic
from tests.methods.values import Cubic, H, X


@pytest.mark.claim("sam")
def test_two_cycle() -> None:
    """On H = h I with gradient descent it ends in a 2-cycle of amplitude lr h rho / (2 - lr h), to
    1e-12.

    H = h I, gradient descent: x jumps between +-c with |c| = lr h rho / (2 - lr h).
    """
    h, lr, rho = 3.0, 0.2, 0.1
    o = refopt.optimizer("sam", lr=lr, rho=rho)
    x = np.array([0.6, 0.8])
    s, oracle = o.init(x), Oracle(Quadratic(h * np.eye(2)))
    for t in range(1, 200):
        oracle.begin(t)
        before = x
        x, s = o.step(x, s, oracle)
    amplitude = lr * h * rho / (2 - lr * h)
    np.testing.assert_allclose(np.linalg.norm(x), amplitude, rtol=1e-12)
    np.testing.assert_allclose(x, -before, rtol=1e-12)


@pytest.mark.identity("sam")
@pytest.mark.parametrize("base", ["sgd", "adam", "nesterov", "svrg"])
def test_rho_zero_is_the_base(base: str) -> None:
    """rho = 0 is the base method, bit for bit.

    The same bits, at twice the gradients (svrg asks for one at the snapshot only once by itself).
    """
    p = refopt.problem("logistic", l2=0.1)
    common = {"steps": 20, "batch_size": 32, "seed": 1}
    a = refopt.minimize(p, base, lr=0.1, **common)
    b = refopt.minimize(p, "sam", base=base, rho=0.0, lr=0.1, **common)
    np.testing.assert_array_equal(a.x, b.x)
    assert b.calls["grad"] == 2 * a.calls["grad"] + (2 if base == "svrg" else 0)


@pytest.mark.identity("sam")
def test_quadratic_closed_form() -> None:
    """On a quadratic the gradient is H (x + rho H x / |H x|), to 1e-13.

    The base is fed H (x + rho H x / |H x|).
    """
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4, 4))
    h, x, rho = a @ a.T, rng.standard_normal(4), 0.3
    oracle = Oracle(Quadratic(h))
    oracle.begin(1)
    o = refopt.optimizer("sam", base="sgd", lr=1.0, rho=rho)
    new, _ = o.step(x, o.init(x), oracle)
    hx = h @ x
    np.testing.assert_allclose(x - new, h @ (x + rho * hx / np.linalg.norm(hx)), rtol=1e-13)


@pytest.mark.claim("sam")
def test_descends_the_norm_of_the_gradient_too() -> None:
    """To first order in ρ the base is fed the gradient of L + ρ ‖∇L‖, ∇L + ρ H ∇L/‖∇L‖: what is left falls with ρ², its
    fitted order between 1.98 and 2.02, on a function with third derivatives. L is higher by ρ ‖∇L‖ at the point
    in between, the most that a ball of radius ρ has, to that order.
    """
    p, g = Cubic(H, 1.3), Cubic(H, 1.3).grad(X)
    hess, length = H + 1.3 * np.diag(X), np.linalg.norm(g)
    gradients, values = [], []
    for rho in (1e-3, 2e-3):
        asked = []

        class Listening(Cubic):
            def grad(self, x: np.ndarray, asked: list[np.ndarray] = asked) -> np.ndarray:
                asked.append(x)
                return super().grad(x)

        o = refopt.optimizer("sam", base="sgd", lr=1.0, rho=rho)
        new, _ = o.step(X, o.init(X), Oracle(Listening(H, 1.3)))
        gradients.append(np.linalg.norm(X - new - g - rho * hess @ g / length))
        values.append(abs(p.value(asked[1]) - p.value(X) - rho * length))
    for left in (gradients, values):
        assert 1.98 < np.log2(left[1] / left[0]) < 2.02


def test_zero_gradient_stays() -> None:
    """At a stationary point the perturbation is zero, not NaN."""
    oracle = Oracle(Quadratic(np.eye(2)))
    oracle.begin(1)
    o = refopt.optimizer("sam", lr=1.0)
    new, _ = o.step(np.zeros(2), o.init(np.zeros(2)), oracle)
    np.testing.assert_array_equal(new, 0.0)
