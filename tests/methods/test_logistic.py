"""Logistic regression against brute force, scikit-learn, and its own bounds."""

from __future__ import annotations

import math
import pathlib

import numpy as np
import pytest
from refopt.core.errors import ArgumentError, ArgumentTypeError, NonFiniteError, RefoptError, ShapeError
from refopt.problems.logistic import Logistic

from tests.methods.matrices import close, complex_columns, ggn_product, product_columns

RNG = np.random.default_rng(0)
X = RNG.standard_normal((15, 4))
Y = np.sign(RNG.standard_normal(15))


@pytest.mark.identity("logistic")
@pytest.mark.parametrize("batch", [None, np.array([3, 0, 3, 9])], ids=["full", "batch"])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_matrices(l2: float, batch: np.ndarray | None) -> None:
    """Hessian, Gauss-Newton and empirical Fisher matrices equal brute-force ones to 1e-12."""
    rng = np.random.default_rng(0)
    p = Logistic((X, Y), l2=l2)
    x = rng.standard_normal(5)
    indices = range(15) if batch is None else batch
    close(p.grad(x, batch), complex_columns(lambda w: p.value(w, batch).reshape(1), x)[0])
    hessian = complex_columns(lambda w: p.grad(w, batch), x)
    close(product_columns(lambda v: p.hvp(x, v, batch), x), hessian)
    value, ggn, empirical = 0.0, np.zeros((5, 5)), np.zeros((5, 5))
    for i in indices:
        a, y = np.append(X[i], 1.0), Y[i]
        s = 1 / (1 + math.exp(-a @ x))
        value += -math.log(s if y > 0 else 1 - s)
        ggn += s * (1 - s) * np.outer(a, a)
        g = (s - (y > 0)) * a + l2 * x
        empirical += np.outer(g, g)
    n = len(list(indices))
    np.testing.assert_allclose(float(p.value(x, batch)), value / n + l2 / 2 * x @ x, rtol=1e-13)
    close(product_columns(lambda v: ggn_product(p, x, v, batch), x), ggn / n)
    close(ggn / n + l2 * np.eye(5), hessian)
    each = p.example_grads(x, batch)
    close(each.T @ each / n, empirical / n)
    close(p.vjp(x, p.loss_gradient(x, batch), batch) + l2 * x, p.grad(x, batch))


