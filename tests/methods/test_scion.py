"""The norm ball holds what is in it.

Scion and the methods it contains.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_torch
from tests.parity.makers import ours
from tests.streams import schedule, stream

BALLS: dict[str, Callable[[np.ndarray], float]] = {
    "spectral": lambda T: float(np.sqrt(T.shape[1] / T.shape[0]) * np.linalg.norm(T, 2)),
    "sign": lambda T: float(T.shape[1] * np.max(np.abs(T))),
    "column": lambda T: float(T.shape[1] * np.max(np.sqrt(np.mean(T**2, axis=0)))),
    "row": lambda T: float(np.sqrt(T.shape[1]) * np.max(np.linalg.norm(T, axis=1))),
}


@pytest.mark.claim("scion")
@pytest.mark.parametrize("norm", list(BALLS))
def test_stays_in_the_ball(norm: str) -> None:
    """constrained: no iterate leaves the ball of radius rho, and from outside the excess shrinks by 1
    - lr a step.

    |x| <= rho once inside; the excess over rho shrinks by 1 - lr or more a step from outside.
    """
    rng = np.random.default_rng(0)
    size, rho, lr = BALLS[norm], 0.7, 0.2
    o = refopt.optimizer("scion", norm=norm, lr=lr, radius=rho, alpha=0.3)
    x = rng.standard_normal((4, 3))
    x = 2.0 * rho * x / size(x)
    s, reached = o.init(x), 0.0
    for _ in range(60):
        new, s = o.update(x, rng.standard_normal((4, 3)), s)
        assert size(new) - rho <= max((1 - lr) * (size(x) - rho), 0.0) + 1e-14
        x = new
    for _ in range(60):
        x, s = o.update(
            x, np.ones((4, 3)) * [[1.0], [1.0], [-1.0], [1.0]] + 0.1 * rng.standard_normal((4, 3)), s
        )
        reached = max(reached, size(x))
    # A lasting direction drives x to the boundary: the radius is the radius.
    assert 0.9 * rho < reached <= rho * (1 + 1e-14)


@pytest.mark.identity("scion")
def test_sign_is_signum() -> None:
    """Unconstrained sign norm is the sign of averaged momentum: Lion with equal betas, to 1e-13.

    Unconstrained, sign without 1 / d_in: Lion with equal betas (the sign of the average).
    """
    x, gradients = stream(0, "flip", steps=40, shapes={"w": (3, 4)})
    a = refopt.optimizer(
        "scion", lr=0.1, alpha=0.2, norm="sign", normalized=False, constrained=False, schedule=schedule
    )
    b = refopt.optimizer("lion", lr=0.1, beta1=0.8, beta2=0.8, schedule=schedule)
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        np.testing.assert_allclose(x["w"], y["w"], rtol=1e-13, atol=1e-13)


def test_constrained_is_unconstrained_with_decay() -> None:
    """Radius rho is decoupled decay 1 / rho at rate lr rho: here beside Muon without Nesterov momentum."""
    rho = 3.0
    x, gradients = stream(0, "random", steps=40, shapes={"w": (3, 4)})
    a = refopt.optimizer("scion", lr=0.02, alpha=0.1, radius=rho)
    b = refopt.optimizer(
        "muon", lr=0.02 * rho, weight_decay=1 / rho, momentum=0.9, nesterov=False, scale="spectral",
        coefficients="cubic", ns_steps=60, eps=0.0,
    )  # fmt: skip
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        # A polar factor's condition is that of the matrix, here below 1e3.
        np.testing.assert_allclose(x["w"], y["w"], atol=1e-10)


@pytest.mark.identity("scion-light")
@pytest.mark.parametrize("norm", ["spectral", "sign", "column", "row"])
@pytest.mark.parametrize("constrained", [True, False])
def test_light_is_scion(norm: str, constrained: bool) -> None:
    """Without eps it takes Scion's steps under every norm of a matrix, constrained and not, 40 steps with a schedule, to 1e-10; its state is the
    average over α less what the step took.
    """
    given: dict[str, Any] = {
        "lr": 0.2, "alpha": 0.3, "radius": 0.7, "norm": norm, "constrained": constrained, "schedule": schedule
    }  # fmt: skip
    a, b = refopt.optimizer("scion-light", **given), refopt.optimizer("scion", **given)
    x, gradients = stream(0, "random", steps=40, shapes={"w": (3, 4)})
    y, s, r = x, a.init(x), b.init(x)
    for g in gradients:
        x, s = a.update(x, g, s)
        y, r = b.update(y, g, r)
        # A polar factor's condition is that of the matrix, here below 1e3.
        np.testing.assert_allclose(x["w"], y["w"], atol=1e-10)
        np.testing.assert_allclose(s["buffer"]["w"] * 0.3 / 0.7, r["d"]["w"], rtol=1e-10, atol=1e-12)


@pytest.mark.claim("scion-light")
def test_light_has_no_memory_at_one() -> None:
    """With α = 1 every step is that of its gradient alone: the state stays zero."""
    o = refopt.optimizer("scion-light", lr=0.1)
    x, gradients = stream(0, "random", steps=5, shapes={"w": (3, 4)})
    s = o.init(x)
    for g in gradients:
        y, s = o.update(x, g, s)
        z, _ = o.update(x, g, o.init(x))
        np.testing.assert_array_equal(y["w"], z["w"])
        assert not np.any(s["buffer"]["w"])
        x = y


def _kozistr_light(seed: int) -> Arrays:
    """pytorch_optimizer's SCIONLight, gradients added to what it left in their buffers, its Newton-Schulz in float64."""
    import torch
    from pytorch_optimizer.optimizer import scion

    class Adding(scion.SCIONLight):
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for p in group["params"]:
                    if "buffer" in self.state[p]:
                        p.grad = self.state[p]["buffer"] + p.grad
            loss = super().step(closure)
            for group in self.param_groups:
                for p in group["params"]:
                    self.state[p]["buffer"] = p.grad
            return loss

    cast = scion.zero_power_via_newton_schulz_5
    scion.zero_power_via_newton_schulz_5 = functools.partial(cast, dtype=torch.float64)
    try:
        return run_torch(lambda p: Adding(p, lr=0.05, momentum=0.3, scale=3.0), seed, schedule, ("random",))
    finally:
        scion.zero_power_via_newton_schulz_5 = cast


CASES = [
    Case("scion-light", "kozistr", "pytorch-optimizer",
        ours("scion-light", kinds=("random",), dialect="kozistr", lr=0.05, alpha=0.3, radius=3.0), _kozistr_light,
        says="pytorch_optimizer.SCIONLight without its bfloat16 cast, gradients added to what it leaves, matrix, kernel and vector, with a schedule,"
        " 200 steps, to 1e-12."),
]  # fmt: skip
