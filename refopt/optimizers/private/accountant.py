"""The privacy of repeated, sampled Gaussian releases, by Rényi divergences (Mironov, Talwar, Zhang 2019)."""

from __future__ import annotations

import math

import numpy as np

from refopt.core.hyper import check_number

# Where the bound over orders is looked for.
ORDERS = (*(1.0 + k / 10.0 for k in range(1, 100)), *range(11, 64), 128, 256, 512, 1024)


def renyi(order: float, sampling_rate: float, noise: float) -> float:
    """Return the Rényi divergence of order α of one release from its neighbour's.

    Parameters
    ----------
    order : float
        α > 1. For whole α the binomial sum of equation (4) in closed form; else the two series of Section 3.3.
    sampling_rate : float
        q in [0, 1], of Poisson sampling.
    noise : float
        σ > 0: the noise's deviation over the sensitivity.

    Returns
    -------
    float

    Raises
    ------
    ArgumentError, ArgumentTypeError

    Examples
    --------
    >>> f"{renyi(2, 0.01, 1.1):.6e}"
    '1.285101e-04'
    """
    from scipy.special import gammaln, gammasgn, log_ndtr, logsumexp

    check_number(order, "(1, inf)", "order")
    check_number(sampling_rate, "[0, 1]", "sampling_rate")
    check_number(noise, "(0, inf)", "noise")
    a, q, var = float(order), float(sampling_rate), float(noise) ** 2
    if q == 0.0:
        return 0.0
    if q == 1.0:
        return a / (2.0 * var)
    # (1-q)^(a-k) q^k exp((k^2 - k) / 2 σ^2), for every k of a sum.
    if a.is_integer():
        k = np.arange(a + 1.0)
        weight = gammaln(a + 1.0) - gammaln(k + 1.0) - gammaln(a - k + 1.0)
        logs = weight + (a - k) * math.log1p(-q) + k * math.log(q) + k * (k - 1.0) / (2.0 * var)
        return max(0.0, float(logsumexp(logs))) / (a - 1.0)
    split = var * math.log(1.0 / q - 1.0) + 0.5
    # The terms alternate and fall as i^(-α-2).
    i = np.arange(2.0 * a + 2000.0)
    j, sign = a - i, gammasgn(a - i + 1.0)
    weight = gammaln(a + 1.0) - gammaln(i + 1.0) - gammaln(a - i + 1.0)
    below = (a - i) * math.log1p(-q) + i * math.log(q) + i * (i - 1.0) / (2.0 * var)
    above = i * math.log1p(-q) + j * math.log(q) + j * (j - 1.0) / (2.0 * var)
    below = below + log_ndtr((split - i) / noise)
    above = above + log_ndtr((j - split) / noise)
    total = logsumexp(np.concatenate([weight + below, weight + above]), b=np.concatenate([sign, sign]))
    return max(0.0, float(total)) / (a - 1.0)


def epsilon(sampling_rate: float, noise: float, steps: int, delta: float) -> float:
    """Return ε of (ε, δ)-differential privacy after so many steps, neighbours differing by one example more or less.

    ``ε = min_α T RDP(α) + log((α-1)/α) - (log δ + log α)/(α-1)``, an upper bound.

    Parameters
    ----------
    sampling_rate, noise : float
        As of `renyi`.
    steps : int
        T, at least 0.
    delta : float
        δ, in (0, 1).

    Returns
    -------
    float

    Raises
    ------
    ArgumentError, ArgumentTypeError

    Examples
    --------
    >>> round(epsilon(0.01, 1.1, 1000, 1e-5), 6)
    1.71177
    """
    check_number(steps, "int [0, inf)", "steps")
    check_number(delta, "(0, 1)", "delta")
    if steps == 0:
        return 0.0

    def at(a: float) -> float:
        spent = steps * renyi(a, sampling_rate, noise)
        return spent + math.log1p(-1.0 / a) - (math.log(delta) + math.log(a)) / (a - 1.0)

    return max(0.0, min(at(float(a)) for a in ORDERS))
