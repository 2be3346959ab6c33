"""Nothing depends on the size of numbers: norms, stopping rules and normalised steps over a dtype's whole range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core import arrays, params

A = np.array([[2.0, 1.0], [1.0, 3.0]])
B = np.array([1.0, 2.0])
X = np.linalg.solve(A, B)
# Powers of ten that the dtype holds with room for the factors above.
POWERS = {
    "float32": (-37, -30, -25, -20, -10, 0, 10, 20, 30, 37),
    "float64": (-300, -170, -50, 0, 50, 160, 300),
}
CASES = [(d, k) for d, powers in POWERS.items() for k in powers]


@pytest.mark.parametrize(("dtype", "power"), CASES)
@pytest.mark.parametrize("name", ["cg", "pcg", "sor", "iterative-sketching"])
def test_a_system_is_solved_alike_at_every_scale(name: str, dtype: str, power: int) -> None:
    """b times 10^k gives x times 10^k: nothing converges at zero, nothing overflows."""
    b = (B * 10.0**power).astype(dtype)
    more: dict[str, Any] = {"preconditioner": "jacobi"} if name == "pcg" else {}
    r = refopt.get(name)(A.astype(dtype), b, rtol=1e-5, **more)
    assert r.status == "converged", r.message
    assert r.x.dtype == dtype
    np.testing.assert_allclose(r.x.astype(float) / 10.0**power, X, rtol=5e-5)  # the condition number is 2.6
    base = refopt.get(name)(A.astype(dtype), B.astype(dtype), rtol=1e-5, **more)
    assert abs(r.iterations - base.iterations) <= 1


@pytest.mark.parametrize(("dtype", "power"), CASES)
def test_norms(dtype: str, power: int) -> None:
    """3-4-5 at every scale, of an array and of a dict."""
    v = (np.array([3.0, -4.0]) * 10.0**power).astype(dtype)
    want = np.hypot(*v.astype(float) / 10.0**power)
    assert arrays.norm(v) / 10.0**power == pytest.approx(want, rel=1e-6)
    assert params.norm({"a": v[:1], "b": v[1:]}) / 10.0**power == pytest.approx(want, rel=1e-6)
    assert arrays.norm(0.0 * v) == 0.0


@pytest.mark.parametrize("dtype", POWERS)
def test_normalised_steps_have_their_length(dtype: str) -> None:
    """normalized-gd moves by its rate, however long the gradient is."""
    o = refopt.optimizer("normalized-gd", lr=0.1)
    for power in POWERS[dtype][1:-1]:
        x = np.zeros(2, dtype)
        y, _ = o.update(x, (np.array([3.0, -4.0]) * 10.0**power).astype(dtype), o.init(x))
        np.testing.assert_allclose(y, [-0.06, 0.08], rtol=1e-5)
