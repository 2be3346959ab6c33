"""DeepZero: the sparse estimate, the sets, ZO-GraSP's scores."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.methods.values import Cubic, H, X, at

BARE = {"weight_decay": 0.0}


@pytest.mark.claim("zo-cge")
def test_bias() -> None:
    """On a quadratic the estimate is the gradient plus μ H_ii/2 in every coordinate of S, 0 outside, to 1e-12, and
    asks for |S| + 1 values.
    """
    for density, n in ((1.0, 3), (0.6, 2)):
        oracle = Oracle(Cubic(H), 1)
        oracle.begin(1)
        o = refopt.optimizer("zo-cge", lr=1.0, momentum=0.0, radius=0.5, density=density, **BARE)
        new, s = o.step(X, o.init(X), oracle)
        assert s["mask"].sum() == n
        np.testing.assert_allclose(X - new, s["mask"] * (H @ X + 0.25 * np.diag(H)), rtol=1e-12, atol=1e-13)
        assert oracle.counts.calls == {"value": n + 1}


@pytest.mark.identity("zo-cge")
def test_is_momentum_with_coupled_decay() -> None:
    """With S = all and the bias of a linear function, zero, 20 steps are momentum's in torch's form with coupled
    decay, to 1e-9.
    """
    g = np.array([1.0, -2.0, 0.5])
    p = refopt.from_functions(lambda x: float(g @ x), lambda x: g, x0=X)
    common = {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.3, "steps": 20, "schedule": lambda t: 1 / t}
    a = refopt.minimize(p, "zo-cge", **common)
    b = refopt.minimize(p, "momentum", dialect="torch", **common)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-9)
    assert a.state["t"] == 20


@pytest.mark.identity("zo-cge")
def test_sets() -> None:
    """S has its share of every leaf, stays for the steps of a period, is then drawn anew with the same numbers, and
    the velocity and the decay go on outside it; without a period it stays.
    """
    shapes = {"w": (4, 5), "b": (3,)}
    g = {k: np.ones(s) for k, s in shapes.items()}
    p = refopt.from_functions(lambda x: float(sum(np.sum(v) for v in x.values())))
    for every in (3, None):
        o = refopt.optimizer(
            "zo-cge", lr=1e-3, density=0.3, redraw_every=every, weight_decay=0.0, momentum=0.5
        )
        x, oracle, masks = g, Oracle(p, 4), []
        s = o.init(x)
        for t in range(1, 8):
            oracle.begin(t)
            v, old = s["v"], x
            x, s = o.step(x, s, oracle)
            masks.append(np.concatenate([s["mask"][k].ravel() for k in shapes]))
            assert {k: int(s["mask"][k].sum()) for k in shapes} == {"w": 6, "b": 1}
            for k in shapes:
                np.testing.assert_allclose(s["v"][k], 0.5 * v[k] + s["mask"][k], rtol=1e-9)
                np.testing.assert_allclose(x[k], old[k] - 1e-3 * s["v"][k], rtol=1e-14)
        same = [bool(np.all(a == b)) for a, b in itertools.pairwise(masks)]
        assert same == ([True, True, False, True, True, False] if every else [True] * 6)


@pytest.mark.claim("zo-cge")
@pytest.mark.parametrize("ranks", ["signed", "magnitude"])
def test_grasp(ranks: str) -> None:
    """The scores are -θ ⊙ (g' - g)/μ with g, g' the mean of one-sided estimates along directions of their own,
    written out to 1e-9, and the leaves' numbers are those of the lowest (or the largest |s|) of all.
    """
    rng = np.random.default_rng(3)
    h = H[:, ::-1] @ H[::-1, :]
    p, mu, z = Cubic(h, 0.7), 0.3, rng.standard_normal((4, 3))

    class Named:
        def value(self, x: Any) -> float:
            return p.value(np.concatenate([x["a"], x["b"]]))

    x = {"a": X[:2], "b": X[2:]}

    def estimate(w: np.ndarray, directions: np.ndarray) -> np.ndarray:
        return sum((p.value(w + mu * d) - p.value(w)) / mu * d for d in directions) / len(directions)

    g = estimate(X, z[:2])
    want = -X * (estimate(X + mu * g, z[2:]) - g) / mu
    draws = [part for d in z for part in (d[:2], d[2:])]
    o = refopt.optimizer("zo-cge", radius=mu, probes=2, density=0.6, ratios="grasp", ranks=ranks)
    got = o.scores(x, at(Named(), *draws))
    np.testing.assert_allclose(np.concatenate([got["a"], got["b"]]), want, rtol=1e-9)
    counts = o.counts(x, at(Named(), *draws))
    top = np.argsort(want if ranks == "signed" else -np.abs(want))[:2]
    assert counts == {"a": int(np.sum(top < 2)), "b": int(np.sum(top == 2))}
    # The two ways of counting part here.
    assert counts == {"signed": {"a": 1, "b": 1}, "magnitude": {"a": 2, "b": 0}}[ranks]


@pytest.mark.identity("zo-cge")
def test_grasp_is_asked_once() -> None:
    """A period's head draws a new S of the numbers found at the first step: 2 (q + 1) values more there alone."""
    p = refopt.problem("quadratic", n=5)
    o = refopt.optimizer("zo-cge", lr=0.01, density=0.4, ratios="grasp", probes=3, redraw_every=2)
    assert refopt.minimize(p, o, steps=6).calls == {"value": 6 * 3 + 8}
    tiny = refopt.optimizer("zo-cge", density=1e-3, ratios="grasp", probes=1)
    assert tiny.counts(X, Oracle(Cubic(H))) == {"": 1}
    assert refopt.optimizer("zo-cge", density=1e-3).counts(X, Oracle(Cubic(H))) == {"": 1}
