"""Every registered method, or those named, in one table: ``python -m asv_bench.survey [METHOD ...] [--quick] [--record]``.

Microseconds of a step by engine, and memory. One process an engine, so that thread pools do not meet.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from refopt.core.registry import entry

from asv_bench import record
from asv_bench.bench_registry import ELEMENTWISE, NAMES, Memory
from asv_bench.side_by_side import process

SIZES = {True: ([10**3, 10**5], [128, 512]), False: ([10**3, 10**5, 10**7], [128, 256, 512, 1024, 2048])}

CODE = """
import json, math, statistics, sys
from refopt.cli.bench import build, engines_of, stepper, synchronize, timings
from refopt.core.errors import RefoptError
engine, seconds, cases = json.loads(sys.argv[1])
out = []
for name, shape in cases:
    if engine not in engines_of(name):
        continue
    try:
        step = stepper(build(name, engine, {}), {"": tuple(shape)}, "float32", engine)
        times = timings(step, seconds, lambda: synchronize(engine))
        out.append([name, shape, statistics.median(times)])
    except Exception as error:  # a method that one library cannot run must not end the survey
        out.append([name, shape, f"{type(error).__name__}: {error}"])
print(json.dumps(out))
"""


def cases(quick: bool, engine: str, names: list[str] = NAMES) -> list[tuple[str, tuple[int, ...]]]:
    """Vectors for elementwise methods, square matrices for the others."""
    vectors, sides = SIZES[quick]
    return [
        (name, shape)
        for name in names
        for shape in ([(n,) for n in vectors] if name in ELEMENTWISE else [(n, n) for n in sides])
        if engine != "numba" or name in ELEMENTWISE
    ]


def survey(
    quick: bool, seconds: float, engines: list[str], names: list[str] = NAMES
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return median seconds by method, shape and engine; a text where a step failed."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for engine in engines:
        rows = json.loads(process(["-c", CODE, json.dumps([engine, seconds, cases(quick, engine, names)])]))
        for name, shape, value in rows:
            found.setdefault(name, {}).setdefault("x".join(map(str, shape)), {})[engine] = value
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="METHOD", help="left out: every one")
    parser.add_argument("--quick", action="store_true", help="the smaller sizes")
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--engines", default="numpy,numba,torch,cupy")
    parser.add_argument("--json", metavar="FILE")
    record.option(parser)
    options = parser.parse_args()
    if options.record and options.names:
        parser.error("--record writes all methods: name none")
    recorder = record.Recorder(record.command("survey"), ("numba", "torch", "cupy"))
    engines = options.engines.split(",")
    names = [entry(name, ("optimizer", "wrapper", "estimator")).name for name in options.names] or NAMES
    found = survey(options.quick, options.seconds, engines, names)
    print(f"{'method':22} {'shape':>10} " + " ".join(f"{e:>12}" for e in engines) + "   microseconds a step")
    for name, shapes in found.items():
        for shape, by in shapes.items():
            cells = (
                f"{1e6 * by[e]:12.1f}"
                if isinstance(by.get(e), float)
                else f"{'failed' if e in by else '':>12}"
                for e in engines
            )
            print(f"{name:22} {shape:>10} " + " ".join(cells))
    failures = [
        f"{n} {s} {e}: {v}"
        for n, ss in found.items()
        for s, by in ss.items()
        for e, v in by.items()
        if isinstance(v, str)
    ]
    print(f"\n{'method':22} {'state':>8} {'peak':>8}   arrays like x, 512 x 512, NumPy")
    memory = {name: [v / (512 * 512 * 4) for v in Memory().peak(name)] for name in names}
    for name, (peak, state) in memory.items():
        print(f"{name:22} {state:8.2f} {peak:8.2f}")
    if options.record:
        rows = [
            [n, s, *(v if isinstance(v := by.get(e), float) else None for e in engines)]
            for n, ss in found.items()
            for s, by in ss.items()
        ]
        recorder.write("survey", ("method", "shape", *engines), rows, "Median seconds of a step, float32.")
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"seconds": found, "memory": memory}, f, indent=1)
    if failures:
        sys.exit("failed:\n" + "\n".join(failures))


if __name__ == "__main__":
    main()
