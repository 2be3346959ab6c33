"""Heavy ball, Nesterov and triple momentum with the constants of L and mu: exact rates, bounds, identities."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.parity.case import Arrays, Case

MU, L = 0.1, 5.0
ROOT = math.sqrt(L / MU)


def _oracle(hessian: float, slope: Any = None) -> Oracle:
    grad = slope or (lambda x: hessian * x)
    return Oracle(refopt.from_functions(lambda x: 0.5 * hessian * float(x @ x), grad, x0=np.ones(1)))


def _path(o: Any, oracle: Oracle, x: np.ndarray, steps: int) -> list[np.ndarray]:
    s, out = o.init(x), [x]
    for t in range(1, steps + 1):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        out.append(x)
    return out


def _radius(name: str, curvature: float, **k: Any) -> float:
    """The spectral radius of the method's own map (z, z_last) -> (z_next, z) on f = curvature x^2 / 2."""
    o, oracle = refopt.optimizer(name, lipschitz=L, strong_convexity=MU, **k), _oracle(curvature)
    key = "xi" if name == "triple-momentum" else ""
    columns = []
    for z, last in ((1.0, 0.0), (0.0, 1.0)):
        # One array object a call, so that the oracle's memory of a gradient cannot be of another point.
        oracle.begin(2)
        oracle.forget()
        x = np.array([z])
        state = {"t": 1, "last": np.array([last]), **({key: x} if key else {})}
        new, after = o.step(x, state, oracle)
        columns.append([float((after[key] if key else new)[0]), z])
    return float(np.max(np.abs(np.linalg.eigvals(np.array(columns).T))))


@pytest.mark.claim("heavy-ball", "nesterov-strongly-convex", "triple-momentum")
@pytest.mark.parametrize(
    ("name", "settings", "rate"),
    [
        ("heavy-ball", {}, (ROOT - 1) / (ROOT + 1)),
        ("nesterov-strongly-convex", {}, 1 - 1 / ROOT),
        ("nesterov-strongly-convex", {"tuned": "quadratic"}, 1 - 2 / math.sqrt(3 * ROOT**2 + 1)),
        ("triple-momentum", {}, 1 - 1 / ROOT),
    ],
)
def test_rate_on_quadratics(name: str, settings: dict[str, Any], rate: float) -> None:
    """The worst spectral radius over quadratics between mu and L is the stated rate: 0.7522 (heavy ball), 0.8586
    (Nesterov, triple momentum) and 0.8372 (tuned) at kappa = 50, to 1e-7 (edge eigenvalues are double roots).
    """
    found = max(_radius(name, h, **settings) for h in np.linspace(MU, L, 50))
    assert found == pytest.approx(rate, abs=2e-7)
    # One constant off, and it is another: the rate is the least, to second order.
    assert max(_radius(name, h, **settings) for h in (MU, L)) == pytest.approx(rate, abs=2e-7)


@pytest.mark.claim("heavy-ball")
def test_heavy_ball_may_cycle() -> None:
    """With mu = 1 and L = 25 it enters the 3-cycle (792, -2208, 2592) / 1225 on Lessard's function from 3.3."""

    def slope(x: np.ndarray) -> np.ndarray:
        return np.where(x < 1, 25 * x, np.where(x < 2, x + 24, 25 * x - 24))

    o = refopt.optimizer("heavy-ball", lipschitz=25.0, strong_convexity=1.0)
    path = _path(o, _oracle(1.0, slope), np.array([3.3]), 120)
    got = sorted(float(v[0]) for v in path[-3:])
    assert got == pytest.approx([-2208 / 1225, 792 / 1225, 2592 / 1225], abs=1e-12)
    assert path[-1] == pytest.approx(path[-4], abs=1e-12)


@pytest.mark.claim("nesterov-strongly-convex", "triple-momentum")
@pytest.mark.parametrize("name", ["nesterov-strongly-convex", "triple-momentum"])
def test_bounds_hold(name: str) -> None:
    """f(x_t) - f* stays below the theorem's bound for 40 steps, on a quadratic and on regularised logistic loss."""
    for p in (refopt.problem("quadratic", spectrum=np.geomspace(0.1, 3.0, 5)), _logistic()):
        best = refopt.minimize(p, "triple-momentum", steps=1500, record_every=1500).x
        x0 = best + 1.0
        mu, lip = p.strong_convexity, p.lipschitz
        rho, d0 = 1 - math.sqrt(mu / lip), float(np.sum((x0 - best) ** 2))
        least = float(p.value(best))
        if name == "triple-momentum":
            bounds = [rho ** (2 * t) * lip**2 / mu / 2 * d0 for t in range(41)]
        else:
            bounds = [rho**t * (float(p.value(x0)) - least + mu / 2 * d0) for t in range(41)]
        path = _path(refopt.optimizer(name), Oracle(p), x0, 40)
        for x, bound in zip(path, bounds):
            assert float(p.value(x)) - least <= bound * (1 + 1e-10)


