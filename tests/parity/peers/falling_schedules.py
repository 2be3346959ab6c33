"""Warm-up, stable stage and decay, and the inverse square root, beside timm's and pytorch_optimizer's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.parity.case import Arrays, Case
from tests.parity.libraries import timm_class
from tests.parity.peers.keras_schedules import N, ours

SHAPES = {"sqrt": "1-sqrt", "linear": "linear", "cosine": "cosine"}


def rates(n: int, first: int, make: Callable[[Any], Callable[[int], None]]) -> np.ndarray:
    """The rates of an SGD with lr=1 at the times `first`, ..., which ``make(optimizer)`` moves it to."""
    import torch

    o = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    move, found = make(o), []
    for t in range(first, first + n):
        o.step()
        move(t)
        found.append(o.param_groups[0]["lr"])
    return np.array(found)


def timm_rates(*settings: dict[str, Any]) -> Callable[[int], Arrays]:
    """The rates of timm's scheduler at its times 1, 2, ...; at time 0 it is 0 where it warms up."""

    def side(seed: int) -> Arrays:
        cls = timm_class("scheduler.wsd_lr", "WSDLRScheduler")
        return {
            str(i): rates(N, 1, lambda o, given=given: cls(o, t_in_epochs=False, **given).step_update)
            for i, given in enumerate(settings)
        }

    return side


def kozistr(seed: int) -> Arrays:
    """The rates of pytorch_optimizer's WSD schedule at its steps 1, 2, ..."""
    from pytorch_optimizer.lr_scheduler import get_wsd_schedule

    def make(shape: str) -> Callable[[Any], Callable[[int], None]]:
        def moved(o: Any) -> Callable[[int], None]:
            scheduler = get_wsd_schedule(o, 5, 15, 12, cooldown_type=shape)
            return lambda t: scheduler.step()

        return moved

    return {str(i): rates(N, 1, make(shape)) for i, shape in enumerate(SHAPES.values())}


CASES = [
    Case("inverse-square-root", "timm", "timm", ours(*(("inverse-square-root", {"warmup": w}) for w in (9, 25))),
        timm_rates(*({"t_initial": 1000, "decay_t": 1, "stable_fn": "rsqrt", "warmup_t": w} for w in (9, 25))), rtol=1e-15,
        says="60 rates of timm's scheduler with a reciprocal square root behind two warm-ups, to an ulp of 1 (it takes the power of"
        " 1 + (t - W) / W)."),
    Case("wsd", "timm", "timm",
        ours(*(("wsd", {"warmup": w, "stable": 20, "decay": 12, "shape": shape}) for w in (0, 5) for shape in SHAPES)),
        timm_rates(*({"t_initial": 32 - w, "decay_t": 12, "decay_fn": f, "warmup_t": w} for w in (0, 5) for f in SHAPES.values())),
        rtol=1e-15, says="60 rates of timm's scheduler, three decays with and without a warm-up, 28 of them after the end, to an ulp of 1."),
    Case("wsd", "kozistr", "pytorch-optimizer",
        ours(*(("wsd", {"warmup": 5, "stable": 20, "decay": 12, "shape": shape}) for shape in SHAPES)), kozistr, rtol=1e-15,
        says="60 rates of pytorch_optimizer's get_wsd_schedule, three decays behind a warm-up, to an ulp of 1 (bit for bit where the tape was made)."),
]  # fmt: skip
