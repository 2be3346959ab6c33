"""GaLore and Fira written out, their limits, and the size of their state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream

BETAS = {"beta1": 0.8, "beta2": 0.7}
SHAPES = {"tall": (5, 3), "wide": (3, 5), "square": (4, 4)}


def written_out(
    x: np.ndarray, gradients: list[np.ndarray], *, rank: int, period: int, at_multiples: bool, at_refresh: str,
    fira: bool,
) -> list[np.ndarray]:  # fmt: skip
    """The listings for one matrix, every leaf brought to m ≤ n by a transpose."""
    lr, b1, b2, eps, scale, wd, out = 0.03, 0.8, 0.7, 1e-3, 0.5, 0.1, []
    flip = x.shape[0] > x.shape[1]
    m = v = p = size = None
    k = 0
    for t, gradient in enumerate(gradients, 1):
        g, k = gradient.T if flip else gradient, k + 1
        if p is None or (t if at_multiples else t - 1) % period == 0:
            u, _, vt = np.linalg.svd(gradient, full_matrices=False)
            old, p = p, (vt.T if flip else u)[:, :rank]
            if m is None or at_refresh == "reset":
                m, v, k = np.zeros((rank, g.shape[1])), np.zeros((rank, g.shape[1])), 1
            elif at_refresh == "project":
                m, v = (p.T @ old) @ m, (p.T @ old) ** 2 @ v
        r = p.T @ g
        m, v = b1 * m + (1 - b1) * r, b2 * v + (1 - b2) * r**2
        n = k if at_refresh == "reset" else t
        step = lr * schedule(t)
        adam = (m / (1 - b1**n)) / (np.sqrt(v / (1 - b2**n)) + eps)
        move = scale * p @ adam
        if fira:
            # Its factor is of the uncorrected moments.
            c = np.sqrt(1 - b2**n) / (1 - b1**n)
            phi = np.linalg.norm(adam / c, axis=0) / np.linalg.norm(r, axis=0)
            rest = (g - p @ r) * phi
            if size is not None and np.linalg.norm(rest) > 1.01 * size:
                rest = rest / np.linalg.norm(rest) * 1.01 * size
            size = np.linalg.norm(rest)
            move = move + c * rest
        x = x - step * wd * x - step * (move.T if flip else move)
        out.append(x)
    return out


@pytest.mark.identity("galore", "fira")
@pytest.mark.parametrize("name", ["galore", "fira"])
@pytest.mark.parametrize(
    ("at_multiples", "at_refresh"), [(False, "keep"), (True, "project"), (False, "reset")]
)
def test_written_out(name: str, at_multiples: bool, at_refresh: str) -> None:
    """40 steps of tall, wide and square matrices over five subspaces equal the algorithm written out, to
    1e-10, for moments that are kept, projected or reset.
    """
    x, gradients = stream(0, "random", steps=40, shapes=SHAPES)
    o = refopt.optimizer(
        name, lr=0.03, eps=1e-3, rank=2, update_every=9, scale=0.5, weight_decay=0.1, schedule=schedule,
        refresh_at_multiples=at_multiples, at_refresh=at_refresh, **BETAS,
    )  # fmt: skip
    want = {
        k: written_out(x[k], [g[k] for g in gradients], rank=2, period=9, at_multiples=at_multiples,
            at_refresh=at_refresh, fira=name == "fira")
        for k in x
    }  # fmt: skip
    s = o.init(x)
    for t, g in enumerate(gradients):
        x, s = o.update(x, g, s)
        for k, points in want.items():
            np.testing.assert_allclose(x[k], points[t], rtol=1e-10, atol=1e-11, err_msg=k)


@pytest.mark.claim("galore")
def test_memory() -> None:
    """state of min(m, n) r + 2 max(m, n) r numbers for an m × n matrix, as the paper's table counts."""
    for shape in ((30, 7), (7, 30), (9, 9)):
        s = refopt.optimizer("galore", rank=3).init(np.zeros(shape))
        assert s["m"].size + s["v"].size + s["basis"][0].size == 3 * (min(shape) + 2 * max(shape))


