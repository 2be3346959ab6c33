"""Adaptive batches: the tests written out, their limits, and growth with the noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.counts import COST
from refopt.core.oracle import Oracle
from refopt.core.rng import generator
from refopt.core.sampling import Sampler

NAMES = ("adadagrad", "adadagrad-norm")


class Noisy:
    """f = h x^2 / 2 in every coordinate, whose n examples add noise of mean zero."""

    def __init__(self, noise: float, n: int = 200, h: float = 3.0) -> None:
        e = np.random.default_rng(0).standard_normal((n, 4))
        e = e - e.mean(axis=0)
        self.noise, self.h, self.n_examples = noise * e, h, n

    def value(self, x: np.ndarray, batch: Any = None) -> float:
        return 0.5 * self.h * float(x @ x)

    def example_grads(self, x: np.ndarray, batch: Any = None) -> np.ndarray:
        e = self.noise if batch is None else self.noise[batch]
        return self.h * x + e

    def grad(self, x: np.ndarray, batch: Any = None) -> np.ndarray:
        return self.example_grads(x, batch).mean(axis=0)


X0 = np.array([1.0, -2.0, 0.5, 3.0])


def _run(name: str, p: Any, steps: int, x0: Any = X0, seed: int = 5, **k: Any) -> list[tuple[Any, int]]:
    """The points and batch sizes after each step."""
    o, oracle, x = refopt.optimizer(name, **k), Oracle(p, seed), x0
    s, out = o.init(x), [(x, o.batch)]
    for t in range(1, steps + 1):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        out.append((x, s["batch"]))
    return out


@pytest.mark.identity("adadagrad", "adadagrad-norm")
@pytest.mark.parametrize("test", ["norm", "coordinate", "inner-product", "augmented"])
@pytest.mark.parametrize("name", NAMES)
def test_written_out(name: str, test: str) -> None:
    """Step and tests transcribed example by example, with the same draws: 15 steps, points to 1e-12 and sizes exactly."""
    p, x0 = Noisy(2.0), 0.2 * X0
    k: dict[str, Any] = {"lr": 0.3, "batch": 8, "largest": 150, "test": test, "eps": 0.01}
    k |= {"tolerance": 0.4, "orthogonal": 0.3}
    got = _run(name, p, 15, x0, schedule=lambda t: 1 / t, **k)
    w, b, total = x0, 8, np.zeros(4) if name == "adadagrad" else 0.01
    want = [(w, b)]
    for t in range(1, 16):
        g = p.example_grads(w, generator(5, "method", t).choice(200, size=b, replace=False))
        mean = g.mean(axis=0)
        square = float(mean @ mean)
        products = np.array([float(v @ mean) for v in g])
        variance = sum(float(np.var(g[:, j], ddof=1)) for j in range(4)) / (0.16 * square)
        inner = float(np.var(products, ddof=1)) / (0.16 * square**2)
        rest = g - np.outer(products / square, mean)
        orthogonal = sum(float(np.var(rest[:, j], ddof=1)) for j in range(4)) / (0.09 * square)
        worst = max(float(np.var(g[:, j], ddof=1)) / (0.16 * float(mean[j]) ** 2) for j in range(4))
        b_test = {
            "norm": variance,
            "coordinate": worst,
            "inner-product": inner,
            "augmented": max(inner, orthogonal),
        }[test]
        total = total + (mean * mean if name == "adadagrad" else square)
        w = w - 0.3 / t * mean / (np.sqrt(total) + 0.01)
        b = min(math.ceil(max(b, b_test)), 150)
        want.append((w, b))
    assert [v for _, v in got] == [v for _, v in want]
    assert got[-1][1] > 8
    np.testing.assert_allclose(
        np.stack([x for x, _ in got]), np.stack([x for x, _ in want]), rtol=1e-12, atol=1e-14
    )


@pytest.mark.identity("adadagrad", "adadagrad-norm")
@pytest.mark.parametrize("name", NAMES)
def test_sizes_written_out(name: str) -> None:
    """The four tests' sizes on gradients in two leaves, from NumPy's variances, to 1e-12, whichever part is larger."""
    rng = np.random.default_rng(3)
    each = {"a": rng.standard_normal((7, 2, 3)) + 2.0, "b": 0.5 * rng.standard_normal((7, 3)) - 1.0}
    g = np.hstack([v.reshape(7, -1) for v in each.values()])
    mean = g.mean(axis=0)
    square, products = float(mean @ mean), g @ mean
    rest = g - np.outer(products / square, mean)
    eta = 0.3
    want = {
        "norm": np.sum(np.var(g, axis=0, ddof=1)) / (eta**2 * square),
        "coordinate": np.max(np.var(g, axis=0, ddof=1) / (eta * mean) ** 2),
        "inner-product": np.var(products, ddof=1) / (eta * square) ** 2,
    }
    for test, size in want.items():
        o = refopt.optimizer(name, test=test, tolerance=eta)
        got = o.wanted(each, {k: v.mean(axis=0) for k, v in each.items()})
        assert got == pytest.approx(size, rel=1e-12)
    for eta, nu in ((0.01, 0.7), (5.0, 0.7)):
        parts = (
            np.var(products, ddof=1) / (eta * square) ** 2,
            np.sum(np.var(rest, axis=0, ddof=1)) / (nu**2 * square),
        )
        o = refopt.optimizer(name, test="augmented", tolerance=eta, orthogonal=nu)
        got = o.wanted(each, {k: v.mean(axis=0) for k, v in each.items()})
        assert got == pytest.approx(max(parts), rel=1e-12)


@pytest.mark.identity("adadagrad", "adadagrad-norm")
def test_all_examples() -> None:
    """A batch of all examples is AdaGrad, and AdaGrad-Norm, on the whole sum, to 1e-12 over 20 steps."""
    p = refopt.problem("mlp", data=_data(), widths=(3,))
    x0 = p.start(1)
    for name, base, k in (
        ("adadagrad", "adagrad", {"lr": 0.1, "eps": 1e-3}),
        ("adadagrad-norm", "adagrad-norm", {"lr": 0.5, "initial": 0.2, "eps": 1e-3}),
    ):
        more = {"dialect": "torch"} if base == "adagrad" else {}
        want = refopt.minimize(p, base, x0, steps=20, **k, **more).x
        got = refopt.minimize(p, name, x0, steps=20, batch=p.n_examples, **k).x
        for leaf in want:
            np.testing.assert_allclose(got[leaf], want[leaf], rtol=1e-11, atol=1e-13)


def _data() -> Any:
    rng = np.random.default_rng(0)
    return rng.standard_normal((24, 3)), np.arange(24) % 3


@pytest.mark.claim("adadagrad", "adadagrad-norm")
@pytest.mark.parametrize("name", NAMES)
def test_growth_with_the_noise(name: str) -> None:
    """Without noise b stays. With noise of total variance V the norm test asks for V / (eta^2 |grad f|^2), to 1e-12 on all
    examples; b then grows from 40 to all 1000, and the gradient falls below a tenth of what 40 examples leave.
    """
    k: dict[str, Any] = {"lr": 2.0, "batch": 40, "tolerance": 0.5}
    assert {b for _, b in _run(name, Noisy(0.0), 30, **k)} == {40}
    p = Noisy(3.0, n=1000)
    o, v = refopt.optimizer(name, **k), float(np.sum(np.var(p.noise, axis=0, ddof=1)))
    for x in (X0, X0 / 2):
        want = v / (0.25 * float(np.sum((p.h * x) ** 2)))
        assert o.wanted(p.example_grads(x), p.grad(x)) == pytest.approx(want, rel=1e-12)
    path, fixed = _run(name, p, 60, **k), _run(name, p, 60, largest=40, **k)
    sizes = [b for _, b in path]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (40, 1000)
    assert {b for _, b in fixed} == {40}
    ends = [np.mean([np.linalg.norm(p.grad(x)) for x, _ in r[-10:]]) for r in (path, fixed)]
    assert ends[0] < 0.1 * ends[1]


@pytest.mark.claim("adadagrad", "adadagrad-norm")
@pytest.mark.parametrize(("name", "fixed"), [("adadagrad", 1.27), ("adadagrad-norm", 1.07)])
def test_the_mean_square_falls_with_the_steps(name: str, fixed: float) -> None:
    """The squares of the true gradient over K steps sum to a number that stays: from 50 to 400 steps it grows by less than
    1e-5 of itself, so that their mean is O(1/K), where batches of 40 let AdaGrad's sum grow by 27 % and AdaGrad-Norm's
    by 7 %. From no sums, and without ε, 2^k f has the same points and sizes of batches, bit for bit.
    """
    p, sums = Noisy(3.0, n=4000), []
    k: dict[str, Any] = {"lr": 1.0, "batch": 40, "tolerance": 0.5}
    for most in (None, 40):
        path = _run(name, p, 400, largest=most, **k)
        sums.append(np.cumsum([float(np.sum((p.h * x) ** 2)) for x, _ in path]))
    assert sums[0][400] < (1 + 1e-5) * sums[0][50]
    assert sums[1][400] > fixed * sums[1][50]
    free = {"eps": 0.0, **({"initial": 0.0} if name.endswith("norm") else {})}
    for test in ("norm", "coordinate", "inner-product", "augmented"):
        runs = []
        for factor in (1.0, 2.0**12):
            q = Noisy(2.0 * factor, h=3.0 * factor)
            runs.append(_run(name, q, 15, 0.2 * X0, lr=0.3, batch=8, tolerance=0.4, test=test, **free))
        assert [b for _, b in runs[0]] == [b for _, b in runs[1]]
        assert runs[0][-1][1] > 8
        np.testing.assert_array_equal(*(np.stack([x for x, _ in r]) for r in runs))


@pytest.mark.identity("adadagrad", "adadagrad-norm")
@pytest.mark.parametrize("name", NAMES)
def test_zeros(name: str) -> None:
    """Where gradients cancel b goes to its largest and x stays; where there are none both stay; NaN ends the run."""
    more = {"initial": 0.0} if name.endswith("norm") else {}
    _, (x, b) = _run(name, Noisy(1.0, n=60), 1, x0=np.zeros(4), batch=30, eps=0.0, **more)
    assert 30 < b <= 60
    assert np.all(np.isfinite(x))
    assert refopt.optimizer(name).wanted(np.array([[1.0], [-1.0]]), np.zeros(1)) == math.inf
    assert refopt.optimizer(name).wanted(np.zeros((3, 2)), np.zeros(2)) == 0.0
    each = np.array([[1.0, 2.0, 0.0], [-1.0, 2.0, 0.0]])
    assert refopt.optimizer(name, test="coordinate").wanted(each, each.mean(axis=0)) == math.inf
    assert refopt.optimizer(name, test="coordinate").wanted(each[:, 1:], each[:, 1:].mean(axis=0)) == 0.0
    o, still = refopt.optimizer(name, eps=0.0, **more), np.ones(2)
    np.testing.assert_array_equal(o.move(still, 0.0 * still, o.init(still), 1)[0], still)
    p = Noisy(1.0)
    p.noise[:, 0] = np.nan
    assert refopt.minimize(p, name, X0, steps=3).status == "diverged"


@pytest.mark.identity("adadagrad", "adadagrad-norm")
@pytest.mark.parametrize("sampling", ["shuffle", "replacement", "cyclic"])
def test_the_drivers_batch_is_enlarged(sampling: str) -> None:
    """Of a run with batches of 20 every batch holds the driver's, in front, and further examples that it has not, at least 20
    and more as b grows, to all of them; what is asked for is counted by its share; b_1 = 8 alone would be 8.
    """
    p, asked = Noisy(2.0), []

    class Listening(Noisy):
        def example_grads(self, x: np.ndarray, batch: Any = None) -> np.ndarray:
            asked.append(np.arange(200) if batch is None else batch)
            return super().example_grads(x, batch)

    given: dict[str, Any] = {"lr": 0.3, "batch": 8, "tolerance": 0.4, "steps": 12, "seed": 3}
    r = refopt.minimize(Listening(2.0), "adadagrad", 0.2 * X0, batch_size=20, sampling=sampling, **given)
    sizes = [batch.size for batch in asked]
    assert sizes[0] == 20 and sizes == sorted(sizes) and sizes[-1] == 200 and len(set(sizes)) > 2
    sampler = Sampler(200, 20, sampling, 3)
    for t, batch in enumerate(asked, 1):
        if batch.size == 200:
            continue
        np.testing.assert_array_equal(batch[:20], sampler.draw(t))
        others = batch[20:]
        assert len(set(others)) == others.size and not set(others) & set(batch[:20])
    assert r.gradient_equivalents == pytest.approx(COST["example_grads"] * sum(sizes) / 200, rel=1e-12)
    asked.clear()
    refopt.minimize(Listening(2.0), "adadagrad", 0.2 * X0, **given)
    assert asked[0].size == 8
    few = refopt.minimize(p, "adadagrad", 0.2 * X0, batch_size=20, largest=5, **given)
    assert few.state["batch"] == 5
