"""Hold any implementation against the reference, and say why it differs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# No module here may have the name of a function below: importing it would replace the function.
_HOMES = {
    "compare": "refopt.verify.comparison",
    "Report": "refopt.verify.report",
    "diagnose": "refopt.verify.diagnosis",
    "Diagnosis": "refopt.verify.diagnosis",
    "deviations": "refopt.verify.deviations",
    "Tape": "refopt.verify.tapes",
    "check_vectors": "refopt.verify.vectors",
    "make_vectors": "refopt.verify.vectors",
    "precision": "refopt.verify.exactness",
    "program_side": "refopt.verify.program",
    "write_vectors": "refopt.verify.vectors",
}

__all__ = [
    "Diagnosis", "Report", "Tape", "check_vectors", "compare", "deviations", "diagnose", "make_vectors",
    "precision", "program_side", "write_vectors",
]  # fmt: skip

if TYPE_CHECKING:
    from refopt.verify import deviations as deviations
    from refopt.verify.comparison import compare
    from refopt.verify.diagnosis import Diagnosis, diagnose
    from refopt.verify.exactness import precision
    from refopt.verify.program import program_side
    from refopt.verify.report import Report
    from refopt.verify.tapes import Tape
    from refopt.verify.vectors import check_vectors, make_vectors, write_vectors


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'refopt.verify' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    value = module if name == "deviations" else getattr(module, name)
    globals()[name] = value
    return value
