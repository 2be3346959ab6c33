"""DLRT: projected gradients, gradient descent at full rank, truncation, and small singular values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.parity.case import Arrays, Case

PEER = "ScSteffen/DLRT@a66c7e99e506604b36d731c7a21f7307f5c69734"


class Pair:
    """Gradients of two matrices and a vector, each of which depends on the others."""

    n, m = (8, 6), (5, 7)

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.a, self.b = rng.standard_normal(self.n), rng.standard_normal(self.m)

    def start(self) -> dict[str, np.ndarray]:
        """The best approximation of rank 2 of other matrices, and ones."""

        def low(w: np.ndarray) -> np.ndarray:
            U, s, Vt = np.linalg.svd(w)
            return (U[:, :2] * s[:2]) @ Vt[:2]

        return {"a": low(self.a[::-1] + 1.0), "b": low(self.b[:, ::-1]), "c": np.ones(8)}

    def grad(self, x: Any) -> dict[str, np.ndarray]:
        r, q = x["a"] - self.a + 0.3 * x["c"][:, None], x["b"] - self.b
        return {
            "a": r**3 + 0.1 * np.tanh(np.sum(q)),
            "b": q * (1.0 + 0.5 * np.tanh(np.sum(r))),
            "c": x["c"] + 0.3 * np.sum(r**3, axis=1),
        }


def ours(seed: int) -> Arrays:
    out: Arrays = {}
    for label, tolerance in (("loose", 0.3), ("tight", 0.02)):
        p = Pair(seed)
        o, oracle, x = refopt.optimizer("dlrt", lr=0.03, rank=2, tolerance=tolerance), Oracle(p), p.start()
        s, points, ranks = o.init(x), [], []
        for t in range(1, 41):
            oracle.begin(t)
            x, s = o.step(x, s, oracle)
            points.append(np.concatenate([x[k].ravel() for k in "abc"]))
            ranks.append([float(s["factors"][k][1].shape[0]) for k in "ab"])
        out |= {f"{label}-x": np.stack(points), f"{label}-ranks": np.array(ranks)}
    return out


CASES = [
    Case("dlrt", "official", PEER, ours, None,
        says="40 steps of the authors' adaptive KLS integrator with relative thresholds of 0.3 and 0.02, on two coupled matrices that"
        " move at once beside a vector, with the columns of V where their truncation has those of its transpose, to 1e-12."),
]  # fmt: skip


class Fit:
    """f(W, b) = sum of (W - A + c b 1ᵀ)⁴ / 4 and |b|² / 2: nonlinear, with coupled leaves."""

    def __init__(self, shape: tuple[int, int], seed: int = 0) -> None:
        self.a = np.random.default_rng(seed).standard_normal(shape)
        self.asked: list[Any] = []

    def grad(self, x: Any) -> dict[str, np.ndarray]:
        self.asked.append(x)
        w, b = x["w"], x["b"]
        r = w - self.a + 0.3 * b[:, None]
        return {"w": r**3, "b": b + 0.3 * np.sum(r**3, axis=1)}


def start(shape: tuple[int, int], rank: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    w = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    return {"w": w, "b": rng.standard_normal(shape[0])}


def one(o: Any, x: Any, p: Fit, s: Any = None) -> Any:
    oracle = Oracle(p, 0)
    oracle.begin(1)
    return o.step(x, o.init(x) if s is None else s, oracle)


def projector(*blocks: np.ndarray) -> np.ndarray:
    q = np.linalg.qr(np.concatenate(blocks, axis=1))[0]
    return q @ q.T


@pytest.mark.claim("dlrt")
@pytest.mark.parametrize("shape", [(8, 6), (6, 8)])
def test_the_step_is_a_projected_gradient(shape: tuple[int, int]) -> None:
    """Before truncation W moves by - η P_U G P_V, with the projectors onto the spans of [G V, U] and [Gᵀ U, V], and
    the second gradient is asked where the first was, to 1e-13.
    """
    x, p, eta = start(shape, 2), Fit(shape), 0.02
    o = refopt.optimizer("dlrt", lr=eta, rank=2, tolerance=0.0)
    new, s = one(o, x, p)
    first, second = p.asked
    np.testing.assert_allclose(first["w"], x["w"], atol=1e-13)
    np.testing.assert_allclose(second["w"], x["w"], atol=1e-13)
    g = Fit(shape).grad(x)
    U, _, Vt = np.linalg.svd(x["w"])
    U, V = U[:, :2], Vt[:2].T
    want = x["w"] - eta * projector(g["w"] @ V, U) @ g["w"] @ projector(g["w"].T @ U, V)
    np.testing.assert_allclose(new["w"], want, atol=1e-12)
    np.testing.assert_allclose(new["b"], x["b"] - eta * g["b"], atol=1e-13)
    U, S, V = s["factors"]["w"]
    assert S.shape == (4, 4)
    np.testing.assert_allclose(U.T @ U, np.eye(4), atol=1e-13)
    np.testing.assert_allclose(V.T @ V, np.eye(4), atol=1e-13)


@pytest.mark.identity("dlrt")
def test_square_at_full_rank() -> None:
    """A square matrix of fixed full rank: gradient descent, over 20 steps, to 1e-12."""
    x, p = start((5, 5), 5), Fit((5, 5))
    o = refopt.optimizer("dlrt", lr=0.01, rank=5, adaptive=False, schedule=lambda t: 1.0 / t)
    s, y = o.init(x), x
    for t in range(1, 21):
        x, s = one(o, x, p, s)
        g = p.grad(y)
        y = {k: y[k] - 0.01 / t * g[k] for k in y}
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-12)


@pytest.mark.identity("dlrt")
def test_fixed_rank_written_out() -> None:
    """Ten steps of rank 2 equal the listing with projectors in place of bases, to 1e-11."""
    shape, eta = (7, 5), 0.01
    x, p = start(shape, 2), Fit(shape)
    o = refopt.optimizer("dlrt", lr=eta, rank=2, adaptive=False)
    s, w, b = o.init(x), x["w"], x["b"]
    for _ in range(10):
        x, s = one(o, x, p, s)
        U, sigma, Vt = np.linalg.svd(w)
        U, V, S = U[:, :2], Vt[:2].T, np.diag(sigma[:2])
        g = p.grad({"w": w, "b": b})["w"]
        left, right = projector(U @ S - eta * g @ V), projector(V @ S - eta * g.T @ U)
        middle = left @ w @ right
        g = p.grad({"w": middle, "b": b})
        w, b = middle - eta * left @ g["w"] @ right, b - eta * g["b"]
        np.testing.assert_allclose(x["w"], w, atol=1e-11)
        np.testing.assert_allclose(x["b"], b, atol=1e-12)


@pytest.mark.claim("dlrt")
def test_truncation() -> None:
    """What truncation takes has a norm of at most τ ‖Σ‖, and one singular value less would be more than that; a limit
    of the rank holds.
    """
    x, p = start((8, 8), 3), Fit((8, 8))
    whole, _ = one(refopt.optimizer("dlrt", lr=0.05, rank=3, tolerance=0.0), x, p)
    sigma = np.linalg.svd(whole["w"])[1]
    for tau in (0.01, 0.1, 0.3, 0.6):
        new, s = one(refopt.optimizer("dlrt", lr=0.05, rank=3, tolerance=tau), x, p)
        r = s["factors"]["w"][1].shape[0]
        bound = tau * np.linalg.norm(sigma)
        np.testing.assert_allclose(
            np.linalg.norm(new["w"] - whole["w"]), np.linalg.norm(sigma[r:]), atol=1e-12
        )
        assert np.linalg.norm(sigma[r:]) <= bound < np.linalg.norm(sigma[r - 1 :])
    _, s = one(refopt.optimizer("dlrt", lr=0.05, rank=3, tolerance=0.0, max_rank=2), x, p)
    assert s["factors"]["w"][1].shape == (2, 2)


@pytest.mark.claim("dlrt")
def test_small_singular_values_do_no_harm() -> None:
    """From a start with a singular value of 1e-10 a step is no longer than η ‖G‖ and comes at least as near to the
    full gradient's as without it: no S is inverted.
    """
    x, p = start((6, 6), 1), Fit((6, 6))
    rng = np.random.default_rng(2)
    near = {**x, "w": x["w"] + 1e-10 * np.outer(rng.standard_normal(6), rng.standard_normal(6))}
    a, _ = one(refopt.optimizer("dlrt", lr=0.05, rank=1, tolerance=0.0), x, p)
    b, _ = one(refopt.optimizer("dlrt", lr=0.05, rank=2, tolerance=0.0), near, p)
    g = Fit((6, 6)).grad(x)["w"]
    # With two columns more in its bases the step may only come nearer to the full gradient's.
    full = x["w"] - 0.05 * g
    assert np.linalg.norm(b["w"] - full) <= np.linalg.norm(a["w"] - full) + 1e-9
    assert np.all(np.abs(b["w"] - x["w"]) <= 0.05 * np.linalg.norm(g))


@pytest.mark.claim("dlrt")
def test_the_norm_of_all_that_is_cut_counts() -> None:
    """Three singular values of 0.3 beside 1 are 0.52 together, which τ = 0.4 (of 1.127) does not cut whole: two of them
    go; at any scale, and a zero matrix keeps rank one.
    """
    o: Any = refopt.optimizer("dlrt", tolerance=0.4)
    sigma = np.array([1.0, 0.3, 0.3, 0.3])
    assert [o.kept(unit * sigma) for unit in (1.0, 1e-200, 1e200)] == [2, 2, 2]
    assert o.kept(0.0 * sigma) == 1
    assert refopt.optimizer("dlrt", tolerance=0.4, max_rank=3).kept(sigma) == 2  # type: ignore[attr-defined]


def test_the_first_gradient_is_taken_at_low_rank() -> None:
    """A start of full rank is its best approximation, for an array as for a dict."""
    x, p = start((5, 4), 4), Fit((5, 4))
    one(refopt.optimizer("dlrt", lr=0.01, rank=2), x, p)
    u, sigma, vt = np.linalg.svd(x["w"], full_matrices=False)
    np.testing.assert_allclose(p.asked[0]["w"], (u[:, :2] * sigma[:2]) @ vt[:2], atol=1e-13)
    np.testing.assert_array_equal(p.asked[0]["b"], x["b"])
