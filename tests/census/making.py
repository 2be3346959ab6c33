"""How an optimizer is made whose parameters alone do not make it: by the names of what its constructor wants."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any

from refopt.core.registry import methods
from refopt.verify.measure.nearest import recognisable

# The rate of every base optimizer, refopt's default; torch's SGD without momentum is the base of every wrapper here.
RATE = 1e-2

# What a class must be made with, to run in double precision; and the method that it is then told to be.
DOUBLE = {
    ("timm", "AdafactorBigVision"): ("adafactor", {"momentum_dtype": "float64"}),
    ("pytorch_optimizer", "AdaFactor"): ("adafactor", {"momentum_dtype": "float64"}),
    ("pytorch_optimizer", "FAdam"): ("fadam", {"momentum_dtype": "float64"}),
}

# What keeps averages in single precision whatever the parameters are; and the method that it is told to be.
SINGLE = {("pytorch_optimizer", "AdaLOMO"): "adalomo", ("pytorch_optimizer", "AdamMini"): "adam-mini"}

# Required numbers; any would do.
NUMBERS = {"num_data": 100, "num_iterations": 100}

# The registered name, where a library's is another.
CALLED = {"sophiah": "sophia", "schedulefreewrapper": "schedule-free-sgd", "mars": "mars-adamw"}


def ready(library: str, name: str, thing: Any) -> tuple[Any, str | None]:
    """Return an optimizer as it is handed to the oracle, and the method that the oracle is told, if any.

    What gradients alone do not drive, or what wraps another, cannot be recognised; it is told what it is called.
    """
    if (library, name) in SINGLE:
        return made(library, name, thing), SINGLE[library, name]
    if (library, name) in DOUBLE:
        told, options = DOUBLE[library, name]
        return _named(_of_double(thing, options), name), told
    return made(library, name, thing), registered(name)


def registered(name: str) -> str | None:
    """Return the registered method of a class's name, if it is none that steps alone tell."""
    own = "".join(c for c in name.rpartition(".")[2].lower() if c.isalnum())
    known = {e.name for e in recognisable()}
    called = {e.name.replace("-", ""): e.name for e in (*methods("optimizer"), *methods("wrapper"))}
    found = CALLED.get(own) or called.get(own)
    return None if found in known else found


def made(library: str, name: str, thing: Any) -> Any:
    """Return a class as it is, or with what its constructor wants."""
    if library in ("keras", "optax"):
        return _optax(name, thing) if library == "optax" else thing
    given = inspect.signature(thing).parameters
    wanted = [k for k, p in given.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if name == "SparseAdam":
        return _named(lambda parameters: _Sparse(thing(parameters)), name)
    if name == "DistributedMuon":
        _one_process()
    if library == "pytorch_optimizer" and "use_muon" in inspect.getsource(sys.modules[thing.__module__]):
        return _named(_by_shape(thing), name)
    if "rho_scheduler" in wanted:
        return _named(lambda parameters: _gsam(thing, parameters), name)
    if wanted == ["model"]:
        stepped = _Fused if hasattr(thing, "fused_backward") else (lambda optimizer: optimizer)
        return _named(lambda parameters: stepped(thing(_module(parameters))), name)
    if len(wanted) == 1 and wanted[0].endswith("optimizer"):
        return _named(lambda parameters: _around(thing, parameters), name)
    more = {k: NUMBERS[k] for k in wanted if k in NUMBERS}
    if "base_optimizer" in wanted:
        more |= {"base_optimizer": _sgd(), "lr": RATE}
    if "model" in wanted:
        return _named(lambda p: thing(model=_module(p), params=p, **more), name)
    return functools.partial(thing, **more) if more else thing


def _named(make: Callable[[list[Any]], Any], name: str) -> Callable[[list[Any]], Any]:
    def of(parameters: list[Any]) -> Any:
        return make(parameters)

    of.__name__ = of.__qualname__ = name
    return of


def _sgd() -> Any:
    import torch

    return torch.optim.SGD


def _around(thing: Any, parameters: list[Any]) -> Any:
    """Wrap an instance, and ready it for training where that has to be said."""
    optimizer = thing(_sgd()(parameters, lr=RATE))
    if hasattr(optimizer, "train"):
        optimizer.train()
    return optimizer


def _of_double(thing: Any, options: dict[str, str]) -> Callable[[list[Any]], Any]:
    def make(parameters: list[Any]) -> Any:
        import torch

        return thing(parameters, **{k: getattr(torch, v) for k, v in options.items()})

    return make


def _by_shape(thing: Any) -> Callable[[list[Any]], Any]:
    """Give a method of matrices those, and the method beside it the rest."""

    def make(parameters: Iterable[Any]) -> Any:
        held = list(parameters)
        return thing(
            [
                {"params": [p for p in held if p.ndim >= 2], "use_muon": True},
                {"params": [p for p in held if p.ndim < 2], "use_muon": False},
            ]
        )

    return make


def _module(parameters: list[Any]) -> Any:
    import torch

    held = torch.nn.Module()
    for i, p in enumerate(parameters):
        held.register_parameter(f"leaf{i}", p)
    return held


def _one_process() -> None:
    import torch.distributed as d

    if not d.is_initialized():
        d.init_process_group("gloo", store=d.HashStore(), rank=0, world_size=1)


class _Stepped:
    """An optimizer whose step is another's than `step`."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.optimizer, name)


class _Fused(_Stepped):
    """One that steps in its backward pass: of a loss with the gradients that lie there."""

    def step(self) -> None:
        held = [p for group in self.optimizer.param_groups for p in group["params"]]
        slopes = [p.grad for p in held]
        for p in held:
            p.grad = None
        loss = sum((g * p).sum() for g, p in zip(slopes, held))
        self.optimizer.fused_backward(loss, self.optimizer.param_groups[0]["lr"])


class _Sparse(_Stepped):
    """One of sparse gradients, in which every entry is stored."""

    def step(self) -> None:
        import torch

        dense: dict[Any, Any] = {}
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                everywhere = torch.ones_like(p.grad).nonzero().T
                dense[p] = p.grad
                p.grad = torch.sparse_coo_tensor(everywhere, p.grad.reshape(-1), p.shape, is_coalesced=True)
        self.optimizer.step()
        for p, grad in dense.items():
            p.grad = grad


class _Unpacked(_Stepped):
    """One whose closure returns the outputs too."""

    def step(self, closure: Callable[[], Any]) -> Any:
        return self.optimizer.step(lambda: (None, closure()))


class _Constant:
    """A scheduler of GSAM's ρ that leaves it."""

    def step(self) -> float:
        return 0.05


def _gsam(thing: Any, parameters: list[Any]) -> Any:
    return _Unpacked(thing(parameters, _sgd()(parameters, lr=RATE), _module(parameters), _Constant()))


def _optax(name: str, thing: Any) -> Any:
    if name.endswith("schedule_free"):
        import optax

        return functools.partial(thing, base_optimizer=optax.sgd(RATE), learning_rate=RATE)
    return thing
