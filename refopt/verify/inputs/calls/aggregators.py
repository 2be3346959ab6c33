"""Aggregators: matrices of gradients, called once, or several times in turn where there is a state."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from refopt.core.registry import get
from refopt.core.rng import generator
from refopt.verify.inputs.calls.case import Case, Fault, Kind, Reference, after, as_array, negated

# Options that change what is computed, and that an implementation is likely to have.
OPTIONS: Mapping[str, dict[str, Any]] = {
    "mean": {"preference": np.array([0.5, 0.3, 0.2])},
    "upgrad": {"preference": np.array([0.5, 0.3, 0.2])},
    "dualproj": {"preference": np.array([0.5, 0.3, 0.2])},
    "cagrad": {"c": 0.2},
    "nash-mtl": {"max_norm": 0.5},
    "orthogonal-gradient": {"eta": 0.3},
    "pcgrad": {"order": [[2, 1], [0, 2], [1, 0]]},
}

# What is solved by iteration stops somewhere.
SLACK = {"nash-mtl": 1e-6, "cagrad": 1e-6}


def gradient_cases(name: str, seed: int) -> list[Case]:
    """Return matrices of gradients: in agreement, in conflict, of unequal length, more and fewer than numbers."""
    rng = generator(seed, "tape", 3300)
    slack = SLACK.get(name, 0.0)
    base = rng.standard_normal(6)
    pair = {
        "two in agreement": np.stack([base, base + 0.5 * rng.standard_normal(6)]),
        "two in conflict": np.stack([base, -base + rng.standard_normal(6)]),
        "two of unequal length": np.stack([base, 50.0 * rng.standard_normal(6)]),
    }
    three = {
        "three": rng.standard_normal((3, 7)),
        "three in conflict": np.stack([base, -base + 0.8 * rng.standard_normal(6), rng.standard_normal(6)]),
        "three scaled by 1e-3": 1e-3 * rng.standard_normal((3, 5)),
    }
    if _stateful(name):
        return _courses(name, rng, pair if name == "bloop" else three)
    if name == "orthogonal-gradient":
        three = {}
    if name == "nna":
        three["five, one far off"] = np.concatenate([rng.standard_normal((4, 3)), np.full((1, 3), 1e3)])
    # What the order of three decides is drawn where it is not given.
    out = [Case(k, (J,), slack=slack) for k, J in {**pair, **({} if name == "pcgrad" else three)}.items()]
    for option, value in OPTIONS.get(name, {}).items():
        for k, J in (three or pair).items():
            if J.shape[0] == 3 or name == "orthogonal-gradient":
                out.append(Case(f"{k}, {option} given", (J,), {option: value}, needs=(option,), slack=slack))
    return out


def _stateful(name: str) -> bool:
    return "state" in inspect.signature(get(name)).parameters


def _courses(name: str, rng: np.random.Generator, made: Mapping[str, np.ndarray]) -> list[Case]:
    """Return matrices that are given one after the other, each with the numbers that go with it."""
    out = []
    for label, J in made.items():
        each = [J + 0.3 * k * rng.standard_normal(J.shape) * np.abs(J).mean() for k in range(4)]
        beside = [{"losses": rng.random(len(J)) + 0.5} if name == "gradnorm" else {} for _ in each]
        out.append(Case(f"{label}, four steps", (tuple(each), tuple(beside))))
    return out


def in_turn(call: Reference, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """Call an aggregator on a matrix, or on several with the state handed on."""
    if len(args) == 1:
        return call(*args, **options)
    state, out = None, []
    for J, beside in zip(*args):
        direction, state = call(J, state, **options, **beside)
        out.append(as_array(direction))
    return np.concatenate(out)


def read_direction(value: Any) -> np.ndarray:
    """Return the direction from a direction or ``(direction, ...)``."""
    return as_array(value[0] if isinstance(value, tuple) else value)


def _rows(change: Any) -> Any:
    return lambda f: lambda J, *rest, **o: f(change(np.asarray(J)), *rest, **o)


def _times(power: float) -> Any:
    def change(f: Reference) -> Reference:
        def run(J: Any, *rest: Any, **options: Any) -> Any:
            return after(lambda d: as_array(d) * len(J) ** power)(f)(J, *rest, **options)

        return run

    return change


SUMMED = Fault("summed", "times the number of objectives (a sum for a mean)", _times(1.0))
AVERAGED = Fault("averaged", "over the number of objectives (a mean for a sum)", _times(-1.0))

AGGREGATORS = Kind(
    gradient_cases,
    (
        SUMMED,
        AVERAGED,
        *negated(read_direction),
        Fault("rows-normalised", "of the gradients, each over its norm",
              _rows(lambda J: J / np.maximum(np.linalg.norm(J, axis=1, keepdims=True), 1e-300))),
        Fault("answer-normalised", "over its own norm", after(lambda d: as_array(d) / np.linalg.norm(as_array(d)))),
        Fault("rows-exchanged", "with the objectives in the opposite order", _rows(lambda J: J[::-1])),
        Fault("plain-mean", "in name alone: it is the mean of the gradients",
              lambda f: lambda J, state=None, **o: np.mean(J, axis=0) if state is None else (np.mean(J, axis=0), state)),
        Fault("plain-sum", "in name alone: it is the sum of the gradients", lambda f: lambda J, *r, **o: np.sum(J, axis=0)),
        Fault("single-precision", "computed in single precision", _rows(lambda J: J.astype(np.float32))),
    ),
    read_direction,
    ask=in_turn,
    conventions=(SUMMED, AVERAGED),
)  # fmt: skip
