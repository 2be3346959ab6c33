"""The aggregators beside torchjd on random, conflicting and degenerate matrices. Runs where it is installed: `make parity`.

CAGrad's and Nash-MTL's peers solve by cvxpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

torch = pytest.importorskip("torch")
peers = pytest.importorskip("torchjd.aggregation")


def matrices() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(20)
    row, other = rng.standard_normal((2, 6))
    return {
        **{f"random {m} x {n}": rng.standard_normal((m, n)) for m, n in ((2, 2), (3, 7), (5, 5), (6, 20))},
        "lengths 1e-3 to 1e3": np.diag([1e-3, 1.0, 1e3]) @ rng.standard_normal((3, 8)),
        # Every pair conflicts.
        "conflicting": np.linalg.cholesky(1.25 * np.eye(4) - 0.3),
        "conflicting 4 x 3": rng.standard_normal((4, 3)) + np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 1, 0], [0, -1, 0]]),
        "more rows than columns": rng.standard_normal((6, 3)),
        "rank one": np.outer([1.0, 2.0, 0.5], row),
        "rank two": np.array([[1.0, 0.3], [0.2, 1.0], [0.7, 0.6]]) @ np.stack([row, other]),
        "twice the same": np.stack([row, row, other]),
        "opposite": np.stack([row, -2.0 * row]),
        "a zero row": np.stack([row, other, 0.0 * row]),
        "zero": np.zeros((3, 4)),
    }  # fmt: skip


MATRICES = matrices()
every = pytest.mark.parametrize("kind", MATRICES)


def theirs(made: Any, J: np.ndarray) -> np.ndarray:
    return made(torch.tensor(J)).numpy()


@every
@pytest.mark.parametrize(("name", "peer"), [("upgrad", "UPGrad"), ("dualproj", "DualProj"), ("mean", "Mean")])
def test_projections(name: str, peer: str, kind: str) -> None:
    """UPGrad, DualProj and the mean, exact where the rows are independent: to 1e-15 times the Gramian's condition of the matrix's norm and
    1e-12; elsewhere with 1e-12 added to the Gramian over its trace, without which quadprog refuses it: to its root, 1e-6.
    """
    J = MATRICES[kind]
    sizes = np.linalg.svd(J, compute_uv=False)
    independent = len(J) <= J.shape[1] and sizes[-1] > 1e-8 * sizes[0]
    options, bound = {}, 1e-15 * (sizes[0] / sizes[-1]) ** 2 + 1e-12 if independent else 1e-6
    if name != "mean":
        from torchjd.linalg import QuadprogProjector

        norm_eps = 0.0 if np.any(J) else 1e-4
        options["projector"] = QuadprogProjector(norm_eps=norm_eps, reg_eps=0.0 if independent else 1e-12)
    want = theirs(getattr(peers, peer)(**options), J)
    np.testing.assert_allclose(refopt.get(name)(J), want, rtol=0, atol=bound * max(np.linalg.norm(J), 1e-300))


@every
def test_mgda(kind: str) -> None:
    """Frank-Wolfe steps, 4000 of them: torchjd's direction is in the hull and never shorter than ours, and at most 1e-2 of the longest row
    away from it; of two rows, where it is exact, to 1e-12.
    """
    J = MATRICES[kind]
    want, got = theirs(peers.MGDA(epsilon=1e-15, max_iters=4000), J), refopt.get("mgda")(J)
    longest = np.max(np.linalg.norm(J, axis=1))
    assert np.linalg.norm(got) <= np.linalg.norm(want) + 1e-12 * longest
    bound = 1e-12 if len(J) == 2 else 1e-2
    np.testing.assert_allclose(got, want, rtol=0, atol=bound * longest)


@every
@pytest.mark.parametrize("seed", range(3))
def test_pcgrad(kind: str, seed: int) -> None:
    """In the orders that torch draws for its own: to 1e-11 of the longest row."""
    J = MATRICES[kind]
    if kind in ("a zero row", "zero"):
        pytest.skip("rounding below zero over a square of zero is not a number in torchjd")
    torch.manual_seed(seed)
    order = [torch.randperm(len(J)).tolist() for _ in J]
    torch.manual_seed(seed)
    want = theirs(peers.PCGrad(), J)
    longest = np.max(np.linalg.norm(J, axis=1))
    np.testing.assert_allclose(refopt.get("pcgrad")(J, order=order), want, rtol=0, atol=1e-11 * longest)


@every
def test_imtl_g(kind: str) -> None:
    """Dependent rows too, whose Gramian both invert on its range: to 1e-12 of the direction's or the longest row's length times the
    square of the used singular values' ratio.
    """
    J = MATRICES[kind]
    got, want = refopt.get("imtl-g")(J), theirs(peers.IMTLG(), J)
    sizes = np.linalg.svd(J, compute_uv=False)
    used = sizes[sizes > 1e-10 * max(sizes[0], 1e-300)]
    ratio = (used[0] / used[-1]) ** 2 if used.size else 1.0
    size = max(np.linalg.norm(want), np.max(np.linalg.norm(J, axis=1)))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * ratio * size)


@every
@pytest.mark.parametrize("c", [0.2, 0.7])
def test_cagrad(kind: str, c: float) -> None:
    """CLARABEL's solution, to 1e-3 of the longest row, the root of its tolerance and more; where MGDA's direction is zero torchjd gives zero by its rule and
    the mean of the paper's limit is ours.
    """
    pytest.importorskip("cvxpy")
    pytest.importorskip("clarabel")
    J = MATRICES[kind]
    want, got = theirs(peers.CAGrad(c=c, norm_eps=1e-6), J), refopt.get("cagrad")(J, c=c)
    if not np.any(want):
        np.testing.assert_allclose(got, J.mean(axis=0), rtol=0, atol=1e-12)
        return
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-3 * np.max(np.linalg.norm(J, axis=1)))


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::FutureWarning"
)  # cvxpy's, of torchjd's program and of ECOS
@every
def test_nash_mtl(kind: str) -> None:
    """ECOS's rounds, up to 200, on independent rows of like lengths: to 2e-3 of the direction's length √m. On others ECOS fails, and
    torchjd goes on with weights of one: there ours is held to its equation, to 1e-9, and to zero where zero is in the rows' hull.
    """
    pytest.importorskip("cvxpy")
    pytest.importorskip("ecos")
    J = MATRICES[kind]
    got = refopt.get("nash-mtl")(J)
    if np.linalg.norm(refopt.get("mgda")(J)) < 1e-10 * max(1.0, np.linalg.norm(J)):
        np.testing.assert_array_equal(got, 0.0)
        return
    gains = J @ got
    np.testing.assert_allclose(J.T @ (1.0 / gains), got, rtol=0, atol=1e-9 * len(J) ** 0.5)
    lengths, sizes = np.linalg.norm(J, axis=1), np.linalg.svd(J, compute_uv=False)
    if lengths.max() < 30 * lengths.min() and sizes[-1] > 1e-8 and len(J) <= J.shape[1]:
        made = peers.NashMTL(n_tasks=len(J), max_norm=0.0, update_weights_every=1, optim_niter=200)
        np.testing.assert_allclose(got, theirs(made, J), rtol=0, atol=2e-3 * len(J) ** 0.5)
