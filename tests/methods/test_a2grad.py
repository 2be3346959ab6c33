"""A2Grad: written out, beside a third party's code, and the paper's rate."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import steps_on
from tests.parity.case import Case
from tests.parity.peers.beyond_adam import ONE, SMALL
from tests.streams import run_refopt, stream


@pytest.mark.identity("a2grad")
@pytest.mark.parametrize("average", ["uni", "inc", "exp"])
@pytest.mark.parametrize("whole", [True, False])
def test_a2grad_by_hand(average: str, whole: bool) -> None:
    """Twelve steps of the sequences as they are written, with all three averages, by entry and by leaf, to 1e-11."""
    o = refopt.optimizer("a2grad", lipschitz=3.0, beta=0.7, rho=0.6, average=average, whole=whole)
    x, gradients = stream(1, "random", steps=12, shapes={"w": (3, 2)})
    s, y, z, v, most, before, seen = o.init(x), x["w"], x["w"], 0.0, 0.0, 1.0, []
    for k, g in enumerate(g["w"] for g in gradients):
        x, s = o.update(x, {"w": g}, s)
        seen.append(g)
        square = (g - np.mean(seen, axis=0)) ** 2
        square = np.sum(square) if whole else square
        if average == "exp":
            v = 0.6 * v + 0.4 * square
            most = np.maximum(most, v)
            h = np.sqrt((k + 1) * most)
        else:
            v = v * ((k / (k + 1)) ** 2 if average == "inc" else 1.0) + square
            h = np.sqrt(v)
        c, alpha = 1 / (2 * 3.0 / (k + 1) + 0.7 * h), 2 / (k + 3)
        z = z - c * g
        y = (1 - alpha) * y + alpha * z - (1 - alpha) * before * c * g
        before = alpha
        np.testing.assert_allclose(x["w"], y, rtol=1e-11, atol=1e-13)
    shapes = {name: v["w"].shape for name, v in o.init(x).items() if name != "t"}
    numbers = {"v", "largest"} if average == "exp" else {"v"}
    assert shapes == {"mean": (3, 2), "apart": (3, 2)} | dict.fromkeys(numbers, () if whole else (3, 2))


@pytest.mark.claim("a2grad")
def test_a2grad_is_accelerated_without_noise_and_slows_with_it() -> None:
    """β = 0 on quadratics of 40 curvatures up to L: f - f* is at most 2 L ‖x_0 - x*‖² / ((k + 1)(k + 2)) at each of 200 steps and comes within 20 of it,
    where SGD with the rate 1/L is above; with noise on the gradient of 5 β = 10 ends more than 4 times nearer than β = 0."""
    h = np.linspace(1.0, 40.0, 40) ** 2 / 1600.0
    p = refopt.from_functions(lambda x: 0.5 * float(np.sum(h * x * x)), lambda x: h * x, x0=1.0 / h**0.5)
    D = float(np.sum(1.0 / h))
    bound = np.array([2.0 * D / (k * (k + 1)) for k in range(1, 201)])
    ends = {}
    for name, more in (("a2grad", {"lipschitz": 1.0, "beta": 0.0}), ("sgd", {"lr": 1.0})):
        ends[name] = np.array(
            [p.value(x) for x, _ in steps_on(p, refopt.optimizer(name, **more), 200, 1.0 / h**0.5)]
        )
    assert np.all(ends["a2grad"] <= bound)
    assert np.max(ends["a2grad"] / bound) > 0.05
    assert np.any(ends["sgd"] > bound)
    away = []
    for beta in (10.0, 0.0):
        o, rng = refopt.optimizer("a2grad", lipschitz=1.0, beta=beta), np.random.default_rng(1)
        x, s = np.ones(5), None
        s = o.init(x)
        for _ in range(300):
            x, s = o.update(x, x + 5.0 * rng.standard_normal(5), s)
        away.append(np.linalg.norm(x))
    assert away[0] < 0.25 * away[1]


def severilov(average: str) -> Case:
    """A case beside a recorded run of severilov's code."""
    return Case(
        "a2grad", f"severilov-{average}", "severilov/A2Grad_optimizer@41830bd",
        lambda seed: run_refopt("a2grad", seed, ONE, SMALL, dialect="severilov", average=average, lipschitz=3.0, beta=0.7, rho=0.6), None,
        says=f"severilov's A2Grad{average.capitalize()} by leaf, 200 steps on a small stream, to 1e-12.")  # fmt: skip


CASES = [severilov("uni"), severilov("inc"), severilov("exp")]
