"""refopt's methods as PyTorch optimizers."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from refopt.core.build import optimizer
from refopt.core.errors import ArgumentError, ArgumentTypeError, CapabilityError
from refopt.core.hyper import is_rate
from refopt.core.method import GradientMethod, LeafRule, Method, State
from refopt.core.oracle import Oracle

# What torch's own optimizers take beside their hyperparameters: how they compute, which is no matter here.
IGNORED = ("foreach", "fused")
REFUSED = ("capturable",)
# Torch's schedulers want a rate in every group; Rprop's is the first step, as in torch.
RATES = {"rprop": "initial"}
# Of a state: the count, called as torch calls it, and the state array that has its name.
HELD = {"t": "step", "step": "last_step"}
# In which small steps are rounded away.
SHORT = (torch.float16, torch.bfloat16)
# What a closure can answer.
ASKED = ("value", "grad")


class TorchOptimizer(torch.optim.Optimizer):
    """A method as a ``torch.optim.Optimizer``; `refopt.as_torch` makes it.

    Groups hold the method's numbers by refopt's names (``lr``, ``weight_decay``, …; ``betas`` for ``beta1`` and
    ``beta2``, as torch has them), and schedulers change them there.
    """

    def __init__(
        self, params: Iterable[Any], name: str, dialect: str = "paper", maximize: bool = False, seed: int = 0,
        master_weights: bool = False, differentiable: bool = False, **hyperparameters: Any,
    ) -> None:  # fmt: skip
        for key in (*IGNORED, *REFUSED):
            if hyperparameters.pop(key, None) and key in REFUSED:
                raise ArgumentError(f"{key}: {name} runs as ordinary tensor code, without {key}=True")
        self._method = optimizer(name, dialect=dialect, **_untupled(hyperparameters, name))
        if extra := [n for n in self._method.needs if n not in ASKED]:
            raise CapabilityError(
                f"as_torch: {name} asks for {', '.join(extra)}, which no closure gives; use refopt.from_torch and"
                " refopt.minimize"
            )
        for key, flag in (("master_weights", master_weights), ("differentiable", differentiable)):
            if not isinstance(flag, bool):
                raise ArgumentTypeError(f"{key}: wanted True or False, got {flag!r}")
        if differentiable and not (_one_rule(self._method) and _from_gradients(self._method)):
            raise CapabilityError(
                f"differentiable: {name} is not one rule for every leaf from its gradient alone, through which a graph goes"
            )
        self._seed, self._masters, self._graph = seed, master_weights, differentiable
        flags = {"maximize": bool(maximize), "differentiable": differentiable}
        super().__init__(params, {**_numbers(self._method), **flags})

    def __repr__(self) -> str:
        return f"{self._method.registered_name}: {super().__repr__()}"

    def __getstate__(self) -> dict[str, Any]:
        own = {"_method": self._method, "_seed": self._seed, "_masters": self._masters, "_graph": self._graph}
        return {**super().__getstate__(), **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state; what its groups do not name, as older ones do not, is as this optimizer was made."""
        super().__setstate__(state)
        for group in self.param_groups:
            for key in (*_numbers(self._method), "maximize"):
                group.setdefault(key, self.defaults[key])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; what belongs to a master keeps its own dtype, where torch would give it the parameter's."""
        super().load_state_dict(state_dict)
        numbers = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for i, p in zip(numbers, params):
            held = state_dict["state"].get(i, {})
            if "master" in held:
                self.state[p].update(
                    {k: v.to(p.device, copy=True) for k, v in held.items() if torch.is_tensor(v)}
                )

    def _point(self, p: Any) -> Any:
        """Return what a step moves: the parameter, or its master in float32."""
        leaf = self._leaf(p)
        if not self._masters or leaf.dtype not in SHORT:
            return leaf
        wide, held = leaf.float(), self.state[p].get("master")
        # Where somebody else has set the parameter since, as loading a model does, it is what counts.
        master = wide if held is None else torch.where(held.to(leaf.dtype) == leaf, held, wide)
        self.state[p]["master"] = master
        return master

    def _move(self, p: Any, value: Any) -> None:
        """Set a parameter, rounded from its master where it has one."""
        if "master" in self.state.get(p, {}):
            self.state[p]["master"].copy_(value)
        self._leaf(p).copy_(value)

    def _leaf(self, p: Any) -> Any:
        """Return a parameter without its graph, unless that is wanted; a complex one as pairs of reals."""
        p = p if self._graph else p.detach()
        return torch.view_as_real(p) if torch.is_complex(p) else p

    def _gradient(self, p: Any, maximize: bool, x: Any) -> Any:
        """Return a parameter's gradient in the dtype of its point `x`."""
        g = p.grad if self._graph else p.grad.detach()
        if g.is_sparse:
            g = g.coalesce().to_dense()
        g = torch.view_as_real(g.resolve_conj()) if torch.is_complex(g) else g
        g = g.to(x.dtype)
        return -g if maximize else g

    def _updated(self, method: Any, x: Any, g: Any, s: State) -> tuple[Any, State]:
        """Make one step; `update` would cut the graph of x."""
        if not self._graph:
            return method.update(x, g, s)
        if any(v is None for v in g.values()):
            raise ArgumentError("differentiable: wanted a gradient for every parameter of a group, None came")
        return method._update(x, g, s, False)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its numbers are checked."""
        super().add_param_group(param_group)
        try:
            self._of_group(self.param_groups[-1])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step from the gradients in ``p.grad``, or from those that `closure` computes.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss, its gradients (``loss.backward()``) and returns it. Methods that ask at points of their
            own, such as SAM, call it there too and need it.

        Returns
        -------
        The closure's loss, None without one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.set_grad_enabled(self._graph):
            self._step(closure, loss)
        return loss

    def _step(self, closure: Callable[[], Any] | None, loss: Any) -> None:
        """Step every group."""
        asking = []
        for number, group in enumerate(self.param_groups):
            active = [(n, p) for n, p in _named(group) if p.grad is not None]
            if not active:
                continue
            method = self._of_group(group)
            if not _from_gradients(method) and not _wraps_gradients(method):
                asking.append((method, group, number))
            elif _leaf_by_leaf(method):
                self._each_leaf(method, group, active)
            else:
                self._together(method, group, number, active)
        if asking:
            self._by_closure(asking, closure, loss)

    def _of_group(self, group: Mapping[str, Any]) -> Method:
        """Return the method with a group's numbers."""
        given = {k: v for k, v in group.items() if k not in ("params", "param_names", "maximize")}
        given = _untupled(given, self._method.registered_name)
        fields = {f.name: f for f in dataclasses.fields(self._method)}
        settings = {}
        for key, value in given.items():
            if key not in fields:
                continue  # a scheduler's own notes, such as initial_lr
            settings[key] = value
        base = getattr(self._method, "base", None)
        if isinstance(base, Method):
            inner = {f.name for f in dataclasses.fields(base)} - fields.keys()
            settings["base"] = dataclasses.replace(base, **{k: v for k, v in given.items() if k in inner})
        return dataclasses.replace(self._method, **settings)

    def _each_leaf(self, method: Any, group: dict[str, Any], active: list[tuple[str, Any]]) -> None:
        """Step leaves that do not look at each other, each at its own count of steps."""
        points = {n: self._point(p) for n, p in active}
        for name, p in active:
            if "step" not in self.state[p]:
                self._put(p, name, method.init({name: points[name]}))
        by_count: dict[int, list[tuple[str, Any]]] = {}
        for name, p in active:
            by_count.setdefault(int(self.state[p]["step"]), []).append((name, p))
        slots = method.active_slots()
        for t, leaves in by_count.items():
            first = self.state[leaves[0][1]]
            arrays = [HELD.get(slot, slot) for slot in slots]
            s: dict[str, Any] = {k: v for k, v in first.items() if k not in ("step", "master", *arrays)}
            x = {n: points[n] for n, _ in leaves}
            s |= {
                "t": t,
                **{
                    slot: {n: _like(self.state[p][held], x[n]) for n, p in leaves}
                    for slot, held in zip(slots, arrays)
                },
            }
            x, new = self._updated(
                method, x, {n: self._gradient(p, group["maximize"], x[n]) for n, p in leaves}, s
            )
            for name, p in leaves:
                self._move(p, x[name])
                self._put(p, name, {k: {name: v[name]} if k in slots else v for k, v in new.items()})

    def _put(self, p: Any, name: str, s: State) -> None:
        """Keep the state of one leaf as torch's optimizers do, by parameter."""
        held = self.state[p]
        for k, v in s.items():
            held[HELD.get(k, k)] = torch.tensor(v) if k == "t" else v[name] if isinstance(v, dict) else v

    def _together(
        self, method: Method, group: dict[str, Any], number: int, active: list[tuple[str, Any]]
    ) -> None:
        """Step a group whose leaves look at each other; a leaf without a gradient stays, and so does its state."""
        x = {n: self._point(p) for n, p in _named(group)}
        s = self._state(method, number, x)
        g = {n: self._gradient(p, group["maximize"], x[n]) for n, p in active}
        moved, s = self._updated(method, x, {n: g.get(n) for n in x}, s)
        self._keep(number, x, s)
        for n, p in active:
            self._move(p, moved[n])

    def _by_closure(
        self, asking: list[tuple[Method, dict[str, Any], int]], closure: Callable[[], Any] | None, loss: Any
    ) -> None:
        """Step groups whose method asks at points of its own; each asks while the others stand where the step began."""
        if closure is None:
            method = asking[0][0]
            raise ArgumentError(
                f"closure: {method.registered_name} asks for {', '.join(method.needs)} at points of its own, so step"
                " needs a closure that computes loss and gradients"
            )
        # All of them, before the first asks: what the parameters' gradients are now is known for every group.
        problems = [_Closure(closure, loss, group, self) for _, group, _ in asking]
        found = [self._asked(method, n, problem) for (method, _, n), problem in zip(asking, problems)]
        for (_, _, number), problem, (x, s) in zip(asking, problems, found):
            for n, p in problem.params.items():
                self._move(p, x[n])
            self._keep(number, problem.start, s)

    def _asked(self, method: Method, number: int, problem: _Closure) -> tuple[dict[str, Any], State]:
        """Return a group's new point and state, and leave the parameters as they were."""
        s = self._state(method, number, problem.start)
        oracle = Oracle(problem, self._seed)
        oracle.begin(int(s["t"]) + 1, problem.start)
        try:
            return method.step(problem.start, s, oracle)
        finally:
            problem.put(problem.start)

    def _state(self, method: Method, number: int, x: dict[str, Any]) -> State:
        held = self.state.get("groups", {}).get(str(number))
        return method.init(x) if held is None else _by_name(held, list(x))

    def _keep(self, number: int, x: Mapping[str, Any], s: State) -> None:
        self.state.setdefault("groups", {})[str(number)] = _by_position(s, list(x))


