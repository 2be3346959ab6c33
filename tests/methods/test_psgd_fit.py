"""What the PSGD methods' fits are: steps along a group on hᵀPh + vᵀP⁻¹v, against dense matrices, and where they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.curvature.fitted import start_scale
from refopt.optimizers.second_order.psgd_kron import norm_bound
from refopt.optimizers.second_order.psgd_sparse import alike

NAMES = ("psgd-diagonal", "psgd-xmat", "psgd-lra", "psgd-affine", "psgd-kron")


def dense(q: Any) -> np.ndarray:
    """Q as a matrix of the flattened leaf."""
    if "U" in q:
        return (np.eye(len(q["d"])) + q["U"] @ q["V"].T) @ np.diag(q["d"])
    if "d" in q:
        return np.diag(q["d"])
    if "a" in q:
        return np.diag(q["a"]) + np.diag(q["b"])[:, ::-1]
    out = np.ones((1, 1))
    for f in q[""]["factors"]:
        out = np.kron(out, np.diag(f) if f.ndim == 1 else f)
    return out


def criterion(Q: np.ndarray, v: np.ndarray, h: np.ndarray) -> complex:
    """``hᵀ P h + vᵀ P⁻¹ v``, analytic in Q's entries."""
    a, b = Q @ h, np.linalg.solve(Q.T, v)
    return complex(a @ a + b @ b)


def slope(f: Callable[[np.ndarray], complex], shape: tuple[int, ...]) -> np.ndarray:
    """The gradient of f at zero, entry by entry, by steps into the complex plane: exact to rounding."""
    out = np.zeros(shape)
    for i in np.ndindex(shape):
        e = np.zeros(shape, dtype=complex)
        e[i] = 1e-30j
        out[i] = f(e).imag / 1e-30
    return out


def fitted(o: Any, q: Any, pairs: Any, shape: tuple[int, ...]) -> Any:
    rng = np.random.default_rng(9)
    for v, h in pairs:
        q = o.fit(q, v.reshape(shape), h.reshape(shape), rng)
    return q


def warmed(o: Any, shape: tuple[int, ...], seed: int = 0) -> tuple[Any, np.ndarray, np.ndarray]:
    """A Q away from its start, and a pair."""
    rng = np.random.default_rng(seed)
    v, h = rng.standard_normal((2, 12, *shape))
    q = o.start(v[0], h[0], rng)
    return fitted(o, q, zip(v[:-1], h[:-1]), shape), v[-1], h[-1]


@pytest.mark.identity("psgd-diagonal")
@pytest.mark.identity("psgd-xmat")
@pytest.mark.parametrize("name", ["psgd-diagonal", "psgd-xmat"])
@pytest.mark.parametrize("n", [5, 6])
@pytest.mark.parametrize("normalizer", ["second", "first"])
def test_a_sparse_step_is_a_gradient_step_on_its_group(name: str, n: int, normalizer: str) -> None:
    """With E of the group's pattern, Q moves to (I - μ ∇/2 / bound) Q, ∇ by E at zero of the criterion of (I + E) Q, to 1e-12."""
    o = refopt.optimizer(name, normalizer=normalizer, fit_rate=0.3)
    q, v, h = warmed(o, (n,))
    Q = dense(q)
    pattern = np.eye(n) if name == "psgd-diagonal" else np.maximum(np.eye(n), np.eye(n)[::-1])
    g = pattern * slope(lambda E: criterion((np.eye(n) + pattern * E) @ Q, v, h), (n, n)) / 2
    a, b = Q @ h, np.linalg.solve(Q.T, v)
    bound = np.max(a * a + b * b) if normalizer == "second" else np.max(np.abs(g))
    new = dense(o.fit(q, v, h, np.random.default_rng(0)))
    np.testing.assert_allclose(new, Q - 0.3 / bound * g @ Q, rtol=1e-12, atol=1e-13)


