"""The oracle on the peers themselves: no false alarm, the right dialect, and through every adapter."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import subprocess
import sys
from typing import Any

import pytest
import refopt

pytestmark = pytest.mark.live

TORCH = {
    "Adam": ("adam", {}), "AdamW": ("adamw", {}), "Adamax": ("adamax", {}), "NAdam": ("nadam", {}),
    "Adagrad": ("adagrad", {}), "Adadelta": ("adadelta", {}), "RMSprop": ("rmsprop", {}),
    "SGD": ("nesterov", {"momentum": 0.9, "nesterov": True}),
}  # fmt: skip
OPTAX = ("adam", "adamw", "adamax", "adagrad", "amsgrad", "nadam", "rmsprop", "lion", "novograd", "lars")
KERAS = {"Adam": "adam", "AdamW": "adamw", "Nadam": "nadam", "RMSprop": "rmsprop", "Lion": "lion"}


def need(library: str) -> Any:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed; make parity runs this")
    if library == "keras":
        os.environ["KERAS_BACKEND"] = "torch"
    return importlib.import_module(library)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cls", TORCH)
def test_torch(cls: str, dtype: str) -> None:
    """Classes of torch.optim agree with their dialect in both precisions, instances too."""
    optim = need("torch").optim
    name, own = TORCH[cls]
    report = refopt.verify.compare(
        functools.partial(getattr(optim, cls), **own), name, dialect="torch", dtype=dtype, steps=30
    )
    assert report.agrees, str(report)


@pytest.mark.parametrize("cls", TORCH)
def test_torch_is_recognised(cls: str) -> None:
    """`diagnose` finds the dialect, or the paper's form where they are one."""
    optim = need("torch").optim
    name, own = TORCH[cls]
    why = refopt.verify.diagnose(functools.partial(getattr(optim, cls), **own), name, steps=16)
    assert ("torch",) in (why.explained_by, *why.also), str(why)


@pytest.mark.parametrize("name", OPTAX)
def test_optax(name: str) -> None:
    """optax's transformations agree with their dialect."""
    optax = need("optax")
    report = refopt.verify.compare(getattr(optax, name), name, dialect="optax", steps=20)
    assert report.agrees, str(report)


@pytest.mark.parametrize("cls", KERAS)
def test_keras(cls: str) -> None:
    """Keras's optimizers agree with their dialect."""
    keras = need("keras")
    report = refopt.verify.compare(getattr(keras.optimizers, cls), KERAS[cls], dialect="keras", steps=20)
    assert report.agrees, str(report)


def test_instances_and_factories() -> None:
    """An instance's settings are read from it; a function of the parameters and a transformation are run."""
    torch, optax = need("torch"), need("optax")
    p = [torch.nn.Parameter(torch.ones(2))]
    made = torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.9), weight_decay=0.1)
    report = refopt.verify.compare(made, "adam", dialect="torch", steps=20)
    assert report.agrees, str(report)
    assert report.hyperparameters["lr"] == 0.02 and report.hyperparameters["beta2"] == 0.9
    assert p[0].detach().tolist() == [1.0, 1.0] and not made.state
    assert refopt.verify.compare(
        lambda ps: torch.optim.SGD(ps, lr=0.1), "sgd", dialect="torch", steps=20
    ).agrees
    assert refopt.verify.compare(optax.adam(1e-3), "adam", dialect="optax", lr=1e-3, steps=20).agrees
    assert not refopt.verify.compare(optax.adam(1e-3), "adam", dialect="optax", lr=2e-3, steps=20).agrees


def test_curvature() -> None:
    """pytorch_optimizer's AdaHessian differentiates, and the reference gets its probes."""
    po = need("pytorch_optimizer")
    report = refopt.verify.compare(po.AdaHessian, "adahessian", dialect="kozistr", steps=20)
    assert report.agrees, str(report)
    assert refopt.verify.compare(po.SophiaH, "sophia", dialect="kozistr", steps=20).agrees


def test_casts_to_half_precision_are_taken_out() -> None:
    """torch's Muon agrees, with a note on the cast of its Newton-Schulz iteration; afterwards casts work again."""
    torch = need("torch")
    report = refopt.verify.compare(
        torch.optim.Muon, "muon", dialect="torch", steps=20, shapes={"wide": (4, 6), "tall": (6, 3)}
    )
    assert report.agrees, str(report)
    assert "casts to bfloat16" in str(report)
    assert torch.ones(1).bfloat16().dtype == torch.ones(1).to(torch.bfloat16).dtype == torch.bfloat16


def test_casts_to_single_precision_are_taken_out() -> None:
    """In a float64 run alone; masks become float64 and are no such cast; in a float32 run nothing is noted."""
    torch = need("torch")

    class Masked(torch.optim.Optimizer):  # type: ignore[misc]
        """SGD on the entries that are not zero, computed in single precision."""

        def __init__(self, params: Any, lr: float = 0.1, cast: bool = True) -> None:
            super().__init__(params, {"lr": lr, "cast": cast})

        @torch.no_grad()
        def step(self) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    mask = (p.grad != 0).float() * (p.grad != 0).to(torch.float32)
                    g = p.grad.float() if group["cast"] else p.grad
                    p.sub_(group["lr"] * (mask * g).to(p.dtype))

    report = refopt.verify.compare(Masked, "sgd", steps=10)
    assert report.agrees, str(report)
    assert "casts to float32" in str(report)
    for quiet in (
        refopt.verify.compare(functools.partial(Masked, cast=False), "sgd", steps=10),
        refopt.verify.compare(Masked, "sgd", steps=10, dtype="float32"),
    ):
        assert quiet.agrees and "casts to" not in str(quiet), str(quiet)
    assert torch.ones(1, dtype=torch.float64).float().dtype == torch.float32


def test_gradients_of_a_hessian_run_can_be_detached_in_place() -> None:
    """As the authors' AdaHessian does; a view of the graph's cannot be."""
    torch = need("torch")

    class Detaching(torch.optim.Optimizer):  # type: ignore[misc]
        """AdaHessian of the paper without decay."""

        def __init__(self, params: Any, lr: float = 0.1) -> None:
            super().__init__(params, {"lr": lr})

        def step(self) -> None:
            (group,) = self.param_groups
            ps = group["params"]
            zs = [torch.randint(0, 2, p.shape).to(p.dtype) * 2 - 1 for p in ps]
            hs = torch.autograd.grad([p.grad for p in ps], ps, grad_outputs=zs)
            with torch.no_grad():
                for p, z, h in zip(ps, zs, hs):
                    p.sub_(group["lr"] * p.grad.detach_() / (1.0 + (z * h) ** 2))

    assert not refopt.verify.compare(Detaching, "adahessian", steps=3).agrees


def test_keras_on_jax() -> None:
    """A backend that computes in single precision unless it is told."""
    need("keras")
    need("jax")
    code = (
        "import keras, refopt; assert keras.config.backend() == 'jax'\n"
        "report = refopt.verify.compare(keras.optimizers.AdamW, 'adamw', dialect='keras', steps=10)\n"
        "assert report.agrees, str(report)"
    )
    env = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, env=env)


def test_transport() -> None:
    """POT's Sinkhorn agrees; with its cost normalised it is recognised."""
    ot = need("ot")
    assert refopt.verify.compare(ot.sinkhorn, "sinkhorn").agrees
    why = refopt.verify.diagnose(
        lambda a, b, C, reg: ot.sinkhorn(a, b, C / C.max(), reg, stopThr=1e-13), "sinkhorn"
    )
    assert why.explained_by == ("cost-over-its-maximum",)
