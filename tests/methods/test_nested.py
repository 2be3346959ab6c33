"""Games by complex momentum, and best responses by a hypernetwork."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator

GAME = refopt.problem("bilinear-game", n=1)


@pytest.mark.identity("bilinear-game")
def test_the_game_turns() -> None:
    """The players' gradients (y, -x) are at a right angle to the point, and the levels' values are opposite."""
    p = refopt.problem("bilinear-game", n=3, condition_number=4.0)
    x = p.start(2)
    g = np.concatenate([p.upper_grad(x)["upper"], p.lower_grad(x)["lower"]])
    assert abs(g @ np.concatenate([x["upper"], x["lower"]])) < 1e-14
    np.testing.assert_allclose(p.upper_grad(x)["upper"], np.array([1.0, 2.0, 4.0]) * x["lower"], rtol=1e-14)
    assert float(p.upper_value(x)) == -float(p.lower_value(x))


def radius(beta: float, phase: float, a: float) -> float:
    """The spectral radius of one simultaneous move on xy, from the method's own steps on unit vectors."""
    o, columns = refopt.optimizer("nested", lr=a, beta=beta, phase=phase), []
    for k in range(6):
        e = np.eye(6)[k]
        x = {"upper": e[:1], "lower": e[1:2]}
        s = {"t": 0, "re": {"upper": e[2:3], "lower": e[3:4]}, "im": {"upper": e[4:5], "lower": e[5:6]}}
        y, n = o.step(x, s, Oracle(GAME))
        parts = [y, n["re"], n["im"]]
        columns.append(np.concatenate([part[player] for part in parts for player in ("upper", "lower")]))
    return float(np.max(np.abs(np.linalg.eigvals(np.array(columns).T))))


@pytest.mark.claim("nested")
def test_spectral_radii() -> None:
    """On xy with simultaneous moves |β| = 0.9 diverges at every rate for φ = 0 (1.03049 at 0.01, 1.19829 at 0.1) and
    φ = π, and converges for φ = π/8 at 0.01 and 0.05 (0.99945, 0.98569) and φ = π/2 up to 0.3 (0.98870), to 1e-5;
    without momentum the radius is √(1 + a²).
    """
    table = {
        0.0: (1.03049, 1.12110, 1.19829, 1.42145),
        np.pi / 8: (0.99945, 0.98569, 1.05298, 1.33673),
        np.pi / 4: (0.99991, 0.99782, 0.99118, 1.13885),
        np.pi / 2: (0.99999, 0.99970, 0.99879, 0.98870),
        np.pi: (1.00000, 1.00002, 1.00007, 1.00067),
    }
    for phase, row in table.items():
        for a, want in zip((0.01, 0.05, 0.1, 0.3), row):
            assert radius(0.9, phase, a) == pytest.approx(want, abs=1.01e-5), (phase, a)
    assert radius(0.0, 0.0, 0.1) == pytest.approx(np.sqrt(1.01), rel=1e-12)
    assert radius(0.9, np.pi, 0.3) > 1.0


@pytest.mark.identity("nested")
@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize("lower_lr", [None, 0.2])
def test_complex_recursion(alternating: bool, lower_lr: float | None) -> None:
    """Ten moves equal the recursion in complex numbers, with rates of their own and a falling one, to 1e-12."""
    p, beta, phase = refopt.problem("bilevel-quadratic", n_upper=2, n_lower=2), 0.7, 0.5
    x = p.start(1)
    r = refopt.minimize(
        p, "nested", x, lr=0.1, lower_lr=lower_lr, beta=beta, phase=phase, alternating=alternating,
        schedule=lambda t: 1 / t, steps=10,
    )  # fmt: skip
    u, y, b = x["upper"], x["lower"], beta * np.exp(1j * phase)
    m, n = np.zeros(2, complex), np.zeros(2, complex)
    for t in range(1, 11):
        old = u
        m = b * m - p.D @ (u - p.c)
        u = u + np.real(0.1 / t * m)
        n = b * n - (p.A @ y - p.B.T @ (u if alternating else old))
        y = y + np.real((0.1 if lower_lr is None else lower_lr) / t * n)
    np.testing.assert_allclose(r.x["upper"], u, rtol=1e-12)
    np.testing.assert_allclose(r.x["lower"], y, rtol=1e-12)
    np.testing.assert_allclose(r.state["im"]["lower"], n.imag, rtol=1e-11)
    assert r.state["t"] == 10


