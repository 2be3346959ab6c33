"""Mirror descent beside its authors' code, SGD, and what its potential decides."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Case
from tests.parity.makers import ours
from tests.streams import run_refopt, stream

PEER = "romanpogodin/synaptic-weight-distr@c29c1a341ae572ca50f7e02b6d1a12c9889486e4"
COMMON: dict[str, Any] = {"lr": 0.03, "momentum": 0.8, "weight_decay": 0.1}
KINDS = ("random", "flip")

CASES = [
    Case("mirror-descent", "official-entropy", PEER,
        ours("mirror-descent", kinds=KINDS, dialect="official", dampening=0.3, **COMMON), None,
        says="200 steps of the authors' code with negative entropy, momentum, dampening and decay, to 1e-12"),
    Case("mirror-descent", "official-3-norm", PEER,
        ours("mirror-descent", kinds=KINDS, dialect="official", potential="p-norm", nesterov=True, **COMMON), None,
        says="200 steps of the authors' code with p = 3, Nesterov momentum and decay, to 1e-12"),
]  # fmt: skip


@pytest.mark.identity("mirror-descent")
def test_p_2_is_sgd() -> None:
    """With p = 2 it is torch's SGD with momentum and coupled decay, to 1e-14 over 200 steps of two streams."""
    got = run_refopt("mirror-descent", 1, KINDS, potential="p-norm", p=2.0, dampening=0.3, **COMMON)
    want = run_refopt("momentum", 1, KINDS, dialect="torch", dampening=0.3, **COMMON)
    for k in KINDS:
        np.testing.assert_allclose(got[k], want[k], rtol=0.0, atol=1e-14 * np.max(np.abs(want[k])))


@pytest.mark.identity("mirror-descent")
@pytest.mark.parametrize(("potential", "p"), [("negative-entropy", 2.0), ("p-norm", 3.0), ("p-norm", 1.5)])
def test_the_step_in_mirror_coordinates(potential: str, p: float) -> None:
    """One step moves ∇φ by minus the rate times the gradient, in every coordinate, to 1e-13."""

    def dual(x: np.ndarray) -> np.ndarray:
        return np.sign(x) * (
            np.log(np.abs(x)) + 1 if potential == "negative-entropy" else np.abs(x) ** (p - 1)
        )

    x, gradients = stream(4, "random", steps=20)
    o = refopt.optimizer("mirror-descent", lr=0.05, potential=potential, p=p)
    s = o.init(x)
    for g in gradients:
        new, s = o.update(x, g, s)
        for k in x:
            np.testing.assert_allclose(dual(new[k]), dual(x[k]) - 0.05 * g[k], rtol=1e-12, atol=1e-13)
        x = new


@pytest.mark.claim("mirror-descent")
@pytest.mark.parametrize(("potential", "p", "lr"), [("negative-entropy", 2.0, 0.2), ("p-norm", 3.0, 0.1)])
def test_interpolation_stays_in_the_row_space(potential: str, p: float, lr: float) -> None:
    """On interpolating least squares ∇φ(w) - ∇φ(w_0) lies in the rows' span, to 1e-12: w is Bregman-nearest to w_0."""
    rng = np.random.default_rng(0)
    rows, w = rng.standard_normal((3, 8)), rng.uniform(0.5, 1.5, 8)
    targets = rows @ (w * rng.uniform(0.8, 1.2, 8))
    o = refopt.optimizer("mirror-descent", lr=lr, potential=potential, p=p)

    def dual(x: np.ndarray) -> np.ndarray:
        return (
            np.log(np.abs(x)) * np.sign(x)
            if potential == "negative-entropy"
            else np.sign(x) * np.abs(x) ** (p - 1)
        )

    first, s = dual(w), o.init(w)
    for _ in range(400):
        w, s = o.update(w, rows.T @ (rows @ w - targets) / 3, s)
    assert np.linalg.norm(rows @ w - targets) < 1e-3
    change = dual(w) - first
    fit = rows.T @ np.linalg.lstsq(rows.T, change, rcond=None)[0]
    assert np.linalg.norm(change - fit) < 1e-12 * np.linalg.norm(change)
    assert np.linalg.norm(change) > 0.1


@pytest.mark.identity("mirror-descent")
def test_momentum_of_the_entropic_step() -> None:
    """The exponent is the rate times torch's momentum, Nesterov's too, and without momentum the gradient, to 1e-13."""
    x, gradients = stream(2, "random", steps=15, shapes={"w": (6,)})
    for mu, damp, ahead in ((0.6, 0.3, False), (0.6, 0.0, True), (0.0, 0.3, False)):
        o = refopt.optimizer("mirror-descent", lr=0.1, momentum=mu, dampening=damp, nesterov=ahead)
        w, want, s, v = x["w"], x["w"], o.init(x["w"]), None
        for g in (g["w"] for g in gradients):
            w, s = o.update(w, g, s)
            v = g if v is None or mu == 0.0 else mu * v + (1 - damp) * g
            want = want * np.exp(-0.1 * np.sign(want) * (g + mu * v if ahead else v))
            np.testing.assert_allclose(w, want, rtol=1e-13)


