"""Newton-Schulz in a precision of one's choice, as the authors of Muon and Scion run it in bfloat16."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import Array, namespace
from refopt.core.errors import DtypeError
from refopt.matrix.polar import polar_newton_schulz

# Real floating dtypes of the libraries; which of them an array's own library has is seen at the first matrix.
NS_DTYPES = ("bfloat16", "float16", "float32", "float64")


def orthogonalised(M: Array, ns_dtype: str | None = None, **options: Any) -> Array:
    """Return `polar_newton_schulz` of `M`, computed in another dtype and returned in that of `M`.

    Parameters
    ----------
    M : array of shape (m, n)
    ns_dtype : str, optional
        A real floating dtype of the array's library by its name there, such as ``"bfloat16"`` in torch.
        None: that of `M`.
    **options
        For `refopt.matrix.polar.polar_newton_schulz`.

    Returns
    -------
    array of the shape and dtype of `M`

    Raises
    ------
    DtypeError
        The library has no real floating dtype of that name (NumPy has no bfloat16).
    """
    if ns_dtype is None:
        return polar_newton_schulz(M, **options)
    xp = namespace(M)
    dtype = getattr(xp, ns_dtype, None) if isinstance(ns_dtype, str) else None
    try:
        known = dtype is not None and xp.isdtype(xp.empty(0, dtype=dtype).dtype, "real floating")
    except (TypeError, ValueError):  # the library's other functions and constants of that name
        known = False
    if not known:
        raise DtypeError(
            f"ns_dtype: wanted None or the name of a real floating dtype of"
            f" {xp.__name__.rpartition('.')[2]}, got {ns_dtype!r}"
        )
    return xp.astype(polar_newton_schulz(xp.astype(M, dtype), **options), M.dtype)
