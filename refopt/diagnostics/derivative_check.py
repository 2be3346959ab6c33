"""Hold every derivative that a problem offers against complex steps, differences and identities."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from refopt.core.arrays import namespace, to_numpy
from refopt.core.errors import ArgumentError, CapabilityError
from refopt.core.forms import opened
from refopt.core.params import (
    Params,
    axpy,
    check_start,
    dot,
    finite,
    leaves,
    map_leaves,
    max_abs,
    norm,
    scale,
    subtract,
)
from refopt.core.problem import CAPABILITIES, offers
from refopt.core.registry import Source, register
from refopt.core.rng import generator, normal
from refopt.diagnostics.derivative_report import Check, DerivativeReport
from refopt.diagnostics.directional import (
    Map,
    as_params,
    complex_step,
    differences,
    machine_eps,
    magnitude,
    ratio,
    relative,
)

COMPLEX_STEP = Source(
    key="squire-1998-complex",
    authors="William Squire, George Trapp",
    title="Using Complex Variables to Estimate Derivatives of Real Functions",
    venue="SIAM Review 40(1), 110-112",
    doi="10.1137/S003614459631241X",
)
DIRECTIONS = 3


class _Checker:
    """The problem at one point with one batch."""

    def __init__(self, problem: Any, x: Params, batch: np.ndarray | None, seed: int) -> None:
        self.problem, self.x, self.batch = problem, x, batch
        self.rng = generator(seed, "method")
        self.eps = machine_eps(x)
        self.l2 = float(getattr(problem, "l2", 0.0))
        self.near = self.direction(x)

    def call(self, name: str, *args: Any, batch: np.ndarray | None = None, **kwargs: Any) -> Any:
        batch = self.batch if batch is None else batch
        if batch is not None:
            kwargs["batch"] = batch
        return getattr(self.problem, name)(*args, **kwargs)

    def has(self, *names: str) -> bool:
        return all(offers(self.problem, n) for n in names)

    def gradient(self, w: Params, batch: np.ndarray | None = None) -> Params:
        if self.has("grad"):
            return self.call("grad", w, batch=batch)
        return self.call("value_and_grad", w, batch=batch)[1]

    @functools.cached_property
    def steepness(self) -> float:
        """What errors of gradients are relative to."""
        return magnitude(self.gradient, self.x, self.near)

    def direction(self, like_this: Params) -> Params:
        v = normal(self.rng, like_this)
        return scale(1 / norm(v), v)

    def identity(self, name: str, error: float, factor: float = 1e4, note: str = "") -> Check:
        """Judge two quantities that are equal but for rounding."""
        return Check(name, "identity", error, None, bool(error <= factor * self.eps), note)

    def along(
        self,
        name: str,
        fn: Map,
        claimed: Callable[[Params], tuple[Params, float]],
        directions: Sequence[Params] | None = None,
    ) -> Check:
        """Judge `claimed(v)` (the derivative of fn along v, and a size below which it is rounding)."""
        here, worst = as_params(fn(self.x)), None
        for v in directions or [self.direction(self.x) for _ in range(DIRECTIONS)]:
            want, size = claimed(v)
            if not (finite(here) and finite(as_params(want))):
                return Check(name, "differences", math.inf, None, False, "not finite")
            # What rounding in fn alone can do to a derivative is no error of it.
            values = magnitude(fn, self.x, v)
            size = max(size, norm(want), 10 * self.eps**0.5 * values, float(np.finfo(np.float64).tiny))
            exact = complex_step(fn, self.x, v, here, values)
            error = math.inf if exact is None else relative(exact, map_leaves(np.asarray, want), size)
            if error <= self.eps**0.6:
                check = Check(name, "complex step", error, None, True)
            else:
                d = differences(lambda w: as_params(fn(w)), self.x, v, as_params(want), size)
                note = d.note
                if exact is not None and error > 0.01 and d.passed and not note:
                    note = "the complex step disagrees: not an analytic function"
                check = Check(name, "differences", d.error, d.slope, d.passed, note)
            if worst is None or (check.passed, -check.error) < (worst.passed, -worst.error):
                worst = check
        assert worst is not None
        return worst

    # One method for each capability; None says that nothing is there to compare with.

    def grad(self) -> Check | None:
        if not self.has("value"):
            return None
        g = self.gradient(self.x)
        return self.along(
            "grad",
            lambda w: to_numpy(as_params(self.call("value", w))),
            lambda v: (np.asarray(dot(g, v)), norm(g)),
        )

    def value_and_grad(self) -> Check | None:
        f, g = self.call("value_and_grad", self.x)
        if not self.has("grad"):
            check = self.grad()
            return check and Check(
                "value_and_grad", check.how, check.error, check.slope, check.passed, check.note
            )
        error = relative(g, self.call("grad", self.x), self.steepness)
        if self.has("value"):
            value = float(self.call("value", self.x))
            size = magnitude(lambda w: self.call("value", w), self.x, self.near)
            error = max(error, ratio(abs(float(f) - value), size))
        return self.identity("value_and_grad", error)

    def directional(self) -> Check | None:
        if not self.has("value"):
            return None
        return self.along(
            "directional",
            lambda w: to_numpy(as_params(self.call("value", w))),
            lambda v: (np.asarray(float(self.call("directional", self.x, v))), self.steepness),
        )

    def hvp(self) -> Check | None:
        if not (self.has("grad") or self.has("value_and_grad")):
            return None
        return self.along("hvp", self.gradient, lambda v: (self.call("hvp", self.x, v), 0.0))

    def third(self) -> Check | None:
        if not self.has("hvp"):
            return None
        v = self.direction(self.x)

        def curvature(w: Params) -> Params:
            parts = leaves(self.call("hvp", w, v))
            return sum(np.sum(to_numpy(v_k) * to_numpy(parts[k])) for k, v_k in leaves(v).items())

        size = float(np.abs(to_numpy(as_params(curvature(self.x)))))
        return self.along(
            "third",
            lambda w: to_numpy(as_params(curvature(w))),
            lambda v: (np.asarray(float(self.call("third", self.x, v))), size),
            [v],
        )

    def rollouts(self) -> Check | None:
        if not self.has("grad", "hvp"):
            return None
        found, v = self.call("rollouts", self.x), self.direction(self.x)
        error = relative(found.mean(found.grads), self.gradient(self.x), self.steepness)
        error = max(error, relative(found.mean(found.hvps(v)), self.call("hvp", self.x, v)))
        return self.identity("rollouts", error, note="their means are the gradient and the Hessian")

    def example_grads(self) -> Check | None:
        each = self.call("example_grads", self.x)
        mean = map_leaves(lambda a: namespace(a).mean(a, axis=0), each)
        if not (self.has("grad") or self.has("value_and_grad")):
            return None
        error = relative(mean, self.gradient(self.x), self.steepness)
        n = next(iter(leaves(each).values())).shape[0]
        for i in sorted({0, n // 2, n - 1}):
            one = np.array([i]) if self.batch is None else self.batch[i : i + 1]
            row = map_leaves(lambda a, i=i: a[i, ...], each)
            error = max(error, relative(row, self.gradient(self.x, one), self.steepness))
        return self.identity("example_grads", error)

    def jvp(self) -> Check | None:
        if not self.has("residual"):
            return None
        return self.along(
            "jvp", lambda w: self.call("residual", w), lambda v: (self.call("jvp", self.x, v), 0.0)
        )

    def vjp(self) -> Check | None:
        if not self.has("residual", "jvp"):
            return None
        error = 0.0
        for _ in range(DIRECTIONS):
            v, u = self.direction(self.x), self.direction(self.call("residual", self.x))
            jv, ju = self.call("jvp", self.x, v), self.call("vjp", self.x, u)
            size = max(norm(jv), norm(ju))
            error = max(error, ratio(abs(dot(u, jv) - dot(ju, v)), size))
        return self.identity("vjp", error, note="<u, J v> = <J^T u, v>")

    def loss_gradient(self) -> Check | None:
        if not self.has("vjp") or not (self.has("grad") or self.has("value_and_grad")):
            return None
        inner = self.call("vjp", self.x, self.call("loss_gradient", self.x))
        # The zoo's regulariser is outside the inner map; a problem without l2 has none.
        got = axpy(self.l2, self.x, inner)
        return self.identity(
            "loss_gradient",
            relative(got, self.gradient(self.x), self.steepness),
            note="J^T of it is the gradient",
        )

    def loss_hessian(self) -> Check | None:
        if not self.has("residual", "jvp", "loss_gradient"):
            return None
        r = self.call("residual", self.x)
        u, w = self.direction(r), self.direction(r)
        hu, hw = self.call("loss_hessian", self.x, u), self.call("loss_hessian", self.x, w)
        size = max(norm(hu), norm(hw))
        error = ratio(abs(dot(w, hu) - dot(u, hw)), size)
        if error > 1e4 * self.eps:
            return Check("loss_hessian", "identity", error, None, False, "not symmetric")
        return self.along(
            "loss_hessian",
            lambda y: self.call("loss_gradient", y),
            lambda v: (self.call("loss_hessian", self.x, self.call("jvp", self.x, v)), 0.0),
        )

    def least_squares(self) -> Check | None:
        if not self.has("residual", "value"):
            return None
        r, f = self.call("residual", self.x), float(self.call("value", self.x))
        size = magnitude(lambda w: self.call("value", w), self.x, self.near)
        error = ratio(abs(dot(r, r) / 2 - f), size)
        if self.has("loss_gradient"):
            size = magnitude(lambda w: self.call("residual", w), self.x, self.near)
            error = max(error, relative(self.call("loss_gradient", self.x), r, size))
        return self.identity("least_squares", error, note="f = ||r||^2 / 2")

    def layers(self) -> Check | None:
        if not isinstance(self.x, dict) or not (self.has("grad") or self.has("value_and_grad")):
            return None
        found, g, error = self.call("layers", self.x), self.gradient(self.x), 0.0
        for layer in found:
            (a, s), n = layer.rows(), layer.inputs.shape[0]
            xp = namespace(a)
            mean = {layer.weight: xp.reshape(s.T @ a / n, self.x[layer.weight].shape)}
            if layer.bias is not None:
                mean[layer.bias] = xp.sum(s, axis=0) / n
            for key, leaf in mean.items():
                error = max(error, relative(leaf, g[key] - self.l2 * self.x[key], self.steepness))
        sampled = self.call("layers", self.x, rng=generator(0, "method"))
        for ours, theirs in zip(found, sampled):
            error = max(error, relative(theirs.inputs, ours.inputs))
        return self.identity("layers", error, note="their mean outer products are the gradient")

    def prox(self) -> Check | None:
        if not self.has("penalty"):
            return None
        step = 0.7
        p, worst = self.problem.prox(self.x, step), 0.0

        def model(u: Params) -> float:
            d = subtract(u, self.x)
            return float(self.problem.penalty(u)) + dot(d, d) / (2 * step)

        base, gap = model(p), subtract(self.x, p)
        reach = max(norm(gap), 1e-3)
        for k in range(12):
            t, d = 4.0**-k, self.direction(self.x)
            moves = (d, scale(1 / reach, gap), scale(1 / reach, p))
            for other in (axpy(sign * t * reach, m, p) for m in moves for sign in (1, -1)):
                worst = max(worst, ratio(base - model(other), max(abs(base), self.eps)))
        return self.identity("prox", worst, 100, "no point tried has a smaller g(u) + ||u - x||^2 / (2 step)")

    def example_prox(self) -> Check | None:
        if not self.has("value"):
            return None
        step, one = 0.7, np.zeros(1, dtype=np.int64)
        p, worst = self.problem.example_prox(self.x, step, batch=one), 0.0

        def model(u: Params) -> float:
            d = subtract(u, self.x)
            return float(self.problem.value(u, batch=one)) + dot(d, d) / (2 * step)

        base, reach = model(p), max(norm(subtract(self.x, p)), 1e-3)
        for k in range(12):
            size = reach * 10.0 ** -(k // 3)
            worst = max(worst, ratio(base - model(axpy(size, self.direction(p), p)), max(abs(base), 1e-300)))
        return self.identity("example_prox", worst, note="no other point is better")

    def project(self) -> Check | None:
        worst = 0.0
        for size in (0.1, 1.0, 10.0):
            away = axpy(size * norm(self.x) + size, self.direction(self.x), self.x)
            p, other = self.problem.project(away), self.problem.project(self.x)
            worst = max(worst, relative(self.problem.project(p), p))
            gap = norm(subtract(p, away)) - norm(subtract(other, away))
            worst = max(worst, ratio(gap, max(max_abs(away), 1.0)))
        return self.identity("project", worst, note="idempotent, and nearer than other feasible points")

    def jacobian(self) -> Check | None:
        if not self.has("objectives"):
            return None
        rows = self.call("jacobian", self.x)

        def times(v: Params) -> Any:
            parts = map_leaves(lambda r, d: namespace(r).sum(r * d, axis=tuple(range(1, r.ndim))), rows, v)
            return sum(leaves(parts).values())

        return self.along("jacobian", lambda w: self.call("objectives", w), lambda v: (times(v), 0.0))

    def upper_grad(self) -> Check | None:
        return self.level("upper")

    def lower_grad(self) -> Check | None:
        return self.level("lower")

    def level(self, name: str) -> Check | None:
        if not self.has(f"{name}_value"):
            return None
        g = self.call(f"{name}_grad", self.x)
        return self.along(
            f"{name}_grad",
            lambda w: to_numpy(as_params(self.call(f"{name}_value", w))),
            lambda v: (np.asarray(dot(g, v)), norm(g)),
        )

    def lower_hvp(self) -> Check | None:
        return self.second("lower", "hvp", "lower")

    def lower_mixed(self) -> Check | None:
        return self.second("lower", "mixed", "upper")

    def upper_hvp(self) -> Check | None:
        return self.second("upper", "hvp", "lower")

    def upper_mixed(self) -> Check | None:
        return self.second("upper", "mixed", "upper")

    def second(self, level: str, product: str, player: str) -> Check | None:
        """Judge a second derivative of a level: how one player's gradient changes as the lower one moves."""
        v = self.direction(self.x["lower"])
        return self.along(
            f"{level}_{product}",
            lambda w: self.call(f"{level}_grad", w)[player],
            lambda _: (self.call(f"{level}_{product}", self.x, v), 0.0),
            [{"upper": 0.0 * self.x["upper"], "lower": v}],
        )

    def term_grad(self) -> Check | None:
        if not self.has("grad", "term_weights"):
            return None
        own = self.call("term_grad", self.x, self.call("term_weights", self.x))
        error = relative(own, self.gradient(self.x), self.steepness)
        return self.identity("term_grad", error, note="with the shares for weights it is the gradient")

    def constraint_vjp(self) -> Check | None:
        u = self.direction(self.problem.constraint(self.x))
        back = self.problem.constraint_vjp(self.x, u)
        return self.along(
            "constraint_vjp",
            lambda w: np.sum(to_numpy(self.problem.constraint(w)) * to_numpy(u)),
            lambda v: (np.asarray(dot(back, v)), norm(back)),
        )

    def constraint_hvp(self) -> Check | None:
        if not self.has("constraint_vjp"):
            return None
        u = self.direction(self.problem.constraint(self.x))
        return self.along(
            "constraint_hvp",
            lambda w: self.problem.constraint_vjp(w, u),
            lambda v: (self.problem.constraint_hvp(self.x, u, v), 0.0),
        )