@pytest.mark.identity("mirror-descent")
def test_zeros_and_signs() -> None:
    """With the entropy a zero stays and no sign changes; a p-norm's coordinate without gradient keeps its bits."""
    x, g = np.array([0.0, 1e-3, -2.0]), np.array([5.0, 90.0, -4.0])
    o = refopt.optimizer("mirror-descent", lr=1.0)
    y, _ = o.update(x, g, o.init(x))
    assert y[0] == 0.0 < y[1] and y[2] < 0.0
    o = refopt.optimizer("mirror-descent", lr=1.0, potential="p-norm", p=3.7)
    z = np.linspace(-1.3, 1.7, 50)
    np.testing.assert_array_equal(o.update(z, 0.0 * z, o.init(z))[0], z)


@pytest.mark.claim("mirror-descent")
@pytest.mark.parametrize(("potential", "lr"), [("entropy", 3.0), (2.0, 0.5), (3.0, 0.1)])
def test_the_potential_shows_in_the_weights(potential: Any, lr: float) -> None:
    """2000 weights, log-normal in size, fitted to 60 examples: what has changed in ∇φ is normally distributed in the
    coordinates of the potential that was used, its excess kurtosis below 0.2 (0.10 to 0.14), and not in those of the others of the
    entropy and the norms with p = 2 and 3, 0.5 to 400.
    """
    rng, d, n = np.random.default_rng(0), 2000, 60
    w = np.exp(0.8 * rng.standard_normal(d)) / 10 * np.where(rng.random(d) < 0.5, -1.0, 1.0)
    rows = rng.standard_normal((n, d)) / np.sqrt(d)
    targets = rows @ w + rng.standard_normal(n)
    p = refopt.from_functions(
        lambda x: 0.5 * float(np.sum((rows @ x - targets) ** 2)),
        lambda x: rows.T @ (rows @ x - targets),
        x0=w,
    )
    given = (
        {"potential": "negative-entropy"}
        if potential == "entropy"
        else {"potential": "p-norm", "p": potential}
    )
    r = refopt.minimize(p, "mirror-descent", lr=lr, steps=400, record_every=400, **given)
    assert r.fun < 1e-9 * p.value(w)

    def dual(x: np.ndarray, potential: Any) -> np.ndarray:
        size = np.log(np.abs(x)) + 1 if potential == "entropy" else np.abs(x) ** (potential - 1)
        return np.sign(x) * size

    for seen in ("entropy", 2.0, 3.0):
        change = dual(r.x, seen) - dual(w, seen)
        change = (change - change.mean()) / change.std()
        excess = abs(float(np.mean(change**4)) - 3)
        assert excess < 0.2 if seen == potential else 0.5 < excess < 400


@pytest.mark.claim("mirror-descent")
@pytest.mark.parametrize(("potential", "p"), [("negative-entropy", 2.0), ("p-norm", 3.0), ("p-norm", 1.5)])
def test_regret(potential: str, p: float) -> None:
    """On any sequence of linear functions η Σ ⟨g_t, x_t - u⟩ = D(u, x_1) - D(u, x_{T+1}) + Σ D(x_t, x_{t+1}), D the Bregman
    divergence of φ, for every u (1e-11). With the entropy and gradients in [-1, 1] on positive weights the regret is at
    most D(u, x_1)/η + η Σ ⟨x_t, g_t²⟩, for η ≤ 1.
    """
    rng, eta, steps, d = np.random.default_rng(0), 0.07, 60, 5
    gradients = np.sin(0.1 * np.arange(steps)[:, None] + np.arange(d)) * rng.random((steps, d))

    def phi(x: np.ndarray) -> float:
        return float(
            np.sum(np.abs(x) * np.log(np.abs(x)) if potential == "negative-entropy" else np.abs(x) ** p / p)
        )

    def slope(x: np.ndarray) -> np.ndarray:
        return np.sign(x) * (
            np.log(np.abs(x)) + 1 if potential == "negative-entropy" else np.abs(x) ** (p - 1)
        )

    def apart(x: np.ndarray, y: np.ndarray) -> float:
        return phi(x) - phi(y) - float(slope(y) @ (x - y))

    o, x = refopt.optimizer("mirror-descent", lr=eta, potential=potential, p=p), 0.5 + rng.random(d)
    s, points = o.init(x), [x]
    for g in gradients:
        x, s = o.update(x, g, s)
        points.append(x)
    moved = sum(apart(a, b) for a, b in itertools.pairwise(points))
    for u in (np.full(d, 0.3), np.arange(1.0, d + 1), points[-1]):
        regret = sum(float(g @ (a - u)) for g, a in zip(gradients, points))
        whole = apart(u, points[0]) - apart(u, points[-1]) + moved
        assert eta * regret == pytest.approx(whole, rel=1e-11, abs=1e-12)
        if potential == "negative-entropy":
            squares = sum(float(a @ g**2) for g, a in zip(gradients, points))
            assert regret <= apart(u, points[0]) / eta + eta * squares
