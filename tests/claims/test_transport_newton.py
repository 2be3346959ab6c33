"""What the paper claims of Sinkhorn-Newton-sparse."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.transport.sinkhorn_log import sinkhorn_log
from refopt.transport.sinkhorn_newton_sparse import sinkhorn_newton_sparse


@pytest.mark.claim("sinkhorn-newton-sparse")
def test_fewer_iterations() -> None:
    """Random assignment n = 500, eta = 1200: 20 Sinkhorn and at most 15 Newton passes to 1e-12, where
    Sinkhorn is above 1e-5 after 300.
    """
    C = np.random.default_rng(0).random((500, 500))
    newton = sinkhorn_newton_sparse(None, None, C, 1 / 1200, tol=1e-12)
    assert newton.status == "converged"
    assert newton.iterations <= 35
    assert newton.marginal_error < 1e-12
    plain = sinkhorn_log(None, None, C, 1 / 1200, tol=0.0, maxiter=300)
    assert plain.marginal_error > 1e-5
