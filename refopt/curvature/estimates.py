"""Traces and diagonals from random probes, each with its own standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.params import Params, map_leaves
from refopt.core.registry import Source
from refopt.core.rng import generator, normal, rademacher
from refopt.curvature.base import Curvature

HUTCHINSON = Source("hutchinson-1989-stochastic", "M. F. Hutchinson",
    "A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines",
    venue="Communications in Statistics - Simulation and Computation 18(3), 1059-1076",
    doi="10.1080/03610918908812806")  # fmt: skip
MEYER = Source("meyer-2020-hutch", "R. A. Meyer, C. Musco, C. Musco, D. P. Woodruff",
    "Hutch++: Optimal Stochastic Trace Estimation", arxiv="2010.09649")  # fmt: skip
PROBES = {"rademacher": rademacher, "normal": normal}


@dataclass(frozen=True)
class Estimate:
    """An estimate with what it is worth.

    Attributes
    ----------
    value : float or parameters
    standard_error : float or parameters
        The root of the estimated variance of `value`; NaN from one probe.
    products : int
        How many products with C it took.
    """

    value: Any
    standard_error: Any
    products: int


def _check(C: Any, probes: Any, least: int, distribution: str) -> None:
    check_number(probes, f"int [{least}, inf)", "probes")
    if distribution not in PROBES:
        raise ArgumentError(f"distribution: wanted one of {', '.join(PROBES)}, got {distribution!r}")


def trace(
    C: Curvature,
    probes: int = 30,
    *,
    method: str = "hutchinson",
    distribution: str = "rademacher",
    seed: int = 0,
) -> Estimate:
    """Estimate the trace of C from `probes` products.

    Hutchinson: the mean of ``zᵀ C z``, unbiased, of variance ``2 ||C - diag C||_F² / probes`` with signs and
    ``2 ||C||_F² / probes`` with normal numbers. Hutch++: a third of the products finds a basis Q of C's range, another
    takes the trace on it exactly, the last is Hutchinson on the rest, ``(I - QQᵀ) C (I - QQᵀ)``.

    Parameters
    ----------
    C : Curvature
    probes : int
        Products in all; at least 1, for Hutch++ 3.
    method : {"hutchinson", "hutch++"}
    distribution : {"rademacher", "normal"}
    seed : int

    Returns
    -------
    Estimate

    Examples
    --------
    >>> import numpy as np, refopt
    >>> from refopt.curvature import estimates
    >>> p = refopt.problem("quadratic", n=6, condition_number=10.0)
    >>> C = refopt.curvature("hessian", p, np.zeros(6))
    >>> found = estimates.trace(C, probes=200)
    >>> bool(abs(found.value - C.trace()) < 4 * found.standard_error), found.products
    (True, 200)
    """
    if method not in ("hutchinson", "hutch++"):
        raise ArgumentError(f"method: wanted 'hutchinson' or 'hutch++', got {method!r}")
    _check(C, probes, 3 if method == "hutch++" else 1, distribution)
    rng = generator(seed, "method")
    draw = PROBES[distribution]
    if method == "hutchinson":
        found = []
        for _ in range(probes):
            z = draw(rng, C.x)
            found.append(params.dot(z, C.product(z)))
        return Estimate(float(np.mean(found)), _error(found), probes)
    k = probes // 3
    sketch = np.stack([params.flatten(C.product(draw(rng, C.x))) for _ in range(k)], axis=1)
    basis = np.linalg.qr(sketch)[0]
    inside = sum(float(q @ params.flatten(C.product(params.unflatten(q, C.x)))) for q in basis.T)
    rest = []
    for _ in range(probes - 2 * k):
        z = params.flatten(draw(rng, C.x))
        z = z - basis @ (basis.T @ z)
        rest.append(float(z @ params.flatten(C.product(params.unflatten(z, C.x)))))
    return Estimate(inside + float(np.mean(rest)), _error(rest), probes)


def diagonal(C: Curvature, probes: int = 30, *, distribution: str = "rademacher", seed: int = 0) -> Estimate:
    """Estimate the diagonal of C: the mean of ``z ∘ C z``, unbiased.

    With signs the variance of entry i is ``Σ_{j≠i} C_ij² / probes``: none for a diagonal matrix.

    Returns
    -------
    Estimate
        Value and standard error like x.
    """
    _check(C, probes, 1, distribution)
    rng, draw = generator(seed, "method"), PROBES[distribution]
    total: Params = params.zeros_like(C.x)
    squares: Params = params.zeros_like(C.x)
    for _ in range(probes):
        z = draw(rng, C.x)
        part = map_leaves(lambda a, b: a * b, z, C.product(z))
        total = params.axpy(1.0, total, part)
        squares = map_leaves(lambda s, a: s + a * a, squares, part)
    mean = params.scale(1.0 / probes, total)
    if probes == 1:
        return Estimate(mean, params.full_like(mean, math.nan), 1)

    def error(s: Any, m: Any) -> Any:
        xp = namespace(s)
        spread = xp.maximum(s / probes - m * m, xp.zeros_like(s))
        return xp.sqrt(spread / (probes - 1))

    return Estimate(mean, map_leaves(error, squares, mean), probes)


def _error(found: list[float]) -> float:
    return float(np.std(found, ddof=1) / math.sqrt(len(found))) if len(found) > 1 else math.nan
