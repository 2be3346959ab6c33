"""The Spectral Sphere Optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.optimizers.first_order.spectral_sphere import root_of

from tests.parity.case import Case
from tests.parity.makers import ours
from tests.streams import schedule, stream

# Four steps more of the limit's quintic: the polar factor to rounding; and λ to rounding.
EXACT: dict[str, Any] = {"ns_steps": 12, "power_steps": 100, "tolerance": 1e-12, "halvings": 45}


def polar(m: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(m, full_matrices=False)
    return u @ vt


@pytest.mark.identity("spectral-sphere")
@pytest.mark.parametrize(("nesterov", "shape"), [(True, (3, 2)), (False, (2, 3))])
def test_by_hand(nesterov: bool, shape: tuple[int, int]) -> None:
    """Four steps of a tall and a wide matrix from singular value decompositions, with decay and a schedule, to 1e-7 (λ is a root in a function
    that is known to 1e-13 over its slope)."""
    o = refopt.optimizer(
        "spectral-sphere",
        lr=0.1,
        momentum=0.6,
        nesterov=nesterov,
        radius=1.5,
        weight_decay=0.2,
        schedule=schedule,
        **EXACT,
    )
    x, gradients = stream(0, "random", steps=4, shapes={"w": shape})
    y, b, R = x["w"], np.zeros(shape), 1.5 * np.sqrt(shape[0] / shape[1])
    x, s = y, o.init(y)
    for t, g in enumerate((g["w"] for g in gradients), 1):
        x, s = o.update(x, g, s)
        lr = 0.1 * schedule(t)
        b = 0.6 * b + 0.4 * g
        m = 0.4 * g + 0.6 * b if nesterov else b
        m = m / np.linalg.norm(m)
        y = (1 - 0.2 * lr) * y
        left, values, right = np.linalg.svd(y)
        theta = np.outer(left[:, 0], right[0])
        y = y * R / (values[0] + 1e-7)
        low, high = -2.0, 2.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if np.sum(theta * polar(m + middle * theta)) < 0 else (low, middle)
        y = y - lr * R * polar(m + 0.5 * (low + high) * theta)
        np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-7)


@pytest.mark.claim("spectral-sphere")
def test_it_stays_on_the_sphere() -> None:
    """Twelve steps at the rates 0.02 and 0.01 leave the spectral norm within 2 η² R of R, and half the rate less than half as far off; without the constraint's λ (Muon's direction) the norm moves by more than five times that."""
    off = []
    for lr in (0.02, 0.01):
        o = refopt.optimizer("spectral-sphere", lr=lr, power_steps=100, radius=2.0)
        x, gradients = stream(3, "random", steps=12, shapes={"w": (3, 4)})
        x, s, R, worst = x["w"], o.init(x["w"]), 2.0 * np.sqrt(3 / 4), 0.0
        for g in gradients:
            x, s = o.update(x, g["w"], s)
            worst = max(worst, abs(np.linalg.norm(x, 2) / R - 1))
        off.append(worst)
        assert worst < 2.0 * lr**2
    assert off[1] < 0.5 * off[0]
    still = refopt.optimizer("spectral-sphere", lr=0.02, power_steps=100, radius=2.0, tolerance=1e9)
    y, _ = still.update(x, gradients[0]["w"], still.init(x))
    assert abs(np.linalg.norm(y, 2) / R - 1) > 5 * off[0]


def test_roots() -> None:
    """A rising function's zero from either side; the start where it is good enough, and where no bracket is found within ten doublings."""
    for start in (-0.3, 0.0, 0.4):
        assert root_of(lambda a: a - 0.123, start, 1e-3, 1e-12, 60) == pytest.approx(0.123, abs=1e-11)
    assert root_of(lambda a: a - 0.123, 0.5, 1e-3, 1.0, 60) == 0.5
    assert root_of(lambda a: a - 50.0, 0.5, 1e-3, 1e-12, 60) == 0.5
    assert abs(root_of(lambda a: a - 0.123, 0.0, 1e-3, 1e-12, 3) - 0.123) < 0.064 / 8 + 1e-12


CASES = [
    Case("spectral-sphere", "official", "Unakar/Spectral-Sphere-Optimizer@304d7a4",
        ours("spectral-sphere", kinds=("random",), shapes={"wide": (2, 3)}, dialect="official", lr=0.05, momentum=0.8, radius=1.5,
            weight_decay=0.1, tolerance=1e-3, halvings=10), None, rtol=1e-10,
        why="λ is a point of a bisection, whose decisions and Newton-Schulz amplify rounding",
        says="The authors' SSO in double precision without its bfloat16 cast, a tolerance of 1e-3, decay and a"
        " schedule, 200 steps, to 1e-10 (measured 1e-14)."),
]  # fmt: skip