@pytest.mark.claim("nested")
def test_hypernetwork_learns_the_response() -> None:
    """On a quadratic the linear hypernetwork becomes the best response, Φ = A⁻¹Bᵀ and y_0 = y*(x) (1e-6), and then a
    step of x is the exact hypergradient's (1e-6).
    """
    p = refopt.problem("bilevel-quadratic", n_upper=2, n_lower=2, condition_number=2.0)
    x = p.start(1)
    r = refopt.minimize(p, "nested", x, form="hypernetwork", lr=0.0, lower_lr=0.3, lower_steps=400, steps=1)
    np.testing.assert_allclose(r.state["phi"], np.linalg.solve(p.A, p.B.T), atol=1e-6)
    np.testing.assert_allclose(r.x["lower"], p.response(x["upper"]), atol=1e-6)
    o = refopt.optimizer("nested", form="hypernetwork", lr=0.5, lower_lr=0.3, lower_steps=1)
    oracle = Oracle(p)
    oracle.begin(1)
    new, _ = o.step(r.x, r.state, oracle)
    np.testing.assert_allclose(new["upper"], x["upper"] - 0.5 * p.hypergradient(x["upper"]), atol=1e-6)
    np.testing.assert_allclose(new["lower"], p.response(new["upper"]), atol=1e-6)


@pytest.mark.identity("nested")
def test_hypernetwork_written_out() -> None:
    """Three steps equal y_0 + Φ(x̂ - x) trained at the same draws, written out, to 1e-12."""
    p = refopt.problem("bilevel-quadratic", n_upper=3, n_lower=2)
    x = p.start(1)
    r = refopt.minimize(
        p, "nested", x, form="hypernetwork", lr=0.2, lower_lr=0.1, lower_steps=4, sigma=0.5, steps=3, seed=4
    )
    u, y, phi = x["upper"], x["lower"], np.zeros((2, 3))
    for t in range(1, 4):
        rng = generator(4, "method", t)
        for _ in range(4):
            e = 0.5 * rng.standard_normal(3)
            g = p.A @ (y + phi @ e) - p.B.T @ (u + e)
            y, phi = y - 0.1 * g, phi - 0.1 * np.outer(g, e)
        d = p.D @ (u - p.c) + phi.T @ (p.P @ y)
        u, y = u - 0.2 * d, y - 0.2 * phi @ d
    np.testing.assert_allclose(r.x["upper"], u, rtol=1e-12)
    np.testing.assert_allclose(r.x["lower"], y, rtol=1e-12)
    np.testing.assert_allclose(r.state["phi"], phi, rtol=1e-11)
    assert r.state["t"] == 3


@pytest.mark.identity("nested")
def test_given_dicts_are_left_alone() -> None:
    """A step writes into neither the point's nor the state's dicts, and players of other shapes have a Φ of their sizes."""
    o = refopt.optimizer("nested")
    x = GAME.start(0)
    s = o.init(x)
    before = {k: dict(v) for k, v in (("x", x), ("re", s["re"]), ("im", s["im"]))}
    o.step(x, s, Oracle(GAME))
    for name, now in (("x", x), ("re", s["re"]), ("im", s["im"])):
        assert all(now[k] is before[name][k] for k in now)
    with pytest.raises(refopt.errors.ArgumentError, match="names upper and lower"):
        o.init({"w": np.ones(2)})
    wide = refopt.optimizer("nested", form="hypernetwork")
    p = refopt.problem("ridge-hyperparameter", blocks=3)
    assert wide.init(p.start())["phi"].shape == (12, 4)
    zero = {"upper": np.zeros(4), "lower": np.zeros((3, 4))}
    r = refopt.minimize(p, wide, zero, steps=2)
    assert r.x["lower"].shape == (3, 4) and np.any(r.state["phi"])
