"""Keras optimizers as sides of a comparison; Keras is not imported before one is met."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentTypeError
from refopt.verify.sides.names import parameters, places, read, write
from refopt.verify.sides.optax import jax_precision
from refopt.verify.sides.side import Leaves, Run, Schedule, Side


@contextlib.contextmanager
def keras_floatx(dtype: np.dtype[Any]) -> Iterator[None]:
    """Make `dtype` Keras's float, and its backend's where that needs telling, inside the block only."""
    import keras

    before = keras.config.floatx()
    keras.config.set_floatx(str(dtype))
    try:
        with jax_precision(dtype) if keras.config.backend() == "jax" else contextlib.nullcontext():
            yield
    finally:
        keras.config.set_floatx(before)


class KerasRun(Run):
    """A Keras 3 optimizer on any backend."""

    def __init__(self, make: Callable[[], Any], x0: Leaves, schedule: Schedule | None) -> None:
        import keras

        self.dtype = next(iter(x0.values())).dtype
        with keras_floatx(self.dtype):
            self.p = {k: keras.Variable(v.copy(), dtype=str(self.dtype), name=k) for k, v in x0.items()}
            self.optimizer = make()
            self.optimizer.build(list(self.p.values()))
            self.schedule = schedule
            rate = keras.ops.convert_to_numpy(self.optimizer.learning_rate)
            self.base = float(rate) if schedule else 0.0

    def step(self, g: Leaves, t: int) -> Leaves:
        """Apply the gradient."""
        import keras

        with keras_floatx(self.dtype):
            if self.schedule is not None:
                self.optimizer.learning_rate = self.base * self.schedule(t)
            given = [keras.ops.convert_to_tensor(g[k], dtype=str(self.dtype)) for k in self.p]
            self.optimizer.apply(given, list(self.p.values()))
            return {k: np.array(keras.ops.convert_to_numpy(v.value)) for k, v in self.p.items()}


def keras_side(other: Any, kept: Mapping[str, Any], cls: type, label: str) -> Side:
    """Return the side of a Keras 3 optimizer: a class, or an instance as its class with its settings."""
    factory = other if isinstance(other, type) else type(other)
    if not isinstance(other, type):
        names = parameters(factory)
        kept = {k: v for k, v in other.get_config().items() if k in names or k == "learning_rate"}
        if isinstance(kept.get("learning_rate"), dict):
            raise ArgumentTypeError(
                "other: has a learning-rate schedule of its own; wanted a constant learning rate"
            )
    takes = {k: v for k, v in parameters(factory).items() if k not in kept and k != "name"}

    def begin(x0: Leaves, hyper: Mapping[str, Any], schedule: Schedule | None) -> Run:
        given = {**kept, **write(cls, takes, hyper)}
        return KerasRun(lambda: factory(**given), x0, schedule)

    return Side(
        name=label,
        begin=begin,
        takes=frozenset(places(cls, takes)),
        known=read(cls, {**takes, **kept}),
        schedulable=True,
    )
