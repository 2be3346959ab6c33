"""`fingerprint`: what an implementation does, in numbers, beside what the reference does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from refopt.core.hyper import check_number
from refopt.core.registry import STEPPING, entry
from refopt.verify.measure.differences import differing, told
from refopt.verify.measure.experiments import words
from refopt.verify.measure.nearest import nearest
from refopt.verify.measure.sides import as_handed_over, measured, reference


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What short experiments read off an implementation; ``str(fingerprint)`` says it in words.

    Parameters
    ----------
    other : str
    numbers : dict of str to float
        By property: the other side's.
    method, dialect : str
        The reference beside it; empty where none was named.
    reference : dict of str to float
        The reference's numbers.
    nearest : tuple of str
        The registered methods whose numbers are nearest, where none was named.
    """

    other: str
    numbers: Mapping[str, float]
    method: str = ""
    dialect: str = ""
    reference: Mapping[str, float] = field(default_factory=dict)
    nearest: tuple[str, ...] = ()

    @property
    def differing(self) -> tuple[str, ...]:
        """The properties in which the two differ, the plainest first."""
        return differing(self.numbers, self.reference)

    def __str__(self) -> str:
        if self.method:
            found = told(self.numbers, self.reference)
            if not found:
                return f"{self.other} and {self.method} ({self.dialect}) are alike in all {len(self.numbers)} properties."
            head = f"{self.other} and {self.method} ({self.dialect}) differ in {len(found)} of {len(self.numbers)} properties:"
            return "\n".join([head, *(f"  {line}" for line in found)])
        lines = [f"{self.other}:", *(f"  {words(k, v)}" for k, v in self.numbers.items())]
        return "\n".join([*lines, f"  Nearest in this: {', '.join(self.nearest)}."])


def fingerprint(
    other: Any, name: str | None = None, *, dialect: str = "paper", seed: int = 0, **hyperparameters: Any
) -> Fingerprint:
    """Measure what an implementation does, without looking at how.

    Short experiments ask for its steps under one gradient and none after it, a constant one, an
    alternating one; under gradients scaled, turned, rotated, or changed in one coordinate; at no gradient
    at all; from other starts; at other rates.

    Parameters
    ----------
    other : object
        As in `refopt.verify.compare`.
    name : str, optional
        The method to put beside it; by default the nearest methods are named.
    dialect : str
        Of the method.
    seed : int
        Of gradients and starts.
    hyperparameters
        By the reference's names, for both sides.

    Returns
    -------
    Fingerprint

    Raises
    ------
    UnknownNameError, HyperparameterError, ArgumentTypeError, CapabilityError
        As `refopt.verify.compare`.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> def mine(x, g, state, lr=0.01):
    ...     return x - lr * np.sign(g), None
    >>> f = refopt.verify.fingerprint(mine)
    >>> f.numbers["degree"], f.numbers["row"]
    (0.0, 0.0)
    >>> print(refopt.verify.fingerprint(mine, "sgd", lr=0.01).differing[:2])
    ('degree', 'degree_tiny')
    """
    check_number(seed, "int [0, 9223372036854775807]", "seed")
    if name is None:
        it = as_handed_over(other, seed, **hyperparameters)
        numbers = measured(it)
        return Fingerprint(it.side.name, numbers, nearest=nearest(numbers))
    it = as_handed_over(other, seed, entry(name, STEPPING).obj, **hyperparameters)
    own = {k: v for k, v in hyperparameters.items() if k not in it.side.takes}
    beside = reference(name, dialect, it, **own)
    return Fingerprint(it.side.name, measured(it), name, dialect, measured(beside))
