"""More of what is claimed of the curvature matrices and the methods on them: what depends on labels, residuals and coordinates, and what does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.params import flatten

from tests.methods.test_levenberg_marquardt import rosenbrock
from tests.properties.test_curvature import point, small


def regression(size: float) -> tuple[Any, Any]:
    """A tanh network with squared errors whose residuals at the given point are `size` times the same ones."""
    rng = np.random.default_rng(0)
    inputs, away = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    p = refopt.problem("mlp", data=(inputs, 0.0 * away), widths=(3,), loss="mse", l2=0.0)
    x = p.start(0)
    data = (inputs, np.asarray(p.predict(x)) + size * away)
    return refopt.problem("mlp", data=data, widths=(3,), loss="mse", l2=0.0), x


@pytest.mark.claim("ggn")
def test_what_gauss_newton_leaves_out_goes_with_the_residuals() -> None:
    """Hessian less Gauss-Newton matrix is Σ residual ∇²prediction: for residuals 0.1 and 10 times as large it is 0.1 and 10 times as large
    (1e-9), and at an exact fit nothing (1e-13), while the Gauss-Newton matrix is the same at all.
    """
    G, rest = {}, {}
    for size in (0.0, 0.1, 1.0, 10.0):
        p, x = regression(size)
        G[size] = refopt.curvature("ggn", p, x).dense()
        rest[size] = refopt.curvature("hessian", p, x).dense() - G[size]
    scale = np.max(np.abs(rest[1.0]))
    assert scale > 1e-2 and np.max(np.abs(rest[0.0])) < 1e-13
    for size in (0.1, 10.0):
        np.testing.assert_allclose(rest[size], size * rest[1.0], rtol=0, atol=1e-9 * size * scale)
        np.testing.assert_allclose(G[size], G[1.0], rtol=0, atol=1e-14 * np.max(np.abs(G[1.0])))


@pytest.mark.claim("ggn")
def test_it_is_positive_where_the_hessian_is_not() -> None:
    """At ten points of a softmax network the Hessian has an eigenvalue below -1e-3, the Gauss-Newton matrix none below -1e-15, and its
    quadratic form is that of the losses' Hessians in the predictions' first change, the mean variance of it under the model's labels (1e-10).
    """
    p, negative = small(), 0
    for seed in range(10):
        x = point(seed)
        H, G = (refopt.curvature(name, p, x).dense() for name in ("hessian", "ggn"))
        negative += np.linalg.eigvalsh(H)[0] < -1e-3
        assert np.linalg.eigvalsh(G)[0] > -1e-15
        v = refopt.core.params.map_leaves(lambda a: np.cos(3 * a), x)
        change, z = p.jvp(x, v), p.predict(x)
        s = np.exp(z - z.max(1, keepdims=True))
        s /= s.sum(1, keepdims=True)
        want = np.mean(np.sum(s * change**2, axis=1) - np.sum(s * change, axis=1) ** 2)
        assert flatten(v) @ G @ flatten(v) == pytest.approx(want, rel=1e-10)
    assert negative == 10


@pytest.mark.claim("empirical-fisher")
def test_it_goes_with_the_square_of_the_residuals() -> None:
    """Kunstner, Hennig and Balles: residuals ten times as small make it a hundred times as small (1e-12), so that a step by its inverse is
    ten times as long towards the fit, where the Gauss-Newton step is ten times as short.
    """
    steps: dict[str, list[float]] = {"empirical-fisher": [], "ggn": []}
    F = []
    for size in (1.0, 0.1):
        p, x = regression(size)
        g = p.grad(x)
        F.append(refopt.curvature("empirical-fisher", p, x).dense())
        # λ in the units of each matrix.
        for name in steps:
            C = refopt.curvature(name, p, x)
            steps[name].append(float(np.linalg.norm(flatten(C.solve(g, damping=1e-3 * C.trace())))))
    np.testing.assert_allclose(F[1], 0.01 * F[0], rtol=0, atol=1e-14 * np.max(np.abs(F[0])))
    assert steps["empirical-fisher"][1] == pytest.approx(10 * steps["empirical-fisher"][0], rel=1e-9)
    assert steps["ggn"][1] == pytest.approx(0.1 * steps["ggn"][0], rel=1e-9)


@pytest.mark.claim("fisher", "fisher-diagonal")
def test_the_labels_do_not_matter() -> None:
    """The expectation is over the model's labels: with every label of the data changed matrix and diagonal are the same to the bit, and the
    same in other units of the inputs as the parameters' change of units has it (1e-12); the empirical one is changed by a tenth and more.
    """
    rng = np.random.default_rng(5)
    inputs, labels = rng.standard_normal((12, 3)), np.arange(12) % 3
    x, units = point(), np.array([0.1, 1.0, 20.0])
    p, q, scaled = (
        refopt.problem("mlp", data=data, widths=(3,), l2=0.0)
        for data in ((inputs, labels), (inputs, (labels + 1) % 3), (inputs * units, labels))
    )
    F = refopt.curvature("fisher", p, x).dense()
    np.testing.assert_array_equal(refopt.curvature("fisher", q, x).dense(), F)
    D = flatten(refopt.curvature("fisher-diagonal", p, x).diagonal())
    np.testing.assert_array_equal(flatten(refopt.curvature("fisher-diagonal", q, x).diagonal()), D)
    E = [refopt.curvature("empirical-fisher", r, x).dense() for r in (p, q)]
    assert np.max(np.abs(E[0] - E[1])) > 0.1 * np.max(np.abs(E[0]))
    first = next(iter(p.names))[0]
    y = {k: v / units if k == first else v for k, v in x.items()}
    s = flatten({k: np.ones_like(v) * units if k == first else np.ones_like(v) for k, v in x.items()})
    np.testing.assert_allclose(
        refopt.curvature("fisher", scaled, y).dense(), F * np.outer(s, s), rtol=1e-11, atol=1e-15
    )
    found = flatten(refopt.curvature("fisher-diagonal", scaled, y).diagonal())
    np.testing.assert_allclose(found, D * s * s, rtol=1e-11, atol=1e-15)


@pytest.mark.claim("kfac-factors")
def test_natural_gradients_of_layers_know_no_input_units() -> None:
    """Martens and Grosse's invariance: with inputs A x, A any invertible matrix, and first weights W A⁻¹ the undamped solution of the
    gradient is the old one times A⁻¹ in the first layer and the same elsewhere (1e-6; damping of 1e-10); at a damping of 1 it is not.
    """
    rng = np.random.default_rng(2)
    inputs, labels = rng.standard_normal((40, 3)), np.arange(40) % 3
    A = np.array([[2.0, 0.3, 0.0], [0.1, 0.5, 0.2], [0.0, -0.4, 1.5]])
    p, q = (refopt.problem("mlp", data=(X, labels), widths=(3,), l2=0.0) for X in (inputs, inputs @ A.T))
    x = p.start(1)
    first = next(iter(p.names))[0]
    y = {k: v @ np.linalg.inv(A) if k == first else v for k, v in x.items()}
    np.testing.assert_allclose(q.predict(y), p.predict(x), rtol=1e-12)
    for damping, alike in ((1e-10, True), (1.0, False)):
        steps = []
        for problem, at in ((p, x), (q, y)):
            C = refopt.curvature("kfac-factors", problem, at, labels="data")
            steps.append(C.solve(problem.grad(at), damping=damping))
        off = 0.0
        for k in x:
            want = steps[0][k] @ np.linalg.inv(A) if k == first else steps[0][k]
            off = max(off, float(np.max(np.abs(steps[1][k] - want)) / np.max(np.abs(want))))
        assert (off < 1e-6) == alike and (alike or off > 0.05)


@pytest.mark.claim("lbfgs-inverse")
@pytest.mark.parametrize("condition", [3.0, 1e3])
def test_conjugate_steps_make_the_inverse(condition: float) -> None:
    """On a quadratic in six unknowns, after six steps that are conjugate to each other the memory holds H⁻¹, to 1e-9 of its norm; with five
    of them it is right on their span alone.
    """
    p = refopt.problem("quadratic", n=6, condition_number=condition)
    H = refopt.curvature("hessian", p, np.zeros(6)).dense()
    rng, steps = np.random.default_rng(0), []
    for v in rng.standard_normal((6, 6)):
        s = v
        for _ in range(2):
            for t in steps:
                s = s - (t @ H @ s) / (t @ H @ t) * t
        steps.append(s)
    inverse = np.linalg.inv(H)
    whole = refopt.curvature("lbfgs-inverse", p, np.ones(6), steps=steps, memory=6).dense()
    np.testing.assert_allclose(whole, inverse, rtol=0, atol=1e-9 * np.linalg.norm(inverse, 2))
    part = refopt.curvature("lbfgs-inverse", p, np.ones(6), steps=steps, memory=5).dense()
    S = np.array(steps[1:]).T
    np.testing.assert_allclose(part @ H @ S, S, rtol=0, atol=1e-8 * np.max(np.abs(S)))
    assert np.max(np.abs(part - inverse)) > 1e-2 * np.max(np.abs(inverse))


@pytest.mark.claim("levenberg-marquardt")
@pytest.mark.parametrize("scaling", ["diagonal", "running-maximum"])
def test_marquardt_s_scaling_knows_no_units(scaling: str) -> None:
    """Marquardt's D, the diagonal of JᵀJ or its largest so far: in units of 1e-3 and 50 the iterates of 15 steps are the same points, to 1e-9
    relative; with D = I, Levenberg's, they are not.
    """
    p, units = rosenbrock(), np.array([1e-3, 50.0])
    q = refopt.from_functions(
        lambda y: p.value(y * units), lambda y: units * p.grad(y * units), residual=lambda y: p.residual(y * units),
        jvp=lambda y, v: p.jvp(y * units, v * units), vjp=lambda y, u: units * p.vjp(y * units, u),
        least_squares=True, x0=np.array([-1.2, 1.0]) / units,
    )  # fmt: skip
    for kind, alike in ((scaling, True), ("identity", False)):
        a, b = [], []
        refopt.minimize(p, "levenberg-marquardt", damping=1e-2, scaling=kind, steps=15, callback=a.append)
        refopt.minimize(q, "levenberg-marquardt", damping=1e-2, scaling=kind, steps=15, callback=b.append)
        off = np.max(np.abs(np.array(b) * units - np.array(a)))
        assert (off < 1e-9) == alike and (alike or off > 1e-2)


@pytest.mark.claim("sophia")
def test_steps_do_not_grow_with_the_condition() -> None:
    """Convex quadratics of conditions 1, 1e2 and 1e6 from x = (1, …, 1): to a gap of 1e-12 of the start's in 50 steps or fewer, the same number
    at each (to one), as every entry comes down by its own curvature and no step is longer than the rate; gradient descent at 1/L needs
    more than 200 from 1e2 on.
    """
    counts = []
    for condition in (1.0, 1e2, 1e6):
        h = np.geomspace(1.0 / condition, 1.0, 5)
        p = refopt.from_functions(
            lambda x, h=h: 0.5 * float(h @ (x * x)),
            lambda x, h=h: h * x,
            hvp=lambda x, v, h=h: h * v,
            x0=np.ones(5),
        )
        points = [p.x0]
        refopt.minimize(p, "sophia", lr=0.4, beta1=0.0, beta2=0.0, gamma=0.5, weight_decay=0.0, probe="rademacher",
            update_every=1, steps=60, callback=points.append)  # fmt: skip
        assert np.max(np.abs(np.diff(points, axis=0))) <= 0.4 * (1 + 1e-12)
        counts.append(next(k for k, x in enumerate(points) if p.value(x) < 1e-12 * p.value(p.x0)))
        slow = refopt.minimize(p, "sgd", lr=1.0, steps=200)
        assert condition == 1.0 or slow.fun > 1e-12 * p.value(p.x0)
    assert max(counts) <= 50 and max(counts) - min(counts) <= 1
