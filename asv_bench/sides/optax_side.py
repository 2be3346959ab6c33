"""optax under jit on the CPU, parameters and state donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from asv_bench.sides import Key

FORM = ""
jax.config.update("jax_enable_x64", True)
MAKE: dict[str, Callable[[], Any]] = {
    "adam": lambda: optax.adam(1e-3),
    "adamw": lambda: optax.adamw(1e-3),
    "lion": lambda: optax.lion(1e-4),
    "adan": lambda: optax.adan(1e-3),
    "ademamix": lambda: optax.contrib.ademamix(1e-3),
}


def build(key: Key) -> tuple[Callable[[], Any], int]:
    o = MAKE[key.method]()
    x = [jax.numpy.asarray(a) for a in key.arrays(0)]
    g = [jax.numpy.asarray(a) for a in key.arrays(1)]
    state = o.init(x)

    def one(x: Any, state: Any, g: Any) -> Any:
        updates, state = o.update(g, state, x)
        return optax.apply_updates(x, updates), state

    compiled = jax.jit(one, donate_argnums=(0, 1))

    def step() -> None:
        nonlocal x, state
        x, state = jax.block_until_ready(compiled(x, state, g))

    return step, 1
