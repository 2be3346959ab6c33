"""Nothing depends on the size of numbers: norms, stopping rules and normalised steps over a dtype's whole range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core import arrays, params

from tests.properties.test_forms import UPDATES

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


def first_step(name: str, scale: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """The step from a gradient times `scale`, and the state's arrays."""
    x = {"w": np.array([[1.0, -2.0], [0.5, 3.0]]), "b": np.array([1.0, 0.25])}
    g = {"w": np.array([[0.3, 1.5], [-2.0, 0.7]]), "b": np.array([-1.2, 0.9])}
    o = refopt.optimizer(name)
    moved, s = o.update(x, {k: scale * v for k, v in g.items()}, o.init(x))
    held = [leaf for value in s.values() if isinstance(value, dict) for leaf in value.values()]
    arrays = [v for leaf in held for v in (leaf if isinstance(leaf, tuple) else (leaf,))]
    return np.concatenate([(moved[k] - x[k]).ravel() for k in x]), [
        np.asarray(v) for v in arrays if not isinstance(v, dict | tuple)
    ]


# Adalite's ratio of lengths is never below 1e-4, and its gradients' lengths count as 1e-10 at least.
BOUNDED = {"adalite"}


@pytest.mark.parametrize("name", [m.name for m in UPDATES if m.name not in BOUNDED])
def test_a_step_that_does_not_see_the_gradient_s_scale_never_does(name: str) -> None:
    """Where 2^10 g and 2^-10 g give the step of g, so do 2^560 g and 2^-560 g, whose squares no float64 holds.

    But for methods whose state is an average of squares.
    """
    want, state = first_step(name, 1.0)
    near = [first_step(name, s) for s in (2.0**10, 2.0**-10)]
    blind = bool(np.any(want)) and all(np.allclose(step, want, rtol=1e-12, atol=0.0) for step, _ in near)
    squares = any(np.any(a) and np.array_equal(2.0**20 * a, b) for a, b in zip(state, near[0][1]))
    if blind and not squares:
        for s in (2.0**560, 2.0**-560):
            np.testing.assert_allclose(first_step(name, s)[0], want, rtol=1e-12)
