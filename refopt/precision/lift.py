"""A method in another arithmetic: its own text, with numbers of 50 digits where it has floats.

The functions of a method's classes are copied with the floats in their code, `float` and `math`
exchanged for those of an mpmath context; what they compute of the hyperparameters is then exact to the
context's digits, and the rule runs on object arrays of such numbers.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
from fractions import Fraction
from typing import Any

import numpy as np

from refopt.core.errors import missing_extra
from refopt.core.method import Elementwise, Method

# A literal is read as the number that it is written as: 0.96 is 24/25, and 1/3 (folded by Python) a third.
LARGEST_DENOMINATOR = 1000


def context(digits: int) -> Any:
    """Return an mpmath context of its own with so many digits.

    Raises
    ------
    MissingExtraError
        mpmath is not installed.
    """
    try:
        import mpmath
    except ImportError:
        raise missing_extra("verify", "mpmath") from None
    ctx = mpmath.MPContext()
    ctx.dps = digits
    return ctx


class Space:
    """What a rule asks of an array library, for object arrays of a context's numbers."""

    def __init__(self, ctx: Any) -> None:
        self.ctx = ctx
        for name in ("sqrt", "exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "cbrt"):
            setattr(self, name, self._each(getattr(ctx, name)))
        self.sign = self._each(lambda v: ctx.mpf(ctx.sign(v)))
        self.square = self._each(lambda v: v * v)
        self.atan2 = np.frompyfunc(ctx.atan2, 2, 1)

    @staticmethod
    def _each(fn: Any) -> Any:
        return np.frompyfunc(fn, 1, 1)

    def abs(self, a: Any) -> Any:
        """Return absolute values."""
        return np.abs(a)

    def maximum(self, a: Any, b: Any) -> Any:
        """Return the larger of two."""
        return np.maximum(a, b)

    def minimum(self, a: Any, b: Any) -> Any:
        """Return the smaller of two."""
        return np.minimum(a, b)

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        """Choose entry by entry."""
        return np.where(np.asarray(condition, dtype=bool), a, b)

    def clip(self, a: Any, low: Any, high: Any) -> Any:
        """Return entries inside [low, high]."""
        return np.minimum(np.maximum(a, low), high)

    def full_like(self, a: Any, value: Any) -> Any:
        """Return an array like `a` of one value."""
        return np.full(np.shape(a), self.ctx.mpf(value), dtype=object)

    def zeros_like(self, a: Any) -> Any:
        """Return zeros."""
        return self.full_like(a, 0)

    def ones_like(self, a: Any) -> Any:
        """Return ones."""
        return self.full_like(a, 1)

    def asarray(self, a: Any) -> Any:
        """Return numbers or floats (exactly) as an object array of at least one dimension."""
        return np.atleast_1d(np.frompyfunc(self.ctx.mpf, 1, 1)(np.atleast_1d(np.asarray(a, dtype=object))))


class _Math:
    """`math` in a context's arithmetic, where the context has the function."""

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx
        self.pi, self.e, self.inf, self.nan = +ctx.pi, +ctx.e, ctx.inf, ctx.nan

    def __getattr__(self, name: str) -> Any:
        if name in ("sqrt", "exp", "expm1", "log", "log1p", "cos", "sin", "tan", "tanh", "cbrt"):
            return getattr(self._ctx, name)
        if name == "pow":
            return lambda a, b: self._ctx.mpf(a) ** b
        return getattr(math, name)


class Lift:
    """Copies functions and classes into a context's arithmetic."""

    def __init__(self, ctx: Any) -> None:
        self.ctx, self.space = ctx, Space(ctx)
        self._globals: dict[int, dict[str, Any]] = {}
        self._classes: dict[type, type] = {}

    def number(self, value: Any) -> Any:
        """Return a float as exactly that number; tuples entry by entry; methods lifted; else `value`."""
        if isinstance(value, float):
            return self.ctx.mpf(value)
        if isinstance(value, tuple):
            return tuple(self.number(v) for v in value)
        return self.method(value) if isinstance(value, Method) else value

    def _literal(self, value: Any) -> Any:
        if isinstance(value, types.CodeType):
            return self._code(value)
        if isinstance(value, tuple):
            return tuple(self._literal(v) for v in value)
        if not isinstance(value, float) or not math.isfinite(value):
            return value
        ratio = Fraction(value).limit_denominator(LARGEST_DENOMINATOR)
        if float(ratio) == value:
            return self.ctx.mpf(ratio.numerator) / ratio.denominator
        return self.ctx.mpf(value)

    def _code(self, code: types.CodeType) -> types.CodeType:
        return code.replace(co_consts=tuple(self._literal(c) for c in code.co_consts))

    def _names(self, scope: dict[str, Any]) -> dict[str, Any]:
        """Return a module's global names, lifted, once a module."""
        found = self._globals.get(id(scope))
        if found is None:
            found = self._globals[id(scope)] = dict(scope)
            found.update(math=_Math(self.ctx), float=self.ctx.mpf, check_start=lambda x, name="x": x)
            for name, value in scope.items():
                # Helpers of rules and numbers; what is below them (arrays, random numbers) stays.
                if isinstance(value, types.FunctionType) and _is_a_methods(value.__module__):
                    found[name] = self.function(value)
        return found

    def function(self, fn: types.FunctionType, cls: Any = None) -> types.FunctionType:
        """Return a copy of a function; `cls` holds the class that its ``super()`` shall mean."""
        fn = inspect.unwrap(fn)  # without its door: object arrays would not pass
        cells = tuple(
            cls if name == "__class__" and cls is not None else cell
            for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or ())
        )
        copy = types.FunctionType(
            self._code(fn.__code__), self._names(fn.__globals__), fn.__name__, fn.__defaults__, cells
        )
        copy.__kwdefaults__ = fn.__kwdefaults__
        return copy

    def cls(self, cls: type) -> type:
        """Return a copy of a class, and of its bases."""
        if cls is object:
            return cls
        if cls in self._classes:
            return self._classes[cls]
        cell = types.CellType()
        body: dict[str, Any] = {}
        for name, value in vars(cls).items():
            if isinstance(value, types.FunctionType):
                body[name] = self.function(value, cell)
            elif isinstance(value, property) and isinstance(value.fget, types.FunctionType):
                body[name] = property(self.function(value.fget, cell))
            elif name not in ("__dict__", "__weakref__", "__init_subclass__"):
                body[name] = value
        copy = self._classes[cls] = type(cls.__name__, tuple(self.cls(b) for b in cls.__bases__), body)
        cell.cell_contents = copy
        return copy

    def method(self, method: Method) -> Any:
        """Return a method that computes in the context; its hyperparameters are exactly the given floats."""
        out: Any = object.__new__(self.cls(type(method)))
        for f in dataclasses.fields(method):
            object.__setattr__(out, f.name, self.number(getattr(method, f.name)))
        return out


