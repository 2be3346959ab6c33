"""TAM, Rose, Amos, AdamS, ALI-G, AccSGD, C-Lion and cautious weight decay: written out, beside libraries, and their papers' claims."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run, steps_on
from tests.methods.test_adam_kin import _alike, _ema
from tests.methods.test_signs_and_angles import official
from tests.parity.peers.beyond_adam import DEEP, case, kozistr
from tests.streams import schedule, stream


@pytest.mark.identity("tam")
@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
def test_tam_by_hand(decay: str) -> None:
    """Twelve steps on a matrix with a large ε and either decay, to 1e-11; correlations of both signs show."""
    signs = set()

    def rule(x, g, t, s):
        eta = 0.1 / t**0.5
        if decay == "coupled":
            g = g + 0.2 * x
        else:
            x = x * (1 - 0.2 * eta)
        old = s.get("m", 0.0 * g)
        both = np.linalg.norm(old) * np.linalg.norm(g)
        cosine = np.sum(old * g) / both if both else 0.0
        signs.add(np.sign(cosine))
        damped = (1 + _ema(s, "s", cosine, 0.6)) / 2
        s["m"] = 0.7 * old + (0.05 + damped) * g
        return x - eta * s["m"]

    _alike(
        "tam", rule, shape=(3, 2), lr=0.1, momentum=0.7, gamma=0.6, eps=0.05, weight_decay=0.2, decay=decay
    )
    assert signs == {-1.0, 0.0, 1.0}


@pytest.mark.claim("tam")
def test_tam_takes_gradients_by_their_agreement() -> None:
    """One direction for 60 steps: s tends to 1, and gradients count whole as in the heavy ball; one that turns every time counts for
    less than two fifths; gradients times 2^40 give the same run times 2^40, to the bit, and of size 1e200 no overflow."""
    o = refopt.optimizer("tam", lr=1.0, gamma=0.5, eps=0.0)
    for sign, least, most in ((1.0, 0.999, 1.0), (-1.0, 0.0, 0.4)):
        x, s = np.zeros(3), o.init(np.zeros(3))
        for t in range(60):
            before = s["m"]
            x, s = o.update(x, sign**t * np.array([3.0, -1.0, 2.0]), s)
        share = ((s["m"] - 0.9 * before) / (sign**59 * np.array([3.0, -1.0, 2.0])))[0]
        assert least <= share <= most + 1e-12
    assert o.init(np.zeros(3))["s"].shape == ()
    x, gradients = stream(3, "random", steps=10, shapes={"w": (5,)})
    ends = []
    for c in (1.0, 2.0**40, 1e200):
        y, s = np.zeros(5), o.init(np.zeros(5))
        for g in gradients:
            y, s = o.update(y, c * g["w"], s)
        ends.append(y)
    np.testing.assert_array_equal(ends[1], 2.0**40 * ends[0])
    np.testing.assert_allclose(ends[2], 1e200 * ends[0], rtol=1e-12)


@pytest.mark.identity("rose")
@pytest.mark.parametrize("shape", [(4,), (3, 4), (3, 2, 2), ()])
@pytest.mark.parametrize("plain", [True, False])
def test_rose_by_hand(shape: tuple[int, ...], plain: bool) -> None:
    """Twelve steps on leaves of none to three axes, with and without its two switches, to 1e-11."""

    def rule(x, g, t, s):
        eta = 0.1 / t**0.5
        x = x * (1 - 0.2 * eta)
        if not shape:
            return x - eta * np.sign(g)
        rows = g.reshape(1, -1) if len(shape) == 1 else g.reshape(len(g), -1)
        if len(shape) > 1 and not plain:
            rows = rows - rows.mean(1, keepdims=True)
        d = np.abs(rows.max(1)) - rows.min(1)
        if len(shape) > 1 and not plain:
            T = d.mean() / (d.mean() + np.sqrt(np.mean((d - d.mean()) ** 2)))
            d = d.mean() + T * (d - d.mean())
        return x - eta * (rows / d[:, None]).reshape(shape)

    _alike("rose", rule, shape=shape, lr=0.1, centralize=not plain, stabilize=not plain, weight_decay=0.2)


@pytest.mark.claim("rose")
def test_rose_sees_no_scale_and_keeps_a_sum() -> None:
    """Gradients times 2^30 give the same run to the bit; the sums of rows of a matrix stay, to 1e-14; no entry moves by more than twice
    the rate; decay never turns a weight; and a gradient of one value everywhere moves nothing but a vector, by its own size."""
    o = refopt.optimizer("rose", lr=0.1)
    x, gradients = stream(3, "random", steps=15, shapes={"w": (3, 4)})
    assert_same_run(o, o, (x, gradients), change=lambda g: {k: 2.0**30 * v for k, v in g.items()})
    y, s = x, o.init(x)
    for g in gradients:
        new, s = o.update(y, g, s)
        assert np.max(np.abs(new["w"] - y["w"])) <= 0.2
        y = new
    np.testing.assert_allclose(y["w"].sum(1), x["w"].sum(1), atol=1e-14)
    strong = refopt.optimizer("rose", lr=1.0, weight_decay=3.0)
    np.testing.assert_array_equal(
        strong.update(np.ones(2), np.zeros(2), strong.init(np.ones(2)))[0], np.zeros(2)
    )
    flat = np.full((2, 3), 0.75)
    np.testing.assert_array_equal(o.update(flat, flat, o.init(flat))[0], flat)
    np.testing.assert_allclose(o.update(flat[0], flat[0], o.init(flat[0]))[0], 0.75 - 0.1 * 0.75)


AMOS = {"beta": 0.7, "c": 0.4, "d": 0.6, "extra_l2": 0.05, "eps": 0.05}


@pytest.mark.identity("amos")
@pytest.mark.parametrize(
    "more",
    [{}, {"reduced": "none", "weight_scale": 0.3}, {"momentum": 0.6, "eps_added": True}],
    ids=["leaf", "entries", "momentum"],
)
@pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 3, 2)])
def test_amos_by_hand(shape: tuple[int, ...], more: dict[str, Any]) -> None:
    """Twelve steps on leaves of one to three axes with both kinds of v, all numbers away from their defaults, to 1e-11."""
    eta = more.get("weight_scale") or {1: 0.5, 2: 1.0, 3: (1 / 3) ** 0.5}[len(shape)]

    def rule(x, g, t, s):
        xi = 0.1 / t**0.5
        square = g * g if "reduced" in more else np.mean(g * g)
        v = _ema(s, "v", square, 0.7)
        r = (1 - 0.7**t) / (v + 0.05 if "eps_added" in more else np.maximum(v, 0.05))
        b = s.get("b", 0.0)
        gamma = xi**2 * r * square / np.sqrt(1 + 0.4 * xi**0.5 * b)
        u = (xi * eta * np.sqrt(r) * g + (gamma / 2 + 0.05) * x) / (1 + 0.6 * (xi * eta) ** 0.5 * b)
        s["b"] = b + gamma * (1 + b)
        return x - (_ema(s, "u", u, 0.6) if "momentum" in more else u)

    _alike("amos", rule, shape=shape, lr=0.1, **AMOS, **more)


@pytest.mark.claim("amos")
def test_amos_takes_its_decay_from_the_scale() -> None:
    """d = 0: x and η̃ times 4 are the run times 4, to 1e-13, though no decay is chosen; gradients times 2^20 change nothing, to the bit; and rates
    and decay fall by themselves: the last of 300 steps on one gradient is less than half of the first."""
    x, gradients = stream(3, "random", steps=15, shapes={"w": (3, 4)})
    one, four = (refopt.optimizer("amos", lr=0.1, d=0.0, weight_scale=c) for c in (0.5, 2.0))
    assert_same_run(one, one, (x, gradients), change=lambda g: {k: 2.0**20 * v for k, v in g.items()})
    y, z = x, {"w": 4.0 * x["w"]}
    s, r = one.init(y), four.init(z)
    for g in gradients:
        y, s = one.update(y, g, s)
        z, r = four.update(z, g, r)
        np.testing.assert_allclose(z["w"], 4.0 * y["w"], rtol=1e-13)
    o = refopt.optimizer("amos", lr=0.2)
    w, s, moves = np.zeros(2), o.init(np.zeros(2)), []
    for _ in range(300):
        new, s = o.update(w, np.ones(2), s)
        moves.append(abs(new - w)[0])
        w = new
    assert moves[0] == pytest.approx(0.2 * 0.5)
    shapes = [
        {k: v.shape for k, v in refopt.optimizer("amos", momentum=0.5, reduced=r).init(w).items() if k != "t"}
        for r in ("leaf", "none")
    ]
    assert shapes == [{"v": (), "b": (), "m": (2,)}, {"v": (2,), "b": (2,), "m": (2,)}]
    assert moves[-1] < 0.5 * moves[0]


@pytest.mark.identity("adam-s")
@pytest.mark.parametrize("amsgrad", [True, False])
def test_adam_s_by_hand(amsgrad: bool) -> None:
    """Ten steps on three leaves whose mean square is one, with and without the maximum and ε beside the mean, ε large, to 1e-11."""
    o = refopt.optimizer("adam-s", lr=0.1, beta1=0.6, beta2=0.7, eps=0.05, eps_in_mean=amsgrad, amsgrad=amsgrad, weight_decay=0.2,
        schedule=schedule)  # fmt: skip
    x, gradients = stream(1, "random", steps=10)
    s, y = o.init(x), x
    m = v = most = {k: np.zeros_like(a) for k, a in x.items()}
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        eta = 0.1 * schedule(t)
        m = {k: 0.6 * m[k] + 0.4 * g[k] for k in y}
        v = {k: 0.7 * v[k] + 0.3 * g[k] ** 2 for k in y}
        most = {k: np.maximum(most[k], v[k]) if amsgrad else v[k] for k in y}
        hat = {k: most[k] / (1 - 0.7**t) for k in y}
        mean = np.sqrt(np.mean(np.concatenate([a.ravel() for a in hat.values()]))) + (
            0.05 if amsgrad else 0.0
        )
        for k in y:
            y[k] = (1 - eta * 0.2 / mean) * y[k] - eta * m[k] / (1 - 0.6**t) / (np.sqrt(hat[k]) + 0.05)
            np.testing.assert_allclose(x[k], y[k], rtol=1e-11, atol=1e-13)


@pytest.mark.claim("adam-s")
def test_adam_s_decays_at_the_rate_of_its_steps() -> None:
    """One entry, ε = 0: ``(lr / sqrt(v̂)) (m̂ + λ x)``, to 1e-12, so gradients and λ times 1024 give the same run; without decay it is Adam,
    to 1e-12; gradients of 1e200 leave it finite, and none at all decay nothing."""
    ends = []
    for c in (1.0, 1024.0):
        o = refopt.optimizer("adam-s", lr=0.1, eps=0.0, weight_decay=0.5 * c)
        x, s, rng = np.array([3.0]), None, np.random.default_rng(4)
        s = o.init(x)
        for t in range(1, 12):
            new, s = o.update(x, c * rng.standard_normal(1), s)
            root = np.sqrt(s["v"] / (1 - 0.999**t))
            np.testing.assert_allclose(
                x - new, 0.1 / root * (s["m"] / (1 - 0.9**t) + 0.5 * c * x), rtol=1e-10
            )
            x = new
        ends.append(x)
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-12)
    run = stream(2, "ill", steps=10)
    none = refopt.optimizer("adam-s", weight_decay=0.0)
    assert_same_run(none, refopt.optimizer("adam"), run, rtol=1e-12, atol=1e-14)
    o = refopt.optimizer("adam-s", lr=0.1, weight_decay=0.5)
    start = np.ones(2, dtype=np.float32)
    x, s = o.update(start, np.full(2, 1e18, dtype=np.float32), o.init(start))
    np.testing.assert_allclose(x, 0.9, rtol=1e-6)
    np.testing.assert_array_equal(o.update(start, 0.0 * start, o.init(start))[0], start)
    # Of leaves whose squares are far apart, and with a maximum that is zero.
    both = {"a": start, "b": start}
    x, _ = o.update(
        both,
        {"a": np.full(2, 1e18, dtype=np.float32), "b": np.full(2, 1e-18, dtype=np.float32)},
        o.init(both),
    )
    np.testing.assert_allclose(x["a"], 0.9, rtol=1e-6)
    o = refopt.optimizer("adam-s", eps=0.0, amsgrad=True)
    np.testing.assert_array_equal(o.update(start, 0.0 * start, o.init(start))[0], start)


class Rows:
    """f(x) = Σ (a_i x)² / 2 on rows a_i: interpolated at zero, one batch."""

    def __init__(self, scale: float = 1.0) -> None:
        self.A = scale * np.random.default_rng(2).standard_normal((3, 4))

    def start(self, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).standard_normal(4)

    def value(self, x: np.ndarray) -> float:
        return 0.5 * float(np.sum((self.A @ x) ** 2))

    def grad(self, x: np.ndarray) -> np.ndarray:
        return self.A.T @ (self.A @ x)


@pytest.mark.identity("alig")
@pytest.mark.parametrize("adjusted", [True, False])
@pytest.mark.parametrize("radius", [None, 0.8])
def test_alig_by_hand(adjusted: bool, radius: float | None) -> None:
    """Fifteen steps with both momenta, with and without a ball, a large δ, under a schedule, to 1e-12: the bound decides some and the loss
    others."""
    p = Rows()
    o = refopt.optimizer(
        "alig",
        lr=0.06,
        momentum=0.6,
        adjusted=adjusted,
        radius=radius,
        eps=0.3,
        schedule=lambda t: 1.0 if t % 2 else 2.0,
    )
    x, m, sides = p.start(1), np.zeros(4), set()
    for t, (got, s) in enumerate(steps_on(p, o, 15), 1):
        f, g = p.value(x), p.grad(x)
        rate, most = f / (np.sum(g**2) + 0.3), 0.06 * (1 if t % 2 else 2)
        sides.add(rate < most)
        gamma = min(rate, most)
        m = 0.6 * m - (g if adjusted else gamma * g)
        x = x - gamma * g + 0.6 * (gamma if adjusted else 1.0) * m
        if radius is not None:
            x = x * min(1.0, radius / np.linalg.norm(x))
        np.testing.assert_allclose(got, x, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(s["rate"], gamma, rtol=1e-12)
    assert sides == {True, False}


@pytest.mark.claim("alig")
def test_alig_comes_no_further_from_solutions() -> None:
    """Interpolated least squares, no momentum: in no step does the distance to the solution grow, at any η; with η infinite in effect it is
    Polyak's step to 1e-14, whose rate is 1/4 of it for losses four times smaller; gradients of 1e-200 still move it; at a minimum it stays."""
    p = Rows()
    kernel = np.linalg.svd(p.A)[2][3]
    for lr in (0.05, 1e9):
        points = [p.start(1), *(x for x, _ in steps_on(p, refopt.optimizer("alig", lr=lr), 20))]
        # The nearest solution is what the start has in the kernel.
        away = [np.linalg.norm(x - kernel * (kernel @ points[0])) for x in points]
        assert np.all(np.diff(away) < 0.0)
    polyak = steps_on(p, refopt.optimizer("polyak-sgd"), 10)
    for (a, _), (b, _) in zip(
        steps_on(p, refopt.optimizer("alig", lr=1e9, eps=0.0), 10), polyak, strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    tiny = Rows(1e-100)
    moved = steps_on(tiny, refopt.optimizer("alig", lr=1e300, eps=0.0), 1)[0][0]
    np.testing.assert_allclose(moved, polyak[0][0], rtol=1e-12)
    still = steps_on(p, refopt.optimizer("alig"), 3, np.zeros(4))[-1][0]
    np.testing.assert_array_equal(still, np.zeros(4))


@pytest.mark.identity("accsgd")
def test_accsgd_by_hand() -> None:
    """Twelve steps of the two sequences as they are written, with decay, to 1e-11."""

    def rule(x, g, t, s):
        eta, beta, z = 0.1 / t**0.5, 0.36 * 2 / 5, 0.6 / (0.6 + 0.36 * 2 / 5)
        g = g + 0.2 * x
        s["w"] = (1 - beta) * s.get("w", x) + beta * (x - eta * 5 / 0.6 * g)
        return z * (x - eta * g) + (1 - z) * s["w"]

    _alike("accsgd", rule, lr=0.1, kappa=5.0, xi=2.0, c=0.6, weight_decay=0.2)


@pytest.mark.claim("accsgd")
def test_accsgd_is_quasi_hyperbolic_momentum() -> None:
    """At a constant rate it is QHM with β = z (1 - c²ξ/κ), ν and the rate as Ma and Yarats have them, over 30 steps to 1e-12; c² ξ above κ is
    refused."""
    lr, kappa, xi, c = 0.01, 40.0, 3.0, 0.7
    b, L = c * c * xi / kappa, lr * kappa / c
    z = c / (c + b)
    beta = z * (1 - b)
    rate = z * lr + (1 - z) * b * L + (1 - z) * (b * L - lr) * beta / (1 - beta)
    nu = (1 - z) * (b * L - lr) / ((1 - beta) * rate)
    a, q = (
        refopt.optimizer("accsgd", lr=lr, kappa=kappa, xi=xi, c=c),
        refopt.optimizer("qhm", lr=rate, beta=beta, nu=nu),
    )
    assert_same_run(a, q, stream(3, "random", steps=30), rtol=1e-12, atol=1e-13)
    with pytest.raises(
        refopt.errors.ArgumentError, match=r"xi: wanted c² ξ ≤ κ, at most 8\.0 here, got 9\.0"
    ):
        refopt.optimizer("accsgd", kappa=2.0, xi=9.0, c=0.5)
    refopt.optimizer("accsgd", kappa=2.0, xi=8.0, c=0.5)


@pytest.mark.identity("c-lion")
@pytest.mark.parametrize("normalizer", ["mean", "floor", "count"])
@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
def test_c_lion_by_hand(normalizer: str, decay: str) -> None:
    """Twelve steps on a matrix with every normaliser and either decay, to 1e-11."""

    def rule(x, g, t, s):
        eta = 0.1 / t**0.5
        if decay == "coupled":
            g = g + 0.2 * x
        else:
            x = x * (1 - 0.2 * eta)
        old = s.get("m", 0.0 * g)
        u = np.sign(0.6 * old + 0.4 * g)
        mask = 1.0 * (u * g > 0)
        below = {
            "mean": mask.mean() + 0.05,
            "floor": max(mask.mean(), 1e-3),
            "count": (mask.sum() + 1) / mask.size,
        }
        s["m"] = 0.7 * old + 0.3 * g
        return x - eta * u * mask / below[normalizer]

    _alike(
        "c-lion",
        rule,
        shape=(3, 2),
        lr=0.1,
        beta1=0.6,
        beta2=0.7,
        eps=0.05,
        normalizer=normalizer,
        weight_decay=0.2,
        decay=decay,
    )


@pytest.mark.claim("c-lion")
def test_c_lion_goes_downhill_as_far_as_lion() -> None:
    """The 1-norm of a leaf's step is lr d n / (n + 1) with n of d entries in agreement, to 1e-12, and no entry goes up its gradient; where all
    agree it is Lion with the rate lr d / (d + 1), to 1e-13."""
    x, gradients = stream(2, "flip", steps=20, shapes={"w": (8,)})
    o = refopt.optimizer("c-lion", lr=0.5)
    y, s, counts = np.zeros(8), o.init(np.zeros(8)), set()
    for g in (g["w"] for g in gradients):
        n = int(np.sum((0.95 * s["m"] + 0.05 * g) * g > 0))
        new, s = o.update(y, g, s)
        assert np.all((new - y) * g <= 0)
        np.testing.assert_allclose(np.sum(np.abs(new - y)), 0.5 * 8 * n / (n + 1), rtol=1e-12)
        counts.add(n)
        y = new
    assert len(counts) >= 3
    agreed = [{"w": np.where(x["w"] > 0, 1.0, -1.0) * (1 + np.abs(g["w"]))} for g in gradients]
    lion = refopt.optimizer("lion", lr=0.5 * 8 / 9, beta1=0.95, beta2=0.98)
    assert_same_run(o, lion, (x, agreed), rtol=1e-13, atol=1e-13)


@pytest.mark.identity("cautious-weight-decay")
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("through", ["update", "step"])
def test_cautious_decay_by_hand(strict: bool, through: str) -> None:
    """Adam with it for 15 steps, through gradients and through a problem, to 1e-12; with one entry that Adam leaves alone and both signs of the
    product."""
    p, masks = Rows(), set()
    p.A[:, 0] = 0.0
    o = refopt.optimizer(
        "cautious-weight-decay", base="adam", lr=0.1, strength=0.3, strict=strict, schedule=schedule
    )
    x, m, v = p.start(1), np.zeros(4), np.zeros(4)
    s, got = o.init(x), x
    points = steps_on(p, o, 15) if through == "step" else []
    for t in range(1, 16):
        g = p.grad(x)
        got, s = points[t - 1] if points else o.update(got, p.grad(got), s)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        u = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        mask = u * x > 0 if strict else u * x >= 0
        masks |= set(zip(np.sign(u * x).tolist(), mask.tolist(), strict=True))
        x = x - 0.1 * schedule(t) * (u + 0.3 * mask * x)
        np.testing.assert_allclose(got, x, rtol=1e-12, atol=1e-14)
    assert masks == {(1.0, True), (-1.0, False), (0.0, not strict)}


@pytest.mark.claim("cautious-weight-decay")
def test_cautious_decay_keeps_the_minimum() -> None:
    """On a quadratic whose minimum is away from zero SGD with it ends there to 1e-10, from both sides, where plain decay ends 1/11 short;
    where every step is towards zero it is SGD's with plain decay, to 1e-15; a base without a rate is refused."""
    target = np.array([2.0, -3.0])
    p = refopt.from_functions(
        lambda x: 0.5 * float(np.sum((x - target) ** 2)), lambda x: x - target, x0=np.array([5.0, 4.0])
    )
    ends = [refopt.minimize(p, n, lr=0.5, steps=200, **more).x for n, more in (
        ("cautious-weight-decay", {"strength": 0.1, "strict": True}), ("sgd", {"weight_decay": 0.1}))]  # fmt: skip
    np.testing.assert_allclose(ends[0], target, rtol=1e-10)
    np.testing.assert_allclose(ends[1], target / 1.1, rtol=1e-10)
    a, b = (
        refopt.optimizer("cautious-weight-decay", base="sgd", lr=0.125, strength=0.5),
        refopt.optimizer("sgd", lr=0.125, weight_decay=0.5),
    )
    x = {"w": np.array([3.0, -4.0])}
    assert_same_run(a, b, (x, [{"w": np.array([0.25, -0.5])}] * 6), rtol=1e-15)
    with pytest.raises(refopt.errors.ArgumentError, match="base: wanted a method with a rate"):
        refopt.optimizer("cautious-weight-decay", base="sps")


LOW = {"betas": (0.6, 0.7), "eps": 1e-2, "lr": 0.03, "weight_decay": 0.1}
MINE = {"beta1": 0.6, "beta2": 0.7, "eps": 1e-2, "lr": 0.03, "weight_decay": 0.1}
CASES = [
    case("rose", "kozistr", kozistr("ROSE", shapes=DEEP, lr=0.03, weight_decay=0.1, weight_decouple=True),
        "pytorch_optimizer.ROSE with decoupled decay, on leaves of one to three axes", shapes=DEEP, lr=0.03, weight_decay=0.1,
        decay="decoupled"),
    case("amos", "kozistr", kozistr("Amos", shapes=DEEP, lr=0.03, beta=0.6, momentum=0.5, c_coef=0.4, d_coef=0.6, eps=1e-2),
        "pytorch_optimizer.Amos with momentum and a large eps, on leaves of one to three axes", shapes=DEEP, lr=0.03, beta=0.6,
        momentum=0.5, c=0.4, d=0.6, eps=1e-2),
    case("adam-s", "kozistr", kozistr("AdamS", **LOW), "pytorch_optimizer.AdamS with low betas, a large eps and decay", **MINE),
    case("adam-s", "kozistr-amsgrad", kozistr("AdamS", ams_bound=True, **LOW),
        "pytorch_optimizer.AdamS with a maximum, low betas, a large eps and decay", amsgrad=True, **MINE),
    case("accsgd", "kozistr", kozistr("AccSGD", lr=0.003, kappa=50.0, xi=4.0, constant=0.6, weight_decay=0.1),
        "pytorch_optimizer.AccSGD with coupled decay", dialect="official", lr=0.003, kappa=50.0, xi=4.0, c=0.6, weight_decay=0.1),
    official("c-lion", "kyleliang919/C-Optim@2c0517c", "C-Lion with decay and a schedule", lr=0.03, beta1=0.6, beta2=0.7, weight_decay=0.1),
]  # fmt: skip
