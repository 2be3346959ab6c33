"""TRAC."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import refopt
from scipy.special import erfi

from tests.streams import stream


@pytest.mark.identity("trac")
def test_by_hand() -> None:
    """Forty steps over momentum with two discounts, a large first wealth and ε, with NumPy and SciPy's erfi, to 1e-11: S is at times positive and at
    times not."""
    base = refopt.optimizer("momentum", dialect="torch", lr=0.1, momentum=0.5)
    o = refopt.optimizer("trac", base=base, betas=[0.7, 0.95], scale=0.4, eps=0.05)
    x, gradients = stream(1, "random", steps=40, shapes={"w": (2, 2), "b": (3,)})
    s = o.init(x)
    start = y = np.concatenate([x["w"].ravel(), x["b"]])
    velocity, S, v, sigma, signs = np.zeros(7), 0.0, np.zeros(2), np.full(2, 1e-8), set()
    for t, g in enumerate(gradients, 1):
        # A drift at first, so that the way pays.
        g = {k: a - (1.0 if t < 20 else -1.0) for k, a in g.items()}
        x, s = o.update(x, g, s)
        g = np.concatenate([g["w"].ravel(), g["b"]])
        velocity = 0.5 * velocity + g
        way = (y - start) / (S + 0.05)
        h = way @ g
        way = way - 0.1 * velocity
        v, sigma = np.array([0.7, 0.95]) ** 2 * v + h * h, np.array([0.7, 0.95]) * sigma - h
        S = float(np.sum(0.4 * erfi(sigma / (np.sqrt(2 * v) + 0.05)) / erfi(np.sqrt(0.5))))
        signs.add(S > 0)
        y = start + max(S, 0.0) * way
        np.testing.assert_allclose(np.concatenate([x["w"].ravel(), x["b"]]), y, rtol=1e-11, atol=1e-12)
        assert s["S"] == pytest.approx(S, rel=1e-10)
    assert signs == {True, False}


@pytest.mark.claim("trac")
def test_a_way_that_loses_is_gone_back_and_one_that_pays_grows() -> None:
    """Gradients that say the way was wrong bring x back to the start, to the bit; gradients of one sign let S grow in every step, by more than a
    thousandfold in 100; and the six discounts give S_1 = 10.06 of the first wealth."""
    o = refopt.optimizer("trac", base="sgd", lr=0.1)
    x = np.array([1.0, -2.0])
    y, s = o.update(x, np.ones(2), o.init(x))
    first = sum(erfi(1.0 - 0.1**k) for k in range(1, 7)) / erfi(0.5**0.5)
    np.testing.assert_allclose(s["S"], 1e-8 * first, rtol=1e-12)
    assert round(first, 2) == 10.06
    wealth, last = [s["S"]], s
    for _ in range(100):
        y, last = o.update(y, np.ones(2), last)
        wealth.append(last["S"])
    assert all(b > a for a, b in itertools.pairwise(wealth[2:]))
    assert wealth[-1] > 1000 * wealth[0]
    for _ in range(2000):
        y, last = o.update(y, -np.ones(2), last)
        if last["S"] <= 0.0:
            break
    assert last["S"] <= 0.0
    np.testing.assert_array_equal(y, x)


@pytest.mark.claim("trac")
def test_it_tunes_a_rate_that_is_too_large() -> None:
    """SGD on f = 5 x² at a rate of 0.21, where it diverges: with TRAC no point is farther from the start than the solution's distance times two, in
    300 steps; and `update` and `step` are the same run, to the bit."""
    p = refopt.from_functions(lambda x: 5.0 * float(x @ x), lambda x: 10.0 * x, x0=np.ones(3))
    far = []
    r = refopt.minimize(
        p,
        "trac",
        base="sgd",
        lr=0.21,
        steps=300,
        callback=lambda x: far.append(float(np.linalg.norm(x - 1.0))),
    )
    assert max(far) < 2 * 3**0.5
    assert refopt.minimize(p, "sgd", lr=0.21, steps=300).fun > 1e3
    o = refopt.optimizer("trac", base="sgd", lr=0.21)
    x, s = np.ones(3), o.init(np.ones(3))
    for _ in range(300):
        x, s = o.update(x, 10.0 * x, s)
    np.testing.assert_array_equal(x, r.x)


def test_discounts_are_checked() -> None:
    """What is no sequence of discounts is told by name."""
    for betas, words in ((0.9, "wanted a sequence"), ((), "at least one"), ((0.5, 1.5), r"betas\[1\]")):
        with pytest.raises(refopt.errors.RefoptError, match=words):
            refopt.optimizer("trac", base="sgd", lr=0.1, betas=betas)


@pytest.mark.identity("trac")
def test_what_leaves_the_range_ends_the_run() -> None:
    """Gradients of 1e200, whose products with the way are infinite: the run is diverged, and its x is the last finite one."""
    p = refopt.from_functions(
        lambda x: 1e200 * float(np.sum(x)), lambda x: np.full_like(x, 1e200), x0=np.ones(2)
    )
    r = refopt.minimize(p, "trac", base="sgd", lr=1.0, steps=10)
    assert r.status == "diverged"
    assert np.all(np.isfinite(r.x))
