"""Short ways to write the two sides of a case on the gradient streams."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from tests.parity.case import Arrays
from tests.parity.libraries import run_optax, run_torch
from tests.streams import run_refopt, schedule

Side = Callable[[int], Arrays]
# Two of the four streams: a tape stays small.
TWO = ("random", "ill")


def ours(name: str, *, scheduled: bool = True, kinds: tuple[str, ...] = TWO, **kwargs: Any) -> Side:
    """A registered method on the streams, under the tests' schedule."""
    if scheduled:
        kwargs["schedule"] = schedule
    return lambda seed: run_refopt(name, seed, kinds=kinds, **kwargs)


def torch_side(
    cls: str,
    module: str = "pytorch_optimizer",
    *,
    kinds: tuple[str, ...] = TWO,
    shapes: dict[str, Any] | None = None,
    double: bool = False,
    **kwargs: Any,
) -> Side:
    """``module.cls(parameters, **kwargs)``, a torch optimizer, on the streams, its rate scheduled.

    `double`: with float64 as torch's default, for optimizers whose own numbers have the default dtype.
    """

    def make(parameters: list[Any]) -> Any:
        return getattr(importlib.import_module(module), cls)(parameters, **kwargs)

    def side(seed: int) -> Arrays:
        import torch

        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64 if double else before)
        try:
            return run_torch(make, seed, schedule, kinds, shapes)
        finally:
            torch.set_default_dtype(before)

    return side


def optax_side(
    make: Callable[[Any, Callable[[Any], Any]], Any],
    lr: float,
    *,
    kinds: tuple[str, ...] = TWO,
    shapes: dict[str, Any] | None = None,
) -> Side:
    """``make(optax, rate)`` on the streams, with the scheduled rate as a function of optax's count."""

    def rate(n: Any) -> Any:
        return lr * schedule(n + 1)

    return lambda seed: run_optax(lambda optax: make(optax, rate), seed, kinds, shapes)
