"""INGD and SINGD beside their authors' codes, K-FAC's averages, and projections against dense matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.problem import Layer
from refopt.curvature.kronecker import factors, homogeneous
from refopt.optimizers.second_order.singd import projected

from tests.parity.case import Arrays, Case

STEPS = 24
# Of each of the two codes, what it is run with.
COMMON: dict[str, Any] = {
    "lr": 0.05,
    "momentum": 0.8,
    "factor_lr": 0.05,
    "factor_momentum": 0.6,
    "damping": 1e-2,
}
INGD: dict[str, dict[str, Any]] = {
    "plain": {"update_every": 2, "weight_decay": 0.1, "decay_after": 40},
    "decay": {"update_every": 1, "weight_decay": 0.1, "decay_after": 20},
}
SINGD: dict[str, dict[str, Any]] = {
    "dense": {"update_every": 2, "weight_decay": 0.1},
    "diagonal": {"structure_k": "diagonal", "structure_c": "diagonal", "update_every": 3},
    "hierarchical": {
        "structure_k": "hierarchical",
        "structure_c": "diagonal",
        "first": 2,
        "last": 1,
        "update_every": 1,
    },
    "hierarchical-out": {
        "structure_k": "dense",
        "structure_c": "hierarchical",
        "first": 1,
        "last": 2,
        "update_every": 2,
    },
    "lower": {"structure_k": "lower-toeplitz", "structure_c": "upper-toeplitz", "update_every": 2},
    "upper": {
        "structure_k": "upper-toeplitz",
        "structure_c": "lower-toeplitz",
        "update_every": 1,
        "normalize": True,
    },
    "kfac": {"kfac_like": True, "update_every": 2, "structure_c": "diagonal"},
    "normalized": {"normalize": True, "factor_lr": 0.4, "update_every": 1},
}


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((12, 4)) * [0.5, 1.0, 2.0, 1.0], np.arange(12) % 3


def network(seed: int = 0) -> Any:
    return refopt.problem("mlp", data=data(seed), widths=(4,), l2=0.0)


def joined(x: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([x[k].ravel() for k in ("W1", "b1", "W2", "b2")])


def run(name: str, seed: int, forms: dict[str, dict[str, Any]]) -> Arrays:
    out = {}
    p = network(seed)
    for label, kwargs in forms.items():
        rows: list[np.ndarray] = []
        refopt.minimize(p, name, p.start(seed), steps=STEPS, callback=lambda x, rows=rows: rows.append(joined(x)),
            **{**COMMON, **kwargs})  # fmt: skip
        out[label] = np.stack(rows[1::2])
    return out


CASES = [
    Case("ingd", "official", "yorkerlin/StructuredNGD-DL@288b20c", lambda seed: run("ingd", seed, INGD), None,
        says="The authors' code on a tanh network (24 steps, refreshes every 1 and 2, momentum, late decay; its warm-up"
        " replaced by a constant) to 1e-12"),
    Case("singd", "official", "f-dangel/singd@1ac69a3", lambda seed: run("singd", seed, SINGD), None,
        says="The authors' code on a tanh network (24 steps; dense, diagonal, hierarchical and both Toeplitz structures, IKFAC,"
        " normalised factor rates, refreshes every 1, 2, 3) to 1e-12"),
]  # fmt: skip


@pytest.mark.identity("ingd")
@pytest.mark.identity("singd")
def test_dense_structures_are_ingd() -> None:
    """SINGD with dense structures is INGD: the same points over 12 steps, to 1e-13; with blocks as large as the layer too."""
    p = network()
    ends = []
    for name, kwargs in (
        ("ingd", {}),
        ("singd", {}),
        ("singd", {"structure_k": "blocks", "structure_c": "blocks", "block": 5}),
    ):
        r = refopt.minimize(
            p, name, p.start(0), steps=12, update_every=2, weight_decay=0.1, **COMMON, **kwargs
        )
        ends.append(joined(r.x))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(ends[2], ends[0], rtol=1e-13, atol=1e-14)


@pytest.mark.claim("singd")
def test_ikfac_follows_kfac() -> None:
    """IKFAC: (K Kᵀ)⁻¹ moves to (1-β)(K Kᵀ)⁻¹ + β (U + λ I), to O(β²): half the rate, a quarter of the error (3.5 to 4.5)."""
    p = network()
    x = p.start(0)
    layers = p.layers(x)
    U, G = factors(layers)["W1"]
    warm = refopt.optimizer("singd", kfac_like=True, factor_lr=0.05, damping=0.1)
    f = warm.start(U, G)
    for _ in range(5):
        f = warm.moved(f, U, G, 1)
    errors = []
    for beta in (0.02, 0.01):
        o = refopt.optimizer("singd", kfac_like=True, factor_lr=beta, damping=0.1)
        new, gaps = o.moved(f, U, G, 1), []
        for name, H in (("K", U), ("C", G)):
            old, moved = (np.linalg.inv(a[name] @ a[name].T) for a in (f, new))
            gaps.append(np.linalg.norm(moved - (1 - beta) * old - beta * (H + 0.1 * np.eye(len(H)))))
        errors.append(gaps)
    ratios = np.array(errors[0]) / np.array(errors[1])
    assert np.all((ratios > 3.5) & (ratios < 4.5))


@pytest.mark.claim("ingd")
def test_it_stands_where_the_factors_invert_the_curvature() -> None:
    """Iterated on fixed U and Γ without damping, tr(H_C)/d H_K → I and tr(H_K)/p H_C → I: K Kᵀ ⊗ C Cᵀ = (U ⊗ Γ)⁻¹, to 1e-8."""
    rng = np.random.default_rng(2)
    U, G = (a @ a.T + np.eye(n) for n in (4, 3) for a in [rng.standard_normal((n, n))])
    o = refopt.optimizer("ingd", damping=0.0, factor_lr=0.1)
    f = o.start(U, G)
    for _ in range(600):
        f = o.moved(f, U, G, 1)
    found = np.kron(f["K"] @ f["K"].T, f["C"] @ f["C"].T)
    np.testing.assert_allclose(found @ np.kron(U, G), np.eye(12), atol=1e-8)


@pytest.mark.claim("singd")
@pytest.mark.parametrize(
    "structure", ["diagonal", "blocks", "hierarchical", "lower-toeplitz", "upper-toeplitz"]
)
def test_the_projection(structure: str) -> None:
    """Entry by entry: what is kept, halves that count twice, and mean diagonals, to 1e-12; products stay in the structure."""
    n, sizes = 7, (2, 3)
    rng = np.random.default_rng(3)
    S = rng.standard_normal((n, n))
    S = S + S.T
    got = projected(S, structure, sizes)
    want = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if structure == "diagonal":
                want[i, j] = S[i, j] * (i == j)
            elif structure == "blocks":
                want[i, j] = S[i, j] * (i // 2 == j // 2)
            elif structure == "hierarchical":  # 2 x 2, then a diagonal of 2, then 3 x 3
                part_i, part_j = (0 if k < 2 else 1 if k < 4 else 2 for k in (i, j))
                if part_i == part_j:
                    want[i, j] = S[i, j] * (part_i != 1 or i == j)
                elif part_i == 0 or (part_i, part_j) == (2, 1):
                    want[i, j] = 2 * S[i, j]
            else:
                lag = i - j if structure == "lower-toeplitz" else j - i
                if lag >= 0:
                    lower, upper = np.diagonal(S, -lag), np.diagonal(S, lag)
                    want[i, j] = np.mean(lower) if lag == 0 else np.sum([lower, upper]) / (n - lag)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)
    # The structure is closed under products.
    again = got @ got
    if structure != "hierarchical":
        outside = np.ones((n, n)) * (np.abs(want) == 0)
        np.testing.assert_allclose(again * outside, 0.0, atol=1e-12)


@pytest.mark.identity("ingd")
def test_one_step_of_dense_matrices() -> None:
    """The first step: (C ⊗ K)(C ⊗ K)ᵀ times the gradient as a dense matrix, K and C after one bracket, to 1e-13."""
    p = network()
    x, g = p.start(0), p.grad(p.start(0))
    r = refopt.minimize(p, "ingd", x, steps=1, lr=0.3, factor_lr=0.2, damping=0.05)
    layer: Layer = next(a for a in p.layers(x) if a.weight == "W1")
    a, s = homogeneous(layer), layer.output_grads
    U, G = a.T @ a / len(a), s.T @ s / len(s)
    p_, d = len(U), len(G)
    K = np.eye(p_) - 0.1 * (np.trace(G) / d * U + 0.05 * np.eye(p_) - np.eye(p_))
    C = np.eye(d) - 0.1 * (np.trace(U) / p_ * G + 0.05 * np.eye(d) - np.eye(d))
    both = np.kron(C, K)
    full = np.concatenate([g["W1"], g["b1"][:, None]], axis=1)
    want = (both @ both.T @ full.ravel()).reshape(full.shape)
    np.testing.assert_allclose((x["W1"] - r.x["W1"]) / 0.3, want[:, :-1], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose((x["b1"] - r.x["b1"]) / 0.3, want[:, -1], rtol=1e-12, atol=1e-13)


def test_the_warmup() -> None:
    """The authors' rates by step; and a rate that is no number is refused."""
    o = refopt.optimizer("ingd", dialect="official", factor_lr=lambda t: 1e-2 / t)
    assert [o.beta1(t) for t in (1, 101, 102, 500, 501)] == [2e-4, 2e-4, 2e-3, 2e-3, 1e-2 / 501]
    assert [o.decay(t) for t in (200, 201)] == [0.0, 1e-2]
    for wrong in (-1.0, "fast", lambda t: None):
        with pytest.raises(refopt.errors.RefoptError, match="factor_lr"):
            refopt.optimizer("singd", factor_lr=wrong)


