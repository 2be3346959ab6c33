"""Grams, Adam-atan2, EXAdam, DualAdam, Ano and BCOS: each written out, beside libraries, and what their papers say of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.methods.test_adam_kin import _alike, _ema
from tests.parity.case import Case
from tests.parity.peers.beyond_adam import ONE, SMALL, case, kozistr
from tests.streams import run_refopt, schedule, stream

BETAS = {"beta1": 0.6, "beta2": 0.7}


@pytest.mark.identity("grams")
@pytest.mark.parametrize("hat", [True, False])
def test_grams_by_hand(hat: bool) -> None:
    """Twelve steps with both places of a large ε and either decay, to 1e-11."""

    def rule(x, g, t, s):
        eta, c2 = 0.1 / t**0.5, np.sqrt(1 - 0.7**t)
        if hat:
            x = x * (1 - 0.2 * eta)
        else:
            g = g + 0.2 * x
        m, v = _ema(s, "m", g, 0.6) / (1 - 0.6**t), np.sqrt(_ema(s, "v", g * g, 0.7))
        return x - eta * np.sign(g) * np.abs(m) / (v / c2 + 0.05 if hat else (v + 0.05) / c2)

    _alike("grams", rule, lr=0.1, eps=0.05, eps_corrected=hat, weight_decay=0.2, decay="decoupled" if hat else "coupled",
        **BETAS)  # fmt: skip


@pytest.mark.claim("grams")
def test_grams_goes_as_far_as_adam_and_downhill() -> None:
    """Every coordinate moves as far as Adam moves it, to 1e-12, and never up the gradient, though Adam does for one in six."""
    x, gradients = stream(2, "random", steps=20, shapes={"w": (6,)})
    a, b = (refopt.optimizer(n, lr=0.1, eps=1e-3) for n in ("grams", "adam"))
    x = {"w": np.zeros(6)}
    sa, sb, against = a.init(x), b.init(x), 0
    for g in gradients:
        one, sa = a.update(x, g, sa)
        two, sb = b.update(x, g, sb)
        np.testing.assert_allclose(
            np.abs(one["w"]), np.where(g["w"] == 0.0, 0.0, np.abs(two["w"])), rtol=1e-12
        )
        assert np.all(one["w"] * g["w"] <= 0.0)
        against += int(np.sum(two["w"] * g["w"] > 0.0))
    assert against > 20


@pytest.mark.identity("adam-atan2")
@pytest.mark.parametrize("decay", ["decoupled", "coupled"])
def test_adam_atan2_by_hand(decay: str) -> None:
    """Twelve steps with a = 1.3, b = 0.7 and either decay, to 1e-11."""

    def rule(x, g, t, s):
        eta = 0.1 / t**0.5
        if decay == "coupled":
            g = g + 0.2 * x
        else:
            x = x * (1 - 0.2 * eta)
        m, v = _ema(s, "m", g, 0.6) / (1 - 0.6**t), _ema(s, "v", g * g, 0.7) / (1 - 0.7**t)
        return x - eta * 1.3 * np.arctan2(m, 0.7 * np.sqrt(v))

    _alike("adam-atan2", rule, lr=0.1, a=1.3, b=0.7, weight_decay=0.2, decay=decay, **BETAS)


@pytest.mark.claim("adam-atan2")
def test_adam_atan2_knows_no_scale() -> None:
    """Gradients times 2^-60 give the same run to the bit; a first step is π/4 · lr a in every coordinate with a gradient; one that is
    ten thousand times less than the root is Adam's with the rate lr a / b, to 1e-7; and no step is longer than lr a π/2."""
    o = refopt.optimizer("adam-atan2", lr=0.1, a=1.5)
    run = stream(3, "ill", steps=20)
    assert_same_run(o, o, run, change=lambda g: {k: 2.0**-60 * v for k, v in g.items()})
    x, g = {k: np.zeros_like(v) for k, v in run[0].items()}, run[1][0]
    first, _ = o.update(x, g, o.init(x))
    for k in x:
        np.testing.assert_allclose(first[k], -0.15 * np.pi / 4 * np.sign(g[k]), rtol=1e-14)
    wide = refopt.optimizer("adam-atan2", lr=0.1, a=1.5, b=1e4)
    adam = refopt.optimizer("adam", lr=0.1 * 1.5 / 1e4, beta2=0.99, eps=0.0)
    assert_same_run(wide, adam, run, rtol=1e-7)
    o = refopt.optimizer("adam-atan2", lr=0.1, a=1.5, beta1=0.0)
    y, s, longest = np.zeros(1), o.init(np.zeros(1)), 0.0
    for t in range(301):
        new, s = o.update(y, np.array([1e-6 if t < 300 else 1.0]), s)
        longest, y = max(longest, abs(new - y)[0]), new
    assert 0.9 < longest / (0.15 * np.pi / 2) <= 1.0


