"""A rate that is a share of 1 / L, where none is given and the problem knows its L."""

from __future__ import annotations

from typing import Any

from refopt.core.errors import ArgumentError
from refopt.core.oracle import Oracle


def known_rate(method: Any, t: int, oracle: Oracle, share: float = 1.0) -> float:
    """Return the method's rate at step `t`, or, where its ``lr`` is None, ``share / L`` times the schedule.

    Raises
    ------
    ArgumentError
        Neither is there.
    """
    if method.lr is not None:
        return float(method.rate(t))
    lipschitz = getattr(oracle.problem, "lipschitz", None)
    if lipschitz is None:
        raise ArgumentError(
            f"{method.registered_name}: lr is None, which means {share:g} / L, but the problem does not know its L"
            " (attribute lipschitz); give lr"
        )
    return float(share * method.multiplier(t) / lipschitz)
