"""What the papers claim of Sinkhorn's iteration."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.transport.sinkhorn import sinkhorn
from refopt.transport.sinkhorn_log import sinkhorn_log

from tests.parity.peers.transport import _problem


def _hilbert(u: np.ndarray, v: np.ndarray) -> float:
    ratio = np.log(u / v)
    return float(ratio.max() - ratio.min())


@pytest.mark.claim("sinkhorn")
def test_hilbert_contraction() -> None:
    """Contracts in Hilbert's metric by at least ((sqrt(t) - 1) / (sqrt(t) + 1))^2 a pass."""
    a, b, C = _problem(1)
    reg = 0.4
    K = np.exp(-C / reg)
    theta = max(
        float(np.max(K[i][:, None] * K[k] / (K[k][:, None] * K[i]))) for i in range(14) for k in range(14)
    )
    factor = ((np.sqrt(theta) - 1) / (np.sqrt(theta) + 1)) ** 2
    limit = np.exp(sinkhorn(a, b, C, reg, tol=1e-15, maxiter=400).potentials[0] / reg)
    distances = [
        _hilbert(np.exp(sinkhorn(a, b, C, reg, tol=0.0, maxiter=k).potentials[0] / reg), limit)
        for k in range(1, 7)
    ]
    ratios = np.array(distances[1:]) / np.array(distances[:-1])
    assert distances[-1] > 1e-12  # still above rounding
    assert np.all(ratios <= factor * (1 + 1e-6))
    assert np.all(ratios > 0.02 * factor)


@pytest.mark.claim("sinkhorn-log")
def test_dual_ascent() -> None:
    """The dual value never falls from one pass to the next."""
    a, b, C = _problem(2)
    reg = 0.01
    values = []
    for passes in range(1, 40):
        r = sinkhorn_log(a, b, C, reg, tol=0.0, maxiter=passes)
        f, g = r.potentials
        values.append(float(f @ a + g @ b - reg * (r.plan.sum() - 1)))
    assert np.all(np.diff(values) >= -1e-15)
    assert values[-1] - values[0] > 1e-4
    r = sinkhorn_log(a, b, C, reg, tol=1e-13)
    f, g = r.potentials
    primal = float((r.plan * C).sum() + reg * (r.plan * np.log(r.plan)).sum())
    np.testing.assert_allclose(f @ a + g @ b, primal, rtol=1e-11)  # no duality gap at the limit
    assert values[-1] <= primal
