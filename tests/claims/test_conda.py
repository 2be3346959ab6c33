"""Conda's equivariance."""

from __future__ import annotations

import numpy as np
import pytest
import refopt


@pytest.mark.claim("conda")
def test_left_orthogonal_equivariance() -> None:
    """equivariant: R g in place of g moves R times as far, for orthogonal R and wide g, eps included
    (1e-11).

    Wide matrices from zero: gradients R g give the point R x, eps and decay included.
    """
    rng = np.random.default_rng(0)
    r = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    o = refopt.optimizer("conda", lr=0.1, eps=1e-2, beta2=0.9, update_every=4, weight_decay=0.1)
    x = y = np.zeros((3, 6))
    sx, sy = o.init(x), o.init(y)
    for _ in range(15):
        g = rng.standard_normal((3, 6))
        x, sx = o.update(x, g, sx)
        y, sy = o.update(y, r @ g, sy)
    np.testing.assert_allclose(y, r @ x, atol=1e-11)
    # Elementwise Adam has no such property, so the test can fail.
    a = refopt.optimizer("adam", lr=0.1)
    x, _ = a.update(np.zeros((3, 6)), g, a.init(np.zeros((3, 6))))
    y, _ = a.update(np.zeros((3, 6)), r @ g, a.init(np.zeros((3, 6))))
    assert np.max(np.abs(y - r @ x)) > 0.01
