"""Claims on Adan, AdEMAMix, AdamP and SGDP.

Adan, AdEMAMix, AdamP and SGDP: literal transcriptions and limits.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt
from refopt.optimizers.first_order.ademamix import half_life_warmup

from tests.alike import assert_same_run
from tests.methods.test_adaptive import follow, same_run
from tests.streams import schedule, stream


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


@pytest.mark.identity("adan")
@pytest.mark.parametrize("restart", [None, 7])
def test_adan_line_by_line(restart: int | None) -> None:
    """Equals Algorithm 1 with its restarts, in the paper's convention of the betas, to 1e-13.

    Algorithm 1 in the paper's convention, β = 1 - b; a restart takes the next gradient for g_0.
    """
    beta1, beta2, beta3, eps, lam = 0.2, 0.3, 0.4, 1e-2, 0.1

    def xie(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        eta = 0.03 * schedule(t)
        if t == 1 or (restart and (t - 1) % restart == 0):
            memory["m"], memory["v"], memory["n"] = g, 0.0, g**2
        else:
            change = g - memory["g"]
            memory["m"] = (1 - beta1) * memory["m"] + beta1 * g
            memory["v"] = (1 - beta2) * memory["v"] + beta2 * change
            memory["n"] = (1 - beta3) * memory["n"] + beta3 * (g + (1 - beta2) * change) ** 2
        memory["g"] = g
        rate = eta / math.sqrt(memory["n"] + eps)
        return (x - rate * (memory["m"] + (1 - beta2) * memory["v"])) / (1 + lam * eta)

    follow(
        "adan", xie, lr=0.03, beta1=0.8, beta2=0.7, beta3=0.6, eps=eps, weight_decay=lam, schedule=schedule,
        restart_every=restart,
    )  # fmt: skip


def test_adan_restarts_as_the_official_code() -> None:
    """restart_opt() sets averages and step to zero: the run goes on as a new one from there."""
    x, gradients = stream(0, "random", steps=20)
    given = {"dialect": "official", "beta1": 0.8, "beta2": 0.7, "beta3": 0.6, "lr": 0.1}
    o, fresh = refopt.optimizer("adan", restart_every=8, **given), refopt.optimizer("adan", **given)
    y, s, f = x, o.init(x), fresh.init(x)
    for t, g in enumerate(gradients):
        x, s = o.update(x, g, s)
        f = fresh.init(y) if t % 8 == 0 else f
        y, f = fresh.update(y, g, f)
        for k in x:
            np.testing.assert_array_equal(x[k], y[k])


@pytest.mark.identity("adan")
def test_adan_without_differences_is_adam() -> None:
    """With b2 = 0 the authors' form is Adam with proximal decay, to 1e-13.

    b2 = 0 in the authors' form: Adam's step, then x / (1 + lr λ).
    """
    x, gradients = stream(0, "random", steps=60)
    given = {"lr": 0.03, "beta1": 0.8, "eps": 1e-2}
    o = refopt.optimizer("adan", dialect="official", beta2=0.0, beta3=0.6, weight_decay=0.1, **given)
    a = refopt.optimizer("adam", beta2=0.6, **given)
    y, s, sa = x, o.init(x), a.init(x)
    for g in gradients:
        x, s = o.update(x, g, s)
        y, sa = a.update(y, g, sa)
        y = {k: v / (1 + 0.03 * 0.1) for k, v in y.items()}
    for k in x:
        np.testing.assert_allclose(x[k], y[k], rtol=1e-13, atol=1e-14)


@pytest.mark.identity("ademamix")
def test_ademamix_without_the_slow_average_is_adamw() -> None:
    """With alpha = 0 it is AdamW in torch's form, bit for bit.

    alpha = 0: the same bits.
    """
    given = {"lr": 0.03, "beta1": 0.8, "beta2": 0.6, "weight_decay": 0.1, "schedule": schedule}
    o = refopt.optimizer("ademamix", alpha=0.0, **given)
    a = refopt.optimizer("adamw", dialect="torch", **given)
    assert_same_run(o, a, stream(0, "ill", steps=40))


@pytest.mark.identity("ademamix")
def test_ademamix_with_equal_averages_is_adamw() -> None:
    """With beta3 = beta1 it is AdamW at the rate times 1 + alpha (1 - beta1^t), to 1e-13.

    beta3 = beta1, no warm-up: m2 is m1, so the rate is 1 + alpha (1 - beta1^t) times Adam's.
    """
    given = {"lr": 0.03, "beta1": 0.8, "beta2": 0.6}
    same_run(
        refopt.optimizer("ademamix", alpha=3.0, beta3=0.8, **given),
        refopt.optimizer("adam", schedule=lambda t: 1 + 3.0 * (1 - 0.8**t), **given),
        1e-13,
    )


@pytest.mark.parametrize("beta1", [0.8, 0.0])
def test_ademamix_line_by_line(beta1: float) -> None:
    """Algorithm 1 with both warm-ups; at beta1 = 0 beta3 starts from zero."""

    def theirs(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        mu = min(t / 40, 1.0)
        alpha = min(t * 4.0 / 30, 4.0)
        if beta1:
            a, b = math.log(beta1), math.log(0.97)
            beta3 = min(math.exp(a * b / ((1 - mu) * b + mu * a)), 0.97)
        else:
            beta3 = 0.97 ** (1 / mu)
        memory["m1"] = beta1 * memory.get("m1", 0.0) + (1 - beta1) * g
        memory["m2"] = beta3 * memory.get("m2", 0.0) + (1 - beta3) * g
        memory["nu"] = 0.6 * memory.get("nu", 0.0) + 0.4 * g * g
        up = memory["m1"] / (1 - beta1**t) + alpha * memory["m2"]
        return x - 0.02 * (up / (math.sqrt(memory["nu"] / (1 - 0.6**t)) + 1e-2) + 0.1 * x)

    follow(
        "ademamix", theirs, lr=0.02, beta1=beta1, beta2=0.6, beta3=0.97, alpha=4.0, alpha_steps=30, beta3_steps=40,
        eps=1e-2, weight_decay=0.1,
    )  # fmt: skip


@pytest.mark.identity("adamp")
def test_adamp_without_projection_is_adamw() -> None:
    """With delta = 0, or on vectors, it is AdamW in torch's form, to 1e-14.

    delta = 0 everywhere, or vectors alone at any delta.
    """
    given = {"lr": 0.03, "beta1": 0.8, "beta2": 0.6, "eps": 1e-2, "weight_decay": 0.1}
    adamw = refopt.optimizer("adamw", dialect="torch", **given)
    same_run(refopt.optimizer("adamp", delta=0.0, **given), adamw, 1e-14)
    x, o = np.array([1.0, 2.0]), refopt.optimizer("adamp", delta=math.inf, **given)
    np.testing.assert_allclose(
        o.update(x, np.array([0.0, 3.0]), o.init(x))[0],
        adamw.update(x, np.array([0.0, 3.0]), adamw.init(x))[0],
        rtol=1e-15,
    )


@pytest.mark.identity("adamp")
def test_adamp_eps_added_in_the_cosine() -> None:
    """eps beside the norms in the cosine, as torch_optimizer has it: its test of rows transcribed, to
    1e-13.

    A gradient of eps's size: its cosine is halved, and the row counts as free; a floor leaves it
    whole.
    """
    x, g, eps = np.array([[3.0, 4.0]]), np.array([[0.6e-3, 0.8e-3]]), 1e-3
    given = {"lr": 0.1, "beta1": 0.8, "beta2": 0.6, "eps": eps, "delta": 1.0}
    # One row of two entries: the test is cosine < 1 / sqrt(2), and the cosine is 5 (1e-3) / ((5 + eps) (2e-3)).
    assert 5e-3 / ((5 + eps) * 2e-3) < 0.5**0.5 < 1.0
    p = g / (np.abs(g) + eps)
    row = x / (5 + eps)
    free = p - row * np.sum(row * p)
    for how, step in (("added", free), ("floor", p)):
        o = refopt.optimizer("adamp", cosine_eps=how, **given)
        np.testing.assert_allclose(o.update(x, g, o.init(x))[0], x - 0.1 * step, rtol=1e-13)


@pytest.mark.identity("sgdp")
def test_sgdp_eps_added_in_the_cosine() -> None:
    """eps beside the norms in the cosine, as torch_optimizer has it: its test of rows transcribed, to
    1e-13.
    """
    x, g, eps = np.array([[3.0, 4.0]]), np.array([[0.6e-3, 0.8e-3]]), 1e-3
    row = x / (5 + eps)
    free = g - row * np.sum(row * g)
    for dialect, step in (("jettify", free), ("official", g)):
        o = refopt.optimizer("sgdp", dialect=dialect, lr=0.1, momentum=0.9, eps=eps, delta=1.0)
        np.testing.assert_allclose(o.update(x, g, o.init(x))[0], x - 0.1 * step, rtol=1e-13)


def test_adamp_nesterov_without_projection_is_nadam() -> None:
    """The Nesterov step is the overview's Nadam."""
    given = {"lr": 0.03, "beta1": 0.8, "beta2": 0.6, "eps": 1e-2}
    same_run(
        refopt.optimizer("adamp", delta=0.0, nesterov=True, **given),
        refopt.optimizer("nadam", **given),
        1e-13,
    )


