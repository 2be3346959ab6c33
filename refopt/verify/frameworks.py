"""torch and optax optimizers as sides of a comparison; none is imported before it is met."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentError
from refopt.verify.groups import beside
from refopt.verify.names import parameters, places, read, write
from refopt.verify.sides import Leaves, Run, Schedule, Side


def ancestors(value: Any) -> set[tuple[str, str]]:
    """Return (top-level module, class name) of a class or an instance's class and of its bases."""
    cls = value if isinstance(value, type) else type(value)
    return {(c.__module__.partition(".")[0], c.__name__) for c in cls.__mro__}


def unwrap(other: Any) -> tuple[Any, dict[str, Any]]:
    """Return what a `functools.partial` holds, and its keywords."""
    kept: dict[str, Any] = {}
    while isinstance(other, functools.partial) and not other.args:
        kept, other = {**other.keywords, **kept}, other.func
    return other, kept


@contextlib.contextmanager
def torch_default(dtype: np.dtype[Any]) -> Iterator[None]:
    """Make `dtype` torch's default, so that an optimizer's own numbers have the run's precision."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if dtype == np.float32 else torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def torch_uncast(told: set[str], dtype: np.dtype[Any]) -> Iterator[None]:
    """Take casts to less than `dtype` out, inside the block only, and name them in `told`.

    Such a cast is a choice of speed that hides everything finer: Muon's Newton-Schulz in bfloat16, SOAP's
    and Shampoo's eigenvectors in float32. What is no floating-point number becomes one of `dtype`.
    """
    import torch

    short = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
    if dtype == np.float64:
        short[torch.float32] = "float32"
    plain = {name: getattr(torch.Tensor, name) for name in ("bfloat16", "half", "float", "to")}
    bits = {torch.bfloat16: 16, torch.float16: 16, torch.float32: 32, torch.float64: 64}

    def kept(tensor: Any, asked: Any) -> Any:
        if tensor.dtype not in bits:
            return plain["to"](tensor, torch.float64 if dtype == np.float64 else asked)
        if bits[asked] < bits[tensor.dtype]:
            told.add(short[asked])
        return tensor.clone()

    def cast(name: str, asked: Any) -> Callable[..., Any]:
        def call(tensor: Any, *args: Any, **kwargs: Any) -> Any:
            return kept(tensor, asked) if asked in short else plain[name](tensor, *args, **kwargs)

        return call

    def to(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        for asked in (*args, *kwargs.values()):
            if isinstance(asked, torch.dtype) and asked in short:
                return kept(tensor, asked)
        return plain["to"](tensor, *args, **kwargs)

    changed: dict[str, Any] = {
        "bfloat16": cast("bfloat16", torch.bfloat16),
        "half": cast("half", torch.float16),
        "float": cast("float", torch.float32),
        "to": to,
    }
    for name, value in changed.items():
        setattr(torch.Tensor, name, value)
    try:
        yield
    finally:
        for name, value in plain.items():
            setattr(torch.Tensor, name, value)


class TorchRun(Run):
    """A torch optimizer, its gradients written into ``.grad``."""

    def __init__(self, make: Callable[[list[Any]], Any], x0: Leaves, schedule: Schedule | None) -> None:
        import torch

        self.dtype = next(iter(x0.values())).dtype
        self.p = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in x0.items()}
        with torch_default(self.dtype):
            self.optimizer = make(list(self.p.values()))
        self.told: set[str] = set()
        self.schedule = schedule
        self.base = [group["lr"] for group in self.optimizer.param_groups] if schedule else []

    def step(self, g: Leaves, t: int) -> Leaves:
        """Write the gradient and step."""
        import torch

        for group, lr in zip(self.optimizer.param_groups, self.base):
            group["lr"] = lr * self.schedule(t)  # type: ignore[misc]
        for name, p in self.p.items():
            if self.reuse and p.grad is not None:
                p.grad.copy_(torch.tensor(g[name]))
            else:
                p.grad = torch.tensor(g[name])
        with torch_default(self.dtype), torch_uncast(self.told, self.dtype):
            self.optimizer.step()
        return {k: p.detach().numpy().copy() for k, p in self.p.items()}

    def notes(self) -> list[str]:
        """Name the casts that were taken out."""
        return [
            f"Inside it casts to {word}; the cast was taken out, since it hides what is finer."
            for word in sorted(self.told)
        ]

    def curved_step(
        self, g: Leaves, hessian: Leaves, t: int
    ) -> tuple[Leaves, Mapping[str, Sequence[np.ndarray]]]:
        """Differentiate a function whose gradient and Hessian are the given ones; record the probes."""
        import torch

        for group, lr in zip(self.optimizer.param_groups, self.base):
            group["lr"] = lr * self.schedule(t)  # type: ignore[misc]
        self.optimizer.zero_grad(set_to_none=True)
        loss: Any = 0.0
        for name, p in self.p.items():
            flat, matrix = p.reshape(-1), torch.tensor(hessian[name])
            # The quadratic's gradient at the point itself is cancelled, to the bit.
            bend = matrix @ (flat - flat.detach())
            loss = loss + torch.sum(torch.tensor(g[name]).reshape(-1) * flat)
            loss = loss + 0.5 * torch.sum(bend * (flat - flat.detach()))
        for p, slope in zip(
            self.p.values(), torch.autograd.grad(loss, list(self.p.values()), create_graph=True)
        ):
            # Not a view of the graph's: some optimizers detach it in place.
            p.grad = slope.clone()
        drawn: dict[str, list[np.ndarray]] = {k: [] for k in self.p}
        plain = torch.autograd.grad

        def recording(outputs: Any, inputs: Any, grad_outputs: Any = None, *args: Any, **kwargs: Any) -> Any:
            given = grad_outputs if isinstance(grad_outputs, (list, tuple)) else [grad_outputs]
            for tensor, probe in zip(inputs if isinstance(inputs, (list, tuple)) else [inputs], given):
                for name, p in self.p.items():
                    if tensor is p and probe is not None:
                        drawn[name].append(probe.detach().numpy().copy())
            return plain(outputs, inputs, grad_outputs, *args, **kwargs)

        torch.autograd.grad = recording
        try:
            with torch_default(self.dtype):
                self.optimizer.step()
        finally:
            torch.autograd.grad = plain
        return {k: p.detach().numpy().copy() for k, p in self.p.items()}, drawn

    def state(self) -> dict[str, Leaves]:
        """Return the tensors of the optimizer's state that are shaped like their parameter."""
        import torch

        out: dict[str, Leaves] = {}
        for name, p in self.p.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                if torch.is_tensor(value) and value.shape == p.shape and value.is_floating_point():
                    out.setdefault(str(key), {})[name] = value.detach().numpy().copy()
        return out


