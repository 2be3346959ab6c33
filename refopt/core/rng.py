"""Counter-based random numbers: a draw depends on the seed, the stream and the step alone.

Nothing has to be saved to resume a run, and every engine sees the same numbers: they are drawn in
NumPy and moved to the array's library afterwards.
"""

from __future__ import annotations

import numpy as np

from refopt.core.arrays import Array, like
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.params import Params, leaves, rebuild

STREAMS = {"batch": 0, "method": 1, "start": 2, "problem": 3, "tape": 4, "wrapper": 5}


def generator(seed: int, stream: str, step: int = 0) -> np.random.Generator:
    """Return the generator of one step of one stream.

    Parameters
    ----------
    seed : int
        In [0, 2**64).
    stream : {"batch", "method", "start", "problem", "tape", "wrapper"}
    step : int
        In [0, 2**64).
    """
    if type(seed) is not int and not isinstance(seed, np.integer):
        raise ArgumentTypeError(f"seed: wanted an integer in [0, 2**64), got {seed!r}")
    try:
        key = np.array([seed, STREAMS[stream]], dtype=np.uint64)
    except (OverflowError, TypeError, ValueError):
        raise ArgumentError(f"seed: wanted an integer in [0, 2**64), got {seed!r}") from None
    # The last counter word is the step, so that a step can draw 2**192 numbers without overlap.
    counter = np.array([0, 0, 0, step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def rademacher(rng: np.random.Generator, x: Params) -> Params:
    """Return signs +1 and -1 with equal probability, of the structure, library and dtype of `x`."""

    def draw(leaf: Array) -> Array:
        return like(rng.integers(0, 2, size=leaf.shape) * 2.0 - 1.0, leaf)

    return rebuild(x, {k: draw(v) for k, v in leaves(x).items()})


def normal(rng: np.random.Generator, x: Params) -> Params:
    """Return independent standard normal numbers, of the structure, library and dtype of `x`."""
    return rebuild(x, {k: like(rng.standard_normal(v.shape), v) for k, v in leaves(x).items()})
