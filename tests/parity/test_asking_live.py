"""Libraries' methods that ask: SAM's closure and grad_fn, K-FAC on a torch module, SVRG with two closures."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import refopt

from tests.parity.test_verify_live import need
from tests.verify.test_asking import FIXED, HEAVY

pytestmark = pytest.mark.live


def kozistr(**own: Any) -> Any:
    torch = need("torch")
    return functools.partial(
        need("pytorch_optimizer").SAM, base_optimizer=torch.optim.SGD, rho=0.1, lr=0.02, momentum=0.9, **own
    )


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_of_pytorch_optimizer(adaptive: bool) -> None:
    """It agrees in both precisions; that its norm is a float32 is said, and the base's dialect is named."""
    other = kozistr(adaptive=adaptive, weight_decay=0.1)
    given = {**HEAVY, "decay": "coupled", "weight_decay": 0.1, "dialect": "davda54"}
    report = refopt.verify.compare(other, "sam", dtype="float32", **given)
    assert report.agrees and {f.profile for f in report.findings} == {"as given", "schedule"}, str(report)
    report = refopt.verify.compare(other, "sam", **given)
    assert report.agrees and "Inside it casts to float32" in str(report), str(report)
    why = refopt.verify.diagnose(other, "sam", base="momentum")
    assert why.explained_by == ("davda54", "base-torch"), str(why)


def test_sam_of_optax() -> None:
    """optax.contrib.sam in opaque mode asks through grad_fn."""
    optax, contrib = need("optax"), need("optax.contrib")
    other = contrib.sam(
        optax.sgd(0.02, momentum=0.8), optax.chain(contrib.normalize(), optax.sgd(0.1)), opaque_mode=True
    )
    given = {**HEAVY, "lr": 0.02, "momentum": 0.8}
    assert refopt.verify.compare(other, "sam", rho=0.1, **given).agrees
    assert not refopt.verify.compare(other, "sam", rho=0.11, **given).agrees


def torch_svrg(sign: float) -> Any:
    torch = need("torch")

    class SVRG(torch.optim.Optimizer):  # type: ignore[misc, name-defined]
        def __init__(self, params: Any, lr: float = 0.05, inner_steps: int = 10) -> None:
            super().__init__(params, {"lr": lr, "inner_steps": inner_steps})
            self.k = 0

        def step(self, closure: Any, full_closure: Any) -> None:
            (group,) = self.param_groups
            now, here = [p.detach().clone() for p in group["params"]], self.gradients()
            if self.k % group["inner_steps"] == 0:
                full_closure()
                self.snapshot, self.mean = now, self.gradients()
            self.write(self.snapshot)
            closure()
            there = self.gradients()
            parts = zip(now, here, there, self.mean)
            self.write([x - group["lr"] * (a + sign * (m - b)) for x, a, b, m in parts])
            self.k += 1

        def gradients(self) -> Any:
            return [p.grad.clone() for p in self.param_groups[0]["params"]]

        def write(self, values: Any) -> None:
            with torch.no_grad():
                for p, v in zip(self.param_groups[0]["params"], values):
                    p.copy_(v)

    return SVRG


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_svrg_with_two_closures(dtype: str) -> None:
    """The second closure is of all examples."""
    report = refopt.verify.compare(torch_svrg(1.0), "svrg", dtype=dtype)
    assert report.agrees and len(report.findings) == 2 * (1 + 4 + 4), str(report)
    assert not refopt.verify.compare(torch_svrg(-1.0), "svrg", dtype=dtype).agrees


def torch_kfac(model: Any, damping: float = 0.5, averaged: bool = True) -> Any:
    """K-FAC with hooks on the linear layers of a module."""
    import torch

    inputs: dict[Any, Any] = {}
    slopes: dict[Any, Any] = {}
    kept: dict[Any, Any] = {}
    linear = [m for m in model if isinstance(m, torch.nn.Linear)]

    def seen(m: Any, given: Any, out: Any) -> None:
        inputs[m] = given[0].detach()
        out.register_hook(lambda g: slopes.__setitem__(m, g.detach()))

    for m in linear:
        m.register_forward_hook(seen)
    made = [0]

    def step(loss: Any, sampled_loss: Any) -> None:
        made[0] += 1
        weight = min(1 - 1 / made[0], 0.95)
        sampled_loss().backward()
        for m in linear:
            n = len(inputs[m])
            a, g = torch.cat([inputs[m], torch.ones(n, 1)], 1), slopes[m] * (n if averaged else 1)
            new = a.T @ a / n, g.T @ g / n
            old = kept.get(m, new)
            kept[m] = tuple(weight * u + (1 - weight) * v for u, v in zip(old, new))
        model.zero_grad()
        loss().backward()
        gamma = (damping + FIXED["eta"]) ** 0.5
        with torch.no_grad():
            for m in linear:
                a, g = kept[m]
                pi = ((a.trace() / len(a)) / (g.trace() / len(g))) ** 0.5
                w = torch.cat([m.weight.grad, m.bias.grad[:, None]], 1)
                left = torch.linalg.inv(g + gamma / pi * torch.eye(len(g)))
                delta = left @ w @ torch.linalg.inv(a + gamma * pi * torch.eye(len(a)))
                m.weight -= delta[:, :-1]
                m.bias -= delta[:, -1]
        model.zero_grad()

    return step


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_kfac_on_a_module(dtype: str) -> None:
    """A K-FAC of hooks on a torch module with the problem's layers and weights."""
    need("torch")
    report = refopt.verify.compare(torch_kfac, "kfac", dtype=dtype, **FIXED)
    assert report.agrees and {"W1", "b2"} <= {f.leaf for f in report.findings}, str(report)


def test_kfac_without_the_batchs_size() -> None:
    """Output gradients of the mean loss are told from those of each example's own, and named."""
    need("torch")
    other = functools.partial(torch_kfac, averaged=False)
    assert not refopt.verify.compare(other, "kfac", **FIXED).agrees
    why = refopt.verify.diagnose(other, "kfac", **FIXED)
    assert why.explained_by == ("output-gradients-of-the-mean",), str(why)
