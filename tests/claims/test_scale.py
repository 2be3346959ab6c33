"""SCALE's normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.optimizers.first_order.scale import normalize_lines


@pytest.mark.claim("scale")
@pytest.mark.parametrize(("dialect", "rms"), [("paper", False), ("official", True)])
def test_line_lengths(dialect: str, rms: bool) -> None:
    """Every normalised line of a matrix moves by exactly lr (paper) or has RMS lr (official),
    whatever the gradient's scale.
    """
    rng = np.random.default_rng(0)
    x = {"embed": np.zeros((7, 3)), "w": np.zeros((4, 5)), "head": np.zeros((2, 3))}
    g = {k: rng.standard_normal(v.shape) for k, v in x.items()}
    o = refopt.optimizer("scale", dialect=dialect, lr=0.25)
    new, _ = o.update(x, g, o.init(x))
    huge, _ = o.update(x, {k: 2.0**20 * v for k, v in g.items()}, o.init(x))
    for k, axis in (("embed", 0), ("w", 1), ("head", 1)):
        length = np.linalg.norm(new[k], axis=axis) / (np.sqrt(x[k].shape[axis]) if rms else 1.0)
        np.testing.assert_allclose(length, 0.25, rtol=1e-14)
        np.testing.assert_array_equal(new[k], huge[k])


@pytest.mark.claim("scale")
def test_duality() -> None:
    """For a linear layer it is the duality map of the norm max over rows of the 2-norm (none of 200
    random unit matrices does better).

    <G, C(G)> is the largest inner product with a matrix whose rows have 2-norm at most 1.
    """
    rng = np.random.default_rng(0)
    g = rng.standard_normal((4, 6))
    best = np.sum(g * normalize_lines(g, 1, rms=False, floor=0.0))
    assert best == pytest.approx(np.linalg.norm(g, axis=1).sum(), rel=1e-14)
    for _ in range(200):
        t = rng.standard_normal((4, 6))
        assert np.sum(g * t) / np.linalg.norm(t, axis=1).max() <= best
