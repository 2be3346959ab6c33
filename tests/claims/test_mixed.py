"""Claims on Adan, AdEMAMix, AdamP and SGDP."""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt
from refopt.optimizers.first_order.ademamix import half_life_warmup


@pytest.mark.claim("adan")
def test_adan_lemma_1() -> None:
    """Lemma 1: Nesterov's look-ahead points follow the gradient-difference form if g_{-1} = 0, to
    1e-12.

    Nesterov's look-ahead points follow m ← b m + g + b (g - g_before) with g_{-1} = 0.

    Adan is that up to 1 - b when eps swallows n; a first gradient of zero makes g_{-1} = 0.
    """
    b, eta, scale = 0.8, 0.1, 1e15
    h = np.diag([1.0, 3.0, 0.2]) + 0.1
    y = start = np.array([1.0, -2.0, 0.5])
    o = refopt.optimizer("adan", lr=eta / (1 - b) * scale, beta1=b, beta2=b, eps=scale**2)
    s = o.init(y)
    _, s = o.update(y, np.zeros(3), s)
    x, velocity = start, np.zeros(3)
    for t in range(60):
        look_ahead = x - b * velocity
        np.testing.assert_allclose(y, look_ahead, rtol=1e-12, atol=1e-13, err_msg=str(t))
        y, s = o.update(y, h @ y, s)
        velocity = b * velocity + eta * (h @ look_ahead)
        x = x - velocity
    # Without the zero before it m_1 = g_1 and the first difference is zero: another first step.
    first, _ = o.update(start, h @ start, o.init(start))
    np.testing.assert_allclose(first, start - eta / (1 - b) * (h @ start), rtol=1e-12)


@pytest.mark.claim("ademamix")
def test_half_life_is_linear() -> None:
    """The warm-up of beta3 is linear in the half-life, to 1e-10 (1 - beta loses four digits), and
    equals the paper's own form, to 1e-14.
    """

    def life(beta: float) -> float:
        return math.log(0.5) / math.log(beta) - 1.0

    for part in np.linspace(0.0, 0.999, 12):
        want = (1 - part) * life(0.9) + part * life(0.9999)
        assert life(half_life_warmup(0.9, 0.9999, part)) == pytest.approx(
            want, rel=1e-10
        )  # of 1 - β: 4 digits
    assert half_life_warmup(0.9, 0.9999, 1.0) == half_life_warmup(0.9, 0.9999, 7.0) == 0.9999
    assert half_life_warmup(0.0, 0.99, 0.0) == 0.0
    # The paper's own form of it, and both counts.
    o = refopt.optimizer("ademamix", alpha=4.0, alpha_steps=10, beta3_steps=20)
    p = refopt.optimizer("ademamix", dialect="optax", alpha=4.0, alpha_steps=10, beta3_steps=20)
    for t in (1, 7, 10, 19, 20, 50):
        alpha, beta3 = o.warm(t)
        assert alpha == min(t * 4.0 / 10, 4.0)
        a, b, mu = math.log(0.9), math.log(0.9999), min(t / 20, 1.0)
        assert beta3 == pytest.approx(min(math.exp(a * b / ((1 - mu) * b + mu * a)), 0.9999), rel=1e-14)
        assert p.warm(t + 1) == o.warm(t)
    assert p.warm(1) == (0.0, pytest.approx(0.9, rel=1e-15))


TARGET = np.random.default_rng(5).standard_normal((1, 6))


def scale_free_gradient(x: np.ndarray) -> np.ndarray:
    """The gradient of c·x / ‖x‖, orthogonal to x."""
    norm = np.linalg.norm(x)
    u = x / norm
    g = (TARGET - np.sum(TARGET * u) * u) / norm
    return g - np.sum(g * u) * u  # twice, so that rounding leaves nothing along x


@pytest.mark.claim("adamp")
def test_adamp_norm_grows_by_its_steps() -> None:
    """On a loss free of scale the squared norm grows by the squared step alone, and less than Adam's.

    ‖x_{t+1}‖² = ‖x_t‖² + ‖step‖² where the loss does not depend on ‖x‖; Adam's norm grows more.
    """
    o = refopt.optimizer("adamp", lr=0.05, eps=0.0)
    a = refopt.optimizer("adam", lr=0.05, eps=0.0)
    x = y = np.array([[1.0, -0.5, 0.3, 2.0, 0.1, -1.0]])
    s, sa = o.init(x), a.init(y)
    for _ in range(60):
        new, s = o.update(x, scale_free_gradient(x), s)
        grown = np.sum(new**2) - np.sum(x**2)
        assert grown == pytest.approx(np.sum((new - x) ** 2), rel=1e-11)  # of ‖x‖², 1e3 times as large
        x = new
        y, sa = a.update(y, scale_free_gradient(y), sa)
    assert np.sum(y**2) - np.sum(x**2) > 0.5


@pytest.mark.claim("sgdp")
def test_momentum_lengthens_weights_and_sgdp_does_not() -> None:
    """Lemma on norms: momentum's squared norm gains 2 η² Σ μ^(t-k) ‖b_k‖² beside its steps, SGDP's
    nothing, to 1e-13.

    Lemma: momentum gains η²‖b_t‖² + 2 η² Σ_{k<t} μ^(t-k) ‖b_k‖², SGDP η²‖q_t‖².
    """
    eta, mu = 0.1, 0.8
    m = refopt.optimizer("momentum", dialect="torch", lr=eta, momentum=mu)
    p = refopt.optimizer("sgdp", lr=eta, momentum=mu, eps=0.0)
    x = y = np.array([[1.0, -0.5, 0.3, 2.0, 0.1, -1.0]])
    sm, sp, squares = m.init(x), p.init(y), []
    for t in range(50):
        new, sm = m.update(x, scale_free_gradient(x), sm)
        squares.append(np.sum(sm["v"] ** 2))
        older = sum(mu ** (t - k) * squares[k] for k in range(t))
        want = np.sum(x**2) + eta**2 * (squares[-1] + 2 * older)
        assert np.sum(new**2) == pytest.approx(want, rel=1e-13)
        x = new
        new, sp = p.update(y, scale_free_gradient(y), sp)
        assert np.sum(new**2) == pytest.approx(np.sum(y**2) + np.sum((new - y) ** 2), rel=1e-13)
        y = new
    assert np.sum(x**2) > 1.05 * np.sum(y**2)


def test_projection_is_idempotent_and_by_rows() -> None:
    """Every row loses its part along its own weight, and a second projection takes nothing more."""
    from refopt.optimizers.common.projection import radial

    rng = np.random.default_rng(0)
    x, g, u = rng.standard_normal((3, 3, 2, 4))
    once, taken = radial(np, x, g, u, delta=math.inf, eps=0.0)
    assert bool(taken)
    np.testing.assert_allclose(np.sum(once * x, axis=(1, 2)), 0.0, atol=1e-14)
    twice, _ = radial(np, x, g, once, delta=math.inf, eps=0.0)
    np.testing.assert_allclose(twice, once, atol=1e-15)
    untouched, taken = radial(np, x, g, u, delta=0.0, eps=0.0)
    assert not bool(taken)
    np.testing.assert_array_equal(untouched, u)
    # One row along its gradient spoils the rows, not the whole: that is then projected as one.
    x, g = np.ones((2, 50)), np.stack([np.ones(50), -np.ones(50)])
    u = rng.standard_normal((2, 50))
    whole, taken = radial(np, x, g, u, delta=0.1, eps=0.0)
    assert bool(taken)
    np.testing.assert_allclose(whole, u - np.mean(u), atol=1e-14)
