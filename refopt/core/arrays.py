"""Arrays of any array-API library: namespaces, dtypes, conversion and checks."""

from __future__ import annotations

import cmath
import math
import threading
from collections.abc import Callable
from typing import Any

import array_api_compat
import array_api_compat.numpy
import numpy as np

from refopt.core.errors import ArgumentError, ArgumentTypeError, DtypeError, NonFiniteError, ShapeError

Array = Any
Namespace = Any


class _Checking(threading.local):
    """Whether values are looked at: what a matrix function's ``check=False`` turns off, in its thread alone."""

    on = True


CHECKING = _Checking()


# The namespace of each type of array that was met: asking array-api-compat costs as much as a small sum.
_spaces: dict[type, Namespace] = {np.ndarray: array_api_compat.numpy}
_kinds: dict[tuple[type, Any, str], bool] = {}


def namespace(*arrays: Array) -> Namespace:
    """Return the array-API namespace shared by `arrays` (Python scalars are ignored)."""
    if len(arrays) > 1:
        return array_api_compat.array_namespace(*arrays)
    kind = type(arrays[0])
    found = _spaces.get(kind)
    if found is None:
        found = array_api_compat.array_namespace(*arrays)
        if is_array(arrays[0]):
            _spaces[kind] = found
    return found


def is_array(value: Any) -> bool:
    """Tell whether `value` is an array of a library that array-api-compat knows (masked arrays are none)."""
    if type(value) in _spaces:
        return True
    return bool(array_api_compat.is_array_api_obj(value)) and not isinstance(value, np.ma.MaskedArray)


def is_floating(array: Array) -> bool:
    """Tell whether `array` holds real floating-point numbers."""
    return _is_of(array, "real floating")


def is_complex(array: Array) -> bool:
    """Tell whether `array` holds complex numbers."""
    return _is_of(array, "complex floating")


def _is_of(array: Array, kind: str) -> bool:
    key = (type(array), array.dtype, kind)
    found = _kinds.get(key)
    if found is None:
        found = _kinds[key] = bool(namespace(array).isdtype(array.dtype, kind))
    return found


def itemsize_eps(array: Array) -> float:
    """Return the machine epsilon of the array's dtype."""
    return float(namespace(array).finfo(array.dtype).eps)


def to_numpy(array: Array) -> np.ndarray:
    """Copy or view `array` as a NumPy array on the host."""
    if isinstance(array, np.ndarray):
        return array
    if array_api_compat.is_torch_array(array):
        return array.detach().cpu().numpy()
    if array_api_compat.is_cupy_array(array):
        return array.get()
    if hasattr(array, "_array"):  # array-api-strict
        return np.asarray(array._array)
    return np.asarray(array)


def like(values: Any, reference: Array, *, dtype: Any = None) -> Array:
    """Return `values` (NumPy or nested lists) in the namespace, device and dtype of `reference`.

    `dtype` overrides the dtype; pass a namespace's integer dtype for indices.
    """
    xp = namespace(reference)
    device = array_api_compat.device(reference)
    if dtype is None:
        dtype = reference.dtype
    if array_api_compat.is_torch_array(reference):
        values = np.array(values)  # torch warns on read-only memory
    return xp.asarray(values, dtype=dtype, device=device)


def put(a: Array, index: Any, values: Array) -> Array:
    """Return `a`, which is its caller's own, with `values` at `index`; a new array where arrays do not change (JAX)."""
    if array_api_compat.is_jax_array(a):
        return a.at[index].set(values)
    a[index] = values
    return a


def eye_like(A: Array, n: int | None = None) -> Array:
    """Return the identity of `A`'s dtype and device, of order `n` (default: `A`'s columns)."""
    xp = namespace(A)
    return xp.eye(A.shape[-1] if n is None else n, dtype=A.dtype, device=array_api_compat.device(A))


def norm(array: Array) -> float:
    """Return the Euclidean norm of all entries as a Python float; no square over- or underflows on the way."""
    xp = namespace(array)

    def squares(unit: float) -> float:
        part = array if unit == 1.0 else array / unit
        part = xp.abs(part) if xp.isdtype(part.dtype, "complex floating") else part
        return float(xp.sum(part * part))

    return safe_root(squares, lambda: float(xp.max(xp.abs(array))), array.dtype, xp)


