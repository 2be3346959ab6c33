"""Claims on FAdam and Gravity.

FAdam and Gravity: literal transcriptions, and FAdam's Fisher information beside Adam's average.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream


@pytest.mark.claim("fadam")
@pytest.mark.parametrize("clip", [1.0, 0.3])
def test_fadam_steps_are_clipped(clip: float) -> None:
    """No step is longer than lr c (1 + λ) times sqrt(n), whatever the gradients.

    ‖step‖ <= lr c (1 + λ) sqrt(n) for every array; and it comes near to that.
    """
    lam, nearest = 0.5, 0.0
    for kind in ("ill", "flip"):
        x, gradients = stream(0, kind, steps=60)
        o = refopt.optimizer("fadam", lr=0.1, beta1=0.3, beta2=0.9, clip=clip, weight_decay=lam)
        s = o.init(x)
        for g in gradients:
            new, s = o.update(x, g, s)
            for k in x:
                bound = 0.1 * clip * (1 + lam) * math.sqrt(x[k].size)
                length = np.linalg.norm((new[k] - x[k]).ravel())
                assert length <= bound * (1 + 1e-12)
                nearest = max(nearest, length / bound)
            x = new
    assert nearest > 0.6


@pytest.mark.claim("gravity")
def test_gravity_damps_large_gradients() -> None:
    """A gradient entry moves x most at abs(g) = 1 / M, and the largest less than that where M > 1.

    ζ peaks at |g| = 1/M with 1/(2M); the largest entry gives M / (1 + M⁴), less than that for M > 1.
    """
    o = refopt.optimizer("gravity", lr=1.0, alpha=0.0, beta=0.0)
    m = 5.0
    g = np.r_[np.linspace(0.0, 1.0, 1001), m]
    x, _ = o.update(np.zeros(1002), g, o.init(np.zeros(1002)))
    zeta = -x / (1 - 1 / 3)  # β̂ = 1/3 at t = 1 and β = 0
    assert g[np.argmax(zeta)] == pytest.approx(1 / m, abs=1e-12)
    assert np.max(zeta) == pytest.approx(1 / (2 * m), rel=1e-14)
    assert zeta[-1] == pytest.approx(m / (1 + m**4), rel=1e-14)
    # a small gradient is taken as it is
    x, _ = o.update(np.zeros(2), np.array([1e-6, -3e-6]), o.init(np.zeros(2)))
    np.testing.assert_allclose(x, [-2e-6 / 3, 2e-6], rtol=1e-10)


@pytest.mark.claim("gravity")
def test_gravity_starts_with_noise() -> None:
    """Without gradients the first step has the standard deviation (beta + 1) / 3 alpha of V_0's
    noise.

    V_0 ~ N(0, (α/l)²): x_1 - x_0 has the deviation β̂_1 α, its own in every array and seed.
    """
    n = 40_000
    x = {"a": np.zeros(n), "b": np.zeros(n)}
    o = refopt.optimizer("gravity", lr=0.5, alpha=0.02)
    new, _ = o.update(x, x, o.init(x))
    for k in x:
        want = (0.9 + 1) / 3 * 0.02
        assert np.std(new[k]) == pytest.approx(want, rel=5 / math.sqrt(2 * n))  # five deviations
        assert abs(np.mean(new[k])) < 5 * want / math.sqrt(n)
    assert abs(np.corrcoef(new["a"], new["b"])[0, 1]) < 5 / math.sqrt(n)
    same, _ = o.update(x, x, o.init(x))
    np.testing.assert_array_equal(same["a"], new["a"])
    other = refopt.optimizer("gravity", lr=0.5, alpha=0.02, seed=1)
    assert np.max(np.abs(other.update(x, x, other.init(x))[0]["a"] - new["a"])) > 0.01
    still = refopt.optimizer("gravity", alpha=0.0)
    np.testing.assert_array_equal(still.update(x, x, still.init(x))[0]["a"], 0.0)


def rms(values: list[float]) -> float:
    return math.sqrt(math.fsum(v * v for v in values) / len(values))


def cut(values: list[float], c: float) -> list[float]:
    top = max(1.0, rms(values) / c)
    return [v / top for v in values]


ADDED = {
    "paper": lambda size, p: (min(1e-2, 0.5 * size) if size else 1e-2) ** (2 * p),
    "v1": lambda size, p: 1e-2,
    "v2": lambda size, p: min(1e-2, 0.5 * size) if size else 1e-2,
    "v3": lambda size, p: 1e-2 * min(1.0, size) if size else 1e-2,
    "port": lambda size, p: 1e-2 * max(1.0, size),
}


@pytest.mark.identity("fadam")
@pytest.mark.parametrize("kind", ["random", "small"])
@pytest.mark.parametrize("version", ADDED)
def test_fadam_line_by_line(version: str, kind: str) -> None:
    """Equals the algorithm transcribed line by line, for each rule of epsilon, to 1e-13."""
    b1, b2, p, c, lam, lr = 0.8, 0.6, 0.6, 0.7, 0.1, 0.03
    x, gradients = stream(3, kind, steps=40, shapes={"w": (5,)})
    o = refopt.optimizer(
        "fadam", dialect=version, lr=lr, beta1=b1, beta2=b2, power=p, clip=c, eps=1e-2, eps_gradient=0.5,
        weight_decay=lam, schedule=schedule,
    )  # fmt: skip
    s, theta = o.init(x), [float(v) for v in x["w"]]
    m, fisher = [0.0] * 5, [123.0] * 5  # F_0 does not matter
    for t, g in enumerate(gradients, 1):
        if t == 6:
            g = {"w": np.zeros(5)}
        x, s = o.update(x, g, s)
        now = [float(v) for v in g["w"]]
        beta = b2 * (1 - b2 ** (t - 1)) / (1 - b2**t)
        fisher = [beta * f + (1 - beta) * v * v for f, v in zip(fisher, now)]
        d = [f**p + ADDED[version](rms(now), p) for f in fisher]
        natural = cut([v / e for v, e in zip(now, d)], c)
        m = [b1 * old + (1 - b1) * v for old, v in zip(m, natural)]
        shrink = cut([v / e for v, e in zip(theta, d)], c)
        theta = [v - lr * schedule(t) * (a + lam * w) for v, a, w in zip(theta, m, shrink)]
        np.testing.assert_allclose(x["w"], theta, rtol=1e-13, atol=1e-14)


@pytest.mark.identity("fadam")
def test_fisher_is_adams_corrected_average() -> None:
    """F_t is Adam's corrected v_t / (1 - beta2^t), to 1e-13.

    F_t = v_t / (1 - beta2^t).
    """
    x, gradients = stream(0, "ill", steps=80)
    f, a = refopt.optimizer("fadam", beta2=0.95), refopt.optimizer("adam", beta2=0.95)
    y, sf, sa = x, f.init(x), a.init(x)
    for t, g in enumerate(gradients, 1):
        x, sf = f.update(x, g, sf)
        y, sa = a.update(y, g, sa)
        for k in x:
            np.testing.assert_allclose(sf["F"][k], sa["v"][k] / (1 - 0.95**t), rtol=1e-13)


@pytest.mark.parametrize("dialect", ["v1", "v2", "v3", "port", "paper"])
def test_fadam_survives_zero_gradients(dialect: str) -> None:
    """0 / 0 in the paper's second and third versions; here eps stands alone."""
    o = refopt.optimizer("fadam", dialect=dialect, lr=0.1)
    x = np.array([1.0, -2.0])
    s = o.init(x)
    for _ in range(3):
        x, s = o.update(x, np.zeros(2), s)
    assert np.all(np.isfinite(x))
    # x / D has the direction of x, and is clipped to the root mean square one
    want = np.array([1.0, -2.0]) * (1 - 3 * 0.1 * o.weight_decay / math.sqrt(2.5))
    np.testing.assert_allclose(x, want, rtol=1e-13)


