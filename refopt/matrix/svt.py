"""Matrix estimation by hard thresholding of singular values (USVT)."""

from __future__ import annotations

from refopt.core.arrays import Array, check_array, is_array, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from refopt.core.registry import Dialect, Source, register
from refopt.matrix.common import check_choice, check_like, check_number, pairs, singular_map, thin_svd

ZHANG_2023 = Source(
    key="zhang-2023-matrix",
    authors="C. Y. Zhang, S. H. Cen, D. Shah",
    title="Matrix Estimation for Individual Fairness",
    arxiv="2302.02096",
    venue="ICML 2023",
)
CHATTERJEE_2015 = Source(
    key="chatterjee-2015-usvt",
    authors="S. Chatterjee",
    title="Matrix estimation by Universal Singular Value Thresholding",
    arxiv="1212.1247",
    venue="Annals of Statistics 43(1), 177-214",
)


def _prepare(
    Z: Array,
    mask: Array | None,
    threshold: float | None,
    eta: float,
    variance: float | None,
    rule: str,
) -> tuple[Array, Array | None, Array, Array]:
    """Return Z with zeros where unobserved, the mask, p and tau, the last two of shape (..., 1, 1)."""
    Z = check_array(Z, "Z", min_ndim=2, finite=mask is None)
    if 0 in Z.shape[-2:]:
        raise ShapeError(f"Z: is empty, shape {tuple(Z.shape)}")
    xp = namespace(Z)
    if mask is None:
        p = xp.sum(xp.zeros_like(Z), axis=(-2, -1), keepdims=True) + 1.0
    else:
        if not is_array(mask) or not namespace(mask).isdtype(mask.dtype, "bool"):
            raise ArgumentTypeError("mask: wanted a boolean array, True where Z was observed")
        if tuple(mask.shape) != tuple(Z.shape):
            raise ShapeError(f"mask: wanted shape {tuple(Z.shape)}, got {tuple(mask.shape)}")
        Z = check_array(xp.where(mask, Z, xp.zeros_like(Z)), "Z")
        p = xp.mean(xp.astype(mask, Z.dtype), axis=(-2, -1), keepdims=True)
        floor = xp.full_like(p, 1.0 / (Z.shape[-2] * Z.shape[-1]))
        p = xp.where(p > floor, p, floor)
    check_number(eta, "eta", least=0.0)
    check_choice(rule, "rule", ("chatterjee", "sampling"))
    if threshold is not None:
        return Z, mask, p, xp.full_like(p, check_number(threshold, "threshold", least=0.0))
    if variance is not None:
        check_number(variance, "variance", least=0.0)
    if rule == "sampling":
        scale = p * (1 - p) * (1.0 if variance is None else variance)
    elif variance is None:
        scale = p
    else:
        if variance > 1:
            raise ArgumentError(f"variance: wanted at most 1 (entries lie in [-1, 1]), got {variance!r}")
        scale = p * variance + p * (1 - p) * (1 - variance)
    return Z, mask, p, (2 + eta) * xp.sqrt(max(Z.shape[-2:]) * scale)


@register(
    "svt",
    kind="matfun",
    source=ZHANG_2023,
    where="the singular value thresholding estimator",
    also=(CHATTERJEE_2015,),
    dialects={
        "official": Dialect(
            {"rule": "sampling", "variance": 0.1},
            "cindyyzhang/ME-IF utils/USVT.py",
            "the threshold is 0 where everything was observed, so that nothing is removed then",
        )
    },
)  # fmt: skip
def svt(
    Z: Array,
    mask: Array | None = None,
    *,
    threshold: float | None = None,
    eta: float = 0.01,
    variance: float | None = None,
    rule: str = "chatterjee",
    clip: bool = True,
) -> Array:
    """Return the estimate of a low-rank matrix by hard thresholding of the singular values of `Z`.

    Unobserved entries count as 0, ``p`` is the observed fraction (at least ``1 / (m n)``), and with
    ``Z = U diag(sigma) V^T`` the estimate is ``(1/p) sum over sigma_i >= tau of sigma_i u_i v_i^T``.

    Parameters
    ----------
    Z : array of shape (..., m, n)
        Real, the true entries in [-1, 1].
    mask : boolean array of the shape of `Z`, optional
        True where observed; what `Z` holds elsewhere is ignored, NaN included.
    threshold : float, optional
        tau >= 0. By default it follows from `rule`.
    eta : float
        At least 0.
    variance : float, optional
        Of the noise, at most 1 by ``rule="chatterjee"``.
    rule : {"chatterjee", "sampling"}
        ``tau = (2 + eta) sqrt(max(m, n) q)`` with ``q = p``, or, given the variance s,
        ``p s + p (1 - p) (1 - s)``; by ``"sampling"`` ``q = p (1 - p) s``, without noise's own share.
    clip : bool
        Whether the estimate is clipped to [-1, 1], as Chatterjee's is.

    Returns
    -------
    array of the shape and dtype of `Z`

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    svt_jvp, svt_vjp : derivatives with tau and p held fixed.

    Notes
    -----
    Hard thresholding, one SVD: not the soft thresholding (proximal map of the nuclear norm) that elsewhere
    goes by this name. Defined for every input; it jumps where a singular value crosses tau.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> Z = np.diag([0.9, 0.5, 0.1])
    >>> print(np.round(refopt.get("svt")(Z, threshold=0.3), 6))
    [[0.9 0.  0. ]
     [0.  0.5 0. ]
     [0.  0.  0. ]]
    """
    Z, _, p, tau = _prepare(Z, mask, threshold, eta, variance, rule)
    return _clipped(_threshold(Z, p, tau), clip)


