"""AdamW-SN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.optimizers.first_order.adamw_sn import run_length

from tests.alike import assert_same_run
from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_torch
from tests.parity.makers import ours
from tests.streams import schedule, stream

SHAPES: dict[str, Any] = {"w": (4, 6), "b": (5,), "k": (2, 3, 2)}


@pytest.mark.identity("adamw-sn")
def test_single_entries_and_whole_leaves() -> None:
    """k = 1: Adam with ε beside the uncorrected root, to 1e-13; k = N, without memory: the gradient over its own norm, to 1e-14; decay is of
    the new point."""
    run = stream(0, "ill", steps=15, shapes=SHAPES)
    at: dict[str, Any] = {"lr": 0.05, "beta1": 0.6, "beta2": 0.7, "eps": 0.1}
    assert_same_run(
        refopt.optimizer("adamw-sn", subset=1, **at), refopt.optimizer("adam", eps_corrected=False, **at), run,
        rtol=1e-12, atol=1e-13,
    )  # fmt: skip
    o = refopt.optimizer("adamw-sn", lr=0.5, subset=1000, beta1=0.0, beta2=0.0, eps=0.0, weight_decay=0.4)
    x, g = run[0], run[1][0]
    new, s = o.update(x, g, o.init(x))
    for k in x:
        np.testing.assert_allclose(
            new[k], 0.8 * (x[k] - 0.5 * g[k] / np.linalg.norm(g[k])), rtol=1e-14, atol=1e-15
        )
        assert s["v"][k].shape == (1, 1)


@pytest.mark.identity("adamw-sn")
def test_runs_by_hand() -> None:
    """Twelve steps of runs of 2, 1 and 2 of 24, 5 and 12 entries (the largest divisors up to sqrt(N) / 2, of 24 below 3), with decay and a
    schedule, to 1e-12."""
    o = refopt.optimizer(
        "adamw-sn", lr=0.1, beta1=0.6, beta2=0.7, eps=0.1, weight_decay=0.2, schedule=schedule
    )
    x, gradients = stream(1, "random", steps=12, shapes=SHAPES)
    s, y = o.init(x), {k: v.ravel() for k, v in x.items()}
    m, v = {k: 0.0 * a for k, a in y.items()}, {k: 0.0 * a for k, a in y.items()}
    assert {k: a.shape[0] for k, a in s["v"].items()} == {"w": 12, "b": 5, "k": 12}
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        for k, n in (("w", 2), ("b", 1), ("k", 1)):
            flat = g[k].ravel()
            m[k] = 0.6 * m[k] + 0.4 * flat
            v[k] = 0.7 * v[k] + 0.3 * np.repeat((flat**2).reshape(-1, n).sum(1), n)
            lr = 0.1 * schedule(t)
            step = lr * np.sqrt(1 - 0.7**t) / (1 - 0.6**t)
            y[k] = (1 - 0.2 * lr) * (y[k] - step * m[k] / (np.sqrt(v[k]) + 0.1))
            np.testing.assert_allclose(x[k].ravel(), y[k], rtol=1e-12, atol=1e-13)


def test_divisors() -> None:
    """The largest divisor that is not above the wish, at least 1 and at most the size."""
    assert [run_length(24, k, 2.0) for k in (1, 5, 7, 23, 24, 100)] == [1, 4, 6, 12, 24, 24]
    assert [run_length(n, None, 1.0) for n in (1, 2, 7, 36, 48)] == [1, 1, 1, 6, 6]
    assert [run_length(n, None, 3.0) for n in (1, 4, 36, 100)] == [1, 1, 2, 2]


def _kozistr(seed: int) -> Arrays:
    def make(parameters: list[Any]) -> Any:
        from pytorch_optimizer import AdamWSN

        return AdamWSN(
            [{"params": parameters, "sn": True}],
            lr=0.03,
            betas=(0.6, 0.7),
            eps=1e-2,
            weight_decay=0.1,
            foreach=False,
        )

    return run_torch(make, seed, schedule, ("random",), {"w": (4, 6), "b": (4,)})


AT: dict[str, Any] = {"lr": 0.03, "beta1": 0.6, "beta2": 0.7, "eps": 1e-2, "weight_decay": 0.1}
CASES = [
    Case("adamw-sn", "official", "timmytonga/sn-sm@a4c1a4a",
        ours("adamw-sn", kinds=("random",), shapes={"w": (4, 9), "b": (4,)}, dialect="official", **AT), None,
        says="The authors' AdamWSN with its default subsets, decay, a large ε and a schedule, 200 steps, to 1e-12."),
    Case("adamw-sn", "kozistr", "pytorch-optimizer", ours("adamw-sn", kinds=("random",), shapes={"w": (4, 6), "b": (4,)}, dialect="kozistr", **AT),
        _kozistr, says="pytorch_optimizer.AdamWSN with its default subsets, decay, a large ε and a schedule, 200 steps, to 1e-12."),
]  # fmt: skip
