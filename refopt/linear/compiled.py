"""The solvers' inner loops over CSR matrices: plain functions, compiled by Numba when it is asked for.

The elementwise rules (`advance`, `reduce_residual`, `next_direction`, `relax`) are the very functions
that the array engine calls on whole vectors.
"""

from __future__ import annotations

import functools
import types
from types import SimpleNamespace
from typing import Any

import numpy as np

from refopt.core.errors import missing_extra

Vector = Any

CHUNK = 512  # rows that stay in the innermost cache while the bands pass over them
BLOCK = 4096  # rows summed together: the partial sums, and so the bits, do not depend on the threads
prange: Any = range  # numba.prange once `kernels` has run: importing this module must not need Numba


def advance(x: Vector, p: Vector, alpha: Any) -> Vector:
    """Return the next iterate ``x + alpha p``."""
    return x + alpha * p


def reduce_residual(r: Vector, q: Vector, alpha: Any) -> Vector:
    """Return the next recursive residual ``r - alpha q`` with ``q = A p``."""
    return r - alpha * q


def next_direction(z: Vector, p: Vector, beta: Any) -> Vector:
    """Return the next direction ``z + beta p``."""
    return z + beta * p


def relax(x: Any, rest: Any, diagonal: Any, omega: Any) -> Any:
    """Return one relaxed unknown: ``rest`` is ``b_i - sum_j A_ij x_j`` over all j, the current x."""
    return x + omega * rest / diagonal


def csr_product(data: Vector, indices: Vector, indptr: Vector, p: Vector, q: Vector, partial: Vector) -> None:
    """Write ``q = A p`` and the blocks' shares of ``p^H q``; the indices are `unsigned`."""
    for block in prange(partial.size):
        low = np.int64(block * BLOCK)
        high = min(p.size, low + BLOCK)
        starts, own, out = indptr[low : high + 1], p[low:high], q[low:high]
        share = data.dtype.type(0)
        for i in range(out.size):
            total = data.dtype.type(0)
            for k in range(starts[i], starts[i + 1]):
                total += data[k] * p[indices[k]]
            out[i] = total
            share += np.conj(own[i]) * total
        partial[block] = share


def band_product(bands: Vector, offsets: Vector, p: Vector, q: Vector, partial: Vector) -> None:
    """Write ``q = A p`` and the blocks' shares of ``p^H q`` for a Hermitian A given by `refopt.linear.bands`.

    A row's terms are added in the order of their columns, as in `csr_product`.
    """
    n, count = p.size, offsets.size
    for block in prange(partial.size):
        end = min(n, (block + 1) * BLOCK)
        # Four sums: one alone would wait for itself.
        s0 = s1 = s2 = s3 = bands.dtype.type(0)
        for low in range(block * BLOCK, end, CHUNK):
            high = min(end, low + CHUNK)
            out, own, main = q[low:high], p[low:high], bands[0, low:high]
            for i in range(out.size):
                out[i] = 0
            for k in range(count - 1, 0, -1):
                first = max(low, offsets[k])
                if first < high:
                    left, there = bands[k, first - offsets[k] : high - offsets[k]], q[first:high]
                    other = p[first - offsets[k] : high - offsets[k]]
                    for i in range(other.size):
                        there[i] += np.conj(left[i]) * other[i]
            for i in range(out.size):
                out[i] += main[i] * own[i]
            for k in range(1, count):
                last = min(high, n - offsets[k])
                if last > low:
                    right, other = bands[k, low:last], p[low + offsets[k] : last + offsets[k]]
                    for i in range(other.size):
                        out[i] += right[i] * other[i]
            fours = out.size // 4 * 4
            for i in range(0, fours, 4):
                s0 += np.conj(own[i]) * out[i]
                s1 += np.conj(own[i + 1]) * out[i + 1]
                s2 += np.conj(own[i + 2]) * out[i + 2]
                s3 += np.conj(own[i + 3]) * out[i + 3]
            for i in range(fours, out.size):
                s0 += np.conj(own[i]) * out[i]
        partial[block] = (s0 + s1) + (s2 + s3)


