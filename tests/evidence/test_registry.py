"""The registry is whole: sources, evidence that exists, docstrings, ranges, exports."""

from __future__ import annotations

import inspect
import pathlib
import re

import pytest
import refopt
from refopt.core.registry import EVIDENCE, EVIDENCE_KINDS, Entry

from tests.evidence.collect import collect, text
from tests.parity.case import all_cases, tape_path

METHODS = refopt.methods()
ids = [m.name for m in METHODS]


@pytest.mark.parametrize("method", METHODS, ids=ids)
def test_evidence(method: Entry) -> None:
    """At least two kinds of evidence."""
    kinds = sorted({e.kind for e in method.evidence})
    enough = len(kinds) >= 2 or (kinds and method.kind in ("problem", "diagnostic"))
    assert enough, (
        f"{method.name}: wanted two kinds of evidence, got {kinds}. Mark its tests with"
        f' @pytest.mark.claim("{method.name}") or identity, or add a parity Case; then `python -m tests.evidence`'
    )


def test_evidence_is_collected() -> None:
    """What ships is what the tests say now."""
    stale = EVIDENCE.read_text(encoding="utf-8") != text()
    assert not stale, "refopt/evidence.tsv is stale: run `python -m tests.evidence`"


def test_evidence_is_for_something() -> None:
    """Every name in a marker or a case is registered, and has a sentence."""
    for name, kind, node, what in collect():
        assert name in ids, f"{node}: nothing is called {name!r}"
        assert kind in EVIDENCE_KINDS
        assert len(what) > 10, node


def test_every_case_is_recorded() -> None:
    """A parity case without its tape proves nothing yet."""
    missing = [c.id for c in all_cases() if not tape_path(c).is_file()]
    assert not missing, (
        f"no tape of {', '.join(missing)}: run `make record` (it needs the peers' environment)"
    )


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
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420, path


def test_a_name_is_registered_once() -> None:
    """A second owner of a name is an error at import, not a silent replacement."""
    from refopt.core.registry import register

    with pytest.raises(refopt.errors.ArgumentError, match="registered already"):

        @register("adam", kind="optimizer", source=METHODS[0].source, where="nowhere")
        class Adam:
            pass
