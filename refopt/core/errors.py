"""The errors that refopt raises for bad input: each names the argument, what came and what is wanted."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RefoptError(Exception):
    """Base of every error that refopt raises on purpose."""


class ArgumentError(RefoptError, ValueError):
    """An argument's value is outside what the function is defined for."""


class ArgumentTypeError(RefoptError, TypeError):
    """An argument is of a type that the function does not take."""


class ShapeError(ArgumentError):
    """An array's shape does not fit."""


class DtypeError(ArgumentTypeError):
    """An array's dtype does not fit (integer parameters, mixed precision)."""


class NonFiniteError(ArgumentError):
    """An input contains NaN or infinity."""


class UnknownNameError(ArgumentError):
    """No method, problem or dialect has this name."""


class HyperparameterError(ArgumentTypeError):
    """A method has no hyperparameter of this name."""


class CapabilityError(ArgumentTypeError):
    """A problem does not offer what the method needs."""


class CheckpointError(ArgumentError):
    """A checkpoint is missing, truncated, foreign or belongs to another run."""


class StoreError(ArgumentError):
    """A sweep's file is missing, damaged, foreign or of another format."""


class ExecutorError(RefoptError, RuntimeError):
    """An executor lost a worker, or could not carry a run of a sweep."""


class VectorsError(ArgumentError):
    """A file of test vectors is missing, is not of the format, or was changed since it was written."""


class ProgramError(ArgumentError):
    """A program that should be compared cannot start, died, was silent or answered what is not asked for."""


class ConvergenceError(ArgumentError):
    """The input lies outside the region in which the iteration converges."""


class MissingExtraError(RefoptError, ImportError):
    """An optional dependency is not installed; the message names the extra."""


def plain(text: str) -> str:
    """Return text of others without control characters: a terminal would obey them."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean ...?`` for the names closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def missing_extra(extra: str, package: str) -> MissingExtraError:
    """Build the one-line error for a missing optional `package` of the extra `extra`."""
    return MissingExtraError(f"this needs {package}, which is not installed: pip install 'refopt[{extra}]'")


def traced(error: BaseException) -> bool:
    """Tell whether JAX raised `error` because a value was asked for that it only traces."""
    return any(kind.__name__ == "JAXTypeError" for kind in type(error).__mro__)