def torch_side(
    other: Any,
    kept: Mapping[str, Any],
    cls: type,
    label: str,
    *,
    run: type[TorchRun] = TorchRun,
    parts: tuple[Any, ...] = (),
) -> Side:
    """Return the side of a torch optimizer: a class, an instance, or a function of the parameters.

    An instance is taken as its class with its settings; its own parameters and state are not touched.
    """
    import torch

    def settings(optimizer: Any) -> dict[str, Any]:
        return {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}

    takes: dict[str, Any] = {}
    known: dict[str, Any]
    if isinstance(other, type):
        takes = {k: v for k, v in parameters(other).items() if k not in kept and k not in ("params", "self")}
        known = {**takes, **kept}
        factory = other
    elif ("torch", "Optimizer") in ancestors(other):
        names = parameters(type(other))
        kept = {k: v for k, v in {**other.defaults, **settings(other)}.items() if k in names}
        known, factory = dict(kept), type(other)
    else:
        known, factory = settings(other([torch.nn.Parameter(torch.zeros(2))])), other

    names_ = {**takes, **kept}

    def grouped(parts: tuple[Any, ...]) -> Side:
        for _, hyper in parts:
            if missing := sorted(hyper.keys() - places(cls, names_).keys()):
                raise ArgumentError(f"param_groups: {label} has no {', '.join(missing)}")
        return torch_side(other, kept, cls, label, run=run, parts=parts)

    def begin(x0: Leaves, hyper: Mapping[str, Any], schedule: Schedule | None) -> Run:
        given = {**kept, **write(cls, takes, hyper)}

        def groups(p: list[Any]) -> list[Any]:
            if not parts:
                return p
            named = dict(zip(x0, p))
            # Of a pair such as betas, what is not the group's own is the run's.
            own = [
                (names, write(cls, names_, {**beside(cls, names_, hyper, numbers), **numbers}))
                for names, numbers in parts
            ]
            found = [([named[k] for k in names if k in named], hyper) for names, hyper in own]
            return [{"params": held, **hyper} for held, hyper in found if held]

        return run(lambda p: factory(groups(p), **given), x0, schedule)

    return Side(
        grouped=grouped if isinstance(factory, type) else None,
        name=label,
        begin=begin,
        takes=frozenset(places(cls, takes)),
        known=read(cls, known),
        schedulable="lr" in known or "lr" in takes,
    )


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

    def step(self, g: Leaves, t: int) -> Leaves:
        """Transform the gradient and add it."""
        import jax

        with jax_precision(self.dtype):
            steps, self.s = self.update({k: jax.numpy.asarray(v) for k, v in g.items()}, self.s, self.x)
            self.x = {k: (v + steps[k]).astype(v.dtype) for k, v in self.x.items()}
            return {k: np.array(v) for k, v in self.x.items()}

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
        schedulable=bool(rate),
    )
