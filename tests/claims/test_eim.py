"""What is claimed of the empirical interpolation of inverses and log-determinants."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.core.errors import ArgumentError, ConvergenceError
from refopt.matrix.eim import assemble, inverse_eim, logdet_eim
from refopt.matrix.eim_bound import eim_error_bound

from tests.identities.test_eim import family


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
