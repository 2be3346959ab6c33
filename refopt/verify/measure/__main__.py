"""Write the fingerprints of all registered methods: ``python -m refopt.verify.measure``."""

from __future__ import annotations

from pathlib import Path

import refopt
from refopt.verify.measure.differences import ORDER
from refopt.verify.measure.nearest import TABLE, line, made

if __name__ == "__main__":
    rows = [line(*found) for found in made()]
    (Path(refopt.__file__).parent / TABLE).write_text(
        "\n".join(["\t".join(["name", "dialect", *ORDER]), *rows]) + "\n", encoding="utf-8"
    )
