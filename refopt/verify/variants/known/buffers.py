"""Faults of buffers: overwritten, aliased or left out, method by method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.params import Params, map_leaves
from refopt.optimizers.common import averages
from refopt.verify.variants.deviation import (
    Around,
    altered,
    blended,
    deviation,
    fields,
    innermost,
    refit,
    with_numbers,
    with_shared,
)
from refopt.verify.variants.known.averages_and_roots import count_averages


def _velocity(method: Any) -> str | None:
    """Return the slot that holds the momentum of gradients."""
    slots = getattr(method, "slots", ())
    return next((k for k in ("b", "v", "buffer", "m") if k in slots), None)


@deviation(
    "nesterov-overwrites-momentum",
    "with the look-ahead written back into the momentum buffer",
    stage="step",
    only=("sgdp", "nesterov", "sgdw", "muon", "rmsprop"),
)
def _(method: Any) -> Any:
    inner = innermost(method)
    have, slot = fields(inner), _velocity(inner)
    look = have.get("nesterov", inner.registered_name == "nesterov")
    if slot is None or not look or not isinstance(have.get("momentum"), float):
        return None
    coupled = inner.coupled() if hasattr(inner, "coupled") else 0.0

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            new, after = self.method.update(x, grad, s)
            g = params.axpy(coupled, x, grad) if coupled else grad
            return new, {**after, slot: params.axpy(have["momentum"], after[slot], g)}

    return Changed(method)


def _lion(kept: Callable[[Params, Params, float, float], Params]) -> Callable[[Any], Any]:
    """Store ``kept(m, g, beta1, beta2)`` as Lion's momentum, after a right step."""

    def change(method: Any) -> Any:
        inner = innermost(method)

        class Changed(Around):
            def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
                new, after = self.method.update(x, grad, s)
                g = params.axpy(inner.coupled(), x, grad)
                return new, {**after, "m": kept(s["m"], g, inner.beta1, inner.beta2)}

        return Changed(method)

    return change


def _signs(x: Params) -> Params:
    return map_leaves(lambda a: namespace(a).sign(a), x)


deviation(
    "lion-buffer-overwritten",
    "with the interpolation written into the momentum before the momentum's own average",
    stage="step", only=("lion",),
)(_lion(lambda m, g, b1, b2: blended(blended(m, g, b1), g, b2)))  # fmt: skip


deviation(
    "lion-sign-stored",
    "with the step's sign written into the momentum before the momentum's own average",
    stage="step", only=("lion",),
)(_lion(lambda m, g, b1, b2: blended(_signs(blended(m, g, b1)), g, b2)))  # fmt: skip


deviation(
    "lion-one-average", "with the step's interpolation stored as the momentum", stage="step", only=("lion",)
)(_lion(lambda m, g, b1, b2: blended(m, g, b1)))


@deviation("nesterov-missing", "without the look-ahead (plain momentum)", stage="settings")
def _(method: Any) -> Any:
    return altered(method, nesterov=False) if fields(method).get("nesterov") else None


@deviation(
    "maximum-missing",
    "without the maximum over past second moments",
    stage="step",
    only=("amsgrad", "amsbound"),
)
def _(method: Any) -> Any:
    inner = innermost(method)

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            return self.method.update(x, grad, {**s, "V": params.zeros_like(x)})

    return Changed(method) if "V" in getattr(inner, "slots", ()) else None


@deviation(
    "maximum-fed-back",
    "with the maximum over past second moments written back into their average",
    stage="step",
    only=("amsgrad", "amsbound"),
)
def _(method: Any) -> Any:
    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            new, after = self.method.update(x, grad, s)
            return new, {**after, "v": after["V"]}

    return Changed(method) if {"v", "V"} <= set(getattr(innermost(method), "slots", ())) else None


@deviation("averages-share-a-buffer", "with one buffer for its first and its second average", stage="text")
def _(method: Any) -> Any:
    calls = count_averages(method)
    if calls < 2:
        return None

    def make(method: Any) -> Callable[..., Any]:
        held: list[Any] = [None, 0]

        def ema(average: Any, new: Any, beta: Any, complement: Any) -> Any:
            place = held[1] % calls
            held[1] += 1
            if place == 0:
                # Arithmetic on 0-d arrays gives numbers, which cannot be written into.
                held[0] = np.array(averages.ema(average, new, beta, complement))
                return held[0]
            if place == 1:
                held[0][...] = averages.ema(held[0], new, beta, complement)
                return held[0]
            return averages.ema(average, new, beta, complement)

        return ema

    return with_shared(method, "ema", make)


