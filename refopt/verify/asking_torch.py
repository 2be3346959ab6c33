"""torch and optax sides that ask: closures, a module for K-FAC, ``grad_fn``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refopt.core.errors import CapabilityError
from refopt.core.oracle import Oracle
from refopt.verify.adapt import positional
from refopt.verify.asking import Asks
from refopt.verify.courses import Served, labels
from refopt.verify.frameworks import OptaxRun, TorchRun, jax_precision, torch_default, torch_uncast
from refopt.verify.names import parameters, places, read, write
from refopt.verify.sides import Leaves, Run, Schedule, Side


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


def _keywords(update: Any) -> set[str]:
    return set(inspect.signature(update).parameters)


class ModuleRun(Run):
    """A method on a torch module: ``other(model)`` returns ``step(loss, sampled_loss)``.

    Both are functions of no arguments that run the module on the step's batch: with the true labels, and
    with labels drawn from the model's own distribution. The method calls ``backward`` itself.
    """

    def __init__(self, make: Callable[[Any], Any], x0: Leaves) -> None:
        self.dtype, self.x0, self.make = next(iter(x0.values())).dtype, x0, make
        self.p: dict[str, Any] | None = None

    def _begin(self, problem: Any) -> None:
        import torch

        parts: list[Any] = []
        self.p = {}
        kinds = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
        for place, (weight, bias) in enumerate(problem.names):
            if place:
                parts.append(kinds[problem.activation]())
            out, into = self.x0[weight].shape
            layer = torch.nn.Linear(into, out)
            layer.weight = self.p[weight] = torch.nn.Parameter(torch.tensor(self.x0[weight]))
            layer.bias = self.p[bias] = torch.nn.Parameter(torch.tensor(self.x0[bias]))
            parts.append(layer)
        with torch_default(self.dtype):
            self.model = torch.nn.Sequential(*parts)
            made = self.make(self.model)
        self.step_of = made if not hasattr(made, "step") else made.step

    def asked_step(self, oracle: Oracle, t: int) -> Leaves:
        """Call the method's step with the two losses."""
        import torch

        served = oracle.problem
        if not (isinstance(served, Served) and hasattr(served, "names")):
            raise CapabilityError("other: a function of a module runs on problems that are networks")
        if self.p is None:
            self._begin(served)
        assert self.p is not None
        rows = np.arange(oracle.n_examples) if oracle.batch is None else oracle.batch
        inputs = torch.tensor(served.inputs[rows].astype(self.dtype))
        true = served.targets[rows].astype(self.dtype)

        def fit(z: Any, targets: np.ndarray) -> Any:
            y = torch.tensor(targets)
            if served.loss.least_squares:
                return 0.5 * torch.sum((z - y) ** 2) / len(rows)
            return -torch.sum(y * torch.log_softmax(z, dim=1)) / len(rows)

        def whole() -> Any:
            squares = sum(torch.sum(p * p) for p in self.p.values())  # type: ignore[union-attr]
            return fit(self.model(inputs), true) + 0.5 * served.l2 * squares

        def sampled() -> Any:
            # One pass: hooks see each pass of the module.
            z = self.model(inputs)
            drawn = served.loss.sample(z.detach().numpy().astype(np.float64), labels(served._course, t))
            return fit(z, drawn.astype(self.dtype))

        with torch_default(self.dtype):
            self.step_of(whole, sampled)
        return {k: p.detach().numpy().copy() for k, p in self.p.items()}


def module_side(make: Callable[..., Any], kept: Mapping[str, Any], cls: type, label: str) -> Side:
    """Return the side of a function of a torch module, and hyperparameters, that returns a step."""
    takes = {k: v for k, v in list(parameters(make).items())[1:] if k not in kept}
    empty = inspect.Parameter.empty

    def begin(x0: Leaves, hyper: Mapping[str, Any], schedule: Schedule | None) -> Run:
        given = {**kept, **write(cls, takes, hyper)}
        return ModuleRun(lambda model: make(model, **given), x0)

    return Side(
        name=label, begin=begin, takes=frozenset(places(cls, takes)),
        known=read(cls, {**{k: v for k, v in takes.items() if v is not empty}, **kept}),
    )  # fmt: skip
