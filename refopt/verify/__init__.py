"""Hold any implementation against the reference, and say why it differs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# No module here may have the name of a function below: importing it would replace the function.
_HOMES = {
    "compare": "refopt.verify.comparison",
    "Report": "refopt.verify.report",
    "diagnose": "refopt.verify.diagnosis",
    "fingerprint": "refopt.verify.measuring",
    "Fingerprint": "refopt.verify.measuring",
    "Diagnosis": "refopt.verify.report",
    "Tape": "refopt.verify.inputs.tapes",
    "check_vectors": "refopt.vectors.exact_runs",
    "make_vectors": "refopt.vectors.exact_runs",
    "precision": "refopt.precision.rounding_errors",
    "program_side": "refopt.verify.sides.program",
    "write_vectors": "refopt.vectors.exact_runs",
}

# Modules that documentation named by these paths before they had rooms.
_MODULES = {
    "deviations": "refopt.verify.variants.deviation",
    "tapes": "refopt.verify.inputs.tapes",
    "courses": "refopt.verify.inputs.problems",
}

__all__ = [
    "Diagnosis", "Fingerprint", "Report", "Tape", "check_vectors", "compare", "deviations", "diagnose", "fingerprint", "make_vectors",
    "precision", "program_side", "write_vectors",
]  # fmt: skip

if TYPE_CHECKING:
    from refopt.precision.rounding_errors import precision
    from refopt.vectors.exact_runs import check_vectors, make_vectors, write_vectors
    from refopt.verify.comparison import compare
    from refopt.verify.diagnosis import diagnose
    from refopt.verify.inputs.tapes import Tape
    from refopt.verify.measuring import Fingerprint, fingerprint
    from refopt.verify.report import Diagnosis, Report
    from refopt.verify.sides.program import program_side
    from refopt.verify.variants import deviation as deviations


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = importlib.import_module(_MODULES[name])
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'refopt.verify' has no attribute {name!r}")
    globals()[name] = value
    return value
