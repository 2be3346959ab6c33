"""How to run optimizers of other libraries on the streams of ``tests/streams.py``, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.streams import KINDS, Leaves, stream, trajectory

Schedule = Callable[[int], float]


def run_torch(
    make: Callable[[list[Any]], Any],
    seed: int,
    schedule: Schedule | None = None,
    kinds: tuple[str, ...] = KINDS,
    shapes: dict[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    """Run ``make(parameters)``, a torch optimizer, on every stream."""
    import torch

    out = {}
    for kind in kinds:
        x, gradients = stream(seed, kind, shapes=shapes)
        p = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in x.items()}
        o = make(list(p.values()))
        # A method without a rate has none to schedule.
        base = [group.get("lr", 1.0) for group in o.param_groups]

        def advance(x: Leaves, g: Leaves, t: int) -> Leaves:
            for group, lr in zip(o.param_groups, base):
                group["lr"] = lr * (schedule(t) if schedule else 1.0)
            for k, leaf in p.items():
                leaf.grad = torch.tensor(g[k])
            o.step()
            return {k: leaf.detach().numpy().copy() for k, leaf in p.items()}

        out[kind] = trajectory(advance, x, gradients)
    return out


def run_keras(
    make: Callable[[Any], Any],
    seed: int,
    schedule: Schedule | None = None,
    kinds: tuple[str, ...] = KINDS,
    shapes: dict[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    """Run ``make(keras.optimizers)`` on every stream, in float64 on the torch backend."""
    import os

    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        out = {}
        for kind in kinds:
            x, gradients = stream(seed, kind, shapes=shapes)
            p = {k: keras.Variable(v) for k, v in x.items()}
            o = make(keras.optimizers)
            o.build(list(p.values()))
            base = float(o.learning_rate)

            def advance(x: Leaves, g: Leaves, t: int) -> Leaves:
                o.learning_rate = base * (schedule(t) if schedule else 1.0)
                o.apply([keras.ops.convert_to_tensor(g[k]) for k in p], list(p.values()))
                return {k: v.value.detach().numpy().copy() for k, v in p.items()}

            out[kind] = trajectory(advance, x, gradients)
        return out
    finally:
        keras.config.set_floatx(before)


def timm_optimizer(module: str, name: str) -> Any:
    """Return a class of ``timm.optim`` without importing timm itself, which needs torchvision."""
    return timm_class(f"optim.{module}", name)


def timm_class(module: str, name: str) -> Any:
    """Return a class of one of timm's rooms of optimizers and schedulers without importing timm itself."""
    import importlib
    import importlib.util
    import pathlib
    import sys
    import types

    if "timm" not in sys.modules:
        root = importlib.util.find_spec("timm")
        assert root is not None and root.origin is not None
        for package, folder in (("timm", ""), ("timm.optim", "optim"), ("timm.scheduler", "scheduler")):
            stub = types.ModuleType(package)
            stub.__path__ = [str(pathlib.Path(root.origin).parent / folder)]
            sys.modules[package] = stub
    return getattr(importlib.import_module(f"timm.{module}"), name)


def run_optax(
    make: Callable[[Any], Any],
    seed: int,
    kinds: tuple[str, ...] = KINDS,
    shapes: dict[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    """Run ``make(optax)``, a gradient transformation, on every stream."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import optax

    out = {}
    for kind in kinds:
        x, gradients = stream(seed, kind, shapes=shapes)
        transformation = make(optax)
        state = transformation.init({k: jnp.asarray(v) for k, v in x.items()})
        update = jax.jit(transformation.update)

        def advance(x: Leaves, g: Leaves, t: int) -> Leaves:
            nonlocal state
            now = {k: jnp.asarray(v) for k, v in x.items()}
            step, state = update({k: jnp.asarray(v) for k, v in g.items()}, state, now)
            return {k: np.asarray(v) for k, v in optax.apply_updates(now, step).items()}

        out[kind] = trajectory(advance, x, gradients)
    return out
