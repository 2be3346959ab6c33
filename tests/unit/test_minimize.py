"""The driver: budgets, stopping, history, callbacks, divergence, resume."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import numpy as np
import pytest
import refopt
import scipy.optimize
from refopt.core import checkpoint
from refopt.core.counts import COST
from refopt.core.errors import CheckpointError
from refopt.core.sampling import Sampler


def quadratic(**kwargs: Any) -> Any:
    return refopt.problem("quadratic", n=6, condition_number=10.0, **kwargs)


def test_steps_and_counts() -> None:
    """Every call is counted, and priced by its share of the examples."""
    p = refopt.problem("logistic")
    r = refopt.minimize(p, "sgd", lr=0.1, steps=10, batch_size=57)
    assert (r.nit, r.status, dict(r.calls)) == (10, "steps", {"grad": 10})
    assert r.gradient_equivalents == pytest.approx(10 * 57 / p.n_examples, rel=1e-12)
    r = refopt.minimize(p, "adahessian", steps=3)
    assert r.gradient_equivalents == pytest.approx(3 * (COST["grad"] + COST["hvp"]))


def test_no_steps() -> None:
    """steps=0 returns the start."""
    p = quadratic()
    r = refopt.minimize(p, "sgd", steps=0)
    np.testing.assert_array_equal(r.x, p.start())
    assert (r.nit, r.success) == (0, True)


def test_tolerance_costs_nothing_more() -> None:
    """Without batches the gradient that is compared with tol is the step's own."""
    r = refopt.minimize(quadratic(), "sgd", lr=0.1, steps=5000, tol=1e-8)
    assert r.status == "converged"
    assert np.max(np.abs(quadratic().grad(r.x))) <= 1e-8
    assert r.calls["grad"] == r.nit + 1


@pytest.mark.parametrize(("budget", "steps"), [({"grad": 7}, 7), (7, 7), (6.5, 7), ({"hvp": 1}, 50)])
def test_budget_of_calls(budget: Any, steps: int) -> None:
    """By gradient equivalents or by name; a name that is never asked for never ends the run."""
    r = refopt.minimize(quadratic(), "sgd", lr=0.1, steps=50, max_calls=budget)
    assert r.nit == steps
    assert r.status == ("calls" if steps == 7 else "steps")


def test_budget_of_time() -> None:
    """The clock stops a run; recording is not on it."""
    r = refopt.minimize(quadratic(), "sgd", lr=0.1, steps=10**9, max_seconds=0.05, record_every=1000)
    assert r.status == "time"
    assert 0.05 <= r.history["seconds"][-1] < 1.0


def test_history() -> None:
    """First and last step are there; values are the full objective's."""
    p = refopt.problem("logistic", l1=0.01)
    r = refopt.minimize(p, "proximal-gradient", steps=25, record_every=10)
    assert r.history["step"].tolist() == [0, 10, 20, 25]
    assert r.history["value"][-1] == r.fun == float(p.value(r.x)) + float(p.penalty(r.x))
    assert np.all(np.diff(r.history["seconds"]) >= 0)


def test_callback_forms() -> None:
    """callback(x), callback(intermediate_result=...), StopIteration."""
    seen: list[Any] = []
    refopt.minimize(quadratic(), "sgd", lr=0.1, steps=3, callback=seen.append)
    assert len(seen) == 3

    def stop(intermediate_result: Any) -> None:
        seen.append(intermediate_result.fun)
        if intermediate_result.nit == 2:
            raise StopIteration

    r = refopt.minimize(quadratic(), "sgd", lr=0.1, steps=9, callback=stop)
    assert (r.nit, r.status, r.success) == (2, "callback", True)
    assert seen[-1] == r.fun


def test_diverging_run_says_so() -> None:
    """Status, the step, and the last point whose objective is finite."""
    r = refopt.minimize(quadratic(), "sgd", lr=1e3, steps=10_000, record_every=1)
    assert (r.status, r.success) == ("diverged", False)
    assert np.all(np.isfinite(r.x))
    assert np.isfinite(r.fun)
    assert "step" in r.message
    r = refopt.minimize(quadratic(), "sgd", lr=1e3, steps=10_000)
    assert np.isfinite(r.fun)


