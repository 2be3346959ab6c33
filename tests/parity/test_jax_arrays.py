"""JAX arrays, eager and with 64 bits: what the sweep over namespaces does not ask; and what tracing cannot do."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.arrays import put
from refopt.core.errors import ArgumentTypeError

jax: Any = pytest.importorskip("jax")


@pytest.fixture(autouse=True)
def wide() -> Any:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def start(problem: Any) -> Any:
    return {k: jax.numpy.asarray(v) for k, v in problem.start(0).items()}


@pytest.mark.parametrize("name", ["adam", "muon", "distributed-shampoo", "kfac", "svrg", "sam", "lbfgs"])
def test_a_run_is_resumed_in_jax_to_the_same_bits(name: str, tmp_path: pathlib.Path) -> None:
    """Cut and resumed from its checkpoint: JAX arrays again, on the same bits."""
    p = refopt.problem("mlp", widths=(4,), n_examples=40)
    x0 = start(p)
    whole = refopt.minimize(p, name, x0, steps=9)
    refopt.minimize(p, name, x0, steps=5, checkpoint=tmp_path / "run")
    rest = refopt.minimize(p, name, x0, steps=9, checkpoint=tmp_path / "run", resume=True)
    for k, v in whole.x.items():
        assert isinstance(rest.x[k], jax.Array)
        np.testing.assert_array_equal(rest.x[k], v)


def test_a_network_of_jax_stays_in_jax() -> None:
    """From JAX arrays the run and what the problem answers are JAX's, at the numbers of the run in NumPy."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((10, 3)), rng.standard_normal((10, 2))
    tree = {"w": rng.standard_normal((2, 3)), "b": np.zeros(2)}
    p = refopt.from_jax(lambda t, a: jax.numpy.tanh(a @ t["w"].T) + t["b"], tree, data, loss="mse")
    r = refopt.minimize(p, "adamw", p.flat(jax.tree.map(jax.numpy.asarray, tree)), steps=5)
    assert all(
        isinstance(v, jax.Array) for v in (*r.x.values(), *r.state["m"].values(), *p.grad(r.x).values())
    )
    for k, v in refopt.minimize(p, "adamw", steps=5).x.items():
        assert isinstance(v, np.ndarray)
        np.testing.assert_allclose(r.x[k], v, rtol=1e-14)


def test_donated_arrays_are_not_changed() -> None:
    x, g = jax.numpy.ones(3), jax.numpy.asarray([1.0, 2.0, 3.0])
    o = refopt.optimizer("adam", lr=0.1)
    s = o.init(x)
    y, _ = o.update(x, g, s, donate=True)
    np.testing.assert_array_equal(x, 1.0)
    np.testing.assert_array_equal(s["m"], 0.0)
    np.testing.assert_array_equal(y, o.update(np.ones(3), np.asarray(g), o.init(np.ones(3)))[0])


def test_put() -> None:
    """In the array's own memory where it has one; otherwise a new array."""
    a, b = np.zeros(3), jax.numpy.zeros(3)
    assert put(a, slice(0, 2), np.ones(2)) is a
    np.testing.assert_array_equal(a, [1, 1, 0])
    np.testing.assert_array_equal(put(b, slice(0, 2), jax.numpy.ones(2)), a)
    np.testing.assert_array_equal(b, 0)


def test_what_looks_at_values_is_refused_where_they_are_traced() -> None:
    """An elementwise step is traced; a step or a function that decides by values says so, and so do compiled engines."""
    m = jax.numpy.eye(3)
    adam = refopt.optimizer("adam")
    s = adam.init(m)
    np.testing.assert_array_equal(jax.jit(lambda x: adam.update(x, m, s)[0])(m), adam.update(m, m, s)[0])
    for name in ("muon", "lamb"):
        o = refopt.optimizer(name)
        state = o.init(m)
        with pytest.raises(ArgumentTypeError, match="looks at values, which arrays that JAX traces"):
            jax.jit(lambda x, o=o, state=state: o.update(x, m, state)[0])(m)
    with pytest.raises(ArgumentTypeError, match=r"sqrtm-eigh: looks at values.*check=False"):
        jax.jit(refopt.get("sqrtm-eigh"))(m)
    got = jax.jit(lambda a: refopt.get("sqrtm-eigh")(a, check=False))(4.0 * m)
    np.testing.assert_allclose(got, 2.0 * np.eye(3), rtol=1e-14, atol=1e-15)
    numba = refopt.optimizer("adam", engine="numba")
    with pytest.raises(ArgumentTypeError, match="engine 'numba': wanted NumPy arrays"):
        numba.update(m, m, numba.init(m))
