"""SOAP's basis turns with the gradients."""

from __future__ import annotations

import numpy as np
import pytest
import refopt


@pytest.mark.claim("soap")
def test_orthogonal_equivariance() -> None:
    """f(P g Q) = P f(g) Q for orthogonal P and Q over 25 steps: the rotation undoes every rotation,
    to 1e-9.

    Started at zero, f(P g Q) = P f(g) Q, which Adam itself is far from.
    """
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
    gaps = {}
    gradients = rng.standard_normal((25, 4, 4))
    for name, kwargs in (("soap", {"update_every": 5}), ("adam", {})):
        o = refopt.optimizer(name, lr=0.1, **kwargs)
        x = y = np.zeros((4, 4))
        sx, sy = o.init(x), o.init(y)
        for g in gradients:
            x, sx = o.update(x, g, sx)
            y, sy = o.update(y, P @ g @ Q, sy)
        gaps[name] = np.max(np.abs(y - P @ x @ Q))
    # Eigenvectors are found to eps_machine over the smallest gap of the eigenvalues.
    assert gaps["soap"] < 1e-9
    assert gaps["adam"] > 1e-1
