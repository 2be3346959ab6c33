"""Moves of a side under a chosen sequence of gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refopt.core.rng import generator
from refopt.verify.sides.side import Leaves, Schedule, Side

# A matrix, and a vector beside it.
SHAPES: Mapping[str, tuple[int, ...]] = {"matrix": (3, 4), "vector": (5,)}


@dataclass(frozen=True, eq=False)
class Subject:
    """A side with the numbers that it is run with.

    Parameters
    ----------
    side : Side
    given : dict
        By the reference's names.
    leaves : tuple of str
        Those of `SHAPES` that it takes.
    seed : int
    """

    side: Side
    given: Mapping[str, Any] = field(default_factory=dict)
    leaves: tuple[str, ...] = tuple(SHAPES)
    seed: int = 0

    def normal(self, which: int) -> Leaves:
        """Return one standard normal array a leaf."""
        rng = generator(self.seed, "tape", 9000 + which)
        drawn = {k: rng.standard_normal(shape) for k, shape in SHAPES.items()}
        return {k: drawn[k] for k in self.leaves}

    def moves(
        self,
        gradients: Sequence[Leaves],
        x0: Leaves | None = None,
        schedule: Schedule | None = None,
        **given: Any,
    ) -> list[Leaves]:
        """Return how the point moves at every step.

        Parameters
        ----------
        gradients : list of dict of array
        x0 : dict of array, optional
            By default `start`.
        schedule : callable, optional
        given
            Numbers in place of the subject's.
        """
        x0 = self.start() if x0 is None else x0
        out: list[Leaves] = [{} for _ in gradients]
        groups = [list(x0)] if self.side.together else [[k] for k in x0]
        with np.errstate(all="ignore"):
            for group in groups:
                point = {k: x0[k].copy() for k in group}
                run = self.side.begin(
                    {k: v.copy() for k, v in point.items()}, {**self.given, **given}, schedule
                )
                try:
                    for t, g in enumerate(gradients, 1):
                        new = run.step({k: g[k].copy() for k in group}, t)
                        for k in group:
                            out[t - 1][k] = np.asarray(new[k], dtype=np.float64) - point[k]
                            point[k] = np.asarray(new[k], dtype=np.float64)
                finally:
                    run.close()
        return out

    def start(self) -> Leaves:
        """Return a start without zeros."""
        return self.normal(0)


def scaled(gradients: Sequence[Leaves], factor: float) -> list[Leaves]:
    """Return all gradients times a number."""
    return [{k: factor * v for k, v in g.items()} for g in gradients]


def size(move: Leaves) -> float:
    """Return the Euclidean norm over all leaves."""
    return float(np.sqrt(sum(np.sum(v * v) for v in move.values())))
