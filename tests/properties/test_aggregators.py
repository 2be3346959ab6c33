"""Every registered aggregator: libraries, dtypes, inputs left alone, and what its registration claims."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.arrays import to_numpy
from refopt.core.registry import Entry

ALL = refopt.methods("aggregator")
every = pytest.mark.parametrize("method", ALL, ids=[m.name for m in ALL])


def claiming(what: str) -> pytest.MarkDecorator:
    found = [m for m in ALL if m.extra.get(what)]
    assert found, what
    return pytest.mark.parametrize("method", found, ids=[m.name for m in found])


def matrices() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    J, row = rng.standard_normal((4, 6)), rng.standard_normal(6)
    return {
        "plain": J,
        "conflicting": rng.standard_normal((4, 3)),
        "a zero row": np.vstack([J[:3], np.zeros(6)]),
        "rank one": np.outer([1.0, 2.0, 0.5], row),
        "opposite": np.outer([1.0, -2.0], row),
        "one row": J[:1],
        "all zero": np.zeros((3, 4)),
    }


def call(method: Entry, J: Any) -> Any:
    """The direction; GradNorm's losses are equal, Bloop looks at the first two rows."""
    options: dict[str, Any] = {}
    if method.name == "gradnorm":
        options.update(losses=0.0 * J[:, 0] + 1.0, lr=0.0)
    if method.extra.get("pair"):
        J = J[:2, :] if J.shape[0] > 1 else J[[0, 0], :] if isinstance(J, np.ndarray) else J
    found = method.obj(J, **options)
    return found[0] if isinstance(found, tuple) else found


@every
def test_libraries_and_dtypes(method: Entry, xp: Any, dtype: str) -> None:
    """The library and the dtype of J, within the rounding of the dtype of NumPy's float64."""
    for name, J in matrices().items():
        if name == "one row" and method.extra.get("pair"):
            continue
        J = np.asarray(J.astype(dtype), dtype=np.float64)
        want = call(method, J)
        got = call(method, xp.asarray(J.astype(dtype)))
        assert type(got) is type(xp.zeros(1)) and got.dtype == getattr(xp, dtype), name
        scale = max(1.0, float(np.max(np.abs(want))))
        bound = 1e-12 if dtype == "float64" else 2e-5
        np.testing.assert_allclose(to_numpy(got), want, rtol=0, atol=bound * scale, err_msg=name)


@every
def test_inputs_are_not_changed(method: Entry) -> None:
    """A read-only J is taken, the same call gives the same bits, and nothing is shared with it."""
    J = matrices()["plain"]
    J.flags.writeable = False
    a, b = call(method, J), call(method, J)
    np.testing.assert_array_equal(a, b)
    assert not np.shares_memory(a, J)


@every
@pytest.mark.parametrize("unit", [1e-200, 1e-160, 1e160, 1e200])
def test_any_unit(method: Entry, unit: float) -> None:
    """Nothing over- or underflows in J: a direction of degree one, or of none, in the unit."""
    J = matrices()["plain"]
    want, got = call(method, J), call(method, unit * J)
    degree = 0.0 if method.name == "nash-mtl" else 1.0
    np.testing.assert_allclose(got / unit**degree, want, rtol=1e-9, atol=1e-12)


@every
def test_order_of_the_objectives(method: Entry) -> None:
    """Rows in another order give the same direction, unless order is part of the method."""
    if method.extra.get("ordered") or method.extra.get("pair"):
        pytest.skip("the order of rows means something")
    for name, J in matrices().items():
        got = call(method, J[::-1])
        np.testing.assert_allclose(got, call(method, J), rtol=0, atol=1e-12, err_msg=name)


@every
def test_turned_parameters(method: Entry) -> None:
    """In turned coordinates the direction is turned: inner products alone count."""
    J = matrices()["plain"]
    q = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0]
    np.testing.assert_allclose(call(method, J @ q), call(method, J) @ q, rtol=0, atol=1e-12)


@claiming("non_conflicting")
def test_non_conflicting(method: Entry) -> None:
    """J d >= 0, to rounding."""
    for name, J in matrices().items():
        assert np.min(J @ call(method, J)) >= -1e-13, name


@claiming("linear_under_scaling")
def test_linear_under_scaling(method: Entry) -> None:
    """A(diag(c) J) is linear in positive c."""
    c, e = np.array([1.0, 20.0, 0.3, 4.0]), np.array([2.0, 0.1, 5.0, 1.0])
    J = matrices()["conflicting"]
    parts = call(method, c[:, None] * J) + call(method, e[:, None] * J)
    np.testing.assert_allclose(call(method, (c + e)[:, None] * J), parts, rtol=0, atol=1e-12)


@claiming("convex")
def test_convex_combination(method: Entry) -> None:
    """The direction is in the convex hull of the rows."""
    from scipy.optimize import nnls

    for name, J in matrices().items():
        system = np.vstack([J.T, np.ones(len(J))])
        _, gap = nnls(system, np.append(call(method, J), 1.0))
        assert gap < 1e-12, name


@claiming("non_conflicting")
def test_pareto_stationary_stays(method: Entry) -> None:
    """Where convex weights make the gradients cancel, all of them positive, the direction is zero."""
    for J in (np.array([[1.0, 0.0], [-2.0, 0.0]]), np.array([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]])):
        assert np.max(np.abs(call(method, J))) < 1e-14


@every
def test_bad_input(method: Entry) -> None:
    """Typed errors that name J."""
    for J in (np.zeros(3), np.zeros((0, 3)), np.ones((2, 2), dtype=np.int64), np.array([[np.nan, 1.0]])):
        with pytest.raises(refopt.errors.RefoptError, match="J"):
            method.obj(J, **({"losses": np.ones(2)} if method.name == "gradnorm" else {}))
