"""Measure one library; see `asv_bench.sides`."""

from __future__ import annotations

import importlib
import json
import sys

from asv_bench.sides import measure


def main(library: str, seconds: str, *keys: str) -> None:
    name, _, form = library.partition(":")
    side = importlib.import_module(f"asv_bench.sides.{name}_side")
    if form:
        side.FORM = form
    print(json.dumps({key: measure(side, key, float(seconds)) for key in keys}))


if __name__ == "__main__":
    main(*sys.argv[1:])
