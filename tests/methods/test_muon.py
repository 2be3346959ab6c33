"""Muon's equivariance.

Muon's first step, its groups and its forms.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentTypeError, DtypeError

from tests.streams import stream


@pytest.mark.claim("muon")
def test_orthogonal_equivariance() -> None:
    """f(P g Q) = P f(g) Q for orthogonal P and Q over 20 steps, to 1e-12.

    Started at zero, f(P g Q) = P f(g) Q for orthogonal P, Q over 20 steps.
    """
    rng = np.random.default_rng(0)
    p, q = np.linalg.qr(rng.standard_normal((4, 4)))[0], np.linalg.qr(rng.standard_normal((6, 6)))[0]
    o = refopt.optimizer("muon", weight_decay=0.1)
    x = y = np.zeros((4, 6))
    sx, sy = o.init(x), o.init(y)
    for _ in range(20):
        g = rng.standard_normal((4, 6))
        x, sx = o.update(x, g, sx)
        y, sy = o.update(y, p @ g @ q, sy)
    # Five quintics amplify rounding up to 485 times.
    np.testing.assert_allclose(y, p @ x @ q, atol=1e-12)


def test_scale_of_the_gradient_does_not_matter() -> None:
    """With eps = 0 the trajectory is that of any multiple of the gradients (a power of two: to the bit)."""
    rng = np.random.default_rng(0)
    o = refopt.optimizer("muon", eps=0.0)
    x = y = rng.standard_normal((3, 5))
    sx, sy = o.init(x), o.init(y)
    for _ in range(10):
        g = rng.standard_normal((3, 5))
        x, sx = o.update(x, g, sx)
        y, sy = o.update(y, 1024.0 * g, sy)
    np.testing.assert_array_equal(x, y)


@pytest.mark.identity("muon")
@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 2, 2)])
def test_first_step_is_the_polar_factor(shape: tuple[int, ...]) -> None:
    """With Newton-Schulz run to convergence a first step is -lr kappa U V^T of the gradient's SVD,
    matrices and a kernel, to 1e-12.
    """
    rng = np.random.default_rng(0)
    g, x = rng.standard_normal(shape), rng.standard_normal(shape)
    o = refopt.optimizer("muon", lr=0.3, ns_steps=60, coefficients="cubic")
    new, _ = o.update(x, g, o.init(x))
    flat = g.reshape(shape[0], -1)
    u, _, vt = np.linalg.svd(flat, full_matrices=False)
    kappa = np.sqrt(max(1.0, flat.shape[0] / flat.shape[1]))
    np.testing.assert_allclose(new, x - 0.3 * kappa * (u @ vt).reshape(shape), rtol=1e-12, atol=1e-12)


def test_sum_and_average_are_the_same_direction() -> None:
    """eps = 0: the sum's buffer is the average's over 1 - mu, and Newton-Schulz does not see the scale."""
    x, gradients = stream(0, "random", steps=10, shapes={"w": (3, 5)})
    a, b = (refopt.optimizer("muon", momentum_form=form, eps=0.0) for form in ("sum", "average"))
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
    np.testing.assert_allclose(x["w"], y["w"], rtol=1e-11)


def test_the_rest_belongs_to_adam() -> None:
    """Leaves outside the group move exactly as under the other method."""
    x, gradients = stream(0, "random", steps=5)
    adam = refopt.optimizer("adam", lr=0.01)
    o = refopt.optimizer("muon", group=["w"], others=adam)
    rest = {k: x[k] for k in ("b", "k")}
    s, r = o.init(x), adam.init(rest)
    for g in gradients:
        x, s = o.update(x, g, s)
        rest, r = adam.update(rest, {k: g[k] for k in rest}, r)
    for k in rest:
        np.testing.assert_array_equal(x[k], rest[k])
    with pytest.raises(ArgumentTypeError, match="others"):
        refopt.optimizer("muon", group=["w"], others=None).init(x)


def test_numpy_has_no_bfloat16() -> None:
    """The precision of the codes is an error where the library lacks it, and float32 is taken by name."""
    x, (g,) = stream(0, "random", steps=1, shapes={"w": (3, 5)})
    with pytest.raises(DtypeError, match=r"ns_dtype: wanted .* of numpy, got 'bfloat16'"):
        refopt.optimizer("muon", ns_dtype="bfloat16").update(x, g, refopt.optimizer("muon").init(x))
    a, b = (
        refopt.optimizer("muon", lr=1.0, ns_dtype=d).update(x, g, refopt.optimizer("muon").init(x))[0]
        for d in (None, "float32")
    )
    assert b["w"].dtype == np.float64
    assert 1e-8 < np.abs(a["w"] - b["w"]).max() < 1e-4