@pytest.mark.identity("psgd-lra")
def test_a_low_rank_step_is_a_natural_gradient_step() -> None:
    """d moves along its logarithm's gradient, U by ∇/2 MᵀM and V by (I+VUᵀ)(I+UVᵀ) ∇/2, over the stated bounds, to 1e-11."""
    o, n = refopt.optimizer("psgd-lra", rank=2, fit_rate=0.3, balance_probability=0.0), 6
    q, v, h = warmed(o, (n,))
    d, U, V = q["d"], q["U"], q["V"]
    eye, Q = np.eye(n), dense(q)
    P = Q.T @ Q
    a, b, Ph, back = Q @ h, np.linalg.solve(Q.T, v), P @ h, np.linalg.solve(P, v)
    by_d = slope(lambda e: criterion(Q @ np.diag(1 + e), v, h), (n,)) / 2
    by_U = slope(lambda e: criterion((eye + (U + e) @ V.T) @ np.diag(d), v, h), U.shape) / 2
    by_V = slope(lambda e: criterion((eye + U @ (V + e).T) @ np.diag(d), v, h), V.shape) / 2
    M, T = np.eye(2) + V.T @ U, eye + U @ V.T
    want = {
        "d": d - 0.3 / np.max(np.sqrt(Ph**2 + v**2) * np.sqrt(h**2 + back**2)) * by_d * d,
        "U": U - 0.3 / bound(a, b, V) * by_U @ M.T @ M,
        "V": V - 0.3 / bound(a, b, U) * T.T @ T @ by_V,
    }
    seen = set()
    for seed in range(6):
        new = o.fit(q, v, h, np.random.default_rng(seed))
        np.testing.assert_allclose(new["d"], want["d"], rtol=1e-11)
        (moved,) = (k for k in "UV" if not np.array_equal(new[k], q[k]))
        np.testing.assert_allclose(new[moved], want[moved], rtol=1e-10, atol=1e-12)
        seen.add(moved)
    assert seen == {"U", "V"}


def bound(a: np.ndarray, b: np.ndarray, W: np.ndarray) -> float:
    return float(sum(np.linalg.norm(u) * np.linalg.norm(W @ (W.T @ u)) for u in (a, b)))


@pytest.mark.identity("psgd-affine")
@pytest.mark.identity("psgd-kron")
@pytest.mark.parametrize("name", ["psgd-affine", "psgd-kron"])
@pytest.mark.parametrize("max_size", [9.0, 3.0, 2.0])
def test_a_kronecker_step_is_a_gradient_step_on_its_group(name: str, max_size: float) -> None:
    """Each factor moves to (I - ρ triu(∇/2)) Q_i, ∇ of the criterion of the dense Q by that factor, and ρ L is μ, to 1e-11."""
    shape = (3, 4)
    o = refopt.optimizer(name, fit_rate=0.3, max_size=max_size, max_skew=np.inf, balance_probability=0.0)
    q, v, h = warmed(o, shape)
    factors = [np.diag(f) if f.ndim == 1 else f for f in q[""]["factors"]]
    new = o.fit(q, v, h, np.random.default_rng(0))[""]
    for i, n in enumerate(shape):

        def at(E: np.ndarray, i: int = i, n: int = n) -> complex:
            moved = [(np.eye(n) + E) @ f if j == i else f for j, f in enumerate(factors)]
            return criterion(np.kron(*moved), v.ravel(), h.ravel())

        diagonal = q[""]["factors"][i].ndim == 1
        assert diagonal == (n > max_size)
        g = slope(at, (n, n)) / 2
        g = np.diag(np.diag(g)) if diagonal else np.triu(g)
        rho = 0.3 / new["sizes"][i]
        got = np.diag(new["factors"][i]) if diagonal else new["factors"][i]
        np.testing.assert_allclose(got, factors[i] - rho * g @ factors[i], rtol=1e-10, atol=1e-12)
        # L is at least the bound of ‖T1 + T2‖, which is at least the norm over sqrt(2).
        a, b = np.kron(*factors) @ h.ravel(), np.linalg.solve(np.kron(*factors).T, v.ravel())
        unfolded = [np.moveaxis(u.reshape(shape), i, 0).reshape(n, -1) for u in (a, b)]
        both = sum(u @ u.T for u in unfolded)
        size = np.max(np.diag(both)) if diagonal else np.linalg.norm(both, 2)
        assert size / 2**0.5 <= new["sizes"][i] * (1 + 1e-12)
        if name == "psgd-affine":
            assert new["sizes"][i] <= size * (1 + 1e-12)


