"""Hessian, Gauss-Newton, Fisher and their approximations beside brute force and automatic differentiation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.params import flatten, map_leaves
from refopt.curvature import estimates, lanczos
from refopt.curvature.gradients import removal_scores

from tests.parity.case import Arrays, Case
from tests.properties.test_curvature import point, small

# --- beside torch's automatic differentiation ------------------------------------------------------

EXACT = ("hessian", "ggn", "fisher", "empirical-fisher", "hessian-diagonal", "fisher-diagonal")


def _data(seed: int) -> tuple[Any, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed + 5)
    data = rng.standard_normal((12, 3)), np.arange(12) % 3
    return refopt.problem("mlp", data=data, widths=(3,), l2=0.0), point(seed)


def _ours(seed: int) -> Arrays:
    problem, x = _data(seed)
    found = {name: refopt.curvature(name, problem, x).dense() for name in EXACT}
    blocks = refopt.curvature("kfac-factors", problem, x, labels="data")
    for weight, (a, g) in blocks.factors.items():
        found[f"kfac-{weight}-inputs"], found[f"kfac-{weight}-outputs"] = a, g
    return found


def _torch(seed: int) -> Arrays:
    """The same matrices by autograd alone; the Fisher matrix as the mean over all labels of outer products."""
    import torch
    from torch.func import functional_call, grad, hessian, jacrev, vmap  # noqa: F401

    problem, start = _data(seed)
    names = list(start)
    sizes = [start[k].size for k in names]
    flat = torch.tensor(flatten(start))
    inputs, labels = torch.tensor(problem.inputs), torch.tensor(problem.targets).argmax(1)

    def outputs(theta: Any, rows: Any) -> Any:
        part = dict(zip(names, torch.split(theta, sizes)))
        part = {k: v.reshape(start[k].shape) for k, v in part.items()}
        (w1, b1), (w2, b2) = problem.names
        return torch.tanh(rows @ part[w1].T + part[b1]) @ part[w2].T + part[b2]

    def loss(theta: Any, rows: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(outputs(theta, rows), y)

    def example(theta: Any, row: Any, y: Any) -> Any:
        return loss(theta, row[None], y[None])

    n, classes = len(labels), 3
    H = hessian(loss)(flat, inputs, labels)
    J = jacrev(outputs)(flat, inputs)
    p = torch.softmax(outputs(flat, inputs), 1)
    ggn = sum(J[i].T @ (torch.diag(p[i]) - torch.outer(p[i], p[i])) @ J[i] for i in range(n)) / n
    each = vmap(grad(example), in_dims=(None, 0, 0))
    fisher = torch.zeros_like(H)
    for c in range(classes):
        g = each(flat, inputs, torch.full((n,), c))
        fisher += (p[:, c, None] * g).T @ g / n
    g = each(flat, inputs, labels)
    (w1, b1), (w2, b2) = problem.names
    part = {k: v.reshape(start[k].shape) for k, v in zip(names, torch.split(flat, sizes))}
    hidden = (inputs @ part[w1].T + part[b1]).requires_grad_()
    a1 = torch.tanh(hidden)
    out = (a1 @ part[w2].T + part[b2]).requires_grad_()
    total = torch.nn.functional.cross_entropy(out, labels, reduction="sum")
    s1, s2 = torch.autograd.grad(total, (hidden, out))
    one = torch.ones((n, 1), dtype=flat.dtype)
    A1, A2 = torch.cat([inputs, one], 1), torch.cat([a1.detach(), one], 1)
    found = {
        "hessian": H, "ggn": ggn, "fisher": fisher, "empirical-fisher": g.T @ g / n,
        "hessian-diagonal": torch.diag(torch.diag(H)), "fisher-diagonal": torch.diag(torch.diag(fisher)),
        f"kfac-{w1}-inputs": A1.T @ A1 / n, f"kfac-{w2}-inputs": A2.T @ A2 / n,
        f"kfac-{w1}-outputs": s1.T @ s1 / n, f"kfac-{w2}-outputs": s2.T @ s2 / n,
    }  # fmt: skip
    return {k: v.detach().numpy() for k, v in found.items()}


CASES = [
    Case("hessian", "torch-func", "torch", _ours, _torch,
        says="All matrices of a tanh network of 24 parameters on 12 examples by torch.func (Hessian by double reverse,"
        " Gauss-Newton from the Jacobian, the Fisher matrix as the mean over all labels, per-example gradients), to 1e-12.",
        shows=("ggn", "fisher", "empirical-fisher", "hessian-diagonal", "fisher-diagonal", "kfac-factors")),
]  # fmt: skip

# --- what must be equal ----------------------------------------------------------------------------


@pytest.mark.identity("ggn", "hessian")
def test_a_linear_model() -> None:
    """For a model that is linear in its parameters the Gauss-Newton matrix is the Hessian, to 1e-12."""
    rng = np.random.default_rng(0)
    p = refopt.problem("softmax", data=(rng.standard_normal((20, 4)), np.arange(20) % 3), l2=0.0)
    x = map_leaves(lambda a: a + rng.standard_normal(a.shape), p.start(0))
    hessian, ggn = (refopt.curvature(name, p, x).dense() for name in ("hessian", "ggn"))
    np.testing.assert_allclose(ggn, hessian, atol=1e-13)


@pytest.mark.identity("hessian-diagonal", "fisher-diagonal", "fisher")
def test_diagonals() -> None:
    """Each diagonal is that of its matrix, to 1e-13, and the exact Fisher matrix is the Gauss-Newton matrix."""
    x, at = point(), np.arange(5)
    for name in ("hessian", "fisher"):
        full = refopt.curvature(name, small(), x, at).dense()
        C = refopt.curvature(f"{name}-diagonal", small(), x, at)
        np.testing.assert_allclose(flatten(C.diagonal()), np.diagonal(full), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(full, refopt.curvature("ggn", small(), x, at).dense())
    with pytest.raises(refopt.errors.ArgumentError, match="damping"):
        refopt.curvature("hessian-diagonal", refopt.from_functions(lambda x: 0.0, hvp=lambda x, v: 0.0 * v),
            np.ones(2)).solve(np.ones(2))  # fmt: skip


@pytest.mark.claim("fisher", "fisher-diagonal")
def test_drawn_labels_are_unbiased() -> None:
    """The mean of 4000 draws is within 4.5 standard errors of the exact matrix in each of its 300 distinct entries."""
    x, at = point(), np.arange(6)
    exact = refopt.curvature("fisher", small(), x, at).dense()
    C = refopt.curvature("fisher", small(), x, at, samples=4000, seed=3)
    rows = np.concatenate([v.reshape(v.shape[0], -1) for v in C.rows.values()], axis=1)
    products = np.einsum("ni,nj->nij", rows, rows)
    # Six examples a draw: the variance is that within each example.
    by_example = products.reshape(4000, 6, 24, 24)
    error = np.sqrt(np.sum(np.var(by_example, axis=0), axis=0) / 6**2 / 4000)
    assert np.all(np.abs(C.dense() - exact) <= 4.5 * error + 1e-15)
    assert np.max(error) < 0.02 * np.max(np.abs(exact))
    D = refopt.curvature("fisher-diagonal", small(), x, at, samples=4000, seed=3)
    np.testing.assert_allclose(flatten(D.diagonal()), np.diagonal(C.dense()), rtol=1e-12)
    assert not C.exact
    assert not D.exact


@pytest.mark.claim("empirical-fisher")
def test_it_vanishes_where_the_model_fits() -> None:
    """At an exact fit the empirical Fisher matrix is zero, and the Gauss-Newton matrix is not."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((6, 3))
    p = refopt.problem("mlp", data=(inputs, np.arange(6) % 2), widths=(2,), loss="mse", l2=0.0)
    x = p.start(0)
    fitted = refopt.problem("mlp", data=(inputs, np.asarray(p.predict(x))), widths=(2,), loss="mse", l2=0.0)
    assert np.abs(refopt.curvature("empirical-fisher", fitted, x).dense()).max() < 1e-28
    assert refopt.curvature("ggn", fitted, x).trace() > 0.1


