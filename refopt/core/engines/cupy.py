"""The CuPy engine: the rule fused into one kernel a leaf by ``cupy.fuse``."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import Array
from refopt.core.errors import ArgumentTypeError, missing_extra

_kernels: dict[Any, Any] = {}


def run(method: Any, arrays: list[Array], leaves: int, scalars: list[float], donate: bool) -> list[Array]:
    """Apply the rule to each leaf as one fused kernel; see `refopt.core.engines.Engine`."""
    try:
        import cupy
    except ImportError:
        raise missing_extra("cupy", "cupy") from None
    kernel = _kernels.get(method)
    if kernel is None:
        kernel = _kernels[method] = cupy.fuse(method.rule(cupy))
    rows = []
    for k in range(leaves):
        leaf = arrays[k::leaves]
        if not isinstance(leaf[0], cupy.ndarray):
            raise ArgumentTypeError(
                f"engine 'cupy': wanted CuPy arrays, got {type(leaf[0]).__module__} arrays"
            )
        # Scalars in the array's dtype: a float64 scalar would widen a float32 kernel.
        typed = [leaf[0].dtype.type(s) for s in scalars]
        rows.append(kernel(*leaf, *typed))
    return [a for column in zip(*rows) for a in column]
