"""What low-memory optimizers promise of the whole matrix: rank, energy, and what a subspace leaves behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt


def _rank(w: np.ndarray) -> int:
    return int(np.linalg.matrix_rank(w, rtol=1e-9))


@pytest.mark.claim("galore", "fira", "frugal")
@pytest.mark.parametrize("shape", [(8, 12), (12, 8)])
def test_rank_of_the_whole_update(shape: tuple[int, int]) -> None:
    """Of subspaces of rank 2 that change every 5 steps GaLore's update has the rank 2 after five steps, 4 after ten, and all
    8 after twenty; Fira's and FRUGAL's, with as many averages, have 8 from the first step on, and FRUGAL without its
    steps beside the subspace is as GaLore.
    """
    given: dict[str, Any] = {"lr": 0.1, "update_every": 5}
    methods = {
        "galore": refopt.optimizer("galore", rank=2, **given),
        "fira": refopt.optimizer("fira", rank=2, **given),
        "frugal": refopt.optimizer("frugal", density=0.25, projection="random", **given),
        "alone": refopt.optimizer("frugal", density=0.25, projection="random", inactive="none", **given),
    }
    for name, o in methods.items():
        rng, x = np.random.default_rng(0), np.zeros(shape)
        s, ranks = o.init(x), []
        for _ in range(20):
            x, s = o.update(x, rng.standard_normal(shape), s)
            ranks.append(_rank(x))
        held = sum(s[k].size if hasattr(s[k], "size") else sum(a.size for a in s[k]) for k in ("m", "v"))
        assert held == 2 * 2 * 12
        if name in ("galore", "alone"):
            assert [ranks[t - 1] for t in (5, 6, 10, 11, 15, 16, 20)] == [2, 4, 4, 6, 6, 8, 8]
        else:
            assert set(ranks) == {8}


@pytest.mark.claim("galore")
@pytest.mark.parametrize("shape", [(8, 12), (12, 8)])
def test_the_subspace_has_the_most_of_the_gradient(shape: tuple[int, int]) -> None:
    """With a new subspace at every step ‖R‖² is the sum of the r largest σ_i² of that step's gradient and what is left out
    that of the others (1e-12), the least that any subspace of the rank leaves; without averages the step is α P sign(R).
    """
    o = refopt.optimizer("galore", lr=1.0, beta1=0.0, beta2=0.0, eps=0.0, rank=3, update_every=1, scale=0.5)
    rng, x = np.random.default_rng(1), np.zeros(shape)
    s = o.init(x)
    for _ in range(4):
        g = rng.standard_normal(shape)
        new, s = o.update(x, g, s)
        (P,) = s["basis"]
        wide = g if shape[0] < shape[1] else g.T
        R, squares = P.T @ wide, np.linalg.svd(g, compute_uv=False) ** 2
        np.testing.assert_allclose(np.sum(R**2), np.sum(squares[:3]), rtol=1e-12)
        np.testing.assert_allclose(np.sum((wide - P @ R) ** 2), np.sum(squares[3:]), rtol=1e-12)
        step = -0.5 * P @ np.sign(R)
        np.testing.assert_allclose(new - x, step if shape[0] < shape[1] else step.T, atol=1e-12)
        x = new


@pytest.mark.claim("fira")
@pytest.mark.parametrize("shape", [(4, 7), (7, 4)])
def test_the_rest_is_scaled_as_the_subspace_is(shape: tuple[int, int]) -> None:
    """What is moved beside the subspace is along the rest of the gradient, G - P R, in every column (row, for a tall matrix)
    by as much per unit as Adam moves within it, to 1e-11; where the limiter holds, all columns by one factor less, down
    to 0.3 and 0.47 in eight steps.
    """
    o = refopt.optimizer("fira", lr=0.3, rank=2, scale=1.0, beta1=0.8, beta2=0.7, eps=0.0)
    rng, x = np.random.default_rng(2), np.zeros(shape)
    s = o.init(x)
    factors = []
    for _ in range(8):
        g = rng.standard_normal(shape)
        new, s = o.update(x, g, s)
        (P,) = s["basis"]
        step, wide = (new - x, g) if shape[0] < shape[1] else ((new - x).T, g.T)
        inside, rest = P.T @ step, wide - P @ (P.T @ wide)
        beside = step - P @ inside
        per_unit = np.linalg.norm(inside, axis=0) / np.linalg.norm(P.T @ wide, axis=0)
        factor = -np.sum(beside * per_unit * rest) / np.sum((per_unit * rest) ** 2)
        np.testing.assert_allclose(beside, -factor * per_unit * rest, rtol=0, atol=1e-11)
        factors.append(factor)
        x = new
    assert factors[0] == pytest.approx(1.0, rel=1e-7) and max(factors) < 1 + 1e-7
    assert min(factors) == pytest.approx({4: 0.2998, 7: 0.4661}[shape[0]], abs=1e-4)


@pytest.mark.claim("galore", "online-subspace-descent")
def test_what_one_subspace_leaves() -> None:
    """On ‖W - T‖²/2, T of 8 x 12, a subspace of rank 2 that never changes leaves just the share of the other singular values'
    squares, 0.3537 (1e-9, GaLore and Online Subspace Descent with a still P); P that makes AdamW's steps leaves 5e-4 in
    500 steps, and GaLore with a new one every 20 steps 5e-3.
    """
    T = np.random.default_rng(0).standard_normal((8, 12))
    p = refopt.from_functions(lambda W: 0.5 * float(np.sum((W - T) ** 2)), lambda W: W - T, x0=0.0 * T)
    squares = np.linalg.svd(T, compute_uv=False) ** 2
    never = 10**6

    def left(name: str, **k: Any) -> float:
        r = refopt.minimize(p, name, lr=0.02, rank=2, scale=1.0, steps=500, record_every=500, **k)
        return float(r.fun / p.value(0.0 * T))

    share = np.sum(squares[2:]) / np.sum(squares)
    assert share == pytest.approx(0.35374, abs=1e-5)
    for name, k in (("galore", {}), ("online-subspace-descent", {"basis_ratio": 0.0})):
        assert left(name, update_every=never, **k) == pytest.approx(share, rel=1e-9)
    assert 4e-4 < left("online-subspace-descent", update_every=never, basis_ratio=1.0) < 6e-4
    assert 4e-3 < left("galore", update_every=20) < 6e-3


def _numbers(state: Any) -> int:
    """How many numbers a state holds in arrays; single numbers are not counted."""
    if isinstance(state, dict):
        return sum(_numbers(v) for v in state.values())
    if isinstance(state, (tuple, list)):
        return sum(_numbers(v) for v in state)
    return state.size if isinstance(state, np.ndarray) and state.ndim else 0


@pytest.mark.claim("fira", "online-subspace-descent", "dlrt")
@pytest.mark.parametrize("shape", [(40, 10), (10, 40)])
def test_memory_after_steps(shape: tuple[int, int]) -> None:
    """After three steps of rank 3 on an m × n matrix, m ≤ n, the state has m r + 2 n r numbers (GaLore; Fira, and one number),
    3 m r + 2 n r (Online Subspace Descent with AdamW on P), r (m + n) + r² (DLRT, weights and all), m n + r (m + n) + r²
    (COSMOS), 2 n r and r indices (DCT-AdamW), where Adam has 2 m n = 800.
    """
    m, n, r = 10, 40, 3
    want = {
        "adam": ({}, 2 * m * n),
        "galore": ({"rank": r}, m * r + 2 * n * r),
        "fira": ({"rank": r}, m * r + 2 * n * r + 1),
        "online-subspace-descent": ({"rank": r}, 3 * m * r + 2 * n * r),
        "cosmos": ({"rank": r}, m * n + r * (m + n) + r * r),
        "dct-adamw": ({"rank": r, "error_feedback": False}, 2 * n * r + r),
    }
    for name, (given, numbers) in want.items():
        rng, o, x = np.random.default_rng(0), refopt.optimizer(name, lr=1e-3, **given), np.ones(shape)
        s = o.init(x)
        for _ in range(3):
            x, s = o.update(x, rng.standard_normal(shape), s)
        assert _numbers(s) == numbers, name
    target = np.random.default_rng(1).standard_normal(shape)
    p = refopt.from_functions(
        lambda W: 0.5 * float(np.sum((W - target) ** 2)), lambda W: W - target, x0=0.1 * target
    )
    r3 = refopt.minimize(p, "dlrt", lr=0.1, rank=r, adaptive=False, steps=3)
    assert _numbers(r3.state) == r * (m + n) + r * r