def _is_a_methods(module: str) -> bool:
    """Tell whether a module is of methods: not of refopt's core, not of another library."""
    return module.startswith("refopt.") and not module.startswith(("refopt.core.", "refopt.verify."))


def lift(method: Elementwise, ctx: Any, *, scalars: bool = True) -> Any:
    """Return `method` in a context's arithmetic, for object arrays.

    Parameters
    ----------
    method : Elementwise
    ctx : mpmath context
    scalars : bool
        False: the step's numbers are those that `method` computes in float64.

    Returns
    -------
    object
        With ``init``, ``update`` and ``advance``. Its steps raise a TypeError if `scalars` is true and the
        numbers came out as floats.
    """
    how = Lift(ctx)
    base = how.cls(type(method))

    class Lifted(base):  # type: ignore[misc, valid-type]
        def _run(self, arrays: list[Any], leaves: int, numbers: list[Any], donate: bool) -> list[Any]:
            if scalars and not all(isinstance(v, (ctx.mpf, int)) for v in numbers):
                raise TypeError("a number of the step was computed in floats")
            rule = self.rule(how.space)
            outs = [rule(*arrays[leaf::leaves], *map(ctx.mpf, numbers)) for leaf in range(leaves)]
            return [out[place] for place in range(len(outs[0])) for out in outs]

    if not scalars:
        for name in ("start_numbers", "carry", "numbers"):
            setattr(Lifted, name, staticmethod(getattr(method, name)))
    out: Any = object.__new__(Lifted)
    out.__dict__.update(how.method(method).__dict__)
    return out
