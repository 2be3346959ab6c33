"""Claims on MADGRAD, NovoGrad and diffGrad.

MADGRAD, NovoGrad and diffGrad: literal transcriptions.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt

from tests.methods.test_adaptive import follow
from tests.streams import schedule, stream


@pytest.mark.claim("madgrad")
@pytest.mark.parametrize("g", [1e-4, 0.5, -20.0, 3e5])
def test_madgrad_first_step(g: float) -> None:
    """The first step is lr^(2/3) |g|^(1/3) in size, to 2e-15: not invariant to the gradient's scale.

    eps = 0, no momentum: -lr^(2/3) sign(g) |g|^(1/3); with momentum, c of that.
    """
    for momentum in (0.0, 0.9):
        o = refopt.optimizer("madgrad", lr=0.02, momentum=momentum, eps=0.0)
        x, _ = o.update(np.zeros(1), np.array([g]), o.init(np.zeros(1)))
        want = -(1 - momentum) * 0.02 ** (2 / 3) * np.sign(g) * abs(g) ** (1 / 3)
        assert float(x[0]) == pytest.approx(want, rel=2e-15)


def test_madgrad_without_momentum_is_dual_averaging() -> None:
    """c = 1: x is the start minus the weighted gradients over the cube root, whatever x was between."""
    x, gradients = stream(0, "random", steps=30)
    o = refopt.optimizer("madgrad", lr=0.1, momentum=0.0)
    y, s = x, o.init(x)
    for g in gradients:
        y, s = o.update(y, g, s)
    for k in x:
        weights = 0.1 * np.sqrt(np.arange(1, 31)).reshape(-1, *[1] * x[k].ndim)
        all_g = np.stack([g[k] for g in gradients])
        total, squares = np.sum(weights * all_g, 0), np.sum(weights * all_g**2, 0)
        np.testing.assert_allclose(y[k], x[k] - total / (np.cbrt(squares) + 1e-6), rtol=1e-13, atol=1e-14)


@pytest.mark.claim("novograd")
def test_novograd_does_not_see_the_scale() -> None:
    """With eps = 0 the run is the same, bit for bit, when all gradients are multiplied by 2^k.

    eps = 0: g -> c g changes nothing, decay included (c a power of two: to the last bit).
    """
    x, gradients = stream(0, "ill", steps=50)
    o = refopt.optimizer("novograd", lr=0.1, beta2=0.7, eps=0.0, weight_decay=0.1)
    y, sx, sy = x, o.init(x), o.init(x)
    start = x
    for g in gradients:
        x, sx = o.update(x, g, sx)
        y, sy = o.update(y, {k: 2.0**11 * v for k, v in g.items()}, sy)
        for k in x:
            np.testing.assert_array_equal(x[k], y[k])
    assert all(np.max(np.abs(x[k] - start[k])) > 0.1 for k in x)


@pytest.mark.claim("novograd")
def test_novograd_step_length() -> None:
    """Without averages a step has the length lr, to 1e-14.

    beta1 = beta2 = 0, no decay: every array moves by the length lr, against its gradient.
    """
    x, gradients = stream(0, "ill", steps=20)
    o = refopt.optimizer("novograd", lr=0.3, beta1=0.0, beta2=0.0, eps=0.0)
    s = o.init(x)
    for g in gradients:
        new, s = o.update(x, g, s)
        for k in x:
            np.testing.assert_allclose(x[k] - new[k], 0.3 * g[k] / np.linalg.norm(g[k].ravel()), atol=1e-14)
        x = new


def test_novograd_survives_zero_gradients() -> None:
    """g = 0 from the start moves nothing; libraries that restart then see the first gradient as first."""
    for dialect in ("paper", "jasper", "optax"):
        o = refopt.optimizer("novograd", dialect=dialect, lr=1.0, beta2=0.75, eps=0.0)
        x = np.zeros(3)
        s = o.init(x)
        x, s = o.update(x, np.zeros(3), s)
        np.testing.assert_array_equal(x, 0.0)
        x, s = o.update(x, np.array([0.0, 3.0, 4.0]), s)
        length = 1.0 if dialect == "jasper" else 2.0  # v = ‖g‖², or (1 - beta2) of it
        np.testing.assert_allclose(x, -length * np.array([0.0, 0.6, 0.8]), rtol=1e-15)


@pytest.mark.claim("diffgrad")
def test_diffgrad_halves_adam() -> None:
    """Under a constant gradient every step after the first is half of Adam's, to 1e-13.

    A constant gradient: ξ = σ(|g|) in the first step and 1/2 in all others.
    """
    d, a = refopt.optimizer("diffgrad", lr=0.1), refopt.optimizer("adam", lr=0.1)
    g = np.array([3.0, -0.2])
    x = y = np.zeros(2)
    sd, sa = d.init(x), a.init(y)
    for t in range(1, 40):
        new, sd = d.update(x, g, sd)
        other, sa = a.update(y, g, sa)
        xi = 1 / (1 + np.exp(-np.abs(g))) if t == 1 else 0.5
        np.testing.assert_allclose(new - x, xi * (other - y), rtol=1e-13)
        x, y = new, other


@pytest.mark.claim("diffgrad")
def test_diffgrad_with_large_changes_is_adam() -> None:
    """Where the gradient changes by 30 or more the step is Adam's, to 1e-12.

    |Δg| > 40 makes ξ one in float64.
    """
    d, a = refopt.optimizer("diffgrad", lr=0.1), refopt.optimizer("adam", lr=0.1)
    x = y = np.zeros(2)
    sd, sa = d.init(x), a.init(y)
    for t in range(40):
        g = (-1.0) ** t * np.array([50.0, 30.0]) + t
        x, sd = d.update(x, g, sd)
        y, sa = a.update(y, g, sa)
        # 30 + 30 + 1 = 61 and 30 in the first step, where ξ = 1 - 1e-13
        np.testing.assert_allclose(x, y, rtol=1e-12)


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
