"""What is claimed of the empirical interpolation of inverses and log-determinants.

Identities of the empirical interpolation of matrix families.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.arrays import to_numpy
from refopt.core.errors import ArgumentError, ConvergenceError
from refopt.matrix import eim
from refopt.matrix.eim import assemble, inverse_eim, logdet_eim
from refopt.matrix.eim_bound import eim_error_bound


@pytest.mark.claim("inverse-eim", "logdet-eim")
@pytest.mark.parametrize("seed", [0, 1])
def test_error_within_bound(seed):
    """The error stays within the a-posteriori bound at 20 queries and falls as degree and rank rise
    together, in two families.
    """
    terms, training, query = family(seed)
    A = assemble(terms, query)
    inverse, logdet = np.linalg.inv(A), np.linalg.slogdet(A)[1]
    worst = []
    for degree, rank in ((4, 10), (8, 20), (8, 40), (12, 80)):
        options = {"degree": degree, "rank": rank}
        error = np.linalg.norm(inverse_eim(terms, training, query, **options) - inverse, 2, axis=(1, 2))
        bound = eim_error_bound(terms, training, query, **options)
        assert np.all(error <= bound)
        log_error = np.abs(logdet_eim(terms, training, query, **options) - logdet)
        log_bound = eim_error_bound(terms, training, query, function="logdet", **options)
        assert np.all(log_error <= log_bound)
        scaled = eim_error_bound(2 * terms, training, query, c=2.0, **options)
        np.testing.assert_allclose(scaled, bound / 2, rtol=1e-10)
        worst.append((error.max(), log_error.max(), np.median(bound)))
    errors, log_errors, bounds = map(list, zip(*worst))
    for column in (errors, log_errors, bounds):
        assert column == sorted(column, reverse=True)
    assert errors[0] < 0.1
    assert errors[2] < 2e-3
    assert log_errors[2] < 2e-3


def test_logdet_bound_scales_with_order():
    """Two copies of the family on the diagonal have twice the log-determinant and twice the bound."""
    terms, training, query = family(n=4)
    twice = np.stack([np.kron(np.eye(2), t) for t in terms])
    one = eim_error_bound(terms, training, query, function="logdet")
    np.testing.assert_allclose(
        eim_error_bound(twice, training, query, function="logdet"), 2 * one, rtol=1e-12
    )
    weights = logdet_eim(terms, training, query)
    np.testing.assert_allclose(logdet_eim(twice, training, query), 2 * weights, rtol=1e-10)


def test_larger_degree_at_equal_rank_is_worse():
    """At M = 40 the degree 16 is worse than 8: the nodes are spent on high powers."""
    terms, training, query = family()
    inverse = np.linalg.inv(assemble(terms, query))
    error = {
        degree: np.abs(inverse_eim(terms, training, query, degree=degree, rank=40) - inverse).max()
        for degree in (8, 16)
    }
    assert error[16] > error[8]


def test_bound_asks_for_its_region():
    """rho >= 1, or a wrong identity, is an error."""
    terms, training, query = family(size=0.9)
    with pytest.raises(ConvergenceError, match="c: "):
        eim_error_bound(3 * terms, training, query)
    with pytest.raises(ArgumentError, match="identity"):
        eim_error_bound(terms, training, query, identity=np.array([0.0, 1.0, 0.0]))


def family(seed=0, n=10, size=0.3, points=15):
    """A = I + mu_1 A_1 + mu_2 A_2 with ||A_i||_2 = size, a grid of mu in [-1, 1]^2, and random queries."""
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((2, n, n))
    parts = parts * (size / np.linalg.norm(parts, 2, axis=(1, 2)))[:, None, None]
    terms = np.concatenate([np.eye(n)[None], parts])
    grid = np.linspace(-1, 1, points)
    training = np.array([[1.0, a, b] for a in grid for b in grid])
    query = np.concatenate([np.ones((20, 1)), rng.uniform(-1, 1, (20, 2))], axis=1)
    return terms, training, query


@pytest.mark.identity("inverse-eim")
def test_powers_are_exact():
    """Exact at the nodes; weights sum to 1; all monomials make powers to K exact: to 1e-12.

    All monomials of degree <= K: every power to K is interpolated exactly; weights sum to 1.
    """
    terms, training, query = family(points=9)
    found = eim.greedy(training, 4, 100, 0.0)
    assert len(found.nodes) == 15  # binom(4 + 2, 2): the constant coefficient adds no new monomials
    weights = eim.eim_weights(found, training, query)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    at_nodes = eim.assemble(terms, training[found.nodes])
    wanted = eim.assemble(terms, query)
    for k in range(5):
        got = np.einsum("qm,mij->qij", weights, np.linalg.matrix_power(at_nodes, k))
        np.testing.assert_allclose(got, np.linalg.matrix_power(wanted, k), atol=1e-12)
    exact = np.einsum("qm,mij->qij", weights, np.linalg.matrix_power(at_nodes, 5))
    assert np.abs(exact - np.linalg.matrix_power(wanted, 5)).max() > 1e-6
    # At a node the weights are a unit vector, so the inverse is exact there.
    short = eim.greedy(training, 6, 8, 0.0)
    np.testing.assert_allclose(eim.eim_weights(short, training, training[short.nodes]), np.eye(8), atol=1e-12)
    inverses = eim.inverse_eim(terms, training, training[short.nodes], degree=6, rank=8)
    np.testing.assert_allclose(
        inverses, np.linalg.inv(eim.assemble(terms, training[short.nodes])), atol=1e-12
    )


def test_full_rank_is_polynomial_interpolation():
    """d = 2, all powers: the weights are Lagrange's on the nodes."""
    t = np.linspace(-1, 1, 21)
    training = np.stack([np.ones(21), t], axis=1)
    found = eim.greedy(training, 5, 6, 0.0)
    nodes = t[found.nodes]
    x = 0.37
    lagrange = [np.prod([(x - b) / (a - b) for b in nodes if b != a]) for a in nodes]
    np.testing.assert_allclose(eim.eim_weights(found, training, np.array([1.0, x])), lagrange, atol=1e-12)
    assert found.residuals[-1] < 1e-12


