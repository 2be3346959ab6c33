"""Estimates from values: their moments exactly, their errors on a cubic, and what they ask for."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.methods.values import Cubic, H, Linear, X, at, nodes

G = np.array([1.5, -0.5])


@pytest.mark.claim("one-point-gradient", "two-point-gradient", "forward-gradient")
@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("law", ["gaussian", "sphere", "rademacher"])
def test_moments_exactly(law: str, samples: int) -> None:
    """Unbiased at a linear function, E‖ĝ‖² = (d + n + 1)/n ‖g‖² (Gaussian) or (d + n - 1)/n ‖g‖² (sphere,
    signs), by quadrature to 1e-12; one point adds d f²/(n μ²).
    """
    f = 0.3
    for name in ("one-point-gradient", "two-point-gradient", "forward-gradient"):
        more = {} if name == "forward-gradient" else {"radius": 0.5}
        o = refopt.optimizer(name, law=law, samples=samples, **more)
        mean, square = np.zeros(2), 0.0
        for w, z in nodes(law, samples):
            g = o.estimate(at(Linear(f, G), *z), np.zeros(2))
            mean, square = mean + w * g, square + w * float(g @ g)
        extra = 2 * f**2 / 0.25 / samples if name == "one-point-gradient" else 0.0
        want = (2 + samples + (1 if law == "gaussian" else -1)) / samples * float(G @ G) + extra
        np.testing.assert_allclose(mean, G, rtol=1e-12)
        np.testing.assert_allclose(square, want, rtol=1e-12)
        np.testing.assert_allclose(o.moments(f, G)[1], want, rtol=1e-12)


@pytest.mark.identity("two-point-gradient")
@pytest.mark.parametrize("radius", [0.1, 3.0])
def test_two_point_on_a_cubic(radius: float) -> None:
    """Along z the symmetric quotient is gᵀz + μ² D³f[z,z,z]/6 and the one-sided one has μ zᵀHz/2 besides, to
    1e-10; on a quadratic it is gᵀz whatever μ.
    """
    z = np.array([0.6, -1.2, 0.9])
    for c in (0.0, 1.5):
        p = Cubic(H, c)
        exact = float(p.grad(X) @ z) + radius**2 * c * float(np.sum(z**3)) / 6
        one_sided = exact + radius / 2 * float(z @ (H + c * np.diag(X)) @ z)
        for form, want, asked in (("two-point", exact, 2), ("one-sided", one_sided, 2)):
            oracle = at(p, z)
            o = refopt.optimizer("two-point-gradient", radius=radius, form=form)
            np.testing.assert_allclose(o.estimate(oracle, X), want * z, rtol=1e-10)
            assert oracle.counts.calls == {"value": asked}
    oracle = at(Cubic(H), z, 2 * z, -z)
    refopt.optimizer("two-point-gradient", form="one-sided", samples=3).estimate(oracle, X)
    assert oracle.counts.calls == {"value": 4}


@pytest.mark.identity("one-point-gradient")
def test_one_point_is_the_papers() -> None:
    """ĝ = (d/δ) f(x + δ u) u with u on the unit sphere and δ = μ √d, to 1e-13."""
    p, z, mu = Cubic(H), np.array([0.6, -1.2, 0.9]), 0.4
    u, delta = z / np.linalg.norm(z), mu * 3**0.5
    got = refopt.optimizer("one-point-gradient", radius=mu).estimate(at(p, z), X)
    np.testing.assert_allclose(got, 3 / delta * p.value(X + delta * u) * u, rtol=1e-13)


@pytest.mark.claim("coordinate-gradient")
def test_coordinate_bias() -> None:
    """On a quadratic the one-sided estimate is off by μ H_ii/2 in coordinate i, so by at most μ L √d/2; the
    central one is exact: to 1e-12, with d + 1 and 2 d values.
    """
    p, mu = Cubic(H), 0.5
    for form, bias, asked in (("one-sided", mu / 2 * np.diag(H), 4), ("two-point", np.zeros(3), 6)):
        oracle = Oracle(p)
        got = refopt.optimizer("coordinate-gradient", radius=mu, form=form).estimate(oracle, X)
        np.testing.assert_allclose(got - p.grad(X), bias, atol=1e-12)
        assert np.linalg.norm(got - p.grad(X)) <= mu * np.linalg.eigvalsh(H)[-1] * 3**0.5 / 2
        assert oracle.counts.calls == {"value": asked}


@pytest.mark.identity("coordinate-gradient")
def test_coordinates_are_gradient_descent() -> None:
    """Around Adam on a quadratic: Adam with the exact gradient, to 1e-9."""
    p = refopt.problem("quadratic", n=5)
    a = refopt.minimize(p, "coordinate-gradient", base="adam", radius=0.1, lr=0.1, steps=30)
    b = refopt.minimize(p, "adam", lr=0.1, steps=30)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-9)
    assert a.calls == {"value": 300}
