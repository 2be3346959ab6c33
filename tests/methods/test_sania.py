"""SANIA: the constraint that its step meets, its invariance to scale, and the authors' code."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Arrays, Case
from tests.streams import flat


def logistic(seed: int = 0, scale: Any = 1.0) -> Any:
    """Separable logistic regression, f_i = log(1 + exp(-y_i a_iᵀ V x)), over two leaves, on columns scaled by V."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((12, 5))
    A = (
        A
        * np.sign(A @ rng.standard_normal(5))[:, None]
        @ (np.eye(5) * scale if np.ndim(scale) < 2 else scale)
    )

    def rows(batch: Any) -> np.ndarray:
        return A if batch is None else A[batch]

    def value(x: Any, batch: Any = None) -> float:
        return float(np.mean(np.logaddexp(0.0, -rows(batch) @ x)))

    def grad(x: Any, batch: Any = None) -> Any:
        a = rows(batch)
        return -a.T @ (1.0 / (1.0 + np.exp(a @ x))) / len(a)

    def hvp(x: Any, v: Any, batch: Any = None) -> Any:
        a = rows(batch)
        s = 1.0 / (1.0 + np.exp(a @ x))
        return a.T @ (s * (1.0 - s) * (a @ v)) / len(a)

    return refopt.from_functions(value, grad, hvp=hvp, x0=0.1 * np.ones(5), n_examples=12)


def points(p: Any, x0: Any = None, steps: int = 60, **kwargs: Any) -> np.ndarray:
    rows: list[np.ndarray] = []
    refopt.minimize(
        p, "sania", x0, steps=steps, sampling="cyclic", callback=lambda x: rows.append(x), **kwargs
    )
    return np.stack(rows)


def _official(seed: int, **kwargs: Any) -> Arrays:
    p = logistic(seed, np.array([1.0, 3.0, 0.5, 2.0, 1.0]))
    return {
        f"{name}{batch}": points(
            p, steps=steps, batch_size=batch, dialect="official", root=root, eps=eps, **kwargs
        )
        for name, root, eps in (("sqr", False, 0.03), ("root", True, 1e-3), ("floor", False, 0.1))
        # On all examples together the full steps are chaotic: rounding grows a thousandfold in ten steps.
        for batch, steps in ((3, 60), (12, 12))
    }


PEER = "fxrshed/SANIA@ce6662f"
CASES = [
    Case("sania", "adam", PEER, functools.partial(_official, beta2=0.9), None,
        says="The authors' SANIA_AdamSQR (60 steps on batches, 12 on all examples; with and without roots; floors 1e-3 to 0.1) to 1e-12"),
    Case("sania", "adagrad", PEER, functools.partial(_official, preconditioner="adagrad"), None,
        says="The authors' SANIA_AdagradSQR (60 steps on batches, 12 on all examples; with and without roots; floors 1e-3 to 0.1) to"
        " 1e-12"),
]  # fmt: skip


@pytest.mark.identity("sania")
@pytest.mark.parametrize("form", ["adam", "adagrad", "identity", "newton"])
def test_the_step_solves_its_problem(form: str) -> None:
    """Where υ < 1 the constraint is met with equality, to 1e-13, and by the least B-norm: the step is along B⁻¹g, by λ < 1."""
    p = logistic()
    x, beta2, eps = np.array([0.3, -0.2, 0.5, 1.0, -0.4]), 0.9, 1e-3
    B, total = np.eye(5), np.zeros(5)
    s = refopt.optimizer("sania", preconditioner=form).init(x)
    for t, ratio in enumerate((0.3, 0.9, 1.5, -0.1, 0.05), 1):
        f, g = p.value(x), p.grad(x)
        if form == "adam":
            total = beta2 * total + (1 - beta2) * g * g
            B = np.diag(total / (1 - beta2**t) + eps)
        elif form == "adagrad":
            total = total + g * g
            B = np.diag(total + eps)
        elif form == "newton":
            B = np.stack([p.hvp(x, e) for e in np.eye(5)])
        full = -np.linalg.solve(B, g)
        # An f* that gives this υ.
        f_star = f + 0.5 * ratio * float(g @ full)
        o = refopt.optimizer("sania", preconditioner=form, beta2=beta2, eps=eps, f_star=f_star)
        new, s = o.step(x, s, refopt.core.oracle.Oracle(p))
        step = new - x
        left = f - f_star + g @ step + 0.5 * step @ B @ step
        if ratio < 0:
            np.testing.assert_array_equal(step, 0.0)
        elif ratio < 1:
            assert abs(left) <= 1e-13
            share = np.linalg.norm(step) / np.linalg.norm(full)
            assert share < 1.0
            np.testing.assert_allclose(step, share * full, rtol=1e-9, atol=1e-12)
        else:
            np.testing.assert_allclose(step, full, rtol=1e-10, atol=1e-12)
        x = new