@pytest.mark.identity("singd")
def test_blocks_and_the_damping_term() -> None:
    """One refresh from factors off the identity, K in blocks of 2 and C a diagonal: masks of dense products, to 1e-13."""
    rng = np.random.default_rng(5)
    U, G = (a @ a.T for n in (5, 3) for a in [rng.standard_normal((n, n))])
    mask = np.kron(np.eye(3), np.ones((2, 2)))[:5, :5]
    K, C = mask * rng.standard_normal((5, 5)), np.diag(rng.standard_normal(3))
    mK, mC = mask * rng.standard_normal((5, 5)), np.diag(rng.standard_normal(3))
    o = refopt.optimizer(
        "singd",
        structure_k="blocks",
        structure_c="diagonal",
        block=2,
        damping=0.3,
        factor_lr=0.1,
        factor_momentum=0.4,
    )
    new = o.moved({"K": K, "C": C, "mK": mK, "mC": mC}, U, G, 1)
    HK, HC = mask * (K.T @ U @ K), np.diag(np.diag(C.T @ G @ C))
    want_K = 0.4 * mK + 0.5 * (
        np.trace(HC) / 3 * HK + 0.3 * np.trace(C.T @ C) / 3 * mask * (K.T @ K) - np.eye(5)
    )
    want_C = 0.4 * mC + 0.5 * (np.trace(HK) / 5 * HC + 0.3 * np.trace(K.T @ K) / 5 * C.T @ C - np.eye(3))
    for name, want in (
        ("mK", want_K),
        ("mC", want_C),
        ("K", K - 0.1 * K @ want_K),
        ("C", C - 0.1 * C @ want_C),
    ):
        np.testing.assert_allclose(new[name], want, rtol=1e-12, atol=1e-13)


