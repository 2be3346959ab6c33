"""KATE, M-SVAG, AvaGrad, FOCUS and PID: each written out, beside libraries, and what their papers say of them."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.methods.test_adam_kin import _alike, _ema
from tests.parity.case import Case
from tests.parity.peers.beyond_adam import ONE, SMALL, case, kozistr
from tests.streams import run_refopt, schedule, stream


@pytest.mark.identity("kate")
@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
def test_kate_by_hand(decay: str) -> None:
    """Twelve steps with η = 0.3, a large ε and either decay, to 1e-11."""

    def rule(x, g, t, s):
        eta = 0.1 / t**0.5
        if decay == "coupled":
            g = g + 0.2 * x
        else:
            x = x * (1 - 0.2 * eta)
        s["b"] = s.get("b", 0.0) + g**2
        s["m"] = s.get("m", 0.0) + 0.3 * g**2 + g**2 / (s["b"] + 0.05)
        return x - eta * np.sqrt(s["m"]) / (s["b"] + 0.05) * g

    _alike("kate", rule, lr=0.1, eta=0.3, eps=0.05, weight_decay=0.2, decay=decay)


@pytest.mark.claim("kate")
def test_kate_sees_no_unit_of_a_feature() -> None:
    """Least squares with features in other units, v_j times as large: the same predictions after 30 steps, to 1e-12, which η = 0.1 and
    AdaGrad do not have."""
    rng = np.random.default_rng(3)
    A, y, units = rng.standard_normal((12, 4)), rng.standard_normal(12), np.array([1e3, 0.1, 7.0, 1.0])

    def predictions(name: str, B: np.ndarray, **options: float) -> np.ndarray:
        o = refopt.optimizer(name, lr=0.3, **options)
        x, s = np.zeros(4), o.init(np.zeros(4))
        for _ in range(30):
            x, s = o.update(x, B.T @ (B @ x - y) / 12, s)
        return B @ x

    np.testing.assert_allclose(predictions("kate", A * units), predictions("kate", A), rtol=1e-12)
    for name, options in (("kate", {"eta": 0.1}), ("adagrad", {})):
        apart = predictions(name, A * units, **options) - predictions(name, A, **options)
        assert np.max(np.abs(apart)) > 1e-3


@pytest.mark.identity("msvag")
def test_msvag_by_hand() -> None:
    """Twelve steps with the paper's ρ as a sum of squared weights, the first two and later ones, to 1e-11."""
    past: list[np.ndarray] = []

    def rule(x, g, t, s):
        past.append(g)
        w = 0.4 * 0.6 ** np.arange(t - 1, -1, -1) / (1 - 0.6**t)
        m, v = (np.tensordot(w, np.stack([p**n for p in past]), 1) for n in (1, 2))
        rho = np.sum(w**2)
        variance = (v - m**2) / (1 - rho) if t > 1 else 0.0 * v
        gamma = np.divide(m**2, m**2 + rho * variance, out=np.zeros_like(m), where=m != 0.0)
        return x - 0.1 / t**0.5 * gamma * m

    _alike("msvag", rule, lr=0.1, beta=0.6)


@pytest.mark.claim("msvag")
def test_msvag_takes_sure_coordinates_whole() -> None:
    """A constant gradient is SGD, to 1e-12; one that turns to and fro has its steps cut to less than a hundredth of the average's, and
    gradients with β = 0 are SGD to the bit."""
    x, gradients = stream(2, "random", steps=10)
    constant = [gradients[0]] * 10
    sgd = refopt.optimizer("sgd", lr=0.1)
    assert_same_run(refopt.optimizer("msvag", lr=0.1), sgd, (x, constant), rtol=1e-12, atol=1e-14)
    assert_same_run(refopt.optimizer("msvag", lr=0.1, beta=0.0), sgd, (x, gradients))
    o = refopt.optimizer("msvag", lr=1.0)
    y, s = np.zeros(1), o.init(np.zeros(1))
    for t in range(60):
        new, s = o.update(y, np.array([(-1.0) ** t]), s)
        mean = s["m"] / (1 - 0.9 ** (t + 1))
        if t > 40:
            # m² is about (1 - β)²/(1 + β)² = 1/361, and ρ s about 1/18.
            np.testing.assert_allclose((y - new) / mean, 1 / (1 + 360 / 18), rtol=0.05)
        y = new


