"""Every registered curvature: one interface, whose parts agree with each other on every namespace."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.params import flatten, leaves, map_leaves
from refopt.core.registry import Entry

METHODS = refopt.methods("curvature")
NAMES = [m.name for m in METHODS]


@functools.cache
def small() -> Any:
    """A tanh network of 24 parameters on 12 examples of three classes."""
    rng = np.random.default_rng(5)
    return refopt.problem("mlp", data=(rng.standard_normal((12, 3)), np.arange(12) % 3), widths=(3,), l2=0.0)


def point(seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {k: v + 0.3 * rng.standard_normal(v.shape) for k, v in small().start(seed).items()}


def build(method: Entry, x: Any, **more: Any) -> Any:
    if method.name == "lbfgs-inverse":
        more["steps"] = [map_leaves(lambda a, s=s: s * a, x) for s in (0.1, -0.05, 0.02)]
    return refopt.curvature(method.name, small(), x, **more)


def moved(xp: Any, x: Any, dtype: str = "float64", **more: Any) -> Any:
    return map_leaves(lambda a: xp.asarray(a.astype(dtype), **more), x)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_the_parts_agree(method: Entry) -> None:
    """Products by dict, vector and columns, dense form, diagonal, trace, spectrum, solve, LinearOperator."""
    x = point()
    C = build(method, x)
    dense, rng = C.dense(), np.random.default_rng(0)
    assert C.shape == dense.shape == (C.n, C.n) == (24, 24)
    np.testing.assert_allclose(dense, dense.T, atol=1e-12 * np.abs(dense).max())
    v = rng.standard_normal((C.n, 2))
    close = {"rtol": 1e-9, "atol": 1e-11 * max(1.0, float(np.abs(dense).max()))}
    np.testing.assert_allclose(C @ v, dense @ v, **close)
    np.testing.assert_allclose(C @ v[:, 0], dense @ v[:, 0], **close)
    np.testing.assert_allclose(C.linear_operator() @ v[:, 1], dense @ v[:, 1], **close)
    as_x = refopt.core.params.unflatten(v[:, 0], x)
    assert (C @ as_x).keys() == x.keys()
    np.testing.assert_allclose(flatten(C @ as_x), dense @ v[:, 0], **close)
    np.testing.assert_allclose(flatten(C.diagonal()), np.diagonal(dense), **close)
    if method.name != "lanczos-quadrature":  # whose trace and spectrum are estimates
        np.testing.assert_allclose(C.trace(), np.trace(dense), rtol=1e-9)
        np.testing.assert_allclose(C.spectrum(), np.linalg.eigvalsh(dense), **close)
    shifted = dense + 0.7 * np.eye(C.n)
    np.testing.assert_allclose(C.solve(v, damping=0.7), np.linalg.solve(shifted, v), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(
        flatten(C.solve(as_x, damping=0.7)), np.linalg.solve(shifted, v[:, 0]), rtol=1e-7, atol=1e-8
    )
    dense[:] = 0.0  # what was given out is nobody's but the caller's
    assert C.dense().any()


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_namespaces_and_dtypes(method: Entry, xp: Any) -> None:
    """The same products in every library; float32 stays; read-only points are taken and not kept."""
    x = point()
    for leaf in x.values():
        leaf.flags.writeable = False
    v = map_leaves(np.cos, x)
    want = flatten(build(method, x) @ v)
    got = build(method, moved(xp, x)) @ moved(xp, v)
    assert all(type(a) is type(b) for a, b in zip(got.values(), moved(xp, v).values()))
    np.testing.assert_allclose(flatten(got), want, rtol=1e-10, atol=1e-12)
    single = build(method, moved(xp, x, "float32"))
    assert all(a.dtype == xp.float32 for a in (single @ moved(xp, v, "float32")).values())
    assert all(a.dtype == xp.float32 for a in single.diagonal().values())


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_a_second_device(method: Entry) -> None:
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    x = moved(strict, point(), device=device)
    C = build(method, x)
    for answer in (C @ x, C.diagonal(), C.solve(x, damping=0.7)):
        assert {str(leaf.device) for leaf in leaves(answer).values()} == {str(device)}


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_what_it_cannot_use_is_told(method: Entry) -> None:
    """Unknown options, points, batches, vectors and dampings; a problem that lacks what it needs."""
    x = point()
    C = build(method, x)
    errors = refopt.errors
    for call, error in (
        (lambda: build(method, x, dampping=1.0), errors.HyperparameterError),
        (lambda: build(method, {k: v.astype(int) for k, v in x.items()}), errors.RefoptError),
        (lambda: build(method, x, seed=-1), errors.RefoptError),
        (lambda: build(method, x, batch=0.5), errors.RefoptError),
        (lambda: build(method, x, batch=np.array([], dtype=int)), errors.RefoptError),
        (lambda: C @ np.ones(3), errors.ShapeError),
        (lambda: C @ None, errors.RefoptError),
        (lambda: C.solve(np.ones(C.n), damping=-1.0), errors.ArgumentError),
        (lambda: C.solve(np.ones(C.n), damping=np.nan), errors.ArgumentError),
    ):
        with pytest.raises(error):
            call()
    bare = refopt.from_functions(lambda x: 0.0, x0=np.ones(3))
    with pytest.raises(errors.CapabilityError):
        refopt.curvature(
            method.name, bare, np.ones(3), **({"steps": [np.ones(3)]} if "lbfgs" in method.name else {})
        )


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_the_point_is_kept_by_value(method: Entry) -> None:
    """Who changes x afterwards does not change C; what is drawn is drawn from the seed."""
    x = point()
    C, D = build(method, x), build(method, point())
    v = map_leaves(np.ones_like, x)
    for leaf in x.values():
        leaf += 1.0
    np.testing.assert_array_equal(flatten(C @ v), flatten(D @ v))


# Means over examples, without a regulariser.
OF_EXAMPLES = ("hessian", "ggn", "fisher", "empirical-fisher", "hessian-diagonal", "fisher-diagonal")


@pytest.mark.parametrize("name", OF_EXAMPLES)
def test_batches(name: str) -> None:
    """Without regulariser the matrix of all examples is the mean of those of two halves, and no half is it."""
    x, half = point(), np.arange(6)
    whole = refopt.curvature(name, small(), x).dense()
    parts = [refopt.curvature(name, small(), x, at).dense() for at in (half, half + 6)]
    np.testing.assert_allclose((parts[0] + parts[1]) / 2, whole, atol=1e-14)
    assert not np.allclose(parts[0], whole, rtol=1e-3)


def test_one_array() -> None:
    """Where x is one array, what has its shape is taken as a point and given back as one."""
    A = np.array([[2.0, 1.0], [1.0, 3.0]])
    p = refopt.from_functions(lambda x: 0.0, hvp=lambda x, v: (A @ v.ravel()).reshape(v.shape))
    for shape in ((2,), (1, 2)):
        C = refopt.curvature("hessian", p, np.zeros(shape))
        v = np.array([1.0, -1.0]).reshape(shape)
        assert (C @ v).shape == shape
        np.testing.assert_array_equal((C @ v).ravel(), A @ v.ravel())
        np.testing.assert_allclose(C.solve(C @ v), v)
        assert (C @ np.eye(2)).tolist() == A.tolist()
    given = C.calls
    given["hvp"] = 0
    assert C.calls["hvp"] > 0
