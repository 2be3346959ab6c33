"""The text of a method that its page shows."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from typing import Any

from refopt.cli.catalogue import code


def bare(text: str) -> str:
    """Return code without its outermost docstrings and decorators, which the page has in another place."""
    lines = text.splitlines()
    for node in reversed(ast.parse(text).body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if ast.get_docstring(node) is not None and len(node.body) > 1:
                end = node.body[0].end_lineno or node.body[0].lineno
                while not lines[end].strip():
                    end += 1
                del lines[node.body[0].lineno - 1 : end]
            if node.decorator_list:
                del lines[node.decorator_list[0].lineno - 1 : node.lineno - 1]
    return "\n".join(lines)


def shown(obj: Any) -> str:
    """Return the text that runs."""
    return bare(code(obj))


def helpers(obj: Any) -> str:
    """Return the private functions of its module that a function calls, and those that they call."""
    if inspect.isclass(obj):
        return ""
    module = sys.modules[obj.__module__]
    own = {
        name: inspect.getsource(f)
        for name, f in vars(module).items()
        if name.startswith("_") and inspect.isfunction(f) and f.__module__ == module.__name__
    }
    found: dict[str, str] = {}
    texts = [inspect.getsource(inspect.unwrap(obj))]
    while texts:
        text = texts.pop()
        for name in own.keys() - found.keys():
            if re.search(rf"\b{name}\(", text):
                found[name] = own[name]
                texts.append(own[name])
    # In the order of the file.
    return "\n\n".join(bare(textwrap.dedent(found[name])) for name in own if name in found)
