"""MeZO: the algorithm in one buffer, replay from seeds, ZO2's lag."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator


class Layered:
    """A smooth function of a weight and a bias."""

    def value(self, x: dict[str, np.ndarray]) -> float:
        return float(
            np.sum(np.cos(x["w"]) * x["w"]) + np.sum((x["bias"] - 1.0) ** 2) + x["w"][0, 0] * x["bias"][1]
        )


def start() -> dict[str, np.ndarray]:
    return {"w": np.arange(6.0).reshape(2, 3) / 5, "bias": np.array([0.3, -0.2])}


def run(o: object, steps: int, seed: int = 3) -> list[tuple[dict[str, np.ndarray], dict[str, float]]]:
    x, oracle, out = start(), Oracle(Layered(), seed), []
    s = o.init(x)
    for t in range(1, steps + 1):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        out.append((x, dict(s)))
    assert oracle.counts.calls == {"value": 2 * steps}
    return out


@pytest.mark.identity("mezo")
@pytest.mark.parametrize("dialect", ["paper", "official"])
def test_algorithm_1(dialect: str) -> None:
    """Twelve steps equal the algorithm written out in one buffer that is reset to the step's seed four times,
    with decay of the weight and not of the bias: bit for bit in the official dialect, else to 1e-12.
    """
    eps, lr, decay = 1e-2, 0.05, 0.3
    o = refopt.optimizer("mezo", dialect=dialect, radius=eps, lr=lr, weight_decay=decay)
    theta, p = start(), Layered()

    def perturb(seed: int, by: float) -> None:
        rng = generator(seed, "method")
        for leaf in theta.values():
            leaf += by * rng.standard_normal(leaf.shape)

    for t, (x, s) in enumerate(run(o, 12), 1):
        seed = int(generator(3, "method", t).integers(0, 10**9))
        perturb(seed, eps)
        plus = p.value(theta)
        perturb(seed, -2 * eps)
        minus = p.value(theta)
        perturb(seed, eps)
        c = (plus - minus) / (2 * eps)
        assert s["seed"] == seed
        assert s["slope"] == pytest.approx(c, rel=1e-10)
        rng = generator(seed, "method")
        for k, leaf in theta.items():
            z = rng.standard_normal(leaf.shape)
            theta[k] = leaf - lr * (c * z + (decay * leaf if k == "w" else 0.0))
        for k in theta:
            np.testing.assert_allclose(x[k], theta[k], rtol=1e-12, atol=1e-13)


@pytest.mark.claim("mezo")
@pytest.mark.parametrize("dialect", ["paper", "official"])
def test_a_run_is_its_seeds_and_slopes(dialect: str) -> None:
    """A run is stored as a seed and a number a step: the end follows from them and the start alone, bit for
    bit where nothing is walked in place.
    """
    o = refopt.optimizer("mezo", dialect=dialect, lr=lambda t: 0.1 / t, radius=1e-2, weight_decay=0.1)
    found = run(o, 10)
    again = o.replay(start(), [(s["seed"], s["slope"]) for _, s in found])
    for k in again:
        if dialect == "paper":
            np.testing.assert_array_equal(again[k], found[-1][0][k])
        np.testing.assert_allclose(again[k], found[-1][0][k], rtol=1e-13, atol=1e-14)
    # Whoever forgets the seed ends elsewhere.
    other = o.replay(start(), [(s["seed"] + 1, s["slope"]) for _, s in found])
    assert np.max(np.abs(other["w"] - again["w"])) > 1e-3


@pytest.mark.claim("mezo")
def test_zo2_is_one_step_late() -> None:
    """ZO2 makes each update before the next forward passes: its t-th point is MeZO's (t - 1)-th, bit for bit;
    a slope of zero is no update, and then no decay.
    """
    common = {"lr": lambda t: 0.1 / t, "radius": 1e-2, "weight_decay": 0.1, "undecayed": ["bias"]}
    late, now = refopt.optimizer("mezo", deferred=True, **common), refopt.optimizer("mezo", **common)
    a, b = run(late, 8), run(now, 7)
    for k in ("w", "bias"):
        np.testing.assert_array_equal(a[0][0][k], start()[k])
        for (x, _), (y, _) in zip(a[1:], b):
            np.testing.assert_array_equal(x[k], y[k])
    x = start()
    assert late.move(x, 5, 0.0, 1)["w"] is x["w"]
    assert np.all(now.move(x, 5, 0.0, 1)["w"] == (1.0 - 0.1 * 0.1) * x["w"])
    assert refopt.optimizer("mezo", dialect="zo2").deferred


def test_tol_without_a_gradient() -> None:
    p = refopt.from_functions(lambda x: float(x @ x), x0=np.ones(2))
    assert refopt.minimize(p, "mezo", steps=2).calls == {"value": 4}
    with pytest.raises(refopt.errors.CapabilityError, match="tol, which is held against the gradient"):
        refopt.minimize(p, "mezo", steps=2, tol=1e-3)


@pytest.mark.identity("mezo")
def test_rounding_of_the_walk() -> None:
    """In one buffer θ keeps the rounding of θ + ε z - 2 ε z + ε z, as the codes have it: a single array at rate 0
    moves by just that, and not at all in the paper's form.
    """

    class Flat:
        def value(self, x: np.ndarray) -> float:
            return 0.0

    x = np.array([1.0, -3.0, 0.1, 7.0])
    for in_place in (False, True):
        o, oracle = refopt.optimizer("mezo", lr=0.0, radius=0.7, in_place=in_place), Oracle(Flat(), 2)
        oracle.begin(1)
        new, s = o.step(x, o.init(x), oracle)
        z = generator(s["seed"], "method").standard_normal(4)
        want = x + 0.7 * z + -1.4 * z + 0.7 * z if in_place else x
        assert isinstance(s["seed"], int)
        assert in_place == np.any(want != x)
        np.testing.assert_array_equal(new, want)
