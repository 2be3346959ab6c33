"""Matrix functions: what they are called on, and what goes wrong with them."""

from __future__ import annotations

import numpy as np

from refopt.core.rng import generator
from refopt.verify.inputs.calls.case import Case, Fault, Kind, after, as_array, first, negated, rooted

GENERAL = (
    "polar-newton-schulz",
    "polar-express",
    "spectral-norm-gram",
    "spectral-norm-power",
    "inverse-newton",
)
TWO = ("bures-wasserstein-distance", "spd-distance")


def spd(rng: np.random.Generator, n: int, condition: float) -> np.ndarray:
    """Return a random symmetric positive definite matrix with largest eigenvalue 2."""
    q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    a = (q * np.geomspace(2.0 / condition, 2.0, n)) @ q.T
    return (a + a.T) / 2


def _symmetric(rng: np.random.Generator, n: int) -> np.ndarray:
    c = rng.standard_normal((n, n))
    return c + c.T


def matrix_cases(name: str, seed: int) -> list[Case]:
    """Return matrices that the function is defined on."""
    rng = generator(seed, "tape", 3000)
    if name in OWN:
        return OWN[name](rng)
    if name in GENERAL:
        wide, tall = rng.standard_normal((3, 6)), rng.standard_normal((6, 3))
        square = spd(rng, 5, 10.0) + 0.3 * rng.standard_normal((5, 5))
        return [Case("square", (square,)), Case("wide", (wide,)), Case("tall", (tall,))]
    made = [
        Case("well conditioned", (spd(rng, 5, 10.0),), symmetric=True),
        Case("condition 1e4", (spd(rng, 6, 1e4),), symmetric=True),
        Case("scaled by 100", (100.0 * spd(rng, 4, 10.0),), symmetric=True),
        Case("one by one", (np.array([[0.25]]),), symmetric=True),
        Case("diagonal", (np.diag([0.5, 1.0, 2.0]),), symmetric=True),
    ]
    if name in TWO:
        return [Case(c.name, (c.args[0], spd(rng, c.args[0].shape[0], 8.0)), symmetric=False) for c in made]
    if name == "lyapunov-sign":
        return [Case(c.name, (c.args[0], _symmetric(rng, c.args[0].shape[0])), symmetric=False) for c in made]
    return made


def _kernels(rng: np.random.Generator) -> list[Case]:
    small, wide = rng.standard_normal((2, 3, 3, 3)), rng.standard_normal((4, 1, 5, 5))
    return [
        Case("3 to 2 channels, 3 x 3", (small, 8)),
        Case("1 to 4 channels, 5 x 5", (wide, 12)),
        Case("zero padding", (small, 8), {"padding": "zero"}, needs=("padding",)),
    ]


def _stacks(rng: np.random.Generator) -> list[Case]:
    few = np.stack([spd(rng, 4, 10.0) for _ in range(3)])
    return [
        Case("three matrices", (few,), slack=1e-9),
        Case("two matrices of order 2", (np.stack([spd(rng, 2, 50.0), spd(rng, 2, 3.0)]),), slack=1e-9),
        Case("weighted", (few,), {"weights": np.array([0.6, 0.3, 0.1])}, needs=("weights",), slack=1e-9),
    ]


def _families(rng: np.random.Generator) -> list[Case]:
    terms = np.stack([np.eye(3), 0.2 * _symmetric(rng, 3), 0.1 * _symmetric(rng, 3)])
    at = rng.uniform(-1, 1, (60, 2))
    training = np.column_stack([np.ones(60), at])
    return [
        Case(f"two parameters, point {k}", (terms, training, np.array([1.0, *point])))
        for k, point in enumerate(((0.3, -0.4), (-0.8, 0.1)))
    ]


def _samples(rng: np.random.Generator) -> list[Case]:
    return [
        Case(f"{n} rows of {d}", (rng.standard_normal((n, d)) @ spd(rng, d, 5.0) + 1.0,))
        for n, d in ((4, 2), (9, 4), (12, 8))
    ]


def _noisy(rng: np.random.Generator) -> list[Case]:
    low = 3.0 * np.outer(rng.standard_normal(12), rng.standard_normal(10))
    noisy = low + 0.1 * rng.standard_normal(low.shape)
    mask = rng.random(low.shape) < 0.7
    return [
        Case("all entries", (noisy,)),
        Case("some entries", (noisy * mask, mask)),
        Case("a threshold", (noisy,), {"threshold": 2.0, "clip": False}, needs=("threshold",)),
    ]


OWN = {
    "conv-spectral-norm-gram": _kernels,
    "bures-wasserstein-mean": _stacks,
    "inverse-eim": _families,
    "logdet-eim": _families,
    "hadamard-standardize": _samples,
    "svt": _noisy,
}

MATRIX_FAULTS = (
    Fault("transposed", "transposed", after(lambda v: np.swapaxes(as_array(v), -1, -2))),
    *negated(),
    *rooted(),
    Fault("inverted", "with the inverse matrix as the answer", after(lambda v: np.linalg.inv(as_array(v)))),
    Fault("matrix-squared", "with the answer's matrix square", after(lambda v: as_array(v) @ as_array(v))),
    Fault("normalised", "of the matrix over its Frobenius norm", first(lambda a: a / np.linalg.norm(a))),
    Fault("trace-normalised", "of the matrix over its trace", first(lambda a: a / np.trace(a))),
    Fault("entrywise", "of the diagonal alone", first(lambda a: np.diag(np.diag(a)))),
    Fault("upper-triangle", "of the upper triangle, mirrored", first(lambda a: np.triu(a) + np.triu(a, 1).T)),
    Fault("ridge-1e-12", "of the matrix plus 1e-12 I", first(lambda a: a + 1e-12 * np.eye(*a.shape))),
    Fault("ridge-1e-10", "of the matrix plus 1e-10 I", first(lambda a: a + 1e-10 * np.eye(*a.shape))),
    Fault("ridge-1e-8", "of the matrix plus 1e-8 I", first(lambda a: a + 1e-8 * np.eye(*a.shape))),
    Fault("ridge-1e-6", "of the matrix plus 1e-6 I", first(lambda a: a + 1e-6 * np.eye(*a.shape))),
    Fault("single-precision", "computed in single precision", first(lambda a: a.astype(np.float32))),
)

MATRICES = Kind(matrix_cases, MATRIX_FAULTS)
