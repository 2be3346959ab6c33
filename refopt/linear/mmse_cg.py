"""Precoding for several users without an inverse, by conjugate gradients (Sun et al. 2024)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from refopt.core.arrays import Array, check_array, lengths, like, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register
from refopt.core.result import LinearResult
from refopt.linear.conjugate_gradient import cg
from refopt.matrix.common import adjoint

SUN = Source(
    "sun-2024-homogeneous",
    "M. Sun, S. Wu, H. Wang, Y. Liu, G. Li, T. Zhang",
    "A Homogeneous Graph Neural Network for Precoding and Power Allocation in Scalable Wireless Networks",
    arxiv="2408.17252",
)


@register(
    "mmse-cg", kind="solver", source=SUN, where="the precoder without matrix inverse, by conjugate gradients"
)
def mmse_cg(
    H: Any,
    noise: float,
    *,
    power: float = 1.0,
    priorities: Any = None,
    powers: Any = None,
    rtol: float = 1e-10,
    maxiter: int | None = None,
) -> LinearResult:
    r"""Regularised precoder of a downlink to K users from N antennas, a column of conjugate gradients a user.

    .. math:: \Big(\sigma^2 I + \sum_i \lambda_i h_i h_i^H\Big) \bar w_k = h_k,\qquad
              w_k = \sqrt{p_k}\; \bar w_k / \|\bar w_k\|,

    the structure of the precoders that are optimal for the sum rate, with :math:`\sum\lambda_i = \sum p_k = p`.

    Parameters
    ----------
    H : array of shape (K, N)
        Row k is :math:`h_k^H`, real or complex: user k receives ``H[k] @ (W @ s)``.
    noise : float
        :math:`\sigma^2 > 0`.
    power : float
        Total power p > 0.
    priorities : array of shape (K,), optional
        :math:`\lambda`, positive with sum p; equal if left out, which is regularised zero forcing
        :math:`H^H (H H^H + \frac{K\sigma^2}{p} I)^{-1}`.
    powers : array of shape (K,), optional
        p_k, at least 0 with sum p; equal if left out.
    rtol : float
        Stop a column at ``norm(r) <= rtol norm(h_k)``.
    maxiter : int, optional
        Largest number of passes of a column; the small fixed number of the literature is given here. Left out: 10 N.

    Returns
    -------
    LinearResult
        Its `x` is W of shape (N, K), its residuals those of the columns before they are scaled.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        Wrong shapes or dtypes; a user without a channel; priorities or powers out of range or with another sum.

    Notes
    -----
    A pass costs two products with H, one with its adjoint among them; neither ``H H^H`` nor ``H^H H`` is formed. The system
    has at most K + 1 distinct eigenvalues, so K passes are exact; one pass is the matched filter.

    Examples
    --------
    >>> import numpy as np
    >>> W = mmse_cg(np.array([[1.0, 1.0j], [1.0, -1.0j]]), noise=0.5, power=2.0).x
    >>> np.round(W, 6).tolist()  # orthogonal channels: the matched filter
    [[(0.707107+0j), (0.707107+0j)], [-0.707107j, 0.707107j]]
    """
    H = check_array(H, "H", ndim=2, complex_ok=True)
    check_number(noise, "(0, inf)", "noise")
    check_number(power, "(0, inf)", "power")
    xp = namespace(H)
    users = H.shape[0]
    weights = _shares(priorities, "priorities", users, power, H)
    shares = _shares(powers, "powers", users, power, H)
    if bool(xp.any(weights <= 0)):
        raise ArgumentError(
            f"priorities: wanted positive numbers, the smallest is {float(xp.min(weights)):.3g}"
        )
    channels = adjoint(H)
    if not bool(xp.all(xp.any(H != 0, axis=1))):
        raise ArgumentError("H: has a row of zeros, a user whom no antenna reaches")

    def covariance(v: Array) -> Array:
        return noise * v + xp.matmul(channels, weights * xp.matmul(H, v))

    with np.errstate(over="ignore", invalid="ignore"):  # channels whose squares overflow end as diverged
        found = cg(covariance, channels, rtol=rtol, maxiter=maxiter)
    columns = xp.reshape(found.x, channels.shape)
    scale = lengths(xp.abs(columns), axis=0, keepdims=True)
    # No pass, no direction: the column stays zero.
    scale = xp.where(scale > 0, scale, xp.ones_like(scale))
    return dataclasses.replace(found, x=xp.sqrt(shares) * (columns / scale))


def _shares(value: Any, name: str, users: int, power: float, H: Array) -> Array:
    """Return the users' shares of the power, of H's precision and real."""
    real = namespace(H).abs(H[:1, :1])
    if value is None:
        return like([power / users] * users, real)
    value = check_array(value, name, shape=(users,))
    xp = namespace(value)
    if xp is not namespace(H):
        raise ArgumentTypeError(f"{name}: wanted an array of the library of H, got {type(value)}")
    total = float(xp.sum(value))
    if bool(xp.any(value < 0)) or not math.isclose(total, power, rel_tol=1e-5):
        raise ArgumentError(f"{name}: wanted numbers of at least 0 with sum {power:g}, got sum {total:.8g}")
    return xp.astype(value, real.dtype)
