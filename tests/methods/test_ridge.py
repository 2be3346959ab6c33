"""Ridge regression against normal equations, scikit-learn and brute force."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import refopt
import scipy.sparse
from refopt.core.errors import ArgumentError, ArgumentTypeError, NonFiniteError, RefoptError, ShapeError
from refopt.problems.ridge import Ridge

from tests.methods.matrices import close, complex_columns, ggn_product, product_columns

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((15, 4)), RNG.standard_normal(15)
WIDE = RNG.standard_normal((4, 9)), RNG.standard_normal(4)


@pytest.mark.identity("ridge")
@pytest.mark.parametrize("batch", [None, np.array([3, 0, 3, 9])], ids=["full", "batch"])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_matrices(l2: float, batch: np.ndarray | None) -> None:
    """Hessian, Gauss-Newton and empirical Fisher matrices equal loops over the examples to 1e-12; so does the value."""
    p, x = Ridge((X, Y), l2=l2), np.random.default_rng(1).standard_normal(5)
    value, hessian, empirical, indices = (
        0.0,
        np.zeros((5, 5)),
        np.zeros((5, 5)),
        range(15) if batch is None else batch,
    )
    for i in indices:
        a = np.append(X[i], 1.0)
        value += (a @ x - Y[i]) ** 2 / 2
        hessian += np.outer(a, a)
        g = (a @ x - Y[i]) * a + l2 * x
        empirical += np.outer(g, g)
    n = len(list(indices))
    np.testing.assert_allclose(float(p.value(x, batch)), value / n + l2 / 2 * x @ x, rtol=1e-13)
    close(p.grad(x, batch), complex_columns(lambda w: p.value(w, batch).reshape(1), x)[0])
    for product in (lambda v: p.hvp(x, v, batch), lambda v: ggn_product(p, x, v, batch)):
        close(product_columns(product, x), hessian / n + l2 * np.eye(5))
    each = p.example_grads(x, batch)
    close(each.T @ each / n, empirical / n)
    close(p.vjp(x, p.loss_gradient(x, batch), batch), p.grad(x, batch))
    r = p.residual(x, batch)
    np.testing.assert_allclose(r @ r / 2, p.value(x, batch), rtol=1e-13)


@pytest.mark.identity("ridge")
@pytest.mark.parametrize(("data", "l2"), [((X, Y), 0.3), ((X, Y), 0.0), (WIDE, 0.2), (WIDE, 0.0)])
@pytest.mark.parametrize("sparse", [False, True])
def test_known_facts(data: tuple[np.ndarray, np.ndarray], l2: float, sparse: bool) -> None:
    """The solution is that of the normal equations, the shortest where they are singular; L and mu are eigenvalues."""
    inputs, targets = data
    n, d = inputs.shape
    p = Ridge((scipy.sparse.csr_array(inputs) if sparse else inputs, targets), l2=l2, intercept=False)
    gram = inputs.T @ inputs / n + l2 * np.eye(d)
    want = np.linalg.pinv(gram) @ (inputs.T @ targets / n)
    close(p.solution, want, 1e-11)
    assert p.optimum == pytest.approx(float(p.value(want)), rel=1e-11, abs=1e-25)
    eigenvalues = np.linalg.eigvalsh(gram)
    assert p.lipschitz == pytest.approx(eigenvalues[-1], rel=1e-12)
    if sparse:
        assert p.strong_convexity == l2
    else:
        assert p.strong_convexity == pytest.approx(
            eigenvalues[0] if eigenvalues[0] > 1e-12 else 0.0, rel=1e-9
        )
    known = p.strong_convexity
    assert p.condition_number == (p.lipschitz / known if known else None)


@pytest.mark.parity("ridge")
def test_scikit_learn() -> None:
    """scikit-learn's Ridge gives the solution to 1e-12, dense and sparse, and its coefficients have no gradient."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    p = Ridge(l2=0.05, intercept=False)
    theirs = linear_model.Ridge(alpha=p.n_examples * 0.05, fit_intercept=False, solver="svd").fit(
        p.inputs, p.targets
    )
    close(p.solution, theirs.coef_)
    sparse = Ridge((scipy.sparse.csr_array(p.inputs), p.targets), l2=0.05, intercept=False)
    close(sparse.solution, theirs.coef_)
    assert np.abs(p.grad(theirs.coef_)).max() < 1e-14
    assert np.abs(p.grad(1.01 * theirs.coef_)).max() > 1e-4


