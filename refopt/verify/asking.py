"""Sides that ask: functions that name what they are given, torch optimizers with closures, K-FAC on a module.

A function takes ``(x, state)`` and, by the names of its further parameters, whatever it needs of
`SERVED`: ``def svrg(x, state, grad, full_grad, lr=0.01)``, ``def lm(x, state, residual, jacobian)``.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.errors import ArgumentTypeError, CapabilityError
from refopt.core.method import Method
from refopt.core.oracle import Oracle
from refopt.verify.adapt import FunctionRun, label_of, method_side, positional
from refopt.verify.frameworks import ancestors, optax_side, torch_side, unwrap
from refopt.verify.names import parameters, places, read, write
from refopt.verify.sides import Leaves, Run, Schedule, Side

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


class AskingFunction(FunctionRun):
    """A function of (x, state) and of what it names; x is one vector, or a dict of arrays."""

    def __init__(
        self,
        update: Callable[..., Any],
        state: Any,
        x0: Leaves,
        keywords: Callable[[int], dict[str, Any]],
        asked: tuple[str, ...],
    ) -> None:
        self.update, self.s, self.keywords, self.asked = update, state, keywords, asked
        # It is given no gradient to write into.
        self.overwrites = False
        self.dtype = next(iter(x0.values())).dtype
        self.single = next(iter(x0)) if len(x0) == 1 else None
        self.leaf = self.single or ""
        self.shapes = {k: v.shape for k, v in x0.items()}
        self.shape = self.shapes.get(self.leaf, ())
        self.x = x0[self.single].copy() if self.single else {k: v.copy() for k, v in x0.items()}

    def asked_step(self, oracle: Oracle, t: int) -> Leaves:
        """Call the function with its own last x and state, and with what it names."""
        asks = Asks(oracle, self.dtype)
        served = {name: getattr(asks, name) for name in self.asked}
        answer = self.update(self.x, self.s, **served, **self.keywords(t))
        if self.single:
            return self._read(answer)
        if not (isinstance(answer, tuple) and len(answer) >= 2 and isinstance(answer[0], dict)):
            raise ArgumentTypeError(
                f"other: wanted (x, state) from its call, x a dict of arrays, got {type(answer).__qualname__}"
            )
        self.x, self.s = answer[0], answer[1]
        if {k: np.shape(v) for k, v in self.x.items()} != self.shapes:
            raise ArgumentTypeError(f"other: wanted x with the shapes {self.shapes} back")
        return {k: np.array(v) for k, v in self.x.items()}

    def state(self) -> dict[str, Leaves]:
        """Return the state's arrays that are shaped like x, where x is one array."""
        return super().state() if self.single else {}


def asking_function(
    init: Callable[[Any], Any] | None,
    update: Callable[..., Any],
    kept: Mapping[str, Any],
    cls: type,
    label: str,
    needs: tuple[str, ...],
) -> Side:
    """Return the side of a function (x, state, …) that names what it is given.

    Raises
    ------
    CapabilityError
        It names nothing of `SERVED`.
    ArgumentTypeError
        It has a parameter that is neither served nor a hyperparameter, without a default.
    """
    further = {k: v for k, v in list(parameters(update).items())[2:] if k not in kept}
    asked = tuple(k for k in further if k in SERVED)
    name = getattr(cls, "registered_name", "")
    if not asked:
        raise CapabilityError(
            f"other: {name} needs more than one gradient at the current point; wanted a function (x, state) that"
            f" names what it is given among its further parameters ({', '.join(SERVED)}), for example"
            f" (x, state, {', '.join(example(needs))})"
        )
    takes = {k: v for k, v in further.items() if k not in SERVED}
    found = places(cls, takes)
    empty = inspect.Parameter.empty
    known_places = {alias for alias, _ in found.values()}
    unknown = [k for k, v in takes.items() if v is empty and k not in known_places]
    if unknown:
        raise ArgumentTypeError(
            f"other: parameter {unknown[0]!r} is neither a hyperparameter of {name} nor one of {', '.join(SERVED)},"
            " and has no default"
        )
    rate = found.get("lr", ("", None))[0]

    def begin(x0: Leaves, hyper: Mapping[str, Any], schedule: Schedule | None) -> Run:
        given = write(cls, takes, hyper)

        def keywords(t: int) -> dict[str, Any]:
            now = given if schedule is None else {**given, rate: given[rate] * schedule(t)}
            return {**kept, **now}

        (first, *more) = x0.values()
        point = dict(x0) if more else first.copy()
        return AskingFunction(update, None if init is None else init(point), x0, keywords, asked)

    return Side(
        name=label, begin=begin, takes=frozenset(found),
        known=read(cls, {**{k: v for k, v in takes.items() if v is not empty}, **kept}),
        schedulable=bool(rate), together="layers" in needs,
    )  # fmt: skip


def example(needs: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a function for a method with these needs would name."""
    if "layers" in needs:
        return ("grad", "layers")
    if "residual" in needs:
        return ("residual", "jacobian")
    return ("grad", "prox") if "prox" in needs else ("grad", "full_grad")


def asking_side(other: Any, cls: type, needs: tuple[str, ...]) -> Side:
    """Return `other` as a side that asks.

    Parameters
    ----------
    other : object
        A function or a pair (init, update) as `asking_function` takes it; a refopt method; a torch
        optimizer, whose ``step`` is given a closure; an optax transformation, which is given ``grad_fn``;
        for K-FAC a function of a torch module (`refopt.verify.asking_torch`).
    cls : type
        The reference's class: where hyperparameters are looked up.
    needs : tuple of str

    Raises
    ------
    ArgumentTypeError, CapabilityError
    """
    if isinstance(other, Side):
        return other
    if isinstance(other, Method):
        return method_side(other)
    inner, kept = unwrap(other)
    label, kin = label_of(inner), ancestors(inner)
    if ("torch", "Optimizer") in kin:
        from refopt.verify.asking_torch import ClosureRun

        return torch_side(inner, kept, cls, label, run=ClosureRun)
    if isinstance(inner, tuple) and hasattr(inner, "init") and hasattr(inner, "update"):
        from refopt.verify.asking_torch import GradFnRun

        return optax_side(inner, kept, cls, "an optax transformation", run=GradFnRun)
    if isinstance(inner, tuple) and len(inner) == 2 and all(callable(f) for f in inner):
        return asking_function(inner[0], inner[1], kept, cls, label_of(inner[1]), needs)
    if hasattr(inner, "init") and hasattr(inner, "update"):
        return asking_function(inner.init, inner.update, kept, cls, label, needs)
    if callable(inner) and not isinstance(inner, (str, list)):
        wanted = [n for n in positional(inner) if n not in kept]
        if wanted[:1] in (["model"], ["module"], ["net"]):
            from refopt.verify.asking_torch import module_side

            return module_side(inner, kept, cls, label)
        if len(wanted) == 1:
            from refopt.verify.asking_torch import ClosureRun

            return torch_side(inner, kept, cls, label, run=ClosureRun)
        return asking_function(None, inner, kept, cls, label, needs)
    raise CapabilityError(
        f"other: {type(other).__qualname__} cannot be asked along; {getattr(cls, 'registered_name', '')} needs more"
        " than one gradient at the current point: wanted a function (x, state, …), a torch optimizer, an optax"
        " transformation or a refopt method"
    )
