"""Polyak's step size on batches: projections, distances that never grow, and the authors' code."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Arrays, Case
from tests.streams import Leaves, flat

STEPS = 60


def least_squares(seed: int = 0, noise: float = 0.0) -> Any:
    """f_i(x) = (a_iᵀ x - b_i)² / 2 over two leaves."""
    rng = np.random.default_rng(seed)
    A, x = rng.standard_normal((12, 5)) * np.linspace(0.3, 2.0, 5), rng.standard_normal(5)
    b = A @ x + noise * rng.standard_normal(12)

    def rows(batch: Any) -> Any:
        return slice(None) if batch is None else batch

    def value(x: Leaves, batch: Any = None) -> float:
        r = A[rows(batch)] @ flat(x) - b[rows(batch)]
        return 0.5 * float(np.mean(r * r))

    def grad(x: Leaves, batch: Any = None) -> Leaves:
        a = A[rows(batch)]
        g = a.T @ (a @ flat(x) - b[rows(batch)]) / len(a)
        return {"u": g[:2], "w": g[2:].reshape(3, 1)}

    start = {"u": np.array([1.0, -2.0]), "w": np.array([[0.5], [1.0], [-1.0]])}
    p = refopt.from_functions(value, grad, x0=start, n_examples=12)
    p.A, p.b, p.truth = A, b, x
    return p


def points(p: Any, **kwargs: Any) -> np.ndarray:
    """The points of a run on cyclic batches, one row a step."""
    rows: list[np.ndarray] = []
    refopt.minimize(p, "sps", sampling="cyclic", callback=lambda x: rows.append(flat(x)), **kwargs)
    return np.stack(rows)


def _official(seed: int, **kwargs: Any) -> Arrays:
    out = {}
    for batch in (1, 4):
        out[f"batch{batch}"] = points(least_squares(seed, 0.1), batch_size=batch, steps=STEPS, **kwargs)
    return out


PEER = "IssamLaradji/sps@6d112a1"
CASES = [
    Case("sps", "official", PEER, functools.partial(_official, dialect="official", growth=1.02), None,
        says="The authors' smoothed form (60 steps of batches of 1 and 4, growth 1.02, norm over both leaves) to 1e-12"),
    Case("sps", "official-bounded", PEER, functools.partial(_official, eps=1e-8, bound=0.3, c=0.7), None,
        says="The authors' bounded form (60 steps of batches of 1 and 4, c = 0.7, bound 0.3) to 1e-12"),
]  # fmt: skip


@pytest.mark.identity("sps")
def test_kaczmarz() -> None:
    """On squares (aᵀx - b)²/2 with c = 1/2 each step is Kaczmarz's projection; with c = 1 half of it; to 1e-13."""
    p = least_squares()
    for c, share in ((0.5, 1.0), (1.0, 0.5)):
        x = flat(p.x0)
        got = points(p, c=c, batch_size=1, steps=20)
        for t in range(20):
            a, b = p.A[t % 12], p.b[t % 12]
            x = x - share * (a @ x - b) / (a @ a) * a
            np.testing.assert_allclose(got[t], x, rtol=1e-12, atol=1e-13)


@pytest.mark.claim("sps")
def test_the_distance_never_grows() -> None:
    """Under interpolation no step of convex f_i leads away from a common solution, for c from 1/2 on; below, one does."""
    p = least_squares(1)
    grows = {}
    for c in (0.5, 0.75, 2.0, 0.24):
        distance = np.linalg.norm(points(p, c=c, batch_size=1, steps=40) - p.truth, axis=1)
        grows[c] = bool(np.any(np.diff(distance) > 1e-12))
    assert grows == {0.5: False, 0.75: False, 2.0: False, 0.24: True}


@pytest.mark.identity("sps")
def test_bounds() -> None:
    """With a bound below every rate it is SGD at that rate; smoothed from γ_0 so small, at γ_0 ν^t: the same points."""
    p = least_squares(2, 0.1)
    sgd: list[np.ndarray] = []
    refopt.minimize(
        p, "sgd", lr=1e-4, steps=9, batch_size=3, sampling="cyclic", callback=lambda x: sgd.append(flat(x))
    )
    np.testing.assert_array_equal(points(p, bound=1e-4, batch_size=3, steps=9), sgd)
    growing: list[np.ndarray] = []
    refopt.minimize(p, "sgd", lr=lambda t: 1e-6 * 1.5**t, steps=9, batch_size=3, sampling="cyclic",
        callback=lambda x: growing.append(flat(x)))  # fmt: skip
    got = points(p, growth=1.5, first=1e-6, batch_size=3, steps=9)
    np.testing.assert_allclose(got, growing, rtol=1e-14)


@pytest.mark.identity("sps")
def test_a_gap_of_zero_stays_and_keeps_the_rate() -> None:
    """Below f_i* and at a zero gradient the point stays, and the smoothing goes on from the last rate."""
    p = refopt.from_functions(lambda x: 2.0 * float(x @ x), lambda x: 4.0 * x, x0=np.array([1.0, -2.0]))
    r = refopt.minimize(p, "sps", f_star=50.0, growth=1.1, first=0.3, steps=3)
    assert r.state["rate"] == 0.3
    np.testing.assert_array_equal(r.x, [1.0, -2.0])
    r = refopt.minimize(p, "sps", np.zeros(2), f_star=-1.0, growth=1.1, steps=3)
    np.testing.assert_array_equal(r.x, [0.0, 0.0])


@pytest.mark.identity("sps")
def test_the_least_value() -> None:
    """f + 3 with f* = 3 is f with f* = 0: the same points, to 1e-13; and a value that is not a number ends the run."""
    p = least_squares(3, 0.1)
    raised = refopt.from_functions(
        lambda x, batch=None: p.value(x, batch) + 3.0, p.grad, x0=p.x0, n_examples=12
    )
    common = {"batch_size": 3, "steps": 20, "growth": 1.3, "first": 0.05}
    np.testing.assert_allclose(
        points(raised, f_star=3.0, **common), points(p, **common), rtol=1e-12, atol=1e-13
    )
    broken = refopt.from_functions(lambda x: float("nan"), lambda x: x, x0=np.ones(2))
    assert refopt.minimize(broken, "sps", steps=2).status == "diverged"


@pytest.mark.identity("sps")
def test_tiny_and_huge_gradients() -> None:
    """Gradients of 1e-170 and 1e170, whose squares leave the range: the step to the optimum is found."""
    for size in (1e-170, 1e170):
        p = refopt.from_functions(
            lambda x, s=size: s * abs(float(x[0])), lambda x, s=size: s * np.sign(x), x0=np.ones(1)
        )
        np.testing.assert_allclose(refopt.minimize(p, "sps", c=1.0, steps=1).x, [0.0], atol=1e-15)
