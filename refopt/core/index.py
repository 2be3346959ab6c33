"""Where each name lives: an index made from the sources by reading, so that a look-up imports one module.

``python -m refopt.core.index`` writes it anew (`refopt/index.tsv`, shipped with the package); a test fails
where it is stale. A name that it lacks is looked for by importing all rooms, so that a new file works at once.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

# The rooms that hold methods; everything registered lives in a module below one of them.
ROOMS = (
    "optimizers", "wrappers", "schedules", "curvature", "matrix", "linear", "transport", "bilevel",
    "estimators", "aggregators", "diagnostics", "problems",
)  # fmt: skip
FILE = Path(__file__).parent.parent / "index.tsv"


@dataclass(frozen=True, order=True)
class Row:
    """One name: its kind, its module, its paper in short, the first line of its documentation."""

    name: str
    kind: str
    module: str
    paper: str
    summary: str


@functools.cache
def index() -> dict[str, Row]:
    """Return the rows by name."""
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.is_file() else []
    rows = (Row(*line.split("\t")) for line in lines)
    return {row.name: row for row in rows}


def scan() -> list[Row]:
    """Return the rows that the sources have now, sorted by name."""
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in _modules()}
    return sorted(row for module in trees for row in _rows(module, trees))


def default_kind(module: str) -> str:
    """Return the kind of a method class that names none: by its room."""
    rooms = {"refopt.wrappers.": "wrapper", "refopt.estimators.": "estimator", "refopt.bilevel.": "bilevel"}
    return next((kind for room, kind in rooms.items() if module.startswith(room)), "optimizer")


def _modules() -> Iterator[tuple[str, Path]]:
    for room in ROOMS:
        spec = importlib.util.find_spec(f"refopt.{room}")
        for folder in spec.submodule_search_locations or () if spec is not None else ():
            for path in sorted(Path(folder).rglob("*.py")):
                parts = path.relative_to(folder).with_suffix("").parts
                yield ".".join((f"refopt.{room}", *parts)), path


def _rows(module: str, trees: dict[str, ast.Module]) -> Iterator[Row]:
    for node in trees[module].body:
        for call in getattr(node, "decorator_list", ()):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "register":
                given = {k.arg: k.value for k in call.keywords}
                kind = given.get("kind")
                yield Row(
                    _text(call.args[0]),
                    default_kind(module) if kind is None else _text(kind),
                    module,
                    _paper(given["source"], module, trees),
                    (ast.get_docstring(node) or "").split("\n", 1)[0],  # type: ignore[arg-type]
                )


def _text(node: ast.expr) -> str:
    value = ast.literal_eval(node)
    if not isinstance(value, str):
        raise ValueError(f"line {node.lineno}: wanted a literal name, got {value!r}")
    return value


def _paper(node: ast.expr, module: str, trees: dict[str, ast.Module]) -> str:
    """Return first author and year of a `Source`, written here, above, or in a module that is imported from."""
    if isinstance(node, ast.Name):
        for line in trees[module].body:
            if isinstance(line, ast.Assign) and node.id in [getattr(t, "id", "") for t in line.targets]:
                return _paper(line.value, module, trees)
            if isinstance(line, ast.ImportFrom) and node.id in [a.name for a in line.names]:
                return _paper(node, str(line.module), trees)
    if not isinstance(node, ast.Call):
        raise ValueError(f"{module}, line {node.lineno}: wanted a Source")
    given = dict(zip(("key", "authors"), node.args)) | {str(k.arg): k.value for k in node.keywords}
    return f"{_text(given['authors']).split(',')[0]} {_text(given['key']).split('-')[1]}"


def main() -> None:
    """Write the index."""
    rows = scan()
    FILE.write_text("".join("\t".join(astuple(row)) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} names in {FILE.name}")


if __name__ == "__main__":
    main()