@pytest.mark.identity("exadam")
@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
def test_exadam_by_hand(decay: str) -> None:
    """Twelve steps with a large ε and either decay, to 1e-11."""

    def rule(x, g, t, s):
        eta = 0.1 / t**0.5
        if decay == "coupled":
            g = g + 0.2 * x
        else:
            x = x * (1 - 0.2 * eta)
        m, v = _ema(s, "m", g, 0.6), _ema(s, "v", g * g, 0.7)
        d1, d2 = 1 + 0.7**t * v / (v + 0.05), 1 + 0.6**t * m**2 / (m**2 + 0.05)
        return x - eta * d1 * (m + g) / (1 - 0.6**t) / (np.sqrt(v * d2 / (1 - 0.7**t)) + 0.05)

    _alike("exadam", rule, lr=0.1, eps=0.05, weight_decay=0.2, decay=decay, **BETAS)


@pytest.mark.claim("exadam")
def test_exadam_begins_long_and_ends_at_twice_adam() -> None:
    """ε = 0: gradients times 2^40 give the same run to the bit; a first step is (1 + β2) (1 + 1/(1 - β1)) / sqrt(1 + β1), to 1e-13; after 400
    steps with low betas a constant gradient moves by 2 lr, to 1e-12."""
    o = refopt.optimizer("exadam", lr=1.0, eps=0.0, **BETAS)
    assert_same_run(o, o, stream(3, "ill", steps=15), change=lambda g: {k: 2.0**40 * v for k, v in g.items()})
    x, s = np.zeros(2), o.init(np.zeros(2))
    for t in range(1, 401):
        y, s = o.update(x, np.array([3.0, -1e-3]), s)
        want = 1.7 * (1 + 1 / 0.4) / np.sqrt(1.6) if t == 1 else 2.0
        if t in (1, 400):
            np.testing.assert_allclose(y - x, [-want, want], rtol=1e-12)
        x = y


@pytest.mark.identity("dual-adam")
@pytest.mark.parametrize("early", [True, False])
def test_dual_adam_by_hand(early: bool) -> None:
    """Twelve steps with ξ = 0.15, of which the seventh to twelfth are Adam's, the sixth with or without its tenth of the inverse, with
    either decay, to 1e-11."""

    def rule(x, g, t, s):
        eta = 0.1 / t**0.5
        if early:
            x = x * (1 - 0.2 * eta)
        else:
            g = g + 0.2 * x
        m, D = _ema(s, "m", g, 0.6) / (1 - 0.6**t), np.sqrt(_ema(s, "v", g * g, 0.7) / (1 - 0.7**t)) + 0.05
        w = [0.85, 0.7, 0.55, 0.4, 0.25, 0.0 if early else 0.1, *[0.0] * 6][t - 1]
        return x - eta * m * (w * D + (1 - w) / D)

    _alike("dual-adam", rule, lr=0.1, eps=0.05, switch_rate=0.15, switch_early=early, weight_decay=0.2,
        decay="decoupled" if early else "coupled", **BETAS)  # fmt: skip


