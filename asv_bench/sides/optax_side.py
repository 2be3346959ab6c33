"""optax under jit on the CPU, parameters and state donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asv_bench.sides import Key

FORM = ""
MAKE: dict[str, Callable[[Any], Any]] = {
    "adam": lambda optax: optax.adam(1e-3),
    "adamw": lambda optax: optax.adamw(1e-3),
    "lion": lambda optax: optax.lion(1e-4),
    "adan": lambda optax: optax.adan(1e-3),
    "ademamix": lambda optax: optax.contrib.ademamix(1e-3),
}


def build(key: Key) -> tuple[Callable[[], Any], int]:
    import jax
    import optax

    jax.config.update("jax_enable_x64", True)
    o = MAKE[key.method](optax)
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
