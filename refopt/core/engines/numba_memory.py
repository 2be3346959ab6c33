"""What compiled loops know of memory: array headers read in compiled code, and pieces of leaves.

A step over many leaves is one call. Handing Numba every array as an argument of its own would need
another compilation for another number of leaves, and 60 to 100 ns an array; so a loop is given the
addresses of the array objects (``id``) and reads data pointer, shape, dtype and flags from NumPy's
header itself. That layout is NumPy's C ABI (``PyArrayObject_fields``), which extension modules read
through inlined macros; `headers_are_readable` holds it against NumPy's own answers all the same, and
where it fails the addresses are asked for one by one.
"""

from __future__ import annotations

import ctypes
import functools
import types as python_types
from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

HEAD = object.__basicsize__  # of every Python object: reference count and type
TYPE, DATA, NDIM, DIMS, DTYPE, FLAGS = HEAD - 8, HEAD, HEAD + 8, HEAD + 16, HEAD + 40, HEAD + 48
# Where the content of a bytes object begins; its size counts the closing zero.
CONTENT = bytes.__basicsize__ - 1
READ, WRITE = 0x1 | 0x100, 0x1 | 0x100 | 0x400  # C-contiguous and aligned; writeable besides

# Elements a piece: of x, gradient and four slots in float64 a piece fills 100 kB, well inside a core's
# cache, so that copying a piece before it is overwritten costs no second way to memory.
PIECE = 2048


@njit(error_model="numpy", forceinline=True)
def select(condition: Any, yes: Any, no: Any) -> Any:
    """Return one of two numbers: `where` of scalars."""
    return yes if condition else no


@functools.cache
def scalar_namespace() -> Any:
    """Return NumPy's namespace for rules of scalars.

    Numba's ``numpy.where`` makes arrays of no dimensions of its arguments: three allocations an element
    (measured: 110 ns an element in place of 1.5).
    """
    namespace = python_types.ModuleType("refopt_scalar_namespace")
    namespace.__dict__.update(np.__dict__, where=select)
    return namespace


@intrinsic
def pointer(typing_context: Any, address: Any, like: Any) -> Any:
    """Return `address` as a pointer to numbers of the type of `like`."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(like)(types.intp, like), build


@intrinsic
def copy_bytes(typing_context: Any, to: Any, source: Any, count: Any) -> Any:
    """Copy `count` bytes between two addresses whose ranges do not overlap."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, source = (builder.inttoptr(a, cgutils.voidptr_t) for a in arguments[:2])
        cgutils.raw_memcpy(builder, to, source, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), build


@njit(error_model="numpy")
def word(address: int) -> int:
    """Return the 64-bit integer at `address`."""
    return carray(pointer(address, np.int64(0)), 1)[0]


@njit(error_model="numpy")
def half(address: int) -> int:
    """Return the 32-bit integer at `address`."""
    return carray(pointer(address, np.int32(0)), 1)[0]


@njit(error_model="numpy")
def length(array: int) -> int:
    """Return the number of elements of the array object at `array`."""
    size = 1
    dims = word(array + DIMS)
    for axis in range(half(array + NDIM)):
        size *= word(dims + 8 * axis)
    return size


@njit(error_model="numpy")
def alike(array: int, other: int) -> bool:
    """Tell whether the array objects at two addresses have one shape."""
    if half(array + NDIM) != half(other + NDIM):
        return False
    dims, others = word(array + DIMS), word(other + DIMS)
    for axis in range(half(array + NDIM)):  # noqa: SIM110  compiled: no generators
        if word(dims + 8 * axis) != word(others + 8 * axis):
            return False
    return True


@njit(error_model="numpy")
def number(address: int) -> float:
    """Return the 64-bit floating-point number at `address`."""
    return carray(pointer(address, np.float64(0)), 1)[0]


@njit(error_model="numpy")
def look(table: int, leaves: int, inputs: int, places: Any, sizes: Any) -> bool:
    """Write the leaves' addresses and sizes; False if some array is not plain, or not like x.

    Parameters
    ----------
    table : int
        Address of 64-bit integers: the type ``numpy.ndarray``, the dtype, and array objects, column
        after column: the leaves of x, gradient, slots, and of what is written. Or, if the first
        is 0: ``0, 0``, the sizes, and data addresses in the same order.
    leaves, inputs : int
        Leaves, and columns that are only read.
    places : array of int64, shape (columns, leaves)
    sizes : array of int64, shape (leaves,)
    """
    kind, dtype = word(table), word(table + 8)
    table += 16
    first = table
    if kind == 0:
        for leaf in range(leaves):
            sizes[leaf] = word(table + 8 * leaf)
        table += 8 * leaves
    for column in range(places.shape[0]):
        wanted = READ if column < inputs else WRITE
        for leaf in range(leaves):
            array = word(table)
            table += 8
            if kind == 0:
                places[column, leaf] = array
                continue
            if word(array + TYPE) != kind or word(array + DTYPE) != dtype:
                return False
            if half(array + FLAGS) & wanted != wanted:
                return False
            if column == 0:
                sizes[leaf] = length(array)
            elif not alike(array, word(first + 8 * leaf)):
                return False
            places[column, leaf] = word(array + DATA)
    return True


@njit(error_model="numpy")
def pieces(sizes: Any) -> int:
    """Return how many pieces all leaves have."""
    total = 0
    for size in sizes:
        total += (size + PIECE - 1) // PIECE
    return total


@functools.cache
def headers_are_readable() -> bool:
    """Tell whether array headers lie as this module reads them, by NumPy's own answers."""
    a = np.arange(6.0).reshape(2, 3)[:, :2]
    at = id(a)
    dims = ctypes.c_void_p.from_address(at + DIMS).value or 0
    content = b"refopt"
    return (
        ctypes.string_at(id(content) + CONTENT, len(content)) == content
        and ctypes.sizeof(ctypes.c_void_p) == 8
        and ctypes.c_int64.from_address(at + TYPE).value == id(np.ndarray)
        and ctypes.c_int64.from_address(at + DATA).value == a.ctypes.data
        and ctypes.c_int32.from_address(at + NDIM).value == 2
        and [ctypes.c_int64.from_address(dims + 8 * k).value for k in range(2)] == [2, 2]
        and ctypes.c_int64.from_address(at + DTYPE).value == id(a.dtype)
        and ctypes.c_int32.from_address(at + FLAGS).value == a.flags.num
    )
