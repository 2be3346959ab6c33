"""Entropic transport whose marginals are wished for rather than met (Chizat et al. 2018)."""

from __future__ import annotations

import math
from typing import Any

from refopt.core.arrays import Array, Namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.registry import Dialect, Source, register
from refopt.core.result import TransportResult
from refopt.transport.problem import (
    Transport,
    check_regularisation,
    check_totals,
    pairing,
    start_potentials,
    transport_problem,
)
from refopt.transport.scaling import entropy, gibbs, log_safe, log_sum_exp

CHIZAT = Source(
    "chizat-2018-scaling",
    "L. Chizat, G. Peyré, B. Schmitzer, F.-X. Vialard",
    "Scaling Algorithms for Unbalanced Optimal Transport Problems",
    arxiv="1607.05816",
)
FORMS = ("entropy", "kl")


def relaxed(xp: Namespace, mass: Array, potential: Array, reg_m: float) -> Array:
    """Return the marginal that a potential asks for, ``mass exp(-potential / reg_m)``: the mass itself at infinity."""
    if reg_m == math.inf:
        return mass
    used = xp.where(mass > 0, potential, xp.zeros_like(potential))
    return mass * xp.exp(-used / reg_m)


def divergence(xp: Namespace, p: Array, q: Array) -> Array:
    """Return ``sum p log(p / q) - p + q`` along the last axis; where p is 0 it is q."""
    ratio = xp.where(p > 0, p, xp.ones_like(p)) / xp.where(p > 0, q, xp.ones_like(q))
    return xp.sum(p * xp.log(ratio) - p + q, axis=-1)


