"""Hyperparameters that follow from a problem's L and mu, for ``lr="auto"``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from refopt.core.errors import ArgumentError
from refopt.core.registry import STEPPING, entry, methods


@dataclass(frozen=True)
class KnownRate:
    """What a paper or textbook takes for a function whose gradients are L-Lipschitz and that is mu-strongly convex.

    Parameters
    ----------
    words : str
        The formula, and whose it is.
    settings : callable
        ``settings(L, mu)`` returns hyperparameters by name; mu is 0 where it is not known.
    convex : bool
        It needs mu > 0.
    """

    words: str
    settings: Callable[[float, float], Mapping[str, Any]]
    convex: bool = False


def with_known_rate(name: str, problem: Any, batch_size: int | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return hyperparameters with those that L and mu give in the place of ``lr="auto"``; what else is given wins.

    Raises
    ------
    ArgumentError
        The method has no such rate, the problem does not know its L or mu, or gradients are of batches.
    """
    rule: KnownRate | None = entry(name, STEPPING).extra.get("known_rate")
    if rule is None:
        have = ", ".join(sorted(e.name for e in methods() if "known_rate" in e.extra))
        raise ArgumentError(f"lr: wanted a number for {name}, got 'auto', which is for {have}")
    if batch_size is not None:
        raise ArgumentError(
            f"lr: 'auto' is for gradients of all examples; with batch_size = {batch_size} wanted a number"
        )
    lipschitz, mu = getattr(problem, "lipschitz", None), getattr(problem, "strong_convexity", None) or 0.0
    if lipschitz is None:
        raise ArgumentError(
            "lr: 'auto' follows from L, which this problem does not know (attribute lipschitz); wanted a number"
        )
    if rule.convex and not mu > 0.0:
        raise ArgumentError(
            f"lr: 'auto' of {name} follows from L and mu, and this problem knows no mu above zero (attribute"
            " strong_convexity); wanted a number"
        )
    return {**rule.settings(float(lipschitz), float(mu)), **{k: v for k, v in given.items() if k != "lr"}}
