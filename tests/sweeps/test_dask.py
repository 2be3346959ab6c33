"""Sweeps on Dask: a local cluster of two workers. Skipped where Dask is not installed (`make parity` has it)."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.sweeps import Serial

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two worker processes."""
    folder = str(tmp_path_factory.mktemp("dask"))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=folder
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_a_sweep_on_two_workers(client: Any, tmp_path: pathlib.Path) -> None:
    """The rows of this process, to the bit, with a problem of lambdas, which Dask carries."""
    bowl = refopt.from_functions(lambda x: float(x @ x), lambda x: 2 * x, x0=np.array([1.0, -2.0]))
    arguments: Any = (
        ["sgd", "adam"],
        {"bowl": bowl, "zoo": ("quadratic", {"n": 4})},
        [0, 1],
        {"lr": [0.01, 0.1]},
    )
    store = tmp_path / "s.sqlite"
    with client.get_executor() as executor:
        there = refopt.sweep(*arguments, store, executor, steps=5)
    here = refopt.sweep(*arguments, None, Serial(), steps=5)
    assert len(there.rows) == 16 and len(refopt.Sweep.open(store).rows) == 16
    for a, b in zip(there.rows, here.rows):
        assert (a.key, a.fun, a.calls) == (b.key, b.fun, b.calls)
        np.testing.assert_array_equal(a.history["value"], b.history["value"])
