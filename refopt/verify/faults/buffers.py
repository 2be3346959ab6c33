"""Faults of buffers: overwritten, aliased or left out, method by method."""

from __future__ import annotations

from typing import Any

from refopt.core import params
from refopt.core.params import Params
from refopt.verify.deviations import Around, altered, deviation, fields, innermost


def _velocity(method: Any) -> str | None:
    """Return the slot that holds the momentum of gradients."""
    slots = getattr(method, "slots", ())
    return next((k for k in ("b", "v", "buffer", "m") if k in slots), None)


@deviation(
    "nesterov-overwrites-momentum",
    "with the look-ahead written back into the momentum buffer",
    stage="step",
    seen=("pytorch-optimizer 2.7.0 SGDP (fixed in 2.8.0)",),
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


@deviation(
    "lion-buffer-overwritten",
    "with the interpolation written into the momentum before the momentum's own average",
    stage="step",
    only=("lion", "mars-lion"),
)
def _(method: Any) -> Any:
    inner = innermost(method)
    have = fields(inner)

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            new, after = self.method.update(x, grad, s)
            g = params.axpy(inner.coupled(), x, grad)
            mixed = params.axpy(have["beta1"], s["m"], params.scale(1.0 - have["beta1"], g))
            kept = params.axpy(have["beta2"], mixed, params.scale(1.0 - have["beta2"], g))
            return new, {**after, "m": kept}

    return Changed(method)


@deviation(
    "lion-one-average",
    "with the step's interpolation stored as the momentum",
    stage="step",
    only=("lion",),
)
def _(method: Any) -> Any:
    inner = innermost(method)
    have = fields(inner)

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            new, after = self.method.update(x, grad, s)
            g = params.axpy(inner.coupled(), x, grad)
            return new, {
                **after,
                "m": params.axpy(have["beta1"], s["m"], params.scale(1.0 - have["beta1"], g)),
            }

    return Changed(method)


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
