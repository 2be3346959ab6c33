"""A linear solve read off the thermal average of a system of coupled oscillators."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core.arrays import Array, like, namespace, to_numpy
from refopt.core.errors import ArgumentError, ArgumentTypeError, ConvergenceError
from refopt.core.hyper import check_number
from refopt.core.registry import Dialect, Source, register
from refopt.core.result import LinearResult
from refopt.core.rng import generator
from refopt.linear.operators import Operator, linear_system, vector_norm

AIFER = Source(
    "aifer-2023-thermodynamic",
    "M. Aifer, K. Donatella, M. H. Gordon, S. Duffield, T. Ahle, D. Simpson, G. E. Crooks, P. J. Coles",
    "Thermodynamic Linear Algebra",
    arxiv="2308.05660",
)

DONATELLA = Source(
    "donatella-2024-thermodynamic",
    "K. Donatella, S. Duffield, M. Aifer, D. Melanson, G. Crooks, P. J. Coles",
    "Thermodynamic Natural Gradient Descent",
    arxiv="2405.13817",
)


@register(
    "thermodynamic",
    kind="solver",
    source=AIFER,
    where="overdamped Langevin linear-system protocol",
    also=(DONATELLA,),
    dialects={
        "thermox": Dialect(
            {"beta": 2.0, "dt": 1.0, "include_start": True},
            "normal-computing/thermox",
            "unit noise covariance a time, and the start is part of the average",
        )
    },
)
def thermodynamic(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    beta: float = 1e4,
    method: str = "exact",
    dt: float | None = None,
    steps: int = 10_000,
    burn_in: int = 0,
    include_start: bool = False,
    rtol: float = 1e-2,
    atol: float = 0.0,
    seed: int = 0,
    callback: Callable[[Array], object] | None = None,
) -> LinearResult:
    r"""Average an overdamped Langevin process whose stationary law is :math:`N(A^{-1}b, A^{-1}/\beta)`.

    The process is :math:`dx = -(A x - b)\,dt + \sqrt{2/\beta}\,dW`; the solution is its time average.

    Parameters
    ----------
    A : array (n, n), SciPy sparse matrix or callable
        Real symmetric positive definite. A function serves the Euler step with a given `dt`.
    b : array of shape (n,)
        Right side, real.
    x0 : array of shape (n,), optional
        Start; zeros if left out.
    beta : float
        Inverse temperature, positive; ``math.inf`` leaves the noise out.
    method : {"exact", "euler"}
        "exact" draws the transition by an eigendecomposition (a simulator of the device: it costs more
        than solving); "euler" is :math:`x + h (b - A x) + \sqrt{2h/\beta}\,\xi`, one product a step.
    dt : float, optional
        Time h of a step; 1 for "exact", :math:`1/\lambda_{\max}` for "euler".
    steps : int
        Steps averaged, at least 1.
    burn_in : int
        Steps before them that are left out.
    include_start : bool
        Average x0 too (thermox).
    rtol, atol : float
        The status is "converged" if the average's residual is at most ``max(rtol norm(b), atol)``. It
        is looked at when all steps are done: to stop when the noise happens to be small is a bias.
    seed : int
        Of the noise.
    callback : callable, optional
        Called with the process's state after every step.

    Returns
    -------
    LinearResult
        Its residuals are those of the running average, from the start's on.

    Raises
    ------
    ConvergenceError
        ``method="euler"`` with ``dt >= 2 / lambda_max``, where the process has no stationary law.
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        As `refopt.linear.conjugate_gradient.cg`; A not positive definite; complex data.

    Examples
    --------
    >>> A, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([3.0, 4.0])
    >>> np.round(thermodynamic(A, b, beta=1e6).x, 2).tolist()
    [1.0, 1.0]
    """
    if method not in ("exact", "euler"):
        raise ArgumentError(f"method: wanted 'exact' or 'euler', got {method!r}")
    operator, b, x = linear_system(A, b, x0, entries=method == "exact" or dt is None)
    xp = namespace(b)
    if not xp.isdtype(b.dtype, "real floating"):
        raise ArgumentTypeError("b: wanted a real system, got a complex one")
    if beta != math.inf:
        check_number(beta, "(0, inf)", "beta")
    if dt is not None:
        check_number(dt, "(0, inf)", "dt")
    check_number(steps, "int [1, inf)", "steps")
    check_number(burn_in, "int [0, inf)", "burn_in")
    check_number(rtol, "[0, inf)", "rtol")
    check_number(atol, "[0, inf)", "atol")
    advance = _transition(operator, b, method, dt, beta)
    rng = generator(seed, "method")
    total, count = (x, 1) if include_start else (xp.zeros_like(x), 0)
    gap = operator.apply(x) - b
    sum_of_gaps = gap if include_start else xp.zeros_like(gap)
    norms = [vector_norm(gap)]
    for k in range(burn_in + steps):
        x = advance(x, gap, like(rng.standard_normal(b.shape[0]), b))
        gap = operator.apply(x) - b
        if callback is not None:
            callback(x)
        if k >= burn_in:
            total, sum_of_gaps, count = total + x, sum_of_gaps + gap, count + 1
            norms.append(vector_norm(sum_of_gaps) / count)  # the residual is linear in x
    mean = total / count
    stop = max(rtol * vector_norm(b), atol)
    norms[-1] = vector_norm(operator.apply(mean) - b)
    if not np.isfinite(norms[-1]):
        raise ConvergenceError(f"dt: the process overflowed; wanted dt below 2 / lambda_max, got {dt!r}")
    status = "converged" if norms[-1] <= stop else "iterations"
    message = f"residual {norms[-1]:.3g} of the average over {steps} steps (wanted {stop:.3g})"
    if status == "iterations":
        message += "; raise steps, dt or beta"
    return LinearResult(mean, steps, np.asarray(norms), status, message)


def _transition(
    operator: Operator, b: Array, method: str, dt: float | None, beta: float
) -> Callable[[Array, Array, Array], Array]:
    """Return the step ``(x, A x - b, normal numbers) -> x``."""
    xp = namespace(b)
    if operator.matrix is not None:
        dense = operator.matrix.toarray() if operator.sparse else operator.matrix
        values, vectors = xp.linalg.eigh(dense)
        low, high = float(to_numpy(values)[0]), float(to_numpy(values)[-1])
        if not low > 0:
            raise ArgumentError(f"A: wanted positive definite, its smallest eigenvalue is {low:.3g}")
        if method == "euler" and dt is not None and dt >= 2 / high:
            raise ConvergenceError(f"dt: wanted less than 2 / lambda_max = {2 / high:.3g}, got {dt:.3g}")
    if method == "euler":
        h = 1 / high if dt is None else dt
        spread = math.sqrt(2 * h / beta)
        return lambda x, gap, noise: x - h * gap + spread * noise
    h = 1.0 if dt is None else dt
    decay = xp.exp(-h * values)
    width = xp.sqrt((1 - decay * decay) / (beta * values))
    solution = xp.matmul(vectors, xp.matmul(vectors.T, b) / values)

    def exact(x: Array, gap: Array, noise: Array) -> Array:
        coordinates = decay * xp.matmul(vectors.T, x - solution) + width * noise
        return solution + xp.matmul(vectors, coordinates)

    return exact
