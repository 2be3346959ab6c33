"""Evidence, collected from the tests that give it: ``python -m tests.evidence`` writes `refopt/evidence.tsv`.

A test says for which names it is evidence by a marker, and what it shows by its docstring's first
paragraph (or ``says=``, where one test shows different things of different names):

    @pytest.mark.claim("adam")
    def test_step_bound() -> None:
        \"\"\"No step exceeds 7.270 lr, the supremum for the default betas.\"\"\"

A parity case names its method, and says what was compared. The tests are read, not run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from refopt.core.registry import EVIDENCE, EVIDENCE_KINDS

from tests.parity.case import all_cases

ROOT = Path(__file__).parents[2]
TAPES = "tests/parity/test_tapes.py::test_tape"
Line = tuple[str, str, str, str]


def collect() -> list[Line]:
    """Return (name, kind, node id, sentence) of all evidence, sorted."""
    lines: list[Line] = [
        (name, "parity", f"{TAPES}[{c.id}]", c.says) for c in all_cases() for name in (c.method, *c.shows)
    ]
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        lines += _marked(path)
    return sorted(lines)


def _marked(path: Path) -> Iterator[Line]:
    for test in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(test, ast.FunctionDef):
            continue
        node = f"{path.relative_to(ROOT).as_posix()}::{test.name}"
        first = (ast.get_docstring(test) or "").split("\n\n", 1)[0]
        for mark in test.decorator_list:
            kind = (
                mark.func.attr if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) else ""
            )
            if kind not in EVIDENCE_KINDS:
                continue
            assert isinstance(mark, ast.Call)
            said = {k.arg: ast.literal_eval(k.value) for k in mark.keywords}.get("says", first)
            assert said, f"{node}: evidence without a sentence; give the test a docstring"
            for name in mark.args:
                yield ast.literal_eval(name), kind, node, " ".join(said.split())


def text() -> str:
    """Return the file as it should be."""
    return "".join("\t".join(line) + "\n" for line in collect())


def main() -> None:
    """Write the file."""
    EVIDENCE.write_text(text(), encoding="utf-8")
    print(f"{len(collect())} pieces of evidence in {EVIDENCE.name}")
