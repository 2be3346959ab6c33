"""Small edits of a function's text: a sign turned, a factor dropped, one name in another's place.

Where no named deviation explains another implementation, one of these may: `diagnose` runs the reference
with its own text changed in one place. Nothing here knows what the text computes.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import copy
import inspect
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from refopt.verify.variants.replacements import (
    NUMBER,
    OPPOSITE,
    Kind,
    complement,
    of_call,
    of_constant,
    of_operation,
    of_statement,
    with_more,
)
from refopt.verify.variants.turns import bound_loops

LONGEST_CLAUSE = 90


FLAGS = __future__.annotations.compiler_flag


@dataclass(frozen=True)
class Seen:
    """What running a function showed: the lines that ran, and what the names of each scope held."""

    lines: frozenset[int]
    kinds: Mapping[str, Mapping[str, Kind]]
    numbers: tuple[str, ...] = ()


class Text:
    """The text of one function, ready to be compiled with edits.

    Parameters
    ----------
    function : function
        Written in a file; a method or a function of a module.

    Attributes
    ----------
    loops : bool
        Whether it has any; they are bounded, as those of `beside` are.
    beside : tuple of (function, code)
        What else ran and loops, with its loops bounded: an edit may send another function round for ever.
    """

    beside: tuple[tuple[FunctionType, CodeType], ...] = ()

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
        self.root = tree.body[0]
        self._codes: dict[tuple[Edit, ...], CodeType | None] = {}
        self.loops = bound_loops(self.root)
        if isinstance(self.root, ast.FunctionDef):
            self.root.decorator_list = []
            self._holder = _held(self.root, function.__code__.co_freevars)

    def code(self, edits: tuple[Edit, ...]) -> CodeType | None:
        """Return the function's code with edits in place; None where there is none."""
        if edits in self._codes:
            return self._codes[edits]
        with contextlib.ExitStack() as stack:
            for edit in edits:
                edit.place.put(edit.node)
                stack.callback(edit.place.put, edit.place.node)
            code = self._compiled()
        # Of pairs there are too many to keep.
        if len(edits) <= 1:
            self._codes[edits] = code
        return code

    def _compiled(self) -> CodeType | None:
        function = self.function
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)  # `is` with a literal, which an edit has made
                found: Any = compile(self._holder, function.__code__.co_filename, "exec", FLAGS, True)
        except (SyntaxError, ValueError):
            return None
        while found is not None and found.co_name != function.__name__:
            found = next((c for c in found.co_consts if isinstance(c, CodeType)), None)
        # Code that has lost its last mention of super() does not fit its function any more.
        return found if found is not None and found.co_freevars == function.__code__.co_freevars else None


@dataclass(frozen=True, eq=False)
class Edit:
    """One change of one function.

    Parameters
    ----------
    old, new : str
        The clause as it stands and as the edit has it; `new` is empty where a statement is left out.
    text : Text
    place, node
        Where in it, and what is put there.
    size : int
        0: something less, or its opposite; 1: something in another's place; 2: something more.
    """

    old: str
    new: str
    text: Text
    place: _Place
    node: ast.AST
    size: int

    def clashes(self, other: Edit) -> bool:
        """Tell whether the other edit is of the same place, or of one inside or around it."""
        mine, its = self.place, other.place
        return mine.node is its.node or mine.node in its.parents or its.node in mine.parents


def edits(text: Text, seen: Seen) -> Iterator[Edit]:
    """Yield every small edit of the lines that ran.

    Parameters
    ----------
    text : Text
    seen : Seen
        ``kinds`` by qualified name of the function and of the functions inside it; ``numbers`` are the
        attributes of ``self`` that hold numbers.
    """
    if not isinstance(text.root, ast.FunctionDef):
        return
    for place in _places(text.root, text.function.__qualname__, seen):
        before = place.clause()
        for node, size in place.alternatives(seen):
            ast.fix_missing_locations(ast.copy_location(node, place.node))
            place.put(node)
            after = "" if isinstance(node, ast.Pass) else place.clause()
            place.put(place.node)
            if after != before:
                yield Edit(before, after, text, place, node, size)


def _held(root: ast.FunctionDef, free: tuple[str, ...]) -> ast.Module:
    """Return a module with the function, inside one that has its free variables (``__class__``)."""
    if not free:
        return ast.Module([root], [])
    arguments = ast.arguments([], [ast.arg(n) for n in free], None, [], [], None, [])
    outer = ast.FunctionDef("_outer", arguments, [root], [])
    return ast.Module([ast.fix_missing_locations(ast.copy_location(outer, root))], [])


