"""The axioms of every manifold, in every library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.arrays import to_numpy
from refopt.manifolds.base import Manifold

ALL: dict[str, tuple[Manifold, tuple[int, ...]]] = {
    "euclidean": (refopt.manifold("euclidean"), (5, 4)),
    "lines": (refopt.manifold("euclidean", axes=0), (5, 4)),
    "sphere": (refopt.manifold("sphere"), (5, 4)),
    "sphere-projection": (refopt.manifold("sphere", carry="projection"), (5, 4)),
    "stiefel": (refopt.manifold("stiefel"), (5, 6, 2)),
    "stiefel-canonical": (refopt.manifold("stiefel", metric="canonical"), (5, 3, 2)),
    "rotations": (refopt.manifold("stiefel"), (5, 3, 3)),
    "grassmann": (refopt.manifold("grassmann"), (5, 6, 2)),
    "spd": (refopt.manifold("spd"), (5, 3, 3)),
    "spd-bures": (refopt.manifold("spd", metric="bures-wasserstein"), (5, 3, 3)),
    "poincare-ball": (refopt.manifold("poincare-ball"), (5, 4)),
    "poincare-ball-curved": (refopt.manifold("poincare-ball", curvature=3.0), (5, 4)),
    "hyperboloid": (refopt.manifold("hyperboloid"), (5, 4)),
    "hyperboloid-curved": (refopt.manifold("hyperboloid", curvature=3.0), (5, 4)),
}
every = pytest.mark.parametrize("name", ALL)
LOGS = [n for n in ALL if not n.startswith(("stiefel", "rotations"))]
logs = pytest.mark.parametrize("name", LOGS)


def setting(name: str) -> tuple[Manifold, np.ndarray, np.ndarray, np.ndarray]:
    """A manifold, a stack of points, and two of tangent vectors about a third long."""
    M, shape = ALL[name]
    rng = np.random.default_rng(3)
    x = M.random(shape, rng)
    u, v = M.random_tangent(x, rng), M.random_tangent(x, rng)
    return M, x, *(0.3 * w / M.spread(M.norm(x, w)) for w in (u, v))


def same_point(name: str, a: Any, b: Any, atol: float = 1e-12) -> None:
    if name == "grassmann":
        a, b = (w @ np.swapaxes(w, -1, -2) for w in (a, b))
    np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@every
def test_points_and_tangents(name: str) -> None:
    """Projections are idempotent, and what comes out is on the manifold, or tangent to it."""
    M, x, u, v = setting(name)
    M.check(x)
    for y in (M.project(x + 0.1), M.exp(x, u), M.retract(x, u)):
        M.check(y)
        np.testing.assert_allclose(M.project(y), y, rtol=0, atol=1e-12)
    for w in (u, M.gradient(x, v + 0.1)):
        np.testing.assert_allclose(M.tangent(x, w), w, rtol=0, atol=1e-12)
    y = M.exp(x, u)
    np.testing.assert_allclose(M.tangent(y, M.transport(x, y, v)), M.transport(x, y, v), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(M.inner(x, u, v).shape, x.shape[: x.ndim - M.axes])


@every
def test_gradient_represents_the_derivative(name: str) -> None:
    """⟨grad, v⟩_x is the sum of g v for every tangent v."""
    M, x, _, v = setting(name)
    g = np.random.default_rng(5).standard_normal(x.shape)
    want = np.sum(g * v, axis=tuple(range(-M.axes, 0))) if M.axes else g * v
    np.testing.assert_allclose(M.inner(x, M.gradient(x, g), v), want, rtol=0, atol=1e-12)


@every
def test_inner_product(name: str) -> None:
    """Symmetric, linear, positive."""
    M, x, u, v = setting(name)
    np.testing.assert_allclose(M.inner(x, u, v), M.inner(x, v, u), rtol=0, atol=1e-13)
    np.testing.assert_allclose(
        M.inner(x, u + 2 * v, v), M.inner(x, u, v) + 2 * M.inner(x, v, v), rtol=0, atol=1e-13
    )
    assert np.min(M.inner(x, u, u)) > 0.0


@every
def test_geodesics(name: str) -> None:
    """exp has the velocity u at 0, and a constant speed: to the fourth order of a difference."""
    M, x, u, _ = setting(name)
    np.testing.assert_allclose(M.exp(x, 0 * u), x, rtol=0, atol=1e-13)
    h = 1e-3

    def velocity(t: float) -> Any:
        at = [M.exp(x, (t + k * h) * u) for k in (-2, -1, 1, 2)]
        return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h)

    np.testing.assert_allclose(velocity(0.0), u, rtol=0, atol=1e-9)
    y = M.exp(x, 0.8 * u)
    np.testing.assert_allclose(M.norm(y, M.tangent(y, velocity(0.8))), 0.3, rtol=1e-8)


@every
def test_geodesics_are_straight(name: str) -> None:
    """No acceleration along the manifold: exp of half and then the rest, along its velocity, is exp of the whole."""
    M, x, u, _ = setting(name)
    h = 1e-3
    at = [M.exp(x, (0.5 + k * h) * u) for k in (-2, -1, 1, 2)]
    middle = M.exp(x, 0.5 * u)
    velocity = M.tangent(middle, (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h))
    same_point(name, M.exp(middle, 0.5 * velocity), M.exp(x, u), 1e-9)


@every
def test_retraction_order(name: str) -> None:
    """The gap between retract and exp falls like t^2, like t^3 where the second order is claimed."""
    M, x, u, _ = setting(name)
    if not np.any(M.retract(x, u) - M.exp(x, u)):
        return

    def gap(t: float) -> float:
        a, b = M.retract(x, t * u), M.exp(x, t * u)
        if name == "grassmann":
            a, b = a @ np.swapaxes(a, -1, -2), b @ np.swapaxes(b, -1, -2)
        return float(np.max(np.abs(a - b)))

    small = gap(0.01)
    if small > 1e-15:
        order = np.log2(gap(0.02) / small)
        assert order > (2.9 if M.second_order else 1.9)


@logs
def test_log_inverts_exp(name: str) -> None:
    """log(x, exp(x, u)) = u, exp(x, log(x, y)) = y, and the distance is the length of the logarithm."""
    M, x, u, _ = setting(name)
    y = M.exp(x, u)
    np.testing.assert_allclose(M.log(x, y), u, rtol=0, atol=1e-12)
    np.testing.assert_allclose(M.dist(x, y), M.norm(x, u), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(M.dist(y, x), M.dist(x, y), rtol=1e-12)
    z = x[::-1]
    if name not in ("sphere", "sphere-projection"):
        same_point(name, M.exp(x, M.log(x, z)), z, 1e-10)
    np.testing.assert_allclose(M.log(x, x), 0.0, atol=1e-7)
    assert float(np.max(M.dist(x, x))) < (2e-7 if name.startswith("spd") else 1e-14)


@logs
def test_triangles(name: str) -> None:
    """The distance satisfies the triangle inequality."""
    M, x, u, v = setting(name)
    y, z = M.exp(x, u), M.exp(x, v)
    assert np.min(M.dist(y, x) + M.dist(x, z) - M.dist(y, z)) > -1e-13


@every
def test_transport(name: str) -> None:
    """Linear; where it is parallel, inner products are kept, it carries a geodesic's velocity, and back undoes it."""
    M, x, u, v = setting(name)
    y = M.exp(x, u)
    carried = M.transport(x, y, u + 2 * v)
    np.testing.assert_allclose(carried, M.transport(x, y, u) + 2 * M.transport(x, y, v), rtol=0, atol=1e-12)
    np.testing.assert_allclose(M.transport(x, x, v), v, rtol=0, atol=1e-7)
    if M.isometric:
        np.testing.assert_allclose(
            M.inner(y, M.transport(x, y, u), M.transport(x, y, v)), M.inner(x, u, v), rtol=0, atol=1e-12
        )
        np.testing.assert_allclose(M.transport(x, y, u), -M.log(y, x), rtol=0, atol=1e-11)
        np.testing.assert_allclose(M.transport(y, x, M.transport(x, y, v)), v, rtol=0, atol=1e-12)


