"""What the problems share: checks of points and batches, rows of the data, real parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
from refopt.core.arrays import Array, is_array, like, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError, ConvergenceError, DtypeError, ShapeError
from refopt.core.params import Params, leaves
from refopt.core.problem import Problem
from refopt.problems.blocks import is_blocks


def frozen(values: Any) -> Any:
    """Return a read-only float64 copy, of a sparse matrix in CSR: a problem's data never changes. Blocks stay as they are."""
    if is_blocks(values):
        return values
    if scipy.sparse.issparse(values):
        csr = scipy.sparse.csr_array(values, dtype=np.float64, copy=True)
        csr.sum_duplicates()
        for part in (csr.data, csr.indices, csr.indptr):
            part.flags.writeable = False
        return csr
    out = np.array(values, dtype=np.float64)
    out.flags.writeable = False
    return out


def check_point(x: Any, shapes: Mapping[str, tuple[int, ...]], name: str = "x") -> Params:
    """Raise unless `x` is floating-point (real or complex) of the wanted structure and shapes.

    Raises
    ------
    ArgumentTypeError, DtypeError, ShapeError
    """
    if isinstance(x, dict) == ("" in shapes):
        wanted = "one array" if "" in shapes else f"a dict with {', '.join(shapes)}"
        raise ArgumentTypeError(f"{name}: wanted {wanted}, got {type(x).__qualname__}")
    got = leaves(x)
    if got.keys() != shapes.keys():
        raise ShapeError(f"{name}: wanted the names {', '.join(shapes)}, got {', '.join(map(str, got))}")
    for key, shape in shapes.items():
        leaf, label = got[key], f"{name}[{key!r}]" if key else name
        if not is_array(leaf):
            raise ArgumentTypeError(f"{label}: wanted an array, got {type(leaf).__qualname__}")
        if tuple(leaf.shape) != shape:
            raise ShapeError(f"{label}: wanted shape {shape}, got {tuple(leaf.shape)}")
        if not namespace(leaf).isdtype(leaf.dtype, ("real floating", "complex floating")):
            raise DtypeError(f"{label}: wanted a floating-point dtype, got {leaf.dtype}")
    return x


def check_batch(batch: Any, n: int | None) -> None:
    """Raise unless `batch` is None or a non-empty vector of NumPy indices in [0, n).

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError
    """
    if batch is None:
        return
    if n is None:
        raise ArgumentError("batch: this problem is not a sum over examples; leave it None")
    if not isinstance(batch, np.ndarray) or batch.dtype.kind not in "iu":
        what = f"dtype {batch.dtype}" if isinstance(batch, np.ndarray) else type(batch).__qualname__
        raise ArgumentTypeError(f"batch: wanted a NumPy array of integers or None, got {what}")
    if batch.ndim != 1 or batch.size == 0:
        raise ShapeError(f"batch: wanted a non-empty vector of indices, got shape {batch.shape}")
    if batch.min() < 0 or batch.max() >= n:
        raise ArgumentError(f"batch: wanted indices in [0, {n}), got {batch.min()} to {batch.max()}")


def rows(problem: Problem, name: str, x: Params, batch: np.ndarray | None) -> Array:
    """Return the rows `batch` of the data `problem.<name>`, in the library and dtype of `x`; of blocks, those that have them."""
    data = problem._data(name, x)
    if batch is None:
        return data
    if isinstance(data, np.ndarray) or scipy.sparse.issparse(data) or is_blocks(data):
        return data[batch]
    xp = namespace(data)
    return xp.take(data, like(batch, data, dtype=xp.int64), axis=0)


def dense(a: Any) -> Array:
    """Return rows of data as an array, where they are sparse: a batch's, for what has no zeros."""
    return a.toarray() if scipy.sparse.issparse(a) else a


def count(problem: Problem, batch: np.ndarray | None) -> int:
    """Return the number of examples that a call looks at."""
    return (problem.n_examples or 1) if batch is None else int(batch.size)


def real_part(a: Array) -> Array:
    """Return the real part; real arrays pass unchanged (complex ones come from a complex step)."""
    xp = namespace(a)
    return xp.real(a) if xp.isdtype(a.dtype, "complex floating") else a


def square(x: Params) -> Array:
    """Return the sum of the squares of all entries, without conjugation, as a 0-d array."""
    return product(x, x)


def product(x: Params, y: Params) -> Array:
    """Return the sum of the products of all entries, without conjugation, as a 0-d array."""
    other = leaves(y)
    parts = [namespace(leaf).sum(leaf * other[key]) for key, leaf in leaves(x).items()]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def lower_minimum(problem: Any, upper: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the lower player's answer to `upper`, NumPy, by Newton's method from `start` with halved steps.

    Raises
    ------
    ConvergenceError
        The gradient is not 1e-12 of its size at the start after 100 steps.
    """

    def slope(y: np.ndarray) -> np.ndarray:
        return problem.lower_grad({"upper": upper, "lower": y})["lower"]

    y, g = start, slope(start)
    small = 1e-12 * np.linalg.norm(g)
    for _ in range(100):
        size = np.linalg.norm(g)
        if size <= small:
            return y
        d, step = -_solved(problem.hessian({"upper": upper, "lower": y}), g), 1.0
        # Near the minimum values no longer tell; the gradient does.
        while np.linalg.norm(new := slope(y + step * d)) > (1.0 - 0.1 * step) * size and step > 1e-6:
            step /= 2.0
        y, g = y + step * d, new
    raise ConvergenceError("response: Newton's method did not reach the lower minimum in 100 steps")


def dense_hypergradient(problem: Any, upper: np.ndarray) -> np.ndarray:
    """Return the derivative of F(x, y*(x)) where F has no x of its own, NumPy: ``-∇²_xy f H⁻¹ ∇_y F``, by the dense Hessian."""
    x = {"upper": upper, "lower": problem.response(upper)}
    return -problem.lower_mixed(x, _solved(problem.hessian(x), problem.upper_grad(x)["lower"]))


def _solved(H: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.linalg.solve(H, g.ravel()).reshape(g.shape)
