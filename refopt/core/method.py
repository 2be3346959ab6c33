"""What a method is: frozen hyperparameters, and pure `init`, `update` and `step`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, dataclass_transform

import numpy as np

from refopt.core import engines
from refopt.core.arrays import Array, Namespace, namespace, smallest
from refopt.core.doors import guarded, hold
from refopt.core.errors import ArgumentError, ArgumentTypeError, CapabilityError, ShapeError, traced
from refopt.core.forms import form_of
from refopt.core.hyper import check_hyperparameters, check_rate, hyper
from refopt.core.oracle import Oracle
from refopt.core.params import (
    Params,
    check_like,
    check_start,
    is_params,
    leaves,
    max_abs,
    merged,
    only,
    rebuild,
    without_graph,
)
from refopt.core.problem import require

State = Mapping[str, Any]
Rule = Callable[..., tuple[Array, ...]]


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclass(frozen=True, kw_only=True)
class Method:
    """Base of all optimizers and wrappers. A subclass is a frozen, keyword-only dataclass without more words.

    A state is a dict: ``"t"``, the number of steps made, and the method's own entries (parameters-
    like arrays, arrays, numbers, nested dicts). `init` and `step` never change what they are given.
    """

    registered_name: ClassVar[str] = ""
    own_needs: ClassVar[tuple[str, ...]] = ("grad",)
    has_rate: ClassVar[bool] = True
    # Whether the state has all leaves as one vector, of one dtype.
    one_vector: ClassVar[bool] = False
    schedule: Callable[[int], float] | None = hyper(
        None, words="Multiplier of the rate: a function of the step t = 1, 2, ..."
    )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A subclass without fields of its own (the oracle makes thousands) has its base's; a copy, its own.
        if inspect.get_annotations(cls) and "__dataclass_fields__" not in cls.__dict__:
            dataclass(frozen=True, kw_only=True)(cls)
        for door in ("init", "update", "step"):
            if door in cls.__dict__:
                setattr(cls, door, guarded(door, cls.__dict__[door]))

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what is remembered of forms: another process learns it anew."""
        return {k: v for k, v in self.__dict__.items() if k != "_starts"}

    def __post_init__(self) -> None:
        check_hyperparameters(self)
        if self.schedule is not None and not callable(self.schedule):
            raise ArgumentError(f"schedule: wanted a function of the step or None, got {self.schedule!r}")
        if self.schedule is not None:
            if not self.has_rate:
                raise ArgumentError(
                    f"schedule: {self.registered_name} has no rate that a schedule could multiply"
                )
            self.multiplier(1)

    @property
    def needs(self) -> tuple[str, ...]:
        """The capabilities that a problem must offer."""
        return self.own_needs

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the measure that `minimize` compares with ``tol``: the gradient's largest entry."""
        require(oracle.problem, ("grad",), "tol, which is held against the gradient's largest entry,")
        return max_abs(oracle.grad(x))

    def multiplier(self, t: int) -> float:
        """Return the schedule's value at step `t`, 1 without a schedule."""
        return 1.0 if self.schedule is None else check_rate(self.schedule(t), f"schedule({t})")

    def rate(self, t: int) -> float:
        """Return the learning rate of step `t`: ``lr`` (a number or a function) times the schedule."""
        lr = self.lr  # type: ignore[attr-defined]
        return (check_rate(lr(t), f"lr({t})") if callable(lr) else float(lr)) * self.multiplier(t)

    def init(self, x: Params) -> State:
        """Return the state at the start `x`.

        Parameters
        ----------
        x : array or dict of arrays
            Or any nesting of dicts, lists and tuples of arrays.

        Returns
        -------
        dict
            With ``"t": 0``.
        """
        raise NotImplementedError

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one step from `x`, asking `oracle` for what is needed.

        Parameters
        ----------
        x : array or dict of arrays
        s : state
        oracle : Oracle
            The only way to the problem; it counts.

        Returns
        -------
        x, s : the new point and state
        """
        raise NotImplementedError

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Make one step from a gradient alone; only methods that need nothing else have it.

        Parameters
        ----------
        x : array or dict of arrays
        grad : like x
        s : state
        donate : bool
            The caller gives up `x` and `s`.

        Returns
        -------
        x, s : the new point and state

        Raises
        ------
        CapabilityError
            The method asks for more than gradients.
        """
        raise CapabilityError(
            f"{self.registered_name}: update(x, grad, s) is for methods that need gradients alone; use"
            " step(x, s, oracle)"
        )

    def _unusual(self, x: Params, grad: Params, s: State, donate: bool) -> tuple[Params, State] | None:
        """Make the update where x is not in the form that methods know, or leaves have no gradient; else return None.

        Leaves without a gradient stand still, with what the state has of them.
        """
        if not is_params(x) and (form := form_of(x)) is not None:
            x, s = self.update(form.inside(x), form.inside(grad, "grad"), s, donate=donate)
            return form.outside(x), s
        if not isinstance(grad, dict) or not isinstance(x, dict) or all(g is not None for g in grad.values()):
            return None
        names, moved = set(x), {k for k, g in grad.items() if g is not None}
        if not moved:
            return x, s
        if self.one_vector:
            raise ArgumentTypeError(
                f"grad: {self.registered_name} takes all leaves as one vector, so that each has a gradient; got None for"
                f" {', '.join(k for k in x if k not in moved)}"
            )
        part = {k: only(v, names, moved) for k, v in s.items()}
        new_x, new_s = self.update(only(x, names, moved), only(grad, names, moved), part, donate=donate)
        return merged(x, new_x, names), {k: merged(s.get(k), v, names) for k, v in new_s.items()}


