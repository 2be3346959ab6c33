"""FAdam and Gravity: literal transcriptions, and FAdam's Fisher information beside Adam's average."""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream


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
