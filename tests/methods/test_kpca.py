"""Kernel PCA in the dual: its derivatives and optimum, the DC algorithm beside the authors' code, and its variants."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.objective import objective
from refopt.core.oracle import Oracle
from scipy.optimize import minimize

from tests.alike import steps_on
from tests.methods.matrices import close, product_columns
from tests.parity.case import Arrays, Case

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "robust": {"variant": "robust", "limit": 0.7},
    "robust-entries": {"variant": "robust", "norm": "entries", "limit": 0.3},
    "sparse": {"variant": "sparse", "limit": 0.3},
    "sparse-entries": {"variant": "sparse", "norm": "entries", "limit": 0.2},
}
STEPS = 10


def ours(seed: int, variant: str) -> Arrays:
    p = refopt.problem("kpca", components=3, seed=seed, **VARIANTS[variant])
    start = np.random.default_rng(seed).standard_normal((12, 3))
    seen: list[np.ndarray] = []
    refopt.minimize(p, "kpca-dual", start, steps=STEPS, callback=seen.append)
    return {"H": np.stack(seen)}


CASES = [
    Case("kpca-dual", variant, "taralloc/dc-kpca@beef35b", functools.partial(ours, variant=variant), None,
        says=f"The authors' code ({STEPS} steps of its {variant} form on a Gaussian Gram matrix of 12 points, three components) to 1e-12")
    for variant in ("plain", "robust", "robust-entries", "sparse")
]  # fmt: skip


@pytest.mark.identity("kpca-dual")
@pytest.mark.parametrize("variant", VARIANTS)
def test_dca_written_out(variant: str) -> None:
    """Ten steps equal G H (Hᵀ G H)^(-1/2), by the polar factor of G^(1/2) H, followed by the clipping or shortening of rows or
    entries, to 1e-10; and gradient, projected or proximal gradient steps of length 1, to 1e-12.
    """
    options = VARIANTS[variant]
    p = refopt.problem("kpca", kernel="laplace", **options)
    values, U = np.linalg.eigh(p.gram_matrix)
    root = U * np.sqrt(np.maximum(values, 0)) @ U.T
    H, limit = p.start(1), options.get("limit", 0.0)
    o = refopt.optimizer("kpca-dual")
    name = (
        "sgd" if variant == "plain" else "projected-gradient" if "robust" in variant else "proximal-gradient"
    )
    other = refopt.minimize(p, name, H, lr=1.0, steps=10).x
    for x, s in steps_on(p, o, 10):
        left, _, right = np.linalg.svd(root @ H, full_matrices=False)
        Y = root @ left @ right
        size = np.abs(Y) if "entries" in variant else np.linalg.norm(Y, axis=1, keepdims=True)
        if "robust" in variant:
            Y = Y * np.minimum(1.0, limit / size)
        if "sparse" in variant:
            Y = Y * np.maximum(1.0 - limit / size, 0.0)
        measure = float(np.max(np.abs(Y - H)))
        assert o.stationarity(H, s, Oracle(p)) == pytest.approx(measure, rel=1e-8)
        np.testing.assert_allclose(x, Y, atol=1e-10)
        H = x
        assert s["t"] <= 10
    np.testing.assert_allclose(H, other, atol=1e-12)
    with pytest.raises(refopt.errors.ShapeError, match="one matrix"):
        o.step({"w": H}, {"t": 0}, Oracle(p))


@pytest.mark.claim("kpca-dual")
@pytest.mark.parametrize("variant", VARIANTS)
def test_monotone(variant: str) -> None:
    """The objective never rises over 60 steps from three starts (1e-13), for all forms; the sparse ones end with rows or entries that
    are zero, the robust ones with some as long as they may be; a long limit, and a small one, give plain kernel PCA (1e-9).
    """
    p = refopt.problem("kpca", **VARIANTS[variant])
    for seed in range(3):
        seen = [p.start(seed)]
        refopt.minimize(p, "kpca-dual", seen[0], steps=60, callback=seen.append)
        values = [objective(p, x) for x in seen]
        assert np.max(np.diff(values)) < 1e-13
    size = np.abs(seen[-1]) if "entries" in variant else np.linalg.norm(seen[-1], axis=1)
    if variant != "plain":
        edge = 0.0 if "sparse" in variant else p.limit
        assert 0 < np.sum(np.abs(size - edge) < 1e-12) < size.size
        loose = {**VARIANTS[variant], "limit": 1e-11 if "sparse" in variant else 1e3}
        free = refopt.minimize(refopt.problem("kpca", **loose), "kpca-dual", seen[0], steps=20).x
        plain = refopt.minimize(refopt.problem("kpca"), "kpca-dual", seen[0], steps=20).x
        np.testing.assert_allclose(free, plain, atol=1e-9)


@pytest.mark.claim("kpca-dual")
def test_it_finds_kernel_pca() -> None:
    """It ends at minus half the sum of the largest eigenvalues (1e-12), with HᵀH of these eigenvalues, at a linear rate of
    (λ_{s+1}/λ_s)² to three digits.
    """
    p = refopt.problem("kpca", components=3)
    top = np.linalg.eigvalsh(p.gram_matrix)[::-1]
    values: list[float] = []
    r = refopt.minimize(
        p, "kpca-dual", steps=400, callback=lambda x: values.append(float(p.value(x)) - p.optimum)
    )
    assert r.fun == pytest.approx(-np.sum(top[:3]) / 2, abs=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(r.x.T @ r.x)[::-1], top[:3], rtol=1e-6)
    k = next(i for i, v in enumerate(values) if v < 1e-6)
    assert values[k + 5] / values[k + 4] == pytest.approx((top[3] / top[2]) ** 2, rel=2e-3)


@pytest.mark.identity("kpca")
@pytest.mark.parametrize("kernel", ["gaussian", "laplace", "linear"])
def test_derivatives(kernel: str) -> None:
    """The Gram matrix is the kernel's, pair by pair (1e-14); f by singular values of G^(1/2) H (1e-12), its gradient by differences
    (1e-7) and its Hessian, symmetric, by differences of the gradient (1e-6).
    """
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6, 4))
    p = refopt.problem("kpca", kernel=kernel, width=1.7, data=(X, np.zeros(6)))
    for i in range(6):
        for j in range(6):
            far = float(np.linalg.norm(X[i] - X[j]))
            want = {
                "gaussian": np.exp(-(far**2) / 1.7**2),
                "laplace": np.exp(-far / 1.7),
                "linear": X[i] @ X[j],
            }[kernel]
            assert p.gram_matrix[i, j] == pytest.approx(want, rel=1e-13, abs=1e-14)
    H = rng.standard_normal((6, 2))
    values, U = np.linalg.eigh(p.gram_matrix)
    inner = (U * np.sqrt(np.maximum(values, 0))).T @ H
    assert float(p.value(H)) == pytest.approx(np.sum(H**2) / 2 - np.sum(np.linalg.svd(inner)[1]), rel=1e-12)
    np.testing.assert_allclose(p.gram(H), p.gram_matrix @ H, rtol=1e-14)
    h = 1e-6
    units = [e.reshape(6, 2) for e in np.eye(12)]
    slopes = [float(p.value(H + h * e) - p.value(H - h * e)) / (2 * h) for e in units]
    np.testing.assert_allclose(p.grad(H).ravel(), slopes, atol=1e-7)
    hessian = product_columns(lambda v: p.hvp(H, v), H)
    close(hessian, hessian.T)
    bends = np.array([(p.grad(H + h * e) - p.grad(H - h * e)).ravel() / (2 * h) for e in units])
    np.testing.assert_allclose(hessian, bends, atol=1e-6)


@pytest.mark.claim("kpca")
def test_optimum() -> None:
    """Minus half the sum of the largest eigenvalues is f of the solution, turned or not (1e-12), whose gradient is zero; SciPy's
    L-BFGS ends there (1e-8), as in the paper.
    """
    for s in (1, 2, 4):
        p = refopt.problem("kpca", components=s, seed=s)
        assert float(p.value(p.solution)) == pytest.approx(p.optimum, abs=1e-12)
        turn = np.linalg.qr(np.random.default_rng(s).standard_normal((s, s)))[0]
        assert float(p.value(p.solution @ turn)) == pytest.approx(p.optimum, abs=1e-12)
        assert np.max(np.abs(p.grad(p.solution))) < 1e-12

        def both(w: np.ndarray, p: Any = p, s: int = s) -> tuple[float, np.ndarray]:
            H = w.reshape(12, s)
            return float(p.value(H)), p.grad(H).ravel()

        found = minimize(
            both, p.start(1).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300, "ftol": 1e-15}
        )
        assert float(found.fun) == pytest.approx(p.optimum, abs=1e-8)


@pytest.mark.claim("kpca")
@pytest.mark.parametrize("norm", ["rows", "entries"])
def test_prox(norm: str) -> None:
    """No point of 200 near ones has a smaller ``ψ(U) + ‖U - H‖²/(2 step)`` than the prox, none of the robust set is nearer than the
    projection, which leaves feasible points alone.
    """
    sparse, robust = (refopt.problem("kpca", variant=v, norm=norm, limit=0.3) for v in ("sparse", "robust"))
    rng = np.random.default_rng(0)
    H = 0.5 * rng.standard_normal((12, 2))
    near = [10 ** -rng.uniform(0, 4) * rng.standard_normal(H.shape) for _ in range(200)]
    for step in (0.3, 1.0):
        U = sparse.prox(H, step)

        def cost(V: np.ndarray, step: float = step) -> float:
            return float(sparse.penalty(V)) + float(np.sum((V - H) ** 2)) / (2 * step)

        assert all(cost(U) <= cost(U + V) + 1e-14 for V in near)
    U = robust.project(H)
    size = np.abs(U) if norm == "entries" else np.linalg.norm(U, axis=1)
    assert np.max(size) <= 0.3 * (1 + 1e-15)
    np.testing.assert_allclose(robust.project(U), U, rtol=1e-15)
    assert all(np.linalg.norm(U - H) <= np.linalg.norm(robust.project(U + V) - H) + 1e-14 for V in near)
    np.testing.assert_array_equal(robust.start(1), robust.project(refopt.problem("kpca").start(1)))
    with pytest.raises(refopt.errors.ArgumentError, match="kernel"):
        refopt.problem("kpca", kernel="cubic")
