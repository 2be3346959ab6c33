"""AdamC, Grokfast-AdamW, SRMM, Ranger and Aida: each written out, beside libraries, and what their sources say of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.methods.test_adam_kin import _alike, _ema
from tests.parity.case import Arrays
from tests.parity.libraries import run_torch
from tests.parity.peers.beyond_adam import DEEP, ONE, SMALL, case, kozistr
from tests.streams import schedule, stream


@pytest.mark.identity("adamc")
@pytest.mark.parametrize("hat", [True, False])
def test_adamc_by_hand(hat: bool) -> None:
    """Twelve steps with both places of a large ε, one more in the root, and a largest rate that is not lr, to 1e-11."""

    def rule(x, g, t, s):
        eta, c2 = 0.1 / t**0.5, np.sqrt(1 - 0.7**t)
        m, v = _ema(s, "m", g, 0.6) / (1 - 0.6**t), np.sqrt(_ema(s, "v", g * g, 0.7) + 0.02)
        return x * (1 - 2.0 * eta**2 / 0.3) - eta * m / (v / c2 + 0.05 if hat else (v + 0.05) / c2)

    _alike(
        "adamc",
        rule,
        lr=0.1,
        beta1=0.6,
        beta2=0.7,
        eps=0.05,
        eps_corrected=hat,
        eps_root=0.02,
        peak=0.3,
        weight_decay=2.0,
    )


@pytest.mark.claim("adamc")
def test_adamc_holds_lengths_when_rates_fall() -> None:
    """Random signs, β1 = 0: steps of η in 400 coordinates against the decay λ hold ‖x‖² at 400 η_max / (2 λ) at the largest rate and at a quarter
    of it, to 10 per cent, where AdamW's falls to a quarter; at a constant rate it is
    AdamW and without decay Adam, to 1e-14; a rate of zero moves nothing, and one that is a function asks for η_max."""
    lengths = {}
    for name, more in (("adamc", {}), ("adamw", {"decay": "decoupled"})):
        o = refopt.optimizer(
            name,
            lr=0.1,
            beta1=0.0,
            beta2=0.0,
            eps=0.0,
            weight_decay=1.0,
            schedule=lambda t: 1.0 if t <= 100 else 0.25,
            **more,
        )
        x, rng = np.zeros(400), np.random.default_rng(3)
        s, squares = o.init(x), []
        for _ in range(700):
            x, s = o.update(x, rng.choice([-1.0, 1.0], 400), s)
            squares.append(x @ x / (400 * 0.1 / 2))
        lengths[name] = np.mean(squares[40:100]), np.mean(squares[400:])
    np.testing.assert_allclose(lengths["adamc"], [1.0, 1.0], rtol=0.1)
    np.testing.assert_allclose(lengths["adamw"], [1.0, 0.25], rtol=0.1)
    constant = refopt.optimizer("adamc", lr=0.1, weight_decay=0.3)
    adamw = refopt.optimizer("adamw", lr=0.1, weight_decay=0.3, decay="decoupled")
    assert_same_run(constant, adamw, stream(2, "random", steps=10), rtol=1e-14, atol=1e-14)
    none = refopt.optimizer("adamc", lr=0.1)
    assert_same_run(
        none, refopt.optimizer("adam", lr=0.1), stream(2, "random", steps=10), rtol=1e-14, atol=1e-14
    )
    still, x = refopt.optimizer("adamc", lr=0.0, weight_decay=0.3), np.ones(2)
    np.testing.assert_array_equal(still.update(x, x, still.init(x))[0], x)
    with pytest.raises(refopt.errors.ArgumentError, match="peak: wanted the largest rate"):
        refopt.optimizer("adamc", lr=lambda t: 0.1 / t, weight_decay=0.1)


@pytest.mark.identity("grokfast-adamw")
@pytest.mark.parametrize("floor", [True, False])
def test_grokfast_by_hand(floor: bool) -> None:
    """Twelve steps with a large ε in both places, of which a floor decides some, with and without the divided rate and either decay, to 1e-11."""
    sides = set()

    def rule(x, g, t, s):
        eta = 0.1 / t**0.5 / (2.5 if floor else 1.0)
        if floor:
            x = x * (1 - 0.2 * eta)
        else:
            g = g + 0.2 * x
        s["h"] = 0.8 * s.get("h", g) + 0.2 * g
        g = g + 1.5 * s["h"]
        m, root = _ema(s, "m", g, 0.6) / (1 - 0.6**t), np.sqrt(_ema(s, "v", g * g, 0.7) / (1 - 0.7**t))
        sides.update((root > 1.5).tolist())
        return x - eta * m / (np.maximum(root, 1.5) if floor else root + 1.5)

    _alike("grokfast-adamw", rule, lr=0.1, beta1=0.6, beta2=0.7, eps=1.5, eps_floor=floor, alpha=0.8, amplify=1.5, normalize_lr=floor,
        weight_decay=0.2, decay="decoupled" if floor else "coupled")  # fmt: skip
    assert sides == {True, False}


@pytest.mark.claim("grokfast-adamw")
def test_grokfast_amplifies_what_is_slow() -> None:
    """λ = 0 is Adam, to 1e-14; a constant gradient is Adam's run with ε = 0, to 1e-12; with one part that stays and one that turns every step,
    averaged gradients are 3 g for the first and less than 1.05 g for the second."""
    run = stream(2, "random", steps=15)
    adam = refopt.optimizer("adam", lr=0.1, eps=0.0)
    none = refopt.optimizer("grokfast-adamw", lr=0.1, eps=0.0, amplify=0.0)
    assert_same_run(none, adam, run, rtol=1e-14, atol=1e-14)
    slow = refopt.optimizer("grokfast-adamw", lr=0.1, eps=0.0)
    assert_same_run(slow, adam, (run[0], run[1][:1] * 15), rtol=1e-12, atol=1e-13)
    o = refopt.optimizer("grokfast-adamw", beta1=0.0)
    x, s = np.zeros(2), o.init(np.zeros(2))
    for t in range(400):
        x, s = o.update(x, np.array([1.0, (-1.0) ** t]), s)
    np.testing.assert_allclose(s["m"][0], 3.0, rtol=1e-12)
    assert 0.95 < abs(s["m"][1]) < 1.05


@pytest.mark.identity("srmm")
@pytest.mark.parametrize("proximal", [0.0, 3.0])
def test_srmm_minimises_the_averaged_models(proximal: float) -> None:
    """Twelve points, each the minimum of all models with their weights written as products, by solving for it, with and without the held point,
    to 1e-12."""
    o = refopt.optimizer("srmm", lr=0.4, power=0.7, proximal=proximal)
    x, gradients = stream(1, "random", steps=12, shapes={"w": (4,)})
    s, points, seen = o.init(x), [x["w"]], []
    for t, g in enumerate(gradients, 1):
        seen.append(g["w"])
        x, s = o.update(x, g, s)
        w = [1.0, *((k + 1) ** -0.7 for k in range(1, t + 1))]
        weights = [w[k] * np.prod([1 - w[j] for j in range(k + 1, t + 1)]) for k in range(t + 1)]
        # Slopes and centres of the models: of f̄_0 at x_0 without a slope, then of each step at the point before it.
        slope = sum(weights[k] * seen[k - 1] for k in range(1, t + 1))
        centre = weights[0] * points[0] + sum(weights[k] * points[k - 1] for k in range(1, t + 1))
        want = (centre / 0.4 + proximal * points[-1] - slope) / (1 / 0.4 + proximal)
        np.testing.assert_allclose(x["w"], want, rtol=1e-12, atol=1e-13)
        points.append(want)


@pytest.mark.claim("srmm")
def test_srmm_averages_noise_away() -> None:
    """β = 0 is SGD, with ρ at the rate 1 / (1/η + ρ), to 1e-13; on a quadratic with noise β = 0.7 ends, over the last 1000 of 3000 steps, more
    than three times as near as SGD with the same rate."""
    run = stream(2, "random", steps=15)
    for rho, rate in ((0.0, 0.1), (30.0, 0.025)):
        o, sgd = refopt.optimizer("srmm", lr=0.1, power=0.0, proximal=rho), refopt.optimizer("sgd", lr=rate)
        assert_same_run(o, sgd, run, rtol=1e-13, atol=1e-13)
    ends = []
    for power in (0.7, 0.0):
        o, rng = refopt.optimizer("srmm", lr=0.5, power=power), np.random.default_rng(1)
        x, s, away = np.full(5, 3.0), None, []
        s = o.init(x)
        for _ in range(3000):
            x, s = o.update(x, x + rng.standard_normal(5), s)
            away.append(np.linalg.norm(x))
        ends.append(np.mean(away[2000:]))
    assert ends[0] < ends[1] / 3


@pytest.mark.identity("ranger")
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 2)])
@pytest.mark.parametrize("centred", [True, False])
def test_ranger_by_hand(shape: tuple[int, ...], centred: bool) -> None:
    """Twelve steps on leaves of one to three axes, four plain and eight rectified, three of which go back, with either decay, to 1e-11."""
    kinds = []

    def rule(x, g, t, s):
        eta = 0.1 / t**0.5
        s.setdefault("slow", x)
        if centred:
            x = x * (1 - 0.2 * eta)
        else:
            g = g + 0.2 * x
        if centred and len(shape) > 1:
            g = g - g.mean(tuple(range(1, len(shape))), keepdims=True)
        m, v = _ema(s, "m", g, 0.6), _ema(s, "v", g * g, 0.9)
        end = 2 / (1 - 0.9) - 1
        rho = end - 2 * t * 0.9**t / (1 - 0.9**t)
        kinds.append(rho > 4.5)
        if rho > 4.5:
            r = np.sqrt((1 - 0.9**t) * (rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho))
            x = x - eta * r / (1 - 0.6**t) * m / (np.sqrt(v) + 0.05)
        else:
            x = x - eta / (1 - 0.6**t) * m
        if t % 4 == 0:
            x = s["slow"] = s["slow"] + 0.3 * (x - s["slow"])
        return x

    _alike("ranger", rule, shape=shape, lr=0.1, beta1=0.6, beta2=0.9, eps=0.05, threshold=4.5, period=4, alpha=0.3, centralize=centred,
        weight_decay=0.2, decay="decoupled" if centred else "coupled")  # fmt: skip
    assert 2 < sum(kinds) < 10


@pytest.mark.claim("ranger")
def test_ranger_is_lookahead_around_radam() -> None:
    """Without centring it is lookahead around RAdam, to 1e-13; a step whose ρ is the threshold is rectified or not as is said; with it the rows of a
    matrix keep their sums while steps are plain, to 1e-14."""
    run = stream(2, "random", steps=25)
    for at in (True, False):
        o = refopt.optimizer("ranger", lr=0.1, beta2=0.9, centralize=False, at_threshold=at)
        other = refopt.optimizer("lookahead", base="radam", lr=0.1, beta1=0.95, beta2=0.9, eps=1e-5, eps_corrected=False, threshold=5.0,
            at_threshold=at, period=6, alpha=0.5)  # fmt: skip
        assert_same_run(o, other, run, rtol=1e-13, atol=1e-13)
    # A step whose ρ is the threshold: at_threshold decides, and the steps before are the same.
    at = 2 / (1 - 0.9) - 1 - 2 * 8 * 0.9**8 / (1 - 0.9**8)
    ends = []
    for inclusive in (True, False):
        o = refopt.optimizer("ranger", lr=0.1, beta2=0.9, threshold=at, at_threshold=inclusive)
        x, s = run[0], o.init(run[0])
        for g in run[1][:8]:
            before, (x, s) = x, o.update(x, g, s)
        ends.append((before["b"], x["b"] - before["b"], s["m"]["b"]))
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    np.testing.assert_allclose(ends[1][1], -0.1 * ends[1][2] / (1 - 0.95**8), rtol=1e-10)
    assert np.max(np.abs(ends[0][1] - ends[1][1])) > 1e-3
    o = refopt.optimizer("ranger", lr=0.1, threshold=1e6)
    x, s = run[0], o.init(run[0])
    for g in run[1]:
        x, s = o.update(x, g, s)
    np.testing.assert_allclose(x["w"].sum(1), run[0]["w"].sum(1), atol=1e-13)
    assert np.max(np.abs(x["w"] - run[0]["w"])) > 0.1


@pytest.mark.identity("aida")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"projections": 1, "eps_corrected": False, "eps_root": 0.03},
        {"projections": 3, "eps_beside": False},
    ],
    ids=["paper", "raw", "inside"],
)
def test_aida_by_hand(options: dict[str, Any]) -> None:
    """Twelve steps on a matrix with one to three projections, a large ξ, ε in its places and either decay, to 1e-11."""
    at = {"projections": 2, "eps_corrected": True, "eps_root": 0.0, "eps_beside": True} | options
    signs = set()

    def rule(x, g, t, s):
        eta = 0.1 / t**0.5
        if options:
            g = g + 0.2 * x
        else:
            x = x * (1 - 0.2 * eta)
        a, b = g, _ema(s, "m", g, 0.6)
        m = b / (1 - 0.6**t)
        signs.add(np.sign(np.sum(a * b)))
        for _ in range(at["projections"]):
            both = np.sum(a * b)
            a, b = both / (np.sum(a * a) + 0.3) * a, both / (np.sum(b * b) + 0.3) * b
        s["v"] = 0.7 * s.get("v", 0.0) + 0.3 * (b - a) ** 2 + 0.05
        root, c2, beside = np.sqrt(s["v"] + at["eps_root"]), np.sqrt(1 - 0.7**t), 0.05 * at["eps_beside"]
        return x - eta * m / (root / c2 + beside if at["eps_corrected"] else (root + beside) / c2)

    _alike("aida", rule, shape=(3, 2), lr=0.1, beta1=0.6, beta2=0.7, xi=0.3, eps=0.05, weight_decay=0.2,
        decay="coupled" if options else "decoupled", **options)  # fmt: skip
    assert options or signs == {-1.0, 1.0}


@pytest.mark.claim("aida")
def test_aida_narrows_the_distances_of_adabelief() -> None:
    """K = 0 is AdaBelief, to 1e-12; every projection makes the root sum of distances that of the one before times |cos(g, m)|, to 1e-10, and
    none is left at a right angle; gradients of 1e-100 are projected, too."""
    run = stream(2, "random", steps=15)
    none = refopt.optimizer("aida", lr=0.1, projections=0, eps=1e-4)
    assert_same_run(none, refopt.optimizer("adabelief", lr=0.1, eps=1e-4), run, rtol=1e-12, atol=1e-13)
    first, then = np.array([3.0, -1.0, 2.0]), np.array([1.0, 2.0, 4.0])
    m = 0.1 * (0.9 * first + then)
    cosine = abs(m @ then) / np.linalg.norm(m) / np.linalg.norm(then)
    for unit in (1.0, 1e-100):
        sizes = []
        for k in range(4):
            o = refopt.optimizer("aida", projections=k, beta2=0.0, eps=0.0, xi=0.0)
            x, s = o.update(np.zeros(3), unit * first, o.init(np.zeros(3)))
            sizes.append(np.sqrt(np.sum(o.update(x, unit * then, s)[1]["v"])))
        np.testing.assert_allclose(np.divide(sizes[1:], sizes[:-1]), cosine, rtol=1e-10)
    o = refopt.optimizer("aida", beta1=0.5, beta2=0.0, eps=0.0)
    x, s = o.update(np.zeros(2), np.array([1.0, 1.0]), o.init(np.zeros(2)))
    _, s = o.update(x, np.array([0.0, -0.5]), s)
    _, s = o.update(x, np.array([2.0, 0.0]) - s["m"], s)
    assert np.all(np.isfinite(s["v"]))


LOW = {"betas": (0.6, 0.7), "eps": 1e-2, "lr": 0.03, "weight_decay": 0.1}
MINE = {"beta1": 0.6, "beta2": 0.7, "eps": 1e-2, "lr": 0.03, "weight_decay": 0.1}


def adamc(seed: int) -> Arrays:
    """pytorch_optimizer's AdamC, its group said to be normalised."""
    import pytorch_optimizer

    return run_torch(
        lambda p: pytorch_optimizer.AdamC([{"params": p, "normalized": True}], **LOW),
        seed,
        schedule,
        ONE,
        SMALL,
    )


