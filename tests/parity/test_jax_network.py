"""`refopt.from_jax(apply, params, data, loss=...)` with nested parameters, beside `refopt.from_torch` on the same network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError, ArgumentTypeError, ShapeError

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
N = 12
NAMES = {"0.weight": "body.0.w", "0.bias": "body.0.b", "2.weight": "body.1.w", "2.bias": "body.1.b", "4.weight": "head", "4.bias": "shift"}  # fmt: skip


@pytest.fixture(autouse=True)
def wide() -> Any:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def apply(params: Any, a: Any) -> Any:
    for layer in params["body"]:
        a = jax.numpy.tanh(a @ layer["w"].T + layer["b"])
    return a @ params["head"].T + params["shift"]


def both(loss: str, dtype: str = "float64") -> tuple[Any, Any, dict[str, Any]]:
    rng = np.random.default_rng(0)
    sizes = {
        "0.weight": (4, 5),
        "0.bias": (4,),
        "2.weight": (3, 4),
        "2.bias": (3,),
        "4.weight": (3, 3),
        "4.bias": (3,),
    }
    x = {k: rng.standard_normal(s).astype(dtype) for k, s in sizes.items()}
    a, y = rng.standard_normal((N, 5)), rng.standard_normal((N, 3))
    targets = y.argmax(1) if loss == "cross-entropy" else y
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 3)
    ).to(getattr(torch, dtype))
    net.load_state_dict({k: torch.as_tensor(v) for k, v in x.items()})
    data = tuple(torch.as_tensor(d.astype(dtype) if d.dtype.kind == "f" else d) for d in (a, targets))
    tree = {
        "body": [{"w": x["0.weight"], "b": x["0.bias"]}, {"w": x["2.weight"], "b": x["2.bias"]}],
        "head": x["4.weight"], "shift": x["4.bias"],
    }  # fmt: skip
    return refopt.from_torch(net, loss, data), refopt.from_jax(apply, tree, (a, targets), loss=loss), x


def close(got: dict[str, Any], want: dict[str, Any], rtol: float = 1e-12) -> None:
    assert got.keys() == set(NAMES.values())
    for k, v in want.items():
        np.testing.assert_allclose(got[NAMES[k]], np.asarray(v), rtol=rtol, atol=1e-2 * rtol)


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
@pytest.mark.parametrize("batch", [None, np.array([3, 1, 7, 7])])
def test_every_answer_is_torch_s(loss: str, batch: Any) -> None:
    """Value, gradient, HVP, per-example gradients, residual, jvp, vjp, the loss's gradient and Hessian: to 1e-12."""
    p, q, x = both(loss)
    rng = np.random.default_rng(1)
    v = {k: rng.standard_normal(a.shape) for k, a in x.items()}
    y, w = ({NAMES[k]: a for k, a in t.items()} for t in (x, v))
    np.testing.assert_allclose(q.value(y, batch), p.value(x, batch), rtol=1e-14)
    close(q.grad(y, batch), p.grad(x, batch))
    close(q.hvp(y, w, batch), p.hvp(x, v, batch))
    close(q.example_grads(y, batch), p.example_grads(x, batch))
    r = p.residual(x, batch)
    u = rng.standard_normal(r.shape)
    tight = {"rtol": 1e-12, "atol": 1e-14}
    np.testing.assert_allclose(q.residual(y, batch), r, **tight)
    np.testing.assert_allclose(q.jvp(y, w, batch), p.jvp(x, v, batch), **tight)
    close(q.vjp(y, u, batch), p.vjp(x, u, batch))
    np.testing.assert_allclose(q.loss_gradient(y, batch), p.loss_gradient(x, batch), **tight)
    np.testing.assert_allclose(q.loss_hessian(y, u, batch), p.loss_hessian(x, u, batch), **tight)
    assert q.least_squares == p.least_squares and q.n_examples == p.n_examples == N
    assert refopt.get("derivative-check")(q, y, batch=batch).passed


