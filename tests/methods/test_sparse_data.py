"""Sparse data: the same problems, without a dense copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
import scipy.sparse
from refopt.core.params import leaves
from refopt.problems.data import top_eigenvalue


def pair(n: int = 30, d: int = 12) -> tuple[Any, Any, np.ndarray]:
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.2)
    return dense, scipy.sparse.coo_matrix(dense), rng.integers(0, 2, n)


@pytest.mark.parametrize("name", ["logistic", "ridge", "softmax"])
@pytest.mark.parametrize("batch", [None, np.array([3, 7, 7, 1])])
def test_every_answer_is_that_of_dense_data(name: str, batch: Any) -> None:
    dense, sparse, y = pair()
    p, q = (refopt.problem(name, data=(a, y), l2=0.1) for a in (dense, sparse))
    assert scipy.sparse.issparse(q.inputs)
    rng = np.random.default_rng(1)
    x, v = ({k: rng.standard_normal(a.shape) for k, a in leaves(p.start()).items()} for _ in range(2))
    if name != "softmax":
        x, v = x[""], v[""]
    for ask in (
        lambda p: p.value(x, batch), lambda p: p.grad(x, batch), lambda p: p.hvp(x, v, batch),
        lambda p: p.example_grads(x, batch), lambda p: p.residual(x, batch), lambda p: p.jvp(x, v, batch),
        lambda p: p.vjp(x, p.residual(x, batch), batch), lambda p: p.directional(x, v, batch),
    ):  # fmt: skip
        for k, want in leaves(ask(p)).items():
            np.testing.assert_allclose(leaves(ask(q))[k], want, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(q.lipschitz, p.lipschitz, rtol=1e-10)
    assert q.grad(x.astype("f4")).dtype == np.float32 if name != "softmax" else True
    assert refopt.minimize(q, "svrg", lr=0.1, steps=20, batch_size=5).success
    if name == "softmax":
        assert refopt.minimize(q, "kfac", steps=2, batch_size=10).success


def test_a_file_stays_sparse_and_an_mlp_makes_it_dense(tmp_path: Any) -> None:
    pytest.importorskip("sklearn")
    dense, _, y = pair()
    path = tmp_path / "a.svm"
    path.write_text("".join(
        f"{label} " + " ".join(f"{j + 1}:{row[j]!r}" for j in np.flatnonzero(row)) + "\n" for label, row in zip(y, dense.tolist())
    ))  # fmt: skip
    p = refopt.problem("logistic", data=path)
    assert scipy.sparse.issparse(p.inputs) and not p.inputs.data.flags.writeable
    assert isinstance(refopt.problem("mlp", data=path, widths=(3,)).inputs, np.ndarray)


def test_a_large_sparse_problem_needs_no_dense_memory() -> None:
    """2000 examples of a million features: 16 GB dense, steps in milliseconds sparse."""
    rng = np.random.default_rng(0)
    a = scipy.sparse.random_array((2000, 1_000_000), density=5e-6, rng=rng, format="csr")
    p = refopt.problem("logistic", data=(a, rng.integers(0, 2, 2000)), l2=0.01)
    r = refopt.minimize(p, "nesterov", lr=1.0, steps=3)
    assert r.success and r.fun < np.log(2)


def test_lanczos_gives_the_top_eigenvalue() -> None:
    dense, sparse, _ = pair()
    np.testing.assert_allclose(top_eigenvalue(sparse), top_eigenvalue(dense), rtol=1e-12)


def test_other_libraries_are_told() -> None:
    strict = pytest.importorskip("array_api_strict")
    _, sparse, y = pair()
    p = refopt.problem("logistic", data=(sparse, y))
    with pytest.raises(refopt.errors.ArgumentTypeError, match="x: wanted NumPy"):
        p.value(strict.zeros(13))
    bad = sparse.tocsr()
    bad.data[0] = np.nan
    with pytest.raises(refopt.errors.NonFiniteError, match="data"):
        refopt.problem("logistic", data=(bad, y))
