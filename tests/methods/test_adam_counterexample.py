"""Adam does not converge on it and AMSGrad does: Reddi, Kale and Kumar (2018), Theorems 1 and 2, section 5.

The rule is the paper's: no bias correction, no epsilon, rate alpha / sqrt(t), projection.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from refopt.core.errors import ArgumentError, ArgumentTypeError, RefoptError
from refopt.core.oracle import Oracle
from refopt.core.sampling import Sampler
from refopt.problems.adam_counterexample import AdamCounterexample


def sequence(problem: AdamCounterexample, steps: int, sampling: str = "cyclic", seed: int = 0) -> np.ndarray:
    """The slopes that an oracle of batch size 1 meets at t = 1, 2, ..."""
    oracle = Oracle(problem, 0, Sampler(problem.n_examples, 1, sampling, seed))
    slopes = []
    for t in range(1, steps + 1):
        oracle.begin(t)
        slopes.append(float(oracle.grad(problem.start())[0]))
    return np.array(slopes)


def run(
    slopes: np.ndarray, alpha: float, beta1: float, beta2: float, amsgrad: bool, x: float = 1.0
) -> np.ndarray:
    """The iterates x_1, x_2, ... of the paper's rule on given slopes."""
    m = v = largest = 0.0
    path = [x]
    for t, g in enumerate(slopes, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        largest = max(largest, v) if amsgrad else v
        x = min(1.0, max(-1.0, x - alpha / math.sqrt(t) * m / math.sqrt(largest)))
        path.append(x)
    return np.array(path)


def tiled(problem: AdamCounterexample, steps: int) -> np.ndarray:
    """The cyclic sequence without an oracle, for long runs."""
    return np.resize(problem.slopes, steps)


def test_cyclic_sampling_is_the_papers_sequence() -> None:
    """t counts from 1, and the spike comes at t mod period = 1."""
    for problem, spike, rest, period in (
        (AdamCounterexample(), 1010.0, -10.0, 101),
        (AdamCounterexample("theorem-1", C=5.0), 5.0, -1.0, 3),
        (AdamCounterexample("theorem-2", C=6.0), 6.0, -1.0, 6),
    ):
        met = sequence(problem, 210)
        t = np.arange(1, 211)
        np.testing.assert_array_equal(met, np.where(t % period == 1, spike, rest))
        np.testing.assert_array_equal(met, tiled(problem, 210))


@pytest.mark.claim("adam-counterexample")
@pytest.mark.parametrize("alpha", [0.1, 0.9])
@pytest.mark.parametrize("c", [3.0, 10.0])
def test_theorem_1(c: float, alpha: float) -> None:
    """Theorem 1: Adam is at 1 after every cycle, regret > (2C - 4) / 3 a step; AMSGrad ends < -0.99."""
    problem = AdamCounterexample("theorem-1", C=c)
    beta2 = 1 / (1 + c * c)
    assert alpha < math.sqrt(1 - beta2)
    slopes = sequence(problem, 3000)
    path = run(slopes, alpha, 0.0, beta2, amsgrad=False)
    np.testing.assert_array_equal(path[::3], 1.0)
    regret = np.sum(slopes * (path[:-1] + 1)) / 3000
    assert regret >= (2 * c - 4) / 3
    other = run(tiled(problem, 30000), alpha, 0.0, beta2, amsgrad=True)
    assert other[-1] < -0.99
    assert np.sum(tiled(problem, 30000) * (other[:-1] + 1)) / 30000 < 0.2 * regret


def test_theorem_2() -> None:
    """204 is the smallest even C for beta = (0.5, 0.9); Adam ends every cycle at 1."""
    problem = AdamCounterexample("theorem-2")
    assert problem.n_examples == 204
    path = run(tiled(problem, 204 * 50), 1.0, 0.5, 0.9, amsgrad=False)
    np.testing.assert_array_equal(path[204::204], 1.0)
    assert run(tiled(problem, 204 * 50), 1.0, 0.5, 0.9, amsgrad=True)[-1] < 0.5


@pytest.mark.claim("adam-counterexample")
def test_online_experiment() -> None:
    """The online experiment with 3 * 10^4 steps: Adam stays above 0.9, AMSGrad moves towards -1."""
    problem = AdamCounterexample(start_at=0.0)
    slopes = tiled(problem, 30000)
    adam = run(slopes, 0.5, 0.9, 0.99, amsgrad=False, x=0.0)
    amsgrad = run(slopes, 0.5, 0.9, 0.99, amsgrad=True, x=0.0)
    assert adam[-1] > 0.9
    assert amsgrad[-1] < amsgrad[3000] < 0.0


def test_stochastic_experiment() -> None:
    """The spike comes with probability 0.01: within 5 deviations; the drift is theirs, 0.2."""
    problem = AdamCounterexample("stochastic-experiment")
    slopes = sequence(problem, 20000, "replacement", seed=1)
    spikes = np.sum(slopes == 1010.0)
    assert set(slopes) == {1010.0, -10.0}
    assert abs(spikes - 200) < 5 * math.sqrt(200)
    assert float(problem.grad(problem.start())[0]) == pytest.approx(0.2, rel=1e-13)
    path = run(slopes, 0.5, 0.9, 0.99, amsgrad=False)
    assert path[-5000:].mean() > 0.9


def test_known_solution() -> None:
    for setting in ("experiment", "stochastic-experiment", "theorem-1", "theorem-2"):
        p = AdamCounterexample(setting)
        assert float(p.value(p.solution)) == p.optimum < 0
        assert float(p.project(np.array([-7.0]))[0]) == -1.0
        assert float(p.project(np.array([0.25]))[0]) == 0.25


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"setting": "theorem-3"}, ArgumentError),
        ({"setting": "experiment", "C": 3.0}, ArgumentError),
        ({"setting": "theorem-1", "C": 2.0}, ArgumentError),
        ({"setting": "theorem-2", "C": 5.0}, ArgumentError),
        ({"setting": "theorem-1", "C": "large"}, ArgumentTypeError),
        ({"start_at": 1.5}, ArgumentError),
    ],
)
def test_bad_keywords(keywords: dict[str, object], error: type[RefoptError]) -> None:
    with pytest.raises(error, match=next(reversed(keywords))):
        AdamCounterexample(**keywords)  # type: ignore[arg-type]