@pytest.mark.identity("avagrad")
@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
def test_avagrad_by_hand(decay: str) -> None:
    """Ten steps on three leaves whose γ is one, with either decay, to 1e-11."""
    o = refopt.optimizer(
        "avagrad", lr=0.1, beta1=0.6, beta2=0.7, eps=0.05, weight_decay=0.2, decay=decay, schedule=schedule
    )
    x, gradients = stream(1, "random", steps=10)
    s, y = o.init(x), x
    m = v = {k: np.zeros_like(a) for k, a in x.items()}
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        if decay == "coupled":
            g = {k: g[k] + 0.2 * y[k] for k in y}
        eta = {k: 1 / (np.sqrt(v[k]) + 0.05) for k in y}
        every = np.concatenate([a.ravel() for a in eta.values()])
        rate, keep = (
            0.1 * schedule(t) * np.sqrt(every.size) / np.linalg.norm(every),
            1 - 0.2 * 0.1 * schedule(t),
        )
        m = {k: 0.6 * m[k] + 0.4 * g[k] for k in y}
        y = {k: (keep if decay == "decoupled" else 1.0) * y[k] - rate * eta[k] * m[k] for k in y}
        v = {k: 0.7 * v[k] + 0.3 * g[k] ** 2 for k in y}
        for k in y:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-11, atol=1e-13)


@pytest.mark.claim("avagrad")
def test_avagrad_s_rates_have_mean_square_one() -> None:
    """A large ε is SGD with averaged gradients and the rate lr, to 1e-8 at ε = 1e9; with a small one rates have the mean square lr², to
    1e-12, over 12 orders of gradients and with an ε of 1e-200."""
    run = stream(2, "random", steps=20)
    averaged = refopt.optimizer("qhm", lr=0.1, beta=0.9, nu=1.0)
    assert_same_run(refopt.optimizer("avagrad", eps=1e9), averaged, run, rtol=1e-8, atol=1e-8)
    o = refopt.optimizer("avagrad", lr=0.1, eps=1e-5, beta1=0.0)
    g = 10.0 ** np.arange(-6.0, 7.0)
    x, s = np.zeros(13), o.init(np.zeros(13))
    for _ in range(5):
        new, s = o.update(x, g, s)
        np.testing.assert_allclose(np.mean(((new - x) / g) ** 2), 0.01, rtol=1e-9)
        x = new
    # A rate whose square leaves the range.
    o = refopt.optimizer("avagrad", eps=1e-200)
    x, s = o.update(np.zeros(2), np.array([1.0, 0.0]), o.init(np.zeros(2)))
    _, s = o.update(x, np.array([1.0, 0.0]), s)
    np.testing.assert_allclose(s["gamma"], np.sqrt(2.0) * 1e-200, rtol=1e-12)


@pytest.mark.identity("focus")
@pytest.mark.parametrize("first", [True, False])
def test_focus_by_hand(first: bool) -> None:
    """Twelve steps with both orders of decay, where the average is the weighted sum of all points, to 1e-11; both signs of the pull show."""
    points: list[np.ndarray] = []
    pulls = set()

    def rule(x, g, t, s):
        points.append(x)
        eta, w = 0.1 / t**0.5, 0.7 ** np.arange(t - 1, -1, -1)
        mean = x if t == 1 else np.tensordot(w / np.sum(w), np.stack(points), 1)
        m = _ema(s, "m", g, 0.6)
        before = x - (eta * 0.2 * mean if first else 0.0)
        # A coordinate that only decay moves is not compared where its sign is that of a rounding error.
        pull = np.sign(before - mean)
        pulls.update(pull.tolist())
        return x - eta * 0.2 * mean - eta * (np.sign(m) + 0.3 * pull)

    _alike("focus", rule, lr=0.1, beta1=0.6, beta2=0.7, gamma=0.3, weight_decay=0.2, decay_first=first)
    assert pulls >= {-1.0, 1.0}


