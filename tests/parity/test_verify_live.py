"""The oracle on the peers themselves: no false alarm, the right dialect, and through every adapter."""

from __future__ import annotations

import functools
import importlib
import importlib.util
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
        import os

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


def test_transport() -> None:
    """POT's Sinkhorn agrees; with its cost normalised it is recognised."""
    ot = need("ot")
    assert refopt.verify.compare(ot.sinkhorn, "sinkhorn").agrees
    why = refopt.verify.diagnose(
        lambda a, b, C, reg: ot.sinkhorn(a, b, C / C.max(), reg, stopThr=1e-13), "sinkhorn"
    )
    assert why.explained_by == ("cost-over-its-maximum",)
