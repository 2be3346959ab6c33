"""The form that a user's parameters have, and the one that methods work in.

Methods know one real array, or a flat dict of named real arrays without empty ones. Nested dicts, lists and tuples
become flat, their paths joined by dots; a complex array becomes its real and imaginary parts on a new last axis, as torch and
optax define steps of complex parameters; an empty array waits outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core.arrays import Array, is_array, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError, ShapeError

# Which arguments of a capability are like x beside x itself, and whether its answer is.
TAKES_X = ("hvp", "directional", "third", "jvp")
GIVES_X = ("grad", "hvp", "example_grads", "vjp", "prox", "example_prox", "project", "jacobian")


class Form:
    """How parameters look outside; `form_of` makes it."""

    def __init__(self, x: Any, name: str) -> None:
        self.name = name
        self.names: set[str] = set()
        self.skeleton = self._read(x, "", name)
        if not self.names:
            raise ShapeError(f"{name}: has no array with entries")

    def _read(self, x: Any, path: str, label: str) -> Any:
        if isinstance(x, dict):
            return {k: self._read(v, _joined(path, k), f"{label}[{k!r}]") for k, v in x.items()}
        if isinstance(x, (list, tuple)) and _holds_arrays(x):
            parts = [self._read(v, _joined(path, i), f"{label}[{i}]") for i, v in enumerate(x)]
            return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
        if is_array(x) and math.prod(x.shape) == 0:
            return _Leaf(path, x, False)
        if path in self.names:
            raise ArgumentError(f"{label}: its name {path!r} is another's too")
        self.names.add(path)
        return _Leaf(path, None, is_array(x) and _is_complex(x))

    def inside(self, value: Any, label: str = "") -> Any:
        """Return what has this form as methods know it; a leaf may be None.

        Raises
        ------
        ShapeError, ArgumentTypeError
            It has another structure.
        """
        out: dict[str, Any] = {}
        self._gather(self.skeleton, value, label or self.name, out)
        return out[""] if isinstance(self.skeleton, _Leaf) else out

    def _gather(self, part: Any, value: Any, label: str, out: dict[str, Any]) -> None:
        if isinstance(part, _Leaf):
            if part.empty is None:
                out[part.name] = (
                    _pairs(value) if part.complex and is_array(value) and _is_complex(value) else value
                )
            return
        if isinstance(part, dict) != isinstance(value, dict) or not isinstance(value, (dict, list, tuple)):
            raise ArgumentTypeError(
                f"{label}: wanted a {type(part).__name__} like x, got {type(value).__qualname__}"
            )
        if isinstance(part, dict):
            if part.keys() != set(value):
                raise ShapeError(f"{label}: wanted the keys {list(part)}, got {list(value)}")
            for k, inner in part.items():
                self._gather(inner, value[k], f"{label}[{k!r}]", out)
            return
        if len(part) != len(value):
            raise ShapeError(f"{label}: wanted {len(part)} entries, got {len(value)}")
        for i, inner in enumerate(part):
            self._gather(inner, value[i], f"{label}[{i}]", out)

    def outside(self, params: Any) -> Any:
        """Return parameters in the user's form."""
        return self._spread(self.skeleton, params)

    def _spread(self, part: Any, params: Any) -> Any:
        if isinstance(part, _Leaf):
            if part.empty is not None:
                return part.empty
            leaf = params[part.name] if isinstance(params, dict) else params
            return _complex(leaf) if part.complex else leaf
        if isinstance(part, dict):
            return {k: self._spread(v, params) for k, v in part.items()}
        parts = [self._spread(v, params) for v in part]
        return type(part)(*parts) if hasattr(part, "_fields") else type(part)(parts)


class _Leaf:
    """A place for an array: its name inside; the array itself, if it is empty; whether it is complex."""

    def __init__(self, name: str, empty: Array | None, is_complex: bool) -> None:
        self.name, self.empty, self.complex = name, empty, is_complex


class Outside:
    """A user's problem as methods see it: its functions are called with parameters of the user's form."""

    def __init__(self, problem: Any, form: Form) -> None:
        self.outer, self._form = problem, form

    def __repr__(self) -> str:
        return repr(self.outer)

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.outer, name)
        return self._wrapped(name, member) if name in CALLED and callable(member) else member

    def _wrapped(self, name: str, member: Callable[..., Any]) -> Callable[..., Any]:
        form = self._form

        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
            if name in TAKES_X:
                args = (form.outside(args[0]), *args[1:])
            answer = member(form.outside(x), *args, **kwargs)
            if name == "value_and_grad":
                f, g = answer
                return f, form.inside(g, "the gradient of value_and_grad")
            return form.inside(answer, name) if name in GIVES_X else answer

        return call


CALLED = (
    "value", "grad", "value_and_grad", "directional", "hvp", "third", "example_grads", "residual", "jvp", "vjp",
    "loss_gradient", "loss_hessian", "layers", "penalty", "prox", "example_prox", "project", "objectives", "jacobian",
)  # fmt: skip


def form_of(x: Any, name: str = "x") -> Form | None:
    """Return the form of parameters that methods do not know as they are, None of all others."""
    if isinstance(x, dict):
        odd = any(isinstance(v, (dict, list, tuple)) or (is_array(v) and _odd(v)) for v in x.values())
        named = all(isinstance(k, str) for k in x)
        return Form(x, name) if x and odd and named else None
    if isinstance(x, (list, tuple)):
        return Form(x, name) if _holds_arrays(x) else None
    return Form(x, name) if is_array(x) and _is_complex(x) and math.prod(x.shape) else None


def opened(problem: Any, x: Any, name: str = "x") -> tuple[Any, Any, Form | None]:
    """Return a problem and its parameters as methods know them, and the form that they had."""
    form = form_of(x, name)
    return (problem, x, None) if form is None else (Outside(problem, form), form.inside(x), form)


def _odd(leaf: Array) -> bool:
    return math.prod(leaf.shape) == 0 or _is_complex(leaf)


def _is_complex(a: Array) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype.kind == "c"
    return bool(namespace(a).isdtype(a.dtype, "complex floating"))


def _holds_arrays(x: Any) -> bool:
    """Tell a list of parameters from a list of numbers, which is one array."""
    return any(
        is_array(v) or isinstance(v, dict) or (isinstance(v, (list, tuple)) and _holds_arrays(v)) for v in x
    )


def _joined(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _pairs(a: Array) -> Array:
    xp = namespace(a)
    return xp.stack([xp.real(a), xp.imag(a)], axis=-1)


def _complex(a: Array) -> Array:
    xp = namespace(a)
    wide = xp.complex64 if a.dtype == xp.float32 else xp.complex128
    return xp.astype(a[..., 0], wide) + 1j * xp.astype(a[..., 1], wide)
