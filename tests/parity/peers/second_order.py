"""adahessian and sam beside pytorch_optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator, rademacher

from tests.parity.case import Case

N = 6
PERIOD = 3


def _matrix(seed: int) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((N, N))
    return (a + a.T) / 2


class Quartic:
    """f(x) = xᵀ A x / 2 + sum x⁴ / 4: indefinite, with a Hessian that moves."""

    def __init__(self, seed: int) -> None:
        self.a = _matrix(seed)

    def value(self, x: np.ndarray) -> float:
        return 0.5 * x @ self.a @ x + np.sum(x**4) / 4

    def grad(self, x: np.ndarray) -> np.ndarray:
        return self.a @ x + x**3

    def hvp(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return self.a @ v + 3 * x**2 * v


def _start(seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 1]).standard_normal(N)


def _ours(name: str, seed: int, steps: int, **kwargs: Any) -> dict[str, np.ndarray]:
    x, oracle = _start(seed), Oracle(Quartic(seed), seed)
    method = refopt.optimizer(name, **kwargs)
    s, rows = method.init(x), []
    for t in range(1, steps + 1):
        oracle.begin(t)
        x, s = method.step(x, s, oracle)
        rows.append(x)
    return {"x": np.stack(rows)}


ADAHESSIAN = {"lr": 0.05, "eps": 1e-2, "weight_decay": 0.1}


def _kozistr_adahessian(seed: int) -> dict[str, np.ndarray]:
    import torch
    from pytorch_optimizer import AdaHessian

    problem, rows = Quartic(seed), []
    p = torch.nn.Parameter(torch.tensor(_start(seed)))
    o = AdaHessian([p], betas=(0.8, 0.6), hessian_power=0.7, update_period=PERIOD, **ADAHESSIAN)
    for t in range(1, 41):
        x = p.detach().numpy().copy()
        p.grad = torch.tensor(problem.grad(x))
        hessian = None
        if (t - 1) % PERIOD == 0:
            z = rademacher(generator(seed, "method", t), x)
            hessian = [torch.tensor(z * problem.hvp(x, z))]
        o.step(hessian=hessian)
        rows.append(p.detach().numpy().copy())
    return {"x": np.stack(rows)}


def _kozistr_sam(adaptive: bool, seed: int) -> dict[str, np.ndarray]:
    """pytorch_optimizer's SAM with its cast of the gradient's norm to float32 taken out."""
    import torch

    cast = torch.Tensor.float
    torch.Tensor.float = lambda t: t  # type: ignore[method-assign]
    try:
        return _kozistr_sam_as_is(adaptive, seed)
    finally:
        torch.Tensor.float = cast  # type: ignore[method-assign]


def _kozistr_sam_as_is(adaptive: bool, seed: int) -> dict[str, np.ndarray]:
    import torch
    from pytorch_optimizer import SAM

    problem, rows = Quartic(seed), []
    p = torch.nn.Parameter(torch.tensor(_start(seed)))
    o = SAM([p], torch.optim.SGD, rho=0.1, adaptive=adaptive, lr=0.02, momentum=0.8, weight_decay=0.1)

    def gradient() -> None:
        p.grad = torch.tensor(problem.grad(p.detach().numpy().copy()))

    for _ in range(40):
        gradient()
        o.first_step(zero_grad=True)
        gradient()
        o.second_step(zero_grad=True)
        rows.append(p.detach().numpy().copy())
    return {"x": np.stack(rows)}


def _optax_sam(seed: int) -> dict[str, np.ndarray]:
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import optax
    from optax.contrib import normalize, sam

    problem, x, rows = Quartic(seed), jnp.asarray(_start(seed)), []
    a = jnp.asarray(problem.a)
    o = sam(optax.sgd(0.02, momentum=0.8), optax.chain(normalize(), optax.sgd(0.1)), opaque_mode=True)
    state = o.init(x)

    def gradient(x: Any, _: int = 0) -> Any:
        return a @ x + x**3

    for _ in range(60):
        change, state = o.update(gradient(x), state, x, grad_fn=gradient)
        x = optax.apply_updates(x, change)
        rows.append(np.asarray(x))
    return {"x": np.stack(rows)}


def _our_plain_sam(seed: int) -> dict[str, np.ndarray]:
    return _ours("sam", seed, 60, base="momentum", rho=0.1, lr=0.02, momentum=0.8)


def _our_sam(adaptive: bool, seed: int) -> dict[str, np.ndarray]:
    base = refopt.optimizer("momentum", dialect="torch", lr=0.02, momentum=0.8, weight_decay=0.1)
    return _ours("sam", seed, 40, dialect="davda54", base=base, rho=0.1, adaptive=adaptive)


CASES = [
    Case(
        "adahessian", "kozistr", "pytorch-optimizer",
        lambda seed: _ours(
            "adahessian", seed, 40, dialect="kozistr", beta1=0.8, beta2=0.6, hessian_power=0.7, update_every=PERIOD,
            **ADAHESSIAN,
        ),
        _kozistr_adahessian,
        says="pytorch_optimizer.AdaHessian handed the same Hz, 40 steps with decay and stale Hessians, to 1e-12.",
    ),
    Case("sam", "optax", "optax", _our_plain_sam, _optax_sam, says="optax.contrib.sam around momentum, 60 steps on a nonlinear function, to 1e-12."),
    Case(
        "sam", "kozistr-adaptive", "pytorch-optimizer", lambda s: _our_sam(True, s), lambda s: _kozistr_sam(True, s),
        says="pytorch_optimizer.SAM(adaptive=True) around torch's SGD, its norm in float64, 40 steps, to 1e-12.",
    ),
]  # fmt: skip
