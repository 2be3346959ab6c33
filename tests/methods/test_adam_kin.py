"""Padam, Adai, AdaMod, AdaShift, AdaSmooth, AdaNorm, AdamG and StableAdamW: each written out, its limits and its paper's claim."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream


def _rate(t: int) -> float:
    return 1.0 / t**0.5


def _alike(name: str, rule: Any, steps: int = 12, shape: tuple[int, ...] = (6,), **options: Any) -> None:
    """The method beside ``rule(x, g, t, memory)``, on gradients of which one is large, under the schedule t^-1/2."""
    o = refopt.optimizer(name, schedule=_rate, **options)
    x, gradients = stream(1, "random", steps=steps, shapes={"w": shape})
    x, s = x["w"], o.init(x["w"])
    y, memory = x, {}
    for t, g in enumerate((g["w"] * (4.0 if t == 5 else 1.0) for t, g in enumerate(gradients)), 1):
        x, s = o.update(x, g, s)
        y = rule(y, g, t, memory)
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-13, err_msg=f"step {t}")


def _ema(memory: dict[str, Any], name: str, new: Any, beta: float) -> Any:
    memory[name] = beta * memory.get(name, 0.0) + (1 - beta) * new
    return memory[name]


@pytest.mark.identity("padam")
@pytest.mark.parametrize("amsgrad", [True, False])
@pytest.mark.parametrize("corrected", [True, False])
def test_padam_by_hand(amsgrad: bool, corrected: bool) -> None:
    """Twelve steps with a power of 0.3, with and without maximum and corrections, with either decay, to 1e-11."""

    def rule(x, g, t, s):
        if corrected:
            g = g + 0.2 * x
        else:
            x = x * (1 - 0.2 * 0.1 * _rate(t))
        m, v = _ema(s, "m", g, 0.6), _ema(s, "v", g * g, 0.7)
        s["most"] = np.maximum(s.get("most", 0.0), v)
        c = np.sqrt(1 - 0.7**t) / (1 - 0.6**t) if corrected else 1.0
        return x - 0.1 * _rate(t) * c * m / (np.sqrt(s["most"] if amsgrad else v) + 0.05) ** 0.6

    _alike("padam", rule, lr=0.1, beta1=0.6, beta2=0.7, p=0.3, eps=0.05, amsgrad=amsgrad, bias_correction=corrected, weight_decay=0.2,
        decay="coupled" if corrected else "decoupled")  # fmt: skip


@pytest.mark.claim("padam")
def test_padam_lies_between_amsgrad_and_sgd() -> None:
    """p = 1/2 is AMSGrad without corrections and p = 0 momentum on averages, to 1e-12; at 1/4 gradients times 16 give steps times 4."""
    run = stream(2, "random", steps=15, shapes={"w": (5,)})
    half = refopt.optimizer("padam", lr=0.1, p=0.5, eps=1e-3)
    x, s, m, v, most = run[0]["w"], half.init(run[0]["w"]), 0.0, 0.0, 0.0
    y = x
    for g in run[1]:
        x, s = half.update(x, g["w"], s)
        m, v = 0.9 * m + 0.1 * g["w"], 0.999 * v + 0.001 * g["w"] ** 2
        most = np.maximum(most, v)
        y = y - 0.1 * m / (np.sqrt(most) + 1e-3)
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)
    none = refopt.optimizer("padam", lr=0.1, p=0.0)
    assert_same_run(none, refopt.optimizer("qhm", lr=0.1, beta=0.9, nu=1.0), run, rtol=1e-12, atol=1e-13)
    quarter = refopt.optimizer("padam", lr=0.1, p=0.25, eps=0.0)
    z = np.zeros(5)
    once, often = (quarter.update(z, c * run[1][0]["w"], quarter.init(z))[0] for c in (1.0, 16.0))
    np.testing.assert_allclose(often, 4.0 * once, rtol=1e-13)


@pytest.mark.identity("adai")
@pytest.mark.parametrize(
    "options",
    [{}, {"delta": 0.5, "decay": "decoupled"}, {"least_mean": 3.0}],
    ids=["adai", "second", "floor"],
)
def test_adai_by_hand(options: dict[str, Any]) -> None:
    """Twelve steps with both forms, decays and a floor of the mean that is met, of which some momenta are cut at 0 and some at 1 - ε, to 1e-11."""
    at = {"delta": 1.0, "decay": "coupled", "least_mean": 0.0} | options
    cut = set()

    def rule(x, g, t, s):
        eta = 0.1 * _rate(t)
        if at["decay"] == "coupled":
            g = g + 0.2 * x
        else:
            x = x * (1 - 0.2 * eta)
        v = _ema(s, "v", g * g, 0.7) / (1 - 0.7**t)
        raw = 1 - 0.4 * (v / max(np.mean(v), at["least_mean"])) ** (1 / (3 - 2 * at["delta"]))
        b = np.clip(raw, 0.0, 0.8)
        cut.update({"low"} if np.any(raw < 0.0) else set(), {"high"} if np.any(raw > 0.8) else set())
        s["m"] = b * s.get("m", 0.0) + (1 - b) ** at["delta"] * g
        s["p"] = b * s.get("p", 1.0)
        return x - eta * 0.4 ** (1 - at["delta"]) * s["m"] / (1 - s["p"])

    _alike("adai", rule, lr=0.1, beta0=0.4, beta2=0.7, eps=0.2, weight_decay=0.2, **options)
    assert "high" in cut
    assert options or "low" in cut


@pytest.mark.claim("adai")
def test_adai_has_no_adaptive_rate() -> None:
    """Gradients times 1024 at a rate 1024 times less: the same run to the bit, over two leaves whose mean is one; equal squares give
    momentum 1 - β0 with its correction, to 1e-12; and before the first gradient nothing moves, with a finite state."""
    x, gradients = stream(3, "random", steps=12)
    a, b = refopt.optimizer("adai", lr=0.1), refopt.optimizer("adai", lr=0.1 / 1024.0)
    assert_same_run(
        a, b, (x, gradients), rtol=1e-12, atol=1e-14, change=lambda g: {k: 1024.0 * v for k, v in g.items()}
    )
    y, s, m = np.zeros(4), a.init(np.zeros(4)), np.zeros(4)
    z, rng = y, np.random.default_rng(1)
    for t in range(1, 10):
        g = rng.choice([-2.0, 2.0], 4)
        y, s = a.update(y, g, s)
        m = 0.9 * m + 0.1 * g
        z = z - 0.1 * m / (1 - 0.9**t)
        np.testing.assert_allclose(y, z, rtol=1e-12, atol=1e-14)
    y, s = a.update(np.ones(2), np.zeros(2), a.init(np.ones(2)))
    np.testing.assert_array_equal(y, np.ones(2))
    assert all(np.all(np.isfinite(s[k])) for k in ("m", "v", "product"))


@pytest.mark.identity("adamod")
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("hat", [True, False])
def test_adamod_by_hand(inside: bool, hat: bool) -> None:
    """Twelve steps with the correction of m inside the averaged rate or beside it and either ε, with decay, of which both sides of the
    minimum decide some, to 1e-11."""
    sides = set()

    def rule(x, g, t, s):
        eta, c1, c2 = 0.1 * _rate(t), 1 - 0.6**t, np.sqrt(1 - 0.7**t)
        m, v = _ema(s, "m", g, 0.6), np.sqrt(_ema(s, "v", g * g, 0.7))
        # A coordinate without gradient has the divisor ε alone.
        below = v / c2 + 0.05 if hat else (v + 0.05) / c2
        rate = eta / below / (c1 if inside else 1.0)
        mean = _ema(s, "s", rate, 0.4)
        sides.update(np.unique(rate < mean).tolist())
        return x * (1 - 0.2 * eta) - np.minimum(rate, mean) * m / (1.0 if inside else c1)

    _alike(
        "adamod",
        rule,
        lr=0.1,
        beta1=0.6,
        beta2=0.7,
        beta3=0.4,
        eps=0.05,
        rate_corrected=inside,
        eps_corrected=hat,
        weight_decay=0.2,
    )
    assert sides == {True, False}


@pytest.mark.claim("adamod")
def test_adamod_warms_up_by_itself_and_bounds_rates() -> None:
    """The first step is 1 - β3 of Adam's, to 1e-12; β3 = 0 is Adam; and no coordinate moves by more than s |m̂|, here where a gradient a
    thousand times smaller would let Adam's rate jump."""
    x, gradients = stream(2, "random", steps=15, shapes={"w": (5,)})
    adam = refopt.optimizer("adam", lr=0.1, eps=1e-3)
    assert_same_run(
        refopt.optimizer("adamod", lr=0.1, eps=1e-3, beta3=0.0), adam, (x, gradients), rtol=1e-11, atol=1e-13
    )
    o = refopt.optimizer("adamod", lr=0.1, eps=1e-3)
    a, b = (q.update(x, gradients[0], q.init(x))[0]["w"] - x["w"] for q in (o, adam))
    np.testing.assert_allclose(a, 0.001 * b, rtol=1e-10)
    o = refopt.optimizer("adamod", lr=1.0, beta2=0.5, beta3=0.9)
    x = np.zeros(1)
    s = o.init(x)
    for t in range(1, 30):
        y, s = o.update(x, np.array([1.0 if t < 20 else 1e-3]), s)
        assert abs(y - x)[0] <= s["s"][0] * abs(s["m"][0]) / (1 - 0.9**t) * (1 + 1e-12)
        x = y
    still = refopt.optimizer("adamod", lr=0.0)
    np.testing.assert_array_equal(still.update(x, np.ones(1), still.init(x))[0], x)


