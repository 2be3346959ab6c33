"""MADGRAD, NovoGrad and diffGrad: literal transcriptions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt

from tests.identities.test_adaptive import follow
from tests.streams import schedule, stream


@pytest.mark.identity("madgrad")
def test_madgrad_line_by_line() -> None:
    """Equals Algorithm 1 transcribed line by line with Python floats, to 1e-13."""

    def defazio(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        k = t - 1
        x0 = memory.setdefault("x0", x)
        weight = 0.03 * schedule(t) * math.sqrt(k + 1)
        memory["s"] = memory.get("s", 0.0) + weight * g
        memory["nu"] = memory.get("nu", 0.0) + weight * g * g
        z = x0 - memory["s"] / (math.cbrt(memory["nu"]) + 1e-2)
        return (1 - 0.2) * x + 0.2 * z

    follow("madgrad", defazio, lr=0.03, momentum=0.8, eps=1e-2, schedule=schedule)


def test_timm_madgrad_decays_first() -> None:
    """timm with decoupled_decay: x (1 - lr λ) before the average; γ = lr + ε in the weights alone."""

    def timm(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        x0 = memory.setdefault("x0", x)
        x = x * (1.0 - 0.03 * 0.1)
        weight = (0.03 + 1e-2) * math.sqrt(t)
        memory["s"] = memory.get("s", 0.0) + weight * g
        memory["nu"] = memory.get("nu", 0.0) + weight * g * g
        z = x0 - memory["s"] / (math.cbrt(memory["nu"]) + 1e-2)
        return 0.8 * x + 0.2 * z

    follow("madgrad", timm, dialect="timm", lr=0.03, momentum=0.8, eps=1e-2, weight_decay=0.1)


@pytest.mark.identity("novograd")
@pytest.mark.parametrize("dialect", ["paper", "jasper"])
def test_novograd_line_by_line(dialect: str) -> None:
    """Equals the algorithm and Jasper's form, transcribed line by line, to 1e-13.

    The paper's first step apart; Jasper's: v == 0 is the first, ε from the first step on, averaging.
    """
    b1, b2, eps, d, lr = 0.8, 0.6, 1e-2, 0.1, 0.05
    x, gradients = stream(3, "ill", steps=60)
    o = refopt.optimizer(
        "novograd", dialect=dialect, lr=lr, beta1=b1, beta2=b2, eps=eps, weight_decay=d, schedule=schedule,
        grad_averaging=dialect == "jasper",
    )  # fmt: skip
    s, theta = o.init(x), {k: v.copy() for k, v in x.items()}
    m, v = {k: np.zeros_like(a) for k, a in x.items()}, dict.fromkeys(x, 0.0)
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        for k in theta:
            square = math.fsum(float(e) ** 2 for e in g[k].ravel())
            if dialect == "jasper":
                v[k] = square if v[k] == 0 else b2 * v[k] + (1 - b2) * square
                m[k] = b1 * m[k] + (1 - b1) * (g[k] / (math.sqrt(v[k]) + eps) + d * theta[k])
            elif t == 1:
                v[k] = square
                m[k] = g[k] / math.sqrt(v[k]) + d * theta[k]
            else:
                v[k] = b2 * v[k] + (1 - b2) * square
                m[k] = b1 * m[k] + (g[k] / (math.sqrt(v[k]) + eps) + d * theta[k])
            theta[k] = theta[k] - lr * schedule(t) * m[k]
            np.testing.assert_allclose(x[k], theta[k], rtol=1e-13, atol=1e-14)


@pytest.mark.identity("diffgrad")
def test_diffgrad_line_by_line() -> None:
    """Equals the paper's equations transcribed line by line, to 1e-13."""

    def dubey(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        memory["m"] = 0.8 * memory.get("m", 0.0) + 0.2 * g
        memory["v"] = 0.6 * memory.get("v", 0.0) + 0.4 * g * g
        change = memory.get("g", 0.0) - g
        memory["g"] = g
        xi = 1 / (1 + math.exp(-abs(change)))
        m_hat, v_hat = memory["m"] / (1 - 0.8**t), memory["v"] / (1 - 0.6**t)
        return x - 0.03 * schedule(t) * xi * m_hat / (math.sqrt(v_hat) + 1e-2)

    follow("diffgrad", dubey, lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, schedule=schedule)
