"""Polar Express: quintics that are the best of all for singular values above a bound (Amsel et al. 2025)."""

from __future__ import annotations

from refopt.core.arrays import Array
from refopt.core.registry import register
from refopt.matrix.common import check_number
from refopt.matrix.polar import POLAR_EXPRESS, polar_newton_schulz
from refopt.matrix.polar_schedules import Schedule, polar_express_coefficients


@register("polar-express", kind="matfun", source=POLAR_EXPRESS, where="Algorithm 1, offline and online stage")
def polar_express(
    A: Array,
    steps: int = 5,
    lower: float = 1e-3,
    *,
    cushion: float = 0.02407327424182761,
    safety: float = 1.01,
    eps: float = 1e-7,
) -> Array:
    """Return the polar factor of `A` by the quintics that are best for singular values in [`lower`, 1].

    ``X_0 = A / (s ‖A‖_F + ε)``, ``X_t = p_t(X_{t-1})`` with ``p_t(x) = a_t x + b_t x^3 + c_t x^5`` the polynomial of the
    smallest ``max |1 - p|`` over ``[l_t, u_t]``, from ``l_1 = lower``, ``u_1 = 1``, then ``l_{t+1} = p_t(l_t)``,
    ``u_{t+1} = 2 - l_{t+1}``. Of all compositions of `steps` odd quintics theirs comes closest to 1 on [`lower`, 1].

    Parameters
    ----------
    A : array of shape (..., m, n)
        Real or complex.
    steps : int
        T, at least 1.
    lower : float
        l, in (0, 1): a bound from below of ``σ_min / ‖A‖_F``. Smaller singular values come out below 1.
    cushion : float
        In [0, 1). p_t is found for ``[max(l_t, cushion u_t), u_t]`` and brought back to be as far above 1 as below it on
        [l_t, u_t], so that rounding does not meet steep polynomials. 0: none, the best.
    safety : float
        s, at least 1: ``p_t(x / s)`` takes the place of p_t but for the last, so that rounding in low precision leads no
        singular value above u_t.
    eps : float
        ε, at least 0.

    Returns
    -------
    array of the shape and dtype of `A`
        Zero singular values stay zero.

    Raises
    ------
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        A number outside its range, not a matrix, not floating point, NaN or infinity.

    See Also
    --------
    polar_newton_schulz : the iteration, with this and other schedules.

    Notes
    -----
    It is `polar_newton_schulz` with coefficients made for `steps` and `lower`. The authors' Muon takes the
    first so many of a list that was made for eight steps, ``coefficients="polar-express"`` there: the same numbers but that the
    safety stays in the last of them. Without cushion and safety the error in the spectral norm is at most ``1 - l_{T+1}``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> X = refopt.get("polar-express")(np.diag([3.0, 0.01]), steps=8)
    >>> print(np.abs(X - np.eye(2)).max() < 1e-7)
    True
    """
    check_number(safety, "safety", least=1.0)
    made = polar_express_coefficients(lower, steps, cushion)
    guarded = tuple((a / safety, b / safety**3, c / safety**5) for a, b, c in made[:-1])
    return polar_newton_schulz(A, steps, Schedule((*guarded, made[-1]), safety), eps=eps)