def _logistic() -> Any:
    rng = np.random.default_rng(0)
    return refopt.problem("logistic", data=(rng.standard_normal((12, 3)), np.array([0, 1] * 6)), l2=0.02)


@pytest.mark.claim("triple-momentum")
def test_worst_case_is_attained() -> None:
    """With mu = 0.1, L = 1, f(x_4) - f* <= 0.238925 |x_0 - x*|^2 (PEPit's figure), attained by f = L x^2 / 2."""
    o = refopt.optimizer("triple-momentum", lipschitz=1.0, strong_convexity=0.1)
    values = [
        h / 2 * float(_path(o, _oracle(h), np.ones(1), 4)[-1][0]) ** 2 for h in (0.1, 0.3, 0.55, 0.8, 1.0)
    ]
    assert values[-1] == pytest.approx(0.238925, abs=1e-6)
    assert values[-1] == pytest.approx((1 - math.sqrt(0.1)) ** 8 * 10 / 2, rel=1e-13)
    assert max(values) == values[-1]


@pytest.mark.identity("heavy-ball")
def test_heavy_ball_is_momentum() -> None:
    """Equals momentum with rate a and weight b, to 1e-13 over 60 steps; with tuned='global' gradient descent."""
    p = refopt.problem("quadratic", spectrum=np.geomspace(MU, L, 6))
    a, b = 4 / (math.sqrt(p.lipschitz) + math.sqrt(p.strong_convexity)) ** 2, ((ROOT - 1) / (ROOT + 1)) ** 2
    got = refopt.minimize(p, "heavy-ball", steps=60).x
    np.testing.assert_allclose(got, refopt.minimize(p, "momentum", lr=a, momentum=b, steps=60).x, rtol=1e-11)
    plain = refopt.minimize(p, "sgd", lr=1 / p.lipschitz, steps=20).x
    np.testing.assert_allclose(
        refopt.minimize(p, "heavy-ball", tuned="global", steps=20).x, plain, rtol=1e-13
    )
    half = 0.5 / p.lipschitz
    beta = math.sqrt((1 - half * p.strong_convexity) / 2)
    np.testing.assert_allclose(
        refopt.minimize(p, "heavy-ball", tuned="global", step_size=half, steps=20).x,
        refopt.minimize(p, "momentum", lr=half, momentum=beta, steps=20).x,
        rtol=1e-12,
    )


@pytest.mark.identity("nesterov-strongly-convex")
@pytest.mark.parametrize("tuned", ["all", "quadratic"])
def test_nesterov_is_nesterov(tuned: str) -> None:
    """Equals the look-ahead form of `nesterov` with these constants, to 1e-11 over 60 steps."""
    p = refopt.problem("quadratic", spectrum=np.geomspace(MU, L, 6))
    lip, mu = p.lipschitz, p.strong_convexity
    a, b = 1 / lip, (math.sqrt(lip) - math.sqrt(mu)) / (math.sqrt(lip) + math.sqrt(mu))
    if tuned == "quadratic":
        root = math.sqrt(3 * lip / mu + 1)
        a, b = 4 / (3 * lip + mu), (root - 2) / (root + 2)
    got = refopt.minimize(p, "nesterov-strongly-convex", tuned=tuned, steps=60).x
    np.testing.assert_allclose(got, refopt.minimize(p, "nesterov", lr=a, momentum=b, steps=60).x, rtol=1e-11)


@pytest.mark.identity("triple-momentum")
def test_triple_momentum_written_out() -> None:
    """Equals the three recursions transcribed, to 1e-12 over 40 steps; with mu = L one step is exact."""
    p = refopt.problem("quadratic", spectrum=np.geomspace(0.3, 6.0, 4))
    lip, mu = p.lipschitz, p.strong_convexity
    rho = 1 - 1 / math.sqrt(lip / mu)
    alpha, beta = (1 + rho) / lip, rho**2 / (2 - rho)
    gamma, delta = rho**2 / ((1 + rho) * (2 - rho)), rho**2 / (1 - rho**2)
    xi_old = xi = x = y = p.start()
    want = [x]
    for _ in range(40):
        xi_old, xi = xi, (1 + beta) * xi - beta * xi_old - alpha * p.grad(y)
        y = (1 + gamma) * xi - gamma * xi_old
        want.append((1 + delta) * xi - delta * xi_old)
    got = _path(refopt.optimizer("triple-momentum"), Oracle(p), p.start(), 40)
    np.testing.assert_allclose(np.stack(got), np.stack(want), rtol=1e-11, atol=1e-13)
    o = refopt.optimizer("triple-momentum", lipschitz=2.0, strong_convexity=2.0)
    assert _path(o, _oracle(2.0), np.array([3.0]), 1)[1] == 0.0


