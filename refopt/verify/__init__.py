"""Hold any implementation against the reference, and say why it differs."""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

_HOMES = {
    "compare": "refopt.verify.compare",
    "Report": "refopt.verify.report",
    "diagnose": "refopt.verify.diagnose",
    "Diagnosis": "refopt.verify.diagnose",
    "deviations": "refopt.verify.deviations",
    "tapes": "refopt.verify.tapes",
    "Tape": "refopt.verify.tapes",
    "check_vectors": "refopt.verify.vectors",
    "make_vectors": "refopt.verify.vectors",
    "precision": "refopt.verify.precision",
    "program_side": "refopt.verify.program",
    "write_vectors": "refopt.verify.vectors",
}

__all__ = [
    "Diagnosis", "Report", "Tape", "check_vectors", "compare", "deviations", "diagnose", "make_vectors",
    "precision", "program_side", "tapes", "write_vectors",
]  # fmt: skip

if TYPE_CHECKING:
    from refopt.verify import deviations as deviations
    from refopt.verify.compare import compare
    from refopt.verify.diagnose import Diagnosis, diagnose
    from refopt.verify.precision import precision
    from refopt.verify.program import program_side
    from refopt.verify.report import Report
    from refopt.verify.tapes import Tape, tapes
    from refopt.verify.vectors import check_vectors, make_vectors, write_vectors


class _Front(types.ModuleType):
    """Keeps functions in front of the modules of their names, which every import would set in their place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and name != "deviations" and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Front


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'refopt.verify' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    # A function may have its module's name; the module does not take its place (_Front).
    value = module if name == "deviations" else getattr(module, name)
    globals()[name] = value
    return value
