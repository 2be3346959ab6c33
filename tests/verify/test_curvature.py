"""Methods that ask for Hessian products: both sides get the same probes, and the probes are looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import CapabilityError
from refopt.verify.inputs.hessians import Probes, verdict


def adahessian(fault: str) -> Any:
    """Return AdaHessian without spatial averages as a function (x, g, state, hvp)."""
    rng = np.random.default_rng(0)

    def step(
        x: Any,
        g: Any,
        s: Any,
        hvp: Any,
        lr: float = 0.15,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-4,
    ) -> Any:
        m, v, t = s or (np.zeros_like(x), np.zeros_like(x), 0)
        t += 1
        z = -np.ones(x.shape) if fault == "constant probe" else rng.integers(0, 2, x.shape) * 2.0 - 1.0
        if fault == "biased probe":
            z = np.where(rng.random(x.shape) < 0.6, 1.0, -1.0)
        if fault == "normal probe":
            z = rng.standard_normal(x.shape)
        d = hvp(z) if fault == "no probe on the left" else z * hvp(z)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * d * d
        c1, c2 = 1 - beta1**t, 1 - beta2**t
        if fault == "no correction":
            c1 = c2 = 1.0
        root = v / c2 if fault == "no root" else np.sqrt(v / c2)
        return x - lr * (m / c1) / (root + eps), (m, v, t)

    step.__qualname__ = f"adahessian, {fault}"
    return step


FAULTS = {
    "none": {"timm"},
    "constant probe": {"timm", "probe-constant"},
    "biased probe": {"timm", "probe-biased"},
    "normal probe": {"timm", "probe-values"},
    "no correction": {"timm", "no-bias-correction"},
    "no root": {"timm", "no-root"},
}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(f, marks=[pytest.mark.exhaustive] if i % 2 or f == "no correction" else [])
        for i, f in enumerate(FAULTS)
    ],
)
def test_adahessian(fault: str) -> None:
    """The trajectory and the probes tell what was done."""
    report = refopt.verify.compare(adahessian(fault), "adahessian", dialect="timm", steps=12)
    assert report.agrees == (fault == "none"), str(report)
    why = refopt.verify.diagnose(adahessian(fault), "adahessian", steps=12)
    found = set(why.explained_by)
    # Without bias correction of the Hessian alone the dialects of one average are alike.
    assert FAULTS[fault] - {"timm"} <= found, str(why)
    assert found - FAULTS[fault] <= {"average=none", "kozistr"}, str(why)


def test_a_wrong_product_is_not_explained() -> None:
    """|Hz| in place of z Hz shows from the first step."""
    report = refopt.verify.compare(adahessian("no probe on the left"), "adahessian", dialect="timm", steps=5)
    assert report.step is None or report.step >= 1
    plain = refopt.verify.compare(adahessian("none"), "adahessian", dialect="timm", steps=5)
    assert plain.agrees and plain.error < 1e-11


def test_constant_probe_is_said() -> None:
    """The note says what is wrong though the trajectory agrees."""
    report = refopt.verify.compare(adahessian("constant probe"), "adahessian", dialect="timm", steps=5)
    assert not report.agrees and report.step is None
    assert "Its probe is constant, -1" in str(report)


@pytest.mark.parametrize(
    ("values", "faults"),
    [
        (np.full(1000, -1.0), ("probe-constant",)),
        (np.r_[np.ones(900), -np.ones(100)], ("probe-biased",)),
        (np.r_[np.ones(500), -np.ones(500)], ()),
        (np.linspace(-1, 1, 1000), ("probe-values",)),
    ],
)
def test_verdict(values: np.ndarray, faults: tuple[str, ...]) -> None:
    """Probes are judged by their values, mean and variance."""
    probes = Probes(1)
    probes.add(1, {"x": [values]})
    assert verdict([probes], refopt.optimizer("adahessian"))[0] == faults


def test_normal_probes() -> None:
    """Sophia's probe is normal: unit variance is asked for."""
    rng = np.random.default_rng(3)
    for scale, faults in ((1.0, ()), (1.2, ("probe-variance",))):
        probes = Probes(1)
        probes.add(1, {"x": [scale * rng.standard_normal(4000)]})
        assert verdict([probes], refopt.optimizer("sophia"))[0] == faults


def test_estimates_at_other_steps_are_a_difference() -> None:
    """A side that estimates every second step differs from step 2 on, and is told apart, not refused."""
    every = adahessian("none")

    def lazy(x: Any, g: Any, s: Any, hvp: Any, lr: float = 0.15) -> Any:
        inner, kept = (None, None) if s is None else s
        if inner is None or inner[2] % 2 == 0:
            z = np.where(np.arange(x.size).reshape(x.shape) % 2 == 0, 1.0, -1.0)
            kept = z * hvp(z)
        new, after = every(x, g, inner, lambda v: v * kept, lr)
        return new, (after, kept)

    report = refopt.verify.compare(lazy, "adahessian", dialect="timm", steps=6, eps=1e-4)
    assert not report.agrees and report.step == 2, str(report)


def test_a_side_without_hessians() -> None:
    """A refopt method driven by gradients cannot be given Hessian products: told, not guessed."""
    with pytest.raises(CapabilityError, match="Hessian products"):
        refopt.verify.compare(refopt.optimizer("adam"), "adahessian", steps=3)