@register(
    "derivative-check",
    kind="diagnostic",
    source=Source(
        key="parr-2018-matrix",
        authors="Terence Parr, Jeremy Howard",
        title="The Matrix Calculus You Need For Deep Learning",
        arxiv="1802.01528",
    ),
    where="the derivatives that it derives by hand; complex steps are Squire and Trapp's",
    also=(
        COMPLEX_STEP,
        Source(
            key="bright-2025-matrix",
            authors="Paige Bright, Alan Edelman, Steven G. Johnson",
            title="Matrix Calculus (for Machine Learning and Beyond)",
            arxiv="2501.14787",
        ),
    ),
    needs=("grad",),
)
def derivative_check(
    problem: Any, x: Any = None, *, batch: np.ndarray | None = None, seed: int = 0
) -> DerivativeReport:
    """Hold every derivative that a problem offers against values, differences or identities.

    Directional derivatives (``grad`` of ``value``, ``hvp`` of the gradient, ``jvp`` of ``residual``,
    ``loss_hessian`` of ``loss_gradient``, ``jacobian`` of ``objectives``) along random unit directions v are compared with the complex
    step ``Im F(x + i h v) / h``, h = 1e-20, which is exact to rounding, where F takes complex NumPy
    arrays; elsewhere with central differences, for which the remainder
    ``|F(x + h v) - F(x - h v) - 2 h F'(x) v|`` must fall like h^3 (it falls like h where F' is wrong). The
    rest are identities: ``<u, J v> = <J^T u, v>``; ``J^T`` times the loss gradient is the gradient; the
    mean of the example gradients is the gradient and each is that of its batch of one; the layers'
    mean outer products are the gradient; the value is ``||r||^2 / 2`` where least squares are claimed; no
    point tried is better than prox or nearer than project.

    Parameters
    ----------
    problem : object
        Anything with the members of `refopt.core.problem.CAPABILITIES`; at least ``grad`` or
        ``value_and_grad``. A smooth regulariser ``l2 ||x||^2 / 2`` outside the inner map and the layers
        is known by the attribute ``l2``, as in the zoo.
    x : array or dict of arrays, optional
        Where; by default ``problem.start(seed)`` plus normal numbers of deviation 0.1.
    batch : array of int, optional
        Indices of the examples; None for all.
    seed : int
        Of the directions and the default point.

    Returns
    -------
    DerivativeReport
        With `passed`, `failures`, `checks` (``report["hvp"].error``); as text, one line a capability.

    Raises
    ------
    ArgumentError
        No `x`, and the problem has no `start`.
    CapabilityError
        The problem has no gradient.
    ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
        A bad `x`.

    Notes
    -----
    A nonsmooth F, such as relu's, is judged by small steps, which cross no kink; at a kink itself
    anything between the one-sided derivatives passes. ``value``, ``residual``, ``objectives`` and ``penalty`` are what the
    others are compared with and are not checked themselves; a part of the loss gradient that the
    Jacobian maps to 0 is not seen.

    References
    ----------
    T. Parr, J. Howard (2018). The Matrix Calculus You Need For Deep Learning, arXiv:1802.01528.
    W. Squire, G. Trapp (1998). Using Complex Variables to Estimate Derivatives of Real Functions. SIAM
    Review 40(1), doi:10.1137/S003614459631241X.

    Examples
    --------
    >>> import numpy as np
    >>> from refopt.diagnostics.derivative_check import derivative_check
    >>> class Mine:
    ...     def value(self, x): return np.sum(np.cos(x))
    ...     def grad(self, x): return np.sin(x)  # the sign is wrong
    >>> derivative_check(Mine(), np.array([0.3, 0.4])).failures
    ('grad',)
    """
    if not any(offers(problem, name) for name in ("grad", "value_and_grad", "upper_grad")):
        raise CapabilityError(
            f"derivative-check needs grad, which {type(problem).__qualname__} does not offer"
        )
    if x is None:
        if not callable(getattr(problem, "start", None)):
            raise ArgumentError(f"x: give a point; {type(problem).__qualname__} has no start of its own")
        x = problem.start(seed)
        x = axpy(0.1, normal(generator(seed, "start", 1), x), x)
        if offers(problem, "project"):
            x = problem.project(x)
    problem, x, _ = opened(problem, x)
    checker = _Checker(problem, check_start(x, "x"), batch, seed)
    checks = []
    for capability in CAPABILITIES:
        judge = getattr(checker, capability, None)
        if judge is None or not offers(problem, capability):
            continue
        checks.append(
            judge() or Check(capability, "unchecked", 0.0, None, True, "nothing to compare it with")
        )
    return DerivativeReport(tuple(checks))
