"""The API reference: all that is public is in it, and every docstring says what goes in, comes out and is raised."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

import api
import pytest
import refopt
from prose import sections
from refopt.core.registry import FUNCTIONS

PATHS = [path.partition(":")[0] for part in api.PARTS for path in part.paths]
# What comes back of these is a number, an array or a standard type.
OWN = {name: obj for name, obj in api.objects() if inspect.isclass(obj)}


def test_what_is_exported_is_in_the_reference() -> None:
    """Every name of `refopt` and its public rooms; a module is there by what is in it."""
    there = {id(obj) for _, obj in api.objects()}
    exported = {f"refopt.{n}": getattr(refopt, n) for n in refopt.__all__ if n != "__version__"}
    for room in (refopt.verify, refopt.sweeps):
        exported |= {f"{room.__name__}.{n}": getattr(room, n) for n in room.__all__}
    exported |= {
        n: e for n, e in vars(refopt.errors).items() if inspect.isclass(e) and issubclass(e, Exception)
    }
    missing = [n for n, obj in exported.items() if not inspect.ismodule(obj) and id(obj) not in there]
    assert missing == []


def test_what_public_functions_return_is_in_the_reference() -> None:
    """A class of refopt that an annotation names has its entry."""
    known = {name.rpartition(".")[2] for name in OWN}
    missing = set()
    for name, obj in api.objects():
        returned = str(getattr(getattr(obj, "__func__", obj), "__annotations__", {}).get("return", ""))
        for word in "".join(c if c.isalnum() else " " for c in returned).split():
            module = inspect.getmodule(inspect.unwrap(getattr(obj, "__func__", obj)))
            cls = getattr(module, word, None)
            if inspect.isclass(cls) and cls.__module__.startswith("refopt.") and word not in known:
                missing.add(f"{name} -> {word}")
    assert missing == set()


def raises(function: Any) -> bool:
    """Tell whether a function's own body raises something, abstract methods aside."""

    def looks(node: ast.AST) -> bool:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
                continue
            if (
                isinstance(child, ast.Raise)
                and child.exc is not None
                and "NotImplemented" not in ast.unparse(child)
            ):
                return True
            if looks(child):
                return True
        return False

    return looks(ast.parse(textwrap.dedent(inspect.getsource(function))).body[0])


def lacking(obj: Any, doc: str) -> list[str]:
    """Return what a function's docstring does not say."""
    function = inspect.unwrap(obj)
    signature = inspect.signature(function)
    said = sections(doc)
    told = "\n".join(said.get(k, "") for k in ("Parameters", "Other Parameters"))
    names = {
        w.strip("* ")
        for line in told.splitlines()
        if line[:1].strip()
        for w in line.partition(" : ")[0].split(",")
    }
    wanted = [p for p in signature.parameters if p not in ("self", "cls")]
    out = [f"parameter {p}" for p in wanted if p not in names]
    if signature.return_annotation not in (None, "None") and not {"Returns", "Yields"} & said.keys():
        out.append("Returns")
    if raises(function) and "Raises" not in said:
        out.append("Raises")
    return out


def test_every_docstring_of_the_reference_is_whole() -> None:
    found = {}
    for name, obj in api.objects():
        doc = inspect.getdoc(obj) or ""
        function = getattr(obj, "__func__", obj)
        if not doc:
            found[name] = ["a docstring"]
        elif inspect.isfunction(function) and (missing := lacking(function, doc)):
            found[name] = missing
    assert found == {}


def test_every_registered_function_s_docstring_is_whole() -> None:
    found = {
        m.name: missing
        for kind in FUNCTIONS
        for m in refopt.methods(kind)
        if inspect.isfunction(m.obj) and (missing := lacking(m.obj, inspect.getdoc(m.obj) or ""))
    }
    assert found == {}


def test_a_docstring_that_lacks_something_is_found() -> None:
    def whole(a: int, *rest: int) -> int:
        """Return a.

        Parameters
        ----------
        a : int
        *rest : int

        Returns
        -------
        int

        Raises
        ------
        ValueError
        """
        if rest:
            raise ValueError(rest)
        return a

    assert lacking(whole, inspect.getdoc(whole) or "") == []
    assert lacking(whole, "Return a.") == ["parameter a", "parameter rest", "Returns", "Raises"]


def test_each_part_lists_and_documents_its_objects() -> None:
    methods = refopt.methods()
    index = api.index()
    for part in api.PARTS:
        page = api.page(part, methods)
        for path in part.paths:
            name = path.partition(":")[0]
            assert f":: {name}\n" in page and f":py:obj:`{name}`" in index
        for kind in part.kinds:
            assert all(f"</methods/{m.name}>" in page for m in methods if m.kind == kind)
    assert len(PATHS) == len(set(PATHS)), "an object on two pages has two anchors"


def test_a_parameter_is_no_link() -> None:
    lines = ["Minimise `problem` by `method`; see `Result`, ``problem`` and `refopt.problem`."]
    api.own_words(lines, refopt.minimize)
    assert lines == ["Minimise ``problem`` by ``method``; see `Result`, ``problem`` and `refopt.problem`."]


@pytest.mark.parametrize("command", ["list", "run", "sweep", "verify", "vectors"])
def test_the_commands_are_those_of_the_parser(command: str) -> None:
    assert f"usage: refopt {command}" in api.commands()
