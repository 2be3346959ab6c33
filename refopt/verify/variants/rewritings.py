"""The same rule by another formula: equal but for rounding, of which it makes more.

A comparison allows what rounding of the reference's own formula explains. Where somebody writes the same step so that
digits cancel, the difference is larger and no fault; held to the reference written in that way, it agrees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from refopt.core import params
from refopt.core.params import Params
from refopt.verify.variants.deviation import Around, Deviation, innermost


class _OfPoints(Around):
    """A velocity that is not kept, but taken as the difference of the last two points."""

    def init(self, x: Params) -> Any:
        """Return the method's state beside the last point."""
        return {**self.method.init(x), "last": params.copied(x)}

    def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
        """Make the method's step from ``v = x_{t-2} - x_{t-1}``."""
        kept = {k: v for k, v in s.items() if k != "last"}
        new, after = self.method.update(x, grad, {**kept, "v": params.subtract(s["last"], x)})
        return new, {**after, "last": params.copied(x)}


def _of_points(method: Any) -> Any:
    inner = innermost(method)
    velocity = getattr(inner, "slots", ()) == ("v",) and getattr(inner, "rate_inside", False)
    return _OfPoints(method) if velocity else None


REWRITINGS = (
    Deviation(
        "velocity-of-points",
        "the velocity taken as the difference of the last two points",
        "step",
        _of_points,
    ),
)


def rewritings(method: Any) -> Iterator[Deviation]:
    """Yield the ways in which `method` is written that lose more digits than its own."""
    return (d for d in REWRITINGS if d.change(method) is not None)
