"""Lookahead, and averages of the points, beside torch and pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import refopt

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_torch
from tests.parity.makers import TWO, ours
from tests.streams import Leaves, schedule, stream, trajectory


def _average(name: str, **options: Any) -> Callable[[int], Arrays]:
    """The averages of a method's states, under SGD with a schedule."""

    def side(seed: int) -> Arrays:
        out = {}
        for kind in TWO:
            x, gradients = stream(seed, kind)
            o = refopt.optimizer(name, base="sgd", lr=0.1, schedule=schedule, **options)
            held = {"x": x, "s": o.init(x)}

            def advance(_: Leaves, g: Leaves, t: int, o: Any = o, held: Any = held) -> Leaves:
                held["x"], held["s"] = o.update(held["x"], g, held["s"])
                return o.average(held["s"])

            out[kind] = trajectory(advance, x, gradients)
        return out

    return side


def _torch(multi: Callable[[Any], Any]) -> Callable[[int], Arrays]:
    """torch's AveragedModel over its SGD."""

    def side(seed: int) -> Arrays:
        import torch
        from torch.optim import swa_utils

        out = {}
        for kind in TWO:
            x, gradients = stream(seed, kind)
            model = torch.nn.Module()
            for k, v in x.items():
                model.register_parameter(k, torch.nn.Parameter(torch.tensor(v)))
            o, averaged = (
                torch.optim.SGD(model.parameters(), lr=0.1),
                swa_utils.AveragedModel(model, multi_avg_fn=multi(swa_utils)),
            )

            def advance(
                _: Leaves, g: Leaves, t: int, model: Any = model, o: Any = o, averaged: Any = averaged
            ) -> Leaves:
                o.param_groups[0]["lr"] = 0.1 * schedule(t)
                for k, p in model.named_parameters():
                    p.grad = torch.tensor(g[k])
                o.step()
                averaged.update_parameters(model)
                return {k: p.detach().numpy().copy() for k, p in averaged.module.named_parameters()}

            out[kind] = trajectory(advance, x, gradients)
        return out

    return side


def _lookahead(seed: int) -> Arrays:
    import pytorch_optimizer
    import torch

    def make(parameters: list[Any]) -> Any:
        base = torch.optim.SGD(parameters, lr=0.1, momentum=0.6)
        return pytorch_optimizer.Lookahead(base, k=4, alpha=0.3, pullback_momentum="none")

    return run_torch(make, seed, schedule, TWO)


CASES = [
    Case("ema", "torch", "torch", _average("ema", dialect="torch", decay_rate=0.8), _torch(lambda u: u.get_ema_multi_avg_fn(0.8)),
        says="torch's AveragedModel with get_ema_multi_avg_fn over SGD under a schedule, the averages of 200 steps on two streams, to 1e-12."),
    Case("swa", "torch", "torch", _average("swa", dialect="torch"), _torch(lambda u: None),
        says="torch's AveragedModel over SGD under a schedule, the means of 200 steps on two streams, to 1e-12."),
    Case("lookahead", "kozistr", "pytorch-optimizer",
        ours("lookahead", dialect="kozistr", base=refopt.optimizer("momentum", dialect="torch", lr=0.1, momentum=0.6, schedule=schedule),
             period=4, alpha=0.3, scheduled=False), _lookahead,
        says="pytorch_optimizer.Lookahead over torch's SGD with momentum under a schedule, 200 steps on two streams, to 1e-12."),
]  # fmt: skip
