"""The CuPy engine: the rule fused into one kernel a leaf by ``cupy.fuse``."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import Array
from refopt.core.engines.numba_cache import with_literals
from refopt.core.errors import ArgumentTypeError, missing_extra

_kernels: dict[Any, Any] = {}


def run(method: Any, arrays: list[Array], leaves: int, scalars: list[float], donate: bool) -> list[Array]:
    """Apply the rule to each leaf as one fused kernel; see `refopt.core.engines.Engine`."""
    try:
        import cupy
    except ImportError:
        raise missing_extra("cupy", "cupy") from None
    rows = []
    for k in range(leaves):
        leaf = arrays[k::leaves]
        if not isinstance(leaf[0], cupy.ndarray):
            raise ArgumentTypeError(
                f"engine 'cupy': wanted CuPy arrays, got {type(leaf[0]).__module__} arrays"
            )
        # Scalars and literals in the array's dtype: a float64 one would widen a float32 kernel.
        element = leaf[0].dtype.type
        kernel = _kernels.get((method, element))
        if kernel is None:
            rule = method.rule(cupy)
            rule.__code__ = with_literals(rule.__code__, element)
            kernel = _kernels[method, element] = cupy.fuse(rule)
        rows.append(kernel(*leaf, *map(element, scalars)))
    return [a for column in zip(*rows) for a in column]
