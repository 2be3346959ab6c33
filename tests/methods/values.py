"""What the tests of zeroth-order methods share: directions put in by hand, exact averages, a linear function."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from refopt.core.oracle import Oracle


class Numbers:
    """In a generator's place: given normal numbers and signs, one after the other."""

    def __init__(self, *values: Any) -> None:
        self.values = list(values)

    def standard_normal(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(self.values.pop(0), dtype=np.float64).reshape(shape)

    def integers(self, low: int, high: int, size: Any = None) -> np.ndarray:
        return (np.asarray(self.values.pop(0)).reshape(size) + 1) // 2


def at(problem: Any, *values: Any, batch: np.ndarray | None = None) -> Oracle:
    """An oracle whose random numbers are `values`."""
    oracle = Oracle(problem)
    oracle.begin(1)
    oracle.batch = batch
    oracle._rng = Numbers(*values)  # type: ignore[assignment]
    return oracle


def nodes(law: str, samples: int) -> Iterator[tuple[float, list[np.ndarray]]]:
    """Weights and directions in the plane over which a polynomial of degree 4 in each has its exact mean."""
    one: list[tuple[float, np.ndarray]]
    if law == "gaussian":
        z, w = np.polynomial.hermite_e.hermegauss(3)
        w = w / w.sum()
        one = [(w[i] * w[j], np.array([z[i], z[j]])) for i in range(3) for j in range(3)]
    elif law == "sphere":
        turns = np.arange(7) * 2 * np.pi / 7 + 0.3
        one = [(1 / 7, np.array([np.cos(a), np.sin(a)])) for a in turns]
    else:
        one = [(0.25, np.array(s, dtype=float)) for s in itertools.product((-1.0, 1.0), repeat=2)]
    for combination in itertools.product(one, repeat=samples):
        yield float(np.prod([w for w, _ in combination])), [z for _, z in combination]


class Linear:
    """f(x) = f0 + gᵀx, at its point 0."""

    def __init__(self, f0: float, g: np.ndarray) -> None:
        self.f0, self.g = f0, g

    def value(self, x: np.ndarray) -> float:
        return self.f0 + float(self.g @ x)

    def grad(self, x: np.ndarray) -> np.ndarray:
        return self.g

    def directional(self, x: np.ndarray, v: np.ndarray) -> float:
        return float(self.g @ v)


class Cubic:
    """f(x) = xᵀHx/2 + Σ c x³/6, of which differences have a known error; H alone with c = 0."""

    def __init__(self, h: np.ndarray, c: float = 0.0) -> None:
        self.h, self.c = h, c

    def value(self, x: np.ndarray) -> float:
        return float(x @ self.h @ x / 2 + self.c * np.sum(x**3) / 6)

    def grad(self, x: np.ndarray) -> np.ndarray:
        return self.h @ x + self.c * x**2 / 2

    def directional(self, x: np.ndarray, v: np.ndarray) -> float:
        return float(self.grad(x) @ v)


H = np.array([[2.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 3.0]])
X = np.array([0.7, -1.1, 0.4])
