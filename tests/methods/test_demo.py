"""DeMo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
import scipy.fft
from refopt.core.errors import ArgumentError
from refopt.core.oracle import Oracle

from tests.parity.case import Arrays, Case
from tests.streams import Leaves, schedule, stream, trajectory

SHAPES = {"w": (6, 10), "b": (9,), "p": (7, 5)}
AT: dict[str, Any] = {"lr": 0.05, "decay_rate": 0.8, "top_k": 2, "chunk": 4, "weight_decay": 0.1}


def cosines(n: int) -> np.ndarray:
    """The orthonormal DCT-II from its formula, zero at odd multiples of a right angle."""
    k, j = np.arange(n)[:, None], np.arange(n)
    C = np.sqrt(np.where(k == 0, 1.0, 2.0) / n) * np.cos(np.pi * k * (2 * j + 1) / (2 * n))
    return np.where((k * (2 * j + 1)) % (2 * n) == n, 0.0, C)


def transcribed(deltas: list[np.ndarray], k: int, h: int, w: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Tile by tile: the k largest coefficients of every worker are sent; the mean by coefficient, and what is kept."""
    out, kept = np.zeros_like(deltas[0]), [d.copy() for d in deltas]
    for i in range(0, out.shape[0], h):
        for j in range(0, out.shape[1], w):
            at = (slice(i, i + h), slice(j, j + w))
            total, count = np.zeros((h, w)), np.zeros((h, w))
            for d, rest in zip(deltas, kept):
                c = cosines(h) @ d[at] @ cosines(w).T
                chosen = np.zeros((h, w))
                for place in np.argsort(-np.abs(c).ravel(), kind="stable")[:k]:
                    chosen.flat[place] = 1.0
                total += c * chosen
                count += chosen
                rest[at] -= cosines(h).T @ (c * chosen) @ cosines(w)
            out[at] = cosines(h).T @ (total / np.maximum(count, 1.0)) @ cosines(w)
    return out, kept


class Shares:
    """Three examples, the gradient of each given: what each of the workers is asked."""

    n_examples = 3

    def __init__(self, x: Any) -> None:
        self.x0, self.given = x, []

    def grad(self, x: Any, batch: Any = None) -> Any:
        chosen = [self.given[i] for i in (range(3) if batch is None else batch)]
        return {k: np.mean([g[k] for g in chosen], axis=0) for k in x}


@pytest.mark.identity("demo")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_line_by_line(workers: int) -> None:
    """Twelve steps tile by tile from the cosines' formula, one to three workers with gradients of their own, a matrix of tiles of 3 by 2, one that has
    sides of 1 and 5, and a vector, with decay and a schedule, to 1e-12.
    """
    x, gradients = stream(0, "random", steps=36, shapes=SHAPES)
    problem = Shares(x)
    o = refopt.optimizer("demo", workers=workers, schedule=schedule, **{**AT, "chunk": 5})
    s, oracle, y = o.init(x), Oracle(problem, 0), x
    deltas = {k: [np.zeros(np.atleast_2d(v).shape)] * workers for k, v in x.items()}
    for t in range(1, 13):
        problem.given = gradients[3 * t - 3 : 3 * t]
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        lr, new = 0.05 * schedule(t), {}
        for k, (h, w) in {"w": (3, 5), "b": (1, 3), "p": (1, 5)}.items():
            parts = np.array_split(np.arange(3), workers)
            gs = [np.mean([problem.given[i][k] for i in part], axis=0) for part in parts]
            own = [0.8 * d + lr * np.atleast_2d(g) for d, g in zip(deltas[k], gs)]
            u, deltas[k] = transcribed(own, 2, h, w)
            new[k] = (1 - 0.1 * lr) * y[k] - lr * np.sign(u).reshape(y[k].shape)
        y = new
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-12)
            for mine, other in zip(s["delta"][k], deltas[k]):
                np.testing.assert_allclose(mine.ravel(), other.ravel(), atol=1e-12)


@pytest.mark.claim("demo")
def test_nothing_is_lost() -> None:
    """What is sent is at a right angle to what is kept: ``‖δ_before‖² = ‖q‖² + ‖δ_after‖²``, to 1e-12; k coefficients of a tile are sent and no more;
    and with one worker that sends all it is sign descent, bit for bit, with nothing kept.
    """
    x, gradients = stream(1, "ill", steps=20, shapes={"w": (8, 8)})
    o = refopt.optimizer("demo", lr=1.0, decay_rate=0.9, top_k=5, chunk=8)
    s, y = o.init(x), x
    for g in gradients:
        before = 0.9 * s["delta"]["w"][0] + g["w"]
        y, s = o.update(y, g, s)
        (after,) = s["delta"]["w"]
        sent = before - after
        assert np.sum(before**2) == pytest.approx(np.sum(sent**2) + np.sum(after**2), rel=1e-12)
        c = np.abs(scipy.fft.dctn(sent, norm="ortho"))
        assert np.sum(c > 1e-9 * c.max()) <= 5
    a, b = refopt.optimizer("demo", lr=0.1, top_k=64), refopt.optimizer("sign-sgd", lr=0.1)
    s, r, y, z = a.init(x), b.init(x), x, x
    for g in gradients:
        y, s = a.update(y, g, s)
        z, r = b.update(z, g, r)
        np.testing.assert_array_equal(y["w"], z["w"])
        assert not np.any(s["delta"]["w"][0])


def test_several_workers_are_told() -> None:
    """One gradient is not enough for two workers, and two examples not for three."""
    x = np.zeros(4)
    o = refopt.optimizer("demo", workers=2)
    with pytest.raises(ArgumentError, match="workers"):
        o.update(x, x, o.init(x))
    with pytest.raises(ArgumentError, match="workers"):
        refopt.minimize(refopt.problem("logistic"), "demo", workers=3, batch_size=2, steps=1)


# Sides whose cosines have no zeros, of which the code's rounding has signs.
EVEN = {"w": (8, 12), "b": (8,), "p": (7, 4)}


def _two(seed: int) -> Arrays:
    """Two workers, the second with the gradients of another stream; and one."""
    out = {}
    for workers in (1, 2):
        x, gradients = stream(seed, "random", shapes=EVEN)
        other = stream(seed, "ill", shapes=EVEN)[1]
        o = refopt.optimizer("demo", workers=workers, schedule=schedule, **AT)
        state = o.init(x)

        def advance(
            x: Leaves, g: Leaves, t: int, o: Any = o, workers: int = workers, other: Any = other
        ) -> Leaves:
            nonlocal state
            x, state = o.advanced(x, [g, other[t - 1]][:workers], state)
            return x

        out[f"workers-{workers}"] = trajectory(advance, x, gradients)
    return out


CASES = [
    Case("demo", "official", "bloc97/DeMo@0e48145", _two, None,
        says="The authors' code in float64, one worker and two with gradients of their own, matrices and a vector, with decay and a schedule, 200 steps, to"
        " 1e-12."),
]  # fmt: skip
