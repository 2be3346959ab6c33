"""Functions written in PyTorch and JAX as problems: their autodiff against exact derivatives."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError

X = np.array([0.7, -0.4, 1.1])
V = np.array([0.2, 1.0, -0.5])


def _torch() -> Any:
    torch = pytest.importorskip("torch")
    return (
        lambda x: 0.5 * torch.sum(_residual(torch, x) ** 2),
        lambda x: _residual(torch, x),
        refopt.from_torch,
    )


def _jax() -> Any:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    return lambda x: 0.5 * jnp.sum(_residual(jnp, x) ** 2), lambda x: _residual(jnp, x), refopt.from_jax


def _residual(xp: Any, x: Any) -> Any:
    return xp.stack([x[0] * x[1], xp.sin(x[2]), x[0] - x[2] ** 2])


def _jacobian(x: np.ndarray) -> np.ndarray:
    return np.array([[x[1], x[0], 0.0], [0.0, 0.0, np.cos(x[2])], [1.0, 0.0, -2 * x[2]]])


@pytest.mark.parametrize("library", [_torch, _jax])
def test_derivatives(library: Any) -> None:
    """Gradient, HVP, jvp and vjp agree with the written-out Jacobian, in NumPy."""
    fun, residual, make = library()
    p = make(fun, X, residual=residual)
    j, r = _jacobian(X), _residual(np, X)
    assert isinstance(p.grad(X), np.ndarray)
    np.testing.assert_allclose(float(p.value(X)), 0.5 * r @ r, rtol=1e-14)
    np.testing.assert_allclose(p.grad(X), j.T @ r, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(p.jvp(X, V), j @ V, rtol=1e-13)
    np.testing.assert_allclose(p.vjp(X, V), j.T @ V, rtol=1e-13)
    h = 1e-5
    difference = (p.grad(X + h * V) - p.grad(X - h * V)) / (2 * h)
    np.testing.assert_allclose(p.hvp(X, V), difference, rtol=1e-8)
    assert refopt.get("derivative-check")(p, X).passed


@pytest.mark.parametrize("library", [_torch, _jax])
def test_runs(library: Any) -> None:
    """First-order, Hessian-product and least-squares methods run on them."""
    fun, residual, make = library()
    p = make(fun, X, residual=residual)
    for method, steps in (("adam", 50), ("adahessian", 50), ("levenberg-marquardt", 20)):
        r = refopt.minimize(p, method, steps=steps)
        assert r.success
        assert r.fun < float(p.value(X))


def test_torch_run_stays_in_torch() -> None:
    """A run that starts from tensors is in tensors."""
    torch = pytest.importorskip("torch")
    p = refopt.from_torch(lambda x: torch.sum((x["a"] - 1) ** 2) + torch.sum(x["b"] ** 4))
    x0 = {"a": torch.zeros(3), "b": torch.ones(2)}
    r = refopt.minimize(p, "adam", x0, lr=0.1, steps=200)
    assert all(isinstance(v, torch.Tensor) and v.dtype == torch.float32 for v in r.x.values())
    assert r.fun < 1e-2


@pytest.mark.parametrize("library", [_torch, _jax])
def test_batches(library: Any) -> None:
    """A finite sum is given its batch."""
    make = library()[2]
    data = np.arange(6.0)
    if make is refopt.from_jax:
        import jax.numpy as xp

        def fun(x: Any, batch: Any) -> Any:
            return 0.5 * xp.mean((x - (xp.asarray(data) if batch is None else xp.asarray(data)[batch])) ** 2)
    else:
        import torch

        def fun(x: Any, batch: Any) -> Any:
            d = torch.as_tensor(data)
            return 0.5 * torch.mean((x - (d if batch is None else d[torch.as_tensor(batch)])) ** 2)

    p = make(fun, np.zeros(1), n_examples=6)
    np.testing.assert_allclose(p.grad(np.zeros(1), batch=np.array([4])), [-4.0])
    r = refopt.minimize(p, "sgd", lr=0.5, steps=60, batch_size=6)
    np.testing.assert_allclose(r.x, 2.5, rtol=1e-9)


@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed; make parity runs this"
)
def test_jax_in_float32_does_not_round_in_silence() -> None:
    """float64 parameters while JAX is set to float32 are an error."""
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        p = refopt.from_jax(lambda x: jax.numpy.sum(x**2))
        with pytest.raises(ArgumentError, match="jax_enable_x64"):
            refopt.minimize(p, "sgd", np.ones(2), steps=1)
        r = refopt.minimize(p, "sgd", np.ones(2, dtype="float32"), lr=0.1, steps=3)
        assert r.x.dtype == np.float32
    finally:
        jax.config.update("jax_enable_x64", before)