def lengths(a: Array, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False) -> Array:
    """Return Euclidean norms along `axis` (of all entries for None) as an array; no square over- or underflows."""
    xp = namespace(a)
    with np.errstate(over="ignore", under="ignore"):
        total = xp.sum(a * a, axis=axis, keepdims=keepdims)
        if getattr(a.dtype, "kind", "") == "O":  # exact numbers have no range
            return xp.sqrt(total)
        least = float(xp.finfo(a.dtype).smallest_normal) / float(xp.finfo(a.dtype).eps) ** 2
        usual = (total >= least) & (total < math.inf)
        if bool(xp.all(usual)) or not math.prod(a.shape):
            return xp.sqrt(total)
        unit = xp.max(xp.abs(a), axis=axis, keepdims=True)
        unit = xp.where((unit > 0.0) & (unit < math.inf), unit, xp.ones_like(unit))
        part = a / unit
        rest = xp.sqrt(xp.sum(part * part, axis=axis, keepdims=keepdims)) * xp.reshape(unit, total.shape)
        return xp.where(usual, xp.sqrt(xp.where(usual, total, xp.ones_like(total))), rest)


def safe_root(
    squares: Callable[[float], float], largest: Callable[[], float], dtype: Any, xp: Namespace
) -> float:
    """Return the root of a sum of squares in `dtype`, in other units where squares leave its range.

    Parameters
    ----------
    squares : callable
        ``squares(unit)``: the sum of squares of the entries over `unit`.
    largest : callable
        Returns the largest absolute value.
    dtype
        Of the entries.
    xp : namespace
    """
    if getattr(dtype, "kind", "") == "O":  # exact numbers have no range
        return math.sqrt(squares(1.0))
    info = xp.finfo(dtype)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        total = squares(1.0)
        # Squares below the smallest normal number lose digits; with enough above them that is nothing.
        if float(info.smallest_normal) / float(info.eps) ** 2 <= total < math.inf:
            return math.sqrt(total)
        top = largest()
        if top == 0.0 or not math.isfinite(top):
            return top
        # A power of two, so that nothing is rounded, and one that the dtype holds.
        unit = 2.0 ** (math.frexp(top)[1] - 1)
        return unit * math.sqrt(squares(unit))


def detached(a: Array) -> Array:
    """Return a torch tensor without its graph: a step is no part of what is differentiated; others as they are."""
    return a.detach() if getattr(a, "requires_grad", False) else a


_smallest: dict[tuple[type, Any], float] = {}


def smallest(a: Array) -> float:
    """Return a positive number that the dtype of `a` can just hold: its smallest normal one, in float16 subnormal."""
    key = (type(a.dtype), a.dtype)  # dtypes of two libraries are not to be compared
    found = _smallest.get(key)
    if found is None:
        if getattr(a.dtype, "kind", "") == "O":  # exact numbers: as small as any
            return 0.0
        info = namespace(a).finfo(a.dtype)
        found = float(info.smallest_normal)
        found = _smallest[key] = found if found < 1e-30 else found * float(info.eps)
    return found


def all_finite(array: Array) -> bool:
    """Tell whether every entry of `array` is finite; where nothing is to be looked at, say so."""
    if not CHECKING.on:
        return True
    if type(array) is np.ndarray and array.dtype.kind == "f" and array.flags.c_contiguous:
        flat = array.reshape(-1)
        # One pass of BLAS; a sum of squares may overflow though all is finite, so only True is final.
        with np.errstate(over="ignore", invalid="ignore"):
            if math.isfinite(np.dot(flat, flat)):
                return True
    xp = namespace(array)
    # Of torch's, a sum likewise: its `isfinite` makes four arrays.
    if array_api_compat.is_torch_array(array) and cmath.isfinite(detached(array).sum().item()):
        return True
    return bool(xp.all(xp.isfinite(array)))