@pytest.mark.identity("logdet-eim")
def test_logdet():
    """Exact at the nodes (to 1e-12); c A shifts it by n ln c, and diagonals have a closed form (to
    1e-11).
    """
    terms, training, query = family()
    value = eim.logdet_eim(terms, training, query, degree=6, rank=20)
    shifted = eim.logdet_eim(3.0 * terms, training, query, degree=6, rank=20)
    np.testing.assert_allclose(shifted - value, 10 * np.log(3.0), atol=1e-11)
    nodes = training[eim.greedy(training, 6, 20, 0.0).nodes]
    want = np.linalg.slogdet(eim.assemble(terms, nodes))[1]
    np.testing.assert_allclose(eim.logdet_eim(terms, training, nodes, degree=6, rank=20), want, atol=1e-12)
    diagonal = np.stack([np.eye(3), np.diag([0.3, -0.2, 0.1])])
    t = np.linspace(-1, 1, 41)
    line = np.stack([np.ones(41), t], axis=1)
    got = eim.logdet_eim(diagonal, line, np.array([1.0, 0.77]), degree=16, rank=17)
    np.testing.assert_allclose(got, np.sum(np.log(1 + 0.77 * np.array([0.3, -0.2, 0.1]))), atol=1e-11)


def test_derivatives():
    """Central differences in the query, reverse against forward; converged, tr(A^{-1} A_i)."""
    terms, training, query = family()
    query = 0.9 * query + 0.1 * np.array([1.0, 0, 0])
    rng = np.random.default_rng(1)
    tangent = np.concatenate([np.zeros((20, 1)), rng.standard_normal((20, 2))], axis=1)
    h = 1e-6
    options = {"degree": 8, "rank": 30}
    for f, jvp in ((eim.inverse_eim, eim.inverse_eim_jvp), (eim.logdet_eim, eim.logdet_eim_jvp)):
        up, down = (f(terms, training, query + s * h * tangent, **options) for s in (1, -1))
        np.testing.assert_allclose(
            jvp(terms, training, query, tangent, **options), (up - down) / (2 * h), atol=1e-7
        )
    G = rng.standard_normal((20, 10, 10))
    left = np.sum(G * eim.inverse_eim_jvp(terms, training, query, tangent, **options))
    back = eim.inverse_eim_vjp(terms, training, query, G, **options)
    np.testing.assert_allclose(np.sum(back * tangent), left, rtol=1e-10)
    gradient = eim.logdet_eim_vjp(terms, training, query, degree=10, rank=66)
    exact = np.einsum("qij,dji->qd", np.linalg.inv(eim.assemble(terms, query)), terms)
    # The interpolation error's own derivative, 1e-3 measured; the constant coefficient has no neighbours.
    np.testing.assert_allclose(gradient[:, 1:], exact[:, 1:], atol=5e-3)


@pytest.mark.parametrize("name", ["inverse-eim", "logdet-eim"])
def test_namespaces(name, xp, dtype):
    """Every namespace and precision; dtype kept, inputs untouched."""
    terms, training, query = family(points=5)
    double = [v.astype(dtype) for v in (terms, training, query)]
    arrays = [xp.asarray(v.copy()) for v in double]
    f = refopt.get(name)
    got = f(*arrays, degree=4, rank=10)
    assert got.dtype == arrays[0].dtype
    for array, value in zip(arrays, double):
        np.testing.assert_array_equal(to_numpy(array), value)
    want = f(*(v.astype("float64") for v in double), degree=4, rank=10)
    np.testing.assert_allclose(to_numpy(got), want, atol=1e-4 if dtype == "float32" else 1e-12)
    vjp = {"inverse-eim": eim.inverse_eim_vjp, "logdet-eim": eim.logdet_eim_vjp}[name]
    cotangent = got if name == "inverse-eim" else xp.ones_like(got)
    assert vjp(*arrays, cotangent, degree=4, rank=10).dtype == arrays[0].dtype


def test_bad_input():
    """Typed errors that name the argument."""
    errors = refopt.errors
    terms, training, query = family(points=5)
    with pytest.raises(errors.ArgumentError, match="query"):
        eim.inverse_eim(terms, training, 2 * query)
    with pytest.raises(errors.ShapeError, match="query"):
        eim.inverse_eim(terms, training, query[:, :2])
    with pytest.raises(errors.ShapeError, match="terms"):
        eim.inverse_eim(terms[0], training, query)
    with pytest.raises(errors.ArgumentError, match="degree"):
        eim.inverse_eim(terms, training, query, degree=0)
    with pytest.raises(errors.ConvergenceError, match="singular"):
        eim.inverse_eim(0 * terms, training, query)
    with pytest.raises(errors.ConvergenceError, match="det"):
        eim.logdet_eim(np.stack([np.diag([1.0, -1.0])] * 3), training, query)
