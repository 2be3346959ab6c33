"""Newton's method regularised: by a cube (2006), with a Hessian that is kept (2022), by the gradient's norm (2025)."""

from __future__ import annotations

import math

import numpy as np
import scipy.optimize

from refopt.core import params
from refopt.core.arrays import Array, like, to_numpy
from refopt.core.hyper import hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, check_start
from refopt.core.registry import Source, dialect, register
from refopt.matrix.common import eigh
from refopt.optimizers.common.vectors import joined, parted, symmetric_matrix

NESTEROV_2006 = Source("nesterov-2006-cubic", "Y. Nesterov, B. T. Polyak",
    "Cubic regularization of Newton method and its global performance",
    venue="Mathematical Programming 108, 177-205", doi="10.1007/s10107-006-0706-8")  # fmt: skip
DOIKOV_2022 = Source("doikov-2022-second", "N. Doikov, E. M. Chayti, M. Jaggi",
    "Second-order optimization with lazy Hessians", arxiv="2212.00781")  # fmt: skip
SEMENOV = Source("semenov-2025-gradient", "A. Semenov, M. Jaggi, N. Doikov",
    "Gradient-Normalized Smoothness for Optimization with Approximate Hessians", arxiv="2506.13710")  # fmt: skip
TRIES = 40


def cubic_step(values: np.ndarray, g: np.ndarray, M: float) -> np.ndarray:
    """Return the least point of ``gᵀh + ½ hᵀ diag(values) h + (M/6) ‖h‖³``, the values in ascending order.

    ``h = -g / (values + M r / 2)`` with r = ‖h‖, ``r >= r0 = max(0, -2 min(values) / M)``; where no such r is (g has no
    part along the least value), r = r0 and a step along the first of its directions makes up for the length.
    """
    size = float(np.linalg.norm(g))
    low = max(0.0, -2.0 * float(values[0]) / M)
    if size == 0.0 and low == 0.0:
        return np.zeros_like(g)
    raised = values + M * low / 2.0
    raised[0] = max(raised[0], 0.0)

    def gap(s: float) -> float:
        return float(np.linalg.norm(g / (raised + M * s / 2.0))) - (low + s)

    # At s = sqrt(2 ‖g‖ / M) the step is at most s; the root in s lies below, however small it is.
    most = math.sqrt(2.0 * size / M)
    flat = raised <= np.finfo(float).eps * max(abs(float(values[0])), abs(float(values[-1])))
    if low > 0.0 and (size == 0.0 or not np.any(g[flat])):
        rest = np.where(flat, 0.0, -g / np.where(flat, 1.0, raised))
        missing = low * low - float(rest @ rest)
        if missing >= 0.0:
            rest[0] += math.sqrt(missing)
            return rest
    least = most
    while gap(least) <= 0.0 and least > 0.0:
        least *= 0.25
    if least == most or least == 0.0:
        return -g / (raised + M * most / 2.0)
    s = scipy.optimize.brentq(gap, least, min(4.0 * least, most), xtol=1e-300, rtol=4.0 * np.finfo(float).eps)
    return -g / (raised + M * s / 2.0)


def decomposed(x: Params, oracle: Oracle, kind: str = "hessian") -> tuple[Array, Array]:
    """Return eigenvalues and vectors of the Hessian, or of the generalized Gauss-Newton matrix, laid out by products."""
    product = oracle.hvp if kind == "hessian" else oracle.ggn
    values, vectors = eigh(symmetric_matrix(lambda u: product(x, u), x))
    return values, vectors