@every
def test_libraries_and_dtypes(name: str, xp: Any, dtype: str) -> None:
    """Every map in the library and dtype of its input, within rounding of NumPy's float64."""
    M, x, u, v = setting(name)
    y = M.exp(x, u)
    x, u, v, y = (w.astype(dtype).astype(np.float64) for w in (x, u, v, y))
    calls = {
        "project": (x,), "tangent": (x, u), "gradient": (x, u), "inner": (x, u, v), "norm": (x, u), "exp": (x, u),
        "retract": (x, u), "transport": (x, y, v),
    }  # fmt: skip
    if name in LOGS:
        calls |= {"log": (x, y), "dist": (x, y)}
    for method, given in calls.items():
        for w in given:
            w.flags.writeable = False
        want = getattr(M, method)(*given)
        got = getattr(M, method)(*(xp.asarray(np.array(w.astype(dtype))) for w in given))
        assert got.dtype == getattr(xp, dtype) and type(got) is type(xp.zeros(1)), method
        bound = 1e-12 if dtype == "float64" else 2e-4
        scale = max(1.0, float(np.max(np.abs(want))))
        np.testing.assert_allclose(to_numpy(got), want, rtol=0, atol=bound * scale, err_msg=method)
        if isinstance(got, np.ndarray):
            assert not any(np.shares_memory(got, w) for w in given)