@pytest.mark.claim("fira")
def test_limiter() -> None:
    """The rest's norm grows by at most a factor of 1.01 a step, which gradients ten times larger would exceed."""
    rng = np.random.default_rng(0)
    o = refopt.optimizer("fira", lr=1.0, beta1=0.0, beta2=0.0, rank=1, scale=1e-30)
    x = np.zeros((3, 4))
    s = o.init(x)
    sizes = []
    for t in range(6):
        new, s = o.update(x, 10.0**t * rng.standard_normal((3, 4)), s)
        sizes.append(np.linalg.norm(new - x))
        x = new
    growth = np.array(sizes[1:]) / np.array(sizes[:-1])
    assert np.max(growth) <= 1.01 * (1 + 1e-12)
    assert np.max(growth) > 1.01 * (1 - 1e-12)


@pytest.mark.identity("fira", "galore")
def test_full_rank() -> None:
    """With the whole space as the subspace nothing is left over: Fira is GaLore, to 1e-12."""
    x, gradients = stream(1, "random", steps=20, shapes=SHAPES)
    a, b = (
        refopt.optimizer(name, lr=0.03, scale=1.0, update_every=6, **BETAS) for name in ("fira", "galore")
    )
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("at_refresh", ["keep", "reset"])
@pytest.mark.parametrize("name", ["galore", "fira", "dct-adamw"])
def test_leaves_outside_the_group_have_adam(name: str, at_refresh: str, corrected: bool) -> None:
    """A refresh is the projected leaves' alone: the others' moments and corrections go on."""
    x, gradients = stream(
        0, "random", steps=7, shapes={"w": (3, 4), "b": (4,), "k": (2, 2, 2), "head": (3, 3)}
    )
    settings: dict[str, Any] = {
        "lr": 0.1,
        "weight_decay": 0.1,
        "eps": 1e-3,
        "eps_corrected": corrected,
        **BETAS,
    }
    o = refopt.optimizer(
        name, rank=1, group=["w"], at_refresh=at_refresh, update_every=3, decay_after=False, **settings
    )
    adam = refopt.optimizer("adam", **settings)
    s, y = o.init(x), x
    a = adam.init(y)
    for g in gradients:
        x, s = o.update(x, g, s)
        y, a = adam.update(y, g, a)
    for k in ("b", "k", "head"):
        np.testing.assert_allclose(x[k], y[k], rtol=1e-13)
    assert not np.allclose(x["w"], y["w"])


def test_a_kernel_is_no_matrix() -> None:
    with pytest.raises(
        refopt.errors.ShapeError, match=r"group: wanted matrices, got leaf 'k' of shape \(2, 2, 2\)"
    ):
        refopt.optimizer("galore", group=["k"]).init({"k": np.zeros((2, 2, 2))})


def test_one_factor_where_both_sides_are_projected() -> None:
    """Without averages N = sign(R), so that the rest is (G - P R Qᵀ) ‖sign(R)‖ / ‖R‖."""
    g = np.random.default_rng(3).standard_normal((5, 4))
    u, sigma, vt = np.linalg.svd(g)
    o = refopt.optimizer("fira", lr=1.0, beta1=0.0, beta2=0.0, eps=0.0, rank=2, side="both", scale=1e-30)
    x, _ = o.update(np.zeros((5, 4)), g, o.init(np.zeros((5, 4))))
    rest = u[:, 2:4] @ np.diag(sigma[2:]) @ vt[2:]
    # R is diagonal to rounding, and the signs of that rounding count in N.
    assert np.linalg.norm(x) <= 2.0 * np.linalg.norm(rest) / np.linalg.norm(sigma[:2]) * (1 + 1e-12)
    np.testing.assert_allclose(x / np.linalg.norm(x), -rest / np.linalg.norm(rest), atol=1e-12)