def turned(g: Params, vectors: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return g's coordinates along the eigenvectors, and these, as NumPy arrays in float64."""
    basis = to_numpy(vectors).astype(np.float64)
    return basis.T @ to_numpy(joined(g)).astype(np.float64), basis


def moved(x: Params, h: np.ndarray, basis: np.ndarray) -> Params:
    """Return x after a step given along the eigenvectors."""
    return axpy(1.0, parted(like(basis @ h, joined(x)), x), x)


@register("cubic-newton", source=NESTEROV_2006, where="the cubic regularization of Newton's method, with a search for M", needs=("value", "grad", "hvp"), calm_problem=("matrix-sensing", {"n": 3, "rank": 1}))  # fmt: skip
class CubicNewton(Method):
    """Cubic Newton: the least point of the quadratic model and a cube, ``gᵀh + ½ hᵀHh + (M/6) ‖h‖³``.

    ``h = -(H + (M/2) ‖h‖ I)⁻¹ g`` with ``H + (M/2) ‖h‖ I ⪰ 0``, also where H is indefinite or g vanishes at a saddle.
    With a given M, an upper bound of the Hessian's Lipschitz constant, every step is made; otherwise M is
    doubled while ``f(x + h) > f(x) + model(h)`` and halved for the next step.

    Notes
    -----
    H is laid out, one ``hvp`` a parameter, and decomposed once a step. After 40 doublings, which is rounding, the point and M stay.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("matrix-sensing", n=4, rank=1)
    >>> r = refopt.minimize(p, "cubic-newton", steps=20)
    >>> bool(r.fun < 1e-25)
    True
    """

    has_rate = False
    M: float | None = hyper(None, "(0, inf)", "M. None: searched for.")
    first: float = hyper(1.0, "(0, inf)", "M before the first step of the search.")
    least: float = hyper(1e-5, "[0, inf)", "The least M of the search.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: M."""
        check_start(x, "x")
        return {"t": 0, "M": self.first if self.M is None else self.M}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient and the Hessian, and for values where M is searched for; then step."""
        t, M = s["t"] + 1, s["M"]
        values, vectors = decomposed(x, oracle)
        g, basis = turned(oracle.grad(x), vectors)
        spectrum = to_numpy(values).astype(np.float64)
        if self.M is not None:
            return moved(x, cubic_step(spectrum, g, M), basis), {"t": t, "M": M}
        f = oracle.value(x)
        for _ in range(TRIES):
            h = cubic_step(spectrum, g, M)
            model = float(g @ h + 0.5 * h @ (spectrum * h) + M / 6.0 * np.linalg.norm(h) ** 3)
            new = moved(x, h, basis)
            if oracle.value(new) <= f + model:
                return new, {"t": t, "M": max(0.5 * M, self.least)}
            M *= 2.0
        return params.copied(x), {"t": t, "M": s["M"]}


@register("lazy-newton", source=DOIKOV_2022, where="Algorithms 1 and 2", needs=("grad", "hvp"), also=(NESTEROV_2006,), calm_problem=("matrix-sensing", {"n": 3, "rank": 1}))  # fmt: skip
class LazyNewton(Method):
    """Lazy Newton: regularised Newton steps with a fresh gradient and a Hessian of up to m steps ago.

    With H the Hessian at the last of x_0, x_m, x_2m, …: ``cubic`` (Algorithm 1) takes the least point of
    ``gᵀh + ½ hᵀHh + (M/6) ‖h‖³``; ``gradient`` (Algorithm 2, for convex f) ``x - (H + sqrt(M ‖g‖) I)⁻¹ g``.

    Notes
    -----
    The theory's M is of the order of m times the Hessian's Lipschitz constant; its search (Algorithm 3) is not here. H is
    laid out, one ``hvp`` a parameter, and its eigenvectors are kept, so that other steps cost O(n²).

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l2=0.1)
    >>> r = refopt.minimize(p, "lazy-newton", period=5, form="gradient", M=0.1, steps=20)
    >>> r.calls["hvp"] // 31, bool(abs(p.grad(r.x)).max() < 1e-8)
    (4, True)
    """

    has_rate = False
    period: int = hyper(10, "int [1, inf)", "m.")
    form: str = hyper("cubic", ("cubic", "gradient"), "Of the regularisation, see above.")
    M: float = hyper(1.0, "(0, inf)", "M.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; the Hessian comes with the first step."""
        check_start(x, "x")
        return {"t": 0, "values": None, "vectors": None}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient and, when it is due, the Hessian; then step."""
        values, vectors = s["values"], s["vectors"]
        if s["t"] % self.period == 0:
            values, vectors = decomposed(x, oracle)
        g, basis = turned(oracle.grad(x), vectors)
        spectrum = to_numpy(values).astype(np.float64)
        if self.form == "cubic":
            h = cubic_step(spectrum, g, self.M)
        else:
            shift = math.sqrt(self.M * float(np.linalg.norm(g)))
            h = -g / (spectrum + shift) if shift > 0.0 else np.zeros_like(g)
        return moved(x, h, basis), {"t": s["t"] + 1, "values": values, "vectors": vectors}


@register("gns-newton", source=SEMENOV, where="Algorithm 1", needs=("value", "grad", "hvp"), calm_problem=("matrix-sensing", {"n": 3, "rank": 1}))  # fmt: skip
class GNSNewton(Method):
    """GNS-Newton: a step of at most γ by ``(H + (‖g‖ / γ) I)⁻¹``, with γ as far as the gradient stays smooth.

    ``λ = ‖g‖ / γ``, ``x⁺ = x - (H + λ I)⁻¹ g`` with H ⪰ 0 the Hessian or an approximation of it. It is taken if
    ``f(x) - f(x⁺) >= ‖∇f(x⁺)‖² / (8 λ)``, and γ is doubled; otherwise γ is halved and the step made again.

    Notes
    -----
    With H = 0 a step is normalised gradient descent's, γ long; with γ = sqrt(‖g‖ / M) it is lazy-newton's of the
    gradient form. After 40 halvings, or at a zero gradient, the point and γ stay. The authors' code goes on with the last
    trial then, and keeps the last trial's step where a factorisation fails; here a matrix H + λ I that is not
    positive definite counts as a trial that is not taken.

    Raises
    ------
    CapabilityError
        The problem has no ``jvp``, ``vjp`` and ``loss_hessian``, with ``curvature="ggn"``.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l2=0.1)
    >>> r = refopt.minimize(p, "gns-newton", steps=12)
    >>> bool(abs(p.grad(r.x)).max() < 1e-8)
    True
    """

    has_rate = False
    curvature: str = hyper(
        "hessian", ("hessian", "ggn"), "H: the Hessian, or the generalized Gauss-Newton matrix."
    )
    first: float = hyper(1.0, "(0, inf)", "γ before the first step.")
    search: bool = hyper(True, words="False: γ stays `first`, and every step is made.")
    eps: float = hyper(0.0, "[0, inf)", "Added to γ in λ.")

    @property
    def needs(self) -> tuple[str, ...]:
        """Values, gradients, and what the curvature asks for."""
        extra = ("hvp",) if self.curvature == "hessian" else ("jvp", "vjp", "loss_hessian")
        return ("value", "grad", *extra)

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: γ."""
        check_start(x, "x")
        return {"t": 0, "gamma": self.first}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the curvature and, at every trial, for value and gradient; step where a trial is taken."""
        t, gamma = s["t"] + 1, s["gamma"]
        values, vectors = decomposed(x, oracle, self.curvature)
        f, gradient = oracle.value_and_grad(x)
        g, basis = turned(gradient, vectors)
        size, spectrum = float(np.linalg.norm(g)), to_numpy(values).astype(np.float64)
        if size == 0.0:
            return params.copied(x), {"t": t, "gamma": gamma}
        for _ in range(TRIES):
            shift = size / (gamma + self.eps)
            if spectrum[0] + shift > 0.0:
                new = moved(x, -g / (spectrum + shift), basis)
                if not self.search:
                    return new, {"t": t, "gamma": gamma}
                # The trial's gradient is asked for only where its value could be enough.
                value = oracle.value(new)
                if value <= f and f - value >= params.norm(oracle.grad(new)) ** 2 / (8.0 * shift):
                    # The next step asks again, so that a run that is cut and resumed makes the same calls.
                    oracle.forget()
                    return new, {"t": t, "gamma": 2.0 * gamma}
            gamma *= 0.5
        return params.copied(x), {"t": t, "gamma": s["gamma"]}


dialect(GNSNewton, "official", "epfml/grad-norm-smooth src/methods.py grad_norm_smooth", eps=1e-8)
