"""A Hermitian matrix by its bands: the main diagonal and those above it, where there are few.

A grid's matrix has a handful of bands. Stored so, it takes a third of the memory traffic of CSR: no indices, and
one triangle.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from refopt.linear.compiled import compile_loop

MOST = 8  # bands
LEAST_ROWS = 50_000  # below that the search costs more than it saves


def gather(data: Any, indices: Any, indptr: Any, offsets: Any, bands: Any, triangle: bool) -> int:
    """Write the bands of the upper triangle and their distances from the diagonal, as they turn up.

    The matrix is Hermitian, or, a `triangle`, nothing but its upper one.

    Returns
    -------
    int
        The number of bands; -1 if there are more than places for them, or if the lower triangle is not the
        upper one's mirror, exactly (or not empty).
    """
    found = 1  # the diagonal, offsets[0] = 0
    upper = lower = 0
    for i in range(indptr.size - 1):
        for k in range(indptr[i], indptr[i + 1]):
            j = np.int64(indices[k])
            distance = abs(j - i)
            m = 0
            while m < found and offsets[m] != distance:
                m += 1
            if m == found:
                if j < i or found == offsets.size:
                    return -1
                offsets[found] = distance
                found += 1
            if j >= i:
                bands[m, i] = data[k]
                upper += int(j > i)
            else:  # row j < i is there already
                lower += 1
            if j <= i and np.conj(bands[m, j]) != data[k]:
                return -1
    return found if lower == (0 if triangle else upper) else -1


@functools.cache
def _gather() -> Any:
    return compile_loop(gather)


def bands_of(csr: Any, *, triangle: bool = False) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the bands of a large Hermitian matrix, if it has few and they are mostly full.

    Parameters
    ----------
    csr : scipy.sparse.csr_array
    triangle : bool
        The matrix is upper triangular.

    Returns
    -------
    bands : (m, n) array
        ``bands[k, i] = A[i, i + offsets[k]]``.
    offsets : (m,) array of int
        Ascending, from 0.
    """
    n = csr.shape[0]
    if n < LEAST_ROWS or not csr.has_canonical_format:
        return None
    offsets = np.zeros(MOST, dtype=np.int64)
    bands = np.zeros((MOST, n), dtype=csr.dtype)  # rows that are never written take no memory
    count = _gather()(csr.data, csr.indices, csr.indptr, offsets, bands, triangle)
    if count < 0 or 2 * csr.nnz < (count if triangle else 2 * count - 1) * n:
        return None
    order = np.argsort(offsets[:count])
    if np.all(np.diff(order) > 0):
        return bands[:count], offsets[:count]
    return bands[order], offsets[order]