@pytest.mark.identity("ingd")
@pytest.mark.identity("singd")
@pytest.mark.parametrize("name", ["ingd", "singd"])
def test_a_layer_without_bias(name: str) -> None:
    """A linear layer alone: C Cᵀ G K Kᵀ with factors of its own size, to 1e-12; a leaf of no layer is an error."""
    rng = np.random.default_rng(6)
    A, B, W = rng.standard_normal((7, 3)), rng.standard_normal((7, 2)), rng.standard_normal((2, 3))

    def layers(x: Any, rng: Any = None) -> list[Layer]:
        return [Layer("W", None, A, A @ x["W"].T - B)]

    def grad(x: Any) -> Any:
        return {k: (A @ x["W"].T - B).T @ A / 7 if k == "W" else np.zeros(2) for k in x}

    p = refopt.from_functions(lambda x: 0.0, grad, layers=layers, x0={"W": W})
    r = refopt.minimize(p, name, steps=1, lr=1.0, factor_lr=0.2, damping=0.0)
    S = A @ W.T - B
    U, G = A.T @ A / 7, S.T @ S / 7
    K = np.eye(3) - 0.1 * (np.trace(G) / 2 * U - np.eye(3))
    C = np.eye(2) - 0.1 * (np.trace(U) / 3 * G - np.eye(2))
    np.testing.assert_allclose(W - r.x["W"], C @ C.T @ (S.T @ A / 7) @ K @ K.T, rtol=1e-12, atol=1e-13)
    with pytest.raises(refopt.errors.CapabilityError, match="left"):
        refopt.minimize(p, name, {"W": W, "left": np.zeros(2)}, steps=1)
