"""D-Adaptation of AdaGrad, Adan and Lion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.methods.test_d_adaptation import SHAPES, _drifting, _joined
from tests.parity.case import Case
from tests.parity.makers import ours
from tests.streams import stream

NAMES = ("d-adapt-adagrad", "d-adapt-adan", "d-adapt-lion")


def _follows(o: Any, seed: int, reference: Any) -> None:
    """Hold the points and d of a run of twelve gradients to ``reference(h, lr)``, which gives both for the joined gradients."""
    run = _drifting(seed)
    x, s = run[0], o.init(run[0])
    y, gradients = _joined(run)
    step, ds = reference(y), []
    for t, (g, h) in enumerate(zip(run[1], gradients), 1):
        x, s = o.update(x, g, s)
        y, d = step(h, 0.8 / t**0.25)
        np.testing.assert_allclose(_joined((x, []))[0], y, rtol=1e-12, atol=1e-13)
        assert s["d"] == pytest.approx(d, rel=1e-12)
        ds.append(d)
    assert len(set(ds)) > 2


AT: dict[str, Any] = {
    "lr": 0.8,
    "d0": 0.1,
    "growth_rate": 1.02,
    "weight_decay": 0.3,
    "schedule": lambda t: 1 / t**0.25,
}


@pytest.mark.identity("d-adapt-adagrad")
def test_adagrad_by_hand() -> None:
    """Twelve steps on one vector with NumPy alone, with momentum, decay, a growth that is held back and a schedule, to 1e-12."""

    def reference(x: np.ndarray) -> Any:
        start, a, s, r, big, d = x, np.full(9, 0.2), np.zeros(9), 0.0, 0.0, 0.1

        def step(g: np.ndarray, lr: float) -> Any:
            nonlocal x, a, s, r, big, d
            g, w = g + 0.3 * x, d * lr
            old = np.sum(s * s / (np.sqrt(a) + 0.1))
            a = a + g * g
            big += w * w * np.sum(g * g / (np.sqrt(a) + 0.1))
            s = s + w * g
            r += np.sum(s * s / (np.sqrt(a) + 0.1)) - old
            d = max(d, min((r - big) / np.abs(s).sum(), 1.02 * d))
            x = 0.6 * x + 0.4 * (start - s / (np.sqrt(a) + 0.1))
            return x, d

        return step

    _follows(refopt.optimizer("d-adapt-adagrad", momentum=0.6, eps=0.1, initial=0.2, **AT), 1, reference)


@pytest.mark.identity("d-adapt-adan")
@pytest.mark.parametrize("decay", ["proximal", "beside"])
def test_adan_by_hand(decay: str) -> None:
    """Twelve steps on one vector with NumPy alone, with both decays, a growth that is held back and a schedule, to 1e-12."""

    def reference(x: np.ndarray) -> Any:
        m, w, n, s, big, d = np.zeros(9), np.zeros(9), np.zeros(9), np.zeros(9), 0.0, 0.1
        last: Any = None

        def step(g: np.ndarray, lr: float) -> Any:
            nonlocal x, m, w, n, s, big, d, last
            change, rate = (0 * g if last is None else g - last), d * lr
            last = g
            m, w = 0.6 * m + 0.4 * rate * g, 0.7 * w + 0.3 * rate * change
            n, s = 0.8 * n + 0.2 * (g + 0.7 * change) ** 2, 0.8 * s + 0.2 * rate * g
            below = np.sqrt(n) + 0.1
            big = 0.8 * big + 0.2 * rate**2 * np.sum(g * g / below)
            d = max(d, min((np.sum(s * s / below) / 0.2 - big) / np.abs(s).sum(), 1.02 * d))
            u = (m + 0.7 * w) / below
            x = (x - u) / (1 + 0.3 * rate) if decay == "proximal" else (1 - 0.3 * rate) * x - u
            return x, d

        return step

    o = refopt.optimizer("d-adapt-adan", beta1=0.6, beta2=0.7, beta3=0.8, eps=0.1, decay=decay, **AT)
    _follows(o, 2, reference)


@pytest.mark.identity("d-adapt-lion")
@pytest.mark.parametrize("decay", ["decoupled", "coupled"])
def test_lion_by_hand(decay: str) -> None:
    """Twelve steps on one vector with NumPy alone, with both decays, a growth that is held back and a schedule, to 1e-12."""

    def reference(x: np.ndarray) -> Any:
        m, s, r, d, b = np.zeros(9), np.zeros(9), 0.0, 0.1, 0.7**0.5

        def step(g: np.ndarray, lr: float) -> Any:
            nonlocal x, m, s, r, d
            w = d * lr
            g = g + (0.3 * x if decay == "coupled" else 0.0)
            u = np.sign(0.6 * m + 0.4 * g)
            x = x * (1 - (0.3 * w if decay == "decoupled" else 0.0)) - w * u
            m = 0.7 * m + 0.3 * w * g
            r = b * r + (1 - b) * w * (u @ s)
            s = b * s + (1 - b) * w * u
            d = max(d, min(r / ((1 - b) * np.abs(s).sum()), 1.02 * d))
            return x, d

        return step

    _follows(refopt.optimizer("d-adapt-lion", beta1=0.6, beta2=0.7, decay=decay, **AT), 3, reference)


@pytest.mark.identity("d-adapt-lion")
def test_where_lions_mixture_turns() -> None:
    """m = 0.3 g₁ against 0.4 g₂: the second step is up where -g₂ is above 0.6 · 0.3 / 0.4 = 0.45 of g₁, on both sides of that by a hundredth."""
    o = refopt.optimizer(
        "d-adapt-lion", beta1=0.6, beta2=0.7, d0=1.0, growth_rate=1.0, lr=1.0, weight_decay=0.0
    )
    x, s = o.update(np.zeros(2), np.ones(2), o.init(np.zeros(2)))
    np.testing.assert_array_equal(o.update(x, np.array([-0.44, -0.46]), s)[0] - x, [-1.0, 1.0])


@pytest.mark.claim("d-adapt-adagrad", "d-adapt-lion")
def test_the_bound_of_the_distance() -> None:
    """f = Σ log cosh(x - a), whose largest distance is 2 (ℓ∞), from a guess of 1e-3: no d of AdaGrad's and Lion's
    falls, AdaGrad's is never above 2 and comes within a half of it, and both reach a hundredth of the first loss in 100 steps."""
    a = np.array([1.0, -2.0, 2.0])
    for name in ("d-adapt-adagrad", "d-adapt-lion"):
        o = refopt.optimizer(name, d0=1e-3, weight_decay=0.0)
        x, last, best = np.zeros(3), 0.0, np.inf
        s = o.init(x)
        for _ in range(100):
            x, s = o.update(x, np.tanh(x - a), s)
            best = min(best, float(np.sum(np.log(np.cosh(x - a)))))
            assert s["d"] >= last
            last = s["d"]
            assert name != "d-adapt-adagrad" or last <= 2.0
        assert name != "d-adapt-adagrad" or last > 1.0
        assert best < 0.01 * np.sum(np.log(np.cosh(a))), name


