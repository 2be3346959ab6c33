"""The optimizers that the libraries offer, each ready to be handed to the oracle."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tests.parity.libraries import timm_optimizer

LIBRARIES = ("torch", "optax", "keras", "timm", "pytorch_optimizer")

# Public functions of optax and optax.contrib that make an optimizer are told by what they return.
OPTAX = ("optax", "optax.contrib")


# Classes that share no more than a name with what is registered under it.
NAMESAKES = {
    (
        "pytorch_optimizer",
        "ASGD",
    ): "SGD whose rate follows an estimate of the local smoothness, not averaged SGD",
}

# Classes that a gradient a step does not show.
UNSEEN = {
    (
        "keras",
        "LossScaleOptimizer",
    ): "scales the loss for half precision around another optimizer; no rule of its own",
    ("keras", "MultiOptimizer"): "hands every leaf to another optimizer by its name; no rule of its own",
    (
        "pytorch_optimizer",
        "PCGrad",
    ): "aggregates the gradients of several losses in `pc_backward`: pcgrad; its step is the base's",
    (
        "pytorch_optimizer",
        "SCIONLight",
    ): "keeps its momentum in `p.grad`, which is written anew before every step here",
    (
        "pytorch_optimizer",
        "SafeFP16Optimizer",
    ): "scales the loss for half precision around another optimizer; no rule of its own",
}


def versions() -> dict[str, str]:
    """Return the versions of what is installed."""
    out = {}
    for name in LIBRARIES:
        try:
            out[name] = version(name.replace("_", "-"))
        except PackageNotFoundError:
            continue
    return out


def classes(library: str) -> Iterator[tuple[str, Any]]:
    """Yield names and optimizers of a library, in the order of their names."""
    if library == "optax":
        yield from _optax()
        return
    home = {"torch": "torch.optim", "keras": "keras.optimizers"}.get(library, library)
    found = _timm() if library == "timm" else vars(importlib.import_module(home))
    for name in sorted(found):
        value = found[name]
        if not inspect.isclass(value) or name in ("Optimizer", "BaseOptimizer") or name.startswith("_"):
            continue
        if value.__module__.partition(".")[0] != library:
            continue
        bases = {c.__name__ for c in value.__mro__[1:]}
        if {"Optimizer", "BaseOptimizer"} & bases:
            yield name, value


def _timm() -> dict[str, Any]:
    """Return what the modules of timm.optim define; timm itself wants torchvision."""
    timm_optimizer("adamp", "AdamP")
    home = importlib.import_module("timm.optim")
    out: dict[str, Any] = {}
    for module in pkgutil.iter_modules(home.__path__):
        if not module.name.startswith("_"):
            try:
                defined = vars(importlib.import_module(f"timm.optim.{module.name}"))
            except ImportError:
                # The factory wants all of timm.
                continue
            out |= {
                k: v for k, v in defined.items() if getattr(v, "__module__", "").endswith(f".{module.name}")
            }
    return out


def _optax() -> Iterator[tuple[str, Any]]:
    seen = set()
    for home in OPTAX:
        module = importlib.import_module(home)
        for name in sorted(vars(module)):
            value = getattr(module, name)
            if not inspect.isfunction(value) or name.startswith("_") or value in seen:
                continue
            arguments = inspect.signature(value).parameters
            if "learning_rate" not in arguments or name.startswith(("scale_by", "inject")):
                continue
            annotation = str(inspect.signature(value).return_annotation)
            if "GradientTransformation" in annotation or annotation == str(inspect.Signature.empty):
                seen.add(value)
                yield f"{home}.{name}", value
