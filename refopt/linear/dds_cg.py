"""The data-consistency step of the decomposed diffusion sampler (Chung, Lee, Ye 2024)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from refopt.core.arrays import Array, check_array, is_array, namespace
from refopt.core.errors import ArgumentTypeError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import Dialect, Source, register
from refopt.core.result import LinearResult
from refopt.linear.conjugate_gradient import cg
from refopt.matrix.common import adjoint

CHUNG = Source(
    "chung-2024-decomposed",
    "H. Chung, S. Lee, J. C. Ye",
    "Decomposed Diffusion Sampler for Accelerating Large-Scale Inverse Problems",
    arxiv="2303.05754",
    venue="ICLR 2024",
)
Map = Callable[[Array], Array]


@register(
    "dds-cg",
    kind="solver",
    source=CHUNG,
    where="the conjugate gradient update of the denoised image",
    dialects={
        "official": Dialect({"passes": 5, "gamma": 1.0}, "HJ-harry/DDS", "gamma of the runs with noise")
    },
)
def dds_cg(
    A: Any,
    y: Any,
    x0: Any,
    *,
    gamma: float | None = None,
    passes: int = 5,
    atol: float = 1e-5,
) -> LinearResult:
    r"""A few passes of conjugate gradients from a denoised image towards its measurements.

    Started at the denoised :math:`\hat x_0`, for measurements without noise and with noise,

    .. math:: A^H A\, x = A^H y,\qquad (I + \gamma A^H A)\, x = \hat x_0 + \gamma A^H y.

    Parameters
    ----------
    A : array of shape (m, n), or pair of callables
        The measurement, or ``(forward, adjoint)`` on arrays of any shape, real or complex.
    y : array
        Measurements.
    x0 : array
        Denoised image, of any shape that `A` takes.
    gamma : float, optional
        Weight of measurements with noise; left out: measurements without noise.
    passes : int
        Passes of conjugate gradients. The few of them are what regularises: x stays in
        :math:`\hat x_0 + K(A^H A, A^H (y - A \hat x_0))`.
    atol : float
        Stop at this norm of the residual, absolute as in the authors' code.

    Returns
    -------
    LinearResult
        Its `x` has the shape of x0. Status ``"iterations"`` is the rule here: the passes were made.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        Wrong shapes or dtypes; an adjoint whose answer has not the shape of x0.

    Notes
    -----
    Inner products are conjugated; the authors' code leaves that out, and on complex images its passes do not converge. Their
    single-coil case takes :math:`\hat x_0 - A^\dagger(A \hat x_0 - y)`, the limit of the passes without noise.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.diag([1.0, 0.0, 1.0])  # the second pixel is not measured
    >>> dds_cg(mask, np.array([3.0, 0.0, 5.0]), np.ones(3)).x.round(12).tolist()
    [3.0, 1.0, 5.0]
    """
    x0 = check_array(x0, "x0", complex_ok=True, min_ndim=1)
    y = check_array(y, "y", complex_ok=True, min_ndim=1)
    if gamma is not None:
        check_number(gamma, "(0, inf)", "gamma")
    check_number(passes, "int [0, inf)", "passes")
    check_number(atol, "[0, inf)", "atol")
    forward, back = _maps(A)
    xp = namespace(x0)
    weight = 1.0 if gamma is None else float(gamma)

    def normal(v: Array) -> Array:
        image = xp.reshape(v, x0.shape)
        part = weight * xp.reshape(back(forward(image)), (-1,))
        return part if gamma is None else v + part

    seen = back(y)
    if tuple(seen.shape) != tuple(x0.shape):
        raise ShapeError(f"A, x0: the adjoint of y has shape {tuple(seen.shape)}, but x0 {tuple(x0.shape)}")
    right = weight * seen if gamma is None else x0 + weight * seen
    right, start = xp.reshape(right, (-1,)), xp.reshape(x0, (-1,))
    found = cg(normal, right, start, rtol=0.0, atol=atol, maxiter=passes)
    return dataclasses.replace(found, x=xp.reshape(found.x, x0.shape))


def _maps(A: Any) -> tuple[Map, Map]:
    """Return the measurement and its adjoint as functions."""
    if isinstance(A, tuple) and len(A) == 2 and all(map(callable, A)):
        return A
    if not is_array(A):
        raise ArgumentTypeError(
            f"A: wanted a matrix or a pair (forward, adjoint) of functions, got {type(A)}"
        )
    A = check_array(A, "A", ndim=2, complex_ok=True)
    xp, other = namespace(A), adjoint(A)
    return lambda v: xp.matmul(A, v), lambda v: xp.matmul(other, v)