@pytest.mark.parametrize("name", ["adamw", "levenberg-marquardt", "svrg", "lbfgs"])
def test_methods_take_the_same_steps(name: str) -> None:
    """Seeds and batches as with torch; and the run's x goes back into the tree."""
    p, q, x = both("mse")
    batch = {"batch_size": 4} if name == "svrg" else {}
    r = refopt.minimize(q, name, steps=4, **batch)
    close(r.x, refopt.minimize(p, name, x, steps=4, **batch).x, rtol=1e-8)
    tree = q.tree(r.x)
    np.testing.assert_array_equal(tree["body"][1]["w"], r.x["body.1.w"])
    again = q.flat(tree)
    assert again.keys() == r.x.keys() and all(np.array_equal(again[k], r.x[k]) for k in again)


@pytest.mark.parametrize("name", ["ggn", "hessian", "fisher", "empirical-fisher"])
def test_curvature(name: str) -> None:
    """As the functions of the tree in the order of its leaves, which is not torch's."""
    p, q, x = both("cross-entropy")
    C, D = refopt.curvature(name, p, x), refopt.curvature(name, q, q.x0)
    np.testing.assert_allclose(D.spectrum(), C.spectrum(), rtol=1e-9, atol=1e-12)


def test_float32_stays() -> None:
    p, q, x = both("cross-entropy", "float32")
    y = {NAMES[k]: a for k, a in x.items()}
    got = q.grad(y)
    assert all(g.dtype == np.float32 for g in got.values()) and q.value(y).dtype == np.float32
    close(got, p.grad(x), rtol=1e-4)


def test_a_function_of_a_tree() -> None:
    """Lists and tuples too; the run has dotted names."""
    p = refopt.from_jax(
        lambda t: 0.5 * (t["a"][0] - 1.0) ** 2 + t["a"][1][0] ** 2, {"a": [np.array(3.0), (np.array(2.0),)]},
        residual=lambda t: jax.numpy.stack([t["a"][0] - 1.0, np.sqrt(2.0) * t["a"][1][0]]),
    )  # fmt: skip
    assert set(p.x0) == {"a.0", "a.1.0"}
    assert float(p.value(p.x0)) == 6.0 and float(p.grad(p.x0)["a.1.0"]) == 4.0
    r = refopt.minimize(p, "levenberg-marquardt", steps=10)
    assert r.fun < 1e-12 and float(p.tree(r.x)["a"][0]) == pytest.approx(1.0)


def test_what_is_refused() -> None:
    tree, data = {"w": np.ones(2)}, (np.ones((3, 2)), np.ones(3))
    with pytest.raises(ArgumentError, match="loss: wanted 'cross-entropy', 'mse' or a function, got 'hinge'"):
        refopt.from_jax(apply, tree, data, loss="hinge")
    with pytest.raises(ArgumentTypeError, match="data: wanted a pair"):
        refopt.from_jax(apply, tree, None, loss="mse")
    with pytest.raises(ShapeError, match="as many inputs as targets"):
        refopt.from_jax(apply, tree, (np.ones((3, 2)), np.ones(4)), loss="mse")
    with pytest.raises(ArgumentTypeError, match="data belong to a network"):
        refopt.from_jax(apply, tree, data)
    with pytest.raises(ArgumentTypeError, match="belong to a function"):
        refopt.from_jax(apply, tree, data, loss="mse", n_examples=3)
    with pytest.raises(ArgumentError, match=r"would be called a\.b"):
        refopt.from_jax(lambda t: 0.0, {"a": {"b": np.ones(1)}, "a.b": np.ones(1)})
    with pytest.raises(ShapeError, match="tree: wanted the form of x0"):
        both("mse")[1].flat({"other": np.ones(2)})


def test_a_tree_as_a_start_is_told_how_it_is_flattened() -> None:
    p = refopt.from_jax(lambda q: jax.numpy.sum(q["a"]["b"] ** 2), {"a": {"b": jax.numpy.ones(2)}})
    with pytest.raises(refopt.errors.ArgumentTypeError, match=r"problem\.flat\(tree\)"):
        refopt.minimize(p, "sgd", x0={"a": {"b": jax.numpy.ones(2)}}, steps=1)
    r = refopt.minimize(p, "sgd", x0=p.flat({"a": {"b": jax.numpy.full(2, 2.0)}}), lr=0.25, steps=1)
    np.testing.assert_array_equal(p.tree(r.x)["a"]["b"], [1.0, 1.0])
