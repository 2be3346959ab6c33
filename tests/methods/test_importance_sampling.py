"""Importance sampling: its moments summed over all draws, that no law is better, and a run with the same draws."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator


def small() -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(3)
    a = rng.standard_normal((7, 3)) * np.array([5.0, 1.0, 1.0, 0.2, 2.0, 0.1, 1.0])[:, None]
    return refopt.problem("logistic", data=(a, np.arange(7) % 2), l2=0.05), np.array([0.5, -1.0, 0.3, 0.2])


class Chosen:
    """In a generator's place: the draws of `choice`, and the law that they were asked for with."""

    def __init__(self, draws: Any) -> None:
        self.draws, self.p = draws, None

    def choice(self, n: int, size: int, p: np.ndarray) -> np.ndarray:
        self.p = p
        return np.asarray(self.draws)


def drawn(o: Any, p: Any, x: Any, draws: tuple[int, ...]) -> tuple[Any, np.ndarray]:
    oracle = Oracle(p)
    oracle._rng = Chosen(draws)  # type: ignore[assignment]
    return o.estimate(oracle, x), oracle._rng.p  # type: ignore[union-attr]


@pytest.mark.claim("importance-sampling")
@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("share", [1.0, 0.6, 0.0])
def test_moments_exactly(m: int, share: float) -> None:
    """Summed over all draws the mean is the gradient (1e-13) and, for τ = 1, the variance ((mean ‖g_i‖)² - ‖ḡ‖²)/m, for τ = 0 that of
    SGD, (mean ‖g_i‖² - ‖ḡ‖²)/m, to 1e-12; unweighted the mean is Σ p_i g_i.
    """
    p, x = small()
    each = p.example_grads(x)
    size, mean = np.linalg.norm(each, axis=1), each.mean(0)
    law = share * size / size.sum() + (1 - share) / 7
    for weighted in (True, False):
        o = refopt.optimizer("importance-sampling", samples=m, share=share, weighted=weighted)
        first, second = np.zeros(4), 0.0
        for draws in itertools.product(range(7), repeat=m):
            got, asked = drawn(o, p, x, draws)
            np.testing.assert_allclose(asked, law, rtol=1e-12)
            chance = np.prod(law[list(draws)])
            first, second = first + chance * got, second + chance * float(got @ got)
        if not weighted:
            np.testing.assert_allclose(first, law @ each, atol=1e-13)
            assert share == 0.0 or np.linalg.norm(first - mean) > 0.3 * np.linalg.norm(mean)
            continue
        np.testing.assert_allclose(first, mean, atol=1e-13)
        if share == 1.0:
            assert second - mean @ mean == pytest.approx((size.mean() ** 2 - mean @ mean) / m, rel=1e-12)
        if share == 0.0:
            assert second - mean @ mean == pytest.approx(((size**2).mean() - mean @ mean) / m, rel=1e-12)


@pytest.mark.claim("importance-sampling")
def test_no_law_is_better() -> None:
    """The variance Σ ‖g_i‖²/(n² p_i) of 300 other laws is larger; of the uniform one by more than half."""
    p, x = small()
    size = np.linalg.norm(p.example_grads(x), axis=1)

    def spread(law: np.ndarray) -> float:
        return float(np.sum(size**2 / (49 * law)))

    best = refopt.optimizer("importance-sampling").law(p.example_grads(x))
    rng = np.random.default_rng(0)
    for _ in range(300):
        other = best * np.exp(10 ** -rng.uniform(0, 3) * rng.standard_normal(7))
        assert spread(best) <= spread(other / other.sum())
    assert spread(np.full(7, 1 / 7)) > 1.5 * spread(best)


@pytest.mark.identity("importance-sampling")
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_written_out(share: float) -> None:
    """Six steps of Adam on estimates of batches of five, over several leaves, equal the sums over the same draws example by example,
    to 1e-11; estimates far beyond the range of squares have the same law; zero gradients give equal chances.
    """
    rng = np.random.default_rng(5)
    p = refopt.problem("mlp", widths=(3,), data=(rng.standard_normal((12, 4)), np.arange(12) % 3))
    base = refopt.optimizer("adam", lr=0.1)
    o = refopt.optimizer("importance-sampling", base=base, samples=4, share=share)
    x = y = p.start(1)
    s, b = o.init(x), base.init(y)
    for t in range(1, 7):
        rows = rng.choice(12, 5, replace=False)
        oracle = Oracle(p, 9)
        oracle.begin(t)
        x, s = o.step(x, s, oracle.on(rows))
        grads = [p.grad(y, np.array([i])) for i in rows]
        size = np.array([np.sqrt(sum(np.sum(v**2) for v in g.values())) for g in grads])
        law = share * size / size.sum() + (1 - share) / 5
        chosen = generator(9, "method", t).choice(5, 4, p=law / law.sum())
        g = {k: sum(grads[i][k] / (5 * law[i]) for i in chosen) / 4 for k in y}
        y, b = base.update(y, g, b)
        for k in y:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-11, atol=1e-12)
    each = {"a": rng.standard_normal((4, 2)), "b": rng.standard_normal((4, 3))}
    for unit in (1e-200, 1e200, 1e308 / 4):
        np.testing.assert_allclose(o.law({k: unit * v for k, v in each.items()}), o.law(each), rtol=1e-12)
    np.testing.assert_allclose(o.law({"a": np.zeros((4, 2))}), 0.25, rtol=1e-15)
