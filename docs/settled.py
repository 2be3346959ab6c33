"""What a dialect changes in a rule's text, its choices settled: branches that are not taken and terms of zero are gone."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import inspect
import operator
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from refopt.core.method import LeafRule
from source import bare, shown

CONTEXT = 1
COMPARED: Mapping[type, Any] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip
# What every method has: rates and schedules.
SHARED = {"refopt.core.method", "refopt.optimizers.common.decay"}


def choices(cls: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that are choices, not numbers, as the settings have them."""
    given = {
        f.name: f.default for f in dataclasses.fields(cls) if f.init and f.default is not dataclasses.MISSING
    }
    given |= settings
    return {k: v for k, v in given.items() if v is None or isinstance(v, (bool, str))}


class Settled(ast.NodeTransformer):
    """Puts choices in their places and leaves what they leave.

    Parameters
    ----------
    known : dict
        Values of ``self.name``.
    names : dict
        Values of a rule's own parameters.
    """

    def __init__(self, known: Mapping[str, Any], names: Mapping[str, float]) -> None:
        self.known, self.names = known, names

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Put a known choice in its place."""
        own = isinstance(node.value, ast.Name) and node.value.id == "self"
        if own and isinstance(node.ctx, ast.Load) and node.attr in self.known:
            return ast.Constant(self.known[node.attr])
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Put a known number in its place."""
        known = isinstance(node.ctx, ast.Load) and node.id in self.names
        return ast.Constant(self.names[node.id]) if known else node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        """Take known numbers from the parameters."""
        node.args = [a for a in node.args if a.arg not in self.names]
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """Compare constants."""
        self.generic_visit(node)
        sides = (node.left, *node.comparators)
        known = COMPARED.get(type(node.ops[0]))
        if known and len(sides) == 2 and all(isinstance(side, ast.Constant) for side in sides):
            # A text and a number are compared in branches alone that a choice has ruled out.
            with contextlib.suppress(TypeError):
                return ast.Constant(known(*(side.value for side in sides)))  # type: ignore[union-attr]
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        """Negate a constant."""
        self.generic_visit(node)
        settled = isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Constant)
        return ast.Constant(not node.operand.value) if settled else node  # type: ignore[attr-defined]

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        """Leave the parts that are not constant, or the one that decides."""
        self.generic_visit(node)
        ends = isinstance(node.op, ast.Or)  # a true part ends an `or`, a false one an `and`
        kept: list[ast.expr] = []
        for part in node.values:
            if not isinstance(part, ast.Constant):
                kept.append(part)
            elif bool(part.value) is ends:
                kept.append(part)
                break
        if not kept:
            return ast.Constant(not ends)
        return kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """Leave the branch that is taken."""
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def visit_If(self, node: ast.If) -> Any:
        """Leave the branch that is taken."""
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Leave out zeros and ones."""
        self.generic_visit(node)
        left, right = (_number(side) for side in (node.left, node.right))
        if isinstance(node.op, ast.Mult):
            if 0.0 in (left, right):
                return ast.Constant(0.0)
            if left == 1.0:
                return node.right
            if right == 1.0:
                return node.left
        if isinstance(node.op, (ast.Add, ast.Sub)) and right == 0.0:
            return node.left
        if isinstance(node.op, ast.Add) and left == 0.0:
            return node.right
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        """Leave out what assigns a name to itself."""
        self.generic_visit(node)
        same = len(node.targets) == 1 and ast.unparse(node.targets[0]) == ast.unparse(node.value)
        return None if same else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Leave out what stands behind a return, and functions that nothing calls."""
        self.generic_visit(node)
        end = next((i for i, s in enumerate(node.body, 1) if isinstance(s, ast.Return)), len(node.body))
        body = node.body[:end]
        used = {n.id for s in body for n in ast.walk(s) if isinstance(n, ast.Name)}
        node.body = [s for s in body if not isinstance(s, ast.FunctionDef) or s.name in used] or [ast.Pass()]
        return node


def _number(node: ast.expr) -> float | None:
    plain = isinstance(node, ast.Constant) and isinstance(node.value, float)
    return node.value if plain else None  # type: ignore[union-attr, return-value]


def settled(cls: type, settings: Mapping[str, Any]) -> str:
    """Return the text that runs with a dialect's choices in it."""
    known = choices(cls, settings)
    names: dict[str, float] = {}
    if "decay" in known:
        names = {"keep": 1.0} if known["decay"] == "coupled" else {"l2": 0.0}
    tree = Settled(known, names).visit(ast.parse(_whole(cls)))
    return ast.unparse(ast.fix_missing_locations(tree))


def _whole(cls: type) -> str:
    """Return the text that the page shows, and what it calls of the method's own and its family's."""
    texts, seen = [shown(cls)], set(re.findall(r"^def (\w+)", shown(cls), re.MULTILINE))
    for text in texts:
        for name in dict.fromkeys(re.findall(r"self\.(\w+)\(", text)):
            called = getattr(cls, name, None)
            if name not in seen and inspect.isfunction(called) and called.__module__ not in SHARED:
                seen.add(name)
                texts.append(bare(textwrap.dedent(inspect.getsource(called))))
    return "\n".join(texts)


def changes(cls: Any, settings: Mapping[str, Any]) -> str:
    """Return the lines by which a dialect's text differs from the paper's, ``-`` before the paper's; empty where it does not."""
    if not inspect.isclass(cls) or not issubclass(cls, LeafRule):
        return ""
    paper, theirs = (settled(cls, s).splitlines() for s in ({}, settings))
    lines = list(difflib.unified_diff(paper, theirs, lineterm="", n=CONTEXT))[2:]
    return "\n".join(line for line in lines if not line.startswith("@@") and line.strip())