@pytest.mark.claim("psgd-diagonal")
@pytest.mark.claim("psgd-xmat")
@pytest.mark.claim("psgd-lra")
@pytest.mark.claim("psgd-affine")
@pytest.mark.claim("psgd-kron")
@pytest.mark.parametrize("name", NAMES)
def test_the_fit_ends_at_the_inverse_of_the_hessian(name: str) -> None:
    """Where the inverse of |H| is in the group, pairs (v, H v) bring ``P |H|`` to I, to 1e-8."""
    rng = np.random.default_rng(0)
    n, shape, steps, kwargs = 6, (6,), 600, {"fit_rate": 0.7}
    if name == "psgd-diagonal":
        H = np.diag([0.1, -3.0, 10.0, 1.0, -0.5, 2.0])
    elif name == "psgd-xmat":
        H = np.diag([3.0, 2.0, 4.0, 1.0, 5.0, 2.0]) + np.diag([1.0, -0.5, 1.2, 1.2, -0.5, 1.0])[:, ::-1]
    elif name == "psgd-lra":
        n, shape, steps, kwargs = 3, (3,), 1000, {"rank": 1, "fit_rate": 0.3}
        u, w = rng.standard_normal((2, n, 1)) / 2
        T = (np.eye(n) + u @ w.T) @ np.diag(rng.uniform(0.5, 2.0, n))
        H = np.linalg.inv(T.T @ T)
    else:
        shape, steps = (3, 2), 800
        parts = [r @ r.T + 0.3 * np.eye(k) for k in shape for r in [rng.standard_normal((k, k))]]
        kwargs["max_skew"] = np.inf
        H = np.kron(*parts)
        if name == "psgd-kron":  # a vector with one triangle: any positive definite H
            r = rng.standard_normal((3, 8))
            n, shape, H, steps = 3, (3,), r @ r.T / 8, 1200
            kwargs["fit_rate"] = 1.0
    o = refopt.optimizer(name, **kwargs)
    v = rng.standard_normal((steps, n))
    h = v @ H
    q = o.start(v[0].reshape(shape), h[0].reshape(shape), rng)
    Q = dense(fitted(o, q, zip(v, h), shape))
    values, vectors = np.linalg.eigh(H)
    absolute = vectors @ np.diag(np.abs(values)) @ vectors.T
    np.testing.assert_allclose(Q.T @ Q @ absolute, np.eye(n), atol=1e-8)


@pytest.mark.claim("psgd-diagonal")
@pytest.mark.claim("psgd-kron")
def test_the_whitening_fixed_point() -> None:
    """At P = E[g gᵀ]^(-1/2) the mean step over all pairs of gradients and v = ±√n e_i is zero: E[Pg gᵀP] = I there, to 1e-13."""
    rng = np.random.default_rng(2)
    n = 4
    G = rng.standard_normal((7, n))
    V = np.sqrt(n) * np.eye(n)  # E[v vᵀ] = I
    values, vectors = np.linalg.eigh(G.T @ G / 7)
    P = vectors @ np.diag(values**-0.5) @ vectors.T
    triangle = np.linalg.cholesky(P).T
    o = refopt.optimizer("psgd-kron", form="whitening", max_skew=np.inf, fit_rate=0.1)
    mean = np.zeros((n, n))
    for g in G:
        for v in V:
            new = o.fit({"": {"factors": (triangle,), "sizes": (0.0,)}}, v, g, rng)[""]
            mean += new["sizes"][0] * (triangle - new["factors"][0]) @ np.linalg.inv(triangle)
    np.testing.assert_allclose(mean / 28, 0.0, atol=1e-13)
    d = np.mean(G**2, axis=0) ** -0.25
    o, mean = refopt.optimizer("psgd-diagonal", form="whitening", fit_rate=0.1), np.zeros(n)
    for g in G:
        for v in V:
            mean += np.max((d * g) ** 2 + (v / d) ** 2) * (1.0 - o.fit({"d": d}, v, g, rng)["d"] / d)
    np.testing.assert_allclose(mean / 28, 0.0, atol=1e-13)