@pytest.mark.claim("dual-adam")
def test_dual_adam_is_adam_from_the_switch_on() -> None:
    """ξ = 1 is Adam to the bit; ε = 0 and ξ = 0: gradients times 2^10 give steps times 2^20, to the bit."""
    run = stream(3, "random", steps=15)
    assert_same_run(
        refopt.optimizer("dual-adam", switch_rate=1.0), refopt.optimizer("adam"), run, rtol=1e-14, atol=1e-14
    )
    o, x = refopt.optimizer("dual-adam", lr=0.125, eps=0.0, switch_rate=0.0), np.zeros(5)
    ends = []
    for c in (1.0, 1024.0):
        y, s = x, o.init(x)
        for g in run[1]:
            y, s = o.update(y, c * g["b"], s)
        ends.append(y)
    np.testing.assert_array_equal(ends[1], 2.0**20 * ends[0])


@pytest.mark.identity("ano")
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("kept", [True, False])
def test_ano_by_hand(inside: bool, kept: bool) -> None:
    """Twelve steps with Yogi's v and the code's, corrected or not, and with both places of ε, to 1e-11."""

    def rule(x, g, t, s):
        eta = 0.1 / t**0.5
        m, v = _ema(s, "m", g, 0.6), s.get("v", 0.0 * g)
        sign = np.sign(v - g * g)
        s["v"] = (v if kept else 0.7 * v) - 0.3 * sign * g * g
        below = s["v"] if kept else s["v"] / (1 - 0.7**t)
        root = np.sqrt(below + 0.05) if inside else np.sqrt(below) + 0.05
        return x * (1 - 0.2 * eta) - eta * np.abs(g) * np.sign(m) / root

    _alike("ano", rule, lr=0.1, eps=0.05, eps_inside=inside, keeps_all=kept, bias_correction=not kept, weight_decay=0.2,
        **BETAS)  # fmt: skip


@pytest.mark.claim("ano")
def test_ano_holds_its_course_in_noise() -> None:
    """A gradient of 1 with noise of 2 on it: 99 per cent of Ano's steps go down the mean, of Ano's without momentum fewer than 75; and
    β1 = 0 is against the gradient's own sign."""
    ways = []
    for beta1 in (0.97, 0.0):
        o, rng = refopt.optimizer("ano", lr=0.1, beta1=beta1), np.random.default_rng(5)
        x, s = np.zeros(40), o.init(np.zeros(40))
        down = []
        for t in range(150):
            g = 1.0 + 2.0 * rng.standard_normal(40)
            y, s = o.update(x, g, s)
            if t >= 50:
                down.append(np.mean(y < x))
            if not beta1:
                np.testing.assert_array_equal(np.sign(y - x), -np.sign(g))
            x = y
        ways.append(np.mean(down))
        # The average has weights of sum 1: about the mean, and without momentum the gradient itself.
        assert abs(np.mean(s["m"]) - (1.0 if beta1 else np.mean(g))) < 0.1
    assert ways[0] > 0.99
    assert ways[1] < 0.75


@pytest.mark.identity("bcos")
@pytest.mark.parametrize("beta2", [None, 0.3])
@pytest.mark.parametrize("mode", ["conditional", "simple", "momentum", "gradient"])
def test_bcos_by_hand(mode: str, beta2: float | None) -> None:
    """Twelve steps in every mode, with β2 its own or from β, and with either decay, to 1e-11."""

    def rule(x, g, t, s):
        eta = 0.1 / t**0.5
        if beta2 is None:
            x = x * (1 - 0.2 * eta)
        else:
            g = g + 0.2 * x
        old = s.get("m", g)
        m = s["m"] = 0.6 * old + 0.4 * g
        if mode == "conditional":
            v = (3 * 0.36 - 2 * 0.216) * old**2 + 0.16 * g**2 + 2 * 0.6 * 0.16 * old * g
        elif mode == "simple":
            b = 0.84 if beta2 is None else beta2
            v = b * old**2 + (1 - b) * g**2
        else:
            m, b = (m if mode == "momentum" else g), 0.6 if beta2 is None else beta2
            v = s["v"] = b * s.get("v", g**2) + (1 - b) * m**2
        return x - eta * m / (np.sqrt(v) + 0.05)

    _alike("bcos", rule, lr=0.1, beta=0.6, beta2=beta2, eps=0.05, mode=mode, weight_decay=0.2,
        decay="decoupled" if beta2 is None else "coupled")  # fmt: skip


