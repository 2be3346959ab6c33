"""What may stand in a node's place in an edited text; each with its size, as of `refopt.verify.variants.edits.Edit`."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping
from typing import Any

# What a local name holds: ("number",) or ("array", shape). Only names of one kind stand for each other.
Kind = tuple[Any, ...]


NUMBER: Kind = ("number",)


OPPOSITE: Mapping[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


_CALLS = {
    "maximum": "minimum", "minimum": "maximum", "max": "min", "min": "max", "mean": "sum", "sum": "mean",
}  # fmt: skip


def complement(node: ast.expr) -> ast.expr:
    """Return ``1.0 - node``."""
    return ast.BinOp(ast.Constant(1.0), ast.Sub(), node)


def of_statement(node: ast.stmt) -> Iterator[tuple[ast.AST, int]]:
    """Yield nothing in the statement's place; its opposite."""
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)):
        yield ast.Pass(), 0
    if isinstance(node, ast.AugAssign) and type(node.op) in OPPOSITE:
        yield ast.AugAssign(node.target, OPPOSITE[type(node.op)](), node.value), 0
    if isinstance(node, ast.If):
        yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse), 0


def of_operation(node: ast.BinOp) -> Iterator[tuple[ast.AST, int]]:
    """Yield each operand alone, the opposite, the operands exchanged or transposed, a factor on the other term."""
    yield node.left, 0
    yield node.right, 0
    if type(node.op) in OPPOSITE:
        yield ast.BinOp(node.left, OPPOSITE[type(node.op)](), node.right), 0
    if not isinstance(node.op, (ast.Add, ast.Mult)):
        yield ast.BinOp(node.right, node.op, node.left), 0
    if isinstance(node.op, ast.Mult) and ast.dump(node.left) == ast.dump(node.right):
        yield ast.Call(ast.Name("abs", ast.Load()), [node.left], []), 0
    if isinstance(node.op, (ast.Add, ast.Sub)):
        # A factor that is on the wrong term of the two.
        if isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Mult):
            yield ast.BinOp(node.left.right, node.op, ast.BinOp(node.left.left, ast.Mult(), node.right)), 1
        if isinstance(node.right, ast.BinOp) and isinstance(node.right.op, ast.Mult):
            yield ast.BinOp(ast.BinOp(node.right.left, ast.Mult(), node.left), node.op, node.right.right), 1
    if isinstance(node.op, ast.MatMult):
        for a, b in ((_t(node.left), node.right), (node.left, _t(node.right))):
            yield ast.BinOp(a, node.op, b), 1


def _t(node: ast.expr) -> ast.expr:
    return ast.Attribute(node, "T", ast.Load())


def of_call(node: ast.Call) -> Iterator[tuple[ast.AST, int]]:
    """Yield each argument alone, a minimum for a maximum, a sum for a mean, neighbouring arguments exchanged."""
    for argument in node.args:
        if not isinstance(argument, ast.Starred):
            yield argument, 0
    if isinstance(node.func, ast.Attribute) and node.func.attr in _CALLS:
        yield ast.Call(ast.Attribute(node.func.value, _CALLS[node.func.attr], ast.Load()), node.args, node.keywords), 0  # fmt: skip
    if isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        yield ast.Call(ast.Name(_CALLS[node.func.id], ast.Load()), node.args, node.keywords), 0
    for i in range(len(node.args) - 1):
        exchanged = [*node.args[:i], node.args[i + 1], node.args[i], *node.args[i + 2 :]]
        yield ast.Call(node.func, exchanged, node.keywords), 1


def of_constant(node: ast.Constant) -> Iterator[tuple[ast.AST, int]]:
    """Yield other numbers."""
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value), 0
    elif isinstance(value, (int, float)):
        whole = isinstance(value, int)
        others = (0, 1, 2, value + 1, value - 1, -value, 2 * value, *(() if whole else (0.5 * value, 3.0)))
        for other in dict.fromkeys(others):
            if other != value:
                yield ast.Constant(other if whole else float(other)), 0


def with_more(node: ast.expr, kinds: Mapping[str, Kind]) -> Iterator[tuple[ast.AST, int]]:
    """Yield the term times, over and plus every number in scope; doubled, halved and negated."""
    if isinstance(node, (ast.Constant, ast.Dict, ast.Tuple, ast.List, ast.Starred)):
        return
    yield ast.UnaryOp(ast.USub(), copy.copy(node)), 0
    for factor in (2.0, 0.5):
        yield ast.BinOp(ast.Constant(factor), ast.Mult(), node), 1
    for name, kind in kinds.items():
        if kind == NUMBER:
            other = ast.Name(name, ast.Load())
            for op in (ast.Mult(), ast.Div(), ast.Add()):
                yield ast.BinOp(node, op, other), 2
