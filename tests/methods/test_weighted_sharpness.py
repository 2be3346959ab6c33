"""LookSAM, WSAM and bSAM."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.methods.test_sam_kin import Coupled, flat


def _grad(p: Coupled, v: np.ndarray) -> np.ndarray:
    return flat(p.grad({"w": v[:4].reshape(2, 2), "b": v[4:]}))


def _across(v: np.ndarray, u: np.ndarray) -> np.ndarray:
    return v - (v @ u) / (u @ u) * u


@pytest.mark.identity("looksam")
@pytest.mark.parametrize("by", ["all", "leaf"])
def test_looksam_by_hand(by: str) -> None:
    """Ten steps over plain SGD with k = 3, norms and angles of all or of each leaf, with large ε beside both norms, to 1e-12; ten steps ask for 14
    gradients."""
    p = Coupled()
    r = refopt.minimize(
        p, "looksam", base="sgd", lr=0.05, rho=0.3, every=3, alpha=0.6, by=by, eps=0.2, eps_kept=0.1, steps=10
    )
    assert dict(r.calls) == {"grad": 14}
    v, kept = flat(p.x0), np.zeros(6)
    parts = [slice(0, 6)] if by == "all" else [slice(0, 4), slice(4, 6)]
    for t in range(10):
        g = _grad(p, v)
        step = g.copy()
        if t % 3 == 0:
            step = _grad(p, v + 0.3 * g / (np.linalg.norm(g) + 0.2))
            for i in parts:
                kept[i] = _across(step[i], g[i])
        else:
            for i in parts:
                step[i] = g[i] + 0.6 * np.linalg.norm(g[i]) / (np.linalg.norm(kept[i]) + 0.1) * kept[i]
        v = v - 0.05 * step
    np.testing.assert_allclose(flat(r.x), v, rtol=1e-12, atol=1e-14)


@pytest.mark.claim("looksam")
def test_looksam_is_sam_with_k_one_and_its_base_with_alpha_zero_between() -> None:
    """k = 1: SAM's points over momentum, to the bit; what is kept is across the gradient, to 1e-14 of its square; without a gradient nothing moves,
    and a direction of zero changes nothing."""
    p = Coupled()
    kw: dict[str, Any] = {"base": "momentum", "lr": 0.02, "rho": 0.1, "steps": 12}
    want = flat(refopt.minimize(p, "sam", **kw).x)
    np.testing.assert_array_equal(flat(refopt.minimize(p, "looksam", every=1, **kw).x), want)
    o = refopt.optimizer("looksam", base="sgd", lr=0.05, rho=0.3, every=100, alpha=0.0)
    x, oracle = p.x0, Oracle(p)
    s = o.init(x)
    g = flat(p.grad(x))
    oracle.begin(1)
    x, s = o.step(x, s, oracle)
    kept = flat(s["v"])
    assert abs(kept @ g) <= 1e-14 * (g @ g)
    oracle.begin(2)
    y, s = o.step(x, s, oracle)
    np.testing.assert_allclose(flat(y), flat(x) - 0.05 * flat(p.grad(x)), rtol=1e-15)
    still = refopt.minimize(
        p, "looksam", {k: 0.0 * v for k, v in p.x0.items()}, base="sgd", lr=0.1, steps=3, every=2
    ).x
    np.testing.assert_array_equal(flat(still), np.zeros(6))


@pytest.mark.identity("wsam")
@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("adaptive", [True, False])
def test_wsam_by_hand(decoupled: bool, adaptive: bool) -> None:
    """Eight steps over momentum under a schedule, with the sharpness in the velocity or behind it and both balls, to 1e-12."""
    p = Coupled()
    base = refopt.optimizer("momentum", dialect="torch", lr=0.05, momentum=0.7, schedule=lambda t: 1 / t**0.5)
    got = flat(
        refopt.minimize(
            p, "wsam", base=base, rho=0.3, gamma=0.6, eps=0.2, decoupled=decoupled, adaptive=adaptive, steps=8
        ).x
    )
    v, b = flat(p.x0), np.zeros(6)
    for t in range(1, 9):
        g = _grad(p, v)
        T = np.abs(v) if adaptive else np.ones(6)
        sharp = _grad(p, v + 0.3 * T * T * g / (np.linalg.norm(T * g) + 0.2))
        eta = 0.05 / t**0.5
        b = 0.7 * b + (g if decoupled else g + 1.5 * (sharp - g))
        v = v - eta * b - (eta * 1.5 * (sharp - g) if decoupled else 0.0)
    np.testing.assert_allclose(got, v, rtol=1e-12, atol=1e-14)


@pytest.mark.claim("wsam")
def test_wsam_holds_sam_and_its_base() -> None:
    """γ = 1/2 coupled: SAM, to 1e-13; γ = 0: the base, to the bit; over SGD without momentum coupled and decoupled are one, to 1e-12; a base
    without a rate wants the coupled form."""
    p = Coupled()
    kw: dict[str, Any] = {"lr": 0.02, "steps": 12}
    want = flat(refopt.minimize(p, "sam", base="momentum", rho=0.1, **kw).x)
    got = flat(refopt.minimize(p, "wsam", base="momentum", rho=0.1, gamma=0.5, decoupled=False, **kw).x)
    np.testing.assert_allclose(got, want, rtol=1e-13)
    plain = flat(refopt.minimize(p, "momentum", **kw).x)
    for decoupled in (True, False):
        got = flat(refopt.minimize(p, "wsam", base="momentum", gamma=0.0, decoupled=decoupled, **kw).x)
        np.testing.assert_array_equal(got, plain)
    a, b = (
        flat(refopt.minimize(p, "wsam", base="sgd", rho=0.2, decoupled=d, lr=0.002, steps=12).x)
        for d in (True, False)
    )
    np.testing.assert_allclose(a, b, rtol=1e-12)
    with pytest.raises(refopt.errors.ArgumentError, match="decoupled"):
        refopt.optimizer("wsam", base=refopt.optimizer("rprop"))
    assert refopt.optimizer("wsam", base=refopt.optimizer("rprop"), decoupled=False).gamma == 0.9


@pytest.mark.identity("wsam")
def test_wsam_over_a_base_that_looks_ahead() -> None:
    """Nesterov's base takes its gradient where it wants it, and the sharpness at x stands behind its step: two steps written out, to 1e-14,
    of three gradients each."""
    p, base = Coupled(), refopt.optimizer("nesterov", lr=0.05, momentum=0.7)
    o = refopt.optimizer("wsam", base=base, rho=0.3, gamma=0.6)
    x, oracle = p.x0, Oracle(p)
    s, r = o.init(x), base.init(x)
    for t in range(1, 3):
        oracle.begin(t)
        y, r = base.step(x, r, Oracle(p))
        v = flat(x)
        g = _grad(p, v)
        want = flat(y) - 0.05 * 1.5 * (_grad(p, v + 0.3 * g / np.linalg.norm(g)) - g)
        x, s = o.step(x, s, oracle)
        assert s["t"] == t
        np.testing.assert_allclose(flat(x), want, rtol=1e-13, atol=1e-14)
    assert oracle.counts.calls == {"grad": 6}


@pytest.mark.identity("bsam")
def test_bsam_by_hand() -> None:
    """Eight steps with the run's own normal numbers, all five constants at work and a schedule, with NumPy alone, to 1e-12; N is the problem's
    number of examples where none is given."""
    p = Coupled()
    o = refopt.optimizer("bsam", lr=0.1, beta1=0.6, beta2=0.7, rho=0.3, delta=0.2, damping=0.4, initial=2.0, examples=5,
        schedule=lambda t: 1 / t**0.5)  # fmt: skip
    x, oracle, other = p.x0, Oracle(p, 3), Oracle(p, 3)
    state = o.init(x)
    v, m, s = flat(x), np.zeros(6), np.full(6, 2.0)
    for t in range(1, 9):
        oracle.begin(t)
        other.begin(t)
        x, state = o.step(x, state, oracle)
        n = np.concatenate([other.rng.standard_normal((2, 2)).ravel(), other.rng.standard_normal(2)])
        g = _grad(p, v + n / np.sqrt(5 * s))
        sharp = _grad(p, v + 0.3 * g / s)
        m = 0.6 * m + 0.4 * (sharp + 0.2 * v)
        v = v - 0.1 / t**0.5 * m / s
        s = 0.7 * s + 0.3 * (np.sqrt(s) * np.abs(g) + 0.4 + 0.2)
        np.testing.assert_allclose(flat(x), v, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(flat(state["s"]), s, rtol=1e-12)
    assert oracle.counts.calls == {"grad": 16}
    sums = refopt.from_functions(
        lambda x, batch=None: float(x @ x), lambda x, batch=None: 2.0 * x, x0=np.ones(2), n_examples=7
    )
    one, same, other = (refopt.minimize(sums, "bsam", steps=3, seed=1, examples=n).x for n in (None, 7, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.claim("bsam")
def test_the_posterior_is_the_quadratics_own() -> None:
    """f = h x² / 2 with N = 1, no prior and little damping: s is at the fixed point of s = sqrt(s) E|h n / sqrt(s)| = h sqrt(2 / π) about the
    minimum, within a tenth, for h = 1 and 9 together; and a large N draws nothing: x ← x - η g / s without ρ and momentum."""
    h = np.repeat([1.0, 9.0], 200)
    p = refopt.from_functions(lambda x: 0.5 * float(np.sum(h * x * x)), lambda x: h * x, x0=np.zeros(400))
    r = refopt.minimize(p, "bsam", lr=0.0, rho=0.0, beta2=0.97, damping=1e-9, steps=400, seed=2)
    s = r.state["s"]
    for part, curvature in ((slice(0, 200), 1.0), (slice(200, 400), 9.0)):
        assert abs(np.mean(s[part]) / (curvature * np.sqrt(2 / np.pi)) - 1.0) < 0.1
    q = refopt.from_functions(lambda x: 0.5 * float(np.sum(x * x)), lambda x: x, x0=np.array([2.0, -1.0]))
    o = {"rho": 0.0, "beta1": 0.0, "initial": 4.0, "beta2": 0.0, "damping": 0.5, "lr": 0.5}
    r = refopt.minimize(q, "bsam", steps=1, examples=10**30, **o)
    np.testing.assert_allclose(r.x, [1.75, -0.875], rtol=1e-12)
    np.testing.assert_allclose(r.state["s"], [2.0 * 2.0 + 0.5, 2.0 + 0.5], rtol=1e-12)