@pytest.mark.claim("bcos")
def test_bcos_steps_by_the_rate_where_gradients_agree() -> None:
    """ε = 0: in every mode a constant gradient moves each coordinate by the rate, to 1e-13, and none without gradients; and v is the mean of (m_{t-1}, g) in a form
    that is positive: never below (1 - β)² of either square."""
    for mode in ("conditional", "simple", "momentum", "gradient"):
        o = refopt.optimizer("bcos", lr=1.0, beta=0.7, eps=0.0, mode=mode)
        x, s = np.zeros(2), o.init(np.zeros(2))
        for t in range(1, 8):
            x, s = o.update(x, np.array([3.0, -1e-3]), s)
            np.testing.assert_allclose(x, [-t, t], rtol=1e-13)
        x, s = o.update(np.ones(1), np.zeros(1), o.init(np.ones(1)))
        assert o.update(x, np.zeros(1), s)[0] == 1.0
    o = refopt.optimizer("bcos", lr=1.0, beta=0.7, eps=0.0)
    rng = np.random.default_rng(2)
    g, old = rng.standard_normal(200), rng.standard_normal(200)
    x = np.zeros(200)
    _, s = o.update(x, old, o.init(x))
    y, r = o.update(x, g, s)
    v = (r["m"] / y) ** 2
    assert np.all(v >= 0.09 * g**2 * 0.5)
    np.testing.assert_allclose(
        v, (3 * 0.49 - 2 * 0.343) * old**2 + 0.09 * g**2 + 2 * 0.7 * 0.09 * old * g, rtol=1e-9
    )


LOW = {"betas": (0.6, 0.7), "eps": 1e-2, "lr": 0.03, "weight_decay": 0.1, "weight_decouple": True}
MINE: dict[str, Any] = {**BETAS, "eps": 1e-2, "lr": 0.03, "weight_decay": 0.1, "decay": "decoupled"}
BLOCK: dict[str, Any] = {"beta": 0.6, "beta2": 0.7, "lr": 0.03, "eps": 1e-2}


def official(name: str, repository: str, what: str, label: str = "official", **mine: Any) -> Case:
    """A case beside a recorded run of the authors' code."""
    return Case(
        name, label, repository,
        lambda seed: run_refopt(name, seed, ONE, SMALL, schedule=schedule, dialect=label.split("-")[0], **mine), None,
        says=f"The authors' {what}, 200 steps on a small stream, to 1e-12.")  # fmt: skip


CASES = [
    case("grams", "kozistr", kozistr("Grams", **LOW), "pytorch_optimizer.Grams with low betas, a large eps and decay", **MINE),
    case("exadam", "kozistr", kozistr("EXAdam", **LOW), "pytorch_optimizer.EXAdam with low betas, a large eps and decay", **MINE),
    case("dual-adam", "kozistr", kozistr("DualAdam", switch_rate=0.03, **LOW),
        "pytorch_optimizer.DualAdam that is Adam after 33 steps, with low betas, a large eps and decoupled decay",
        switch_rate=0.03, **MINE),
    case("ano", "kozistr", kozistr("Ano", **LOW), "pytorch_optimizer.Ano with low betas, a large eps and decay", **MINE),
    official("ano", "Adrienkgz/ano-experiments@d53839a", "Ano with low betas, a large eps, decay and a schedule", **MINE),
    case("bcos", "kozistr-gradient", kozistr("BCOS", mode="g", weight_decay=0.0, **BLOCK),
        "pytorch_optimizer.BCOS of mode g with a large eps", dialect="paper", mode="gradient", **BLOCK),
    case("bcos", "kozistr-momentum", kozistr("BCOS", mode="m", weight_decay=0.0, **BLOCK),
        "pytorch_optimizer.BCOS of mode m with a large eps", dialect="paper", mode="momentum", **BLOCK),
    official("bcos", "facebookresearch/bcos@d617b5c", "BCOS of mode c with a large eps, decay and a schedule",
        lr=0.03, beta=0.6, eps=1e-2, weight_decay=0.2),
    official("bcos", "facebookresearch/bcos@d617b5c", "BCOS of the simple mode c with a large eps, decay and a schedule",
        label="simple", lr=0.03, beta=0.6, eps=1e-2, weight_decay=0.2),
]  # fmt: skip
