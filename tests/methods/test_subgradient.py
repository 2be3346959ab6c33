"""SubGM: the subgradient method of robust matrix recovery."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import refopt


def sensing(**more: Any) -> Any:
    sizes = {"n": 14, "rank": 2, "search_rank": 5, "measurements": 500, "init_scale": 1e-5}
    return refopt.problem("robust-matrix-sensing", **{**sizes, **more})


@pytest.mark.claim("subgradient")
def test_recovery_with_gross_errors_at_overestimated_rank() -> None:
    """A tenth of the measurements wrong by ten times their size, search rank 5 of 2: relative error below 3e-5 after 700
    steps; with ρ = 0.96 the steps are gone before the factors have grown, and the error is still 1."""
    p = sensing(outliers=0.1)
    slow = refopt.minimize(p, "subgradient", lr=0.2, decay=0.985, steps=700)
    assert p.error(slow.x) < 3e-5
    fast = refopt.minimize(p, "subgradient", lr=0.2, decay=0.96, steps=700)
    assert p.error(fast.x) > 0.5


@pytest.mark.claim("subgradient")
def test_steps_of_the_residual_s_size_converge_linearly_without_noise() -> None:
    """No errors, η_t = 0.2 f: the error falls to a hundredth and less every 30 steps, three times over."""
    p = sensing(outliers=0.0, search_rank=2, init_scale=0.3)
    errors = [
        p.error(refopt.minimize(p, "subgradient", size="residual", lr=0.2, steps=k).x)
        for k in (40, 70, 100, 130)
    ]
    assert errors[0] < 0.1 and all(b < 1e-2 * a for a, b in itertools.pairwise(errors))


@pytest.mark.identity("subgradient")
def test_a_fixed_step_is_sgd() -> None:
    """ρ = 1 gives SGD's steps, bit for bit; ρ = 1/2 halves the rate from step to step, from η_0 on."""
    p = sensing(outliers=0.1)
    a = refopt.minimize(p, "subgradient", lr=0.05, decay=1.0, steps=21)
    b = refopt.minimize(p, "sgd", lr=0.05, steps=21)
    np.testing.assert_array_equal(a.x, b.x)
    c = refopt.minimize(p, "subgradient", lr=0.05, decay=0.5, steps=21)
    d = refopt.minimize(p, "sgd", lr=0.05, schedule=lambda t: 0.5 ** (t - 1), steps=21)
    np.testing.assert_allclose(c.x, d.x, rtol=1e-14)


@pytest.mark.identity("subgradient")
def test_polyak_s_step_as_the_code_of_tong_ma_and_chi_has_it() -> None:
    """Their vanilla method on two factors with a fifth of the measurements wrong, transcribed: 60 steps to 1e-10."""
    rng = np.random.default_rng(0)
    n, r, m = 6, 2, 150
    A = rng.standard_normal((m, n, n))
    truth = rng.standard_normal((n, r)) @ rng.standard_normal((r, n))
    y = np.einsum("kij,ij->k", A, truth)
    y = y + 10 * np.abs(y).max() * (2 * rng.random(m) - 1) * (rng.random(m) < 0.2)
    least = np.abs(np.einsum("kij,ij->k", A, truth) - y).sum()
    L, R = (rng.standard_normal((n, r)) for _ in range(2))

    def value(x: Any) -> float:
        return float(np.abs(np.einsum("kij,ij->k", A, x["L"] @ x["R"].T) - y).sum())

    def grad(x: Any) -> Any:
        Z = np.einsum("k,kij->ij", np.sign(np.einsum("kij,ij->k", A, x["L"] @ x["R"].T) - y), A)
        return {"L": Z @ x["R"], "R": Z.T @ x["L"]}

    p = refopt.from_functions(value, grad, x0={"L": L, "R": R})
    got = refopt.minimize(p, "subgradient", dialect="official-polyak", f_star=float(least), steps=60)
    for _ in range(60):
        loss, Z = 0.0, np.zeros((n, n))
        for k in range(m):
            z = A[k].ravel() @ (L @ R.T).ravel() - y[k]
            loss, Z = loss + abs(z), Z + np.sign(z) * A[k]
        ZL, ZR = Z.T @ L, Z @ R
        eta = (loss - least) / (ZL.ravel() @ ZL.ravel() + ZR.ravel() @ ZR.ravel())
        L, R = L - eta * ZR, R - eta * ZL
    np.testing.assert_allclose(got.x["L"], L, rtol=1e-10)
    np.testing.assert_allclose(got.x["R"], R, rtol=1e-10)


@pytest.mark.identity("subgradient")
@pytest.mark.parametrize("size", ["residual", "polyak"])
def test_steps_from_values_by_hand(size: str) -> None:
    """Three steps on |x1| + 2 |x2| under a schedule of 1, 1/2, 1/3, written out, bit for bit but for the order of divisions."""
    weights, x = np.array([1.0, 2.0]), np.array([3.0, -1.0])
    p = refopt.from_functions(lambda x: float(weights @ np.abs(x)), lambda x: weights * np.sign(x), x0=x)
    got = refopt.minimize(
        p, "subgradient", size=size, lr=0.1, f_star=-1.0, schedule=lambda t: 1.0 / t, steps=3
    )
    for t in (1, 2, 3):
        f, g = weights @ np.abs(x), weights * np.sign(x)
        x = x - 0.1 / t * (f if size == "residual" else (f + 1.0) / (g @ g)) * g
    np.testing.assert_allclose(got.x, x, rtol=1e-14)


@pytest.mark.identity("subgradient")
def test_it_stays_where_there_is_nothing_to_gain() -> None:
    """A zero subgradient, or a value that is not above f*: the point stays to the bit."""
    p = refopt.from_functions(lambda x: float(np.abs(x).sum()), np.sign, x0=np.zeros(2))
    for size in ("geometric", "residual", "polyak"):
        np.testing.assert_array_equal(refopt.minimize(p, "subgradient", size=size, steps=3).x, 0.0)
    far = refopt.minimize(p, "subgradient", np.array([3.0, 1.0]), size="polyak", lr=1.0, steps=1)
    np.testing.assert_allclose(far.x, [1.0, -1.0], rtol=1e-15)
    start = np.array([3.0, 1.0])
    below = refopt.minimize(p, "subgradient", start, size="polyak", f_star=5.0, steps=2)
    np.testing.assert_array_equal(below.x, start)
    flat = refopt.from_functions(lambda x: 1.0, np.zeros_like, x0=start)
    np.testing.assert_array_equal(refopt.minimize(flat, "subgradient", size="polyak", steps=2).x, start)
