"""The zoo: problems with exact derivatives. Imported as ``refopt.problems``."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def __getattr__(name: str) -> Any:
    """Find a problem's class by its name, so that no list of them has to be kept."""
    if name[:1].isupper():
        for module in pkgutil.iter_modules(__path__):
            found = getattr(importlib.import_module(f"{__name__}.{module.name}"), name, None)
            if hasattr(found, "registered_name"):
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
