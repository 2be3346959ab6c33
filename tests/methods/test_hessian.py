"""What is said of the Hessian and of its diagonal: what a product is, what they cost, and what steps with them do."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.params import axpy, dot, flatten, norm, scale, subtract, unflatten

from tests.properties.test_curvature import point, small


def direction(x: Any, seed: int) -> Any:
    v = np.random.default_rng(seed).standard_normal(flatten(x).size)
    return unflatten(v / np.linalg.norm(v), x)


@pytest.mark.claim("hessian")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_product_is_the_derivative_of_the_gradient(seed: int) -> None:
    """Pearlmutter's definition, ``∂/∂r ∇f(x + r v)`` at r = 0, of a tanh network: central differences of the gradient come near
    ``C v`` by four at each halving of r, and f's expansion to ``r² vᵀ C v / 2`` by eight, both to 10 %. One product is one call.
    """
    p, x = small(), point(seed)
    v = direction(x, seed)
    C = refopt.curvature("hessian", p, x)
    Cv = C @ v
    assert C.calls == {"hvp": 1}
    g, f = p.grad(x), float(p.value(x))
    slope, bend = dot(g, v), dot(v, Cv)
    by_gradient, by_value = [], []
    for r in (0.04, 0.02, 0.01):
        ahead, behind = p.grad(axpy(r, v, x)), p.grad(axpy(-r, v, x))
        by_gradient.append(norm(axpy(1.0 / (2 * r), subtract(ahead, behind), scale(-1.0, Cv))))
        by_value.append(abs(float(p.value(axpy(r, v, x))) - f - r * slope - r * r * bend / 2))
    for errors, order in ((by_gradient, 4.0), (by_value, 8.0)):
        for a, b in itertools.pairwise(errors):
            assert a / b == pytest.approx(order, rel=0.1)


@pytest.mark.claim("hessian")
def test_newtons_steps_square_the_error() -> None:
    """Steps of ``C.solve(∇f)`` on softmax regression with decay: from within 1 of the minimiser the error is at most the square of the last
    one in each of four steps, down to rounding; C is positive definite all the way.
    """
    rng = np.random.default_rng(0)
    p = refopt.problem("softmax", data=(rng.standard_normal((30, 3)), np.arange(30) % 3), l2=0.1)
    best = p.start(0)
    for _ in range(20):
        best = subtract(best, refopt.curvature("hessian", p, best).solve(p.grad(best)))
    assert norm(p.grad(best)) < 1e-14
    x = axpy(0.9, direction(best, 1), best)
    errors = [norm(subtract(x, best))]
    for _ in range(4):
        C = refopt.curvature("hessian", p, x)
        assert C.spectrum()[0] > 0.0
        x = subtract(x, C.solve(p.grad(x)))
        errors.append(norm(subtract(x, best)))
    for before, after in itertools.pairwise(errors):
        assert after <= before**2 + 1e-15
    assert errors[2] > 1e-8 > errors[-1]


@pytest.mark.claim("hessian-diagonal")
def test_the_nearest_diagonal() -> None:
    """Of the Hessian of a tanh network, by n products: it is the nearest diagonal matrix in Frobenius' norm, what is left being orthogonal to
    it; and its entries lie between the extreme eigenvalues, every sum of the k largest at most that of the k largest eigenvalues (Schur).
    """
    p, x = small(), point(3)
    n = flatten(x).size
    D = refopt.curvature("hessian-diagonal", p, x)
    entries = flatten(D.diagonal())
    assert D.calls == {"hvp": n}
    H = refopt.curvature("hessian", p, x).dense()
    eigenvalues = np.sort(np.linalg.eigvalsh(H))[::-1]
    sums, most = np.cumsum(np.sort(entries)[::-1]), np.cumsum(eigenvalues)
    assert np.all(sums <= most + 1e-13)
    assert sums[-1] == pytest.approx(most[-1], rel=1e-12)
    assert sums[0] < 0.95 * most[0]
    rest = np.sum((H - np.diag(entries)) ** 2)
    assert np.sum(H**2) == pytest.approx(rest + np.sum(entries**2), rel=1e-12)
    rng = np.random.default_rng(0)
    assert all(np.sum((H - np.diag(entries + 0.01 * rng.standard_normal(n))) ** 2) > rest for _ in range(20))


@pytest.mark.claim("hessian-diagonal")
def test_where_coordinates_do_not_meet_it_is_all() -> None:
    """Of a sum of functions of one coordinate each it is the Hessian: its steps are Newton's of every coordinate, whatever their units, and
    rescaling coordinates by 1e-3 to 1e3 rescales the steps, to 1e-12. Where coordinates meet, its step on a quadratic is Jacobi's.
    """
    x = np.array([1.0, 0.5, -0.7, 2.0])
    for units in (np.ones(4), np.array([1e-3, 1.0, 30.0, 1e3])):

        def value(y: np.ndarray, u: np.ndarray = units) -> float:
            return float(np.sum((u * y) ** 4 / 4 + np.exp(u * y)))

        def grad(y: np.ndarray, u: np.ndarray = units) -> np.ndarray:
            return u * ((u * y) ** 3 + np.exp(u * y))

        def hvp(y: np.ndarray, v: np.ndarray, u: np.ndarray = units) -> np.ndarray:
            return u * u * (3 * (u * y) ** 2 + np.exp(u * y)) * v

        p = refopt.from_functions(value, grad, hvp=hvp, x0=x / units)
        step = refopt.curvature("hessian-diagonal", p, x / units).solve(p.grad(x / units))
        np.testing.assert_allclose(units * step, (x**3 + np.exp(x)) / (3 * x**2 + np.exp(x)), rtol=1e-12)
        np.testing.assert_allclose(
            step, refopt.curvature("hessian", p, x / units).solve(p.grad(x / units)), rtol=1e-10
        )
    A = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 5.0]])
    b = np.array([1.0, 2.0, 3.0])
    p = refopt.from_functions(
        lambda y: y @ A @ y / 2 - b @ y, lambda y: A @ y - b, hvp=lambda y, v: A @ v, x0=np.zeros(3)
    )
    y = np.zeros(3)
    for _ in range(60):
        y = y - refopt.curvature("hessian-diagonal", p, y).solve(p.grad(y))
    np.testing.assert_allclose(y, np.linalg.solve(A, b), rtol=1e-12)
    y = y - refopt.curvature("hessian-diagonal", p, np.zeros(3)).solve(A @ np.ones(3))
    np.testing.assert_allclose(np.linalg.solve(A, b) - y, A @ np.ones(3) / np.diag(A), rtol=1e-11)
