"""The four matrix-recovery problems against loops over their measurements, and recovery of the truth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from refopt.core.errors import ArgumentError, ArgumentTypeError, RefoptError, ShapeError
from refopt.core.params import axpy, flatten
from refopt.core.problem import offers
from refopt.problems.asymmetric_matrix_sensing import AsymmetricMatrixSensing
from refopt.problems.matrix_completion import MatrixCompletion
from refopt.problems.matrix_sensing import MatrixSensing
from refopt.problems.robust_matrix_sensing import RobustMatrixSensing

from tests.methods.matrices import H, close, complex_columns, flat_rows, ggn_product, product_columns

batches = pytest.mark.parametrize("batch", [None, np.array([3, 0, 3, 9])], ids=["full", "batch"])
scalings = pytest.mark.parametrize("scaling", ["isometric", "mean"])


def loop(f_i: Any, x: Any, indices: Any, weight: float) -> tuple[float, np.ndarray]:
    """The mean of weight * e_i^2 / 2 over the examples and its Gauss-Newton matrix, from e_i(x) alone."""
    n = flatten(x).size
    value, ggn = 0.0, np.zeros((n, n))
    for i in indices:
        e = f_i(x, i)
        g = complex_columns(lambda w, i=i: np.reshape(f_i(w, i), 1), x)[0]
        value += weight * e * e / 2 / len(indices)
        ggn += weight * np.outer(g, g) / len(indices)
    return value, ggn


def check(problem: Any, x: Any, batch: Any, f_i: Any, weight: float, extra: Any = None) -> None:
    indices = np.arange(problem.n_examples) if batch is None else batch
    value, ggn = loop(f_i, x, indices, weight)
    if extra is not None:
        value += extra(x)
    np.testing.assert_allclose(float(problem.value(x, batch)), value, rtol=1e-12)
    close(
        flatten(problem.grad(x, batch)), complex_columns(lambda w: problem.value(w, batch).reshape(1), x)[0]
    )
    hessian = complex_columns(lambda w: problem.grad(w, batch), x)
    close(product_columns(lambda v: problem.hvp(x, v, batch), x), hessian)
    if extra is None:
        close(product_columns(lambda v: ggn_product(problem, x, v, batch), x), ggn)
        each = flat_rows(problem.example_grads(x, batch))
        for row, i in zip(each, indices):
            g = complex_columns(lambda w, i=i: np.reshape(weight * f_i(w, i) ** 2 / 2, 1), x)[0]
            np.testing.assert_allclose(row, g, rtol=0, atol=1e-12 * np.max(np.abs(each)))
    jacobian = complex_columns(lambda w: problem.residual(w, batch), x)
    close(product_columns(lambda v: ggn_product(problem, x, v, batch), x), jacobian.T @ jacobian)


@pytest.mark.identity("matrix-sensing")
@batches
@scalings
def test_matrices(scaling: str, batch: np.ndarray | None) -> None:
    """value, Hessian and Gauss-Newton matrices equal loops over measurements to 1e-12; f(X O) = f(X)."""
    rng = np.random.default_rng(0)
    p = MatrixSensing(n=4, rank=2, search_rank=3, scaling=scaling, noise=0.1, seed=1)
    x = rng.standard_normal((4, 3))
    m, a = p.n_examples, p.matrices.reshape(-1, 4, 4)
    np.testing.assert_array_equal(a, np.swapaxes(a, 1, 2))
    # f_i = w e_i^2 / 4
    weight = (m if scaling == "isometric" else 1.0) / 2
    check(p, x, batch, lambda w, i: np.trace(a[i] @ w @ w.T) - p.observations[i], weight)
    if batch is None and scaling == "isometric":
        e = p.matrices @ (x @ x.T).ravel() - p.observations
        np.testing.assert_allclose(float(p.value(x)), np.sum(e**2) / 4, rtol=1e-13)
        close(p.grad(x), np.tensordot(e, a, 1) @ x)
        close(p.residual(x), e / math.sqrt(2))
    q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    np.testing.assert_allclose(float(p.value(x @ q, batch)), float(p.value(x, batch)), rtol=1e-12)


def test_identity_operator() -> None:
    rng = np.random.default_rng(0)
    p = MatrixSensing(n=5, rank=2, search_rank=3, operator="identity", condition_number=4.0)
    x = rng.standard_normal((5, 3))
    gap = x @ x.T - p.truth
    np.testing.assert_allclose(float(p.value(x)), np.sum(gap**2) / 4, rtol=1e-13)
    close(p.grad(x), gap @ x)
    close(product_columns(lambda v: p.hvp(x, v), x), complex_columns(p.grad, x))
    assert p.rip_estimate() < 1e-13
    assert not offers(p, "example_grads")
    with pytest.raises(ArgumentError, match="batch"):
        p.grad(x, np.array([0]))


def test_scalings_are_one_function() -> None:
    rng = np.random.default_rng(0)
    p, q = (MatrixSensing(n=6, rank=2, scaling=s, seed=4) for s in ("isometric", "mean"))
    x = rng.standard_normal((6, 2))
    batch = np.array([5, 1])
    for b in (None, batch):
        np.testing.assert_allclose(float(p.value(x, b)), float(q.value(x, b)), rtol=1e-13)
        close(p.grad(x, b), q.grad(x, b))
    np.testing.assert_allclose(q.matrices, p.matrices * math.sqrt(p.n_examples), rtol=1e-14)


def test_measurements_are_isometric_on_average() -> None:
    """GOE with 1/m: E ||A(M)||^2 = ||M||_F^2 for symmetric M, and the entries' variances."""
    rng = np.random.default_rng(0)
    p = MatrixSensing(n=8, rank=1, measurements=20000, seed=2)
    b = rng.standard_normal((8, 8))
    m = b + b.T
    # The mean of 20000 squared normal numbers: relative deviation sqrt(2 / 20000) = 0.01.
    assert np.sum((p.matrices @ m.ravel()) ** 2) / np.sum(m**2) == pytest.approx(1.0, abs=0.05)
    variances = 20000 * np.mean(p.matrices**2, axis=0).reshape(8, 8)
    np.testing.assert_allclose(np.diag(variances), 1.0, atol=0.06)
    np.testing.assert_allclose(variances[np.triu_indices(8, 1)], 0.5, atol=0.03)
    few, many = (MatrixSensing(n=8, rank=1, measurements=k).rip_estimate() for k in (40, 4000))
    assert many < 0.2 < few


