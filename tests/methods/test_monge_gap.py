"""What Uscidda and Cuturi claim of the Monge gap; exact transport beside enumeration."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from refopt.core import errors
from refopt.core.arrays import to_numpy
from refopt.transport.exact_ot import exact_ot
from refopt.transport.monge_gap import monge_gap

from tests.parity.case import Arrays, Case
from tests.parity.peers.transport import _problem


def _samples(seed: int, n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 2)), rng.standard_normal((n, 2)) + 0.3


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return ((x[:, None] - y) ** 2).sum(-1)


def _literal(x: np.ndarray, y: np.ndarray, reg: float, C: np.ndarray) -> float:
    """The paper's estimate: the mean cost less the entropic transport's, by 3000 passes of scaling."""
    n = len(x)
    K, v = np.exp(-C / reg), np.ones(n)
    for _ in range(3000):
        u = 1 / n / (K @ v)
        v = 1 / n / (K.T @ u)
    P = u[:, None] * K * v
    return float(np.trace(C) / n - (P * C).sum() - reg * (P * np.log(P)).sum())


def _any_cost(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A cost that is not symmetric: |x|^2 weighs the distance's fourth power."""
    return 0.02 * _square(x, y) ** 2 * (1 + (x * x).sum(-1))[:, None]


def _any_pull(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    weight = w * 0.08 * _square(x, y) * (1 + (x * x).sum(-1))[:, None]
    return np.einsum("ij,ijk->jk", weight, y - x[:, None])


@pytest.mark.identity("monge-gap")
def test_the_definition() -> None:
    """The mean cost less the entropic minimum by a literal Sinkhorn, to 1e-11, for three costs and a reg in units of the
    costs' deviation; at reg 0 less the best of all 120 assignments, to 1e-14.
    """
    x, y = _samples(0, 5)
    for cost, C in (
        ("sqeuclidean", _square(x, y)),
        ("euclidean", np.sqrt(_square(x, y))),
        ((_any_cost, _any_pull), _any_cost(x, y)),
    ):
        for reg, relative in ((0.5, False), (0.4, True)):
            eps = reg * C.std() if relative else reg
            found = monge_gap(x, y, reg, relative=relative, cost=cost, tol=1e-13)
            np.testing.assert_allclose(found.value, _literal(x, y, eps, C), rtol=1e-11)
        best = min(sum(C[i, s[i]] for i in range(5)) for s in itertools.permutations(range(5))) / 5
        exact = monge_gap(x, y, 0.0, cost=cost)
        np.testing.assert_allclose(exact.value, np.trace(C) / 5 - best, rtol=1e-14)
        np.testing.assert_allclose(exact.cost, best, rtol=1e-14)


@pytest.mark.identity("monge-gap")
def test_the_gradient() -> None:
    """The gradient in the outputs is the value's, by central differences to 1e-7: three costs, reg 0.4 and 0; of the squared
    distance it is 2 (sum_i P_ij x_i - x_j / n).
    """
    x, y = _samples(1)
    for cost in ("sqeuclidean", "euclidean", (_any_cost, _any_pull)):
        for reg in (0.4, 0.0):
            gradient = monge_gap(x, y, reg, cost=cost, tol=1e-13).gradient
            assert gradient.shape == y.shape
            for k in ((0, 0), (3, 1), (5, 0)):
                h = np.zeros_like(y)
                h[k] = 1e-5
                up, down = (monge_gap(x, y + s * h, reg, cost=cost, tol=1e-13).value for s in (1, -1))
                np.testing.assert_allclose((up - down) / 2e-5, gradient[k], rtol=1e-6, atol=1e-7)
    r = monge_gap(x, y, 0.4)
    np.testing.assert_allclose(r.gradient, 2 * (r.plan.T @ x - x / 6), rtol=0, atol=1e-9)


@pytest.mark.claim("monge-gap")
def test_zero_for_optimal_maps() -> None:
    """At reg 0: 0 for gradients of convex functions (to 1e-14), positive for a rotation by 90 degrees, never negative. At reg
    0.5 at least reg log n for every map, and that to 1e-9 where inputs lie far apart.
    """
    x, y = _samples(2, 8)
    A = np.array([[2.0, 0.7], [0.7, 1.0]])
    for optimal in (x + 1.0, x @ A, x * np.exp((x * x).sum(1))[:, None]):
        np.testing.assert_allclose(monge_gap(x, optimal, 0.0).value, 0, atol=1e-14)
    turned = x @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert monge_gap(x, turned, 0.0).value > 0.3
    for image in (y, turned, x + 1.0):
        assert monge_gap(x, image, 0.0).value >= 0
        assert monge_gap(x, image, 0.5).value >= 0.5 * np.log(8)
    grid = 10.0 * np.arange(8.0)[:, None]
    np.testing.assert_allclose(monge_gap(grid, grid + 1, 0.5).value, 0.5 * np.log(8), rtol=1e-9)
    assert monge_gap(x[:1], y[:1], 0.0).value == 0


@pytest.mark.identity("exact-ot")
def test_exact_transport() -> None:
    """Equal masses: the best of all 120 assignments; unequal ones, zeros among them: potentials that prove the plan, f + g <= C
    with equality where mass goes, no gap, at most n + m - 1 entries, to 1e-13.
    """
    rng = np.random.default_rng(3)
    C = rng.random((5, 5)) - 0.3
    best = min(sum(C[i, s[i]] for i in range(5)) for s in itertools.permutations(range(5))) / 5
    uniform = exact_ot(None, None, C)
    np.testing.assert_allclose(uniform.value, best, rtol=1e-14)
    a, b, D = _problem(3, 9, 7)
    a[2] = b[3] = 0
    for r, masses, cost in (
        (uniform, (np.full(5, 0.2),) * 2, C),
        (exact_ot(a / a.sum(), b / b.sum(), D), (a / a.sum(), b / b.sum()), D),
    ):
        f, g = r.potentials
        slack = cost - f[:, None] - g
        assert slack.min() > -1e-13 and np.abs(slack[r.plan > 0]).max() < 1e-13
        np.testing.assert_allclose(r.plan.sum(1), masses[0], rtol=0, atol=1e-15)
        np.testing.assert_allclose(r.plan.sum(0), masses[1], rtol=0, atol=1e-15)
        np.testing.assert_allclose([r.dual_value, r.cost], r.value, rtol=1e-13)
        assert (r.plan > 0).sum() <= sum(cost.shape) - 1 and r.success
    # HiGHS has absolute tolerances; costs and masses of any size have the same plan.
    want = exact_ot(a / a.sum(), b / b.sum(), D)
    small = exact_ot(1e-9 * a / a.sum(), 1e-9 * b / b.sum(), 1e-12 * D)
    np.testing.assert_allclose(1e9 * small.plan, want.plan, rtol=0, atol=1e-12)
    np.testing.assert_allclose([1e21 * small.value, 1e21 * small.dual_value], want.value, rtol=1e-12)


def test_every_library(xp: Any, dtype: str) -> None:
    x, y = (v.astype(dtype) for v in _samples(4))
    tol = 1e-4 if dtype == "float32" else 1e-8
    for reg in (0.3, 0.0):
        want = monge_gap(x.astype(float), y.astype(float), reg)
        found = monge_gap(xp.asarray(x), xp.asarray(y), reg)
        assert found.value.dtype == found.gradient.dtype == found.potentials[0].dtype == xp.asarray(x).dtype
        np.testing.assert_allclose(float(found.value), want.value, rtol=tol)
        np.testing.assert_allclose(to_numpy(found.gradient), want.gradient, rtol=0, atol=tol)
    a, b, C = (v.astype(dtype) for v in _problem(4, 4, 3))
    r = exact_ot(xp.asarray(a / a.sum()), xp.asarray(b / b.sum()), xp.asarray(C))
    assert r.plan.dtype == r.value.dtype == xp.asarray(C).dtype and r.success


def test_bad_input() -> None:
    x, y = _samples(5)
    for arguments, keywords, error, word in (
        ((x, y[:5], 0.1), {}, errors.ShapeError, "as many outputs"),
        ((x, y[:, :1], 0.1), {}, errors.ShapeError, "x, y"),
        ((x, y, -0.1), {}, errors.ArgumentError, "reg"),
        ((x, y, 0.1), {"cost": "l1"}, errors.ArgumentError, "cost"),
        ((x, y, 0.1), {"cost": (_square,)}, errors.ArgumentTypeError, "cost"),
    ):
        with pytest.raises(error, match=word):
            monge_gap(*arguments, **keywords)
    with pytest.raises(errors.ArgumentError, match="total"):
        exact_ot(np.ones(2), np.full(2, 0.5), np.ones((2, 2)))
    with pytest.raises(errors.ShapeError, match="C"):
        exact_ot(None, None, np.ones((2, 2, 2)))


def _ours(seed: int) -> Arrays:
    x, y = _samples(seed, 7)
    out: Arrays = {}
    for name, options in (("fixed", {"reg": 0.3}), ("relative", {"reg": 0.3, "relative": True})):
        r = monge_gap(x, y, tol=1e-13, maxiter=20_000, **options)
        out |= {f"{name} value": np.asarray(r.value), f"{name} gradient": r.gradient}
    return out


def _ott(seed: int) -> Arrays:
    import jax

    jax.config.update("jax_enable_x64", True)
    from ott.geometry.pointcloud import PointCloud
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.sinkhorn import Sinkhorn

    x, y = map(jax.numpy.asarray, _samples(seed, 7))
    solver = Sinkhorn(threshold=1e-14, max_iterations=100_000)

    def gap(y: Any, **options: Any) -> Any:
        geometry = PointCloud(x, y, **options)
        out = solver(LinearProblem(geometry))
        return jax.numpy.mean(jax.vmap(geometry.cost_fn)(x, y)) - out.ent_reg_cost

    arrays: Arrays = {}
    for name, options in (
        ("fixed", {"epsilon": 0.3}),
        ("relative", {"epsilon": 0.3, "relative_epsilon": "std"}),
    ):
        value, gradient = jax.value_and_grad(gap)(y, **options)
        arrays |= {f"{name} value": np.asarray(value), f"{name} gradient": np.asarray(gradient)}
    return arrays


def _exact(seed: int) -> Arrays:
    r = exact_ot(*_problem(seed))
    return {"plan": r.plan, "value": np.asarray(r.value)}


def _pot_exact(seed: int) -> Arrays:
    import ot

    a, b, C = _problem(seed)
    P = ot.emd(a, b, C)
    return {"plan": P, "value": np.asarray((P * C).sum())}


CASES = [
    Case(
        "monge-gap", "ott", "ott-jax", _ours, _ott,
        says="OTT's mean cost less ent_reg_cost and its gradient by JAX, reg 0.3 and 0.3 of the batch's deviation, to 1e-12.",
    ),
    Case("exact-ot", "pot", "POT", _exact, _pot_exact, says="Plan and value of POT's emd (network simplex), to 1e-12."),
]  # fmt: skip
