"""K-FAC on a torch module, as a side that asks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refopt.core.errors import CapabilityError
from refopt.core.oracle import Oracle
from refopt.verify.sides.names import parameters, places, read, write
from refopt.verify.sides.queries import labels
from refopt.verify.sides.side import Leaves, Run, Schedule, Side
from refopt.verify.sides.torch import torch_default


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

        served: Any = oracle.problem
        if not hasattr(served, "names"):
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
            drawn = served.loss.sample(z.detach().numpy().astype(np.float64), labels(served.label_seed, t))
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