class GradientMethod(Method):
    """A method that needs one gradient a step, at the current point: a subclass gives `_update`.

    `given` names what a step is fed with: the gradient, or more, and then `update` is an error.
    """

    given: ClassVar[tuple[str, ...]] = ("g",)
    elementwise: ClassVar[bool] = False

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient at `x` and update."""
        return self.update(x, oracle.grad(x), s)

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Make one step.

        Parameters
        ----------
        x : array or dict of arrays
            Or any nesting of dicts, lists and tuples of arrays, complex ones among them (`refopt.core.forms`).
        grad : like x
            None in place of an array leaves it as it is, with its state. NaN and infinity are not looked for, which
            would cost as much as many a step: they go into x and state, and `minimize` ends the run there.
        s : state
            From `init` or the last `update`.
        donate : bool
            The caller gives up `x` and `s`: their memory may be overwritten and returned.

        Returns
        -------
        x, s : the new point and state

        Raises
        ------
        ShapeError, DtypeError, ArgumentTypeError
            `grad` is not like `x`, or `s` is not a state of this method.
        """
        if self.given != ("g",):
            return super().update(x, grad, s)
        if (done := self._unusual(x, grad, s, donate)) is not None:
            return done
        if not is_params(x):
            x = check_start(x, "x")
        self.check_state(s)
        check_like(grad, x, "grad")
        if not self.elementwise:  # there the engines look
            hold(self, x, s)
        try:
            return self._update(without_graph(x), grad, s, donate)
        except TypeError as error:
            if not traced(error):
                raise
            raise ArgumentTypeError(
                f"{self.registered_name}: its step looks at values, which arrays that JAX traces (jit, grad, vmap) do not"
                " have; call update outside, or use refopt.as_optax, which calls back"
            ) from None

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step from what `update` has checked."""
        raise NotImplementedError

    def active_slots(self) -> tuple[str, ...]:
        """Return the names of the state arrays in use."""
        return ()

    def check_state(self, s: State) -> None:
        """Raise unless `s` has what a state of this method has."""
        t = s.get("t") if isinstance(s, dict) else None
        slots = self.active_slots()
        if type(t) is int and t >= 0 and s.keys() >= set(slots):
            return
        got = f"a dict with {', '.join(map(repr, s))}" if isinstance(s, dict) else f"a {type(s).__name__}"
        wanted = ", ".join(("t, the steps made", *slots))
        raise ArgumentTypeError(
            f"s: wanted a state of {self.registered_name or type(self).__name__} ({wanted}), from init or the"
            f" last update; got {got}" + (f", t = {t!r}" if t is not None else "")
        )


class LeafRule(GradientMethod):
    """Applies one rule to each named array separately.

    A subclass names its `slots` (state arrays) and gives the formula in `rule`. Here the rule sees whole
    arrays, so that it may use norms and products.

    The rule's first parameters are x, what is given, and the slots in use. The others are numbers, filled
    by name (`numbers`): from `scalars`, which holds only what is no hyperparameter (corrected rates,
    ``1 - beta``), or else from the method: its hyperparameters, and `lr`, the rate of the step.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    # Below this an eps is looked at again: float16, which is array code's alone, holds what is not below 1e-7.
    small_eps: ClassVar[float] = 1e-7

    def active_slots(self) -> tuple[str, ...]:
        """Return the slots in use; a subclass drops those that its switches leave idle."""
        return self.slots

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return a slot's start for one leaf: zeros like the leaf."""
        return namespace(leaf).zeros_like(leaf)

    def carry(self, t: int, s: State) -> dict[str, float]:
        """Return the numbers that the state carries on, at step `t` (running products and the like)."""
        return {}

    def scalars(self, t: int, carried: Mapping[str, float]) -> dict[str, float]:
        """Return the numbers of step `t` that are no hyperparameters, by the names that the rule has for them."""
        return {}

    def number(self, name: str, t: int) -> float:
        """Return the number that a rule calls `name`, which neither `scalars` nor a hyperparameter is."""
        if name == "lr":
            return self.rate(t)
        raise AttributeError(
            f"{type(self).__name__}.rule has a parameter {name!r}, which is neither a slot, nor a number of scalars,"
            " nor a hyperparameter"
        )

    def numbers(self, t: int, carried: Mapping[str, float]) -> dict[str, float]:
        """Return all numbers of step `t`, in the order of the rule's parameters."""
        own, fields = self.scalars(t, carried), self.__dict__
        out = {}
        for name in self._wanted():
            if name in own:
                out[name] = own[name]
            elif name in fields and name != "lr":
                out[name] = fields[name]
            else:
                out[name] = self.number(name, t)
        return out

    def _wanted(self) -> tuple[str, ...]:
        """Return the names of the rule's numbers: its parameters but for the arrays."""
        # Kept beside the class that it was read from: the oracle changes the class of copies.
        kept = self.__dict__.get("_names")
        if kept is None or kept[0] is not type(self):
            code = self.rule(np).__code__
            arrays = 1 + len(self.given) + len(self.active_slots())
            kept = type(self), code.co_varnames[arrays : code.co_argcount]
            object.__setattr__(self, "_names", kept)
        return kept[1]

    def rule(self, xp: Namespace) -> Any:
        """Return the formula: ``(x, *given, *slots, *numbers) -> (x, *slots)``."""
        raise NotImplementedError

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        x = check_start(x, "x")
        first = {
            slot: rebuild(x, {k: self.init_slot(slot, v) for k, v in leaves(x).items()})
            for slot in self.active_slots()
        }
        return {"t": 0, **self.start_numbers(), **first}

    def start_numbers(self) -> dict[str, float]:
        """Return the carried numbers before the first step."""
        return {}

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        return self.advance(x, (g,), s, donate=donate)

    def advance(
        self, x: Params, given: tuple[Params, ...], s: State, *, donate: bool = False
    ) -> tuple[Params, State]:
        """Apply the rule to every leaf, fed with `given` (each like x)."""
        slots = self.active_slots()
        t = s["t"] + 1
        parts = (x, *given, *map(s.__getitem__, slots))
        carried = self.carry(t, s)
        numbers = self.numbers(t, carried)
        if 0.0 < numbers.get("eps", 1.0) < self.small_eps:
            # An eps that the dtype cannot hold would be zero, and zero over zero not a number.
            numbers["eps"] = max(numbers["eps"], smallest(x[next(iter(x))] if isinstance(x, dict) else x))
        scalars = list(numbers.values())
        if isinstance(x, dict):
            n = len(x)
            if any(len(p) != n for p in parts):
                raise ShapeError(f"s: is no state of x, which has the leaves {', '.join(map(repr, x))}")
            out = self._run([p[name] for p in parts for name in x], n, scalars, donate)
            new = [dict(zip(x, out[k : k + n])) for k in range(0, len(out), n)]
        else:
            new = self._run(list(parts), 1, scalars, donate)
        return new[0], {"t": t, **carried, **dict(zip(slots, new[1:]))}

    def _run(self, arrays: list[Array], leaves: int, scalars: list[float], donate: bool) -> list[Array]:
        return engines.engine("array")(self, arrays, leaves, scalars, donate)


class Elementwise(LeafRule):
    """A leaf rule in which no element looks at another: it runs on every engine.

    The rule may use arithmetic, comparisons, ``xp.sqrt``, ``xp.abs``, ``xp.maximum``, ``xp.minimum``,
    ``xp.where``, ``xp.sign``, ``xp.exp`` … and helper functions of its arguments. Literals are written as
    floats (``2.0 * x``): the compiled engines give them the array's dtype. ``1 - beta`` is a number of the
    step, since float32 would lose it.
    """

    elementwise: ClassVar[bool] = True
    engine: str = hyper(
        "array", engines.ENGINES, "What runs the rule: numba takes NumPy arrays, cupy CuPy arrays."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "_engine", engines.engine(self.engine))
        if self.engine == "numba":
            object.__setattr__(self, "small_eps", 1e-37)

    def _run(self, arrays: list[Array], leaves: int, scalars: list[float], donate: bool) -> list[Array]:
        return self._engine(self, arrays, leaves, scalars, donate)  # type: ignore[attr-defined]
