"""Engines: what runs an elementwise rule. The rule's text is the same for all of them."""

from __future__ import annotations

from typing import Any, Protocol

from refopt.core.arrays import Array
from refopt.core.errors import ArgumentError, nearest

ENGINES = ("array", "numba", "cupy")


class Engine(Protocol):
    """Runs a rule over all leaves at once."""

    def __call__(
        self, method: Any, arrays: list[Array], leaves: int, scalars: list[float], donate: bool
    ) -> list[Array]:
        """Apply ``method.rule`` to each leaf.

        Parameters
        ----------
        method : Elementwise
            Its ``rule(xp)`` returns a function ``(x, *given, *slots, *numbers) -> (x, *slots)``.
        arrays : list of array
            The leaves of x, then those of what is given, then those of each slot, in the same order.
        leaves : int
            How many leaves x has.
        scalars : list of float
            The step's numbers, computed once.
        donate : bool
            The caller gives up ``x`` and the slots: their memory may be overwritten.

        Returns
        -------
        list of array
            The leaves of the new x, then those of each new slot.
        """
        ...


def engine(name: str) -> Engine:
    """Return the engine called `name`.

    Raises
    ------
    ArgumentError
        An unknown name.
    MissingExtraError
        Numba or CuPy is not installed.
    """
    if name == "array":
        from refopt.core.engines.array import run
    elif name == "numba":
        from refopt.core.engines.numba import run
    elif name == "cupy":
        from refopt.core.engines.cupy import run
    else:
        raise ArgumentError(
            f"engine: wanted one of {', '.join(ENGINES)}, got {name!r}.{nearest(str(name), ENGINES)}"
        )
    return run
