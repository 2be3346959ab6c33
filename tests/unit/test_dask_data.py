"""Logistic and softmax regression on Dask arrays. Skipped where Dask is not installed (`make parity` has it)."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core import errors
from refopt.core.params import leaves, map_leaves
from refopt.core.problem import offered

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
da = pytest.importorskip("dask.array")
pytestmark = pytest.mark.filterwarnings("default")

N, D = 500, 7
BATCH = np.array([3, 499, 3, 120, 7])
NAMES = ["logistic", "softmax"]


@pytest.fixture(autouse=True)
def plain_scheduler() -> Iterator[None]:
    """No threads, but where a cluster is asked for, which comes later and wins."""
    with dask.config.set(scheduler="synchronous"):
        yield


def _data(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D))
    labels = {
        "logistic": X @ rng.standard_normal(D) + rng.standard_normal(N) > 0,
        "softmax": rng.integers(2, 6, N),
    }
    return X, labels[name].astype(int)


def _both(name: str, **parameters: Any) -> tuple[Any, Any]:
    """The problem in memory, and in blocks: of other sizes for X, which are cut in columns too, and for y."""
    X, y = _data(name)
    blocks = (da.from_array(X, chunks=(83, 3)), da.from_array(y, chunks=100))
    return refopt.problem(name, data=(X, y), l2=0.1, **parameters), refopt.problem(
        name, data=blocks, l2=0.1, **parameters
    )


def _point(p: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return map_leaves(lambda a: rng.standard_normal(a.shape), p.start())


def _flat(answer: Any) -> list[Any]:
    if isinstance(answer, dict):
        return list(answer.values())
    if isinstance(answer, (tuple, list)):
        return [leaf for part in answer for leaf in _flat(part)]
    return [answer.inputs, answer.output_grads] if hasattr(answer, "output_grads") else [answer]


def _asked(p: Any, name: str, x: Any, v: Any, batch: Any) -> Any:
    if name in ("penalty", "prox"):
        return getattr(p, name)(*((x,) if name == "penalty" else (x, 0.1)))
    more = {"hvp": (v,), "directional": (v,), "third": (v,), "jvp": (v,)}.get(name, ())
    if name in ("vjp", "loss_hessian"):
        more = (np.cos(np.asarray(p.residual(x, batch))),)
    return getattr(p, name)(x, *more, batch=batch)


@pytest.mark.parametrize("batch", [None, BATCH], ids=["all", "batch"])
@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_that_of_the_data_in_memory(name: str, batch: Any) -> None:
    """Each capability, on all examples and on a batch with a row twice: NumPy numbers, equal up to the order of sums."""
    p, q = _both(name)
    assert offered(p) == offered(q) and len(offered(q)) >= 12
    x, v = _point(p, 1), _point(p, 2)
    for capability in offered(p):
        mine, theirs = (_flat(_asked(one, capability, x, v, batch)) for one in (p, q))
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs):
            assert isinstance(b, (np.ndarray, np.floating))
            np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-13 * max(1.0, float(np.abs(a).max())))
    assert q.lipschitz == pytest.approx(p.lipschitz, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_runs_are_those_of_the_data_in_memory(name: str) -> None:
    """Adam on batches and L-BFGS on all examples, in float32 and float64."""
    p, q = _both(name)
    for dtype, tolerance in (("float64", 1e-11), ("float32", 1e-3)):
        x0 = map_leaves(lambda a, d=dtype: a.astype(d), p.start())
        for method, further in (("adam", {"batch_size": 50, "lr": 0.1}), ("lbfgs", {})):
            a, b = (refopt.minimize(one, method, x0, steps=6, **further) for one in (p, q))
            for k, leaf in leaves(b.x).items():
                assert str(leaf.dtype) == dtype
                np.testing.assert_allclose(leaf, leaves(a.x)[k], rtol=tolerance, atol=tolerance)


@pytest.fixture
def client(tmp_path: pathlib.Path) -> Iterator[Any]:
    """Two worker processes."""
    folder = str(tmp_path)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=folder
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_on_two_workers(client: Any) -> None:
    """Value, gradient and Hessian product, computed on both workers, are those of the data in memory."""
    for name in NAMES:
        p, q = _both(name)
        x, v = _point(p, 1), _point(p, 2)
        with distributed.get_task_stream(client) as stream:
            for capability in ("value", "grad", "hvp"):
                for a, b in zip(*(_flat(_asked(one, capability, x, v, None)) for one in (p, q))):
                    np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-14)
        assert len({task["worker"] for task in stream.data}) == 2


class _Reads:
    """Blocks that say when they are read."""

    def __init__(self, X: np.ndarray, rows: int) -> None:
        self.X, self.read = X, []  # type: ignore[var-annotated]
        starts = da.from_array(np.arange(0, len(X), rows), chunks=1)
        self.blocks = starts.map_blocks(
            self._block, rows, chunks=((rows,) * (len(X) // rows), (X.shape[1],)), new_axis=1, dtype=X.dtype,
            meta=np.zeros((0, 0)),
        )  # fmt: skip

    def _block(self, start: np.ndarray, rows: int) -> np.ndarray:
        self.read.append(int(start[0]))
        return self.X[start[0] : start[0] + rows]


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_one_graph_and_reads_a_block_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value with gradient, and a Hessian product, are one call of the scheduler and read each block once; a batch reads the
    blocks that it has rows of, and no other."""
    X, y = _data(name)
    reads, graphs = _Reads(X, 50), []
    q = refopt.problem(name, data=(reads.blocks, y))
    x, v = _point(q, 1), _point(q, 2)

    def scheduler(graph: Any, keys: Any, **options: Any) -> Any:
        graphs.append(keys)
        return dask.get(graph, keys, **options)

    with dask.config.set(scheduler=scheduler):
        for capability in ("value", "grad", "value_and_grad", "hvp", "directional"):
            reads.read.clear()
            graphs.clear()
            _asked(q, capability, x, v, None)
            assert len(graphs) == 1 and sorted(reads.read) == list(range(0, N, 50)), capability
        reads.read.clear()
        graphs.clear()
        q.value_and_grad(x, BATCH)
        assert len(graphs) == 1 and sorted(reads.read) == [0, 100, 450]