class _Closure:
    """A closure as a problem in the parameters of one group, which has answered already where they stand."""

    def __init__(
        self, closure: Callable[[], Any], loss: Any, group: Mapping[str, Any], shell: TorchOptimizer
    ) -> None:
        self.closure, self.params, self.maximize = closure, dict(_named(group)), group["maximize"]
        self.shell = shell
        self.start = {n: shell._point(p).clone() for n, p in self.params.items()}
        self.known = self._answer(loss)

    def put(self, x: Mapping[str, Any]) -> None:
        """Set the parameters."""
        for n, p in self.params.items():
            self.shell._leaf(p).copy_(x[n])

    def value_and_grad(self, x: Any) -> tuple[Any, Any]:
        """Return the loss and its gradients."""
        if x is self.start:
            return self.known
        self.put(x)
        for p in self.params.values():
            p.grad = None
        with torch.enable_grad():
            return self._answer(self.closure())

    def _answer(self, loss: Any) -> tuple[Any, Any]:
        """Return what the closure left behind."""
        if not torch.is_tensor(loss):
            loss = torch.as_tensor(float(loss))
        g = {
            n: torch.zeros_like(x) if p.grad is None else self.shell._gradient(p, self.maximize, x).clone()
            for (n, p), x in zip(self.params.items(), self.start.values())
        }
        return (-loss if self.maximize else loss).detach(), g

    def grad(self, x: Any) -> Any:
        """Return the gradients."""
        return self.value_and_grad(x)[1]

    def value(self, x: Any) -> Any:
        """Return the loss."""
        return self.value_and_grad(x)[0]