@dataclass(frozen=True, eq=False)
class _Place:
    """A node, where it stands, and what surrounds it."""

    node: ast.AST
    parents: tuple[ast.AST, ...]
    field: str
    index: int | None
    scope: str
    before: Mapping[str, str]
    expressions: Sequence[ast.expr]

    def put(self, new: ast.AST) -> None:
        """Put a node in this one's place."""
        parent = self.parents[-1]
        if self.index is None:
            setattr(parent, self.field, new)
        else:
            getattr(parent, self.field)[self.index] = new

    def clause(self) -> str:
        """Return the text around the node: the statement, or as much of it as is readable."""
        now = self._now()
        chain = (*self.parents, now)
        first = max(i for i, n in enumerate(chain) if isinstance(n, ast.stmt))
        for i in range(first, len(chain)):
            node = chain[i]
            if isinstance(node, (ast.If, ast.For, ast.While, ast.With, ast.FunctionDef, ast.Dict)):
                continue
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict):
                continue
            text = ast.unparse(node)
            above = chain[i - 1]
            if isinstance(above, ast.Dict) and node in above.values:
                key = above.keys[above.values.index(node)]
                text = f"{ast.unparse(key)}: {text}" if key is not None else text
            if len(text) <= LONGEST_CLAUSE or node is now:
                return text
        return ast.unparse(now)

    def _now(self) -> ast.AST:
        found = getattr(self.parents[-1], self.field)
        return found if self.index is None else found[self.index]

    def alternatives(self, seen: Seen) -> Iterator[tuple[ast.AST, int]]:
        """Yield what may stand in the node's place."""
        node, kinds = self.node, seen.kinds.get(self.scope, {})
        if isinstance(node, ast.stmt):
            yield from of_statement(node)
            if isinstance(node, ast.Assign):
                yield from self._throughout(node, kinds)
        elif isinstance(node, ast.Compare):
            yield ast.Compare(node.left, [OPPOSITE[type(o)]() for o in node.ops if type(o) in OPPOSITE], node.comparators), 0  # fmt: skip
        elif isinstance(node, ast.IfExp):
            yield node.body, 0
            yield node.orelse, 0
        elif isinstance(node, ast.BoolOp):
            yield ast.BoolOp(OPPOSITE[type(node.op)](), node.values), 0
            for value in node.values:
                yield value, 0
        elif isinstance(node, ast.UnaryOp):
            yield node.operand, 0
        elif isinstance(node, ast.BinOp):
            yield from of_operation(node)
        elif isinstance(node, ast.Call):
            yield from of_call(node)
        elif isinstance(node, ast.Constant):
            yield from of_constant(node)
        elif isinstance(node, ast.Attribute) and _of_self(node) and node.attr in seen.numbers:
            for other in seen.numbers:
                if other != node.attr:
                    yield ast.Attribute(node.value, other, ast.Load()), 1
            yield complement(node), 1
        elif isinstance(node, ast.Name) and node.id in kinds:
            yield from self._names(node, kinds)
        if isinstance(node, ast.expr) and self._is_term():
            yield from with_more(node, kinds)

    def _names(self, node: ast.Name, kinds: Mapping[str, Kind]) -> Iterator[tuple[ast.AST, int]]:
        kind = kinds[node.id]
        if node.id in self.before:
            yield ast.Name(self.before[node.id], ast.Load()), 1
        for other, its in kinds.items():
            if its == kind and other not in (node.id, "self"):
                yield ast.Name(other, ast.Load()), 1
                if other in self.before:
                    yield ast.Name(self.before[other], ast.Load()), 1
        if kind == NUMBER:
            yield ast.BinOp(node, ast.Sub(), ast.Constant(1)), 1
            yield ast.BinOp(node, ast.Add(), ast.Constant(1)), 1
            yield complement(node), 1
            # A norm whose root is missing, or taken twice.
            yield ast.BinOp(node, ast.Mult(), node), 1
            yield ast.BinOp(node, ast.Pow(), ast.Constant(0.5)), 1
        else:
            yield ast.BinOp(node, ast.Mult(), node), 1
            yield ast.Call(ast.Name("abs", ast.Load()), [node], []), 1
            yield ast.BinOp(node, ast.Pow(), ast.Constant(0.5)), 1
            for expression in self.expressions:
                yield expression, 2

    def _throughout(self, node: ast.Assign, kinds: Mapping[str, Kind]) -> Iterator[tuple[ast.AST, int]]:
        """Yield the statement with another name wherever one stands several times."""
        used = Counter(n.id for n in ast.walk(node.value) if isinstance(n, ast.Name))
        for name in (n for n, times in used.items() if times > 1 and n in kinds):
            like = [n for n, its in kinds.items() if its == kinds[name]]
            for other in (*like, *(self.before[n] for n in like if n in self.before)):
                if other != name:
                    value = copy.deepcopy(node.value)
                    for n in ast.walk(value):
                        if isinstance(n, ast.Name) and n.id == name:
                            n.id = other
                    yield ast.Assign(node.targets, value), 1

    def _is_term(self) -> bool:
        """Tell whether the node is a whole right-hand side, an argument, or a term of a sum."""
        above = self.parents[-1]
        if isinstance(above, ast.BinOp):
            return isinstance(above.op, (ast.Add, ast.Sub))
        if isinstance(above, ast.Call):
            return self.field == "args"
        return isinstance(above, (ast.Assign, ast.Return, ast.Dict, ast.Tuple)) and self.field in ("value", "values", "elts")  # fmt: skip