def check_array(
    value: Any,
    name: str,
    *,
    ndim: int | None = None,
    shape: tuple[int, ...] | None = None,
    finite: bool = True,
    complex_ok: bool = False,
    min_ndim: int = 0,
) -> Array:
    """Return `value` as a floating-point array, or raise an error that names `name`.

    Lists and Python numbers become float64 NumPy arrays; arrays keep their library and dtype.

    Raises
    ------
    ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
        Not an array; integer, boolean or (unless `complex_ok`) complex; wrong shape; NaN or
        infinity where `finite` is asked for.
    """
    if not is_array(value):
        if isinstance(value, (list, tuple, float)):
            try:
                value = np.asarray(value, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise ArgumentTypeError(f"{name}: cannot be read as an array ({error})") from None
        elif isinstance(value, np.generic):
            value = np.asarray(value)
        else:
            hint = "; fill in what is masked first" if isinstance(value, np.ma.MaskedArray) else ""
            raise ArgumentTypeError(
                f"{name}: wanted an array, got {type(value).__module__}.{type(value).__qualname__}{hint}"
            )
    if isinstance(value, np.ndarray) and not value.dtype.isnative:
        raise DtypeError(
            f"{name}: its bytes are not in this machine's order ({value.dtype.str}); convert it first, for example"
            " with .astype(value.dtype.newbyteorder('='))"
        )
    # torch's alone: sparse ones, which hardly a routine takes, and those of shapes without values.
    if (layout := getattr(value, "layout", None)) is not None and not str(layout).endswith("strided"):
        raise ArgumentTypeError(
            f"{name}: wanted a dense array, got a tensor of layout {layout}; take .to_dense()"
        )
    if getattr(value, "is_meta", False):
        raise ArgumentTypeError(f"{name}: wanted an array with values, got a tensor on the device 'meta'")
    xp = namespace(value)
    kinds = ("real floating", "complex floating") if complex_ok else ("real floating",)
    if not xp.isdtype(value.dtype, kinds):
        raise DtypeError(
            f"{name}: wanted a {' or '.join(kinds)} dtype, got {value.dtype}; convert it first, for"
            " example with .astype('float64')"
        )
    if ndim is not None and value.ndim != ndim:
        raise ShapeError(f"{name}: wanted {ndim} dimensions, got shape {tuple(value.shape)}")
    if value.ndim < min_ndim:
        raise ShapeError(f"{name}: wanted at least {min_ndim} dimensions, got shape {tuple(value.shape)}")
    if shape is not None and tuple(value.shape) != tuple(shape):
        raise ShapeError(f"{name}: wanted shape {tuple(shape)}, got {tuple(value.shape)}")
    if finite and not all_finite(value):
        raise NonFiniteError(f"{name}: contains NaN or infinity")
    return value


def check_square(value: Any, name: str, **kwargs: Any) -> Array:
    """`check_array` for a matrix or a stack of matrices (..., n, n)."""
    value = check_array(value, name, min_ndim=2, **kwargs)
    if value.shape[-1] != value.shape[-2]:
        raise ShapeError(f"{name}: wanted square matrices (..., n, n), got shape {tuple(value.shape)}")
    if value.shape[-1] == 0:
        raise ShapeError(f"{name}: is empty, shape {tuple(value.shape)}")
    return value


def check_symmetric(value: Any, name: str, **kwargs: Any) -> Array:
    """`check_square`, and the matrix equals its (conjugate) transpose to rounding."""
    value = check_square(value, name, **kwargs)
    if not CHECKING.on:
        return value
    xp = namespace(value)
    other = xp.matrix_transpose(value)
    if xp.isdtype(value.dtype, "complex floating"):
        other = xp.conj(other)
    scale = float(xp.max(xp.abs(detached(value))))
    gap = float(xp.max(xp.abs(detached(value - other))))
    if gap > 64 * float(xp.finfo(value.dtype).eps) * scale:
        raise ArgumentError(
            f"{name}: wanted a symmetric matrix, got one that differs from its transpose by"
            f" {gap:.3g} (largest entry {scale:.3g}); symmetrise it first: (A + A.T) / 2"
        )
    return value
