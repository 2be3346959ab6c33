"""Matrix functions, solvers and transport: SciPy agrees, and faults put in by hand are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
import scipy.linalg
import scipy.sparse.linalg
from refopt.core.errors import ArgumentTypeError


def conjugate_gradients(rule: str) -> Any:
    """Return a textbook CG with one of the usual stopping rules."""

    def solve(A: Any, b: Any, x0: Any = None, rtol: float = 1e-5, maxiter: int = 200) -> Any:
        x = np.zeros_like(b) if x0 is None or rule == "start ignored" else x0.copy()
        r = b - A @ x
        p, rho, first = r.copy(), r @ r, np.linalg.norm(r)
        for _ in range(maxiter + (rule == "one more")):
            limit = {
                "absolute": rtol, "relative to start": rtol * first, "squared": np.sqrt(rtol) * np.linalg.norm(b)
            }.get(rule, rtol * np.linalg.norm(b))  # fmt: skip
            if np.sqrt(rho) <= limit:
                break
            q = A @ p
            alpha = rho / (p @ q)
            x, r = x + alpha * p, r - alpha * q
            rho, old = r @ r, rho
            p = r + rho / old * p
        return x, 0

    return solve


STOPS = {
    "right": "paper", "absolute": "stop-absolute", "relative to start": "stop-relative-to-start",
    "squared": "stop-squared", "start ignored": "start-ignored", "one more": "one-step-more",
}  # fmt: skip


@pytest.mark.parametrize("rule", STOPS)
def test_stopping_rules(rule: str) -> None:
    """The rule by which a CG stops is read off its answers."""
    other = conjugate_gradients(rule)
    assert refopt.verify.compare(other, "cg").agrees == (rule == "right")
    assert refopt.verify.diagnose(other, "cg").explained_by == (STOPS[rule],)


def test_scipy_agrees() -> None:
    """SciPy's cg, sqrtm, expm and logm are right."""
    assert refopt.verify.compare(scipy.sparse.linalg.cg, "cg").agrees
    assert refopt.verify.compare(lambda A: scipy.linalg.sqrtm(A).real, "sqrtm-eigh").agrees
    assert refopt.verify.compare(scipy.linalg.expm, "spd-exp").agrees
    assert refopt.verify.compare(scipy.linalg.logm, "spd-log").agrees
    assert refopt.verify.compare(lambda A: np.linalg.norm(A, 2), "spectral-norm-gram", steps=15).agrees


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (lambda A: scipy.linalg.sqrtm(A + 1e-8 * np.eye(len(A))).real, ("ridge-1e-8",)),
        (lambda A: np.linalg.inv(scipy.linalg.sqrtm(A).real), ("inverted",)),
        (lambda A: np.sqrt(np.maximum(A, 0)), ()),
        (lambda A: scipy.linalg.sqrtm(A / np.linalg.norm(A)).real, ("normalised",)),
    ],
)
def test_square_roots(other: Any, names: tuple[str, ...]) -> None:
    """A ridge, an inverse and a normalisation are named; an entrywise root is not explained."""
    assert not refopt.verify.compare(other, "sqrtm-eigh").agrees
    assert refopt.verify.diagnose(other, "sqrtm-eigh").explained_by == names


def scaling(fault: str) -> Any:
    """Return a textbook Sinkhorn."""

    def solve(a: Any, b: Any, C: Any, reg: float) -> Any:
        if fault == "exchanged":
            return solve_(b, a, C.T, reg).T if C.shape[0] == C.shape[1] else solve_(a, b, C, reg)
        if fault == "normalised":
            C = C / C.max()
        if fault == "sign":
            C = -C
        if fault == "squared":
            C = C**2
        if fault == "inverse reg":
            reg = 1 / reg
        return solve_(a, b, C, reg)

    def solve_(a: Any, b: Any, C: Any, reg: float) -> Any:
        K, v = np.exp(-C / reg), np.ones_like(b)
        for _ in range(20_000):
            u = a / (K @ v)
            v = b / (K.T @ u)
        return u[:, None] * K * v

    return solve


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        ("none", ("paper",)), ("normalised", ("cost-over-its-maximum",)), ("sign", ("cost-negated",)),
        ("squared", ("cost-squared",)), ("inverse reg", ("reg-inverted",)),
    ],
)  # fmt: skip
def test_sinkhorn(fault: str, names: tuple[str, ...]) -> None:
    """What a Sinkhorn makes of its cost and its regularisation is read off its plans."""
    why = refopt.verify.diagnose(scaling(fault), "sinkhorn")
    assert why.explained_by == names, str(why)
    assert refopt.verify.compare(scaling(fault), "sinkhorn").agrees == (fault == "none")


def test_answers_of_the_wrong_kind() -> None:
    """A wrong shape, an exception and NaN are told, not raised."""
    text = str(refopt.verify.compare(lambda A: A[:1], "sqrtm-eigh"))
    assert "shape" in text

    def raising(A: Any) -> Any:
        raise RuntimeError("out of order")

    assert "RuntimeError: out of order" in str(refopt.verify.compare(raising, "sqrtm-eigh"))
    assert "not finite" in str(refopt.verify.compare(lambda A: A * np.nan, "sqrtm-eigh"))
    with pytest.raises(ArgumentTypeError, match="other"):
        refopt.verify.compare(3, "cg")
