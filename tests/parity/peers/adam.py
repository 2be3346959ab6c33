"""adam, adamax, adamw and sgdw beside torch, optax and pytorch_optimizer."""

from __future__ import annotations

from typing import Any

from tests.parity.case import Case
from tests.parity.libraries import run_optax, run_torch
from tests.streams import run_refopt, schedule

ADAM = {"lr": 0.03, "eps": 1e-2}


def _torch(cls: str, module: str = "torch.optim", **kwargs: Any) -> Any:
    def make(parameters: list[Any]) -> Any:
        import importlib

        return getattr(importlib.import_module(module), cls)(parameters, **kwargs)

    return lambda seed: run_torch(make, seed, schedule)


def _optax(cls: str, **kwargs: Any) -> Any:
    return lambda seed: run_optax(
        lambda optax: getattr(optax, cls)(lambda n: 0.03 * schedule(n + 1), **kwargs), seed
    )


def _ours(name: str, **kwargs: Any) -> Any:
    return lambda seed: run_refopt(name, seed, schedule=schedule, **kwargs)


CASES = [
    Case(
        "adam", "torch", "torch",
        _ours("adam", dialect="torch", beta1=0.8, beta2=0.6, weight_decay=0.1, **ADAM),
        _torch("Adam", betas=(0.8, 0.6), weight_decay=0.1, **ADAM),
        says="torch.optim.Adam with coupled decay, low beta2 and large eps, 200 steps on four streams, to 1e-12.",
    ),
    Case("adam", "torch-default", "torch", _ours("adam", dialect="torch"), _torch("Adam"), says="torch.optim.Adam at its defaults under a schedule, 200 steps on four streams, to 1e-12."),
    Case(
        "adam", "optax", "optax",
        _ours("adam", dialect="optax", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-3, eps_root=1e-4),
        _optax("adam", b1=0.8, b2=0.6, eps=1e-3, eps_root=1e-4),
        says="optax.adam with eps_root, 200 steps on four streams, to 1e-12.",
    ),
    Case(
        "adamax", "torch", "torch",
        _ours("adamax", dialect="torch", beta1=0.8, beta2=0.6, weight_decay=0.1, **ADAM),
        _torch("Adamax", betas=(0.8, 0.6), weight_decay=0.1, **ADAM),
        says="torch.optim.Adamax with coupled decay, 200 steps on four streams, to 1e-12.",
    ),
    Case(
        "adamax", "optax", "optax",
        _ours("adamax", dialect="optax", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2),
        _optax("adamax", b1=0.8, b2=0.6, eps=1e-2),
        says="optax.adamax, 200 steps on four streams, to 1e-12.",
    ),
    Case(
        "adamw", "torch", "torch",
        _ours("adamw", dialect="torch", beta1=0.8, beta2=0.6, weight_decay=0.1, **ADAM),
        _torch("AdamW", betas=(0.8, 0.6), weight_decay=0.1, **ADAM),
        says="torch.optim.AdamW with low beta2 and large eps under a schedule, 200 steps on four streams, to 1e-12.",
    ),
    Case(
        "adamw", "optax", "optax",
        _ours("adamw", dialect="optax", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, weight_decay=0.1),
        _optax("adamw", b1=0.8, b2=0.6, eps=1e-2, weight_decay=0.1),
        says="optax.adamw under a schedule, 200 steps on four streams, to 1e-12.",
    ),
    Case(
        "sgdw", "kozistr", "pytorch-optimizer",
        _ours("sgdw", dialect="timm", lr=0.03, momentum=0.8, dampening=0.3, weight_decay=0.1),
        _torch("SGDW", "pytorch_optimizer", lr=0.03, momentum=0.8, dampening=0.3, weight_decay=0.1),
        says="pytorch_optimizer.SGDW (decay times the rate), 200 steps on four streams, to 1e-12.",
    ),
]  # fmt: skip