def _numbers(method: Method) -> dict[str, Any]:
    """Return what stands in torch's groups: hyperparameters that are numbers, a wrapper's with its base's."""
    out: dict[str, Any] = {}
    base = getattr(method, "base", None)
    if isinstance(base, Method):
        # A name that both have is the wrapper's, as in refopt.optimizer.
        theirs = {f.name for f in dataclasses.fields(method)}
        out.update((k, v) for k, v in _numbers(base).items() if k not in theirs)
    for f in dataclasses.fields(method):
        value = getattr(method, f.name)
        if f.name not in ("engine", "schedule") and (
            value is None or isinstance(value, (bool, str, numbers.Real)) or (is_rate(f) and callable(value))
        ):
            out[f.name] = value
    if {"beta1", "beta2"} <= out.keys():
        out["betas"] = (out.pop("beta1"), out.pop("beta2"))
    if (rate := RATES.get(method.registered_name)) is not None:
        out["lr"] = out.pop(rate)
    return out


def _untupled(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return hyperparameters of the method `name` by refopt's names: of torch's ``betas`` two, and Rprop's ``lr``."""
    out = dict(given)
    if name in RATES and "lr" in out:
        out[RATES[name]] = out.pop("lr")
    if "betas" in out:
        betas = out.pop("betas")
        try:
            first, second = betas
        except (TypeError, ValueError):
            raise ArgumentTypeError(f"betas: wanted two numbers, got {betas!r}") from None
        out.update(beta1=first, beta2=second)
    return {k: v.item() if torch.is_tensor(v) and v.numel() == 1 else v for k, v in out.items()}


def _leaf_by_leaf(method: Method) -> bool:
    """Tell whether a method's leaves do not look at each other."""
    cls = type(method)
    return isinstance(method, LeafRule) and all(
        getattr(cls, name) is getattr(LeafRule, name)
        for name in ("advance", "_update", "update", "step", "init")
    )


def _one_rule(method: Method) -> bool:
    """Tell whether one rule is applied to every leaf, without another method inside."""
    inside = (getattr(method, f.name) for f in dataclasses.fields(method))
    return isinstance(method, LeafRule) and not any(isinstance(m, Method) for m in inside)


def _from_gradients(method: Method) -> bool:
    """Tell whether a method is a rule of the gradients alone."""
    return isinstance(method, GradientMethod) and method.given == ("g",)


def _wraps_gradients(method: Method) -> bool:
    """Tell whether a method that is no `GradientMethod` has `update` all the same, as clipping has."""
    base = getattr(method, "base", None)
    own = type(method).update is not Method.update
    return own and isinstance(base, Method) and (isinstance(base, GradientMethod) or _wraps_gradients(base))


def _by_position(tree: Any, names: list[str]) -> Any:
    """Return a state with its leaves by position, as torch's own are: names may differ where it is loaded."""
    if not isinstance(tree, dict):
        return tree
    leafwise = tree and all(k in names for k in tree)
    return {names.index(k) if leafwise else k: _by_position(v, names) for k, v in tree.items()}


def _by_name(tree: Any, names: list[str]) -> Any:
    """Return the state that `_by_position` was given, with the names of now."""
    if not isinstance(tree, dict):
        return tree
    return {names[k] if isinstance(k, int) else k: _by_name(v, names) for k, v in tree.items()}


def _named(group: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield a group's parameters by name: torch's, where it was given them."""
    names = group.get("param_names") or [f"p{i}" for i in range(len(group["params"]))]
    yield from zip(names, group["params"])


def _like(a: Any, x: Any) -> Any:
    """Return a slot in the dtype of what is moved, which loading a state may have changed."""
    return a.to(x.dtype) if torch.is_tensor(a) and a.is_floating_point() else a
