"""What is claimed of DCReg's solver, and its identities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from refopt.core import errors
from refopt.core.arrays import to_numpy
from refopt.linear.conjugate_gradient import cg, pcg
from refopt.linear.dcreg_pcg import characterise, clamped_inverse, dcreg_pcg


def _system(seed: int, weak: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Normal equations whose translation along one skew direction is weak."""
    rng = np.random.default_rng(seed)
    J = rng.standard_normal((30, 6))
    axis = np.array([0.2, 0.1, 1.0]) / np.linalg.norm([0.2, 0.1, 1.0])
    J[:, 3:] += (weak - 1) * (J[:, 3:] @ axis)[:, None] * axis
    return J.T @ J, J.T @ rng.standard_normal(30)


def _schur(H: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inverse = np.linalg.inv(H)  # its diagonal blocks are the inverses of the complements
    return np.linalg.inv(inverse[:3, :3]), np.linalg.inv(inverse[3:, 3:])


@pytest.mark.identity("dcreg-pcg")
def test_the_steps() -> None:
    """The paper's steps, written out: Schur complements as inverses of the inverse's blocks, greedy matching with the axes,
    clamping of degenerate directions alone, then preconditioned passes of which one, two and three are those of pcg: to 1e-9.
    """
    H, b = _system(0, weak=0.01)
    r = dcreg_pcg(H, b)
    P = np.zeros((6, 6))
    for start, (S, block) in zip((0, 3), zip(_schur(H), (r.rotation, r.translation))):
        values, vectors = np.linalg.eigh(S)
        taken: list[int] = []
        for axis in range(3):
            best = -1
            for k in range(3):
                if k not in taken and (best < 0 or abs(vectors[axis, k]) > abs(vectors[axis, best])):
                    best = k
            taken.append(best)
            v = vectors[:, best] * (1 if vectors[axis, best] >= 0 else -1)
            np.testing.assert_allclose(block.directions[:, axis], v, rtol=0, atol=1e-8)
        np.testing.assert_allclose(block.eigenvalues, values[taken], rtol=1e-8)
        np.testing.assert_allclose(block.condition, values.max() / values.min(), rtol=1e-8)
        weak = values.max() / values > 10
        np.testing.assert_array_equal(block.degenerate, weak[taken])
        np.testing.assert_allclose(block.contributions.sum(0), 1, rtol=1e-12)
        used = np.where(weak, values.max() / 10, values)
        P[start : start + 3, start : start + 3] = (vectors / used) @ vectors.T
    assert r.degenerate.tolist() == [False, False, False, False, False, True]
    want = pcg(H, b, preconditioner=P, rtol=1e-6, atol=1e-6, maxiter=10)
    np.testing.assert_allclose(r.residuals, want.residuals, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(r.x, want.x, rtol=0, atol=1e-9 * np.abs(want.x).max())
    # Matching is greedy: x takes its best direction, y the best of those left.
    turned = np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    S = (turned * np.array([1.0, 4.0, 9.0])) @ turned.T
    block = characterise(S, 3.0)
    np.testing.assert_allclose(block.eigenvalues, [4.0, 1.0, 9.0], rtol=1e-12)
    assert block.degenerate.tolist() == [False, True, False]
    np.testing.assert_allclose(
        np.linalg.inv(clamped_inverse(block, 2.0)),
        (turned * np.array([4.5, 4.0, 9.0])) @ turned.T, rtol=0, atol=1e-12,
    )  # fmt: skip


@pytest.mark.claim("dcreg-pcg")
def test_the_objective_is_not_changed() -> None:
    """Whatever kappa and threshold are, six passes give the plain system's answer (1e-8); with all thresholds out of reach the
    preconditioned spectrum is 1 / (1 +- rho), rho the canonical correlations of rotation and translation, to 1e-10.
    """
    H, b = _system(1, weak=0.05)
    want = np.linalg.solve(H, b)
    for threshold, target in ((10.0, 10.0), (2.0, 1.0), (1.5, 50.0)):
        r = dcreg_pcg(H, b, threshold=threshold, target=target, rtol=1e-12, atol=0.0)
        assert r.success and r.iterations <= 8
        np.testing.assert_allclose(r.x, want, rtol=0, atol=1e-8 * np.abs(want).max())
    blocks = [characterise(S, 1e9) for S in _schur(H)]
    P = np.zeros((6, 6))
    P[:3, :3], P[3:, 3:] = (clamped_inverse(block, 10.0) for block in blocks)
    left, right = np.linalg.cholesky(H[:3, :3]), np.linalg.cholesky(H[3:, 3:])
    rho = np.linalg.svd(np.linalg.solve(left, np.linalg.solve(right, H[3:, :3]).T), compute_uv=False)
    found = np.sort(np.linalg.eigvals(P @ H).real)
    np.testing.assert_allclose(found, np.sort(np.concatenate([1 / (1 + rho), 1 / (1 - rho)])), rtol=1e-10)


@pytest.mark.claim("dcreg-pcg")
def test_weak_directions_are_named() -> None:
    """A direction ten thousand times weaker is degenerate and along the axis that was weakened; ratios straddle the
    threshold; fewer passes than plain conjugate gradients on a badly scaled system.
    """
    H, b = _system(2, weak=0.01)
    r = dcreg_pcg(H, b)
    axis = np.array([0.2, 0.1, 1.0]) / np.linalg.norm([0.2, 0.1, 1.0])
    assert abs(r.translation.directions[:, 2] @ axis) > 0.999 and r.translation.condition > 1e3
    full = dcreg_pcg(_system(2)[0], b)
    assert not full.degenerate.any()
    ratio = full.translation.condition
    assert dcreg_pcg(_system(2)[0], b, threshold=ratio * 0.999).translation.degenerate.any()
    assert not dcreg_pcg(_system(2)[0], b, threshold=ratio * 1.001).translation.degenerate.any()
    scale = np.diag([1e3, 1e3, 1e3, 1.0, 1.0, 1.0])
    bad = scale @ _system(3)[0] @ scale
    assert dcreg_pcg(bad, b, rtol=1e-8).iterations <= 6 < cg(bad, b, rtol=1e-8).iterations


@pytest.mark.identity("dcreg-pcg")
def test_singular() -> None:
    """A direction that nothing fixes: least norm, told; a right side that nothing explains: told."""
    H, b = _system(4, weak=0.0)
    r = dcreg_pcg(H, b)
    assert r.success and r.degenerate[5]
    np.testing.assert_allclose(r.x, np.linalg.pinv(H) @ b, rtol=0, atol=1e-9)
    zero = np.diag([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    told = dcreg_pcg(zero, np.ones(6))
    assert told.status == "residual-gap" and told.degenerate.all() and told.rotation is None
    np.testing.assert_allclose(told.x, [1, 1, 1, 1, 1, 0], atol=1e-14)
    assert told.residuals[-1] == told.true_residual == 1.0
    other = dcreg_pcg(np.diag([0.0, 1.0, 1.0, 1.0, 1.0, 1.0]), np.array([0.0, 1.0, 1.0, 1.0, 1.0, 1.0]))
    assert other.success and other.translation is None
    np.testing.assert_allclose(other.x, [0, 1, 1, 1, 1, 1], atol=1e-14)


def test_every_library(xp: Any, dtype: str) -> None:
    H, b = (v.astype(dtype) for v in _system(5))
    r = dcreg_pcg(xp.asarray((H + H.T) / 2), xp.asarray(b), rtol=1e-5)
    assert r.x.dtype == xp.asarray(b).dtype and r.success
    np.testing.assert_allclose(to_numpy(r.x), np.linalg.solve(*_system(5)), rtol=0, atol=1e-3)


def test_bad_input() -> None:
    H, b = _system(6)
    for arguments, keywords, error, word in (
        ((H[:5, :5], b), {}, errors.ShapeError, "H"),
        ((H, b[:5]), {}, errors.ShapeError, "b"),
        ((np.triu(H), b), {}, errors.ArgumentError, "H"),
        ((H, b.astype(np.float32)), {}, errors.DtypeError, "H, b"),
        ((H * np.nan, b), {}, errors.NonFiniteError, "H"),
        ((H, b), {"threshold": 0.5}, errors.ArgumentError, "threshold"),
        ((H, b), {"target": 0.5}, errors.ArgumentError, "target"),
        ((H, b), {"maxiter": -1}, errors.ArgumentError, "maxiter"),
        ((H, b), {"rtol": -1.0}, errors.ArgumentError, "rtol"),
    ):
        with pytest.raises(error, match=word):
            dcreg_pcg(*arguments, **keywords)
