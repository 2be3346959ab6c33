"""Sinkhorn's inner loop, compiled by Numba: one reading of the kernel a pass instead of two."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np

from refopt.linear.compiled import compile_loop, require_numba

Vector = Any
GROUPS = 16  # groups of rows with their own column sums: the bits do not depend on the threads
prange: Any = range  # numba.prange once `kernels` has run: importing this module must not need Numba


def scaled(mass: Any, total: Any) -> Any:
    """Return one scaling ``mass / total``."""
    return mass / total


def scaling_pass(
    K: Vector, a: Vector, b: Vector, u: Vector, v: Vector, new_u: Vector, new_v: Vector, sums: Vector
) -> Any:
    """Write ``u' = a / (K v)`` and ``v' = b / (K^T u')``; return the row error of (u, v) and the range.

    The last two numbers are the smallest and the largest scaling of a positive mass.
    """
    n, m = K.shape
    rows = (n + GROUPS - 1) // GROUPS
    errors = np.zeros(GROUPS)
    for group in prange(GROUPS):
        mine = sums[group]
        mine[:] = 0
        begin = np.int64(group * rows)
        for i in range(begin, min(n, begin + rows)):
            row = K[i]
            # Four sums side by side: the additions of one sum wait for each other.
            s0 = s1 = s2 = s3 = K.dtype.type(0)
            quarter = m - m % 4
            for j in range(0, quarter, 4):
                s0 += row[j] * v[j]
                s1 += row[j + 1] * v[j + 1]
                s2 += row[j + 2] * v[j + 2]
                s3 += row[j + 3] * v[j + 3]
            for j in range(quarter, m):
                s0 += row[j] * v[j]
            total = (s0 + s1) + (s2 + s3)
            errors[group] += abs(u[i] * total - a[i])
            scale = scaled(a[i], total) if a[i] > 0 else K.dtype.type(0)
            new_u[i] = scale
            for j in range(m):
                mine[j] += scale * row[j]
    low, high = np.inf, 0.0
    for j in range(m):
        total = K.dtype.type(0)
        for group in range(GROUPS):
            total += sums[group, j]
        new_v[j] = scaled(b[j], total) if b[j] > 0 else K.dtype.type(0)
        if b[j] > 0:
            low, high = min(low, new_v[j]), max(high, new_v[j])
            if not np.isfinite(new_v[j]):
                high = np.inf
    for i in range(n):
        if a[i] > 0:
            low, high = min(low, new_u[i]), max(high, new_u[i])
            if not np.isfinite(new_u[i]):
                high = np.inf
    return errors.sum(), low, high


@functools.cache
def kernels(parallel: bool) -> SimpleNamespace:
    """Return the compiled loops; waking the threads pays for large arrays only.

    Raises
    ------
    MissingExtraError
        Numba is not installed.
    """
    numba = require_numba()
    global prange
    prange = numba.prange
    numba.extending.register_jitable(scaled)
    return SimpleNamespace(scaling_pass=compile_loop(scaling_pass, parallel))
