"""SM3."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream


@pytest.mark.identity("sm3")
@pytest.mark.parametrize("options", [{}, {"beta1": 0.7, "beta2": 0.6, "eps": 0.1}, {"beta2": 0.6, "holds": True}], ids=["paper", "averages", "holds"])  # fmt: skip
def test_slice_by_slice(options: dict[str, Any]) -> None:
    """Algorithm SM3-II as a loop over the entries of a tensor of three axes and over its slices, six steps, to 1e-13."""
    at = {"beta1": 0.0, "beta2": 1.0, "eps": 0.0, "holds": False} | options
    o = refopt.optimizer("sm3", lr=0.1, **options)
    shape = (2, 3, 2)
    x, gradients = stream(1, "ill", steps=6, shapes={"k": shape})
    x, s = x["k"], o.init(x["k"])
    y, mu = x.copy(), {(axis, j): 0.0 for axis in range(3) for j in range(shape[axis])}
    m = np.zeros(shape)
    for g in gradients:
        x, s = o.update(x, g["k"], s)
        new = dict(mu) if at["holds"] else dict.fromkeys(mu, 0.0)
        for i in itertools.product(*map(range, shape)):
            least = min(mu[axis, i[axis]] for axis in range(3))
            share = 1.0 if at["beta2"] == 1.0 else 1 - at["beta2"]
            nu = at["beta2"] * least + share * g["k"][i] ** 2
            u = g["k"][i] / np.sqrt(nu + at["eps"]) if nu + at["eps"] else 0.0
            m[i] = at["beta1"] * m[i] + (1 - at["beta1"]) * u
            y[i] -= 0.1 * m[i]
            for axis in range(3):
                new[axis, i[axis]] = max(new[axis, i[axis]], nu)
        mu = new
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            s["A"], [mu[axis, j] for axis in range(3) for j in range(shape[axis])], rtol=1e-13
        )


@pytest.mark.identity("sm3")
def test_of_vectors_it_is_adagrad() -> None:
    """A vector's slices are its entries: AdaGrad with ε inside the root, to 1e-14; a number likewise."""
    x, gradients = stream(2, "ill", steps=20, shapes={"v": (7,)})

    def numbers(leaves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"v": leaves["v"], "n": np.asarray(leaves["v"][3])}

    o = refopt.optimizer("sm3", lr=0.1, eps=1e-3)
    run = numbers(x), [numbers(g) for g in gradients]
    assert_same_run(o, refopt.optimizer("adagrad", lr=0.1, eps=1e-3), run, rtol=1e-14, atol=1e-14)


@pytest.mark.claim("sm3")
def test_the_bounds_are_bounds_and_never_fall() -> None:
    """The slices' numbers never fall, the least of an entry's is at least the sum of its squares, and
    for g² of one column and row at a time no more than AdaGrad's greatest."""
    rng = np.random.default_rng(4)
    o = refopt.optimizer("sm3")
    x, total = np.zeros((4, 5)), np.zeros((4, 5))
    s = o.init(x)
    for _ in range(30):
        g = rng.standard_normal((4, 5)) * (rng.random((4, 5)) < 0.3)
        before = s["A"]
        x, s = o.update(x, g, s)
        total += g * g
        assert np.all(s["A"] >= before)
        least = np.minimum(s["A"][:4, None], s["A"][None, 4:])
        assert np.all(least >= total - 1e-12)
    assert np.all(least <= np.sum(np.max(total, axis=0)))