@pytest.mark.identity("gravity")
@pytest.mark.parametrize("dialect", ["paper", "official-keras"])
def test_gravity_line_by_line(dialect: str) -> None:
    """Equals Algorithm 1 from its own V_0, and the Keras count from 0, line by line, to 1e-13.

    Algorithm 1 from the method's own V_0, with the paper's m = 1 / max |g|.
    """
    x, gradients = stream(3, "random", steps=40, shapes={"w": (5,)})
    o = refopt.optimizer("gravity", dialect=dialect, lr=0.05, alpha=0.2, beta=0.8, schedule=schedule)
    s = o.init(x)
    theta, v = [float(e) for e in x["w"]], [float(e) for e in s["V"]["w"]]
    assert rms(v) > 1.0  # α / lr = 4
    for n, g in enumerate(gradients):
        t = n if dialect == "official-keras" else n + 1
        x, s = o.update(x, g, s)
        now = [float(e) for e in g["w"]]
        beta = (0.8 * t + 1) / (t + 2)
        m = 1 / max(abs(e) for e in now)
        zeta = [e / (1 + (e / m) ** 2) for e in now]
        v = [beta * a + (1 - beta) * b for a, b in zip(v, zeta)]
        theta = [a - 0.05 * schedule(n + 1) * b for a, b in zip(theta, v)]
        np.testing.assert_allclose(x["w"], theta, rtol=1e-13, atol=1e-14)
