"""A checkpoint is resumed by its own run and by no other."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import CheckpointError

X0 = np.array([3.0, -2.0])


def bowl(a: float = 1.0) -> Any:
    return refopt.from_functions(lambda x: a * float(x @ x), lambda x: 2 * a * x, x0=X0)


def digits(**more: Any) -> Any:
    return refopt.problem("mlp", widths=(3,), **more)


def sums(shift: float) -> Any:
    """A sum over eight examples, of which one may be moved."""
    rows = np.random.default_rng(0).standard_normal((8, 2))
    rows[3] += shift
    return refopt.problem("logistic", data=(rows, np.array([1, -1] * 4)))


def sparse(l1: float) -> Any:
    """A start at zero, where no weight of a penalty shows."""
    rows = np.random.default_rng(0).standard_normal((8, 2))
    return refopt.problem("logistic", data=(rows, np.array([1, -1] * 4)), l1=l1)


CHANGES: dict[str, tuple[Callable[[], Any], dict[str, Any], Callable[[], Any], dict[str, Any]]] = {
    "function": (bowl, {}, lambda: bowl(1.0 + 2**-52), {}),
    "start": (bowl, {}, bowl, {"x0": X0 + 1e-9}),
    "parameter": (digits, {}, lambda: digits(l2=10.0), {}),
    "data": (lambda: sums(0.0), {}, lambda: sums(1e-6), {}),
    "penalty": (lambda: sparse(0.1), {}, lambda: sparse(0.2), {}),
    "rate": (bowl, {"lr": lambda t: 0.1}, bowl, {"lr": lambda t: 0.1 / t}),
    "schedule": (bowl, {"schedule": lambda t: 1.0}, bowl, {"schedule": lambda t: 1.0 if t < 99 else 0.5}),
    "seed": (digits, {"batch_size": 9}, digits, {"batch_size": 9, "seed": 1}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_run_is_refused(what: str, tmp_path: pathlib.Path) -> None:
    """Another function, start, parameter, data, rate, schedule or seed: the error says what differs."""
    first, settings, second, others = CHANGES[what]
    common: dict[str, Any] = {"lr": 0.1, "checkpoint": tmp_path / "c"}
    refopt.minimize(first(), "sgd", **{**common, **settings}, steps=3)
    with pytest.raises(CheckpointError, match="is of another run"):
        refopt.minimize(second(), "sgd", **{**common, **others}, steps=6, resume=True)
    assert refopt.minimize(first(), "sgd", **{**common, **settings}, steps=6, resume=True).nit == 6
