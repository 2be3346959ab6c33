"""What a function that asks is given: every member of `SERVED`, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.oracle import Oracle
from refopt.core.rng import generator

# What a function may name: a function of the point (and more), or a thing of the step.
SERVED: Mapping[str, str] = {
    "oracle": "all of the following as members, on NumPy arrays",
    "value": "value(x): the objective on the step's batch",
    "grad": "grad(x): its gradient; grad(x, indices): on these examples",
    "full_grad": "full_grad(x): the gradient on all examples",
    "full_value": "full_value(x): the objective on all examples",
    "hvp": "hvp(x, v): the Hessian times v",
    "example_grads": "example_grads(x): one gradient an example, on a first axis",
    "residual": "residual(x): r of f = phi(r)",
    "jacobian": "jacobian(x): of the raveled residual by the raveled parameters",
    "jvp": "jvp(x, v)",
    "vjp": "vjp(x, u)",
    "loss_gradient": "loss_gradient(x): of phi at r(x)",
    "loss_hessian": "loss_hessian(x, u): of phi at r(x), times u",
    "layers": "layers(x): inputs and output gradients of every linear layer, labels drawn from the model",
    "prox": "prox(x, step): of the nonsmooth part",
    "batch": "the indices of the step's examples",
    "n_examples": "how many examples there are",
    "lipschitz": "the smooth part's L",
    "rng": "a NumPy generator, in the state in which the reference has it",
}


class Asks:
    """What a function is given: every member of `SERVED`, for points in the run's precision."""

    def __init__(self, oracle: Oracle, dtype: np.dtype[Any]) -> None:
        self.oracle, self._oracle, self.dtype = self, oracle, dtype
        self.n_examples = oracle.n_examples
        self.batch = np.arange(self.n_examples) if oracle.batch is None else oracle.batch.copy()
        self.lipschitz = getattr(oracle.problem, "lipschitz", None)

    @property
    def rng(self) -> np.random.Generator:
        """The step's random numbers."""
        return self._oracle.rng

    def _in(self, x: Any) -> Any:
        return params.map_leaves(lambda a: np.array(a, dtype=np.float64), x)

    def _out(self, answer: Any) -> Any:
        if isinstance(answer, list):
            return [
                dataclasses.replace(a, inputs=self._out(a.inputs), output_grads=self._out(a.output_grads))
                for a in answer
            ]
        return params.map_leaves(lambda a: np.asarray(a, dtype=self.dtype), answer)

    def value(self, x: Any) -> float:
        """Return the objective on the batch."""
        return self._oracle.value(self._in(x))

    def full_value(self, x: Any) -> float:
        """Return the objective on all examples."""
        return self._oracle.full.value(self._in(x))

    def grad(self, x: Any, indices: Any = None) -> Any:
        """Return the gradient on the batch, or on the examples `indices`."""
        at = self._oracle if indices is None else self._oracle.on(np.asarray(indices))
        return self._out(at.grad(self._in(x)))

    def full_grad(self, x: Any) -> Any:
        """Return the gradient on all examples."""
        return self._out(self._oracle.full.grad(self._in(x)))

    def jacobian(self, x: Any) -> np.ndarray:
        """Return the residual's Jacobian, shape (size of r, size of x)."""
        point = self._in(x)
        columns = [
            np.ravel(self._oracle.jvp(point, params.unflatten(unit, point)))
            for unit in np.eye(params.size(point))
        ]
        return np.asarray(np.stack(columns, axis=1), dtype=self.dtype)

    def layers(self, x: Any, *, sample: bool = True) -> Any:
        """Return the layers; ``sample=False``: with the true labels."""
        return self._out(self._oracle.layers(self._in(x), sample=sample))

    def prox(self, x: Any, step: float) -> Any:
        """Return the proximal point."""
        return self._out(self._oracle.prox(self._in(x), float(step)))

    def __getattr__(self, name: str) -> Any:
        if name not in SERVED:
            raise AttributeError(name)
        member = getattr(self._oracle, name)
        return lambda x, *rest: self._out(member(self._in(x), *(self._in(v) for v in rest)))


def labels(seed: int, step: int) -> np.random.Generator:
    """Return the generator from which both sides' labels of a step of a problem run are drawn."""
    return generator(seed, "tape", 7000 + step)


def product(matrix: np.ndarray, v: Any) -> np.ndarray:
    """Return the leaf-shaped product of a leaf's Hessian with `v`."""
    v = np.asarray(v)
    return np.asarray((matrix @ v.reshape(-1)).reshape(v.shape), dtype=v.dtype)
