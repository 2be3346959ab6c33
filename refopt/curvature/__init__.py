"""Curvature at a point: Hessian, Gauss-Newton, Fisher and their approximations, with one interface.

``refopt.curvature(name, problem, x)`` calls this room: see `refopt.curvature.base.curvature`.
"""

from __future__ import annotations

import sys
import types
from typing import Any


class _Room(types.ModuleType):
    """The room has the name of the function that builds what is in it."""

    def __call__(self, name: str, problem: Any, x: Any, batch: Any = None, **options: Any) -> Any:
        from refopt.curvature.base import curvature

        return curvature(name, problem, x, batch, **options)


sys.modules[__name__].__class__ = _Room