def _threshold(Z: Array, p: Array, tau: Array) -> Array:
    xp = namespace(Z)
    U, sigma, V = thin_svd(Z)
    kept = xp.where(sigma >= tau[..., 0], sigma, xp.zeros_like(sigma))
    return (U * xp.expand_dims(kept, axis=-2)) @ xp.matrix_transpose(V) / p


def _clipped(estimate: Array, clip: bool) -> Array:
    xp = namespace(estimate)
    one = xp.ones_like(estimate)
    return xp.where(estimate > one, one, xp.where(estimate < -one, -one, estimate)) if clip else estimate


def _derivative(
    Z: Array,
    E: Array,
    mask: Array | None,
    threshold: float | None,
    eta: float,
    variance: float | None,
    rule: str,
    clip: bool,
    name: str,
    reverse: bool,
) -> Array:
    Z, mask, p, tau = _prepare(Z, mask, threshold, eta, variance, rule)
    E = check_like(E, name, Z, "Z")
    xp = namespace(Z)
    zero = xp.zeros_like(E)

    def observe(X: Array) -> Array:
        return X if mask is None else xp.where(mask, X, zero)

    def unclip(X: Array) -> Array:
        return xp.where(xp.abs(_threshold(Z, p, tau)) > 1, zero, X) if clip else X

    U, sigma, V = thin_svd(Z)
    keep = xp.astype(sigma >= tau[..., 0], Z.dtype)
    (si, sj), (ki, kj) = pairs(sigma), pairs(keep)
    both = ki * kj
    gap, total = si - sj, si + sj
    # Between a kept and a dropped value the gap is not zero: they lie on either side of tau.
    mixed = ki != kj
    minus = xp.where(mixed, (ki * si - kj * sj) / xp.where(mixed, gap, xp.ones_like(gap)), both)
    plus = xp.where(total > 0, (ki * si + kj * sj) / xp.where(total > 0, total, xp.ones_like(total)), both)
    # The derivative of a singular-value function is self-adjoint, so only the outer masks change places.
    inner = observe(E) if not reverse else unclip(E)
    dF = singular_map(U, sigma, V, inner, minus, plus, keep) / p
    return unclip(dF) if not reverse else observe(dF)


def svt_jvp(
    Z: Array,
    tangent: Array,
    mask: Array | None = None,
    *,
    threshold: float | None = None,
    eta: float = 0.01,
    variance: float | None = None,
    rule: str = "chatterjee",
    clip: bool = True,
) -> Array:
    """Return the derivative of `svt` along `tangent`, tau and p held fixed (a.e.: no sigma equals tau)."""
    return _derivative(Z, tangent, mask, threshold, eta, variance, rule, clip, "tangent", False)


def svt_vjp(
    Z: Array,
    cotangent: Array,
    mask: Array | None = None,
    *,
    threshold: float | None = None,
    eta: float = 0.01,
    variance: float | None = None,
    rule: str = "chatterjee",
    clip: bool = True,
) -> Array:
    """Return the reverse derivative of `svt`, tau and p held fixed (a.e.: no sigma equals tau)."""
    return _derivative(Z, cotangent, mask, threshold, eta, variance, rule, clip, "cotangent", True)
