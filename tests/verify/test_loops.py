"""Optimizers that own their loop, and what reports call the other side."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np
import pytest
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.verify import compare, diagnose

SHORT = {"vector": (5,), "matrix": (2, 3)}


def adam(f: Any, x0: Any, grad: Any, lr: float = 0.01, beta1: float = 0.9, beta2: float = 0.999,
         eps: float = 1e-8, max_iter: int = 100, tol: float = 1e-6) -> np.ndarray:  # fmt: skip
    x = np.array(x0)
    m, v = 0 * x, 0 * x
    for t in range(1, max_iter + 1):
        g = grad(x)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        x = x - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        if np.linalg.norm(g) < tol:
            break
    return x


def test_a_loop_is_compared_step_by_step() -> None:
    report = compare(adam, "adam", steps=30, shapes=SHORT, label="the tutorial's")
    assert report.agrees and report.steps == 30
    assert report.other == "the tutorial's" and str(report).startswith("the tutorial's agrees")
    assert any("owns its loop" in n for n in report.notes)
    assert {f.profile for f in report.findings} > {"as given"}  # it is given other numbers, too


def test_its_fault_is_told() -> None:
    def climbs(fun: Any, x0: Any, jac: Any, lr: float = 0.01, momentum: float = 0.9, maxiter: int = 9) -> Any:
        x, v = np.array(x0), 0 * np.array(x0)
        for _ in range(maxiter):
            v = momentum * v - lr * jac(x)
            x = x - v
        return x, fun(x)

    found = diagnose(climbs, "momentum", label="mine")
    assert found.explained_by == ("gradient-negated",) and str(found).startswith("mine is momentum")


def test_a_loop_that_ends_or_raises() -> None:
    """One that ends too early is told what to do; its own error is told with the step; no thread is left waiting."""
    with pytest.raises(ArgumentError, match="it ended after 5 steps"):
        compare(functools.partial(adam, max_iter=5), "adam", shapes=SHORT)

    def raises(x0: Any, grad: Any) -> Any:
        grad(x0)
        raise ValueError("no second step")

    with pytest.raises((ArgumentTypeError, ValueError), match="no second step"):
        compare(raises, "sgd", shapes=SHORT)


def test_a_loop_that_exits_or_loses_its_shape() -> None:
    """`sys.exit` in the loop does not end the comparison's process; a point of another size is told. No thread is left."""

    def leaves(x0: Any, grad: Any) -> Any:
        grad(x0)
        raise SystemExit(3)

    def grows(x0: Any, grad: Any) -> Any:
        return grad(np.append(x0, grad(x0)))

    before = threading.active_count()
    for mine, words in ((leaves, "left its loop by SystemExit"), (grows, "wanted a point of")):
        with pytest.raises((ArgumentError, ArgumentTypeError), match=words):
            compare(mine, "sgd", shapes=SHORT)
    assert threading.active_count() == before


def test_label_of_every_kind_of_comparison() -> None:
    assert compare(np.linalg.inv, "inverse-newton", label="numpy's").other == "numpy's"
    assert "numpy's" in str(diagnose(np.linalg.inv, "inverse-newton", label="numpy's"))

    def svrg(x: Any, state: Any, grad: Any, full_grad: Any, lr: float = 0.05, inner_steps: int = 10) -> Any:
        k, snapshot, mean = state or (0, None, None)
        if k % inner_steps == 0:
            snapshot, mean = x, full_grad(x)
        return x - lr * (grad(x) - grad(snapshot) + mean), (k + 1, snapshot, mean)

    assert compare(svrg, "svrg", steps=2, label="mine").other == "mine"