@pytest.mark.identity("adashift")
@pytest.mark.parametrize("spatial", ["max", "none"])
def test_adashift_by_hand(spatial: str) -> None:
    """Twelve steps with a window of three, on a matrix with the largest square or each its own: the first three stand still, to 1e-11."""
    past: list[np.ndarray] = []

    def rule(x, g, t, s):
        past.append(g)
        if t <= 3:
            return x
        old = past[t - 4] ** 2
        v = _ema(s, "v", np.max(old) if spatial == "max" else old, 0.7) / (1 - 0.7 ** (t - 3))
        m = sum(0.6**i * past[t - 1 - i] for i in range(3)) / (1 + 0.6 + 0.36)
        return x - 0.1 * _rate(t) * m / (np.sqrt(v) + 0.05)

    _alike("adashift", rule, shape=(3, 2), lr=0.1, beta1=0.6, beta2=0.7, eps=0.05, window=3, spatial=spatial)


@pytest.mark.claim("adashift")
def test_adashift_finds_the_end_that_adam_misses() -> None:
    """The paper's stream: gradient 4 every third step, else -1, on [-1, 1]: the best point is -1. Adam with β1 = 0 and β2 = 1/17 ends beyond 1/2,
    AdaShift with these and a window of 1 below -0.9, since no step sees its own gradient in the root; and the step is linear in the newest."""
    ends = {}
    for name, more in (("adashift", {"window": 1}), ("adam", {})):
        o = refopt.optimizer(name, lr=0.05, beta1=0.0, beta2=1.0 / 17.0, eps=1e-8, schedule=_rate, **more)
        x, rng = np.array([0.0]), np.random.default_rng(1)
        s = o.init(x)
        for t in range(1, 1501):
            draw = rng.random() < 1 / 3 if name == "adashift" else t % 3 == 1
            x, s = o.update(x, np.array([4.0 if draw else -1.0]), s)
            x = np.clip(x, -1.0, 1.0)
        ends[name] = x[0]
    assert ends["adam"] > 0.5
    assert ends["adashift"] < -0.9