def test_a_large_sparse_problem_knows_its_optimum() -> None:
    """Of 2000 examples of 20000 features: no dense copy, whose singular values would take minutes."""
    rng = np.random.default_rng(0)
    a = scipy.sparse.random_array((2000, 20_000), density=2e-4, rng=rng, format="csr")
    p = Ridge((a, rng.standard_normal(2000)), l2=3e-2)
    assert np.linalg.norm(p.grad(p.solution)) < 1e-13 * np.linalg.norm(p.grad(p.start()))
    r = refopt.minimize(p, "nesterov", lr="auto", steps=200, tol=1e-7)
    bound = np.sum(p.grad(r.x) ** 2) / (2 * p.strong_convexity)
    assert r.success and -1e-15 < r.fun - p.optimum < bound + 1e-15 < 1e-8


def test_rates_from_the_constants() -> None:
    """Gradient descent with lr = "auto" contracts by (L - mu) / (L + mu) a step; Gauss-Newton is there at once."""
    p = Ridge((X, Y), l2=0.3)
    factor = (p.lipschitz - p.strong_convexity) / (p.lipschitz + p.strong_convexity)
    before = p.start() - p.solution
    for steps in (1, 2, 5):
        after = refopt.minimize(p, "sgd", lr="auto", steps=steps).x - p.solution
        assert np.linalg.norm(after) <= factor**steps * np.linalg.norm(before) * (1 + 1e-12)
    # The bound is attained by a start along the eigenvectors of L and of mu together.
    vectors = np.linalg.eigh(product_columns(lambda v: p.hvp(before, v), before))[1]
    slow = vectors[:, 0] + vectors[:, -1]
    once = refopt.minimize(p, "sgd", lr="auto", steps=1, x0=p.solution + slow).x - p.solution
    assert np.linalg.norm(once) == pytest.approx(factor * np.linalg.norm(slow), rel=1e-12)
    at_once = refopt.minimize(p, "levenberg-marquardt", damping=0.0, steps=1).x
    np.testing.assert_allclose(at_once, p.solution, rtol=1e-10)


def test_prox_of_one_example() -> None:
    """The minimiser of f_i + ||u - x||^2 / (2 step), by its own normal equations."""
    p, x, step = Ridge((X, Y), l2=0.3), np.arange(5.0), 0.7
    for i in (0, 6):
        a = np.append(X[i], 1.0)
        want = np.linalg.solve(np.outer(a, a) + (0.3 + 1 / step) * np.eye(5), Y[i] * a + x / step)
        close(p.example_prox(x, step, np.array([i])), want)
    with pytest.raises(ShapeError, match="batch: wanted one example"):
        p.example_prox(x, step, np.array([1, 2]))


def test_a_part_of_the_examples_has_its_own_facts() -> None:
    p = Ridge((X, Y), l2=0.3)
    assert p.optimum and p.lipschitz and p.strong_convexity
    some, alone = (
        p.subset([1, 4, 5, 6, 9, 11]),
        Ridge((X[[1, 4, 5, 6, 9, 11]], Y[[1, 4, 5, 6, 9, 11]]), l2=0.3),
    )
    np.testing.assert_array_equal(some.solution, alone.solution)
    for name in ("optimum", "lipschitz", "strong_convexity"):
        assert getattr(some, name) == getattr(alone, name) != getattr(p, name)


def test_data(tmp_path: pathlib.Path) -> None:
    p = Ridge(intercept=False)
    assert p.inputs.shape == (442, 10)
    for values in (p.inputs, p.targets):
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-13)
        np.testing.assert_allclose(values.std(axis=0), 1, rtol=1e-12)
    path = tmp_path / "train.txt"
    path.write_text("1.5 1:0.5 9:-2\n-1 2:1.5\n")
    q = Ridge(path, intercept=False)
    assert scipy.sparse.issparse(q.inputs) and not q.inputs.data.flags.writeable
    np.testing.assert_array_equal(q.targets, [1.5, -1.0])
    np.testing.assert_array_equal(q.inputs.toarray()[1], [0, 1.5, 0, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"data": "diabetis"}, ArgumentError),
        ({"data": (X, Y[:3])}, ShapeError),
        ({"data": (X, X)}, ShapeError),
        ({"data": (X, Y * np.nan)}, NonFiniteError),
        ({"l2": -1.0}, ArgumentError),
        ({"intercept": 1}, ArgumentTypeError),
        ({"data": (X, Y), "n_examples": 16}, ArgumentError),
    ],
)
def test_bad_keywords(keywords: dict[str, object], error: type[RefoptError]) -> None:
    with pytest.raises(error, match=next(reversed(keywords))):
        Ridge(**keywords)  # type: ignore[arg-type]


def test_bad_arguments() -> None:
    p = Ridge((X, Y), l2=0.1)
    with pytest.raises(ShapeError, match=r"u: wanted shape \(20,\)"):
        p.vjp(p.start(), np.zeros(15))
    with pytest.raises(ShapeError, match=r"u: wanted shape \(7,\)"):
        p.loss_hessian(p.start(), np.zeros(20), np.array([1, 2]))
