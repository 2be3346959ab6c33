"""optax transformations as sides of a comparison; optax is not imported before one is met."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from refopt.core.oracle import Oracle
from refopt.verify.sides.names import parameters, places, read, write
from refopt.verify.sides.queries import Asks
from refopt.verify.sides.side import Leaves, Run, Schedule, Side

CLIMBS = (
    "Its first step goes up the gradient. A transformation without a rate is compared at rate 1 as"
    " optax.chain(transformation, optax.scale(-1.0))."
)


class OptaxRun(Run):
    """A gradient transformation, under ``jax.jit``."""

    compiled = True

    def __init__(self, transformation: Any, update: Callable[..., Any], x0: Leaves) -> None:
        import jax

        self.dtype = next(iter(x0.values())).dtype
        self.update = update
        with jax_precision(self.dtype):
            self.x = {k: jax.numpy.asarray(v) for k, v in x0.items()}
            self.s = transformation.init(self.x)
        self.climbs: bool | None = None

    def step(self, g: Leaves, t: int) -> Leaves:
        """Transform the gradient and add it."""
        import jax

        with jax_precision(self.dtype):
            steps, self.s = self.update({k: jax.numpy.asarray(v) for k, v in g.items()}, self.s, self.x)
            if self.climbs is None and any(np.any(v) for v in g.values()):
                self.climbs = sum(float(np.sum(np.asarray(steps[k]) * v)) for k, v in g.items()) > 0
            self.x = {k: (v + steps[k]).astype(v.dtype) for k, v in self.x.items()}
            return {k: np.array(v) for k, v in self.x.items()}

    def notes(self) -> list[str]:
        """Say how a transformation by itself is compared, where the first step goes up the gradient."""
        return [CLIMBS] if self.climbs else []

    def state(self) -> dict[str, Leaves]:
        """Return every dict of arrays in the state that has the parameters' names."""
        found: dict[str, Leaves] = {}

        def visit(node: Any) -> None:
            fields = getattr(node, "_fields", None)
            for key, value in zip(fields or range(len(node)), node):
                if isinstance(value, dict) and value.keys() == self.x.keys():
                    if all(getattr(v, "shape", None) == self.x[k].shape for k, v in value.items()):
                        found.setdefault(str(key), {k: np.array(v) for k, v in value.items()})
                elif isinstance(value, tuple):
                    visit(value)

        if isinstance(self.s, tuple):
            visit(self.s)
        return found


class GradFnRun(OptaxRun):
    """An optax transformation whose ``update`` is given ``grad_fn(x, i)``, as optax.contrib.sam takes it."""

    compiled = False

    def asked_step(self, oracle: Oracle, t: int) -> Leaves:
        """Transform the gradient of the step's batch and add it."""
        import jax

        asks = Asks(oracle, self.dtype)

        def grad_fn(x: Any, i: int = 0) -> Any:
            found = asks.grad({k: np.asarray(v) for k, v in x.items()})
            return {k: jax.numpy.asarray(v) for k, v in found.items()}

        with jax_precision(self.dtype):
            extra = {"grad_fn": grad_fn} if "grad_fn" in _keywords(self.update) else {}
            steps, self.s = self.update(grad_fn(self.x), self.s, self.x, **extra)
            self.x = {k: (v + steps[k]).astype(v.dtype) for k, v in self.x.items()}
            return {k: np.array(v) for k, v in self.x.items()}


@contextlib.contextmanager
def jax_precision(dtype: np.dtype[Any]) -> Iterator[None]:
    """Let JAX compute in the run's precision, inside the block only."""
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", bool(dtype == np.float64))
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def optax_side(
    other: Any, kept: Mapping[str, Any], cls: type, label: str, *, run: type[OptaxRun] = OptaxRun
) -> Side:
    """Return the side of an optax transformation, or of a function that makes one."""
    made: dict[Any, tuple[Any, Callable[..., Any]]] = {}

    def start(key: Any, make: Callable[[], Any], x0: Leaves) -> Run:
        # One compilation serves every tape.
        dtype = next(iter(x0.values())).dtype
        if (key, dtype) not in made:
            import jax

            with jax_precision(dtype):
                transformation = make()
                update = transformation.update
                made[key, dtype] = transformation, jax.jit(update) if run.compiled else update
        return run(*made[key, dtype], x0)

    if isinstance(other, tuple):
        return Side(name=label, begin=lambda x0, hyper, schedule: start(None, lambda: other, x0))
    takes = {k: v for k, v in parameters(other).items() if k not in kept}
    rate = places(cls, takes).get("lr", ("", None))[0]

    def begin(x0: Leaves, hyper: Mapping[str, Any], schedule: Schedule | None) -> Run:
        given = {**kept, **write(cls, takes, hyper)}
        if schedule is not None:
            import jax.numpy as jnp

            lr = given[rate]
            # optax counts from zero; a table, since the count is traced.
            given[rate] = lambda n: lr * jnp.asarray([schedule(k) for k in range(1, 1001)])[n]
        key = (repr(sorted(write(cls, takes, hyper).items())), schedule)
        return start(key, lambda: other(**given), x0)

    return Side(
        name=label,
        begin=begin,
        takes=frozenset(places(cls, takes)),
        known=read(cls, {**takes, **kept}),
        schedulable=bool(rate) and _takes_schedule(other, kept, rate),
    )


def _takes_schedule(other: Callable[..., Any], kept: Mapping[str, Any], rate: str) -> bool:
    """Tell whether the rate may be a function of the count: of a function that only negates it, no."""
    try:
        other(**{**kept, rate: lambda n: 0.1})
    except TypeError as error:
        return "argument" in str(error)
    return True


def _keywords(update: Any) -> set[str]:
    return set(inspect.signature(update).parameters)