@pytest.mark.identity("adasmooth")
def test_adasmooth_by_hand() -> None:
    """Twelve steps written out with a large ε and decay, to 1e-11."""

    def rule(x, g, t, s):
        x = x * (1 - 0.2 * 0.1 * _rate(t))
        moved = x - s.get("before", x / (1 - 0.2 * 0.1 * _rate(t)))
        s["way"], s["path"] = s.get("way", 0.0) + moved, s.get("path", 0.0) + np.abs(moved)
        c = (0.9 - 0.4) * np.abs(s["way"]) / (s["path"] + 0.05) + 1 - 0.9
        s["v"] = c**2 * g**2 + (1 - c**2) * s.get("v", 0.0)
        s["before"] = x
        return x - 0.1 * _rate(t) * g / np.sqrt(s["v"] + 0.05)

    _alike("adasmooth", rule, lr=0.1, rho1=0.4, rho2=0.9, eps=0.05, weight_decay=0.2)


@pytest.mark.claim("adasmooth")
def test_adasmooth_forgets_fast_where_it_goes_straight() -> None:
    """A coordinate with one sign has the memory ρ1 (c = 1 - ρ1), one that turns to and fro tends to ρ2, here to 0.02: seen in v after a
    gradient of zero, which keeps 1 - c² of it."""
    o = refopt.optimizer("adasmooth", lr=0.01, eps=1e-12)
    x = np.zeros(2)
    s = o.init(x)
    for t in range(400):
        x, s = o.update(x, np.array([1.0, (-1.0) ** t]), s)
    _, r = o.update(x, np.zeros(2), s)
    np.testing.assert_allclose((r["v"] / s["v"])[0], 1 - 0.5**2, rtol=1e-9)
    assert abs((r["v"] / s["v"])[1] - (1 - 0.01**2)) < 0.02