@pytest.mark.claim("d-adapt-adagrad", "d-adapt-adan", "d-adapt-lion")
def test_nothing_before_the_first_gradient() -> None:
    """Gradients of zero move nothing and leave no trace: the run that follows is as if they had not been. Without a rate x and d stay; and a
    loss in another unit (1024 times) gives AdaGrad's and Adan's run again where ε and a_0 are 0."""
    run = stream(3, "random", steps=10, shapes=SHAPES)
    for name in NAMES:
        free = {"eps": 0.0} if name != "d-adapt-lion" else {}
        free |= {"initial": 0.0} if name == "d-adapt-adagrad" else {}
        o = refopt.optimizer(name, d0=0.1, weight_decay=0.0, **free)
        if free:
            assert_same_run(
                o, o, run, rtol=1e-12, atol=1e-13, change=lambda g: {k: 1024.0 * v for k, v in g.items()}
            )
        x, y = run[0], run[0]
        s, r = o.init(x), o.init(y)
        for g in run[1][:2]:
            x, s = o.update(x, {k: 0.0 * v for k, v in g.items()}, s)
            np.testing.assert_array_equal(x["w"], run[0]["w"])
        for g in run[1]:
            (x, s), (y, r) = o.update(x, g, s), o.update(y, g, r)
            np.testing.assert_allclose(x["w"], y["w"], rtol=1e-12)
        frozen = refopt.optimizer(name, d0=0.1, lr=0.0, weight_decay=0.0)
        x, s = frozen.update(run[0], run[1][0], frozen.init(run[0]))
        np.testing.assert_array_equal(x["w"], run[0]["w"])
        assert s["d"] == 0.1


AUTHORS = "facebookresearch/dadaptation@c984980"
SMALL = {"w": (2, 3), "b": (2,)}


def _official(name: str, what: str, **mine: Any) -> Case:
    side = ours(
        name, dialect="official", kinds=("random",), shapes=SMALL, lr=0.9, d0=0.01, weight_decay=0.1, **mine
    )
    return Case(
        name,
        "official",
        AUTHORS,
        side,
        None,
        says=f"The authors' {what} under a schedule, 200 steps, to 1e-12.",
    )


CASES = [
    _official("d-adapt-adagrad", "DAdaptAdaGrad with momentum, slow growth and decay", momentum=0.8, growth_rate=1.05, eps=1e-2),
    _official("d-adapt-adan", "DAdaptAdan with slow growth and decay", beta1=0.6, beta2=0.7, beta3=0.8, growth_rate=1.05, eps=1e-2),
    _official("d-adapt-lion", "DAdaptLion with decay", beta1=0.6, beta2=0.7),
]  # fmt: skip
