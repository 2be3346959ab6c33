"""Nearest-neighbour averaging: who is averaged, and MoNNA under simulated attacks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import refopt

nna = refopt.get("nna")
ROWS = np.random.default_rng(0).standard_normal((7, 5))


@pytest.mark.identity("nna")
@pytest.mark.parametrize("own", [0, 3, 6])
@pytest.mark.parametrize("f", [0, 1, 2, 3])
def test_written_out(own: int, f: int) -> None:
    """The mean of the m - f rows nearest to one's own, by a full sort (1e-15), here and far from the origin (1e-13); f = 0 is the
    mean of all; by default f is the largest below half of them."""
    order = sorted(range(7), key=lambda i: float(np.sum((ROWS[i] - ROWS[own]) ** 2)))
    np.testing.assert_allclose(nna(ROWS, faulty=f, own=own), ROWS[order[: 7 - f]].mean(0), atol=1e-15)
    np.testing.assert_allclose(
        nna(ROWS + 50.0, faulty=f, own=own), 50.0 + ROWS[order[: 7 - f]].mean(0), atol=1e-13
    )
    if f == 0:
        np.testing.assert_allclose(nna(ROWS, faulty=0, own=own), ROWS.mean(0), atol=1e-15)
    if f == 3:
        np.testing.assert_array_equal(nna(ROWS, own=own), nna(ROWS, faulty=3, own=own))
        np.testing.assert_array_equal(nna(ROWS[1:]), nna(ROWS[1:], faulty=2))


@pytest.mark.claim("nna")
def test_what_is_far_is_left_out() -> None:
    """Up to f rows anywhere far away change nothing at all, whatever they are and wherever they stand."""
    honest = ROWS[:5]
    for far in (1e3, 1e150, -1e300):
        rows = np.vstack([honest, far * np.ones(5), far * np.arange(1, 6)])
        np.testing.assert_array_equal(nna(rows, faulty=2), nna(honest, faulty=0))


def train(rule: Callable[[np.ndarray], np.ndarray], attack: Callable[[np.ndarray], np.ndarray]) -> float:
    """MoNNA on 7 honest nodes with a quadratic each and noise, and 1 that sends what `attack` says; ‖mean θ - x*‖."""
    rng = np.random.default_rng(1)
    targets = 1.0 + 0.1 * rng.standard_normal((7, 3))
    theta, m = 5.0 * np.ones((7, 3)), np.zeros((7, 3))
    for _ in range(120):
        g = theta - targets + 0.3 * rng.standard_normal((7, 3))
        m = 0.9 * m + 0.1 * g
        half = theta - 0.3 * m
        sent = attack(half)
        # Of 8 nodes each waits for 7: its own, 5 honest others, and the faulty one.
        theta = np.array(
            [rule(np.vstack([half[i], np.delete(half, [i, (i + 1) % 7], 0), sent])) for i in range(7)]
        )
    return float(np.linalg.norm(theta.mean(0) - targets.mean(0)))


@pytest.mark.claim("nna")
def test_attacks() -> None:
    """With momentum and one faulty node of eight the honest models come within 0.15 of the optimum under a far
    constant, reversed models, and models moved a little; plain averaging is carried off by the first two (> 1).
    """
    attacks: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda half: 100.0 * np.ones(3),
        lambda half: -10.0 * half.mean(0),
        lambda half: half.mean(0) + 1.5 * half.std(0),
    ]
    for k, attack in enumerate(attacks):
        assert train(lambda J: nna(J, faulty=1), attack) < 0.15
        if k < 2:
            assert train(lambda J: J.mean(0), attack) > 1.0


@pytest.mark.claim("nna")
def test_bytes_are_counted() -> None:
    """A node of m receives m - 1 vectors of d numbers a step: 24 bytes of three float64, by name and with options, and half of
    that in float32; linear in d, as the paper's title says. Other aggregators' rows are sent by nobody.
    """
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((5, 3))

    def problem(dtype: str) -> Any:
        return refopt.from_functions(
            lambda x: float(np.sum(x)), lambda x: x, x0=np.ones(3, dtype=dtype),
            objectives=lambda x: np.sum((x - targets) ** 2, axis=1) / 2, jacobian=lambda x: (x - targets).astype(dtype),
        )  # fmt: skip

    for aggregator in ("nna", functools.partial(nna, faulty=1)):
        for dtype, size in (("float64", 8), ("float32", 4)):
            r = refopt.minimize(problem(dtype), "jacobian-descent", aggregator=aggregator, lr=0.1, steps=7)
            assert r.calls["bytes_sent"] == 7 * 4 * 3 * size
    assert "bytes_sent" not in refopt.minimize(problem("float64"), "jacobian-descent", lr=0.1, steps=7).calls
    r = refopt.minimize(
        problem("float64"),
        "jacobian-descent",
        aggregator="nna",
        lr=0.1,
        steps=7,
        max_calls={"bytes_sent": 3 * 96},
    )
    assert r.nit == 3


def test_bad_input() -> None:
    """Too many faulty, a row that is none, an empty matrix."""
    for given, words in (
        ({"faulty": 4}, "less than half"),
        ({"own": 7}, "a row of J"),
        ({"faulty": -1}, "faulty"),
    ):
        with pytest.raises(refopt.errors.ArgumentError, match=words):
            nna(ROWS, **given)
    with pytest.raises(refopt.errors.ShapeError):
        nna(np.ones((0, 3)))