@register(
    "sinkhorn-unbalanced",
    kind="transport",
    source=CHIZAT,
    where="the scaling algorithm with the Kullback-Leibler divergence of the marginals",
    dialects={
        "pot": Dialect(
            {"form": "kl"}, "POT 0.9.7 sinkhorn_unbalanced", "its reg_type, whose other choice is the paper's"
        ),
    },
)
def sinkhorn_unbalanced(
    a: Any,
    b: Any,
    C: Any,
    reg: float,
    reg_a: float,
    reg_b: float | None = None,
    *,
    form: str = "entropy",
    tol: float | None = None,
    maxiter: int = 10_000,
    potentials: tuple[Any, Any] | None = None,
) -> TransportResult:
    r"""Entropic transport between masses that need not be equal, each marginal at the price of its divergence.

    Minimises over all :math:`P \ge 0`

    .. math:: \langle P, C\rangle + \varepsilon\,\Omega(P) + \rho_a\, KL(P 1 | a) + \rho_b\, KL(P^T 1 | b)

    with :math:`KL(p | q) = \sum p \log(p / q) - p + q`. In potentials a pass is

    .. math:: f_i = \tfrac{\rho_a}{\rho_a + \varepsilon}\Big(\varepsilon\log a_i - \varepsilon\,\mathrm{LSE}_j\tfrac{g_j - C_{ij}}{\varepsilon}\Big),
              \qquad g_j = \tfrac{\rho_b}{\rho_b + \varepsilon}\Big(\varepsilon\log b_j - \varepsilon\,\mathrm{LSE}_i\tfrac{f_i - C_{ij}}{\varepsilon}\Big).

    Parameters
    ----------
    a : array of shape (..., n) or None
        Row masses, at least 0; None is uniform with total 1.
    b : array of shape (..., m) or None
        Column masses, of any total.
    C : array of shape (..., n, m)
        Cost. Leading axes are a batch.
    reg : float
        :math:`\varepsilon > 0` in units of C.
    reg_a : float
        :math:`\rho_a > 0`; infinity: the row marginal is met, and transport is semi-relaxed.
    reg_b : float, optional
        :math:`\rho_b > 0`, likewise for columns; as `reg_a` if left out.
    form : {"entropy", "kl"}
        :math:`\Omega(P) = \sum P (\log P - 1)`, or :math:`KL(P | a b^T)`. Unlike in balanced transport the plans differ.
    tol : float, optional
        Stop where the row marginal is that far, in the 1-norm and relative to the mass, from the one that the potentials ask
        for; 1e-9, in float32 1e-5. Columns are exact in that sense.
    maxiter : int
        Largest number of passes.
    potentials : tuple of two arrays, optional
        Warm start (f, g).

    Returns
    -------
    TransportResult
        The plan is ``exp((f + g - C) / reg)``, of "kl" times ``a b^T``. `marginal_error` is the distance to the marginals
        ``a exp(-f / reg_a)`` and ``b exp(-g / reg_b)``, which are the optimal ones at convergence.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        As `refopt.transport.sinkhorn.sinkhorn`, but for totals, which must agree only where both penalties are infinite.

    Notes
    -----
    OTT's tau_a and tau_b are the factors before the parentheses. Both penalties infinite is `sinkhorn`. Far apart from each other masses are destroyed and made rather than carried. The
    passes contract by :math:`\rho_a\rho_b / ((\rho_a + \varepsilon)(\rho_b + \varepsilon))`.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([1.0, 1.0]), np.array([1.0, 0.5])
    >>> C = np.array([[0.0, 9.0], [9.0, 0.0]])
    >>> r = sinkhorn_unbalanced(a, b, C, reg=0.01, reg_a=1.0)
    >>> r.status, r.plan.sum(axis=1).round(2).tolist()  # no mass goes the long way: between 1 and 0.5 their mean is agreed on
    ('converged', [1.0, 0.71])
    """
    problem = transport_problem(a, b, C, balanced=False)
    xp, a, b, C = problem.xp, problem.a, problem.b, problem.C
    tol = check_regularisation(reg, tol, maxiter, C.dtype, xp)
    reg_b = reg_a if reg_b is None else reg_b
    check_number(reg_a, "(0, inf]", "reg_a")
    check_number(reg_b, "(0, inf]", "reg_b")
    if form not in FORMS:
        raise ArgumentError(f"form: wanted one of {', '.join(FORMS)}, got {form!r}")
    if reg_a == reg_b == math.inf:
        check_totals(a, b)
    shares = tuple(1.0 if rho == math.inf else rho / (rho + reg) for rho in (reg_a, reg_b))
    log_a, log_b = log_safe(xp, a), log_safe(xp, b)
    # In the other form the reference carries the masses, and the potentials start from 0.
    own = (log_a, log_b) if form == "entropy" else (xp.zeros_like(a), xp.zeros_like(b))
    other = (xp.zeros_like(a), xp.zeros_like(b)) if form == "entropy" else (log_a, log_b)

    def row(g: Array) -> Array:
        exponents = other[1][..., None, :] + (g[..., None, :] - C) / reg
        return shares[0] * reg * (own[0] - log_sum_exp(xp, exponents, -1))

    def column(f: Array) -> Array:
        exponents = other[0][..., :, None] + (f[..., :, None] - C) / reg
        return shares[1] * reg * (own[1] - log_sum_exp(xp, exponents, -2))

    def plan_of(f: Array, g: Array) -> Array:
        plan = gibbs(xp, f, g, C, reg)
        return plan if form == "entropy" else a[..., :, None] * plan * b[..., None, :]

    f, g = start_potentials(potentials, problem)
    mass = float(xp.max(xp.sum(a, axis=-1) + xp.sum(b, axis=-1))) / 2
    iterations = 0
    while True:
        plan = plan_of(f, g)
        error = xp.sum(xp.abs(xp.sum(plan, axis=-1) - relaxed(xp, a, f, reg_a)), axis=-1)
        if (iterations and float(xp.max(error)) <= tol * mass) or iterations >= maxiter:
            break
        f = row(g)
        g = column(f)
        iterations += 1
    error = error + xp.sum(xp.abs(xp.sum(plan, axis=-2) - relaxed(xp, b, g, reg_b)), axis=-1)
    worst = float(xp.max(error))
    status = "converged" if worst <= 2 * tol * mass and iterations else "iterations"
    message = f"marginals within {worst:.3g} of those that the potentials ask for after {iterations} passes (wanted {tol * mass:.3g})"
    if status != "converged":
        message += "; raise maxiter or reg"
    value, dual = _values(problem, plan, (f, g), (reg, float(reg_a), float(reg_b)), form)
    cost = xp.sum(plan * C, axis=(-2, -1))
    return TransportResult(plan, cost, (f, g), error, iterations, status, message, value, dual)


def _values(
    problem: Transport,
    plan: Array,
    potentials: tuple[Array, Array],
    regs: tuple[float, float, float],
    form: str,
) -> tuple[Array, Array]:
    """Return the objective at the plan and its dual at the potentials."""
    xp, a, b = problem.xp, problem.a, problem.b
    total = xp.sum(plan, axis=(-2, -1))
    penalty, given = entropy(xp, plan) - total, 0.0
    if form == "kl":
        given = xp.sum(a, axis=-1) * xp.sum(b, axis=-1)
        rows, columns = xp.sum(plan, axis=-1), xp.sum(plan, axis=-2)
        logs = pairing(log_safe(xp, a), rows, xp) + pairing(log_safe(xp, b), columns, xp)
        penalty = penalty - logs + given
    value = xp.sum(plan * problem.C, axis=(-2, -1)) + regs[0] * penalty
    dual = -regs[0] * (total - given)
    for mass, potential, rho, axis in ((a, potentials[0], regs[1], -1), (b, potentials[1], regs[2], -2)):
        if rho == math.inf:
            dual = dual + pairing(potential, mass, xp)
        else:
            value = value + rho * divergence(xp, xp.sum(plan, axis=axis), mass)
            dual = dual + rho * xp.sum(mass - relaxed(xp, mass, potential, rho), axis=-1)
    return value, dual
