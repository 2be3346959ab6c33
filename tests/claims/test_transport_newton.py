"""What the paper claims of Sinkhorn-Newton-sparse."""

from __future__ import annotations

import numpy as np
from refopt.transport.sinkhorn_log import sinkhorn_log
from refopt.transport.sinkhorn_newton_sparse import sinkhorn_newton_sparse


def test_fewer_iterations() -> None:
    C = np.random.default_rng(0).random((500, 500))
    newton = sinkhorn_newton_sparse(None, None, C, 1 / 1200, tol=1e-12)
    assert newton.status == "converged"
    assert newton.iterations <= 35
    assert newton.marginal_error < 1e-12
    plain = sinkhorn_log(None, None, C, 1 / 1200, tol=0.0, maxiter=300)
    assert plain.marginal_error > 1e-5
