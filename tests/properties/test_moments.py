"""Every registered estimator: mean and mean square over ten thousand draws against what it states."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.registry import Entry

from tests.methods.values import Linear

# Of gradients as a whole. Those of examples and layers have moments that depend on these, and tests of their own.
ESTIMATORS = [m for m in refopt.methods("estimator") if set(m.needs) <= {"value", "grad", "directional"}]
DRAWS = 10_000
G = np.array([1.5, -0.5, 1.0])


@pytest.mark.parametrize("method", ESTIMATORS, ids=[m.name for m in ESTIMATORS])
def test_moments(method: Entry) -> None:
    """E[ĝ] and E‖ĝ‖² at a linear function, within five standard errors of their own draws."""
    o = refopt.optimizer(method.name)
    oracle, x = Oracle(Linear(0.2, G), seed=5), np.zeros(3)
    oracle.begin(1)
    n = DRAWS if method.name != "coordinate-gradient" else 2
    drawn = np.array([o.estimate(oracle, x) for _ in range(n)])
    mean, square = o.moments(0.2, G)
    squares = np.sum(drawn**2, axis=1)
    assert "grad" in o.own_needs or not oracle.counts.calls.get("grad")
    # A tenth of a billionth: what rounding leaves where nothing is random.
    assert np.all(np.abs(drawn.mean(0) - mean) <= 5 * drawn.std(0) / n**0.5 + 1e-10)
    assert abs(squares.mean() - square) <= 5 * squares.std() / n**0.5 + 1e-10


@pytest.mark.parametrize("method", ESTIMATORS, ids=[m.name for m in ESTIMATORS])
def test_any_base(method: Entry) -> None:
    """Around SGD a step is the rate times the estimate; around SVRG every gradient is an estimate."""
    p, x = refopt.problem("quadratic", n=3), np.ones(3)
    o = refopt.optimizer(method.name, lr=0.25)
    first, second = Oracle(p, seed=1), Oracle(p, seed=1)
    first.begin(1), second.begin(1)
    got, _ = o.step(x, o.init(x), first)
    np.testing.assert_allclose(x - got, 0.25 * o.estimate(second, x), rtol=1e-12)


@pytest.mark.parametrize("method", [m for m in ESTIMATORS if "grad" not in m.needs], ids=lambda m: m.name)
def test_no_gradient_is_asked_for(method: Entry) -> None:
    """Nor by a base that would ask at two points, or by a wrapper around."""
    p = refopt.problem("quadratic", n=3)
    assert "grad" not in refopt.minimize(p, method.name, base="svrg", steps=5).calls
    assert "grad" not in refopt.minimize(p, "sam", base=refopt.optimizer(method.name), steps=5).calls
