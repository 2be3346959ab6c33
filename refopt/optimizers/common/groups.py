"""Groups: methods that treat some leaves by their own rule and hand the others to another method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refopt.core.errors import ArgumentTypeError
from refopt.core.groups import choose, pick
from refopt.core.hyper import hyper
from refopt.core.method import LeafRule, Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, leaves, rebuild


class Grouped(LeafRule):
    """A leaf rule for chosen leaves, beside another method for the rest.

    The state holds the rule's slots for the chosen leaves, and the other method's state under
    ``"others"``.
    """

    group: Any = hyper("all", words="The leaves that the rule treats; see `choose`.",
        kind="str, sequence of str, or callable")  # fmt: skip
    others: Any = hyper(None, words="What treats the rest, if there is any.", kind="Method")

    def _split(self, x: Params) -> tuple[list[str], list[str]]:
        mine = choose(x, self.group)
        rest = [k for k in leaves(x) if k not in mine]
        if rest and not isinstance(self.others, Method):
            raise ArgumentTypeError(
                f"others: wanted a Method for the leaves {rest}, which are not in the group, got {self.others!r}"
            )
        return mine, rest

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        x = check_start(x, "x")
        mine, rest = self._split(x)
        own = super().init(pick(x, mine)) if mine else {"t": 0, **{slot: {} for slot in self.active_slots()}}
        return {**own, "others": self.others.init(pick(x, rest))} if rest else own

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step: the rule on its leaves, the other method on the rest."""
        return self._both(
            x, s, lambda names, state: super(Grouped, self)._update(pick(x, names), pick(g, names), state, donate),
            lambda names, state: self.others.update(pick(x, names), pick(g, names), state, donate=donate),
        )  # fmt: skip

    def _both(
        self, x: Params, s: State, own: Callable[..., Any], other: Callable[..., Any]
    ) -> tuple[Params, State]:
        mine, rest = self._split(x)
        state = {k: v for k, v in s.items() if k != "others"}
        new_x, new_s = own(mine, state) if mine else ({}, {**state, "t": s["t"] + 1})
        if rest:
            other_x, other_s = other(rest, s["others"])
            new_x, new_s = {**new_x, **other_x}, {**new_s, "others": other_s}
        return rebuild(x, {k: new_x[k] for k in leaves(x)}), new_s

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient at `x` and update."""
        return self.update(x, oracle.grad(x), s)
