"""RAdam's rectification of the variance of an adaptive rate."""

from __future__ import annotations

from refopt.optimizers.common.averages import correction


def rectification(beta2: float, t: int, *, least: float, strict: bool = False) -> tuple[float, float]:
    """Return the factors of the adaptive step and of the plain one, of which one is zero.

    ``ρ_∞ = 2 / (1 - β2) - 1``, ``ρ_t = ρ_∞ - 2 t β2^t / (1 - β2^t)``; from ρ_t = `least` on (beyond it, if `strict`)
    ``r_t = sqrt((ρ_t - 4)(ρ_t - 2) ρ_∞ / ((ρ_∞ - 4)(ρ_∞ - 2) ρ_t))`` and 0, before that 0 and 1.
    """
    end = 2.0 / (1.0 - beta2) - 1.0
    rho = end - 2.0 * t * beta2**t / correction(beta2, t)
    if rho < least or (strict and rho == least):
        return 0.0, 1.0
    return ((rho - 4.0) * (rho - 2.0) * end / ((end - 4.0) * (end - 2.0) * rho)) ** 0.5, 0.0
