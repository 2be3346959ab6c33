"""Batches of a finite sum."""

from __future__ import annotations

import numpy as np

from refopt.core.rng import generator

SAMPLING = ("shuffle", "replacement", "cyclic")


class Sampler:
    """Draws the batches of a finite sum; a batch depends on the seed and the step alone.

    Parameters
    ----------
    n : int
        Number of examples.
    size : int
        Batch size, at most `n`.
    sampling : {"shuffle", "replacement", "cyclic"}
        ``shuffle``: each epoch is a new permutation cut into batches, a rest smaller than `size` is
        left out. ``replacement``: independent draws. ``cyclic``: 0, 1, 2, … in order, round and round.
    seed : int
    """

    def __init__(self, n: int, size: int, sampling: str, seed: int) -> None:
        self.n, self.size, self.sampling, self.seed = n, size, sampling, seed
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def draw(self, step: int) -> np.ndarray:
        """Return the indices of step 1, 2, …."""
        k = step - 1
        if self.sampling == "replacement":
            return generator(self.seed, "batch", step).integers(0, self.n, size=self.size)
        if self.sampling == "cyclic":
            return (k * self.size + np.arange(self.size)) % self.n
        epoch, part = divmod(k, self.n // self.size)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, generator(self.seed, "batch", epoch).permutation(self.n)
        return self._order[part * self.size : (part + 1) * self.size]
