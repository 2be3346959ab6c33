"""BSVRB: both versions written out for sampled blocks, and their limits for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator

P = refopt.problem("ridge-hyperparameter", n=3, per_block=6, blocks=3, seed=1)
X = {
    "upper": np.array([0.3, -0.5, 0.1]),
    "lower": np.array([[1.0, 0.5, 0.3], [-1.0, 2.0, 0.7], [0.2, -0.4, 1.1]]),
}


class Tilted(refopt.get("ridge-hyperparameter")):  # type: ignore[misc]
    """F has 0.1 ‖x‖² more, so that it has a gradient by x of its own."""

    def upper_grad(self, x: Any, batch: Any = None) -> Any:
        g = super().upper_grad(x, batch)
        return {"upper": g["upper"] + 0.2 * x["upper"], "lower": g["lower"]}


Q = Tilted(n=3, per_block=6, blocks=3, seed=1)
GIVEN: dict[str, Any] = {"lr": 0.3, "lower_lr": 0.1, "alpha": 0.7, "gamma": 0.6, "beta": 0.8}


def block(
    i: int, u: np.ndarray, y: np.ndarray, j: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """∇_y f_i, ∇_y g_i, ∇²_yy g_i and ∇²_xy g_i of the examples j, from the data."""
    Z, V = P.Z[i][j], P.Zv[i][j]
    f = V.T @ (V @ y - P.bv[i][j]) / len(j)
    H = Z.T @ Z / len(j) + np.diag(np.exp(u))
    return f, Z.T @ (Z @ y - P.b[i][j]) / len(j) + np.exp(u) * y, H, np.diag(np.exp(u) * y)


def draws(t: int) -> list[tuple[int, np.ndarray]]:
    rng = generator(5, "method", t)
    return [
        (int(i), rng.choice(6, size=4, replace=False)) for i in np.sort(rng.choice(3, size=2, replace=False))
    ]


def floored(H: np.ndarray, mu: float) -> np.ndarray:
    values, vectors = np.linalg.eigh((H + H.T) / 2)
    return (vectors * np.maximum(values, mu)) @ vectors.T


@pytest.mark.identity("bsvrb-v1")
@pytest.mark.parametrize("mu", [0.01, 1.5])
def test_v1_written_out(mu: float) -> None:
    """Twelve steps with two of three blocks and four of six examples equal v1 written out from the data, whether the
    eigenvalue floor acts or not, to 1e-10.
    """
    r = refopt.minimize(
        Q,
        "bsvrb-v1",
        X,
        **GIVEN,
        mu=mu,
        sampled_blocks=2,
        block_batch=4,
        seed=5,
        schedule=lambda t: 1 / t,
        steps=12,
    )
    u, y = X["upper"], X["lower"].copy()
    u0, y0, s, z = u, y.copy(), np.zeros((3, 3)), None
    H = np.stack([np.eye(3)] * 3)
    H0, k = H.copy(), (0.3, 0.7 + 0.6, 0.6)
    for t in range(1, 13):
        G, G0, new, newH = 0.2 * u, 0.2 * u0, s.copy(), H.copy()
        for i, j in draws(t):
            f, g, h, m = block(i, u, y[i], j)
            f0, g0, h0, m0 = block(i, u0, y0[i], j)
            G, G0 = G - m @ np.linalg.solve(H[i], f) / 2, G0 - m0 @ np.linalg.solve(H0[i], f0) / 2
            new[i] = k[0] * s[i] + k[1] * g - k[2] * g0
            newH[i] = k[0] * H[i] + k[1] * h - k[2] * h0
        newH = np.stack([floored(a, mu) for a in newH])
        z = G if z is None else 0.2 * (z - G0) + G
        u0, y0, H0 = u, y.copy(), H
        u, y, s, H = u - 0.3 / t * z, y - 0.1 * new, new, newH
    np.testing.assert_allclose(r.x["upper"], u, rtol=1e-10)
    np.testing.assert_allclose(r.x["lower"], y, rtol=1e-10)
    np.testing.assert_allclose(r.state["H"], H, rtol=1e-10, atol=1e-12)
    assert r.state["t"] == 12


@pytest.mark.identity("bsvrb-v2")
@pytest.mark.parametrize(("radius", "v_lr", "catch_up"), [(10.0, None, True), (0.3, 0.4, False)])
def test_v2_written_out(radius: float, v_lr: float | None, catch_up: bool) -> None:
    """Twelve steps with two of three blocks and four of six examples equal v2 written out from the data, with and
    without the factors of blocks that were left out, inside the ball and at its edge, to 1e-10.
    """
    r = refopt.minimize(
        Q, "bsvrb-v2", X, **GIVEN, radius=radius, v_lr=v_lr, catch_up=catch_up, sampled_blocks=2, block_batch=4,
        seed=5, schedule=lambda t: 1 / t, steps=12,
    )  # fmt: skip
    x, y = X["upper"], X["lower"].copy()
    x0, y0, z, last = x, y.copy(), None, np.zeros(3)
    s, v, w, v0 = (np.zeros((3, 3)) for _ in range(4))
    for t in range(1, 13):
        G, G0, ny, nv = 0.2 * x, 0.2 * x0, y.copy(), v.copy()
        for i, j in draws(t):
            f, g, h, m = block(i, x, y[i], j)
            f0, g0, h0, m0 = block(i, x0, y0[i], j)
            G, G0 = G - m @ v[i] / 2, G0 - m0 @ v0[i] / 2
            s[i] = 0.3 * s[i] + 1.3 * g - 0.6 * g0
            w[i] = 0.3 * w[i] + 1.3 * (h @ v[i] - f) - 0.6 * (h0 @ v0[i] - f0)
            c = t - last[i] if catch_up else 1.0
            last[i] = t
            nv[i] = v[i] - (0.1 if v_lr is None else v_lr) * c * w[i]
            nv[i] *= min(1.0, radius / np.linalg.norm(nv[i]))
            ny[i] = y[i] - 0.1 * c * s[i]
        z = G if z is None else 0.2 * (z - G0) + G
        x0, y0, v0 = x, y, v
        x, y, v = x - 0.3 / t * z, ny, nv
    np.testing.assert_allclose(r.x["upper"], x, rtol=1e-10)
    np.testing.assert_allclose(r.x["lower"], y, rtol=1e-10)
    np.testing.assert_allclose(r.state["v"], v, rtol=1e-10)
    assert r.state["t"] == 12


@pytest.mark.claim("bsvrb-v1", "bsvrb-v2")
@pytest.mark.parametrize("name", ["bsvrb-v1", "bsvrb-v2"])
def test_all_blocks(name: str) -> None:
    """With all blocks and examples, α = β = 1 and γ = 0, at a point whose y_i solve the lower problems, z is the exact
    hypergradient after the second step (v1, 1e-12), and v converges linearly so that it becomes it (v2, 1e-8).
    """
    x = {"upper": X["upper"], "lower": P.response(X["upper"])}
    r = refopt.minimize(
        P, name, x, lr=0.0, lower_lr=0.3, alpha=1.0, beta=1.0, gamma=0.0, steps=2 if name[-1] == "1" else 120
    )
    np.testing.assert_allclose(
        r.state["z"], P.hypergradient(X["upper"]), rtol=1e-12 if name[-1] == "1" else 1e-8
    )


@pytest.mark.claim("bsvrb-v1", "bsvrb-v2")
@pytest.mark.parametrize("name", ["bsvrb-v1", "bsvrb-v2"])
def test_trackers_reduce_the_noise(name: str) -> None:
    """At a held point, two of three blocks a step, the lower tracker's mean squared error is far below one sample's:
    with α = 0.1 less than a fifth of what α = 1 leaves.
    """
    errors = []
    for alpha in (1.0, 0.1):
        o = refopt.optimizer(name, lr=0.0, lower_lr=0.0, alpha=alpha, sampled_blocks=2, block_batch=1)
        s, oracle, found = o.init(X), Oracle(P, 0), []
        for t in range(1, 111):
            oracle.begin(t)
            _, s = o.step(X, s, oracle)
            if t > 40:
                found.append(s["s"])
        exact = 3 * P.lower_grad(X)["lower"]
        errors.append(np.mean((np.array(found) - exact) ** 2))
    assert errors[1] < 0.2 * errors[0]


def test_blocks_are_needed() -> None:
    """Rows that are no blocks, and a lower player that is a vector."""
    with pytest.raises(refopt.errors.CapabilityError, match="sum over blocks"):
        refopt.minimize(refopt.problem("merely-convex-lower"), "bsvrb-v2", steps=1)
    with pytest.raises(refopt.errors.ArgumentError, match="one row a block"):
        refopt.minimize(refopt.problem("bilevel-quadratic"), "bsvrb-v1", steps=1)