@pytest.mark.claim("psgd-kron")
@pytest.mark.parametrize("geometry", ["qeq", "qep", "half", "quad"])
def test_the_whitening_fixed_point_without_inverses(geometry: str) -> None:
    """At P = E[g gᵀ]^(-1/2) the mean step over all gradients is zero to first order in the rate: below 1e-6 of that at 1.1 P."""
    rng = np.random.default_rng(2)
    n = 4
    G = rng.standard_normal((7, n))
    values, vectors = np.linalg.eigh(G.T @ G / 7)
    root = vectors @ np.diag(values**-0.25) @ vectors.T
    o = refopt.optimizer("psgd-kron", form="whitening", geometry=geometry, max_skew=np.inf, fit_rate=1e-9)
    sizes = []
    for Q in (root, 1.1 * root):
        mean = np.zeros((n, n))
        for g in G:
            new = o.fit({"": {"factors": (Q,), "sizes": (0.0,)}}, g, g, rng)[""]
            moved = new["factors"][0]
            # A turn is no part of P = QᵀQ.
            mean += new["sizes"][0] / 1e-9 * (Q.T @ Q - moved.T @ moved) / 7
        sizes.append(np.linalg.norm(mean))
    assert sizes[0] < 1e-6 * sizes[1]


@pytest.mark.claim("psgd-diagonal")
@pytest.mark.claim("psgd-affine")
@pytest.mark.claim("psgd-kron")
@pytest.mark.parametrize("name", ["psgd-diagonal", "psgd-affine", "psgd-kron"])
def test_changes_of_coordinates_in_the_group_are_followed(name: str) -> None:
    """For W = A1 Y A2ᵀ, A of the group's transposes, fits and steps of Y, carried to W, are those of W, to 1e-9 over 20 pairs."""
    rng = np.random.default_rng(3)
    shape = (3, 4)
    common: dict[str, Any] = {"max_skew": np.inf} if name != "psgd-diagonal" else {}
    o = refopt.optimizer(name, fit_rate=0.4, **common)
    v, h = rng.standard_normal((2, 20, *shape))
    q = o.start(v[0], h[0], rng)
    if name == "psgd-diagonal":
        s = 10.0 ** rng.uniform(-2, 2, shape)
        there, back, q2 = (lambda G: s * G), (lambda G: G / s), {"d": q["d"] / s.ravel()}
    else:
        A = [np.tril(rng.standard_normal((k, k)), -1) + np.diag(10.0 ** rng.uniform(-1, 1, k)) for k in shape]
        inverse = [np.linalg.inv(a) for a in A]
        there, back = (lambda G: A[0].T @ G @ A[1]), (lambda G: inverse[0] @ G @ inverse[1].T)
        q2 = {"": {**q[""], "factors": tuple(f @ i.T for f, i in zip(q[""]["factors"], inverse))}}
    q = fitted(o, q, zip(v, h), shape)
    q2 = fitted(o, q2, ((back(a), there(b)) for a, b in zip(v, h)), shape)
    g = rng.standard_normal(shape)
    # In the coordinates Y the gradient is A1ᵀ g A2, and a step Δ of Y is A1 Δ A2ᵀ in W.
    want, got = back(o.precondition(q, g)), o.precondition(q2, there(g))
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * np.abs(want).max())


@pytest.mark.identity("psgd-lra")
@pytest.mark.identity("psgd-affine")
@pytest.mark.identity("psgd-kron")
@pytest.mark.parametrize("name", ["psgd-lra", "psgd-affine", "psgd-kron"])
def test_balance(name: str) -> None:
    """Factors out of balance by 1e3 are brought to equal sizes first: the same Q after the pair, to 1e-12, as without."""
    shape = (4,) if name == "psgd-lra" else (3, 4)
    kwargs = {"rank": 2} if name == "psgd-lra" else {"max_skew": np.inf}
    always, never = (refopt.optimizer(name, balance_probability=p, **kwargs) for p in (1.0, 0.0))
    q, v, h = warmed(never, shape)
    if name == "psgd-lra":
        q = {**q, "U": 1e3 * q["U"], "V": q["V"] / 1e3}
    else:
        f, g = q[""]["factors"]
        q = {"": {**q[""], "factors": (1e3 * f, g / 1e3)}}
    new, old = (o.fit(q, v, h, np.random.default_rng(5)) for o in (always, never))
    np.testing.assert_allclose(dense(new), dense(old), rtol=1e-12, atol=1e-12 * np.abs(dense(old)).max())
    # A pair of small size moves nothing but the balance.
    still = refopt.optimizer(name, balance_probability=1.0, fit_rate=1e-15, **kwargs).fit(
        q, v, h, np.random.default_rng(5)
    )
    if name == "psgd-lra":
        np.testing.assert_allclose(np.linalg.norm(still["U"]), np.linalg.norm(still["V"]), rtol=1e-12)
    else:
        np.testing.assert_allclose(*(np.abs(f).max() for f in still[""]["factors"]), rtol=1e-12)