def test_truth() -> None:
    for p in (
        MatrixSensing(n=12, rank=4, condition_number=10.0, search_rank=6),
        RobustMatrixSensing(n=12, rank=4, condition_number=10.0, search_rank=6, outliers=0.0),
    ):
        np.testing.assert_allclose(np.linalg.eigvalsh(p.truth)[-4:], np.linspace(0.1, 1.0, 4), rtol=1e-12)
        np.testing.assert_allclose(p.solution @ p.solution.T, p.truth, atol=1e-14)
        assert p.solution.shape == (12, 6)
        assert (p.rank, p.optimum, p.truth_condition_number) == (4, 0.0, 10.0)
        assert p.error(p.solution) < 1e-14
        assert 1.0 <= p.incoherence <= 12 / 4
    for q in (
        AsymmetricMatrixSensing(n1=9, n2=6, rank=3, condition_number=5.0),
        MatrixCompletion(n1=9, n2=6, rank=3, condition_number=5.0),
    ):
        np.testing.assert_allclose(np.linalg.svd(q.truth)[1][:3], np.linspace(1.0, 0.2, 3), rtol=1e-12)
        assert float(q.value(q.solution)) < 1e-28
        assert q.error(q.solution) < 1e-14
    assert MatrixSensing(n=6, rank=2, noise=0.1).solution is None
    assert MatrixSensing(n=6, rank=2, search_rank=1).optimum is None
    assert RobustMatrixSensing(n=6, rank=2).solution is None


@pytest.mark.claim("asymmetric-matrix-sensing", "matrix-sensing")
@pytest.mark.parametrize("extra", [0, 2], ids=["exact-rank", "overparameterised"])
@pytest.mark.parametrize("kind", [MatrixSensing, AsymmetricMatrixSensing])
def test_recovery(kind: Any, extra: int) -> None:
    """Gradient descent from a small start recovers the truth to 1e-6, overparameterised too.

    Gradient descent from a small start; the rate 0.3 is below 1 / (2 ||M*||) (1 + RIP).

    Overparameterised descent is sublinear in f near the end, so the start is small and the run stops while
    what it has fitted is the truth.
    """
    size = {"n": 10} if kind is MatrixSensing else {"n1": 10, "n2": 8}
    p = kind(**size, rank=2, search_rank=2 + extra, measurements=600, init_scale=1e-7, seed=5)
    x = p.start()
    for _ in range(400):
        x = axpy(-0.3, p.grad(x), x)
    assert p.error(p.start()) > 0.99
    assert p.error(x) < 1e-6
    assert float(p.value(x)) < 1e-12


