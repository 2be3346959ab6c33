"""DP-MF: the optimal factorization against its dual and known values, the Fourier mechanism, and the training loop."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import refopt
from refopt.core.rng import generator
from refopt.optimizers.private.accountant import epsilon
from refopt.optimizers.private.factorization import noise_matrix, optimal, patterns

P = refopt.problem("logistic", l2=0.1, n_examples=40)
X = P.start(1) + 0.3


def ones(n: int) -> np.ndarray:
    return np.tril(np.ones((n, n)))


@pytest.mark.claim("dp-mf")
@pytest.mark.parametrize(
    ("n", "k", "least", "plain"), [(8, 1, 17.86618, 36.0), (8, 2, 36.87387, 72.0), (12, 3, 102.51211, 234.0)]
)
def test_least_error(n: int, k: int, least: float, plain: float) -> None:
    """The squared error ‖A C⁻¹‖² at sensitivity 1 is 17.86618, 36.87387 and 102.51211 for (n, k) = (8, 1), (8, 2), (12, 3)
    (2e-6), against 36, 72 and 234 of independent noise; C is lower triangular, no pattern exceeds 1, and CᵀC is diagonal
    where an example takes part twice (5e-6).
    """
    C = optimal(n, k)
    assert np.linalg.norm(ones(n) @ np.linalg.inv(C)) ** 2 == pytest.approx(least, rel=2e-6)
    assert np.linalg.norm(ones(n) @ noise_matrix("identity", n, k)) ** 2 == pytest.approx(plain)
    np.testing.assert_array_equal(C, np.tril(C))
    X_, u = C.T @ C, patterns(n, k)
    assert len(u) == n // k * 2 ** (k - 1)
    used = np.einsum("ij,jk,ik->i", u, X_, u)
    assert used.max() == pytest.approx(1.0, abs=1e-12)
    for i in range(k):
        for j in range(i):
            assert np.max(np.abs(np.diag(X_[i * n // k :, j * n // k :])[: n // k])) < 5e-6


@pytest.mark.claim("dp-mf")
def test_how_errors_grow() -> None:
    """The root mean squared error of a prefix sum, one epoch: with each doubling from 4 to 64 steps the optimum's grows by 0.18 to
    ln 2/π = 0.221, ever more, where independent noise's grows √2-fold; the Fourier mechanism is within a tenth of the optimum, in two
    epochs a quarter. No C moved off the optimum at random and scaled to sensitivity 1 does better, in one epoch and in two.
    """
    errors: dict[tuple[str, int], list[float]] = {}
    for k, mechanism in itertools.product((1, 2), ("optimal", "fft", "identity")):
        errors[mechanism, k] = [
            float(np.linalg.norm(ones(n) @ noise_matrix(mechanism, n, k))) / n**0.5
            for n in (4, 8, 16, 32, 64)
        ]
    grows = np.diff(errors["optimal", 1])
    assert np.all(np.diff(grows) > 0.0) and grows[0] > 0.18 and grows[-1] < np.log(2) / np.pi
    plain = np.array(errors["identity", 1])
    np.testing.assert_allclose(plain**2, (np.array([4, 8, 16, 32, 64]) + 1) / 2, rtol=1e-13)
    for k, off in ((1, 1.11), (2, 1.25)):
        ratio = np.array(errors["fft", k]) / errors["optimal", k]
        assert np.all((ratio > 1.05) & (ratio < off))
    rng = np.random.default_rng(0)
    for k in (1, 2):
        C, u = optimal(8, k), patterns(8, k)
        least = np.linalg.norm(ones(8) @ np.linalg.inv(C)) ** 2
        for _ in range(200):
            D = C + np.tril(10.0 ** -rng.uniform(0.5, 2.5) * rng.standard_normal((8, 8)))
            D = D / np.sqrt(np.max(np.sum((u @ D.T) ** 2, axis=1)))
            assert np.linalg.norm(ones(8) @ np.linalg.inv(D)) ** 2 > least * (1 - 1e-6)


@pytest.mark.identity("dp-mf")
def test_fourier_mechanism() -> None:
    """At (8, 1) the prefix sums' total variance is 8 (1.6435)² = 21.61, the bound of its sensitivity, √mean|v| = 1.2820,
    included; every prefix has the same.
    """
    N = noise_matrix("fft", 8, 1)
    each = np.sum((ones(8) @ N) ** 2, axis=1)
    v = np.abs(np.fft.fft(np.r_[np.ones(8), np.zeros(8)]))
    np.testing.assert_allclose(each, np.mean(v) ** 2, rtol=1e-12)
    assert np.sqrt(np.mean(v)) == pytest.approx(1.2820, abs=5e-5)
    assert each.sum() == pytest.approx(21.61, abs=5e-3)
    assert np.sum((ones(8) @ noise_matrix("fft", 8, 2)) ** 2) > 36.87387


@pytest.mark.identity("dp-mf")
@pytest.mark.parametrize("mechanism", ["optimal", "fft", "identity"])
def test_written_out(mechanism: str) -> None:
    """Eight steps in two epochs equal the loop written out: cyclic groups, clipped sums, rows of correlated noise, to
    1e-11; a ninth step is refused.
    """
    r = refopt.minimize(
        P, "dp-mf", X, lr=0.4, clip=1.5, noise=0.6, total_steps=8, participations=2, mechanism=mechanism,
        schedule=lambda t: 1 / t, steps=8, seed=5,
    )  # fmt: skip
    N, x = noise_matrix(mechanism, 8, 2), X
    Z = np.array([generator(5, "method", j + 1).standard_normal(X.shape) for j in range(N.shape[1])])
    for t in range(8):
        total = 0.6 * 1.5 * N[t] @ Z
        for i in range(t % 4, 40, 4):
            g = P.grad(x, batch=np.array([i]))
            total = total + g * min(1.0, 1.5 / np.linalg.norm(g))
        x = x - 0.4 / (t + 1) * total / 10
    np.testing.assert_allclose(r.x, x, rtol=1e-11)
    with pytest.raises(refopt.errors.ArgumentError, match="made for 8 steps"):
        refopt.minimize(P, "dp-mf", X, total_steps=8, steps=9)


@pytest.mark.identity("dp-mf")
def test_limits() -> None:
    """Without noise or shortening, one group: gradient descent (1e-12); ε is that of one Gaussian release."""
    a = refopt.minimize(P, "dp-mf", X, lr=0.3, clip=1e6, noise=0.0, total_steps=6, participations=6, steps=6)
    b = refopt.minimize(P, "sgd", X, lr=0.3, steps=6)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-12)
    c = refopt.minimize(P, "dp-mf", X, noise=0.0, total_steps=50, participations=1, steps=40)
    d = refopt.minimize(P, "dp-mf", X, noise=0.0, total_steps=50, participations=1, steps=50)
    np.testing.assert_array_equal(c.x, d.x)  # groups without an example
    assert refopt.optimizer("dp-mf", noise=0.5).epsilon(1e-5) == epsilon(1.0, 0.5, 1, 1e-5)
    o = refopt.optimizer("dp-mf", noise=2.0)
    assert o.epsilon(1e-5) == epsilon(1.0, 2.0, 1, 1e-5)
    assert refopt.optimizer("dp-mf", noise=0.0).epsilon(1e-5) == np.inf
    with pytest.raises(refopt.errors.ArgumentError, match="participations: wanted a divisor"):
        refopt.optimizer("dp-mf", total_steps=5, participations=2)
    with pytest.raises(refopt.errors.ArgumentError, match="k: wanted a divisor"):
        patterns(5, 2)
