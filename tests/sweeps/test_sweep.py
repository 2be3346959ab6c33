"""`refopt.sweep`: what is run, what is kept, what is refused."""

from __future__ import annotations

import os
import pathlib
import sqlite3
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core import errors
from refopt.sweeps import Serial, running, work
from refopt.sweeps.executors import Processes

GRID = {"lr": [0.01, 0.1]}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the runs that are made, in their order."""
    keys: list[str] = []
    run = work.run

    def counted(job: Any) -> Any:
        keys.append(job.key)
        return run(job)

    monkeypatch.setattr(work, "run", counted)
    return keys


def _same(a: Any, b: Any) -> bool:
    equal = [np.array_equal(a.history[k], b.history[k], equal_nan=True) for k in a.history if k != "seconds"]
    return (a.key, a.fun, a.nit, a.calls) == (b.key, b.fun, b.nit, b.calls) and all(equal)


def test_a_row_is_what_minimize_returns() -> None:
    """Every row has the numbers of one call of `minimize` with the same arguments, to the bit."""
    s = refopt.sweep(
        {"plain": "sgd", "quick": ("adam", {"beta1": 0.5})}, {"mlp": ("mlp", {"widths": [3], "n_examples": 40})},
        [0, 3], GRID, None, Serial(), steps=8, batch_size=10,
    )  # fmt: skip
    assert [(r.method, r.settings["lr"], r.seed) for r in s.rows] == [
        (m, lr, seed) for m in ("plain", "quick") for lr in (0.01, 0.1) for seed in (0, 3)
    ]
    problem = refopt.problem("mlp", widths=(3,), n_examples=40)
    for row in s.rows:
        name = {"plain": "sgd", "quick": "adam"}[row.method]
        r = refopt.minimize(
            problem, name, steps=8, batch_size=10, seed=row.seed, record="full", **row.settings
        )
        assert (row.fun, row.nit, row.status, row.calls) == (r.fun, r.nit, r.status, r.calls)
        np.testing.assert_array_equal(row.history["value"], r.history["value"])
    assert s.left == 0


def test_a_store_is_added_to(tmp_path: pathlib.Path, made: list[str]) -> None:
    """The same call runs nothing; more methods, seeds or values run what is new; order, labels and 1.0 for 1 are nothing."""
    store = tmp_path / "runs.sqlite"
    first = refopt.sweep("sgd", "quadratic", [0, 1], {"lr": [0.1, 1]}, store, Serial(), steps=3)
    assert len(made) == 4
    again = refopt.sweep("sgd", "quadratic", [1, 0], {"lr": [1.0, 0.1]}, store, Serial(), steps=3)
    assert len(made) == 4
    assert [(r.settings["lr"], r.seed) for r in again.rows] == [(1, 1), (1, 0), (0.1, 1), (0.1, 0)]
    assert all(any(_same(a, b) for b in again.rows) for a in first.rows)
    named = refopt.sweep({"mine": "sgd"}, "quadratic", [0], {"lr": [0.1]}, store, Serial(), steps=3)
    assert len(made) == 4 and [r.method for r in named.rows] == ["mine"]
    more = refopt.sweep(["adam", "sgd"], "quadratic", [0, 1, 2], {"lr": [0.1, 1]}, store, Serial(), steps=3)
    assert len(made) == 4 + 6 + 2 and len(set(made)) == len(made)
    assert len(more.rows) == 12 and more.left == 0
    everything = refopt.Sweep.open(store)
    assert len(everything.rows) == 4 + 1 + 8 and everything.left == 0


@pytest.mark.parametrize(
    "change", [{"steps": 4}, {"tol": 1e-3}, {"target": 0.5}, {"seeds": [1]}, {"problems": ("quadratic", {"n": 3})},
               {"methods": ("sgd", {"weight_decay": 0.5})}, {"methods": ("sgd", {"dialect": "torch"})},
               {"record": "step"}, {"max_calls": {"grad": 2}}],
)  # fmt: skip
def test_everything_is_part_of_the_specification(change: dict[str, Any], made: list[str]) -> None:
    """A run with anything else changed is another run, and the row says what it belongs to."""
    usual: dict[str, Any] = {"methods": "sgd", "problems": "quadratic", "seeds": [0], "steps": 3}
    keys = [
        refopt.sweep(**{**usual, **c}, grids={"lr": [0.1]}, store=None, executor=Serial()).rows[0]
        for c in ({}, change)
    ]
    assert keys[0].key != keys[1].key and keys[0].specification != keys[1].specification
    assert keys[0].specification["refopt"] == refopt.__version__


def test_the_version_is_part_of_the_specification(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:  # fmt: skip
    """After an upgrade the runs are made anew; figures over both are refused, and `where` chooses."""
    store = tmp_path / "runs.sqlite"
    refopt.sweep("sgd", "quadratic", [0], GRID, store, Serial(), steps=3)
    monkeypatch.setattr(refopt, "__version__", "99.0")
    refopt.sweep("sgd", "quadratic", [0], GRID, store, Serial(), steps=3)
    both = refopt.Sweep.open(store)
    assert len(both.rows) == 4
    with pytest.raises(errors.ArgumentError, match=r"different refopt.*where"):
        both.best()
    assert len(both.where(refopt="99.0").best().points) == 2


def test_objects_of_the_zoo_are_known_by_what_they_hold(made: list[str], tmp_path: pathlib.Path) -> None:
    """Equal objects are one problem, also after use; another penalty, which does not show at the start, is another."""
    store = tmp_path / "runs.sqlite"
    for l1 in (0.0, 0.0, 0.1):
        p = refopt.problem("logistic", n_examples=40, l1=l1)
        refopt.sweep("sgd", p, [0], GRID, store, Serial(), steps=2)
        _ = p.lipschitz, p.value(p.start().astype(np.float32))
        refopt.sweep("sgd", p, [0], GRID, store, Serial(), steps=2)
    assert len(made) == 4
    sparse = refopt.problem("logistic", data=_sparse(1.0))
    other = refopt.problem("logistic", data=_sparse(2.0))
    refopt.sweep("sgd", {"a": sparse, "b": other}, [0], GRID, None, Serial(), steps=2)
    assert len(set(made)) == 8


def _sparse(scale: float) -> tuple[Any, Any]:
    import scipy.sparse

    return scipy.sparse.csr_array(scale * np.eye(4)), np.array([0, 1, 0, 1])


def _bowl(scale: float = 1.0, grad: Callable[..., Any] | None = None) -> Any:
    return refopt.from_functions(
        lambda x: scale * float(x @ x), grad or (lambda x: 2 * scale * x), x0=np.array([1.0, -2.0])
    )


def test_own_problems(made: list[str], tmp_path: pathlib.Path) -> None:
    """A problem of lambdas runs on threads and in this process under its label; another function is another problem."""
    store = tmp_path / "runs.sqlite"
    with ThreadPoolExecutor(2) as pool:
        s = refopt.sweep("sgd", {"bowl": _bowl()}, [0, 1, 2], GRID, store, pool, steps=3)
    assert len(s.rows) == 6
    np.testing.assert_allclose([r.fun for r in s.rows], [5 * (1 - 2 * r.settings["lr"]) ** 6 for r in s.rows])
    refopt.sweep("sgd", {"bowl": _bowl()}, [0, 1, 2], GRID, store, Serial(), steps=3)
    assert len(made) == 6
    refopt.sweep("sgd", {"bowl": _bowl(2.0)}, [0, 1, 2], GRID, store, Serial(), steps=3)
    assert len(made) == 12


@pytest.mark.parametrize("executor", [None, "processes"])
def test_what_processes_cannot_carry_is_said(executor: Any, tmp_path: pathlib.Path) -> None:
    """Lambdas are refused before a process is started, with the ways out."""
    pool = Processes(1) if executor else None
    with pytest.raises(errors.ArgumentTypeError, match=r"problems\['bowl'\].*top level.*Serial"):
        refopt.sweep("sgd", {"bowl": _bowl()}, [0], GRID, tmp_path / "s.sqlite", pool, steps=3)
    if pool:
        pool.shutdown()
    assert not list(tmp_path.iterdir())


def test_what_goes_wrong_in_a_run_is_a_row(made: list[str], tmp_path: pathlib.Path) -> None:
    """Divergence and typed errors stay rows that say so; other errors do too, and are tried again."""

    def shape(x: Any) -> Any:
        return 2 * x if x[0] == 1.0 else np.zeros(3)

    trouble = [True]

    def fails(x: Any) -> Any:
        if trouble[0] and x[0] != 1.0:
            raise ZeroDivisionError("by chance")
        return 2 * x

    problems = {"far": _bowl(), "shape": _bowl(grad=shape), "chance": _bowl(grad=fails)}
    arguments: Any = ("sgd", problems, [0], {"lr": [0.1, 1e200]}, tmp_path / "s.sqlite", Serial())
    s = refopt.sweep(*arguments, steps=3)
    found = {(r.problem, r.settings["lr"]): r for r in s.rows}
    assert found["far", 1e200].status == "diverged" and "diverged" in found["far", 1e200].message
    assert found["shape", 0.1].status == "error" and "shape" in found["shape", 0.1].message
    assert found["chance", 0.1].status == "crashed"
    assert found["chance", 0.1].message == "ZeroDivisionError: by chance"
    assert [r.success for r in s.rows] == [True, False] + [False] * 4
    assert len(made) == 6
    trouble[0] = False
    s = refopt.sweep(*arguments, steps=3)
    assert len(made) == 6 + 1 and len(s.rows) == 6
    assert s.where(problem="chance", lr=0.1).rows[0].status == "steps"


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"methods": "adamm"}, errors.UnknownNameError, "Did you mean 'adam'"),
    ({"methods": []}, errors.ArgumentError, "methods: wanted at least one"),
    ({"methods": ["sgd", "sgd"]}, errors.ArgumentError, "'sgd' is there twice"),
    ({"methods": [("sgd", 3)]}, errors.ArgumentTypeError, r"methods\[0\]"),
    ({"methods": [{"lr": 0.1}]}, errors.ArgumentError, "a dict with 'name'"),
    ({"methods": [3]}, errors.ArgumentTypeError, r"methods\[0\]: wanted a name"),
    ({"methods": [("sgd", {"weightdecay": 0.1})]}, errors.HyperparameterError, "sgd .*Did you mean 'weight_decay'"),
    ({"methods": [("sgd", {"lr": lambda t: 0.1})], "grids": None}, errors.ArgumentTypeError, "known|knows"),
    ({"problems": "quadratik"}, errors.UnknownNameError, "Did you mean 'quadratic'"),
    ({"problems": ("quadratic", {"m": 3})}, errors.ArgumentTypeError, "no parameter 'm'"),
    ({"problems": object()}, errors.ArgumentTypeError, "problems: wanted a name"),
    ({"problems": _bowl()}, errors.ArgumentTypeError, "a problem of one's own needs a name"),
    ({"problems": {"p": refopt.from_functions(lambda x: 0.0, lambda x: x)}}, errors.ArgumentError, "no default start"),
    ({"seeds": 3}, errors.ArgumentTypeError, r"range\(5\)"),
    ({"seeds": []}, errors.ArgumentError, "seeds: wanted at least one"),
    ({"seeds": [0, 0]}, errors.ArgumentError, "none of them twice"),
    ({"seeds": [-1]}, errors.ArgumentError, r"seeds\[0\]"),
    ({"seeds": [0.5]}, errors.ArgumentTypeError, r"seeds\[0\]: wanted an integer"),
    ({"grids": {"lr": 0.1}}, errors.ArgumentTypeError, r"grids\['lr'\]: wanted a list of values, got 0.1"),
    ({"grids": {"lr": []}}, errors.ArgumentError, "is empty"),
    ({"grids": {"lr": [0.1, 0.1]}}, errors.ArgumentError, "a value twice"),
    ({"grids": {"lr": [0.1, -1.0]}}, errors.ArgumentError, r"sgd on quadratic \(lr=-1.0\): sgd: lr: wanted a value"),
    ({"grids": {"rate": [0.1]}}, errors.HyperparameterError, "no hyperparameter 'rate'"),
    ({"grids": {"adam": {"lr": [0.1]}}}, errors.UnknownNameError, "'adam' is none of the methods"),
    ({"grids": [0.1]}, errors.ArgumentTypeError, "grids: wanted a dict"),
    ({"steps": -1}, errors.ArgumentError, "steps"),
    ({"steps": 2.5}, errors.ArgumentTypeError, "steps"),
    ({"max_calls": {"gradient": 3}}, errors.ArgumentError, "max_calls"),
    ({"max_calls": -1.0, "steps": None}, errors.ArgumentError, "max_calls"),
    ({"max_calls": "much", "steps": None}, errors.ArgumentTypeError, "max_calls"),
    ({"batch_size": 4}, errors.CapabilityError, "not a sum over examples"),
    ({"sampling": "all"}, errors.ArgumentError, "sampling"),
    ({"record": "none"}, errors.ArgumentError, "record"),
    ({"record": _bowl()}, errors.ArgumentTypeError, "record: wanted 'step' or 'full'"),
    ({"record_every": 0}, errors.ArgumentError, "record_every"),
    ({"target": "low"}, errors.ArgumentTypeError, "target: wanted a number"),
    ({"target": {"mlp": 0.1}}, errors.UnknownNameError, "'mlp' is none of the problems"),
    ({"methods": "svrg", "batch_size": None, "problems": "bilinear-game"}, errors.CapabilityError, "svrg"),
    ({"methods": "scaled-gd"}, errors.ShapeError, "scaled-gd on quadratic .*wanted one factor"),
    ({"executor": 2}, errors.ArgumentTypeError, "executor: wanted a concurrent.futures.Executor, got int"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "error", "match"), BAD)
def test_bad_input_is_refused_before_the_first_run(
    change: dict[str, Any], error: type[Exception], match: str, made: list[str], tmp_path: pathlib.Path
) -> None:
    """A typed error that names the argument; nothing has run and no file is there, though a good run comes first."""
    usual: dict[str, Any] = {
        "methods": "sgd",
        "problems": "quadratic",
        "seeds": [0],
        "grids": GRID,
        "steps": 3,
    }
    usual["executor"] = Serial()
    with pytest.raises(error, match=match):
        refopt.sweep(**{**usual, **change}, store=tmp_path / "s.sqlite")
    assert not made and not list(tmp_path.iterdir())


def test_foreign_files_are_left_alone(tmp_path: pathlib.Path) -> None:
    """A text, another program's database, a store of a later format, a folder: refused, and as they were."""
    text, other, later = tmp_path / "a.sqlite", tmp_path / "b.sqlite", tmp_path / "c.sqlite"
    text.write_text("lr = 0.1, of my thesis\n" * 50)
    base = sqlite3.connect(other)
    base.execute("CREATE TABLE runs(x)")
    base.close()
    refopt.sweep("sgd", "quadratic", [0], GRID, later, Serial(), steps=1)
    base = sqlite3.connect(later)
    base.execute("PRAGMA user_version = 99")
    base.close()
    for path in (text, other, later, tmp_path):
        before = path.read_bytes() if path.is_file() else None
        for call in (
            lambda p=path: refopt.sweep("sgd", "quadratic", [0], GRID, p, Serial(), steps=1),
            lambda p=path: refopt.Sweep.open(p),
        ):
            with pytest.raises(errors.StoreError, match="store"):
                call()
        assert before is None or path.read_bytes() == before
    with pytest.raises(errors.StoreError, match="there is none"):
        refopt.Sweep.open(tmp_path / "none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()


def test_targets_and_budgets() -> None:
    """A run ends at its target, by problem; without steps the budget of calls alone ends it, about a hundred rows long."""
    s = refopt.sweep(
        "sgd", {"a": ("quadratic", {"n": 3}), "b": ("quadratic", {"n": 4})}, [0], {"lr": [0.001, 0.1]}, None, Serial(),
        max_calls=500, target={"a": 0.5},
    )  # fmt: skip
    assert [(r.problem, r.met) for r in s.rows] == [("a", False), ("a", True), ("b", None), ("b", None)]
    assert s.rows[1].status == "callback" and s.rows[1].fun <= 0.5 < s.rows[1].history["value"][0]
    assert s.rows[0].gradient_equivalents == 500.0 == s.rows[3].nit
    assert [len(r.history["step"]) for r in s.rows if r.met is not True] == [101] * 3
    with pytest.raises(errors.ArgumentError, match="until the target"):
        s.best("gradients")
    best = s.where(problem="a").best("gradients").chosen[0]
    assert best.settings == {"lr": 0.1} and best.median == s.rows[1].gradient_equivalents


def test_grids_of_all_and_of_one() -> None:
    """A method's own grid wins over the one of all; a name stands for all labels of it."""
    s = refopt.sweep(
        {"s": "sgd", "t": "sgd", "a": "adam"}, "quadratic", [0],
        {"lr": [0.1, 0.2], "sgd": {"weight_decay": [0.0, 0.5]}, "t": {"lr": np.array([0.3])}, "a": {"beta1": [0.8]}},
        None, Serial(), steps=1,
    )  # fmt: skip
    found = [(r.method, *(r.settings.get(k) for k in ("lr", "weight_decay", "beta1"))) for r in s.rows]
    assert found == [
        ("s", 0.1, 0.0, None), ("s", 0.1, 0.5, None), ("s", 0.2, 0.0, None), ("s", 0.2, 0.5, None),
        ("t", 0.3, 0.0, None), ("t", 0.3, 0.5, None), ("a", 0.1, None, 0.8), ("a", 0.2, None, 0.8),
    ]  # fmt: skip


def test_schedules_and_bases_are_settings() -> None:
    """A schedule of `refopt.schedule` and a wrapper's base are told apart by what they are."""
    schedules = [refopt.schedule("cosine-warm-restarts", period=n) for n in (2, 5)]
    s = refopt.sweep(
        ("sam", {"base": "sgd"}), "quadratic", [0], {"schedule": schedules, "rho": [0.1]}, None, Serial(), steps=3
    )  # fmt: skip
    assert s.rows[0].key != s.rows[1].key and s.rows[0].fun != s.rows[1].fun
    assert s.rows[1].settings["schedule"]["period"] == 5


def test_progress_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Off a terminal nothing, unless asked; then lines with what is done, failed and left."""
    refopt.sweep("sgd", "quadratic", [0], {"lr": [0.1, 1e200]}, None, Serial(), steps=2)
    assert capsys.readouterr() == ("", "")
    refopt.sweep("sgd", "quadratic", [0], {"lr": [0.1, 1e200]}, None, Serial(), steps=2, progress=True)
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines()[0].startswith(
        "1 of 2 runs, 0 diverged, 0 errors; 1 left, about"
    )
    assert said.err.splitlines()[1] == "2 of 2 runs, 1 diverged, 0 errors; 0 left"


MINE = """
    import os
    import numpy as np

    class Bowl:
        x0 = np.array([1.0, -2.0])

        def __init__(self, flag=None):
            self.flag = flag

        def value(self, x):
            return float(x @ x)

        def grad(self, x):
            if self.flag is not None and x[0] != 1.0 and not os.path.exists(self.flag):
                open(self.flag, "w").close()
                os._exit(1)
            return 2 * x
"""


def test_processes_give_the_same_rows(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes, zoo problems and one's own from a module, and a worker that dies on the way: said, and gone on from."""
    (tmp_path / "mine_for_sweeps.py").write_text(textwrap.dedent(MINE))
    monkeypatch.syspath_prepend(str(tmp_path))
    import mine_for_sweeps  # type: ignore[import-not-found]

    flag = str(tmp_path / "died")
    store = tmp_path / "s.sqlite"
    problems = {"mine": mine_for_sweeps.Bowl(flag), "zoo": "quadratic"}
    arguments: Any = ("sgd", problems, [0, 1], GRID)
    monkeypatch.setattr(running, "cores", lambda: 2)
    with pytest.raises(errors.ExecutorError, match=r"__main__.*same call goes on"):
        refopt.sweep(*arguments, store, steps=5)
    assert os.path.exists(flag)
    found = refopt.sweep(*arguments, store, steps=5)
    alone = refopt.sweep(*arguments, None, Serial(), steps=5)
    assert len(found.rows) == 8 and all(_same(a, b) for a, b in zip(found.rows, alone.rows))
