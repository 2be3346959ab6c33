"""SMB beside its authors' code and the linear system that its model step solves."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.parity.case import Arrays, Case
from tests.streams import Leaves, flat

PEER = "sibirbil/SMB@17fb8ba4f440a5e36e66d701385ecdef6cb05723"
ROWS = np.random.default_rng(5).standard_normal((12, 3))
SIGNS = np.where(np.arange(12) % 2 == 0, 1.0, -1.0)
STEPS = 20


def start(seed: int) -> Leaves:
    rng = np.random.default_rng(seed)
    return {"w": 3 * rng.standard_normal(3), "b": rng.standard_normal(1)}


class Regression:
    """Logistic regression in two tensors."""

    n_examples = 12

    def value(self, x: Leaves, batch: Any = None) -> float:
        return float(np.mean(np.logaddexp(0.0, -SIGNS * (ROWS @ x["w"] + x["b"]))))

    def grad(self, x: Leaves, batch: Any = None) -> Leaves:
        p = -SIGNS / (1 + np.exp(SIGNS * (ROWS @ x["w"] + x["b"]))) / 12
        return {"w": ROWS.T @ p, "b": np.array([np.sum(p)])}


def points(seed: int, steps: int = STEPS, **k: Any) -> list[Leaves]:
    o, oracle, x = refopt.optimizer("smb", **k), Oracle(Regression()), start(seed)
    s, out = o.init(x), [x]
    for t in range(1, steps + 1):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        out.append(x)
    return out


def ours(seed: int) -> Arrays:
    return {f"{lr}": np.stack([flat(x) for x in points(seed, lr=lr)]) for lr in (8.0, 20.0)}


CASES = [
    Case("smb", "official", PEER, ours, None,
        says="20 steps of the authors' code on logistic regression in two tensors, at rates of which trials"
        " are refused often and always, to 1e-12"),
]  # fmt: skip


@pytest.mark.identity("smb")
def test_the_model_step_solves_its_system() -> None:
    """Equals -|s|^2 (2 sigma I + s y' + y s')^-1 g, solved as a dense system, to 1e-12, for y of all sizes."""
    rng = np.random.default_rng(0)
    for scale in (0.0, 1e-6, 1.0, 1e3):
        for alpha, eta in ((0.3, 0.99), (20.0, 0.5)):
            g, y = rng.standard_normal(5), scale * rng.standard_normal(5)
            s = -alpha * g
            norm = np.linalg.norm
            sigma = 0.5 * (norm(s) * (norm(y) + norm(g) / eta) - y @ s)
            matrix = 2 * sigma * np.eye(5) + np.outer(s, y) + np.outer(y, s)
            want = -(s @ s) * np.linalg.solve(matrix, g)
            got = refopt.optimizer("smb", eta=eta).model_step(g, y, alpha)
            np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13 * norm(want))
            assert np.linalg.eigvalsh(matrix)[0] == pytest.approx(norm(s) * norm(g) / eta, rel=1e-11)


@pytest.mark.claim("smb")
def test_steps_are_bounded_and_trials_kept() -> None:
    """Every tensor's step is at most eta |s|, and eta s where y = 0; a kept trial is SGD's step, bit for
    bit.
    """
    p, rates, refused = Regression(), 8.0, 0
    path = points(1, lr=rates, eta=0.7)
    for x, new in itertools.pairwise(path):
        g = p.grad(x)
        trial = {k: x[k] - rates * g[k] for k in x}
        size = sum(float(np.sum(v * v)) for v in g.values())
        if p.value(trial) <= p.value(x) - 0.1 * rates * size:
            assert all(np.array_equal(new[k], trial[k]) for k in x)
            continue
        refused += 1
        for k in x:
            assert np.linalg.norm(new[k] - x[k]) <= 0.7 * rates * np.linalg.norm(g[k]) * (1 + 1e-12)
    assert 0 < refused < STEPS
    g = np.array([1.0, -2.0])
    np.testing.assert_allclose(
        refopt.optimizer("smb").model_step(g, 0.0 * g, 0.5), -0.99 * 0.5 * g, rtol=1e-15
    )


@pytest.mark.identity("smb")
def test_a_tensor_without_gradient_stays() -> None:
    """No tensor divides zero by zero; huge gradients overflow nothing; at a stationary point the run stands."""
    o = refopt.optimizer("smb")
    zero, y = np.zeros(3), np.ones(3)
    np.testing.assert_array_equal(o.model_step(zero, y, 2.0), 0.0)
    assert np.all(np.isfinite(o.model_step(1e200 * y, 1e200 * y, 1.0)))
    flat_problem = refopt.from_functions(lambda x: 0.0, lambda x: 0.0 * x, x0=np.ones(2))
    np.testing.assert_array_equal(refopt.minimize(flat_problem, "smb", steps=3).x, np.ones(2))
    # The trial's rate follows the schedule: t = 1, 2, ....
    scheduled = points(0, lr=1.0, schedule=lambda t: 8.0 if t <= 10 else 20.0)
    np.testing.assert_array_equal(flat(scheduled[10]), flat(points(0, lr=8.0)[10]))
    assert not np.array_equal(flat(scheduled[11]), flat(points(0, lr=8.0)[11]))


@pytest.mark.claim("smb")
def test_a_rate_that_is_too_large() -> None:
    """Along a curvature h the model's step has the rate α η/(1 + 2 η h α) (1e-12), below 1/(2 h) however large α, so that
    every refused trial is a step of descent. On logistic regression in two tensors with α = 8 and 20 no step of 100
    raises the loss, and both end at the least loss, 0.590905, where SGD ends at 0.71 and 1.48.
    """
    for h, alpha, eta in ((2.0, 3.0, 0.99), (0.5, 1e4, 0.7)):
        g = np.array([1.0, -2.0, 0.5])
        got = refopt.optimizer("smb", eta=eta).model_step(g, -alpha * h * g, alpha)
        np.testing.assert_allclose(got, -alpha * eta / (1 + 2 * eta * h * alpha) * g, rtol=1e-12)
    p = refopt.from_functions(lambda x: 2.0 * float(x @ x), lambda x: 4.0 * x)
    for alpha, length in itertools.product((1.0, 2.0, 3.0), repeat=2):
        o, x = refopt.optimizer("smb", lr=alpha), np.array([length / 4.0])
        rate = alpha * 0.99 / (1 + 8 * 0.99 * alpha)
        np.testing.assert_allclose(o.step(x, o.init(x), Oracle(p))[0], x - rate * 4.0 * x, rtol=1e-12)
    ends = []
    for alpha in (8.0, 20.0):
        values = [Regression().value(x) for x in points(1, lr=alpha, steps=100)]
        assert np.max(np.diff(values)) < 1e-14
        ends.append(values[-1])
        ends.append(refopt.minimize(Regression(), "sgd", start(1), lr=alpha, steps=100).fun)
    np.testing.assert_allclose(ends, [0.59090473, 0.7145, 0.59090473, 1.478], rtol=1e-4)
