"""The registry is whole: sources, evidence that exists, docstrings, ranges, exports."""

from __future__ import annotations

import ast
import inspect
import pathlib
import re

import pytest
import refopt
from refopt.core.registry import Entry

ROOT = pathlib.Path(__file__).parents[2]
METHODS = refopt.methods()
ids = [m.name for m in METHODS]


def _tests_of(path: pathlib.Path) -> set[str]:
    return {n.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize("method", METHODS, ids=ids)
def test_evidence(method: Entry) -> None:
    """At least two kinds of evidence, each pointing at a test that exists."""
    assert len({e.kind for e in method.evidence}) >= 2 or method.kind in ("problem", "diagnostic")
    assert method.evidence
    for evidence in method.evidence:
        path, _, test = evidence.test.partition("::")
        assert (ROOT / path).is_file(), evidence.test
        name, _, param = test.partition("[")
        assert name in _tests_of(ROOT / path), evidence.test
        if path == "tests/parity/test_tapes.py":
            assert (ROOT / "tests/parity/tapes" / f"{param.rstrip(']')}.npz").is_file(), evidence.test


@pytest.mark.parametrize("method", METHODS, ids=ids)
def test_source(method: Entry) -> None:
    """A stable key, and a way to find the paper."""
    for source in (method.source, *method.also):
        assert re.fullmatch(r"[a-z]+-\d{4}-[a-z0-9]+", source.key), source.key
        assert str(source.year) in source.key
        assert source.authors
        assert source.title
        assert source.arxiv or source.doi or source.url or source.venue
        if source.arxiv:
            assert re.fullmatch(r"\d{4}\.\d{4,5}|[a-z-]+/\d{7}", source.arxiv), source.arxiv
    assert method.where


def test_bibliography_is_consistent() -> None:
    """One key always means the same source."""
    seen: dict[str, object] = {}
    for method in METHODS:
        for source in (method.source, *method.also):
            assert seen.setdefault(source.key, source) == source


@pytest.mark.parametrize("method", METHODS, ids=ids)
def test_docstring(method: Entry) -> None:
    """A numpydoc docstring with summary, parameters, and an example that runs (see test_doctests)."""
    doc = inspect.getdoc(method.obj) or ""
    assert doc, method.name
    first = doc.split("\n", 1)[0]
    assert len(first) <= 110
    assert first.endswith(".")
    for section in ("Parameters", "Examples"):
        assert f"{section}\n{'-' * len(section)}" in doc, f"{method.name}: no {section} section"
    assert ">>>" in doc
    parameters = inspect.signature(method.obj).parameters
    for name, parameter in parameters.items():
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            assert re.search(rf"\b{name}\b", doc), f"{method.name}: {name} is not in its docstring"


@pytest.mark.parametrize("method", METHODS, ids=ids)
def test_name(method: Entry) -> None:
    """Lower case with hyphens, and the file is short enough to read."""
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", method.name)
    path = pathlib.Path(inspect.getsourcefile(method.obj) or "")
    assert len(path.read_text().splitlines()) <= 420, path


def test_a_name_is_registered_once() -> None:
    """A second owner of a name is an error at import, not a silent replacement."""
    from refopt.core.registry import register

    with pytest.raises(refopt.errors.ArgumentError, match="registered already"):

        @register("adam", kind="optimizer", source=METHODS[0].source, where="nowhere")
        class Adam:
            pass
