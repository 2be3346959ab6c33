"""What the papers claim of SOR, its bandits, sketching and the thermodynamic solver."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from refopt.linear.iterative_sketching import iterative_sketching
from refopt.linear.sor import optimal_omega, sor
from refopt.linear.sor_bandit import ChebyshevContextual, TsallisINF, sor_bandit
from refopt.linear.thermodynamic import thermodynamic
from refopt.problems.linear_systems import poisson_2d, random_spd


def _pass_matrix(A: np.ndarray, omega: float) -> np.ndarray:
    n = A.shape[0]
    return np.column_stack([sor(A, np.zeros(n), x0=e, omega=omega, rtol=0.0, maxiter=1).x for e in np.eye(n)])


@pytest.mark.claim("sor")
def test_young_radius() -> None:
    """The pass's spectral radius is Young's formula in omega to 1e-8 on Poisson 6 x 6; 111 passes at
    the optimum on 32 x 32, 118 symmetric (each within one).
    """
    A = poisson_2d(6).toarray()
    beta = float(np.cos(np.pi / 7))
    best = optimal_omega(beta)
    for omega in (0.8, 1.0, 1.2, 1.35, best + 0.05, 1.7, 1.9):
        radius = np.abs(np.linalg.eigvals(_pass_matrix(A, omega))).max()
        if omega > best:
            want = omega - 1
        else:
            want = (omega * beta + np.sqrt(omega**2 * beta**2 - 4 * (omega - 1))) ** 2 / 4
        # The pass is not normal: its eigenvalues carry more than the rounding of its entries.
        np.testing.assert_allclose(radius, want, rtol=1e-8)
    large = poisson_2d(32)
    b = np.random.default_rng(0).standard_normal(1024)
    omega = optimal_omega(float(np.cos(np.pi / 33)))
    counts = [
        sor(large, b, omega=omega, symmetric=symmetric, rtol=1e-8).iterations for symmetric in (False, True)
    ]
    # Another program counted 114 and 117 with another b. A count may move by one with rounding.
    np.testing.assert_allclose(counts, [111, 118], atol=1)


def _cost_table() -> np.ndarray:
    """Passes of 10 relaxations on 12 shifted Laplacians, as in section 4 of Khodak et al."""
    rng = np.random.default_rng(0)
    laplacian = poisson_2d(8)
    rows = []
    for _ in range(12):
        A = laplacian + (-0.1 + 0.6 * rng.beta(2, 6)) * scipy.sparse.eye_array(64)
        b = rng.standard_normal(64)
        rows.append([sor(A, b, omega=w).iterations for w in np.linspace(1.0, 1.9, 10)])
    return np.array(rows, dtype=float)


@pytest.mark.claim("sor-bandit")
def test_bandit_regret() -> None:
    """Sublinear regret: over 3000 rounds less than 0.6 of the rate of the first 375."""
    table = _cost_table()
    best = table.mean(0).min()
    early, late, exploring = [], [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        bandit = TsallisINF(10, rng)
        costs = []
        for t in rng.integers(0, 12, 3000):
            arm = bandit.draw(None)
            bandit.learn(arm, table[t, arm], None)
            costs.append(table[:, arm].mean() - best)
        early.append(np.mean(costs[:375]))
        late.append(np.mean(costs))
        exploring.append(np.mean(costs[-375:]))
    uniform = float((table.mean(0) - best).mean())
    assert np.mean(late) < 0.6 * np.mean(early)
    assert np.mean(exploring) < 0.3 * uniform
    assert np.mean(early) < uniform


def test_contextual_bandit() -> None:
    # Costs that cross in the context: no fixed arm is good, the contextual bandit finds both.
    rng = np.random.default_rng(1)
    bandit = ChebyshevContextual(2, rng, low=0.0, high=1.0)
    late = []
    for t in range(400):
        context = float(rng.random())
        arm = bandit.draw(context)
        cost = 20 + 60 * (context if arm == 0 else 1 - context)
        bandit.learn(arm, cost, context)
        if t >= 200:
            late.append(cost - 20 - 60 * min(context, 1 - context))
    assert np.mean(late) < 0.3 * 30  # 30 is the regret of either fixed arm... half of its rounds
    A = poisson_2d(5)
    shifts = np.linspace(0, 1, 12)
    stream = [(A + s * scipy.sparse.eye_array(25), np.ones(25)) for s in shifts]
    r = sor_bandit(stream, contexts=shifts.tolist(), interval=(0.0, 1.0), omegas=np.array([1.0, 1.5]))
    assert r.probabilities.shape == (12, 2)
    for (M, b), x in zip(stream, r.solutions, strict=True):
        np.testing.assert_allclose(M @ x, b, atol=1e-6)


@pytest.mark.claim("iterative-sketching")
def test_sketch_rate() -> None:
    """Mean squared error over 300 runs within (1 - s_min^2 / |K|_F^2)^t for rows drawn by their
    norms.
    """
    rng = np.random.default_rng(2)
    A = rng.standard_normal((6, 6)) + 2 * np.eye(6)
    solution = rng.standard_normal(6)
    rate = 1 - np.linalg.svd(A)[1][-1] ** 2 / np.sum(A**2)
    steps, runs = 25, 300
    errors = np.zeros(steps)
    for seed in range(runs):
        history: list[float] = []
        iterative_sketching(
            A,
            A @ solution,
            sketch="kaczmarz-norms",
            rtol=0.0,
            maxiter=steps,
            seed=seed,
            callback=lambda z, h=history: h.append(float(np.sum((z - solution) ** 2))),
        )
        errors += np.array(history) / runs
    assert np.all(errors <= rate ** np.arange(1, steps + 1) * np.sum(solution**2))
    assert errors[-1] > 1e-8


@pytest.mark.claim("thermodynamic")
@pytest.mark.parametrize("method", ["exact", "euler"])
def test_thermal_error(method: str) -> None:
    """Mean squared error of the average within 15 % of 2 tr(A^-2) / (beta T) over 300 runs."""
    A = random_spd(4, 4.0, seed=3, spectrum=np.array([1.0, 2.0, 3.0, 4.0]))
    b = np.ones(4)
    solution = np.linalg.solve(A, b)
    beta, dt, steps, runs = 50.0, 0.2, 1000, 300
    errors = [
        np.sum(
            (
                thermodynamic(
                    A, b, x0=solution, beta=beta, method=method, dt=dt, steps=steps, burn_in=20, seed=s
                ).x
                - solution
            )
            ** 2
        )
        for s in range(runs)
    ]
    want = 2 * np.trace(np.linalg.inv(A @ A)) / (beta * dt * steps)
    # 300 runs of nearly chi-square errors scatter by 6 %, and finite T and h take off another 2 %.
    np.testing.assert_allclose(np.mean(errors), want, rtol=0.15)
