"""GradNormLoRP written out, beside GaLore, and what its magnitudes do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream

BETAS = {"beta1": 0.8, "beta2": 0.7}
SHAPES = {"tall": (5, 3), "wide": (3, 5), "square": (4, 4), "vector": (4,)}


def adam(
    m: np.ndarray, v: np.ndarray, g: np.ndarray, t: int, eps: float, corrected: bool
) -> tuple[np.ndarray, ...]:
    """The moments, and Adam's step of unit rate, with ε beside the root, `corrected` or not."""
    m, v = 0.8 * m + 0.2 * g, 0.7 * v + 0.3 * g * g
    if corrected:
        return m, v, m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.7**t)) + eps)
    return m, v, np.sqrt(1 - 0.7**t) / (1 - 0.8**t) * m / (np.sqrt(v) + eps)


def written_out(
    x: np.ndarray, gradients: list[np.ndarray], *, rank: int, kept: bool, at_refresh: str, before: bool, coupled: bool,
    corrected: bool,
) -> list[np.ndarray]:  # fmt: skip
    """One leaf, row by row: a vector is one row without a subspace. Decay of the old D and c `before` the step, or of the new."""
    lr, period, scale, eps, wd, out = 0.03, 9, 0.5, 1e-3, 0.1, []
    D = x.copy()
    c = [np.linalg.norm(row) for row in np.atleast_2d(D)]
    m, v, first = np.zeros(()), np.zeros(()), 1
    mc, vc, P = np.zeros(len(c)), np.zeros(len(c)), None
    right = x.ndim == 2 and x.shape[0] >= x.shape[1]
    for t, G in enumerate(gradients, 1):
        if not kept:
            c = [np.linalg.norm(row) for row in np.atleast_2d(D)]
        rows, slopes = (
            np.atleast_2d(G + wd * (out[-1] if out else x) if coupled else 1.0 * G),
            np.zeros(len(c)),
        )
        for i, row in enumerate(np.atleast_2d(D)):
            length = np.linalg.norm(row)
            slopes[i] = rows[i] @ row / length
            rows[i] = rows[i] * (c[i] / length)
        R = rows.reshape(G.shape)
        if x.ndim == 2:
            if (t - 1) % period == 0:
                u, _, vt = np.linalg.svd(R, full_matrices=False)
                old, P = P, vt[:rank] if right else u[:, :rank].T
                if at_refresh == "reset":
                    m, v, first = 0.0 * m, 0.0 * v, t
                elif at_refresh == "project" and t > 1:
                    turn = old @ P.T
                    m, v = (m @ turn, v @ turn**2) if right else (turn.T @ m, turn.T**2 @ v)
            R = R @ P.T if right else P @ R
        m, v, step = adam(m, v, R, t - first + 1, eps, corrected)
        mc, vc, step_c = adam(mc, vc, slopes, t, eps, corrected)
        if x.ndim == 2:
            step = scale * (step @ P if right else P.T @ step)
        rate = lr * schedule(t)
        keep = 1.0 if coupled else 1 - rate * wd
        on_old, on_new = (keep, 1.0) if before else (1.0, keep)
        D = (on_old * D - rate * step) * on_new
        c = [(on_old * c[i] - rate * step_c[i]) * on_new for i in range(len(c))]
        new = [c[i] * row / np.linalg.norm(row) for i, row in enumerate(np.atleast_2d(D))]
        out.append(np.array(new).reshape(x.shape))
    return out


@pytest.mark.identity("gradnormlorp")
@pytest.mark.parametrize("magnitude", ["reset", "kept"])
@pytest.mark.parametrize(
    ("at_refresh", "before", "coupled", "corrected"),
    [
        ("keep", False, False, False),
        ("reset", True, False, False),
        ("reset", False, False, True),
        ("project", False, True, False),
    ],
)
def test_written_out(magnitude: str, at_refresh: str, before: bool, coupled: bool, corrected: bool) -> None:
    """40 steps of tall, wide and square matrices over five subspaces and of a vector equal the authors' class written out row by row,
    to 1e-10; with magnitudes that are reset and kept, moments that are kept, reset and projected, decay of all three kinds, and ε beside both roots.
    """
    x, gradients = stream(0, "random", steps=40, shapes=SHAPES)
    options: dict[str, Any] = {
        "kept": magnitude == "kept",
        "at_refresh": at_refresh,
        "before": before,
        "coupled": coupled,
        "corrected": corrected,
    }
    want = {k: written_out(x[k], [g[k] for g in gradients], rank=2, **options) for k in SHAPES}
    o = refopt.optimizer(
        "gradnormlorp", lr=0.03, eps=1e-3, rank=2, update_every=9, scale=0.5, weight_decay=0.1, magnitude=magnitude,
        at_refresh=at_refresh, decay_after=not before, decay="coupled" if coupled else "decoupled", schedule=schedule,
        eps_corrected=corrected, **BETAS,
    )  # fmt: skip
    s = o.init(x)
    for t, g in enumerate(gradients):
        x, s = o.update(x, g, s)
        for k, points in want.items():
            np.testing.assert_allclose(x[k], points[t], rtol=1e-10, atol=1e-11, err_msg=k)