def _second(method: Any) -> str | None:
    """Return the slot that holds the average, or sum, of squares."""
    slots = getattr(method, "slots", ())
    # Without beta2 a slot v is a velocity.
    names = ("n", "v") if "beta2" in fields(method) else ("E", "G")
    return next((k for k in names if k in slots and "eps" in fields(method)), None)


def _stored(
    slot_of: Callable[[Any], str | None], what: Callable[[Any, Any, int], Any]
) -> Callable[[Any], Any]:
    """Keep ``what(array, method, t)`` in the slot after the step that used the array itself."""

    def change(method: Any) -> Any:
        inner = innermost(method)
        slot = slot_of(inner)
        if slot is None:
            return None

        class Changed(Around):
            def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
                new, after = self.method.update(x, grad, s)
                return new, {**after, slot: map_leaves(lambda a: what(a, inner, after["t"]), after[slot])}

        return Changed(method)

    return change


def _corrected_by(beta: str) -> Callable[[Any, Any, int], Any]:
    return lambda a, method, t: a / averages.correction(getattr(method, beta), t)


def _slot_with(slot: str, beta: str) -> Callable[[Any], str | None]:
    return lambda method: slot if slot in getattr(method, "slots", ()) and beta in fields(method) else None


deviation(
    "second-average-rooted-in-place", "with the root of its squares' average stored in the average's place",
    stage="step", seen=("pytorch-optimizer 2.6.1 Adan (fixed in 2.7.0)",),
)(_stored(_second, lambda a, method, t: namespace(a).sqrt(a)))  # fmt: skip


deviation(
    "second-average-corrected-in-place", "with the bias-corrected second average stored in the average's place",
    stage="step",
)(_stored(_slot_with("v", "beta2"), _corrected_by("beta2")))  # fmt: skip


deviation(
    "first-average-corrected-in-place", "with the bias-corrected first average stored in the average's place",
    stage="step",
)(_stored(_slot_with("m", "beta1"), _corrected_by("beta1")))  # fmt: skip


deviation(
    "eps-added-in-place", "with eps added to the stored average of squares at every step", stage="step"
)(_stored(_second, lambda a, method, t: a + method.eps))


@deviation(
    "buffer-starts-at-gradient",
    "with its momentum begun at the first gradient, which the first step then adds once more",
    stage="step",
    seen=("pytorch-optimizer 3.5.1 LARS and NovoGrad",),
)
def _(method: Any) -> Any:
    inner = innermost(method)
    slot = _velocity(inner)
    if slot is None or not fields(inner).get("momentum"):
        return None

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            if s["t"] == 0:
                # From zero the first step leaves the gradient, as the method takes it, in the buffer.
                _, after = self.method.update(x, grad, s)
                s = {**s, slot: after[slot]}
            return self.method.update(x, grad, s)

    return Changed(method)


@deviation(
    "gradient-weighs-one-minus-momentum",
    "with 1 - momentum as the gradient's weight in the momentum",
    stage="settings",
)
def _(method: Any) -> Any:
    have = fields(method)
    return altered(method, dampening=have["momentum"]) if "dampening" in have and "momentum" in have else None


@deviation(
    "previous-gradient-never-kept",
    "with nothing kept as the last gradient, so that its change is always the whole gradient",
    stage="step",
    seen=("holocron 0.2.2.dev0 Adan (main at cbe2ac60)",),
)
def _(method: Any) -> Any:
    inner = innermost(method)
    if "previous" not in getattr(inner, "slots", ()):
        return None
    # Where a first gradient has no change, here it has.
    whole = with_numbers(inner, lambda self, t, n: {**n, "moving": 1.0} if "moving" in n else n)

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            return self.method.update(x, grad, {**s, "previous": params.zeros_like(x)})

    return Changed(refit(method, whole or inner))
