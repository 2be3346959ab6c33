"""What is wrong with a run is told before its first step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import RefoptError


class Counting:
    """A bowl that counts its gradients."""

    def __init__(self) -> None:
        self.asked = 0

    def start(self) -> np.ndarray:
        return np.array([1.0, -2.0])

    def value(self, x: np.ndarray) -> float:
        return 0.5 * float(x @ x)

    def grad(self, x: np.ndarray) -> np.ndarray:
        self.asked += 1
        return x.copy()


def _pipe(folder: Path) -> Path:
    import os

    os.mkfifo(folder / "pipe")
    return folder / "pipe"


RUNS: dict[str, Any] = {
    "checkpoint=5": lambda p: {"checkpoint": 5},
    "checkpoint of bytes": lambda p: {"checkpoint": b"run"},
    "checkpoint in no folder": lambda p: {"checkpoint": p / "none" / "run"},
    "checkpoint is a folder": lambda p: {"checkpoint": p},
    "checkpoint is a pipe": lambda p: {"checkpoint": _pipe(p), "resume": True},
    "callback of two": lambda p: {"callback": lambda x, y: None},
    "max_calls by a wrong name": lambda p: {"max_calls": {"gard": 2}},
    "seed too large": lambda p: {"seed": 2**63},
    "seed negative": lambda p: {"seed": -1},
}
for what, function in {
    "None": lambda t: None, "text": lambda t: "x", "array": lambda t: np.ones(2), "negative": lambda t: -1.0,
    "nan": lambda t: math.nan,
}.items():  # fmt: skip
    RUNS[f"lr returns {what}"] = lambda p, f=function: {"lr": f}
    RUNS[f"schedule returns {what}"] = lambda p, f=function: {"lr": 0.1, "schedule": f}


@pytest.mark.parametrize("case", RUNS)
def test_before_the_first_step(case: str, tmp_path: Path) -> None:
    """An error of refopt that names the argument, and no gradient has been asked for."""
    problem = Counting()
    given = RUNS[case](tmp_path)
    argument = next(
        k for k in ("checkpoint", "callback", "max_calls", "seed", "schedule", "lr") if k in given
    )
    with pytest.raises(RefoptError, match=argument):
        refopt.minimize(problem, "sgd", steps=5, **given)
    assert problem.asked == 0


def test_a_rate_that_turns_bad_is_told() -> None:
    """A function of the step that gives a negative rate later is refused there, as a number would be."""
    with pytest.raises(refopt.errors.ArgumentError, match=r"lr\(3\)"):
        refopt.minimize(Counting(), "sgd", steps=5, lr=lambda t: 0.1 if t < 3 else -0.1)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("gravity", {"seed": 10**30}), ("spam", {"seed": 2**64}), ("scale", {"others": 3}),
        ("mars-adamw", {"others": "adam"}), ("scion", {"others": 3}), ("steepest-descent", {"scales": 3}),
        ("steepest-descent", {"norm": ["l2"]}), ("inna", {"first_velocity": "x"}),
        ("inna", {"first_velocity": math.nan}), ("muon", {"ns_dtype": "float99"}),
        ("muon", {"coefficients": object()}), ("adam", {"dialect": ["torch"]}),
    ],
)  # fmt: skip
def test_built_wrongly(name: str, given: dict[str, Any]) -> None:
    """What a method cannot use is told when it is built."""
    with pytest.raises(RefoptError, match=next(iter(given))):
        refopt.optimizer(name, **given)


@pytest.mark.parametrize("value", [-1.0, 0.0, "x", math.nan])
def test_lipschitz(value: Any) -> None:
    with pytest.raises(RefoptError, match="lipschitz"):
        refopt.from_functions(lambda x: 0.0, lambda x: x, x0=np.ones(2), lipschitz=value)


def test_compared_by_kind_and_seed() -> None:
    """`compare` and `diagnose` say what can be compared; a seed is one of `minimize`'s."""
    for function in (refopt.verify.compare, refopt.verify.diagnose):
        with pytest.raises(refopt.errors.UnknownNameError, match="Did you mean 'quadratic'"):
            function(lambda x: x, "quadratics")
        with pytest.raises(RefoptError, match="seed"):
            function(lambda x: x, "adam", seed=-1)


def test_a_start_without_seed() -> None:
    """`start(self)` is taken for what it is: one start for all seeds."""
    assert refopt.minimize(Counting(), "sgd", steps=0, seed=7).x.tolist() == [1.0, -2.0]


@pytest.mark.parametrize("x", [None, 3, "x", np.ones(2, dtype=int), np.ma.ones(2)])
def test_update_looks_at_x(x: Any) -> None:
    o = refopt.optimizer("adam")
    with pytest.raises(RefoptError, match="x"):
        o.update(x, np.ones(2), o.init(np.ones(2)))


def test_factors_and_tables() -> None:
    """Arguments that nobody gave are not blamed."""
    A, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.ones(2)
    terms = np.stack([A, np.eye(2)])
    for call, word in (
        (lambda: refopt.get("sor")(A, b, omega=1e-320), "omega"),
        (lambda: refopt.get("sor-bandit")([(A, b)], omegas="x"), "omegas"),
        (lambda: refopt.get("sor-bandit")(3), "systems"),
        (lambda: refopt.get("sor-bandit")([(A, b)], interval="x"), "interval"),
        (lambda: refopt.get("inverse-eim")(terms, np.ones((0, 2)), b), "training"),
        (lambda: refopt.get("inverse-eim")(terms, np.ones((5, 2)), b, tol=1e9), "tol"),
        (lambda: refopt.get("inverse-newton")(A, alpha=None), "alpha"),
    ):
        with pytest.raises(RefoptError, match=f"^(sor-bandit: )?{word}"):
            call()
