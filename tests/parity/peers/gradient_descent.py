"""sgd, momentum, nesterov and normalized-gd beside torch and optax."""

from __future__ import annotations

from typing import Any

from tests.parity.case import Case
from tests.parity.libraries import run_optax, run_torch
from tests.parity.makers import optax_side, ours
from tests.streams import run_refopt, schedule


def _torch(**kwargs: Any) -> Any:
    def make(parameters: list[Any]) -> Any:
        import torch

        return torch.optim.SGD(parameters, **kwargs)

    return lambda seed: run_torch(make, seed, schedule)


def _ours(name: str, **kwargs: Any) -> Any:
    return lambda seed: run_refopt(name, seed, schedule=schedule, **kwargs)


def _optax(**kwargs: Any) -> Any:
    return lambda seed: run_optax(lambda optax: optax.sgd(lambda n: 0.03 * schedule(n + 1), **kwargs), seed)


CASES = [
    Case(
        "normalized-gd", "optax", "optax",
        ours("normalized-gd", lr=0.03),
        optax_side(lambda o, lr: o.chain(o.normalize_by_update_norm(eps=0.0), o.scale_by_learning_rate(lr)), 0.03),
        says="optax's normalize_by_update_norm without its eps, on random and ill-conditioned gradients, 200 steps, to 1e-12.",
    ),
    # Clipping at 5 with the rate r is a floor of 5 with the rate 5 r.
    Case(
        "normalized-gd", "optax-clip", "optax",
        ours("normalized-gd", lr=0.15, floor=5.0),
        optax_side(lambda o, lr: o.chain(o.clip_by_global_norm(5.0), o.scale_by_learning_rate(lr)), 0.03),
        says="With a floor: optax's clip_by_global_norm, on random and ill-conditioned gradients, 200 steps, to 1e-12.",
    ),
    Case("sgd", "torch", "torch", _ours("sgd", dialect="torch", lr=0.03, weight_decay=0.1), _torch(lr=0.03, weight_decay=0.1), says="torch.optim.SGD with coupled decay, 200 steps on four streams, to 1e-12."),
    Case("sgd", "optax", "optax", _ours("sgd", dialect="optax", lr=0.03), _optax(), says="optax.sgd under a schedule, 200 steps on four streams, to 1e-12."),
    Case(
        "momentum", "torch", "torch",
        _ours("momentum", dialect="torch", lr=0.03, momentum=0.8, dampening=0.3, weight_decay=0.1),
        _torch(lr=0.03, momentum=0.8, dampening=0.3, weight_decay=0.1),
        says="torch.optim.SGD with dampening, decay and a schedule, 200 steps on four streams, to 1e-12.",
    ),
    Case("momentum", "optax", "optax", _ours("momentum", dialect="optax", lr=0.03, momentum=0.8), _optax(momentum=0.8), says="optax.sgd(momentum=...), 200 steps on four streams, to 1e-12."),
    Case(
        "nesterov", "torch", "torch",
        _ours("nesterov", dialect="torch", lr=0.03, momentum=0.8, weight_decay=0.1),
        _torch(lr=0.03, momentum=0.8, weight_decay=0.1, nesterov=True),
        says="torch.optim.SGD(nesterov=True) with decay and a schedule, 200 steps on four streams, to 1e-12.",
    ),
    Case(
        "nesterov", "optax", "optax", _ours("nesterov", dialect="optax", lr=0.03, momentum=0.8),
        _optax(momentum=0.8, nesterov=True),
        says="optax.sgd(nesterov=True), 200 steps on four streams, to 1e-12.",
    ),
]  # fmt: skip
