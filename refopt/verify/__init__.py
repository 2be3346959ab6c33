"""Hold any implementation against the reference, and say why it differs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "compare": "refopt.verify.compare",
    "Report": "refopt.verify.report",
    "diagnose": "refopt.verify.diagnose",
    "Diagnosis": "refopt.verify.diagnose",
    "deviations": "refopt.verify.deviations",
    "tapes": "refopt.verify.tapes",
    "Tape": "refopt.verify.tapes",
}

__all__ = ["Diagnosis", "Report", "Tape", "compare", "deviations", "diagnose", "tapes"]

if TYPE_CHECKING:
    from refopt.verify import deviations as deviations
    from refopt.verify.compare import compare
    from refopt.verify.diagnose import Diagnosis, diagnose
    from refopt.verify.report import Report
    from refopt.verify.tapes import Tape, tapes


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'refopt.verify' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    # A function may have its module's name; the import has set the module as the attribute.
    value = module if name == "deviations" else getattr(module, name)
    globals()[name] = value
    return value
