"""torch optimizers as sides of a comparison; torch is not imported before one is met."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentError, missing_extra
from refopt.core.oracle import Oracle
from refopt.verify.sides.functions import positional
from refopt.verify.sides.groups import beside
from refopt.verify.sides.names import parameters, places, read, write
from refopt.verify.sides.queries import Asks
from refopt.verify.sides.side import CASTS, WRITES, Leaves, Run, Schedule, Side, ancestors


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
    """A torch optimizer, its gradients written into ``.grad``; a leaf of which none is given has None there.

    Attributes
    ----------
    short : str
        The parameters' dtype, ``"bfloat16"`` or ``"float16"``, with casts left as they are; empty: the run's.
    """

    short = ""

    def __init__(self, make: Callable[[list[Any]], Any], x0: Leaves, schedule: Schedule | None) -> None:
        import torch

        self.dtype = next(iter(x0.values())).dtype
        self.p = {k: torch.nn.Parameter(self._tensor(v)) for k, v in x0.items()}
        with torch_default(self.dtype):
            self.optimizer = make(list(self.p.values()))
        self.told: set[str] = set()
        self.overwrites = False
        self.schedule = schedule
        self.base = [group["lr"] for group in self.optimizer.param_groups] if schedule else []

    def _tensor(self, a: np.ndarray) -> Any:
        import torch

        return torch.tensor(a, dtype=getattr(torch, self.short)) if self.short else torch.tensor(a)

    def _points(self) -> Leaves:
        read = {k: p.detach() for k, p in self.p.items()}
        return {k: (p.float() if self.short else p).numpy().copy() for k, p in read.items()}

    def step(self, g: Leaves, t: int) -> Leaves:
        """Write the gradient and step."""
        for group, lr in zip(self.optimizer.param_groups, self.base):
            group["lr"] = lr * self.schedule(t)  # type: ignore[misc]
        for name, p in self.p.items():
            if name not in g:
                p.grad = None
            elif self.reuse and p.grad is not None:
                p.grad.copy_(self._tensor(g[name]))
            else:
                p.grad = self._tensor(g[name])
        uncast = contextlib.nullcontext() if self.short else torch_uncast(self.told, self.dtype)
        with torch_default(self.dtype), uncast:
            self.optimizer.step()
        self.overwrites = self.overwrites or any(self._written(name, g[name]) for name in g)
        return self._points()

    def _written(self, name: str, g: np.ndarray) -> bool:
        now = self.p[name].grad
        return now is not None and not (now == self._tensor(g)).logical_or(now.isnan()).all()

    def notes(self) -> list[str]:
        """Name the casts that were taken out; say so where a gradient was written into."""
        told = [
            f"{CASTS}{word}; the cast was taken out, since it hides what is finer."
            for word in sorted(self.told)
        ]
        return [*told, WRITES] if self.overwrites else told

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
                    shown = value.detach()
                    # NumPy has no bfloat16.
                    shown = shown.float() if shown.dtype in (torch.bfloat16, torch.float16) else shown
                    out.setdefault(str(key), {})[name] = shown.numpy().copy()
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
    try:
        import torch
    except ImportError:
        raise missing_extra("parity", "torch") from None

    def settings(optimizer: Any) -> dict[str, Any]:
        return {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}

    takes: dict[str, Any] = {}
    known: dict[str, Any]
    if isinstance(other, type):
        takes = {k: v for k, v in parameters(other).items() if k not in kept and k not in ("params", "self")}
        known = {**takes, **kept}
        factory = other
    elif ("torch", "Optimizer") in ancestors(other):
        _one_group(other, label)
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

    def as_is(dtype: str) -> Side:
        return torch_side(
            other, kept, cls, label, run=type("ShortRun", (run,), {"short": dtype}), parts=parts
        )

    return Side(
        as_is=None if run.short else as_is,
        grouped=grouped if isinstance(factory, type) else None,
        name=label,
        begin=begin,
        takes=frozenset(places(cls, takes)),
        known=read(cls, known),
        schedulable="lr" in known or "lr" in takes,
    )


def _one_group(optimizer: Any, label: str) -> None:
    """Refuse an instance whose groups differ: whose leaves would be whose is not told by it."""
    first, *others = optimizer.param_groups
    differing = sorted(
        {
            k
            for group in others
            for k, v in group.items()
            if k not in ("params", "param_names") and v != first.get(k)
        }
    )
    if differing:
        raise ArgumentError(
            f"other: {label} has {1 + len(others)} parameter groups, which differ in {', '.join(differing)}; hand over the"
            " class and param_groups=[(leaves, {name: value}), ...], or a function of the parameters that makes it"
        )


def loss_of(tensors: Mapping[str, Any], value: Callable[[Any], Any], grad: Callable[[Any], Any]) -> Any:
    """Return a scalar tensor whose backward pass gives `grad` at the tensors' present values."""
    import torch

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *parts: Any) -> Any:
            x = {k: p.detach().numpy().copy() for k, p in zip(tensors, parts)}
            slopes = grad(x)
            ctx.slopes = [torch.tensor(slopes[k]) for k in tensors]
            return parts[0].new_tensor(float(value(x)))

        @staticmethod
        def backward(ctx: Any, *weights: Any) -> Any:
            return tuple(weights[0] * slope for slope in ctx.slopes)

    return Loss.apply(*tensors.values())


class ClosureRun(TorchRun):
    """A torch optimizer whose ``step`` is given a closure: the course's loss at the parameters as they are.

    The closure clears the gradients, writes new ones and returns the loss. It has been called once
    before ``step``, as SAM wants it. A ``step`` with a second positional parameter without a default gets
    the closure of all examples (SVRG).
    """

    def asked_step(self, oracle: Oracle, t: int) -> Leaves:
        """Step with the closure of the step's batch."""
        import torch

        asks = Asks(oracle, self.dtype)
        for group, lr in zip(self.optimizer.param_groups, self.base):
            group["lr"] = lr * self.schedule(t)  # type: ignore[misc]

        def closure_of(value: Callable[[Any], Any], grad: Callable[[Any], Any]) -> Callable[[], Any]:
            def closure() -> Any:
                with torch.enable_grad():
                    self.optimizer.zero_grad()
                    loss = loss_of(self.p, value, grad)
                    loss.backward()
                return loss

            return closure

        given = [closure_of(asks.value, asks.grad)]
        step = self.optimizer.step
        if len(_wanted(step)) > 1:
            given.append(closure_of(asks.full_value, asks.full_grad))
        with torch_default(self.dtype), torch_uncast(self.told, self.dtype):
            given[0]()
            step(*given)
        return {k: p.detach().numpy().copy() for k, p in self.p.items()}


def _wanted(step: Any) -> list[str]:
    # torch wraps `step` for its profiler, and keeps the signature.
    found = inspect.signature(step).parameters
    names = positional(step)
    return [n for i, n in enumerate(names) if i == 0 or found[n].default is inspect.Parameter.empty]