def test_bad_blocks_are_refused() -> None:
    """Typed errors: not finite, unknown chunks, y in blocks alone, shapes, one class, another library's x, another problem."""
    X, y = _data("logistic")
    blocks, labels = da.from_array(X, chunks=(100, D)), da.from_array(y, chunks=100)
    bad = X.copy()
    bad[477, 3] = np.nan
    for data, error, match in (
        ((da.from_array(bad, chunks=(100, D)), labels), errors.NonFiniteError, "NaN"),
        ((blocks[blocks[:, 0] > 0], labels), errors.ArgumentError, "compute_chunk_sizes"),
        ((X, labels), errors.ArgumentTypeError, "X must be one"),
        ((blocks, y[:-1]), errors.ShapeError, "n entries"),
        ((blocks[:, 0], labels), errors.ShapeError, "wanted X of shape"),
        ((blocks, 0 * labels), errors.ArgumentError, "at least two classes, got 1"),
        ((blocks, labels.astype("U1")), errors.ArgumentTypeError, "wanted numbers as y"),
    ):
        with pytest.raises(error, match=match):
            refopt.problem("logistic", data=data)
    with pytest.raises(errors.ArgumentTypeError, match="takes no Dask arrays; logistic and softmax do"):
        refopt.problem("mlp", data=(blocks, labels))
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(errors.ArgumentTypeError, match="wanted NumPy arrays, since the data is of dask"):
        refopt.problem("logistic", data=(blocks, labels)).value(strict.zeros(D + 1))


def test_parts_and_sweeps() -> None:
    """The first examples, a subset and a split are the same as in memory; a store knows blocks by their graph."""
    p, q = _both("logistic", n_examples=200)
    x = _point(p, 1)
    pairs = [(p, q), (p.subset([5, 1, 150]), q.subset([5, 1, 150])), *zip(p.split(0.25, 3), q.split(0.25, 3))]
    for a, b in pairs:
        assert a.n_examples == b.n_examples
        np.testing.assert_allclose(b.grad(x), a.grad(x), rtol=1e-12, atol=1e-15)
    from refopt.sweeps import Serial

    s = refopt.sweep("sgd", {"memory": p, "blocks": q}, [0], {"lr": [0.1]}, None, Serial(), steps=3)
    assert s.rows[0].fun == pytest.approx(s.rows[1].fun, rel=1e-12) and s.rows[0].key != s.rows[1].key