def unsigned(indices: np.ndarray) -> np.ndarray:
    """View indices as unsigned: a compiled loop tests a signed one for being negative, 2.5 times the time."""
    return indices.view(np.dtype(f"u{indices.dtype.itemsize}"))


def residual_pass(r: Vector, q: Vector, alpha: Any, partial: Vector) -> None:
    """Apply `reduce_residual` in place and write the blocks' shares of ``r^H r``."""
    for block in prange(partial.size):
        share = r.dtype.type(0)
        for i in range(block * BLOCK, min(r.size, (block + 1) * BLOCK)):
            r[i] = reduce_residual(r[i], q[i], alpha)
            share += np.conj(r[i]) * r[i]
        partial[block] = share


def inner_pass(r: Vector, z: Vector, partial: Vector) -> None:
    """Write the blocks' shares of ``r^H z``."""
    for block in prange(partial.size):
        share = r.dtype.type(0)
        for i in range(block * BLOCK, min(r.size, (block + 1) * BLOCK)):
            share += np.conj(r[i]) * z[i]
        partial[block] = share


def direction_pass(x: Vector, p: Vector, z: Vector, alpha: Any, beta: Any) -> None:
    """Apply `advance` and `next_direction` in place, so that p is read once."""
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            x[i] = advance(x[i], p[i], alpha)
            p[i] = next_direction(z[i], p[i], beta)


def solve_factor(data: Vector, indices: Vector, indptr: Vector, scale: Vector, r: Vector, z: Vector) -> None:
    """Write ``z = (F F^H)^-1 r`` for a lower factor ``F = L D`` with unit diagonal of L, in CSR.

    `data` holds L's entries below the diagonal, each row's last place its unread diagonal; `scale` is ``1 / |D|^2``. No division
    is left for the next row to wait for.
    """
    n = r.size
    for i in range(n):
        total = r[i]
        for k in range(indptr[i], indptr[i + 1] - 1):
            total -= data[k] * z[indices[k]]
        z[i] = total
    for i in range(n):
        z[i] *= scale[i]
    for i in range(n - 1, -1, -1):
        value = z[i]
        for k in range(indptr[i], indptr[i + 1] - 1):
            z[indices[k]] -= np.conj(data[k]) * value


def solve_bands(bands: Vector, offsets: Vector, scale: Vector, r: Vector, z: Vector) -> None:
    """Do the same for an L given by its bands: ``bands[k, i] = L[i + offsets[k], i]``, ``bands[0]`` unread.

    Bands that reach beyond a chunk of rows are taken for the whole chunk at once: only the near ones make a row wait for the row
    before, and of a grid's matrix that is one, whose last value stays in a register.
    """
    n, count = r.size, offsets.size
    size = min(max(offsets[2], 32), CHUNK) if count > 2 else CHUNK
    near = 1
    while near < count and offsets[near] < size:
        near += 1
    alone = near == 2 and offsets[1] == 1
    chunks = (n + size - 1) // size
    carried = bands.dtype.type(0)
    for chunk in range(chunks):
        low, high = chunk * size, min(n, (chunk + 1) * size)
        z[low:high] = r[low:high]
        for k in range(count - 1, near - 1, -1):
            first = max(low, offsets[k])
            if first < high:
                there, other = z[first:high], z[first - offsets[k] : high - offsets[k]]
                band = bands[k, first - offsets[k] : high - offsets[k]]
                for i in range(other.size):
                    there[i] -= band[i] * other[i]
        if alone:
            there, band = z[low:high], bands[1, max(low - 1, 0) : high - 1]
            if low == 0:
                carried, there = there[0], there[1:]
            for i in range(there.size):
                carried = there[i] - band[i] * carried
                there[i] = carried
        elif near > 1:
            for i in range(low, high):
                total = z[i]
                for k in range(near - 1, 0, -1):
                    if i >= offsets[k]:
                        total -= bands[k, i - offsets[k]] * z[i - offsets[k]]
                z[i] = total
    carried = bands.dtype.type(0)
    for chunk in range(chunks - 1, -1, -1):
        low, high = chunk * size, min(n, (chunk + 1) * size)
        there, own = z[low:high], scale[low:high]
        for i in range(own.size):
            there[i] *= own[i]
        for k in range(count - 1, near - 1, -1):
            last = min(high, n - offsets[k])
            if low < last:
                there, other, band = z[low:last], z[low + offsets[k] : last + offsets[k]], bands[k, low:last]
                for i in range(other.size):
                    there[i] -= np.conj(band[i]) * other[i]
        if alone:
            there, band = z[low:high][::-1], bands[1, low:high][::-1]
            for i in range(there.size):
                # The last row's entry of the band is outside of the matrix, and 0.
                carried = there[i] - np.conj(band[i]) * carried
                there[i] = carried
        elif near > 1:
            for i in range(high - 1, low - 1, -1):
                total = z[i]
                for k in range(near - 1, 0, -1):
                    if i + offsets[k] < n:
                        total -= np.conj(bands[k, i]) * z[i + offsets[k]]
                z[i] = total