def _ours(name: str) -> Any:
    def side(seed: int) -> Arrays:
        h, x0 = _spectrum(seed)
        p = refopt.from_functions(lambda x: 0.5 * float(x @ (h * x)), lambda x: h * x, x0=x0)
        o = refopt.optimizer(name, lipschitz=L, strong_convexity=MU)
        path = np.stack(_path(o, Oracle(p), x0, 40))
        if name == "nesterov-strongly-convex":
            # torch holds the point at which the next gradient is taken.
            b = (ROOT - 1) / (ROOT + 1)
            path = np.stack([x0, *((1 + b) * z - b * w for w, z in itertools.pairwise(path))])
        return {"x": path}

    return side


def _spectrum(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return np.geomspace(MU, L, 6), np.random.default_rng(seed).standard_normal(6)


def _torch(lr: float, momentum: float, nesterov: bool) -> Any:
    def side(seed: int) -> Arrays:
        import torch

        h, x0 = _spectrum(seed)
        x, curvature = torch.nn.Parameter(torch.tensor(x0)), torch.tensor(h)
        o = torch.optim.SGD([x], lr=lr, momentum=momentum, nesterov=nesterov)
        out = [x0]
        for _ in range(40):
            x.grad = curvature * x.detach()
            o.step()
            out.append(x.detach().numpy().copy())
        return {"x": np.stack(out)}

    return side


CASES = [
    Case("heavy-ball", "torch", "torch", _ours("heavy-ball"),
        _torch(4 / (math.sqrt(L) + math.sqrt(MU)) ** 2, ((ROOT - 1) / (ROOT + 1)) ** 2, False),
        says="40 steps of torch's SGD with momentum and the same constants, on a quadratic with kappa = 50, to 1e-12"),
    Case("nesterov-strongly-convex", "torch", "torch", _ours("nesterov-strongly-convex"),
        _torch(1 / L, (ROOT - 1) / (ROOT + 1), True),
        says="40 steps of torch's SGD with nesterov=True, whose parameter is y, on a quadratic with kappa = 50, to 1e-12"),
]  # fmt: skip


def test_constants_must_be_known() -> None:
    """L and mu come from the problem or the caller; otherwise the error says which is missing."""
    p = refopt.from_functions(lambda x: float(x @ x), lambda x: 2 * x, x0=np.ones(2))
    with pytest.raises(refopt.errors.ArgumentError, match="strong_convexity: wanted a positive number"):
        refopt.minimize(p, "heavy-ball", steps=1)
    with pytest.raises(refopt.errors.ArgumentError, match="lipschitz: wanted a positive number"):
        refopt.minimize(p, "triple-momentum", strong_convexity=1.0, steps=1)
    with pytest.raises(refopt.errors.ArgumentError, match="at most lipschitz"):
        refopt.optimizer("heavy-ball", lipschitz=1.0, strong_convexity=2.0)
    with pytest.raises(refopt.errors.ArgumentError, match="at most lipschitz"):
        refopt.minimize(refopt.problem("quadratic"), "heavy-ball", strong_convexity=2.0, steps=1)
    with pytest.raises(refopt.errors.ArgumentError, match="step_size"):
        refopt.minimize(refopt.problem("quadratic"), "heavy-ball", tuned="global", step_size=1.5, steps=1)


@pytest.mark.identity(
    "heavy-ball", says="A schedule multiplies a, and nothing else: momentum with such rates, to 1e-12"
)
def test_schedule_scales_the_step() -> None:
    """A schedule multiplies a, and nothing else."""
    p = refopt.problem("quadratic", n=3, condition_number=4.0)
    a, b = 4 / (1 + 0.5) ** 2, (1 / 3) ** 2
    got = refopt.minimize(p, "heavy-ball", schedule=lambda t: 1 / t, steps=9).x
    want = refopt.minimize(
        p, "momentum", dialect="torch", lr=1.0, momentum=b, full_first=False, steps=9, rate_inside=True,
        schedule=lambda t: a / t,
    )  # fmt: skip
    np.testing.assert_allclose(got, want.x, rtol=1e-12)


@pytest.mark.identity("heavy-ball")
@pytest.mark.parametrize("lipschitz", [0.25, 4.0])
def test_the_global_step_size_is_at_most_one_over_l(lipschitz: float) -> None:
    """At 0.99 / L the momentum is ``sqrt((1 - a mu)(1 - a L))``; at 1.01 / L it is refused."""
    given = {"lipschitz": lipschitz, "strong_convexity": lipschitz / 2, "tuned": "global"}
    p = refopt.problem("quadratic", n=4)
    o = refopt.optimizer("heavy-ball", step_size=0.99 / lipschitz, **given)
    a, b, g = o.constants(lipschitz / 2, lipschitz)
    assert (a, g) == (0.99 / lipschitz, 0.0)
    assert b == pytest.approx(np.sqrt(0.505 * 0.01), rel=1e-12)
    with pytest.raises(refopt.errors.ArgumentError, match="step_size"):
        refopt.minimize(p, "heavy-ball", steps=1, step_size=1.01 / lipschitz, **given)