@pytest.mark.identity("asymmetric-matrix-sensing")
@batches
@scalings
def test_asymmetric_matrices(scaling: str, batch: np.ndarray | None) -> None:
    """value, Hessian and Gauss-Newton matrices equal loops over the measurements to 1e-12."""
    rng = np.random.default_rng(0)
    p = AsymmetricMatrixSensing(n1=4, n2=3, rank=2, search_rank=2, scaling=scaling, noise=0.1, seed=1)
    x = {"F": rng.standard_normal((4, 2)), "G": rng.standard_normal((3, 2))}
    a = p.matrices.reshape(-1, 4, 3)
    weight = float(p.n_examples) if scaling == "isometric" else 1.0

    def e_i(w: Any, i: int) -> Any:
        return np.sum(a[i] * (w["F"] @ w["G"].T)) - p.observations[i]

    check(p, x, batch, e_i, weight)
    if batch is None and scaling == "isometric":
        e = p.matrices @ (x["F"] @ x["G"].T).ravel() - p.observations
        z = np.tensordot(e, a, 1)
        np.testing.assert_allclose(float(p.value(x)), np.sum(e**2) / 2, rtol=1e-13)
        close(p.grad(x)["F"], z @ x["G"])
        close(p.grad(x)["G"], z.T @ x["F"])
    b = AsymmetricMatrixSensing(
        n1=4, n2=3, rank=2, search_rank=2, scaling=scaling, noise=0.1, seed=1, balance=0.7
    )

    def term(w: Any) -> Any:
        return 0.7 / 8 * np.sum((w["F"].T @ w["F"] - w["G"].T @ w["G"]) ** 2)

    check(b, x, batch, e_i, weight, extra=term)
    each = flat_rows(b.example_grads(x, batch))
    close(each.mean(axis=0), flatten(b.grad(x, batch)))
    close(
        each - flat_rows(p.example_grads(x, batch)),
        np.tile(complex_columns(lambda w: term(w).reshape(1), x), (len(each), 1)),
    )


@pytest.mark.identity("matrix-completion")
@batches
def test_completion_matrices(batch: np.ndarray | None) -> None:
    """value, Hessian and Gauss-Newton matrices equal loops over the observed entries to 1e-12."""
    rng = np.random.default_rng(0)
    p = MatrixCompletion(n1=5, n2=4, rank=2, p=0.6, noise=0.1, seed=3)
    x = {"L": rng.standard_normal((5, 2)), "R": rng.standard_normal((4, 2))}
    n, places = p.n_examples, p.observed

    def e_i(w: Any, k: int) -> Any:
        i, j = places[k]
        return np.sum(w["L"][i] * w["R"][j]) - p.observations[k]

    check(p, x, batch, e_i, n / 0.6)
    if batch is None:
        mask = np.zeros((5, 4))
        mask[places[:, 0], places[:, 1]] = 1
        target = np.zeros((5, 4))
        target[places[:, 0], places[:, 1]] = p.observations
        z = (mask * (x["L"] @ x["R"].T) - target) / 0.6
        np.testing.assert_allclose(float(p.value(x)), 0.6 / 2 * np.sum(z**2), rtol=1e-13)
        close(p.grad(x)["L"], z @ x["R"])
        close(p.grad(x)["R"], z.T @ x["L"])


@pytest.mark.claim("matrix-completion")
def test_completion_recovery() -> None:
    """f = 0 at the truth, and gradient descent from the spectral start recovers it to 1e-6."""
    p = MatrixCompletion(n1=40, n2=30, rank=2, p=0.5, seed=1)
    assert abs(p.n_examples - 600) < 5 * math.sqrt(300)
    x = p.start()
    observed = np.zeros((40, 30))
    observed[p.observed[:, 0], p.observed[:, 1]] = p.observations
    u, s, vt = np.linalg.svd(observed / 0.5)
    np.testing.assert_allclose(x["L"] @ x["R"].T, (u[:, :2] * s[:2]) @ vt[:2], atol=1e-13)
    np.testing.assert_allclose(x["L"].T @ x["L"], x["R"].T @ x["R"], atol=1e-13)
    assert 0.01 < p.error(x) < 0.7
    for _ in range(300):
        x = axpy(-0.5, p.grad(x), x)
    assert p.error(x) < 1e-6


@pytest.mark.identity("robust-matrix-sensing")
def test_robust_loops() -> None:
    """Value and subgradient equal loops over the measurements to 1e-12."""
    rng = np.random.default_rng(0)
    p = RobustMatrixSensing(n=4, rank=1, search_rank=2, noise=0.1, seed=1)
    x = rng.standard_normal((4, 2))
    a = p.matrices.reshape(-1, 4, 4)
    for batch in (None, np.array([3, 0, 3, 9])):
        indices = range(p.n_examples) if batch is None else batch
        values, grads = [], []
        for i in indices:
            e = np.trace(a[i] @ x @ x.T) - p.observations[i]
            values.append(abs(e))
            grads.append(2 * np.sign(e) * a[i] @ x)
        np.testing.assert_allclose(float(p.value(x, batch)), np.mean(values), rtol=1e-13)
        close(p.grad(x, batch), np.mean(grads, axis=0))
        close(p.example_grads(x, batch), np.array(grads))
        slopes = complex_columns(lambda w, b=batch: p.value(w, b).reshape(1), x)[0]
        close(p.grad(x, batch).ravel(), slopes)
    kink = RobustMatrixSensing(n=4, rank=1, outliers=0.0)
    zero = kink.example_grads(np.zeros((4, 1)))
    np.testing.assert_array_equal(zero, 0.0)


