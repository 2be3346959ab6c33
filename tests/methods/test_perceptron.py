"""Large steps of logistic regression, the batch perceptron they tend to, and the delta rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

# 199 copies of one example and one that only a small part of the first separates: margin 0.1, R^2 = 1.01.
ROWS = np.vstack([np.tile([1.0, 0.1], (199, 1)), [[1.0, -0.1]]])
LABELS = np.array([1] * 199 + [0])
SIGNED = ROWS * np.where(LABELS == 1, 1.0, -1.0)[:, None]


def _separable() -> Any:
    return refopt.problem("logistic", data=(ROWS, LABELS), intercept=False)


def _count(name: str, **k: Any) -> int:
    return int(refopt.minimize(_separable(), name, steps=3000, tol=0.0, record_every=3000, **k).nit)


@pytest.mark.claim("normalized-logistic-gd")
def test_steps_until_separated() -> None:
    """With rates 1, 10, 100, 1e4 it separates 200 unbalanced examples in 300, 2, 2 and 2 steps, within its bound, where
    gradient descent takes 361 at 100.
    """
    gammas = (1.0, 10.0, 100.0, 1e4)
    found = [_count("normalized-logistic-gd", lr=g) for g in gammas]
    assert found == [300, 2, 2, 2]
    for steps, g in zip(found, gammas):
        assert steps <= (1.01 + 4 * 0.2784645 * 200 / g) / 0.01
    w, made = np.zeros(2), 0
    while np.min(SIGNED @ w) <= 0:
        w, made = w + 100.0 * np.mean(SIGNED / (1 + np.exp(SIGNED @ w))[:, None], axis=0), made + 1
    assert made == 361


@pytest.mark.claim("batch-perceptron")
def test_perceptron_bounds() -> None:
    """From zero it separates within n R^2 / mu^2 = 20200 steps, and normalised within R^2 / mu^2 = 101."""
    assert 2 <= _count("batch-perceptron") <= 20_200
    assert 2 <= _count("batch-perceptron", normalized=True) <= 101
    assert refopt.minimize(_separable(), "batch-perceptron", steps=200, tol=0.0).status == "converged"


def _walk(name: str, steps: int, problem: Any = None, x0: Any = None, **k: Any) -> np.ndarray:
    p = problem or _separable()
    o, oracle, x = refopt.optimizer(name, **k), Oracle(p), p.start() if x0 is None else x0
    s, out = o.init(x), [x]
    for t in range(1, steps + 1):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        out.append(x)
    return np.stack(out)


@pytest.mark.identity("batch-perceptron", "normalized-logistic-gd")
def test_limit_of_logistic_regression() -> None:
    """Over its rate, gradient descent with the rate 1e6 is the batch perceptron, and the normalised methods likewise, to
    1e-14 over 12 steps.
    """
    gd = _walk("sgd", 12, lr=1e6) / 1e6
    np.testing.assert_allclose(_walk("batch-perceptron", 12), gd, rtol=0.0, atol=1e-14)
    normal = _walk("normalized-logistic-gd", 2, lr=1e6) / 1e6
    np.testing.assert_allclose(_walk("batch-perceptron", 2, normalized=True), normal, rtol=0.0, atol=1e-14)


@pytest.mark.identity("normalized-logistic-gd", "batch-perceptron")
def test_written_out() -> None:
    """Both updates transcribed, to 1e-12 over 20 steps from a start that is not zero, on examples nothing separates."""
    rng = np.random.default_rng(0)
    rows, signs = rng.standard_normal((30, 3)), np.where(np.arange(30) % 2, 1.0, -1.0)
    p = refopt.problem("logistic", data=(rows, signs), intercept=False)
    z, w0 = rows * signs[:, None], np.array([1.0, -2.0, 0.5])
    for name, k in (
        ("normalized-logistic-gd", {"lr": 0.7}),
        ("batch-perceptron", {}),
        ("batch-perceptron", {"normalized": True}),
    ):
        w, want = w0, [w0]
        for _ in range(20):
            m = z @ w
            if name == "batch-perceptron":
                s = np.where(m < 0, 1.0, 0.0)
                w = w + (z.T @ s) / (np.sum(s) if k else 30)
            else:
                s = 1 / (1 + np.exp(m))
                w = w + 0.7 * (z.T @ s) / np.sum(s)
            want.append(w)
        np.testing.assert_allclose(_walk(name, 20, p, w0, **k), np.stack(want), rtol=1e-12, atol=1e-13)


@pytest.mark.identity("normalized-logistic-gd", "batch-perceptron")
def test_it_stays_once_separated() -> None:
    """After the last mistake nothing moves, also where every p has rounded to zero."""
    for name in ("normalized-logistic-gd", "batch-perceptron"):
        path = _walk(name, 3, x0=np.array([0.0, 1e6]))
        np.testing.assert_array_equal(path, path[0][None].repeat(4, 0))
    scheduled = _walk("normalized-logistic-gd", 1, lr=2.0, schedule=lambda t: 0.5)
    np.testing.assert_array_equal(scheduled, _walk("normalized-logistic-gd", 1, lr=lambda t: 1.0))


def _three_classes() -> Any:
    rng = np.random.default_rng(0)
    return refopt.problem("softmax", data=(rng.standard_normal((9, 2)), np.arange(9) % 3))


def test_another_problem_is_refused() -> None:
    """Not one net an example, or another loss: said before anything moves."""
    with pytest.raises(refopt.errors.ShapeError, match="one net an example"):
        refopt.minimize(_three_classes(), "batch-perceptron", steps=1)
    with pytest.raises(refopt.errors.ArgumentError, match="logistic loss"):
        refopt.minimize(refopt.problem("quadratic"), "delta-rule", steps=1)
    with pytest.raises(refopt.errors.ArgumentError, match="low"):
        refopt.optimizer("delta-rule", output="sigmoid", low=-1.0)


CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


@pytest.mark.claim("delta-rule")
@pytest.mark.parametrize("low", [0.0, -1.0])
def test_logical_functions(low: float) -> None:
    """From zero the threshold neuron learns AND and OR in at most 30 passes and then stands, whatever the rate; on XOR it
    never stands.
    """
    for truth, learnt in (([0, 0, 0, 1], True), ([0, 1, 1, 1], True), ([0, 1, 1, 0], False)):
        p = refopt.problem("logistic", data=(CORNERS, np.array(truth)))
        path = _walk("delta-rule", 120, p, lr=0.25, low=low)
        still = bool(np.all(path[-13:] == path[-1]))
        assert still == learnt
        fires = (np.hstack([CORNERS, np.ones((4, 1))]) @ path[-1] >= 0).astype(int).tolist()
        assert (fires == truth) == learnt
        np.testing.assert_array_equal(_walk("delta-rule", 120, p, lr=4.0, low=low), 16 * path)


@pytest.mark.identity("delta-rule")
@pytest.mark.parametrize("output", ["threshold", "identity", "sigmoid"])
@pytest.mark.parametrize("low", [0.0, -1.0])
def test_delta_rule_written_out(output: str, low: float) -> None:
    """Every f, transcribed with Python floats an example at a time, in order, to 1e-12 over 60 steps."""
    if output == "sigmoid" and low:
        pytest.skip("the sigmoid's range is [0, 1]")
    rng = np.random.default_rng(1)
    rows, truth = rng.standard_normal((7, 3)), np.array([0, 1, 1, 0, 1, 0, 0])
    w = [0.3, -0.1, 0.0]
    p = refopt.problem("logistic", data=(rows, truth), intercept=False)
    got, want = (
        _walk("delta-rule", 60, p, np.array(w), lr=0.2, schedule=lambda t: 1 / t, output=output, low=low),
        [list(w)],
    )
    for t in range(60):
        a, d = rows[t % 7], 1.0 if truth[t % 7] else low
        z = sum(float(u) * v for u, v in zip(a, w))
        y = {"threshold": 1.0 if z >= 0 else low, "identity": z, "sigmoid": 1 / (1 + float(np.exp(-z)))}[
            output
        ]
        slope = y * (1 - y) if output == "sigmoid" else 1.0
        w = [v + 0.2 / (t + 1) * (d - y) * slope * float(u) for u, v in zip(a, w)]
        want.append(w)
    np.testing.assert_allclose(got, np.array(want), rtol=1e-11, atol=1e-13)


@pytest.mark.identity("delta-rule")
def test_widrow_hoff_is_sgd() -> None:
    """With the identity it is SGD on (d - a'w)^2 / 2, in order and on the driver's batches, to 1e-12."""
    rng = np.random.default_rng(2)
    rows, truth = rng.standard_normal((10, 3)), np.array([0, 1] * 5)

    class Squares:
        n_examples = 10

        def value(self, x: Any, batch: Any = None) -> float:
            return 0.0

        def grad(self, x: Any, batch: Any = None) -> Any:
            a, d = (rows, truth) if batch is None else (rows[batch], truth[batch])
            return a.T @ (a @ x - d) / len(a)

    p = refopt.problem("logistic", data=(rows, truth), intercept=False)
    x0 = np.array([1.0, 0.0, -1.0])
    for k in ({"batch_size": 1, "sampling": "cyclic"}, {"batch_size": 4, "seed": 3}):
        want = refopt.minimize(Squares(), "sgd", x0, lr=0.1, steps=30, **k).x
        got = refopt.minimize(p, "delta-rule", x0, lr=0.1, output="identity", steps=30, **k).x
        np.testing.assert_allclose(got, want, rtol=1e-11)
    one = refopt.minimize(p, "delta-rule", x0, lr=0.1, output="identity", steps=30).x
    cyclic = refopt.minimize(
        p, "delta-rule", x0, lr=0.1, output="identity", steps=30, batch_size=1, sampling="cyclic"
    ).x
    np.testing.assert_array_equal(one, cyclic)


@pytest.mark.identity("delta-rule")
def test_at_zero() -> None:
    """At a net of zero the threshold gives 1, or not: the first step from zero says which."""
    p = refopt.problem("logistic", data=(np.array([[1.0], [-1.0]]), np.array([0, 1])), intercept=False)
    assert _walk("delta-rule", 1, p, lr=1.0)[1] == -1.0
    assert _walk("delta-rule", 1, p, lr=1.0, at_zero=False)[1] == 0.0
    # The second example has fired, and at_zero is of zero alone.
    path = _walk("delta-rule", 2, p, x0=np.array([0.5]), lr=1.0, at_zero=False)
    assert path.ravel().tolist() == [0.5, -0.5, -0.5]


@pytest.mark.identity("normalized-logistic-gd", "batch-perceptron")
@pytest.mark.parametrize("name", ["normalized-logistic-gd", "batch-perceptron"])
def test_however_small_the_margin(name: str) -> None:
    """With every example on its side by 1e-6 nothing moves, and steps are counted; the stop is at 0, and the distance else."""
    p = refopt.problem("logistic", data=([[1.0, 0.0], [0.0, -1.0]], [1, 0]), intercept=False)
    o, x = refopt.optimizer(name), np.array([1e-6, 1e-6])
    oracle = refopt.core.oracle.Oracle(p)
    same, s = o.step(x, {"t": 7}, oracle)
    np.testing.assert_array_equal(same, x)
    assert s == {"t": 8}
    assert not np.shares_memory(same, x)
    assert o.stationarity(x, s, oracle) == 0.0
    assert o.stationarity(np.array([1.0, -0.25]), s, oracle) == 0.25
    assert o.stationarity(np.array([1.0, 0.0]), s, oracle) > 0.0


@pytest.mark.identity("normalized-logistic-gd", "batch-perceptron")
@pytest.mark.parametrize("name", ["normalized-logistic-gd", "batch-perceptron"])
def test_the_step_is_that_of_its_number(name: str) -> None:
    """A schedule, and a rate that is a function, are asked for t = 1, 2, ...: a step scaled by 1 / t."""
    p, x = _separable(), np.zeros(_separable().start(0).shape)
    oracle = refopt.core.oracle.Oracle(p)
    plain = refopt.optimizer(name).step(x, {"t": 0}, oracle)[0]
    given: list[dict[str, object]] = [{"schedule": lambda t: 1.0 / t}]
    if name == "normalized-logistic-gd":
        given.append({"lr": lambda t: 1.0 / t})
    for k in given:
        new, s = refopt.optimizer(name, **k).step(x, {"t": 3}, oracle)
        np.testing.assert_allclose(new, plain / 4.0, rtol=1e-14)
        assert s == {"t": 4}


def _unbalanced(n: int) -> Any:
    """n - 1 copies of one example, and one that only a small part of the first separates: R² = 1.01, μ = 0.1."""
    rows = np.vstack([np.tile([1.0, 0.1], (n - 1, 1)), [[1.0, -0.1]]])
    return refopt.problem("logistic", data=(rows, np.array([1] * (n - 1) + [0])), intercept=False)


@pytest.mark.claim("normalized-logistic-gd", "batch-perceptron")
def test_what_the_number_of_examples_costs() -> None:
    """With n = 40, 80, 200 and 2000 examples, one of them of the other kind, the batch perceptron separates in 20, 40, 99
    and 981 steps, and gradient descent with large steps likewise: in proportion to n. Normalised by the weights' sum
    they take 6, 4, 2 and 2, as normalised descent with γ = n does, whose bound is (R² + 4 c)/μ² = 212 whatever n.
    """
    found: dict[str, list[int]] = {"batch": [], "plain": [], "by-weights": [], "large": [], "rate-n": []}
    for n in (40, 80, 200, 2000):
        p = _unbalanced(n)

        def count(name: str, p: Any = p, **k: Any) -> int:
            return int(refopt.minimize(p, name, steps=3000, tol=0.0, record_every=3000, **k).nit)

        found["batch"].append(count("batch-perceptron"))
        found["by-weights"].append(count("batch-perceptron", normalized=True))
        found["large"].append(count("normalized-logistic-gd", lr=1e6))
        found["rate-n"].append(count("normalized-logistic-gd", lr=float(n)))
        path = _walk("sgd", found["batch"][-1], p, lr=1e6)
        margins = path @ np.array([[1.0, 0.1], [-1.0, 0.1]]).T
        found["plain"].append(int(np.argmax(np.all(margins > 0, axis=1))))
    assert found["batch"] == found["plain"] == [20, 40, 99, 981]
    assert found["by-weights"] == found["large"] == found["rate-n"] == [6, 4, 2, 2]
    assert max(found["rate-n"]) <= (1.01 + 4 * 0.2784645) / 0.01


@pytest.mark.claim("delta-rule")
def test_mistakes_and_errors() -> None:
    """On four separable sets of 34 to 38 examples the threshold neuron makes 11, 12, 9 and 13 mistakes from zero, whatever
    the rate, where Novikoff's R²/μ² allows 305 to 355. The linear one's error on the example it has just seen is
    1 - η ‖a‖² of what it was, to 1e-12.
    """
    mistakes = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rows, unit = rng.standard_normal((40, 3)), rng.standard_normal(4)
        whole = np.hstack([rows, np.ones((40, 1))])
        margins = whole @ unit / np.linalg.norm(unit)
        kept = np.abs(margins) > 0.15
        rows, whole, margins = rows[kept], whole[kept], margins[kept]
        p = refopt.problem("logistic", data=(rows, (margins > 0).astype(int)))
        made = set()
        for lr in (0.25, 4.0):
            path = _walk("delta-rule", 20 * len(rows), p, lr=lr)
            np.testing.assert_array_equal(path[-len(rows) :], path[-1][None].repeat(len(rows), 0))
            made.add(int(np.sum(np.any(path[1:] != path[:-1], axis=1))))
        (count,) = made
        assert count <= np.max(np.sum(whole**2, axis=1)) / np.min(np.abs(margins)) ** 2
        mistakes.append(count)
    assert mistakes == [11, 12, 9, 13]
    path = _walk("delta-rule", 30, p, lr=0.3, output="identity")
    for t in range(30):
        a, d = whole[t % len(whole)], float(margins[t % len(whole)] > 0)
        np.testing.assert_allclose(d - path[t + 1] @ a, (1 - 0.3 * a @ a) * (d - path[t] @ a), atol=1e-12)