def test_nan_gradient_is_a_divergence() -> None:
    """A gradient that turns NaN ends the run at the point before."""
    p = refopt.from_functions(
        lambda x: float(np.sum(x * x)), lambda x: np.where(x < 0.3, np.nan, 2 * x), x0=np.array([1.0])
    )
    r = refopt.minimize(p, "sgd", lr=0.1, steps=100)
    assert r.status == "diverged"
    assert 0 < r.x[0] < 0.3


def test_same_seed_same_run() -> None:
    """Batches and probes depend on the seed alone."""
    p = refopt.problem("mlp", widths=(4,))
    runs = [refopt.minimize(p, "adahessian", steps=5, batch_size=50, seed=s).x["W1"] for s in (3, 3, 4)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.any(runs[0] != runs[2])


@pytest.mark.parametrize("sampling", ["shuffle", "replacement", "cyclic"])
def test_samplers(sampling: str) -> None:
    """Epochs without repeats, order, independence of earlier draws, and uniformity."""
    s = Sampler(10, 3, sampling, 5)
    draws = [s.draw(t) for t in range(1, 10)]
    assert all(d.shape == (3,) and d.min() >= 0 and d.max() < 10 for d in draws)
    np.testing.assert_array_equal(Sampler(10, 3, sampling, 5).draw(7), draws[6])
    if sampling == "shuffle":
        assert len(set(np.concatenate(draws[:3]).tolist())) == 9
    if sampling == "cyclic":
        assert np.concatenate(draws[:4]).tolist() == [*range(10), 0, 1]
    if sampling == "replacement":
        counts = np.bincount(np.concatenate([s.draw(t) for t in range(1, 3001)]), minlength=10)
        # 9000 draws: 900 a cell with standard deviation 28.5; six of those never come by chance.
        assert np.all(np.abs(counts - 900) < 6 * 28.5)


def test_minimize_takes_a_built_method_and_a_name() -> None:
    """The two forms give the same run."""
    a = refopt.minimize(quadratic(), refopt.optimizer("adam", lr=0.1), steps=9)
    b = refopt.minimize(quadratic(), "adam", lr=0.1, steps=9)
    np.testing.assert_array_equal(a.x, b.x)


SCRIPT = """
import sys, refopt
p = refopt.problem("mlp", widths=(8,))
r = refopt.minimize(p, "adam", lr=0.01, steps=400, batch_size=100, seed=2, record_every=40,
                    checkpoint=sys.argv[1], checkpoint_every=5, resume=True)
print(r.x["W1"].tobytes().hex(), dict(r.calls), r.history["value"].tobytes().hex())
"""


def test_killed_run_resumes_to_the_same_bits(tmp_path: pathlib.Path) -> None:
    """SIGKILL in the middle, then the same command again."""
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    whole = subprocess.run(
        [sys.executable, script, tmp_path / "a"], capture_output=True, text=True, check=True
    ).stdout
    path = tmp_path / "b"
    first = subprocess.Popen([sys.executable, script, path])
    while not path.exists() and first.poll() is None:
        time.sleep(0.002)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert checkpoint.load(path)["step"] < 400
    rest = subprocess.run([sys.executable, script, path], capture_output=True, text=True, check=True).stdout
    assert rest == whole
    assert [f.name for f in tmp_path.glob("*.tmp")] in ([], [f.name for f in tmp_path.glob("b*.tmp")])


def test_bad_checkpoints(tmp_path: pathlib.Path) -> None:
    """Truncated, foreign, pickled, of another run, in the way: each a CheckpointError."""
    path = tmp_path / "c"
    common = {"lr": 0.1, "steps": 5, "checkpoint": path}
    refopt.minimize(quadratic(), "sgd", **common)
    with pytest.raises(CheckpointError, match="resume=True"):
        refopt.minimize(quadratic(), "sgd", **common)
    with pytest.raises(CheckpointError, match="another run"):
        refopt.minimize(quadratic(), "adam", **common, resume=True)
    data = path.read_bytes()
    for bad in (data[:-10], data[: len(data) // 2], b"", b"hello", data[:100] + b"x" + data[101:]):
        path.write_bytes(bad)
        with pytest.raises(CheckpointError, match="checksum"):
            refopt.minimize(quadratic(), "sgd", **common, resume=True)
    np.savez(tmp_path / "foreign.npz", a=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointError):
        refopt.minimize(quadratic(), "sgd", lr=0.1, checkpoint=tmp_path / "foreign.npz", resume=True)
    with pytest.raises(CheckpointError, match="cannot write"):
        refopt.minimize(quadratic(), "sgd", lr=0.1, steps=1, checkpoint=tmp_path / "no" / "such")


def test_scipy_method() -> None:
    """scipy.optimize.minimize drives a refopt method."""
    r = scipy.optimize.minimize(
        scipy.optimize.rosen, [0.8, 0.9], jac=scipy.optimize.rosen_der, hessp=scipy.optimize.rosen_hess_prod,
        method=refopt.scipy_method("adahessian", lr=0.1), options={"maxiter": 2000, "seed": 1},
    )  # fmt: skip
    assert r.success
    assert r.fun < 0.01  # from 6.8
    assert (r.nit, r.njev, r.nhev) == (2000, 2000, 2000)


def test_from_functions_with_batches() -> None:
    """Functions of a finite sum are given the batch by keyword."""
    data = np.arange(8.0)
    p = refopt.from_functions(
        lambda x, batch=None: 0.5 * np.mean((x - (data if batch is None else data[batch])) ** 2),
        lambda x, batch=None: x - np.mean(data if batch is None else data[batch], keepdims=True),
        x0=np.zeros(1), n_examples=8,
    )  # fmt: skip
    r = refopt.minimize(p, "svrg", lr=0.5, steps=40, batch_size=1)
    np.testing.assert_allclose(r.x, 3.5, rtol=1e-6)


def test_progress_bar_does_not_change_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """progress=True shows a bar and gives the same point."""
    pytest.importorskip("rich")
    a = refopt.minimize(quadratic(), "adam", lr=0.1, steps=30, progress=True)
    b = refopt.minimize(quadratic(), "adam", lr=0.1, steps=30)
    np.testing.assert_array_equal(a.x, b.x)


def test_what_the_caller_holds_is_not_touched() -> None:
    """A callback that writes into its x does not steer the run; an objective that does leaves the start alone."""

    def rude(x: np.ndarray) -> None:
        x[:] = 0.0

    want = refopt.minimize(quadratic(), "adam", lr=0.1, steps=5)
    got = refopt.minimize(quadratic(), "adam", lr=0.1, steps=5, callback=rude)
    np.testing.assert_array_equal(got.x, want.x)

    def value(x: np.ndarray) -> float:
        x += 1.0
        return float(x @ x)

    x0 = np.array([3.0, -2.0])
    for steps in (0, 3):
        r = refopt.minimize(refopt.from_functions(value, lambda x: 2 * x, x0=x0), "sgd", x0, steps=steps)
        assert not np.shares_memory(r.x, x0)
        np.testing.assert_array_equal(x0, [3.0, -2.0])


def test_a_decay_that_the_rate_does_not_scale_is_told() -> None:
    """AdamW's paper takes λ itself off x at every step; torch λ times the rate."""
    p = refopt.problem("quadratic", n=3)
    assert "weight_decay by lr" in refopt.minimize(p, "adamw", lr=1e-3, weight_decay=0.01, steps=2).message
    for kw in ({"dialect": "torch", "lr": 1e-3}, {"lr": 0.1, "weight_decay": 0.01}, {"weight_decay": 0.0}):
        assert "weight_decay" not in refopt.minimize(p, "adamw", steps=2, **kw).message


def test_steps_that_rounding_loses_are_told() -> None:
    def run(dtype):
        half = refopt.from_functions(lambda x: float(x @ x), lambda x: 2 * x, x0=np.full(2, 2.0, dtype))
        return refopt.minimize(half, "sgd", lr=1e-5, steps=3)

    assert "has not moved" in run("f2").message
    assert "has not moved" not in run("f4").message
