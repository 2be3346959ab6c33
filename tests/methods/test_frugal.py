"""FRUGAL: its limits AdamW, signSGD and GaLore, and the parts it is made of."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream

SHAPES = {"tall": (5, 3), "wide": (3, 6), "b": (4,)}
RUN = stream(0, "random", steps=12, shapes=SHAPES)
EACH = ["blocks", "columns", "rows", "entries", "svd", "random", "permutation"]
SET = {"lr": 0.03, "beta1": 0.8, "beta2": 0.7, "weight_decay": 0.1}


@pytest.mark.identity("frugal")
@pytest.mark.parametrize("projection", ["blocks", "columns", "rows", "entries"])
def test_everything_active_is_adamw(projection: str) -> None:
    """ρ = 1 and one choice for ever: AdamW, to 1e-14."""
    a = refopt.optimizer("frugal", density=1.0, projection=projection, **SET)
    assert_same_run(a, refopt.optimizer("adamw", **SET, decay="decoupled"), RUN, rtol=1e-13, atol=1e-14)


@pytest.mark.identity("frugal")
@pytest.mark.parametrize("projection", EACH)
def test_nothing_active_is_sign_descent(projection: str) -> None:
    """ρ = 0: signSGD with decoupled decay at α κ times the rate, to 1e-14."""
    x, gradients = stream(0, "random", steps=6, shapes={"w": (5, 3)})
    o = refopt.optimizer("frugal", density=0.0, projection=projection, scale=0.5, inactive_ratio=0.4, **SET)
    s, y = o.init(x), x["w"]
    for g in gradients:
        x, s = o.update(x, g, s)
        y = (1 - 0.03 * 0.1) * y - 0.03 * 0.2 * np.sign(g["w"])
        np.testing.assert_allclose(x["w"], y, rtol=1e-13)


@pytest.mark.identity("frugal")
def test_with_the_rest_left_out_it_is_galore() -> None:
    """Singular subspaces, moments kept, no rule for the rest, α = 1/4: GaLore of the same rank, bit for bit."""
    shapes = {"tall": (7, 4), "wide": (4, 7)}
    a = refopt.optimizer("frugal", density=0.5, projection="svd", at_refresh="keep", inactive="none", scale=0.25,
        update_every=5, **SET)  # fmt: skip
    b = refopt.optimizer("galore", rank=2, side="std", update_every=5, **SET)
    assert_same_run(a, b, stream(0, "random", steps=12, shapes=shapes), rtol=1e-13, atol=1e-14)


@pytest.mark.claim("frugal")
@pytest.mark.parametrize("projection", EACH)
def test_memory(projection: str) -> None:
    """Moments of 2 ρ m n numbers, beside the basis where there is one."""
    x = {k: np.ones((8, 8)) for k in "abcd"}
    o = refopt.optimizer("frugal", density=0.25, projection=projection)
    x, s = o.update(x, {k: np.random.default_rng(0).standard_normal((8, 8)) for k in x}, o.init(x))
    assert sum(a.size for slot in ("m", "v") for a in s[slot].values()) == 2 * 64


@pytest.mark.identity("frugal")
@pytest.mark.parametrize("projection", EACH)
def test_two_parts(projection: str) -> None:
    """One step from zero moments without averages: sign(A) in the chosen part, and κ sign(G - A) beside it, so that
    each entry moves by the rate times the sign of the gradient (κ = 1, coordinates), to 1e-12. A new choice comes
    with zero moments at t = T + 1 and is another one.
    """
    o = refopt.optimizer(
        "frugal", lr=1.0, beta1=0.0, beta2=0.0, eps=0.0, density=0.5, projection=projection, update_every=2
    )
    x = {k: np.zeros((4, 6)) for k in "abcd"}
    s, rng, chosen = o.init(x), np.random.default_rng(0), []
    for _ in range(5):
        g = {k: rng.standard_normal((4, 6)) for k in x}
        new, s = o.update(x, g, s)
        for k in x:
            if projection in ("svd", "random"):
                (P,) = s["active"][k]
                np.testing.assert_allclose(P.T @ P, np.eye(2), atol=1e-14)
                rest = g[k] - P @ (P.T @ g[k])
                want = P @ np.sign(P.T @ g[k]) + np.sign(rest)
            else:
                want = np.sign(g[k])
            np.testing.assert_allclose(new[k] - x[k], -want, atol=1e-12)
        chosen.append([np.asarray(s["active"][k][0]).tolist() for k in x])
        x = new
    for same, a, b in ((True, 0, 1), (False, 1, 2), (True, 2, 3), (False, 3, 4)):
        assert (chosen[a] == chosen[b]) == same


def test_corrections_count_from_the_choice() -> None:
    """With moments that a new choice makes zero, its first step is as large as the very first."""
    o = refopt.optimizer("frugal", lr=1.0, density=0.5, inactive="none", update_every=3, eps=0.0)
    x = np.zeros((2, 4))
    s = o.init(x)
    for t in range(1, 5):
        new, s = o.update(x, np.full((2, 4), 10.0**t), s)
        moved, x = new - x, new
        if t in (1, 4):
            np.testing.assert_allclose(np.sort(moved.ravel()), [-1.0] * 4 + [0.0] * 4, rtol=1e-12)


def test_coupled_decay_chooses_by_the_decayed_gradient() -> None:
    x = np.diag([0.0, 10.0, 0.0])
    o = refopt.optimizer("frugal", density=0.34, projection="svd", weight_decay=1.0, decay="coupled")
    _, s = o.update(x, np.diag([1.0, 0.1, 0.1]), o.init(x))
    np.testing.assert_allclose(np.abs(s["active"][0][:, 0]), [0.0, 1.0, 0.0], atol=1e-12)


@pytest.mark.identity("frugal")
@pytest.mark.parametrize("at_refresh", ["keep", "reset"])
@pytest.mark.parametrize("projection", ["blocks", "columns", "rows", "entries"])
def test_written_out(projection: str, at_refresh: str) -> None:
    """12 steps with a new choice every third, the rest by itself: AdamW on the chosen entries in their order, its moments kept over a
    choice or set to zero (of blocks always), to 1e-12; the counts of what is chosen."""
    o = refopt.optimizer("frugal", lr=0.03, beta1=0.8, beta2=0.7, eps=1e-3, weight_decay=0.1, density=0.5, scale=0.6,
        inactive="sgd", inactive_ratio=0.3, update_every=3, projection=projection, at_refresh=at_refresh, seed=3)  # fmt: skip
    x, gradients = stream(1, "random", steps=12, shapes={"a": (5, 4), "b": (3, 7)})
    fresh = at_refresh == "reset" or projection == "blocks"
    y, s = {k: v.ravel() for k, v in x.items()}, o.init(x)
    m, v = {}, {}
    for t, gradient in enumerate(gradients, 1):
        x, s = o.update(x, gradient, s)
        n = (t - 1) % 3 + 1 if fresh else t
        for k, g in ((k, g.ravel()) for k, g in gradient.items()):
            chosen = np.asarray(s["active"][k][0])
            size = {
                "blocks": chosen.size,
                "columns": {"a": 10, "b": 9}[k],
                "rows": {"a": 8, "b": 7}[k],
                "entries": 10,
            }
            assert len(set(chosen.tolist())) == chosen.size == size[projection]
            if t == 1 or (n == 1 and fresh):
                m[k] = v[k] = np.zeros(chosen.size)
            a = g[chosen]
            m[k], v[k] = 0.8 * m[k] + 0.2 * a, 0.7 * v[k] + 0.3 * a**2
            step = 0.3 * g
            step[chosen] = m[k] / (1 - 0.8**n) / (np.sqrt(v[k] / (1 - 0.7**n)) + 1e-3)
            y[k] = (1 - 0.03 * 0.1) * y[k] - 0.03 * 0.6 * step
            np.testing.assert_allclose(x[k].ravel(), y[k], rtol=1e-12, atol=1e-13)


@pytest.mark.identity("frugal")
def test_blocks_in_order() -> None:
    """Three of seven leaves at a time from the front or the back, and two pairs from both ends, round and round."""
    ways = {
        "ascending": (0.43, [[0, 1, 2], [3, 4, 5], [6, 0, 1]]),
        "descending": (0.43, [[6, 5, 4], [3, 2, 1], [0, 6, 5]]),
        "mirror": (0.58, [[0, 1, 6, 5], [2, 0, 4, 6], [1, 2, 5, 4]]),
    }
    for order, (density, want) in ways.items():
        o = refopt.optimizer("frugal", projection="blocks", order=order, density=density, update_every=2)
        assert [o.blocks(7, t, np.random.default_rng(0)) for t in (1, 3, 5)] == want


@pytest.mark.identity("frugal")
def test_of_a_whole_space_nothing_is_left() -> None:
    """ρ = 1 in random subspaces: the step is P sign(Pᵀ G) without averages, to 1e-12, and no signs of rounding beside it."""
    o = refopt.optimizer("frugal", lr=1.0, beta1=0.0, beta2=0.0, eps=0.0, density=1.0, projection="random")
    g = np.random.default_rng(0).standard_normal((4, 6))
    x, s = o.update(np.zeros((4, 6)), g, o.init(np.zeros((4, 6))))
    (P,) = s["active"]
    np.testing.assert_allclose(x, -P @ np.sign(P.T @ g), atol=1e-12)