@pytest.mark.identity("kfac-factors")
def test_one_example_is_exact() -> None:
    """For one example each layer's block of the empirical Fisher matrix is the Kronecker product, to 1e-13."""
    x, at = point(), np.array([4])
    C = refopt.curvature("kfac-factors", small(), x, at, labels="data").dense()
    F = refopt.curvature("empirical-fisher", small(), x, at).dense()
    inside = 0
    for weight, bias in small().names:
        rows = _rows(x, (weight, bias))
        np.testing.assert_allclose(C[np.ix_(rows, rows)], F[np.ix_(rows, rows)], atol=1e-13)
        inside += rows.size**2
        C[np.ix_(rows, rows)] = 0.0
    assert inside < 24**2
    assert not C.any()  # nothing between layers


def _rows(x: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    start, found = 0, []
    for name, leaf in x.items():
        if name in names:
            found.append(np.arange(start, start + leaf.size))
        start += leaf.size
    return np.concatenate(found)


@pytest.mark.claim("kfac-factors")
def test_factored_damping() -> None:
    """The factored form solves ``(A + π√λ I) ⊗ (Γ + √λ/π I)``, π² the ratio of the factors' mean eigenvalues, to 1e-10."""
    x, damping = point(), 0.3
    C = refopt.curvature("kfac-factors", small(), x, labels="data", damping_form="factored")
    v = map_leaves(np.cos, x)
    got = C.solve(v, damping=damping)
    for weight, bias in small().names:
        a, g = C.factors[weight]
        pi = math.sqrt((np.trace(a) / len(a)) / (np.trace(g) / len(g)))
        a = a + pi * math.sqrt(damping) * np.eye(len(a))
        g = g + math.sqrt(damping) / pi * np.eye(len(g))
        V = np.concatenate([v[weight], v[bias][:, None]], axis=1)
        want = np.linalg.solve(np.kron(g, a), V.ravel()).reshape(V.shape)
        np.testing.assert_allclose(
            np.concatenate([got[weight], got[bias][:, None]], axis=1), want, rtol=1e-10
        )


@pytest.mark.identity("m-fac-static")
def test_the_inverse_without_a_matrix() -> None:
    """Products, diagonal and entries equal the dense inverse of ``λ I + (1/m) Σ g gᵀ``, to 1e-9 (condition 1e4)."""
    x = point()
    C = refopt.curvature("m-fac-static", small(), x, damp=1e-3)
    F = refopt.curvature("empirical-fisher", small(), x).dense()
    inverse = np.linalg.inv(F + 1e-3 * np.eye(24))
    v = np.random.default_rng(0).standard_normal(24)
    np.testing.assert_allclose(C.solve(v), inverse @ v, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(flatten(C.inverse_diagonal()), np.diagonal(inverse), rtol=1e-9)
    entries = [[C.inverse_entry(a, b) for b in range(24)] for a in range(24)]
    np.testing.assert_allclose(entries, inverse, rtol=1e-9, atol=1e-9)
    flat = flatten(x)
    np.testing.assert_allclose(flatten(removal_scores(C)), flat**2 / (2 * np.diagonal(inverse)), rtol=1e-9)


@pytest.mark.claim("m-fac-static")
def test_one_gradient_each() -> None:
    """The m examples' gradients are asked for once, whatever is asked of the inverse; their order does not matter."""
    x, v = point(), np.ones(24)
    C = refopt.curvature("m-fac-static", small(), x, batch=np.arange(7), damp=0.01)
    first = C.solve(v)
    C.solve(v, damping=0.1)
    C.inverse_diagonal()
    assert C.calls == {"example_grads": 1}
    other = refopt.curvature("m-fac-static", small(), x, batch=np.arange(7)[::-1], damp=0.01)
    np.testing.assert_allclose(other.solve(v), first, rtol=1e-10)
    np.testing.assert_allclose(
        C.solve(v, damping=0.1), np.linalg.solve(C.dense() + 0.1 * np.eye(24), v), rtol=1e-9
    )


def _steps(k: int) -> list[np.ndarray]:
    return list(np.random.default_rng(2).standard_normal((k, 5)))


@pytest.mark.identity("lbfgs-inverse")
def test_the_dense_bfgs_update() -> None:
    """The two loops equal the dense product of BFGS updates of the pairs that are kept, to 1e-12; the secant equation."""
    p = refopt.problem("quadratic", n=5, condition_number=30.0)
    x, steps = np.ones(5), _steps(6)
    C = refopt.curvature("lbfgs-inverse", p, x, steps=steps, memory=4)
    points = [x]
    for s in reversed(steps):
        points.append(points[-1] - s)
    ys = [p.grad(b) - p.grad(a) for a, b in zip(points[1:], points)][::-1]
    pairs = list(zip(steps, ys))[-4:]
    s, y = pairs[-1]
    H = (s @ y) / (y @ y) * np.eye(5)
    for s, y in pairs:
        left = np.eye(5) - np.outer(s, y) / (s @ y)
        H = left @ H @ left.T + np.outer(s, s) / (s @ y)
    np.testing.assert_allclose(C.dense(), H, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(C @ ys[-1], steps[-1], rtol=1e-10)
    assert C.calls == {"grad": 5}
    assert C.spectrum()[0] > 0


@pytest.mark.claim("lbfgs-inverse")
def test_pairs_without_curvature_are_left_out() -> None:
    """Along a direction of negative curvature no pair is kept; with none left, that is told."""
    h = np.array([1.0, -1.0])
    p = refopt.from_functions(lambda x: float(0.5 * x @ (h * x)), lambda x: h * x)
    C = refopt.curvature("lbfgs-inverse", p, np.ones(2), steps=[np.array([1.0, 0.0]), np.array([0.0, 1.0])])
    assert len(C.pairs) == 1
    with pytest.raises(refopt.errors.ArgumentError, match="no pair is left"):
        refopt.curvature("lbfgs-inverse", p, np.ones(2), steps=[np.array([0.0, 1.0])])
    with pytest.raises(refopt.errors.ArgumentError, match="no pair is left"):
        # s = (0.8, 0.5): sᵀy = 0.39 of ||s|| ||y|| = 0.89, a cosine of 0.438 at every length
        refopt.curvature("lbfgs-inverse", p, np.ones(2), steps=[np.array([0.8, 0.5])], curvature_floor=0.44)
    for length in (0.01, 100.0):
        step = length * np.array([0.8, 0.5])
        C = refopt.curvature("lbfgs-inverse", p, np.ones(2), steps=[step], curvature_floor=0.43)
        assert len(C.pairs) == 1
        with pytest.raises(refopt.errors.ArgumentError, match="no pair is left"):
            refopt.curvature("lbfgs-inverse", p, np.ones(2), steps=[step], curvature_floor=0.44)


@pytest.mark.identity("lanczos-quadrature")
def test_moments_to_twice_the_steps() -> None:
    """With m steps ``vᵀ C^k v`` is exact for k <= 2m - 1, to 1e-10, and is not for 2m."""
    A = np.diag(np.linspace(-1.0, 2.0, 12)) + 0.1
    p = refopt.from_functions(lambda x: 0.0, hvp=lambda x, v: A @ v)
    m, seed = 4, 6
    C = refopt.curvature("lanczos-quadrature", p, np.zeros(12), steps=m, seed=seed)
    v = refopt.core.rng.rademacher(refopt.core.rng.generator(seed, "method"), np.zeros(12))
    exact = [v @ np.linalg.matrix_power(A, k) @ v for k in range(2 * m + 1)]
    found = [C.trace_of(lambda t, k=k: t**k) for k in range(2 * m + 1)]
    np.testing.assert_allclose(found[:-1], exact[:-1], rtol=1e-10, atol=1e-10)
    assert abs(found[-1] - exact[-1]) > 1e-3 * abs(exact[-1])
    assert C.calls == {"hvp": m}
    np.testing.assert_allclose(C.weights.sum(), 1.0, rtol=1e-14)
    grid = np.linspace(-4.0, 6.0, 4001)
    np.testing.assert_allclose(C.density(grid, 0.2).sum() * (grid[1] - grid[0]), 1.0, rtol=1e-6)


@pytest.mark.claim("lanczos-quadrature")
def test_heavy_ball_from_the_extremes() -> None:
    """Rate and momentum from μ = 0.1 and L = 10: the heavy ball's factor is √β = 0.8182 on all of [μ, L]."""
    values = np.linspace(0.1, 10.0, 15)
    p = refopt.from_functions(lambda x: 0.0, hvp=lambda x, v: values * v)
    C = refopt.curvature("lanczos-quadrature", p, np.zeros(15), steps=15, of="hessian")
    rate, beta = C.heavy_ball()
    for value in values:
        step = np.array([[1 + beta - rate * value, -beta], [1.0, 0.0]])
        radius = np.abs(np.linalg.eigvals(step)).max()
        np.testing.assert_allclose(radius, math.sqrt(beta), rtol=1e-6)
    assert round(math.sqrt(beta), 4) == 0.8182


@pytest.mark.claim("lanczos-quadrature")
def test_batches_move_outliers() -> None:
    """A spike under symmetric noise: 2.5 and 4.25 as λ + σ²P/bλ has it, and the edge 2 below σ√(P/b), within 0.13."""
    rng, n = np.random.default_rng(0), 600
    noise = rng.standard_normal((n, n))
    noise = (noise + noise.T) / math.sqrt(2 * n)  # semicircle of radius 2
    for spike, want in ((2.0, 2.5), (4.0, 4.25), (0.5, 2.0)):
        assert lanczos.batch_eigenvalue(spike, 1.0, n, n) == want
        A = noise.copy()
        A[0, 0] += spike
        p = refopt.from_functions(lambda x: 0.0, hvp=lambda x, v, A=A: A @ v)
        C = refopt.curvature("lanczos-quadrature", p, np.zeros(n), steps=40)
        assert abs(C.extremes()[1] - want) < 0.13


@pytest.mark.identity("lanczos-quadrature")
def test_an_exhausted_space() -> None:
    """A multiple of the identity from three probes: one step each, all weight on its eigenvalue; rounding is no direction."""
    for scale in (3.0, 3e-9, 3e9):
        p = refopt.from_functions(lambda x: 0.0, hvp=lambda x, v, c=scale: c * v)
        C = refopt.curvature("lanczos-quadrature", p, np.zeros(9), steps=5, probes=3)
        assert C.calls == {"hvp": 3}
        np.testing.assert_allclose(C.nodes, scale, rtol=1e-14)
        np.testing.assert_allclose(C.weights, 1 / 3, rtol=1e-14)
        np.testing.assert_allclose(C.trace(), 9 * scale, rtol=1e-14)
    # Noise 2 sqrt(9 / 4) = 3: above it 6 + 9/6, below it twice the noise.
    assert lanczos.batch_eigenvalue(6.0, 2.0, 9, 4) == 7.5
    assert lanczos.batch_eigenvalue(2.9, 2.0, 9, 4) == 6.0


# --- estimates ---------------------------------------------------------------------------------------


def _symmetric() -> Any:
    rng = np.random.default_rng(1)
    A = rng.standard_normal((8, 8))
    A = A + A.T
    return A, refopt.curvature(
        "hessian", refopt.from_functions(lambda x: 0.0, hvp=lambda x, v: A @ v), np.zeros(8)
    )


@pytest.mark.parametrize("distribution", ["rademacher", "normal"])
def test_hutchinson_and_its_error(distribution: str) -> None:
    """Unbiased, and of the stated variance: 2 ||offdiagonal||² with signs, 2 ||C||² with normal numbers (to 10 %)."""
    A, C = _symmetric()
    found = estimates.trace(C, 3000, distribution=distribution)
    part = A - np.diag(np.diagonal(A)) if distribution == "rademacher" else A
    want = math.sqrt(2 * np.sum(part**2) / 3000)
    assert abs(found.standard_error / want - 1) < 0.1
    assert abs(found.value - np.trace(A)) < 4 * want
    assert (found.products, C.calls) == (3000, {"hvp": 3000})


def test_the_diagonal_and_its_error() -> None:
    """The mean of z ∘ Cz: within four standard errors, which are those of the formula to 15 %; exact for a diagonal."""
    A, C = _symmetric()
    found = estimates.diagonal(C, 2000)
    want = np.sqrt((np.sum(A**2, axis=1) - np.diagonal(A) ** 2) / 2000)
    np.testing.assert_allclose(found.standard_error, want, rtol=0.15)
    assert np.all(np.abs(found.value - np.diagonal(A)) < 4 * want)
    D = refopt.curvature("hessian", refopt.problem("quadratic", n=4), np.zeros(4))
    diagonal = refopt.from_functions(lambda x: 0.0, hvp=lambda x, v: np.arange(1.0, 5.0) * v)
    D = refopt.curvature("hessian", diagonal, np.zeros(4))
    one = estimates.diagonal(D, 1)
    np.testing.assert_array_equal(one.value, np.arange(1.0, 5.0))
    assert np.isnan(one.standard_error).all()


def test_hutch_plus_plus_is_exact_at_low_rank() -> None:
    """A matrix of rank 3 from nine products: its trace to 1e-10, where Hutchinson's error is 1."""
    rng = np.random.default_rng(1)
    G = rng.standard_normal((8, 3))
    A = G @ G.T
    C = refopt.curvature("hessian", refopt.from_functions(lambda x: 0.0, hvp=lambda x, v: A @ v), np.zeros(8))
    found = estimates.trace(C, 9, method="hutch++")
    np.testing.assert_allclose(found.value, np.trace(A), rtol=1e-10)
    assert found.products == 9
    assert C.calls == {"hvp": 9}
    assert abs(estimates.trace(C, 9).value - np.trace(A)) > 0.5


def test_solves_beyond_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no matrix is laid out MINRES solves, to 1e-9, and a singular system is told as such in the dense form."""
    x = point()
    C = refopt.curvature("ggn", small(), x)
    v = np.ones(24)
    want = np.linalg.solve(C.dense() + 0.1 * np.eye(24), v)
    monkeypatch.setattr("refopt.curvature.base.DENSE_UP_TO", 3)
    np.testing.assert_allclose(refopt.curvature("ggn", small(), x).solve(v, damping=0.1), want, rtol=1e-9)
    monkeypatch.undo()
    with pytest.raises(refopt.errors.ArgumentError, match="damping"):
        C.solve(v)  # cross-entropy does not change with a shift of all outputs


def test_on_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    """``refopt curvature ggn mlp --spectrum``: all eigenvalues where n is small, Ritz values beyond."""
    import json

    from refopt.cli import curvature as command
    from refopt.cli import main

    words = ["curvature", "ggn", "mlp", "--batch-size", "9", "--problem.widths", "(3,)"]
    assert main([*words, "--spectrum", "--plot", str(tmp_path / "density.png")]) == 0
    out = capsys.readouterr().out
    assert "exact" in out
    assert "#" in out
    assert (tmp_path / "density.png").exists()
    assert main([*words, "--json"]) == 0
    exact = json.loads(capsys.readouterr().out)
    assert len(exact["values"]) == exact["n"] == 235
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "ALL_UP_TO", 10)
        assert main([*words, "--json"]) == 0
    ritz = json.loads(capsys.readouterr().out)
    assert ritz["greatest"] == pytest.approx(exact["greatest"], rel=1e-8)
    assert ritz["trace"] == pytest.approx(exact["trace"], rel=0.3)
    assert main(["curvature", "fisher", "mlp", "--samples", "2", "--batch-size", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exact"] is False
    assert main(["curvature", "ggn", "adam-counterexample"]) == 2
    assert "ggn needs" in capsys.readouterr().err
    assert main(["curvature", "ggn", "mlp", "--batch-size", "99999"]) == 2