RANGER = {"lr": 0.03, "eps": 1e-2, "alpha": 0.3, "weight_decay": 0.1}
CASES = [
    case("adamc", "kozistr", adamc, "pytorch_optimizer.AdamC, normalized, with low betas, a large eps and decay", **MINE),
    case("aida", "kozistr", kozistr("Aida", shapes=DEEP, xi=1e-2, k=3, **LOW),
        "pytorch_optimizer.Aida with three projections, low betas, a large eps and coupled decay, on leaves of one to three axes", shapes=DEEP,
        xi=1e-2, projections=3, **MINE),
    case("grokfast-adamw", "kozistr", kozistr("GrokFastAdamW", grokfast_alpha=0.8, grokfast_lamb=1.5, normalize_lr=False, **LOW),
        "pytorch_optimizer.GrokFastAdamW with low betas, a large floor of roots and decay", dialect="lucidrains", alpha=0.8, amplify=1.5,
        normalize_lr=False, **MINE),
    case("ranger", "kozistr", kozistr("Ranger", shapes=DEEP, betas=(0.6, 0.9), k=4, degenerated_to_sgd=True, **RANGER),
        "pytorch_optimizer.Ranger, degenerated_to_sgd, with low betas, a large eps and decay, on leaves of one to three axes", shapes=DEEP,
        beta1=0.6, beta2=0.9, period=4, **RANGER),
]  # fmt: skip