@pytest.mark.parametrize("size", [1e-200, 1e-30, 1e-9])
@pytest.mark.parametrize("name", ["sphere", "poincare-ball", "hyperboloid", "grassmann"])
def test_tiny_vectors(name: str, size: float) -> None:
    """A tiny tangent vector moves a point by itself, and makes no NaN."""
    M, x, u, _ = setting(name)
    same_point(name, M.exp(x, size * u), x + size * u, 1e-15)


def test_product() -> None:
    """A product goes leaf by leaf: gradients and lengths add up."""
    factors = {"a": refopt.manifold("sphere"), "b": refopt.manifold("spd")}
    M = refopt.manifold("product", factors=factors)
    x = M.random({"a": (3, 4), "b": (2, 2)}, 0)
    u = M.random_tangent(x, 1)
    y = M.exp(x, {k: 0.1 * v for k, v in u.items()})
    M.check(y)
    for k, m in factors.items():
        np.testing.assert_array_equal(M.log(x, y)[k], m.log(x[k], y[k]))
        np.testing.assert_array_equal(M.retract(x, u)[k], m.retract(x[k], u[k]))
        np.testing.assert_array_equal(M.transport(x, y, u)[k], m.transport(x[k], y[k], u[k]))
        np.testing.assert_array_equal(M.gradient(x, u)[k], m.gradient(x[k], u[k]))
        np.testing.assert_array_equal(M.project(u)[k], m.project(u[k]))
    assert float(M.dist(x, y)) == pytest.approx(0.1 * float(M.norm(x, u)), rel=1e-12)
    assert M.isometric
    assert M.second_order
    with pytest.raises(refopt.errors.ShapeError, match="names"):
        M.exp(x, {"a": u["a"]})
    with pytest.raises(refopt.errors.ArgumentTypeError, match="factors"):
        refopt.manifold("product", factors={"a": 3})


def test_bad_input() -> None:
    """Typed errors that name the argument."""
    errors = refopt.errors
    with pytest.raises(errors.UnknownNameError, match="poincare-ball"):
        refopt.manifold("poincare")
    with pytest.raises(errors.ArgumentTypeError, match="curvatur"):
        refopt.manifold("poincare-ball", curvatur=1.0)
    for name, options in (
        ("poincare-ball", {"curvature": 0.0}), ("hyperboloid", {"curvature": -1.0}), ("spd", {"metric": "flat"}),
        ("stiefel", {"metric": "flat"}), ("sphere", {"carry": "on"}), ("euclidean", {"axes": -1}),
    ):  # fmt: skip
        with pytest.raises(errors.ArgumentError, match=next(iter(options))):
            refopt.manifold(name, **options)
    M = refopt.manifold("sphere")
    x = M.random(3)
    with pytest.raises(errors.ShapeError, match="u"):
        M.exp(x, x[:2])
    with pytest.raises(errors.DtypeError, match="u"):
        M.exp(x, x.astype(np.float32))
    with pytest.raises(errors.ShapeError, match="x"):
        M.project(np.zeros(1))
    with pytest.raises(errors.ShapeError, match="shape"):
        refopt.manifold("stiefel").random((2, 3))
    with pytest.raises(errors.ArgumentError, match="project it first"):
        M.check(2.0 * x)
    with pytest.raises(errors.CapabilityError, match="log"):
        refopt.manifold("stiefel").log(np.eye(3), np.eye(3))