@pytest.mark.claim("sania")
def test_invariance_to_scale() -> None:
    """On columns scaled by V = 10^-3 … 10^3 the points are V⁻¹ times the old ones, to 1e-9; with roots they are not."""
    V = 10.0 ** np.linspace(-3.0, 3.0, 5)
    for form, root in (("adam", False), ("adagrad", False), ("adam", True), ("adagrad", True)):
        common: dict[str, Any] = {
            "preconditioner": form,
            "root": root,
            "eps": 0.0,
            "beta2": 0.9,
            "batch_size": 3,
        }
        a = points(logistic(), steps=30, **common)
        b = points(logistic(scale=V), 0.1 / V, steps=30, **common) * V
        gap = np.max(np.abs(a - b)) / np.max(np.abs(a))
        assert gap > 1e-2 if root else gap < 1e-9


@pytest.mark.claim("sania")
def test_newton_is_invariant_to_every_map() -> None:
    """With the Hessian, points in coordinates mixed by any regular V are V⁻¹ times the old ones, to 1e-9."""
    V = np.random.default_rng(3).standard_normal((5, 5)) + 2.0 * np.eye(5)
    a = points(logistic(), steps=6, preconditioner="newton", batch_size=12)
    b = points(
        logistic(scale=V),
        np.linalg.solve(V, 0.1 * np.ones(5)),
        steps=6,
        preconditioner="newton",
        batch_size=12,
    )
    np.testing.assert_allclose(b @ V.T, a, rtol=1e-9)


@pytest.mark.claim("sania")
def test_newton_on_a_quadratic_makes_the_full_step() -> None:
    """With the Hessian of a quadratic in two leaves and f* known, υ = 1: one step to the solution, to 1e-7 (λ is 1 minus a root)."""
    rng = np.random.default_rng(2)
    R = rng.standard_normal((4, 4))
    H, c = R @ R.T + np.eye(4), rng.standard_normal(4)

    def split(v: Any) -> Any:
        return {"b": v[:1], "w": v[1:].reshape(3, 1)}

    p = refopt.from_functions(
        lambda x: 5.0 + 0.5 * float((flat(x) - c) @ H @ (flat(x) - c)),
        lambda x: split(H @ (flat(x) - c)),
        hvp=lambda x, v: split(H @ flat(v)),
        x0=split(np.ones(4)),
    )
    r = refopt.minimize(p, "sania", preconditioner="newton", f_star=5.0, steps=1)
    np.testing.assert_allclose(flat(r.x), c, atol=1e-7)
    assert dict(r.calls) == {"grad": 1, "value": 1, "hvp": 4}


@pytest.mark.identity("sania")
def test_an_indefinite_hessian_ends_the_run() -> None:
    """The Newton form is for convex functions: the run ends as diverged, without a traceback."""
    h = np.array([1.0, -1.0])
    p = refopt.from_functions(
        lambda x: 0.5 * float(h @ (x * x)) + 9.0, lambda x: h * x, hvp=lambda x, v: h * v, x0=np.ones(2)
    )
    assert refopt.minimize(p, "sania", preconditioner="newton", steps=3).status == "diverged"


@pytest.mark.identity("sania")
def test_a_coordinate_without_gradients_stands_still() -> None:
    """With eps = 0 it is left out of B: the others move as without it."""
    p = refopt.from_functions(
        lambda x: 0.5 * float(x[0] ** 2), lambda x: np.array([x[0], 0.0]), x0=np.array([1.5, 3.0])
    )
    for form in ("adam", "adagrad"):
        x = refopt.minimize(p, "sania", preconditioner=form, eps=0.0, steps=1).x
        # υ = 2 f = x0², above 1: the full step g / g².
        np.testing.assert_allclose(x, [1.5 - 1.0 / 1.5, 3.0], rtol=1e-15)