@pytest.mark.identity("adanorm")
@pytest.mark.parametrize(
    "options",
    [{}, {"eps_kept": True}, {"eps_corrected": False, "eps_root": 0.03}],
    ids=["paper", "kept", "raw"],
)
def test_adanorm_by_hand(options: dict[str, Any]) -> None:
    """Twelve steps with ε in its three places and coupled decay, of which some gradients are lengthened and some not, to 1e-11."""
    seen = set()

    def rule(x, g, t, s):
        g = g + 0.2 * x
        length = np.linalg.norm(g)
        e = _ema(s, "e", length, 0.6)
        seen.add(e > length)
        m = _ema(s, "m", g * max(1.0, e / length), 0.7)
        s["v"] = 0.8 * s.get("v", 0.0) + 0.2 * g * g + (0.05 if options.get("eps_kept") else 0.0)
        c2 = np.sqrt(1 - 0.8**t)
        root = np.sqrt(s["v"] + options.get("eps_root", 0.0))
        below = root / c2 + 0.05 if options.get("eps_corrected", True) else (root + 0.05) / c2
        return x - 0.1 * _rate(t) / (1 - 0.7**t) * m / below

    _alike(
        "adanorm",
        rule,
        steps=25,
        lr=0.1,
        beta1=0.7,
        beta2=0.8,
        gamma=0.6,
        eps=0.05,
        weight_decay=0.2,
        decay="coupled",
        **options,
    )
    assert seen == {True, False}


@pytest.mark.claim("adanorm")
def test_adanorm_keeps_the_length_of_gradients() -> None:
    """With β1 = 0 the first average is h: ‖h‖ = max(‖g‖, e) in every step and leaf, to 1e-12; gradients of one length are Adam's, to 1e-12; and a
    gradient of zero leaves it finite."""
    o = refopt.optimizer("adanorm", beta1=0.0, gamma=0.5)
    x, gradients = stream(2, "ill", steps=10)
    s = o.init(x)
    for g in gradients:
        x, s = o.update(x, g, s)
        for k in x:
            np.testing.assert_allclose(
                np.linalg.norm(s["m"][k]), max(np.linalg.norm(g[k]), float(s["e"][k])), rtol=1e-12
            )
    x, s = o.update(x, {k: 0.0 * v for k, v in x.items()}, s)
    assert all(np.all(np.isfinite(v)) for v in x.values())
    y, gradients = stream(3, "random", steps=10, shapes={"w": (5,)})
    same = [{"w": g["w"] / np.linalg.norm(g["w"])} for g in gradients]
    assert_same_run(
        refopt.optimizer("adanorm", lr=0.1),
        refopt.optimizer("adam", lr=0.1),
        (y, same),
        rtol=1e-12,
        atol=1e-14,
    )


