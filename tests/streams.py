"""Gradient streams: the same start and gradients for both sides of a comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import refopt

SHAPES = {"w": (3, 4), "b": (5,), "k": (2, 3, 2, 2)}
STEPS = 200
# Every step at first, where the start shows, then now and then.
KEPT = [*range(1, 11), *range(20, STEPS + 1, 20)]
KINDS = ("random", "ill", "flip", "small")

Leaves = dict[str, np.ndarray]


def stream(
    seed: int, kind: str, steps: int = STEPS, shapes: dict[str, Any] | None = None
) -> tuple[Leaves, list[Leaves]]:
    """A start and a list of gradients; the first entry of every leaf has gradient zero throughout.

    ``random``: standard normal. ``ill``: scales from 1e-3 to 1e3 by coordinate. ``flip``: one
    direction whose sign alternates, on noise. ``small``: of size 1e-6, where eps matters.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    shapes = SHAPES if shapes is None else shapes
    x = {k: rng.standard_normal(s) for k, s in shapes.items()}
    scale = {k: 10.0 ** rng.uniform(-3, 3, s) if kind == "ill" else np.ones(s) for k, s in shapes.items()}
    lead = {k: rng.standard_normal(s) for k, s in shapes.items()}
    gradients = []
    for t in range(steps):
        g = {}
        for k, s in shapes.items():
            noise = rng.standard_normal(s)
            if kind == "flip":
                noise = (-1.0) ** t * lead[k] + 0.3 * noise
            leaf = noise * scale[k] * (1e-6 if kind == "small" else 1.0)
            leaf.flat[0] = 0.0
            g[k] = leaf
        gradients.append(g)
    return x, gradients


def schedule(t: int) -> float:
    """A rate multiplier that changes every step, t = 1, 2, …"""
    return 0.5 + 0.5 / t**0.5


def flat(x: Leaves) -> np.ndarray:
    return np.concatenate([np.asarray(x[k], dtype=np.float64).ravel() for k in sorted(x)])


def trajectory(
    advance: Callable[[Leaves, Leaves, int], Leaves], x: Leaves, gradients: list[Leaves]
) -> np.ndarray:
    """The kept points of a run, one row each."""
    rows = []
    for t, g in enumerate(gradients, 1):
        x = advance(x, g, t)
        if t in KEPT:
            rows.append(flat(x))
    return np.stack(rows)


def run_refopt(
    name: str, seed: int, kinds: tuple[str, ...] = KINDS, shapes: dict[str, Any] | None = None, **kwargs: Any
) -> dict[str, np.ndarray]:
    """Run a registered method on every stream: one array a stream."""
    return run_method(lambda: refopt.optimizer(name, **kwargs), seed, kinds, shapes)


def run_method(
    make: Callable[[], Any], seed: int, kinds: tuple[str, ...] = KINDS, shapes: dict[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """Run what ``make()`` returns, with ``init`` and ``update``, on every stream."""
    out = {}
    for kind in kinds:
        x, gradients = stream(seed, kind, shapes=shapes)
        method = make()
        state = method.init(x)

        def advance(x: Leaves, g: Leaves, t: int) -> Leaves:
            nonlocal state
            x, state = method.update(x, g, state)
            return x

        out[kind] = trajectory(advance, x, gradients)
    return out
