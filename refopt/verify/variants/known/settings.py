"""Faults in hyperparameters: ignored, negated, swapped, or read for something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refopt.verify.variants.deviation import altered, deviation, fields, rewritten


def _replace(name: str, value: Any) -> Any:
    return lambda method: altered(method, **{name: value}) if fields(method).get(name) else None


deviation("weight-decay-ignored", "without its weight decay", stage="settings")(_replace("weight_decay", 0.0))


deviation("eps-ignored", "without eps", stage="settings")(_replace("eps", 0.0))


deviation("momentum-ignored", "without momentum", stage="settings")(_replace("momentum", 0.0))


deviation("beta1-ignored", "without its first average (beta1 = 0)", stage="settings")(_replace("beta1", 0.0))


def _changed(name: str, how: Callable[[float], float]) -> Any:
    """Give a number that is not zero another value."""

    def change(method: Any) -> Any:
        value = fields(method).get(name)
        return altered(method, **{name: how(value)}) if isinstance(value, float) and value else None

    return change


deviation("weight-decay-negated", "with the weight decay's sign turned", stage="settings")(
    _changed("weight_decay", lambda v: -v)
)


deviation(
    "eps-subtracted", "with eps subtracted, not added", stage="settings",
    seen=("keras 2.12.0 legacy NonFusedAdam (fixed in 2.13.1)",),
)(_changed("eps", lambda v: -v))  # fmt: skip


deviation("eps-squared", "with eps squared", stage="settings")(_changed("eps", lambda v: v * v))


deviation("eps-root-of", "with the root of eps in eps's place", stage="settings")(
    _changed("eps", lambda v: v**0.5)
)


deviation("weight-decay-halved", "with half the weight decay", stage="settings")(
    _changed("weight_decay", lambda v: 0.5 * v)
)


deviation("weight-decay-doubled", "with twice the weight decay", stage="settings")(
    _changed("weight_decay", lambda v: 2.0 * v)
)


for _name in ("beta1", "beta2", "momentum"):
    deviation(f"{_name}-complement", f"with 1 - {_name} in {_name}'s place", stage="settings")(
        _changed(_name, lambda v: 1.0 - v)
    )


@deviation(
    "betas-complement",
    "with 1 - beta in every beta's place (what one paper calls beta is another's 1 - beta)",
    stage="settings",
    seen=("adan-pytorch 0.1.0, which has its betas as the Adan paper does",),
)
def _(method: Any) -> Any:
    have = fields(method).items()
    betas = {k: 1.0 - v for k, v in have if k in ("beta1", "beta2", "beta3") and isinstance(v, float)}
    return altered(method, **betas) if len(betas) > 1 else None


@deviation("betas-swapped", "with beta1 and beta2 exchanged", stage="settings")
def _(method: Any) -> Any:
    have = fields(method)
    if "beta1" not in have or "beta2" not in have:
        return None
    return altered(method, beta1=have["beta2"], beta2=have["beta1"])


def _exchanged(a: str, b: str) -> Callable[[Any], Any]:
    def change(method: Any) -> Any:
        have = fields(method)
        if a not in have or b not in have or not (type(have[a]) is type(have[b]) is float):
            return None
        return altered(method, **{a: have[b], b: have[a]})

    return change


for a, b in (("nu1", "nu2"), ("beta2", "beta3"), ("beta1", "beta3"), ("grow", "shrink")):
    deviation(f"{a}-and-{b}-swapped", f"with {a} and {b} exchanged", stage="settings")(_exchanged(a, b))


def _slowing(power: float) -> Callable[[Any], Any]:
    def change(method: Any) -> Any:
        if not hasattr(type(method), "rate"):
            return None
        cls: Any = type(method)
        return rewritten(method, rate=lambda self, t: cls.rate(self, t) / t**power)

    return change


deviation("rate-over-root-of-step", "with the rate over the root of the step's number", stage="settings")(
    _slowing(0.5)
)
deviation("rate-over-step", "with the rate over the step's number", stage="settings")(_slowing(1.0))


@deviation("schedule-ignored", "with a constant rate, whatever the schedule", stage="settings")
def _(method: Any) -> Any:
    return altered(method, schedule=None) if fields(method).get("schedule") is not None else None


def _shifted(by: int) -> Any:
    def change(method: Any) -> Any:
        schedule = fields(method).get("schedule")
        return altered(method, schedule=lambda t: schedule(max(t + by, 1))) if schedule is not None else None

    return change


deviation("schedule-late", "with the schedule's value of the step before", stage="settings")(_shifted(-1))


deviation("schedule-early", "with the schedule's value of the step after", stage="settings")(_shifted(1))