@pytest.mark.identity("sgdp")
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgdp_without_projection_is_momentum(nesterov: bool) -> None:
    """With delta = 0 it is momentum with the rate outside, to 1e-14."""
    same_run(
        refopt.optimizer("sgdp", lr=0.03, momentum=0.8, delta=0.0, nesterov=nesterov),
        refopt.optimizer("nesterov", lr=0.03, momentum=0.8, look_ahead=False, rate_inside=False)
        if nesterov
        else refopt.optimizer("momentum", lr=0.03, momentum=0.8, rate_inside=False),
        1e-14,
    )


def test_sgdp_of_the_paper_keeps_its_buffer() -> None:
    """b is momentum's whatever is taken from the step; the authors' code projects it too."""
    x = np.array([[1.0, 0.0]])
    for dialect, kept in (("paper", 1.9), ("official", 0.0)):
        o = refopt.optimizer("sgdp", dialect=dialect, lr=0.1, delta=math.inf, eps=0.0)
        y, s = o.update(x, np.array([[1.0, 0.0]]), o.init(x))
        np.testing.assert_allclose(y, x, rtol=1e-15)  # all of the step was radial
        _, s = o.update(y, np.array([[1.0, 0.0]]), s)
        assert float(s["b"][0, 0]) == pytest.approx(kept, abs=1e-15)


def test_zero_weights_and_gradients_stay_finite() -> None:
    for name in ("adamp", "sgdp"):
        o = refopt.optimizer(name, eps=0.0, weight_decay=0.1)
        x = np.zeros((2, 3))
        y, s = o.update(x, np.zeros((2, 3)), o.init(x))
        np.testing.assert_array_equal(y, 0.0)
        y, s = o.update(y, np.ones((2, 3)), s)
        assert np.all(np.isfinite(y))


@pytest.mark.identity("adan")
def test_adans_eps_root_stands_beside_the_corrected_square() -> None:
    """eps_root stands beside the corrected square: the first step in closed form, to 1e-14.

    First step of the bias-corrected form, closed: x - lr g / sqrt(g² + eps_root), to 1e-14.
    """
    o = refopt.optimizer("adan", dialect="no-prox", lr=0.1, eps=0.0, eps_root=0.5)
    x, g = np.array([1.0, -2.0, 0.5]), np.array([0.3, -1e-3, 40.0])
    new, _ = o.update(x, g, o.init(x))
    np.testing.assert_allclose(new, x - 0.1 * g / np.sqrt(g * g + 0.5), rtol=1e-14)
