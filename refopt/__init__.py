"""refopt: what an optimizer, curvature approximation, matrix function or solver exactly computes.

Everything public is reached from here; modules load when they are first used, so that
``import refopt`` costs little more than NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_LAZY = {
    "bibliography": "refopt.core.registry",
    "get": "refopt.core.registry",
    "methods": "refopt.core.registry",
    "manifold": "refopt.manifolds.base",
    "minimize": "refopt.driver",
    "optimizer": "refopt.core.build",
    "problem": "refopt.core.build",
    "schedule": "refopt.core.build",
    "as_optax": "refopt.adapters.optax",
    "as_torch": "refopt.adapters.torch",
    "from_functions": "refopt.adapters.functions",
    "from_jax": "refopt.adapters.jax",
    "from_torch": "refopt.adapters.torch",
    "scipy_method": "refopt.adapters.scipy",
    "Sweep": "refopt.sweeps.result",
    "sweep": "refopt.sweeps.running",
}
_MODULES = (
    "curvature", "matrix", "linear", "transport", "problems", "optimizers", "schedules", "wrappers", "verify", "sweeps",
)  # fmt: skip

__all__ = [
    "__version__", "as_optax", "as_torch", "bibliography", "curvature", "errors", "from_functions", "from_jax", "from_torch", "get",
    "manifold", "methods", "minimize", "optimizer", "problem", "schedule", "scipy_method", "Sweep", "sweep",
]  # fmt: skip

if TYPE_CHECKING:
    from refopt import curvature as curvature
    from refopt.adapters.functions import from_functions
    from refopt.adapters.jax import from_jax
    from refopt.adapters.optax import as_optax
    from refopt.adapters.scipy import scipy_method
    from refopt.adapters.torch import as_torch, from_torch
    from refopt.core import errors as errors
    from refopt.core.build import optimizer, problem, schedule
    from refopt.core.registry import bibliography, get, methods
    from refopt.driver import minimize
    from refopt.manifolds.base import manifold
    from refopt.sweeps.result import Sweep
    from refopt.sweeps.running import sweep


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
    elif name == "errors":
        value = importlib.import_module("refopt.errors")
    elif name in _MODULES:
        value = importlib.import_module(f"refopt.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("refopt")
    else:
        raise AttributeError(f"module 'refopt' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
