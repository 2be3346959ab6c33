"""Measure the matrix functions against mpmath at 50 digits: ``python docs/tables/matrix_accuracy.py``.

Writes docs/matrix-accuracy.md. Errors are normwise and relative, ``||F - F_exact||_F / ||F_exact||_F``; the
bound beside them is the machine epsilon times the relative condition number of the function at the matrix,
``max_ij |K_ij| ||A||_2 / ||F(A)||_2`` with K the divided differences of f on the eigenvalues: what one
rounding of the input alone can do.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import refopt
from refopt.core.errors import ConvergenceError

DIGITS = 50
ORDER = 6
KAPPAS = tuple(10.0**k for k in range(0, 15, 2))
EPS = np.finfo(float).eps


@dataclass(frozen=True)
class Row:
    """One measured function: its scalar form and its derivative, in mpmath, and how it is called."""

    label: str
    call: Callable[[np.ndarray], np.ndarray]
    scalar: Callable[[Any], Any]
    slope: Callable[[Any], Any]


def _named(name: str, **options: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda A: refopt.get(name)(A, **options)


def _half(x: Any) -> Any:
    return mpmath.sqrt(x)


def _power(theta: str) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    t = mpmath.mpf(theta)
    return (lambda x: x**t), (lambda x: abs(t) * x ** (t - 1))


ROOT, INVERSE_ROOT, QUARTER, INVERSE, POWER = (_power(t) for t in ("0.5", "-0.5", "-0.25", "-1", "0.375"))
ROWS = (
    Row("sqrtm-eigh", _named("sqrtm-eigh"), *ROOT),
    Row("sqrtm-newton-schulz", _named("sqrtm-newton-schulz"), *ROOT),
    Row("invsqrtm-newton-schulz", _named("invsqrtm-newton-schulz"), *INVERSE_ROOT),
    Row("inverse-pth-root, p = 4", _named("inverse-pth-root", p=4), *QUARTER),
    Row("inverse-pth-root, p = 4, eigh", _named("inverse-pth-root", p=4, method="eigh"), *QUARTER),
    Row("inverse-newton", _named("inverse-newton"), *INVERSE),
    Row("spd-log", _named("spd-log"), mpmath.log, lambda x: 1 / x),
    Row("spd-exp", _named("spd-exp"), mpmath.exp, mpmath.exp),
    Row("spd-power, theta = 3/8", _named("spd-power", theta=0.375), *POWER),
)
TRUNCATED = (
    Row("sqrtm-taylor, degree 10", _named("sqrtm-taylor"), *ROOT),
    Row("sqrtm-pade, degree 5", _named("sqrtm-pade"), *ROOT),
    Row("invsqrtm-taylor, degree 10", _named("invsqrtm-taylor"), *INVERSE_ROOT),
    Row("invsqrtm-pade, degree 5", _named("invsqrtm-pade"), *INVERSE_ROOT),
)


def matrix(kappa: float) -> np.ndarray:
    """A symmetric matrix with eigenvalues from 2 down to 2 / kappa in a fixed random basis."""
    Q = np.linalg.qr(np.random.default_rng(7).standard_normal((ORDER, ORDER)))[0]
    A = (Q * np.geomspace(2, 2 / kappa, ORDER)) @ Q.T
    return (A + A.T) / 2


def measure(row: Row, kappa: float) -> tuple[float | None, float]:
    """Return the error (None where the input was refused) and the bound."""
    A = matrix(kappa)
    with mpmath.workdps(DIGITS):
        values, vectors = mpmath.eigsy(mpmath.matrix(A.tolist()))
        images = [row.scalar(v) for v in values]
        exact = vectors * mpmath.diag(images) * vectors.T
        steepest = max(row.slope(v) for v in values)
        bound = float(EPS * steepest * max(values) / max(abs(i) for i in images))
        try:
            got = mpmath.matrix(row.call(A).tolist())
        except ConvergenceError:
            return None, bound
        return float(mpmath.mnorm(got - exact, "f") / mpmath.mnorm(exact, "f")), bound


def table(rows: tuple[Row, ...], bounds: bool) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = [
        "| function | " + " | ".join(f"{k:.0e}" for k in KAPPAS) + " |",
        "|---" * (len(KAPPAS) + 1) + "|",
    ]
    for row in rows:
        cells, limits = [], []
        for kappa in KAPPAS:
            error, bound = measure(row, kappa)
            cells.append("refused" if error is None else f"{error:.1e}")
            limits.append(f"{bound:.1e}")
        lines.append(f"| {row.label} | " + " | ".join(cells) + " |")
        if bounds:
            lines.append("| *bound* | " + " | ".join(f"*{x}*" for x in limits) + " |")
    return lines


def main() -> None:
    """Write the page."""
    text = [
        "# Accuracy of the matrix functions",
        "",
        f"Measured in float64 against mpmath at {DIGITS} digits by `docs/tables/matrix_accuracy.py`, which",
        f"writes this page: symmetric matrices of order {ORDER} with eigenvalues spread geometrically from 2",
        "to 2 / kappa; one column a condition number. Errors are normwise and relative. The bound under each",
        "row is the machine epsilon times the relative condition number of the function at that matrix: what",
        "rounding the input alone can do. *Refused* means that the function raised a `ConvergenceError`.",
        "",
        "## Methods that converge to the function",
        "",
        *table(ROWS, bounds=True),
        "",
        "## Truncated methods",
        "",
        "Their error is that of the truncation, which the degree reduces, not of rounding.",
        "",
        *table(TRUNCATED, bounds=False),
        "",
    ]
    path = pathlib.Path(__file__).parents[1] / "matrix-accuracy.md"
    path.write_text("\n".join(text))


if __name__ == "__main__":
    main()