@pytest.mark.parity("logistic")
def test_scikit_learn_minimiser() -> None:
    """scikit-learn's minimiser is stationary: its gradient is below 1e-6 of the start's."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    p = Logistic("breast-cancer", l2=0.01, intercept=False)
    theirs = linear_model.LogisticRegression(
        C=1 / (p.n_examples * p.l2), fit_intercept=False, tol=1e-10, max_iter=1000
    )
    theirs.fit(p.inputs, p.labels)
    x = theirs.coef_[0]
    start = np.linalg.norm(p.grad(p.start()))
    assert np.linalg.norm(p.grad(x)) < 1e-6 * start
    assert np.linalg.norm(p.grad(1.01 * x)) > 1e-4 * start


def test_constants() -> None:
    p = Logistic(l2=0.1)
    assert (p.n_examples, p.dimension) == (569, 31)
    at_zero = np.linalg.eigvalsh(product_columns(lambda v: p.hvp(p.start(), v), p.start()))
    np.testing.assert_allclose(at_zero[-1], p.lipschitz, rtol=1e-12)
    x = np.random.default_rng(1).standard_normal(31)
    eigenvalues = np.linalg.eigvalsh(product_columns(lambda v: p.hvp(x, v), x))
    assert p.strong_convexity <= eigenvalues[0] * (1 + 1e-12)
    assert eigenvalues[-1] < p.lipschitz
    assert p.condition_number == p.lipschitz / 0.1


def test_data() -> None:
    standard = Logistic(intercept=False)
    np.testing.assert_allclose(standard.inputs.mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(standard.inputs.std(axis=0), 1, rtol=1e-12)
    digits = Logistic("digits")
    assert digits.inputs.shape == (1797, 65)
    np.testing.assert_array_equal(digits.labels[:4], [-1.0, 1.0, -1.0, 1.0])
    mapped = Logistic((X, (Y > 0).astype(int)))
    np.testing.assert_array_equal(mapped.labels, Logistic((X, Y)).labels)


def test_libsvm_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("+1 1:0.5 3:-2\n-1 2:1.5\n")
    p = Logistic(path, intercept=False)
    np.testing.assert_array_equal(p.inputs, [[0.5, 0.0, -2.0], [0.0, 1.5, 0.0]])
    np.testing.assert_array_equal(p.labels, [1.0, -1.0])
    path.write_text("this is not it\n")
    with pytest.raises(ArgumentError, match="not a LIBSVM-format file"):
        Logistic(str(path))


def test_penalty() -> None:
    """Zero without l1; prox holds its optimality condition entry by entry."""
    p = Logistic((X, Y), l1=0.4)
    x = np.array([1.0, -0.1, 0.2, -3.0, 0.05])
    assert float(Logistic((X, Y)).penalty(x)) == 0.0
    np.testing.assert_array_equal(Logistic((X, Y)).prox(x, 0.5), x)
    assert float(p.penalty(x)) == pytest.approx(0.4 * 4.35, rel=1e-15)
    np.testing.assert_allclose(p.prox(x, 0.5), [0.8, 0.0, 0.0, -2.8, 0.0], atol=1e-16)
    np.testing.assert_array_equal(p.prox(x, 0.5)[[1, 2, 4]], 0.0)


@pytest.mark.parametrize("size", [1e3, 1e5])
def test_extreme_margins(xp: object, dtype: str, size: float) -> None:
    """Neither overflow nor cancellation: a loss of e^-t is not rounded to 0 before t = 80."""
    p = Logistic(([[1.0], [1.0]], [1, 0]), intercept=False)
    make = lambda v: xp.asarray([v], dtype=getattr(xp, dtype))  # type: ignore[attr-defined]  # noqa: E731
    for x in (make(size), make(-size)):
        assert float(p.value(x)) == pytest.approx(size / 2, rel=1e-6)
        assert float(xp.abs(p.grad(x))[0]) == pytest.approx(0.5, rel=1e-6)  # type: ignore[attr-defined]
    first = np.array([0])
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    assert float(p.value(make(80.0), first)) == pytest.approx(math.exp(-80.0), rel=tolerance)
    assert float(p.grad(make(80.0), first)[0]) == pytest.approx(-math.exp(-80.0), rel=tolerance)
    assert float(p.hvp(make(80.0), make(1.0), first)[0]) == pytest.approx(math.exp(-80.0), rel=tolerance)


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"data": "digit"}, ArgumentError),
        ({"data": 3}, ArgumentTypeError),
        ({"data": (X, Y[:3])}, ShapeError),
        ({"data": (X, np.ones(15))}, ArgumentError),
        ({"data": (X, np.arange(15))}, ArgumentError),
        ({"data": (X * np.nan, Y)}, NonFiniteError),
        ({"data": (X, ["a"] * 15)}, ArgumentTypeError),
        ({"l2": -1.0}, ArgumentError),
        ({"l1": "much"}, ArgumentTypeError),
        ({"intercept": "yes"}, ArgumentTypeError),
        ({"data": (X, Y), "n_examples": 16}, ArgumentError),
    ],
)
def test_bad_keywords(keywords: dict[str, object], error: type[RefoptError]) -> None:
    with pytest.raises(error, match=next(reversed(keywords))):
        Logistic(**keywords)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        (np.array([15]), ArgumentError),
        (np.array([-1]), ArgumentError),
        (np.array([], dtype=int), ShapeError),
        (np.array([0.0]), ArgumentTypeError),
        ([0, 1], ArgumentTypeError),
    ],
)
def test_bad_batch(batch: object, error: type[RefoptError]) -> None:
    with pytest.raises(error, match="batch"):
        Logistic((X, Y)).grad(np.zeros(5), batch)  # type: ignore[arg-type]