def _places(root: ast.FunctionDef, qualname: str, seen: Seen) -> list[_Place]:
    """Return every node that ran and that is evaluated, with its surroundings."""
    out: list[_Place] = []
    expressions = [copy.deepcopy(n) for n in ast.walk(root) if isinstance(n, (ast.Call, ast.BinOp))]

    def visit(node: ast.AST, parents: tuple[ast.AST, ...], scope: str, before: Mapping[str, str]) -> None:
        for field, value in ast.iter_fields(node):
            if field in ("args", "returns", "decorator_list") and isinstance(node, ast.FunctionDef):
                continue
            for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
                if not isinstance(child, ast.AST):
                    continue
                inside, kept = scope, before
                if child in fixed:
                    continue
                if isinstance(child, ast.FunctionDef):
                    inside = f"{scope}.<locals>.{child.name}"
                    kept = _keep_arguments(child)
                elif isinstance(child, (ast.expr, ast.stmt)) and not _ran(child, seen.lines):
                    continue
                if _evaluated(child) and not (isinstance(child, ast.If) and child.test in fixed):
                    out.append(_Place(child, (*parents, node), field, index, scope, before, expressions))
                visit(child, (*parents, node), inside, kept)

    before, fixed = _keep_arguments(root), _what_ends_loops(root)
    visit(root, (), qualname, before)
    return out


def _what_ends_loops(root: ast.AST) -> set[ast.AST]:
    """Return the nodes that decide when a ``while`` ends: edited, it might never."""
    fixed: set[ast.AST] = set()
    for loop in ast.walk(root):
        if not isinstance(loop, ast.While):
            continue
        leaving = [
            n for n in ast.walk(loop)
            if isinstance(n, ast.If) and any(isinstance(m, (ast.Break, ast.Return)) for m in ast.walk(n))
        ]  # fmt: skip
        tests = [loop.test, *(n.test for n in leaving)]
        names = {m.id for test in tests for m in ast.walk(test) if isinstance(m, ast.Name)}
        fixed.update(tests)
        for n in ast.walk(loop):
            if isinstance(n, (ast.Assign, ast.AugAssign, ast.Expr)):
                own = [m for m in ast.walk(n) if isinstance(m, ast.Name) and m.id in names]
                if own and (isinstance(n, ast.Expr) or any(isinstance(m.ctx, ast.Store) for m in own)):
                    fixed.add(n)
    return fixed


def _ran(node: Any, lines: frozenset[int]) -> bool:
    return any(n in lines for n in range(node.lineno, (node.end_lineno or node.lineno) + 1))


def _evaluated(node: ast.AST) -> bool:
    if isinstance(node, ast.stmt):
        return not isinstance(node, (ast.FunctionDef, ast.Return, ast.Raise, ast.Import, ast.ImportFrom))
    if isinstance(node, (ast.Name, ast.Attribute)):
        return isinstance(node.ctx, ast.Load)
    return isinstance(node, ast.expr)


def _keep_arguments(function: ast.FunctionDef) -> dict[str, str]:
    """Keep the first values of the arguments that are assigned to; return the names they are kept under."""
    assigned = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    kept = {a.arg: f"{a.arg}_before" for a in function.args.args if a.arg in assigned}
    for name, other in kept.items():
        keep = ast.Assign([ast.Name(other, ast.Store())], ast.Name(name, ast.Load()))
        # Of no line, so that it never counts as run.
        keep.lineno = keep.end_lineno = keep.col_offset = keep.end_col_offset = 0
        function.body.insert(0, ast.fix_missing_locations(keep))
    return kept


def _of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"
