"""Rosenbrock's function: its derivatives, its minima, and its box."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError, RefoptError, ShapeError

from tests.methods.matrices import close, complex_columns, ggn_product, product_columns


@pytest.mark.identity("rosenbrock")
@pytest.mark.parametrize("n", [2, 3, 5])
def test_derivatives(n: int) -> None:
    """f is the sum written out (1e-15) and ‖r‖²/2; gradient, Hessian, third derivative and Jacobian equal complex steps; the
    Hessian is tridiagonal with ``1200 x_i² - 400 x_{i+1} + 2``, 200 and ``-400 x_i``.
    """
    p = refopt.problem("rosenbrock", n=n)
    x = p.start() + np.random.default_rng(n).standard_normal(n)
    f = sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(n - 1))
    assert float(p.value(x)) == pytest.approx(f, rel=1e-14)
    assert float(np.sum(p.residual(x) ** 2)) / 2 == pytest.approx(f, rel=1e-14)
    close(p.grad(x), complex_columns(lambda w: p.value(w).reshape(1), x)[0])
    hessian = complex_columns(p.grad, x)
    close(product_columns(lambda v: p.hvp(x, v), x), hessian)
    want = np.diag(-400 * x[:-1], 1) + np.diag(-400 * x[:-1], -1)
    want[np.arange(n - 1), np.arange(n - 1)] += 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    want[np.arange(1, n), np.arange(1, n)] += 200
    close(hessian, want)
    v = np.arange(1.0, n + 1)
    slope = (p.hvp(x + 1e-30j * v, v.astype(complex)) @ v).imag / 1e-30
    assert float(p.third(x, v)) == pytest.approx(slope, rel=1e-12)
    assert float(p.directional(x, v)) == pytest.approx(float(p.grad(x) @ v), rel=1e-11)
    jacobian = complex_columns(p.residual, x)
    close(product_columns(lambda v: p.jvp(x, v), x), jacobian)
    close(product_columns(lambda u: p.vjp(x, u), p.residual(x)), jacobian.T)
    close(product_columns(lambda v: ggn_product(p, x, v, None), x), jacobian.T @ jacobian)
    close(p.vjp(x, p.loss_gradient(x)), p.grad(x))


@pytest.mark.claim("rosenbrock")
def test_minima() -> None:
    """0 at ones, where the Hessian's condition number is 2508 for n = 2 and 3180 for n = 4; for n = 4 a second minimum of
    3.7014 near (-0.7757, 0.6131, 0.3821, 0.1460); 24.2 at (-1.2, 1).
    """
    for n, condition in ((2, 2508.0), (4, 3180.0)):
        p = refopt.problem("rosenbrock", n=n)
        assert float(p.value(p.solution)) == p.optimum == 0.0
        values = np.linalg.eigvalsh(product_columns(lambda v, p=p: p.hvp(p.solution, v), p.solution))
        assert values[-1] / values[0] == pytest.approx(condition, rel=1e-3)
    x = np.array([-0.7757, 0.6131, 0.3821, 0.1460])
    for _ in range(3):
        x = x - np.linalg.solve(product_columns(lambda v, x=x: p.hvp(x, v), x), p.grad(x))
    assert float(p.value(x)) == pytest.approx(3.7014, abs=1e-4)
    assert np.linalg.norm(p.grad(x)) < 1e-9
    assert np.linalg.eigvalsh(product_columns(lambda v: p.hvp(x, v), x))[0] > 0.3
    assert float(refopt.problem("rosenbrock").value(np.array([-1.2, 1.0]))) == pytest.approx(24.2, rel=1e-14)


def test_box() -> None:
    p = refopt.problem("rosenbrock", n=3, lower=-1.0, upper=[2.0, 0.5, np.inf])
    np.testing.assert_array_equal(p.start(), [-1.0, 0.5, -1.0])
    np.testing.assert_array_equal(p.project(np.array([3.0, -2.0, 9.0])), [2.0, -1.0, 9.0])
    np.testing.assert_array_equal(p.bounds(p.start())[1], [2.0, 0.5, np.inf])
    assert p.solution is None and p.optimum is None
    assert refopt.problem("rosenbrock", lower=1.0).optimum == 0.0


@pytest.mark.parametrize(
    ("keywords", "error"),
    [({"n": 1}, ArgumentError), ({"n": 3, "lower": [1.0, 2.0]}, ShapeError), ({"upper": 1.0, "lower": 1.0}, ArgumentError)],
)  # fmt: skip
def test_bad_keywords(keywords: dict[str, object], error: type[RefoptError]) -> None:
    with pytest.raises(error, match=next(reversed(keywords))):
        refopt.problem("rosenbrock", **keywords)
    with pytest.raises(ShapeError, match="u: wanted shape"):
        refopt.problem("rosenbrock").vjp(np.ones(2), np.ones(3))
