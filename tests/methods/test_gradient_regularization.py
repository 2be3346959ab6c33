"""Gradient regularization by differences, and flooding, which is one of them at its level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.methods.values import Cubic, H, X

FORMS = ("forward", "backward", "centred", "exact")


class Curved(Cubic):
    def hvp(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return self.h @ v + self.c * x * v


def regularized(p: Any, form: str, radius: float, gamma: float = 0.4) -> np.ndarray:
    """ΔR as the wrapper makes it, the gradient taken off."""
    o = refopt.optimizer("gradient-regularization", form=form, radius=radius, gamma=gamma)
    oracle = Oracle(p)
    got = (o.gradient(oracle, X) - p.grad(X)) / gamma
    asked = {
        "forward": {"grad": 2},
        "backward": {"grad": 2},
        "centred": {"grad": 3},
        "exact": {"grad": 1, "hvp": 1},
    }
    assert oracle.counts.calls == asked[form]
    return got


@pytest.mark.claim("gradient-regularization")
def test_errors_of_the_differences() -> None:
    """On a quadratic all four forms are Hg, whatever ε (1e-12). On a cubic forward and backward are off by ± ε c g²/2
    in a coordinate and the centred form not at all (1e-11).
    """
    for form in FORMS:
        np.testing.assert_allclose(regularized(Curved(H), form, 0.7), H @ H @ X, rtol=1e-12)
    p = Curved(H, 1.3)
    g, exact = p.grad(X), regularized(p, "exact", 0.7)
    np.testing.assert_allclose(exact, H @ g + 1.3 * X * g, rtol=1e-12)
    for radius in (0.5, 0.05):
        for form, sign in (("forward", 1), ("backward", -1), ("centred", 0)):
            want = exact + sign * radius * 1.3 * g**2 / 2
            np.testing.assert_allclose(regularized(p, form, radius), want, rtol=1e-11)


@pytest.mark.claim("gradient-regularization")
def test_exact_form_is_the_penalty_s_gradient() -> None:
    """The exact form is the gradient of L + (γ/2)‖∇L‖², by a complex step along three directions, to 1e-12."""
    p, gamma = Curved(H, 1.3), 0.4
    got = refopt.optimizer("gradient-regularization", form="exact", gamma=gamma).gradient(Oracle(p), X)

    def total(x: np.ndarray) -> complex:
        g = H @ x + 1.3 * x**2 / 2
        return x @ H @ x / 2 + 1.3 * np.sum(x**3) / 6 + gamma / 2 * (g @ g)

    want = [(total(X + 1e-30j * e) / 1e-30).imag for e in np.eye(3)]
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.identity("gradient-regularization")
def test_forward_with_gamma_is_unnormalised_sam() -> None:
    """Forward with γ = ε steps with ∇L(θ + ε ∇L), to 1e-13; γ = 0 is the base, bit for bit; a base by name takes the
    rest, and the state counts.
    """
    p = Curved(H, 1.3)
    o = refopt.optimizer("gradient-regularization", gamma=0.3, radius=0.3, lr=0.1)
    x, s = o.step(X, o.init(X), Oracle(p))
    np.testing.assert_allclose(x, X - 0.1 * p.grad(X + 0.3 * p.grad(X)), rtol=1e-13)
    assert s["t"] == s["base"]["t"] == 1
    q = refopt.problem("quadratic", n=4)
    a = refopt.minimize(q, "gradient-regularization", base="adam", gamma=0.0, lr=0.1, steps=20)
    np.testing.assert_array_equal(a.x, refopt.minimize(q, "adam", lr=0.1, steps=20).x)
    assert refopt.optimizer("gradient-regularization", form="exact", base="sophia").needs == ("grad", "hvp")
    assert refopt.optimizer("gradient-regularization").needs == ("grad",)


@pytest.mark.claim("flooding", "gradient-regularization")
def test_two_steps_at_the_level() -> None:
    """Two steps of size ε across the flood level, one down and one up, move θ by -ε² ΔR: of the backward form where
    the descent is first, of the forward form where the ascent is (1e-10).
    """
    p, eps = Cubic(H, 1.3), 0.02
    down, up = p.value(X - eps * p.grad(X)), p.value(X + eps * p.grad(X))
    f = p.value(X)
    for form, level in (("backward", (f + down) / 2), ("forward", (f + up) / 2)):
        o = refopt.optimizer("flooding", level=level, lr=eps)
        oracle, x, s = Oracle(p), X, o.init(X)
        for _ in range(2):
            x, s = o.step(x, s, oracle)
        np.testing.assert_allclose((X - x) / eps**2, regularized(Curved(H, 1.3), form, eps), rtol=1e-9)
        assert s["t"] == 2


@pytest.mark.identity("flooding")
def test_above_and_below_and_at_the_level() -> None:
    """Above the level the base, bit for bit; below it, the base on the turned gradient; at it, no gradient; with
    b = 0 no value is asked for.
    """
    p = refopt.problem("quadratic", n=4, optimum=2.0)
    base = refopt.minimize(p, "adam", lr=0.1, steps=20)
    for level, asked in ((1.0, True), (0.0, False)):
        a = refopt.minimize(p, "flooding", base="adam", level=level, lr=0.1, steps=20)
        np.testing.assert_array_equal(a.x, base.x)
        assert ("value" in a.calls) == (asked and "grad" not in a.calls)
    q = Cubic(H)
    for level, sign in ((1e3, 1), (q.value(X), 0), (1e-3, -1)):
        o = refopt.optimizer("flooding", level=level, lr=0.1)
        x, _ = o.step(X, o.init(X), Oracle(q))
        np.testing.assert_allclose(x, X + 0.1 * sign * q.grad(X), rtol=1e-14)


@pytest.mark.claim("flooding")
def test_batch_flooding_is_above_the_whole() -> None:
    """The mean of the batches' flooded losses is at least the flooded loss of the mean (Jensen), and the gradients'
    mean is that of the former.
    """
    p = refopt.problem("logistic", n_examples=60)
    x = 0.1 * np.sin(np.arange(p.dimension))
    b = float(p.value(x))
    parts = np.split(np.arange(60), 6)
    losses = np.array([float(p.value(x, batch=i)) for i in parts])
    assert np.mean(np.abs(losses - b) + b) >= abs(losses.mean() - b) + b
    o = refopt.optimizer("flooding", level=b, lr=1.0)
    got = np.mean([x - o.step(x, o.init(x), Oracle(p).on(i))[0] for i in parts], axis=0)
    want = np.mean([np.sign(loss - b) * p.grad(x, batch=i) for loss, i in zip(losses, parts)], axis=0)
    assert len(set(np.sign(losses - b))) == 2
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)
