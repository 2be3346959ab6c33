"""What the papers claim of conjugate gradients."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.linear.conjugate_gradient import cg, pcg
from refopt.problems.linear_systems import poisson_2d, random_spd


@pytest.mark.claim("cg")
def test_chebyshev_bound() -> None:
    """Energy error within 2 ((sqrt(k) - 1) / (sqrt(k) + 1))^j of the start's at every pass, k = 100."""
    condition = 100.0
    A = random_spd(120, condition, seed=1)
    rng = np.random.default_rng(1)
    solution = rng.standard_normal(120)
    energies = [solution @ A @ solution]
    cg(
        A,
        A @ solution,
        rtol=1e-10,
        callback=lambda x: energies.append((x - solution) @ A @ (x - solution)),
    )
    errors = np.sqrt(energies)
    factor = (np.sqrt(condition) - 1) / (np.sqrt(condition) + 1)
    bound = 2 * factor ** np.arange(errors.size) * errors[0]
    assert errors.size > 60
    assert np.all(errors <= bound * (1 + 1e-9))
    assert np.all(np.diff(errors) < 0)  # the energy error falls at every pass
    assert errors[-1] < 1e-9 * errors[0]
    # The rate is nearly attained: a faster method would mean a wrong condition number in this test.
    assert errors[30] > 1e-3 * bound[30]


@pytest.mark.claim("cg")
@pytest.mark.parametrize("distinct", [1, 2, 3, 5])
@pytest.mark.parametrize("complex_", [False, True])
def test_finite_termination(distinct: int, complex_: bool) -> None:
    """Ends in as many passes as A has distinct eigenvalues (1, 2, 3, 5)."""
    values = np.linspace(1.0, 3.0, distinct)[np.arange(40) % distinct]
    A = random_spd(40, 3.0, seed=2, spectrum=values, complex_=complex_)
    b = np.random.default_rng(2).standard_normal(40)
    r = cg(A, b, rtol=1e-11)
    assert (r.status, r.iterations) == ("converged", distinct)
    if distinct > 1:
        assert r.residuals[-2] > 1e-4 * r.residuals[0]


@pytest.mark.claim("pcg")
def test_pass_counts() -> None:
    """Poisson 32 x 32 to 1e-8: 102 passes plain, 41 with SSOR(1), 23 with SSOR(1.7), 35 with IC(0)
    (each within one).
    """
    A = poisson_2d(32)
    b = np.random.default_rng(0).standard_normal(1024)
    counts = {
        "cg": cg(A, b, rtol=1e-8).iterations,
        "jacobi": pcg(A, b, rtol=1e-8).iterations,
        "ssor 1": pcg(A, b, preconditioner="ssor", rtol=1e-8).iterations,
        "ssor 1.7": pcg(A, b, preconditioner="ssor", omega=1.7, rtol=1e-8).iterations,
        "ic0": pcg(A, b, preconditioner="ic0", rtol=1e-8).iterations,
    }
    # Another program counted 101, 101, 40, 23, 35 with another b. A count may move by one with rounding.
    wanted = {"cg": 102, "jacobi": 102, "ssor 1": 41, "ssor 1.7": 23, "ic0": 35}
    for name, count in wanted.items():
        assert abs(counts[name] - count) <= 1, (name, counts[name])
    assert counts["cg"] == counts["jacobi"]  # a constant diagonal changes nothing
