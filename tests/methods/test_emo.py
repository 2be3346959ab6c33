"""EmoNavi, EmoLynx and EmoFact."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.optimizers.first_order.emo import drive

from tests.parity.case import Arrays, Case
from tests.parity.peers.authors import PROBLEM_KEPT, PROBLEM_STEPS, Quartic
from tests.parity.peers.beyond_adam import on_quartic
from tests.streams import schedule

ALL = ("emonavi", "emolynx", "emofact")


class Told:
    """A problem whose losses are given, and whose gradient is not their slope."""

    def __init__(self, losses: list[float]) -> None:
        self.losses, self.asked = losses, -1
        self.x0 = np.array([1.0, -2.0, 0.5])

    def value(self, x: np.ndarray) -> float:
        self.asked += 1
        return self.losses[self.asked]

    def grad(self, x: np.ndarray) -> np.ndarray:
        return np.sin(3.0 * x) + 0.1


def run(name: str, losses: list[float], **options: Any) -> list[np.ndarray]:
    problem = Told(losses)
    o, x, oracle, rows = refopt.optimizer(name, **options), problem.x0, Oracle(problem, 0), []
    s = o.init(x)
    for t in range(1, len(losses) + 1):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        rows.append(x)
    return rows


@pytest.mark.identity("emonavi", "emolynx", "emofact")
def test_the_drive_of_small_losses() -> None:
    """The distance of the averages counts in units of the long one down to 1e-5, and of 1e-5 below: the same at 1e-3 and 1e-4, a tenth as far at
    1e-6; and T's sign is σ's, by which 8 |T| (1 + T / 10) differs between a fall and a rise.
    """
    for unit in (1.0, 1e-3, 1e-4):
        for share in (0.6, 1.4):
            sigma = math.tanh(1.0 - share)
            T = math.copysign(1.0 - abs(sigma), sigma)
            assert drive(share * unit, unit) == pytest.approx(8.0 * abs(T) * (1.0 + 0.1 * T), rel=1e-12)
    assert drive(0.6e-6, 1e-6) == 1.0
    assert drive(5e-6, 1e-6) == pytest.approx(
        8.0 * (1 - math.tanh(0.4)) * (1.0 - 0.1 * (1 - math.tanh(0.4))), rel=1e-12
    )


@pytest.mark.identity("emonavi", "emolynx", "emofact")
def test_line_by_line() -> None:
    """Sixty steps line by line with NumPy alone, on losses that fall, jump and stand still, so that all four ranges of the drive are met, with decay
    and a schedule, to 1e-12.
    """
    rng, losses, f = np.random.default_rng(3), [], 4.0
    for t in range(60):
        f *= 5.0 if t == 20 else 90.0 if t == 45 else 0.2 if t == 33 else float(rng.uniform(0.8, 1.12))
        losses.append(f)
    S = L = losses[0]
    m = v = n = np.zeros(3)
    x, y, z = (Told([]).x0 for _ in ALL)
    got = [run(name, losses, lr=0.02, weight_decay=0.3, schedule=schedule, **o) for name, o in (
        ("emonavi", {"beta1": 0.6, "beta2": 0.7, "eps": 1e-2}), ("emolynx", {"beta1": 0.6, "beta2": 0.7}), ("emofact", {}))]  # fmt: skip
    grad, ranges = Told([]).grad, set()
    for t, f in enumerate(losses):
        S, L, lr = 0.7 * S + 0.3 * f, 0.99 * L + 0.01 * f, 0.02 * schedule(t + 1)
        sigma = math.tanh((L - S) / L)
        a = abs(sigma)
        T = math.copysign(1 - a, sigma)
        d = 8 * abs(T) * (1 + 0.1 * T) if 0.25 < a < 0.5 else 1 - a if a > 0.75 else 1.0
        ranges.add(((0 if a < 0.25 else 1 if a < 0.5 else 2 if a < 0.75 else 3), sigma > 0))
        g = grad(x)
        m, v = 0.6 * m + 0.4 * g, 0.7 * v + 0.3 * g * g
        x = x - lr * 0.3 * x - lr * d * m / (np.sqrt(v) + 1e-2)
        g = grad(y)
        y, n = y - lr * 0.3 * y - lr * d * np.sign(0.6 * n + 0.4 * g), 0.7 * n + 0.3 * g
        z = z - lr * 0.3 * z - lr * d * np.sign(grad(z))
        for mine, other in zip(got, (x, y, z)):
            np.testing.assert_allclose(mine[t], other, rtol=1e-12, atol=1e-12)
    assert {r for r, _ in ranges} == {0, 1, 2, 3} and (1, False) in ranges and (1, True) in ranges


@pytest.mark.identity("emofact")
def test_vectors_have_a_momentum() -> None:
    """β = 0.6, at a constant loss: m = 0.4 g₁, then 0.24 g₁ + 0.4 g₂, which turns at g₂ = -0.6 g₁; on both sides of that by a hundredth. A matrix
    goes by g₂ alone. Far from the origin: m begins with zero.
    """

    class Turning:
        asked = 0

        def value(self, x: Any) -> float:
            return 2.0

        def grad(self, x: Any) -> Any:
            self.asked += 1
            g = np.array([1.0, -1.0, 1.0, -1.0]) if self.asked == 1 else np.array([-0.59, 0.59, -0.61, 0.61])
            return {"b": g, "w": g.reshape(2, 2)}

    o, oracle = (
        refopt.optimizer("emofact", lr=0.5, vector_momentum=0.6, weight_decay=0.0),
        Oracle(Turning(), 0),
    )
    x = {"b": np.full(4, 64.0), "w": np.full((2, 2), 64.0)}
    s, points = o.init(x), [x]
    for t in (1, 2):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        points.append(x)
    first, second = ({k: (b[k] - a[k]).ravel() for k in a} for a, b in itertools.pairwise(points))
    for k in "bw":
        np.testing.assert_array_equal(first[k], [-0.5, 0.5, -0.5, 0.5])
    np.testing.assert_array_equal(second["b"], [-0.5, 0.5, 0.5, -0.5])
    np.testing.assert_array_equal(second["w"], [0.5, -0.5, 0.5, -0.5])
    assert s["m"]["w"].shape == ()


@pytest.mark.claim("emonavi", "emolynx", "emofact")
def test_constant_loss() -> None:
    """While the loss stands still the drive is 1: Lion, signSGD with decoupled decay, and Adam without bias correction, 20 steps, to 1e-13."""
    losses: list[float] = [2.0] * 20
    given: list[tuple[str, str, dict[str, Any]]] = [
        (
            "emolynx",
            "lion",
            {"lr": 0.05, "beta1": 0.9, "beta2": 0.995, "weight_decay": 0.1, "decay": "decoupled"},
        ),
        (
            "emofact",
            "lion",
            {"lr": 0.05, "beta1": 0.0, "beta2": 0.0, "weight_decay": 0.1, "decay": "decoupled"},
        ),
        # Adam's rate with its corrections taken out.
        (
            "emonavi",
            "adam",
            {
                "lr": lambda t: 0.05 * (1 - 0.9**t) / (1 - 0.995**t) ** 0.5,
                "beta2": 0.995,
                "eps_corrected": False,
            },
        ),
    ]
    for name, base, options in given:
        o = refopt.optimizer(base, **options)
        x = Told(losses).x0
        s = o.init(x)
        for row in run(name, losses, lr=0.05, weight_decay=options.get("weight_decay", 0.0)):
            x, s = o.update(x, Told(losses).grad(x), s)
            np.testing.assert_allclose(row, x, rtol=1e-13, atol=1e-13)


@pytest.mark.claim("emonavi", "emolynx", "emofact")
def test_losses_enter_by_their_ratio() -> None:
    """Losses that are all multiplied by one positive number give the same run, bit for bit for a power of two, as long as they stay above 1e-5;
    and the drive is 8 · 0.75 · 1.075 at most, 8 · 0.75 · 0.925 for a loss that rises.
    """
    losses = [4.0, 3.0, 2.5, 6.0, 1.0, 0.9, 5.0]
    for name in ALL:
        for one, other in zip(run(name, losses), run(name, [1024.0 * f for f in losses])):
            np.testing.assert_array_equal(one, other)
    grid = np.linspace(-3.0, 0.999, 40001)
    high = [drive(1.0 - z, 1.0) for z in grid]
    assert max(high) == pytest.approx(8 * 0.75 * 1.075, rel=1e-3)
    assert max(d for z, d in zip(grid, high) if z < 0) == pytest.approx(8 * 0.75 * 0.925, rel=1e-3)
    assert drive(0.0, 0.0) == 1.0


def _kozistr(cls: str, **options: Any) -> Any:
    """pytorch_optimizer's class on the quartic, told to divide by the long average always."""

    def side(seed: int) -> Arrays:
        import pytorch_optimizer
        import torch
        from pytorch_optimizer.optimizer import emonavi

        problem, rows = Quartic(seed, 3.0), []
        p = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in problem.start.items()}
        o: Any = getattr(pytorch_optimizer, cls)(list(p.values()), lr=0.03, weight_decay=0.1, **options)
        before, closure = emonavi.compute_scalar, problem.closure(p)
        emonavi.compute_scalar = lambda ema: math.tanh((ema["long"] - ema["short"]) / max(ema["long"], 1e-5))
        try:
            for t in range(1, PROBLEM_STEPS + 1):
                for group in o.param_groups:
                    group["lr"] = 0.03 * schedule(t)
                o.step(closure)
                if t in PROBLEM_KEPT:
                    rows.append(problem.join({k: v.detach().numpy().copy() for k, v in p.items()}))
        finally:
            emonavi.compute_scalar = before
        return {"x": np.stack(rows)}

    return side


AT: dict[str, Any] = {"dialect": "kozistr", "lr": 0.03, "weight_decay": 0.1, "schedule": schedule}
SAID = (
    ", told to divide by the long average always, with decay and a schedule, 40 steps on a quartic, to 1e-12."
)
CASES = [
    Case("emonavi", "kozistr", "pytorch-optimizer", on_quartic("emonavi", beta1=0.8, beta2=0.6, eps=1e-2, **AT),
        _kozistr("EmoNavi", betas=(0.8, 0.6), eps=1e-2), says=f"pytorch_optimizer.EmoNavi{SAID}"),
    Case("emolynx", "kozistr", "pytorch-optimizer", on_quartic("emolynx", beta1=0.8, beta2=0.6, **AT), _kozistr("EmoLynx", betas=(0.8, 0.6)),
        says=f"pytorch_optimizer.EmoLynx{SAID}"),
    Case("emofact", "kozistr", "pytorch-optimizer", on_quartic("emofact", vector_momentum=0.8, **AT), _kozistr("EmoFact", betas=(0.8, 0.6)),
        says=f"pytorch_optimizer.EmoFact{SAID}"),
]  # fmt: skip
