"""Jacobian descent (Quinton and Rey 2024): any aggregator over any method."""

from __future__ import annotations

import copy
import inspect
import math
from typing import Any

import numpy as np

from refopt.aggregators.upgrad import QUINTON
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentTypeError
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, leaves, max_abs, nbytes, rebuild
from refopt.core.registry import entry, register
from refopt.wrappers.base import Wrapper


@register("jacobian-descent", source=QUINTON, where="equation (2)", needs=("objectives", "jacobian"))
class JacobianDescent(Wrapper):
    """Jacobian descent: the base method steps with a direction made of the gradients of several objectives.

    ``x_{t+1} = x_t - η A(J(x_t))``, J the gradients of all objectives, one a row, A an aggregator; any base takes
    ``A(J)`` for its gradient. `tol` of `minimize` is compared with the largest entry of ``A(J)``.

    Notes
    -----
    An aggregator that asks for ``losses`` is given the objectives, one that asks for ``rng`` the step's random
    numbers; what a stateful one returns beside the direction goes into the state, under ``"aggregator"``. Where the rows are other
    workers' (nna), ``calls["bytes_sent"]`` counts them.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("two-quadratics")
    >>> r = refopt.minimize(p, "jacobian-descent", aggregator="mgda", lr=0.5, steps=500, tol=1e-6)
    >>> r.status
    'converged'
    """

    aggregator: Any = hyper(
        "upgrad",
        words="A: a name of the kind aggregator, or a function of J (``functools.partial`` sets its options).",
        kind="str or callable",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.aggregator, str) or callable(self.aggregator)):
            raise ArgumentTypeError(
                f"aggregator: wanted a name or a function of J, got {type(self.aggregator).__qualname__}"
            )
        function = entry(self.aggregator, ("aggregator",)).obj if isinstance(self.aggregator, str) else None
        object.__setattr__(self, "_function", function or self.aggregator)

    @property
    def needs(self) -> tuple[str, ...]:
        """The wrapper's needs, and its base's but for the gradient."""
        return tuple(n for n in super().needs if n != "grad")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the base's and the aggregator's, which has none yet."""
        return {**super().init(x), "aggregator": {}}

    def direction(
        self, x: Params, s: State, oracle: Oracle, rng: np.random.Generator
    ) -> tuple[Params, State]:
        """Return A(J) at `x`, and the aggregator's next state."""
        takes = inspect.signature(self._function).parameters  # type: ignore[attr-defined]
        options: dict[str, Any] = {}
        if "losses" in takes:
            options["losses"] = oracle.objectives(x)
        if "rng" in takes:
            options["rng"] = rng
        if "state" in takes:
            options["state"] = s["aggregator"]
        J = _matrix(oracle.jacobian(x))
        function = getattr(self._function, "func", self._function)  # type: ignore[attr-defined]
        if getattr(function, "sent_by_workers", False):
            oracle.counts.sent((J.shape[0] - 1) * nbytes(J[0, :]))
        found = self._function(J, **options)  # type: ignore[attr-defined]
        d, state = found if isinstance(found, tuple) else (found, {})
        return _like(d, x), state

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with aggregated directions."""
        states: list[State] = []

        def aggregated(oracle: Oracle, x: Params) -> Params:
            d, state = self.direction(x, s, oracle, oracle.rng)
            states.append(state)
            return d

        x, base = self.base.step(x, s["base"], GradientsAt(oracle, aggregated))
        return x, {"t": s["t"] + 1, "base": base, "aggregator": states[0] if states else s["aggregator"]}

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the largest entry of A(J), with the draws that the next step has."""
        return max_abs(self.direction(x, s, oracle, copy.deepcopy(oracle.rng))[0])


def _matrix(rows: Params) -> Array:
    """Return J of shape (m, n) from gradients on a first axis."""
    parts = list(leaves(rows).values())
    xp, m = namespace(parts[0]), parts[0].shape[0]
    flat = [xp.reshape(p, (m, -1)) for p in parts]
    return flat[0] if len(flat) == 1 else xp.concat(flat, axis=1)


def _like(d: Array, x: Params) -> Params:
    """Return a direction of shape (n,) in the form of `x`."""
    xp, new, begin = namespace(d), {}, 0
    for name, leaf in leaves(x).items():
        end = begin + math.prod(leaf.shape)
        new[name] = xp.reshape(d[begin:end], leaf.shape)
        begin = end
    return rebuild(x, new)