@pytest.mark.claim("focus")
def test_focus_is_drawn_to_its_average() -> None:
    """γ = 0 is Signum, to the bit; a step is 1 - γ, 1 or 1 + γ times the rate: the first exactly 1; and a coordinate without
    gradient, whose sign of the way would be that of a rounding error, stays where it is."""
    run = stream(2, "random", steps=25)
    plain = refopt.optimizer("focus", lr=0.125, beta1=0.75, gamma=0.0)
    assert_same_run(plain, refopt.optimizer("signum", lr=0.125, beta=0.75), run)
    o = refopt.optimizer("focus", lr=0.125, gamma=0.25, beta2=0.7)
    x, s, seen = {"b": np.array([0.1, 1.0, 2.0, 3.0, 4.0])}, None, set()
    s = o.init(x)
    for t, g in enumerate(run[1]):
        y, s = o.update(x, {"b": g["b"]}, s)
        sizes = set(np.round(np.abs(y["b"] - x["b"])[1:] / 0.125, 12).tolist())
        assert sizes <= ({1.0} if t == 0 else {0.75, 1.0, 1.25})
        assert y["b"][0] == 0.1
        seen |= sizes
        x = y
    np.testing.assert_allclose(
        s["m"]["b"], sum(0.1 * 0.9 ** (24 - t) * g["b"] for t, g in enumerate(run[1])), rtol=1e-12
    )
    assert seen == {0.75, 1.0, 1.25}


@pytest.mark.identity("pid")
@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
def test_pid_by_hand(decay: str) -> None:
    """Twelve steps with all numbers away from their defaults and either decay, to 1e-11."""

    def rule(x, g, t, s):
        eta = 0.1 / t**0.5
        if decay == "coupled":
            g = g + 0.2 * x
        else:
            x = x * (1 - 0.2 * eta)
        s["I"] = 0.6 * s.get("I", 0.0) + 0.7 * g
        s["D"] = 0.6 * s.get("D", 0.0) + 0.4 * (g - s.get("before", g))
        s["before"] = g
        return x - eta * (g + 1.5 * s["I"] + 2.5 * s["D"])

    _alike(
        "pid",
        rule,
        lr=0.1,
        momentum=0.6,
        dampening=0.3,
        integral=1.5,
        derivative=2.5,
        weight_decay=0.2,
        decay=decay,
    )


@pytest.mark.claim("pid")
def test_pid_without_a_derivative_is_sgd_with_momentum() -> None:
    """k_d = 0 is SGD plus k_i times the heavy ball, to 1e-12; k_i = k_d = 0 is SGD to the bit; and the derivative damps: on x²/2 from 1
    with momentum it ends less far beyond 0 than without."""
    run = stream(2, "random", steps=20)
    o, sgd = refopt.optimizer("pid", lr=0.1, derivative=0.0, integral=0.5), refopt.optimizer("sgd", lr=0.1)
    ball = refopt.optimizer("momentum", lr=0.05, momentum=0.9)
    x = {k: np.zeros_like(v) for k, v in run[0].items()}
    y = z = x
    s, sy, sz = o.init(x), sgd.init(x), ball.init(x)
    for g in run[1]:
        x, s = o.update(x, g, s)
        y, sy = sgd.update(y, g, sy)
        z, sz = ball.update(z, g, sz)
        for k in x:
            np.testing.assert_allclose(x[k], y[k] + z[k], rtol=1e-12, atol=1e-13)
    none = refopt.optimizer("pid", lr=0.1, derivative=0.0, integral=0.0)
    assert_same_run(none, sgd, run)
    lows = []
    for derivative in (0.0, 10.0):
        o = refopt.optimizer("pid", lr=0.02, derivative=derivative, momentum=0.9, integral=5.0)
        x, s, low = np.ones(1), None, 1.0
        s = o.init(x)
        for _ in range(100):
            x, s = o.update(x, x, s)
            low = min(low, x[0])
        lows.append(low)
    assert lows[0] < lows[1] - 0.05 < 0.0


CASES = [
    Case("kate", "official", "nazya/KATE@97d8503",
        lambda seed: run_refopt("kate", seed, ONE, SMALL, dialect="official", lr=0.3, eta=0.2, eps=1e-2, weight_decay=0.1, schedule=schedule), None,
        says="The authors' KATE with η = 0.2, a large eps, coupled decay and a schedule, 200 steps on a small stream, to 1e-12."),
    case("msvag", "kozistr", kozistr("MSVAG", lr=0.03, beta=0.6), "pytorch_optimizer.MSVAG", lr=0.03, beta=0.6),
    case("pid", "kozistr", kozistr("PID", lr=0.003, momentum=0.6, dampening=0.3, integral=1.5, derivative=2.5, weight_decay=0.1),
        "pytorch_optimizer.PID with dampening and coupled decay", lr=0.003, momentum=0.6, dampening=0.3, integral=1.5, derivative=2.5,
        weight_decay=0.1),
]  # fmt: skip