@pytest.mark.identity("adamg")
def test_adamg_by_hand() -> None:
    """Twelve steps with coupled decay, at first with the rate and later with 1 / sqrt(t), to 1e-11."""

    def rule(x, g, t, s):
        g = g + 0.2 * x
        v = _ema(s, "v", g * g, 0.7)
        r = _ema(s, "r", 0.3 * v**0.4, 0.8)
        m = _ema(s, "m", r * g, 0.6)
        return x - min(2.0 * _rate(t) ** 3, t**-0.5) * m / (1 - 0.6**t) / (np.sqrt(v / (1 - 0.7**t)) + 0.05)

    o = refopt.optimizer("adamg", lr=2.0, beta1=0.6, beta2=0.7, beta3=0.8, p=0.3, q=0.4, eps=0.05, weight_decay=0.2, decay="coupled",
        schedule=lambda t: _rate(t) ** 3)  # fmt: skip
    x, gradients = stream(1, "random", steps=12, shapes={"w": (6,)})
    x, s = x["w"], o.init(x["w"])
    y, memory = x, {}
    for t, g in enumerate((g["w"] for g in gradients), 1):
        x, s = o.update(x, g, s)
        y = rule(y, g, t, memory)
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-13)


@pytest.mark.claim("adamg")
def test_adamg_sees_scale_to_the_power_two_q() -> None:
    """ε = 0: gradients times 2^10 give steps times 2^(20 q), to 1e-12; and a rate above 1 is idle from the first step on."""
    _, gradients = stream(2, "random", steps=8, shapes={"w": (5,)})
    ends = []
    for c, lr in ((1.0, 1.0), (1024.0, 1.0), (1.0, 50.0)):
        o = refopt.optimizer("adamg", lr=lr, eps=0.0, q=0.25)
        y, s = np.zeros(5), o.init(np.zeros(5))
        for g in gradients:
            y, s = o.update(y, c * g["w"], s)
        ends.append(y)
    np.testing.assert_allclose(ends[1], 32.0 * ends[0], rtol=1e-12)
    np.testing.assert_array_equal(ends[2], ends[0])


@pytest.mark.identity("stable-adamw")
def test_stable_adamw_by_hand() -> None:
    """Twelve steps on a matrix with decay, of which the large gradient's is shortened, to 1e-11."""
    cut = []

    def rule(x, g, t, s):
        b1, b2 = (b * (1 - b ** (t - 1)) / (1 - b**t) for b in (0.6, 0.9))
        s["m"], s["v"] = b1 * s.get("m", 0.0) + (1 - b1) * g, b2 * s.get("v", 0.0) + (1 - b2) * g * g
        relative = np.sqrt(np.mean(g * g / np.maximum(s["v"], 0.3**2)))
        cut.append(relative > 1.0)
        eta = 0.1 * _rate(t) / max(1.0, relative)
        return (1 - 0.2 * eta) * x - eta * s["m"] / (np.sqrt(s["v"]) + 0.3)

    _alike("stable-adamw", rule, shape=(3, 2), lr=0.1, beta1=0.6, beta2=0.9, eps=0.3, weight_decay=0.2)
    assert set(cut) == {True, False}


@pytest.mark.claim("stable-adamw")
def test_a_loss_spike_moves_no_further() -> None:
    """Gradients that shrink leave every RMS below 1: AdamW, to 1e-12; after small ones a gradient a thousand times larger makes a step that
    is 9 times shorter than AdamW's, RMS = sqrt(1 / (1 - β̂2)), to 1 per cent."""
    x, gradients = stream(2, "random", steps=10, shapes={"w": (3, 2)})
    signs = [{"w": np.sign(g["w"]) * 0.8**t} for t, g in enumerate(gradients)]
    a = refopt.optimizer("stable-adamw", lr=0.1, eps=1e-12, weight_decay=0.3)
    b = refopt.optimizer("adamw", lr=0.1, beta2=0.99, eps=1e-12, weight_decay=0.3, decay="decoupled")
    assert_same_run(a, b, (x, signs), rtol=1e-10, atol=1e-12)
    moves = []
    for name in ("stable-adamw", "adamw"):
        o = refopt.optimizer(name, lr=0.1, beta2=0.99, weight_decay=0.0, eps=1e-12)
        y = np.zeros(4)
        s = o.init(y)
        for _ in range(300):
            y, s = o.update(y, np.full(4, 1e-3), s)
        z, _ = o.update(y, np.ones(4), s)
        moves.append(np.linalg.norm(z - y))
    c2 = 1 - 0.99**301
    np.testing.assert_allclose(moves[1] / moves[0], np.sqrt(c2 / 0.01), rtol=0.01)