@pytest.mark.identity("psgd-lra")
def test_factors_alike() -> None:
    """Equal norms; UᵀU - VᵀV falls with every turn; ``U Vᵀ`` moves by the turn's fourth power, below 1e-4."""
    U, V = np.random.default_rng(6).standard_normal((2, 7, 3)) * np.array([1e3, 1e-3])[:, None, None]
    product, gap = U @ V.T, []
    for _ in range(12):
        U, V = alike(U, V)
        gap.append(np.linalg.norm(U.T @ U - V.T @ V))
    np.testing.assert_allclose(np.linalg.norm(U), np.linalg.norm(V), rtol=1e-2)
    assert np.all(np.diff(gap) < 0)
    assert np.linalg.norm(U @ V.T - product) < 1e-4 * np.linalg.norm(product)


@pytest.mark.identity("psgd-lra")
@pytest.mark.identity("psgd-kron")
@pytest.mark.parametrize("name", ["psgd-lra", "psgd-kron"])
def test_the_bound_has_a_memory(name: str) -> None:
    """After a pair ten times smaller L is 0.9 of itself and a tenth of the new bound: 0.901 for one coordinate, to 1e-12."""
    kwargs: dict[str, Any] = {"rank": 1, "turned": True} if name == "psgd-lra" else {}
    o = refopt.optimizer(name, fit_rate=1e-14, **kwargs)
    rng, one = np.random.default_rng(0), np.ones(1)
    q, kept = o.start(one, one, rng), []
    for scale in (1.0, 0.1, 2.0):
        q = o.fit(q, scale * one, scale * one, rng)
        kept.append(q["L"][0] if name == "psgd-lra" else q[""]["sizes"][0])
    # Bounds are 1, 1/100 and 4 of the first.
    np.testing.assert_allclose(
        np.array(kept) / kept[0], [1.0, 0.901, 4.0], rtol=1e-2 if name == "psgd-lra" else 1e-12
    )


@pytest.mark.identity("psgd-lra")
@pytest.mark.identity("psgd-kron")
@pytest.mark.parametrize("name", ["psgd-lra", "psgd-kron"])
def test_whitening_needs_gradients_alone(name: str) -> None:
    """It runs on a problem without Hessian products, the Newton form does not; Q moves in the first step whatever the chance."""
    p = refopt.from_functions(lambda x: float(x @ x), lambda x: 2.0 * x, x0=np.ones(3))
    r = refopt.minimize(p, name, form="whitening", update_probability=0.0, steps=2)
    assert dict(r.calls) == {"grad": 2}
    with pytest.raises(refopt.errors.CapabilityError, match="hvp"):
        refopt.minimize(p, name, steps=1)
    o = refopt.optimizer(name, entrywise=True, damping=0.5)
    g, v = np.array([1e15, -1e15, 1.0]), np.array([3.0, 2.0, -1.0])
    np.testing.assert_array_equal(o.damp(g, v), g + (0.5 + 2.0**-52 * np.abs(g)) * v)


def test_norm_bound() -> None:
    """Between the spectral norm over sqrt(2) and the norm, in any units; exact for rank one; zero for zero."""
    rng = np.random.default_rng(4)
    for shape in ((5, 5), (3, 8), (8, 3)):
        for scale in (1.0, 1e-200, 1e200):
            A = rng.standard_normal(shape)
            norm = np.linalg.norm(A, 2)
            assert norm / 2**0.5 <= norm_bound(scale * A) / scale <= norm * (1 + 1e-14)
            one = np.outer(A[:, 0], A[0])
            np.testing.assert_allclose(norm_bound(scale * one) / scale, np.linalg.norm(one, 2), rtol=1e-13)
    assert norm_bound(np.zeros((3, 3))) == 0.0


def test_start_scale() -> None:
    """mean(v²)^(1/4) mean(h⁴)^(-1/8), where fourth powers leave the range too; 1 for a zero gradient."""
    v, h = np.array([1.0, 3.0]), np.array([2.0, 0.5])
    want = 5.0**0.25 * ((16 + 0.0625) / 2) ** -0.125
    np.testing.assert_allclose(start_scale(v, h), want, rtol=1e-14)
    np.testing.assert_allclose(start_scale(v, 1e-120 * h), want * 1e60, rtol=1e-13)
    assert start_scale(None, 0.0 * h) == 1.0