def sweep(
    data: Vector, indices: Vector, indptr: Vector, diagonal: Vector, b: Vector, x: Vector,
    omega: Any, backward: bool,
) -> None:  # fmt: skip
    """One SOR sweep in place, ascending or (`backward`) descending."""
    n = b.size
    for step in range(n):
        i = n - 1 - step if backward else step
        rest = b[i]
        for k in range(indptr[i], indptr[i + 1]):
            rest -= data[k] * x[indices[k]]
        x[i] = relax(x[i], rest, diagonal[i], omega)


def ic0_rows(data: Vector, indices: Vector, indptr: Vector) -> int:
    """Factor in place the lower triangle ``tril(A)`` in CSR; return -1, or the row of the bad pivot."""
    n = indptr.size - 1
    for i in range(n):
        begin, last = indptr[i], indptr[i + 1] - 1
        for k in range(begin, last + 1):
            j = indices[k]
            # L_ij = (A_ij - sum_{m<j} L_im conj(L_jm)) / L_jj, both rows sorted by column.
            total = data[k]
            s, t, end = begin, indptr[j], indptr[j + 1] - 1
            while s < k and t < end:
                if indices[s] == indices[t]:
                    total -= data[s] * np.conj(data[t])
                    s += 1
                    t += 1
                elif indices[s] < indices[t]:
                    s += 1
                else:
                    t += 1
            if k < last:
                data[k] = total / data[end]
            else:
                pivot = total.real
                if not (np.isfinite(pivot) and pivot > 0):
                    return i
                data[k] = np.sqrt(pivot)
    return -1


def compile_loop(function: Any, parallel: bool = False) -> Any:
    """Compile a loop and keep it on disk."""
    import numba

    # Numba's cache knows functions by name and not by options: the parallel form gets its own name.
    if parallel:
        twin = types.FunctionType(function.__code__, function.__globals__, f"{function.__name__}_parallel")
        twin.__module__, twin.__qualname__ = function.__module__, twin.__name__
        function = twin
    return numba.njit(cache=True, error_model="numpy", parallel=parallel)(function)


def require_numba() -> Any:
    """Import and return Numba.

    Raises
    ------
    MissingExtraError
        Numba is not installed.
    """
    try:
        import numba
    except ImportError:
        raise missing_extra("numba", "numba") from None
    return numba


@functools.cache
def kernels(parallel: bool = False) -> SimpleNamespace:
    """Return the compiled loops; waking the threads pays for long vectors only.

    Raises
    ------
    MissingExtraError
        Numba is not installed.
    """
    numba = require_numba()
    global prange
    prange = numba.prange
    for rule in (advance, reduce_residual, next_direction, relax):
        numba.extending.register_jitable(rule)
    blocks = (csr_product, band_product, residual_pass, inner_pass, direction_pass)
    serial = (solve_factor, solve_bands, sweep, ic0_rows)
    return SimpleNamespace(
        **{f.__name__: compile_loop(f, parallel) for f in blocks},
        **{f.__name__: compile_loop(f) for f in serial},
    )
