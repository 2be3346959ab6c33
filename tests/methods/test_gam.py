"""GAM: its algorithm written out, and SAM as its limit."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.methods.values import Cubic, H, X

LIMITS = {"rho_inner": 0.3, "lr": 0.1, "steps": 20}


def direction(p: object, x: np.ndarray, **more: object) -> np.ndarray:
    o = refopt.optimizer("gam", **more)
    oracle = Oracle(p)
    got = o.gradient(oracle, x)
    assert oracle.counts.calls == {"grad": 4}
    return got


@pytest.mark.claim("gam")
def test_sam_is_a_limit() -> None:
    """γ = 0 and α = 1: SAM with radius ρ', 20 steps to 1e-12; ρ = 0 and β = 1: SAM's direction less γ times what
    the gradient has across it.
    """
    p = refopt.problem("quadratic", n=4)
    a = refopt.minimize(p, "gam", gamma=0.0, alpha=1.0, **LIMITS)
    b = refopt.minimize(p, "sam", rho=0.3, lr=0.1, steps=20)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-12)
    q = Cubic(H, 1.3)
    g = q.grad(X)
    sharp = q.grad(X + 0.3 * g / np.linalg.norm(g))
    across = g - (g @ sharp) / (sharp @ sharp) * sharp
    got = direction(q, X, rho=0.0, rho_inner=0.3, gamma=0.7, beta=0.5)
    np.testing.assert_allclose(got, sharp - 0.7 * across, rtol=1e-11)


@pytest.mark.claim("gam")
def test_flatness_to_first_order() -> None:
    """With n = ∇‖g‖/‖∇‖g‖‖, ∇‖g‖ = H g/‖g‖, the base is fed g + ρ' ∇‖g‖ + (1 - α) ρ H n + γ (ρ' ∇‖g‖ - (α - β) ρ H n),
    of the last term what is across g: what is left falls with the square of the radii, fitted order between 1.95 and
    2.05. At θ2 the gradient is longer by ρ ‖∇‖g‖‖, the most that it can be on the ball, to that order.
    """
    p, hess = Cubic(H, 1.3), H + 1.3 * np.diag(X)
    g, alpha, beta, gamma = p.grad(X), 0.6, 0.3, 0.5
    up = hess @ g / np.linalg.norm(g)
    n = up / np.linalg.norm(up)
    gradients, lengths = [], []
    for r in (1e-4, 2e-4):
        rho, inner, asked = 3 * r, r, []

        class Listening(Cubic):
            def grad(self, x: np.ndarray, asked: list[np.ndarray] = asked) -> np.ndarray:
                asked.append(x)
                return super().grad(x)

        more = inner * up - (alpha - beta) * rho * hess @ n
        want = g + inner * up + (1 - alpha) * rho * hess @ n + gamma * (more - (more @ g) / (g @ g) * g)
        own = {"rho": rho, "rho_inner": inner, "alpha": alpha, "beta": beta, "gamma": gamma}
        gradients.append(np.linalg.norm(direction(Listening(H, 1.3), X, **own) - want))
        longer = np.linalg.norm(p.grad(asked[2])) - np.linalg.norm(g)
        lengths.append(abs(longer - rho * np.linalg.norm(up)))
    for left in (gradients, lengths):
        assert 1.95 < np.log2(left[1] / left[0]) < 2.05


@pytest.mark.identity("gam")
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("dialect", ["paper", "official"])
def test_algorithm_2(dialect: str, adaptive: bool) -> None:
    """The direction equals Algorithm 2 written out, on a function with third derivatives, in both dialects, adaptive
    or not, to 1e-12; Adam around it makes the step with it.
    """
    p = Cubic(H, 1.3)
    rho, inner, alpha, beta, gamma, xi = 0.4, 0.2, 0.6, 0.3, 0.5, 1e-2

    def ascend(w: np.ndarray, d: np.ndarray, r: float) -> np.ndarray:
        if adaptive:
            return w + r * w**2 * d / (np.linalg.norm(np.abs(w) * d) + xi)
        return w + r * d / (np.linalg.norm(d) + xi)

    g0 = p.grad(X)
    g1 = p.grad(ascend(X, g0, inner))
    there = ascend(X, g1 - g0, rho)
    g2 = p.grad(there)
    g3 = p.grad(ascend(there, g2, inner))
    plus = alpha * g1 + (1 - alpha) * g3
    minus = (beta if dialect == "paper" else 1.0) * g0 + (1 - beta) * g2
    want = plus - gamma * (minus - (minus @ plus) / (plus @ plus) * plus)
    own = {"rho": rho, "rho_inner": inner, "alpha": alpha, "beta": beta, "gamma": gamma, "eps": xi}
    got = direction(p, X, dialect=dialect, adaptive=adaptive, **own)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    o, adam = (
        refopt.optimizer("gam", base="adam", dialect=dialect, adaptive=adaptive, **own),
        refopt.optimizer("adam"),
    )
    x, s = o.step(X, o.init(X), Oracle(p))
    np.testing.assert_array_equal(x, adam.update(X, got, adam.init(X))[0])
    assert s["t"] == 1


@pytest.mark.identity("gam")
def test_quadratic() -> None:
    """On a quadratic h0 = ρ' H g/‖g‖, so θ2 is θ + ρ Hg/‖Hg‖ whatever ρ': the direction from there, to 1e-11."""
    g = H @ X
    there = X + 0.4 * H @ g / np.linalg.norm(H @ g)
    g2 = H @ there
    want = H @ (there + 0.2 * g2 / np.linalg.norm(g2))
    got = direction(Cubic(H), X, rho=0.4, rho_inner=0.2, alpha=0.0, gamma=0.0)
    np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.identity("gam")
def test_zero_gradient_stays() -> None:
    """At a stationary point nothing moves, not even without ξ."""
    o = refopt.optimizer("gam", eps=0.0)
    np.testing.assert_array_equal(o.gradient(Oracle(Cubic(H)), np.zeros(3)), 0.0)
