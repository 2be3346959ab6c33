"""Divided differences (f(a) - f(b)) / (a - b) in closed form: no 0/0 and no cancellation at a = b.

They are the kernels of the Daleckii-Krein derivative ``dF[E] = Q (K ∘ (Q* E Q)) Q*`` of ``Q f(L) Q*``.
"""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.matrix.common import pairs


def _ordered(values: Array) -> tuple[Array, Array]:
    """Return the larger and the smaller of each pair."""
    xp = namespace(values)
    a, b = xp.broadcast_arrays(*pairs(values))
    swap = a < b
    return xp.where(swap, b, a), xp.where(swap, a, b)


def _safe(x: Array) -> Array:
    """Return `x` with its zeros replaced by ones, for a division whose result is not used there."""
    xp = namespace(x)
    return xp.where(x == 0, xp.ones_like(x), x)


def power_kernel(values: Array, exponent: float) -> Array:
    """Kernel of ``x^theta`` for x > 0: ``b^(theta-1) expm1(theta log1p t) / t``, t = (a - b) / b."""
    xp = namespace(values)
    a, b = _ordered(values)
    t = (a - b) / b
    quotient = xp.where(t == 0, xp.full_like(t, exponent), xp.expm1(exponent * xp.log1p(t)) / _safe(t))
    return b ** (exponent - 1) * quotient


def log_kernel(values: Array) -> Array:
    """Kernel of ``ln x`` for x > 0: ``log1p(t) / (b t)``, t = (a - b) / b."""
    xp = namespace(values)
    a, b = _ordered(values)
    t = (a - b) / b
    return xp.where(t == 0, xp.ones_like(t), xp.log1p(t) / _safe(t)) / b


def exp_kernel(values: Array) -> Array:
    """Kernel of ``exp x``: ``e^b expm1(d) / d``, d = a - b."""
    xp = namespace(values)
    a, b = _ordered(values)
    d = b - a  # from the larger end, so that expm1 never overflows where the result does not
    return xp.exp(a) * xp.where(d == 0, xp.ones_like(d), xp.expm1(d) / _safe(d))