def test_outliers() -> None:
    p = RobustMatrixSensing(n=10, rank=2, outliers=0.2, outlier_scale=10.0, seed=2)
    clean = p.matrices @ p.truth.ravel()
    np.testing.assert_array_equal(p.observations, clean + p.errors)
    assert np.sum(p.errors != 0) == 32 == math.floor(0.2 * p.n_examples)
    assert 2 * np.max(np.abs(clean)) < np.max(np.abs(p.errors)) <= 10 * np.max(np.abs(clean))


@pytest.mark.claim("robust-matrix-sensing")
@pytest.mark.parametrize("outliers", [0.0, 0.3])
def test_sign_rip(outliers: float) -> None:
    """The subgradient's matrix averages to sqrt(2/pi) Delta / ||Delta||, and to (1 - p) of it with a
    fraction p of gross errors, within 0.02.

    E sign(<A, Delta>) A = sqrt(2/pi) Delta / ||Delta||; symmetric gross errors leave (1 - p) of it.

    An error 10^4 times as large as the rest hides its sign, so wrong measurements average to nothing. The
    mean of m = 40000 draws has a relative deviation of about 1/200 on the component along Delta.
    """
    rng = np.random.default_rng(0)
    p = RobustMatrixSensing(n=6, rank=1, measurements=40000, outliers=outliers, outlier_scale=1e4, seed=3)
    x = rng.standard_normal((6, 1))
    delta = x @ x.T - p.truth
    signs = np.sign(p.matrices @ (x @ x.T).ravel() - p.observations)
    d = (p.matrices.T @ signs).reshape(6, 6) / p.n_examples
    along = np.sum(d * delta) / np.linalg.norm(delta)
    assert along == pytest.approx((1 - outliers) * math.sqrt(2 / math.pi), abs=0.02)
    assert np.linalg.norm(d - along * delta / np.linalg.norm(delta)) < 0.04
    close(p.grad(x), 2 * d @ x)


def test_complex_step_is_finite() -> None:
    """The brute force above needs values that take complex points."""
    p = MatrixSensing(n=4, rank=1)
    assert np.iscomplexobj(p.value(p.start() + 1j * H))


@pytest.mark.parametrize(
    ("kind", "keywords", "error"),
    [
        (MatrixSensing, {"n": 3, "rank": 4}, ArgumentError),
        (MatrixSensing, {"n": 2.5}, ArgumentTypeError),
        (MatrixSensing, {"search_rank": 0}, ArgumentError),
        (MatrixSensing, {"condition_number": 0.5}, ArgumentError),
        (MatrixSensing, {"scaling": "none"}, ArgumentError),
        (MatrixSensing, {"operator": "fourier"}, ArgumentError),
        (MatrixSensing, {"operator": "identity", "measurements": 10}, ArgumentError),
        (MatrixSensing, {"noise": -1.0}, ArgumentError),
        (MatrixSensing, {"init_scale": 0.0}, ArgumentError),
        (AsymmetricMatrixSensing, {"n1": 0}, ArgumentError),
        (AsymmetricMatrixSensing, {"balance": -1.0}, ArgumentError),
        (AsymmetricMatrixSensing, {"scaling": 3}, ArgumentError),
        (RobustMatrixSensing, {"outliers": 1.0}, ArgumentError),
        (RobustMatrixSensing, {"measurements": 0}, ArgumentError),
        (MatrixCompletion, {"p": 0.0}, ArgumentError),
        (MatrixCompletion, {"init": "zero"}, ArgumentError),
        (MatrixCompletion, {"n1": 3, "n2": 3, "rank": 1, "search_rank": 4}, ArgumentError),
        (MatrixCompletion, {"n1": 2, "n2": 2, "rank": 1, "p": 1e-9}, ArgumentError),
    ],
)
def test_bad_keywords(kind: Any, keywords: dict[str, object], error: type[RefoptError]) -> None:
    with pytest.raises(error, match=next(reversed(keywords))):
        kind(**keywords)


@pytest.mark.parametrize("kind", [MatrixSensing, AsymmetricMatrixSensing, MatrixCompletion])
def test_bad_points(kind: Any) -> None:
    p = kind()
    with pytest.raises(ShapeError, match="u: wanted shape"):
        p.vjp(p.start(), np.zeros(2))
    wrong = {k: v[:-1] for k, v in p.start().items()} if isinstance(p.start(), dict) else p.start()[:-1]
    with pytest.raises(ShapeError, match="x"):
        p.grad(wrong)
