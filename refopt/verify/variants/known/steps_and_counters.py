"""Faults around a step: the first one, its leaves, its counter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refopt.core import params
from refopt.core.method import LeafRule
from refopt.core.params import Params, leaves, rebuild
from refopt.verify.variants.deviation import Around, altered, deviation, fields, innermost, refit

# --- the step --------------------------------------------------------------------------------------


@deviation("first-step-without-rate", "with the first step not multiplied by the rate", stage="step")
def _(method: Any) -> Any:
    inner = innermost(method)
    if not isinstance(fields(inner).get("lr"), float):
        return None

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            plain = altered(inner, lr=1.0, schedule=None) if s["t"] == 0 else None
            return refit(self.method, plain or inner).update(x, grad, s)

    return Changed(method)


@deviation("first-step-skipped", "without moving in the first step", stage="step")
class FirstSkipped(Around):
    """Take in the first gradient, but stay."""

    def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
        """Stay at x in step 1."""
        new, after = self.method.update(x, grad, s)
        return (x if s.get("t", 0) == 0 else new), after


@deviation("first-gradient-dropped", "with nothing averaged in the first step", stage="step")
class FirstDropped(Around):
    """Take a gradient of zero for the first one, which is kept all the same where the last one is."""

    def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
        """Update with zero in step 1."""
        if s.get("t", 0) > 0:
            return self.method.update(x, grad, s)
        new, after = self.method.update(x, params.zeros_like(grad), s)
        return new, {**after, "previous": grad} if "previous" in after else after


@deviation("step-doubled", "with the step made twice", stage="step")
class Doubled(Around):
    """Move twice as far."""

    def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
        """Double the move."""
        new, after = self.method.update(x, grad, s)
        return params.axpy(2.0, params.subtract(new, x), x), after


@deviation("first-leaf-only", "with the first leaf alone updated", stage="step")
class FirstLeaf(Around):
    """Leave every other leaf where it is."""

    def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
        """Move the first leaf."""
        new, after = self.method.update(x, grad, s)
        named, old = leaves(new), leaves(x)
        first = next(iter(named))
        return rebuild(x, {k: named[k] if k == first else old[k] for k in named}), after


@deviation(
    "first-gradient-for-all", "with the first leaf's gradient for every leaf of its shape", stage="step",
    seen=("pennylane 0.19.1 AdagradOptimizer (every argument takes grad[0])",),
)  # fmt: skip
class FirstGradient(Around):
    """Give every leaf of the first one's shape its gradient."""

    def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
        """Replace the gradients."""
        named = leaves(grad)
        first = next(iter(named.values()))
        shared = {k: first if v.shape == first.shape else v for k, v in named.items()}
        return self.method.update(x, rebuild(grad, shared), s)


@deviation("leaves-apart", "with every leaf by itself, as if there were no others", stage="step")
def _(method: Any) -> Any:
    if isinstance(innermost(method), LeafRule):
        return None

    class Changed(Around):
        def init(self, x: Params) -> Any:
            return {"t": 0, "leaves": {k: self.method.init({k: v}) for k, v in leaves(x).items()}}

        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            named, given = leaves(x), leaves(grad)
            new, states = {}, {}
            for k in named:
                moved, states[k] = self.method.update({k: named[k]}, {k: given[k]}, s["leaves"][k])
                new[k] = moved[k]
            return rebuild(x, new), {"t": s["t"] + 1, "leaves": states}

    return Changed(method)


# --- the counter -----------------------------------------------------------------------------------


def _scheduled_apart(method: Any) -> tuple[Any, list[int]]:
    """Return `method` with its schedule read at a number of our own, whatever its state's counter says."""
    inner, now = innermost(method), [1]
    schedule = fields(inner).get("schedule")
    if schedule is not None:
        inner = altered(inner, schedule=lambda t: schedule(now[0]))
    return refit(method, inner), now


def _counted(number: Callable[[int], int]) -> Callable[[Any], Any]:
    """Let the rule see ``number(t)`` in place of t = 1, 2, …; the schedule still sees t."""

    def change(method: Any) -> Any:
        if not hasattr(innermost(method), "rate"):
            return None
        method, now = _scheduled_apart(method)

        class Changed(Around):
            def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
                now[0] = s["t"] + 1
                new, after = self.method.update(x, grad, {**s, "t": number(now[0]) - 1})
                return new, {**after, "t": now[0]}

        return Changed(method)

    return change


deviation("counter-one-ahead", "with the step counted from 2", stage="counter")(_counted(lambda t: t + 1))


deviation("counter-one-behind", "with the step counted from 0", stage="counter")(_counted(lambda t: t - 1))


deviation("counter-frozen", "with the step counter never advanced (always 1)", stage="counter")(
    _counted(lambda t: 1)
)


deviation(
    "counter-twice", "with the step counted twice a call (2, 4, 6, …)", stage="counter",
)(_counted(lambda t: 2 * t))  # fmt: skip


deviation("counter-twice-odd", "with the step counted twice a call (1, 3, 5, …)", stage="counter")(
    _counted(lambda t: 2 * t - 1)
)


@deviation("counter-per-leaf", "with one step counter that every leaf advances", stage="counter")
def _(method: Any) -> Any:
    if not hasattr(innermost(method), "rate"):
        return None
    method, now = _scheduled_apart(method)

    class Changed(Around):
        def init(self, x: Params) -> Any:
            named = leaves(x)
            return {"t": 0, "leaves": {k: self.method.init({k: v}) for k, v in named.items()}}

        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            named, given = leaves(x), leaves(grad)
            now[0] = s["t"] + 1
            new, states = {}, {}
            for place, k in enumerate(named):
                own = {**s["leaves"][k], "t": s["t"] * len(named) + place}
                moved, states[k] = self.method.update({k: named[k]}, {k: given[k]}, own)
                new[k] = moved[k]
            return rebuild(x, new), {"t": now[0], "leaves": states}

    return Changed(method)


@deviation("state-forgotten", "with a fresh state at every step", stage="counter")
def _(method: Any) -> Any:
    method, now = _scheduled_apart(method)

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            now[0] = s["t"] + 1
            new, after = self.method.update(x, grad, self.method.init(x))
            return new, {**after, "t": now[0]}

    return Changed(method)
