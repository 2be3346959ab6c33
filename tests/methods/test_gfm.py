"""GFM and GFM+: smoothed gradients in closed form, and the recursion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.methods.values import Cubic, H, X, at, nodes


def gradient(o: Any, oracle: Oracle, x: np.ndarray) -> np.ndarray:
    """What a step of rate 1 makes."""
    return x - o.step(x, o.init(x), oracle)[0]


def choice(*directions: np.ndarray) -> list[Any]:
    """Directions, and the number that keeps the newest iterate."""
    return [*directions, np.array(-1)]


@pytest.mark.claim("gfm")
def test_absolute_value() -> None:
    """On |x| in one dimension the estimate is the smoothed gradient clip(x/δ, -1, 1) whatever the direction, to
    1e-14, so that x shrinks by 1 - η/δ inside; in the plane the mean over the circle of a quadratic's is Ax, for
    every δ, and the mean square d (wᵀAx)² d is below that of Lin et al.
    """
    p, delta = refopt.from_functions(lambda x: float(np.abs(x[0]))), 0.5
    for x in (-2.0, -0.3, 0.1, 0.7):
        for w in (1.0, -1.0):
            got = gradient(
                refopt.optimizer("gfm", lr=1.0, radius=delta), at(p, *choice(np.array([w]))), np.array([x])
            )
            np.testing.assert_allclose(got, np.clip(x / delta, -1, 1), rtol=1e-14)
    r = refopt.minimize(p, "gfm", np.array([0.4]), lr=0.05, radius=delta, steps=10)
    np.testing.assert_allclose(r.x, 0.4 * 0.9**10, rtol=1e-12)
    a, y = H[:2, :2], X[:2]
    for delta in (0.1, 2.0):
        o, mean, square = refopt.optimizer("gfm", lr=1.0, radius=delta), np.zeros(2), 0.0
        for weight, z in nodes("sphere", 1):
            g = gradient(o, at(Cubic(a), *choice(*z)), y)
            np.testing.assert_allclose(g, 2 * (z[0] @ a @ y) * z[0], rtol=1e-9, atol=1e-12)
            mean, square = mean + weight * g, square + weight * float(g @ g)
        np.testing.assert_allclose(mean, a @ y, rtol=1e-10)
        assert (
            square
            <= 16 * (2 * np.pi) ** 0.5 * 2 * (np.linalg.norm(a @ y) + 2 * delta * np.linalg.norm(a, 2)) ** 2
        )


@pytest.mark.identity("gfm")
def test_is_the_two_point_estimate_on_the_sphere() -> None:
    """With δ = μ √d it is the two-point estimate with directions on the sphere of radius √d, to 1e-11, also with
    three samples; 2 b values a step.
    """
    p, z = Cubic(H, 1.3), [np.array([0.6, -1.2, 0.9]), np.array([0.1, 2.0, 0.3]), np.array([-1.0, 0.4, 0.2])]
    oracle = at(p, *choice(*z))
    got = gradient(refopt.optimizer("gfm", lr=1.0, radius=0.4 * 3**0.5, samples=3), oracle, X)
    o = refopt.optimizer("two-point-gradient", radius=0.4, samples=3, law="sphere")
    np.testing.assert_allclose(got, o.estimate(at(p, *z), X), rtol=1e-11)
    assert oracle.counts.calls == {"value": 6}


@pytest.mark.claim("gfm", "gfm-plus")
def test_output_is_one_of_the_iterates() -> None:
    """The chosen iterate is uniform among x_0 … x_3, here 0, -1, -3 and -6 (2000 runs, five standard errors)."""
    p, counts = refopt.from_functions(lambda x: float(x[0])), {0: 0, -1: 0, -3: 0, -6: 0}
    for name in ("gfm", "gfm-plus"):
        o, x0 = refopt.optimizer(name, lr=1.0, radius=0.5, schedule=float), np.array([0.0])
        for seed in range(1000):
            oracle, x, s = Oracle(p, seed), x0, o.init(x0)
            for t in range(1, 5):
                oracle.begin(t)
                x, s = o.step(x, s, oracle)
            counts[round(float(s["chosen"][0]))] += 1
            assert round(float(x[0])) == -10
    assert all(abs(n - 500) <= 5 * (2000 * 3 / 16) ** 0.5 for n in counts.values())


@pytest.mark.identity("gfm-plus")
def test_period_one_is_gfm() -> None:
    """With m = 1 and b' = b it is GFM, bit for bit, and so is its rate's schedule."""
    p = refopt.problem("quadratic", n=4)
    common = {"lr": 0.05, "schedule": lambda t: 1 / t, "radius": 0.3, "steps": 12, "seed": 2}
    a = refopt.minimize(p, "gfm", samples=3, **common)
    b = refopt.minimize(p, "gfm-plus", period=1, samples=7, big_samples=3, **common)
    np.testing.assert_array_equal(a.x, b.x)
    np.testing.assert_array_equal(a.state["chosen"], b.state["chosen"])
    assert a.state["t"] == b.state["t"] == 12


@pytest.mark.claim("gfm-plus")
def test_recursion() -> None:
    """On a quadratic the correction is d (wᵀA(x_t - x_{t-1})) w whatever δ; on |x| in one dimension the estimate
    stays exact: v_t = clip(x_t/δ, -1, 1), to 1e-12. Heads ask for 2 b' values, other steps for 4 b.
    """
    p, o = Cubic(H), refopt.optimizer("gfm-plus", lr=0.1, radius=0.7, period=3, big_samples=2)
    x, previous, s, z = X, X, o.init(X), np.array([0.6, -1.2, 0.9])
    w = z / np.linalg.norm(z)
    asked = 0
    for t in range(6):
        big = t % 3 == 0
        oracle = at(p, *([z, 2 * z] if big else [z]), np.array(-1))
        before, v = x, s["v"]
        x, s = o.step(x, s, oracle)
        if big:
            want = 3 * (w @ H @ before) * w
        else:
            want = v + 3 * (w @ H @ (before - previous)) * w
        np.testing.assert_allclose(s["v"], want, rtol=1e-9)
        np.testing.assert_allclose(x, before - 0.1 * s["v"], rtol=1e-13)
        previous = before
        asked += oracle.counts.calls["value"]
    assert asked == 24
    kink = refopt.from_functions(lambda x: float(np.abs(x[0])))
    x = np.array([1.0])
    o = refopt.optimizer("gfm-plus", lr=0.3, radius=0.5, period=4)
    s, oracle = o.init(x), Oracle(kink)
    for t in range(1, 9):
        oracle.begin(t)
        exact = np.clip(x / 0.5, -1, 1)
        x, s = o.step(x, s, oracle)
        np.testing.assert_allclose(s["v"], exact, rtol=1e-12)


@pytest.mark.identity("gfm", "gfm-plus")
def test_examples_are_dealt_out() -> None:
    """On batches every direction has its own examples, equally many, the same at both points; a head has b' of
    its own draw: written out on a sum of planes, to 1e-10.
    """
    slopes = np.random.default_rng(0).standard_normal((12, 3))

    def plane(x: np.ndarray, batch: Any = None) -> float:
        rows = slopes if batch is None else slopes[batch]
        asked.append((x.copy(), None if batch is None else tuple(batch)))
        return float(np.mean(rows @ x))

    asked: list[Any] = []
    p, batch, z = (
        refopt.from_functions(plane, n_examples=12),
        np.array([7, 2, 9, 4]),
        [np.eye(3)[0], np.eye(3)[1]],
    )
    oracle = at(p, *choice(*z))
    oracle = oracle.on(batch)
    got = gradient(refopt.optimizer("gfm", lr=1.0, samples=2), oracle, X)
    want = 3 / 2 * (slopes[[7, 2]].mean(0)[0] * z[0] + slopes[[9, 4]].mean(0)[1] * z[1])
    np.testing.assert_allclose(got, want, rtol=1e-10)
    asked.clear()
    o = refopt.optimizer("gfm-plus", lr=0.1, samples=2, big_samples=6, period=2)
    r = refopt.minimize(p, o, X, steps=2, batch_size=4, record_every=2)
    examples = [rows for _, rows in asked if rows is not None]
    assert [len(rows) for rows in examples] == [1] * 12 + [2] * 8
    assert sorted(set(examples[12:14] + examples[14:16])) == sorted(set(examples[16:18] + examples[18:20]))
    assert r.calls == {"value": 20}
    with_few = gradient(refopt.optimizer("gfm", lr=1.0, samples=5), at(p, *choice(*[z[0]] * 5)).on(batch), X)
    np.testing.assert_allclose(with_few, 3 * slopes[batch].mean(0)[0] * z[0], rtol=1e-10)