@pytest.mark.identity("gradnormlorp")
def test_the_direction_is_where_galore_is() -> None:
    """On the same gradients D moves as GaLore's W does under the same settings, bit for bit, over three subspaces with decay: the
    magnitudes that are reset change the point of the next gradient alone.
    """
    settings: dict[str, Any] = {"lr": 0.03, "rank": 2, "update_every": 9, "scale": 0.5, "eps": 1e-3, "eps_corrected": False,
        "side": "std", "decay_after": True, "weight_decay": 0.1, "schedule": schedule, **BETAS}  # fmt: skip
    x, gradients = stream(1, "random", steps=25, shapes=SHAPES)
    ours, galore = refopt.optimizer("gradnormlorp", **settings), refopt.optimizer("galore", **settings)
    y, s, z = x, ours.init(x), galore.init(x)
    for g in gradients:
        y, s = ours.update(y, g, s)
        x, z = galore.update(x, g, z)
        for k in SHAPES:
            np.testing.assert_array_equal(s["direction"][k], x[k], err_msg=k)
            # W lies along D, and is another point.
            np.testing.assert_allclose(y[k] * _lengths(x[k]), x[k] * _lengths(y[k]), rtol=1e-13, atol=1e-14)
            assert np.max(np.abs(y[k] - x[k])) > 1e-5


def _lengths(a: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a, axis=-1, keepdims=True)


@pytest.mark.claim("gradnormlorp")
def test_magnitudes_are_forgotten_or_learnt() -> None:
    """50 steps of a gradient along the rows, where Adam moves each entry and each length by the rate. Where c is reset, D's rows of two
    entries become shorter by sqrt(2) of it a step, as GaLore's would, and W's are D's of the step before and one step of the length;
    where it is kept, W's are the start's less 50 steps of the length; to 1e-12.
    """
    x = np.array([[30.0, 30.0], [60.0, -60.0]])
    start = _lengths(x)
    for magnitude in ("reset", "kept"):
        o = refopt.optimizer("gradnormlorp", lr=0.1, rank=1, eps=0.0, group=(), magnitude=magnitude)
        y, s = x, o.init(x)
        for _ in range(50):
            y, s = o.update(y, x, s)
        if magnitude == "reset":
            np.testing.assert_allclose(_lengths(s["direction"]), start - 5.0 * np.sqrt(2.0), rtol=1e-12)
        want = start - 49 * 0.1 * np.sqrt(2.0) - 0.1 if magnitude == "reset" else start - 50 * 0.1
        np.testing.assert_allclose(_lengths(y), want, rtol=1e-12)


@pytest.mark.claim("gradnormlorp")
def test_memory() -> None:
    """To GaLore's ``min(m, n) r + 2 max(m, n) r`` numbers come D, of m n, and two moments of m magnitudes; kept ones are m more."""
    for m, n in ((30, 7), (7, 30), (9, 9)):
        for magnitude, more in (("reset", 0), ("kept", m)):
            s = refopt.optimizer("gradnormlorp", rank=3, magnitude=magnitude).init(np.zeros((m, n)))
            parts = (a for k, v in s.items() if k != "t" for a in (v if isinstance(v, tuple) else (v,)))
            want = 3 * (min(m, n) + 2 * max(m, n)) + m * n + 2 * m + more
            assert sum(a.size for a in parts) == want


@pytest.mark.claim("gradnormlorp")
def test_the_step_of_the_direction_is_not_the_gradient_of_the_parametrisation() -> None:
    """By D the function ``f(c D / ‖D‖)`` has no slope along D; the class's step goes along D all the same. Of plain steps, β1 = β2 = 0 and
    an ε that makes them proportional to the gradient: the row of D grows along itself by the whole of ``<G, D>``.
    """
    rng = np.random.default_rng(0)
    D, G = rng.standard_normal((1, 4)), rng.standard_normal((1, 4))
    big = 1e9
    o = refopt.optimizer("gradnormlorp", lr=0.01 * big, eps=big, group=(), beta1=0.0, beta2=0.0)
    _, s = o.update(D, G, o.init(D))
    moved = s["direction"] - D
    np.testing.assert_allclose(moved, -0.01 * G, rtol=1e-6)

    def f(d: np.ndarray) -> float:
        return float(np.sum(G * d * (np.linalg.norm(D) / np.linalg.norm(d))))

    assert abs(f((1 + 1e-6) * D) - f(D)) <= 1e-12
    assert abs(np.sum(moved * D)) > 1e-3


@pytest.mark.identity("gradnormlorp")
def test_other_leaves_and_rows_of_zeros() -> None:
    """A kernel has Adam, to 1e-14; a matrix outside the group moves in all directions; a row of zeros divides nothing by zero and leaves its place."""
    x, gradients = stream(0, "random", steps=5, shapes={"w": (3, 4), "k": (2, 2, 2), "head": (3, 3)})
    x["w"][1] = 0.0
    for magnitude in ("reset", "kept"):
        o = refopt.optimizer("gradnormlorp", lr=0.1, rank=1, group=["w"], magnitude=magnitude, **BETAS)
        a = refopt.optimizer("adam", lr=0.1, eps=1e-6, eps_corrected=False, **BETAS)
        y, z, s, b = x, x, o.init(x), a.init(x)
        for g in gradients:
            y, s = o.update(y, g, s)
            z, b = a.update(z, g, b)
            assert all(np.all(np.isfinite(v)) for v in y.values())
        np.testing.assert_allclose(y["k"], z["k"], rtol=1e-14)
        assert np.linalg.matrix_rank(s["direction"]["head"] - x["head"]) == 3
        assert np.any(y["w"][1] != 0.0) == (magnitude == "reset")
    with pytest.raises(refopt.errors.ShapeError, match="group: wanted matrices, got leaf 'k'"):
        refopt.optimizer("gradnormlorp", group=["k"]).init(x)
    with pytest.raises(refopt.errors.ArgumentError, match="magnitude"):
        refopt.optimizer("gradnormlorp", magnitude="learnt")
