"""muon beside torch, on matrices, and optax, which has a method for the rest too."""

from __future__ import annotations

import os
from typing import Any
from unittest import mock

import numpy as np
from refopt.optimizers.first_order.adamw import AdamW

from tests.parity.case import Case
from tests.parity.libraries import run_keras, run_optax, run_torch
from tests.parity.makers import Side
from tests.streams import run_refopt, schedule

MATRICES = {"tall": (5, 3), "wide": (2, 6)}
ALL = {**MATRICES, "bias": (4,), "kernel": (2, 3, 2)}
# Newton-Schulz amplifies rounding: the quintic's slope at zero is 3.44, five times over.
WHY = "five quintic steps amplify rounding in small singular directions by up to 3.4445^5 = 485"


def _torch(seed: int) -> dict[str, np.ndarray]:
    import torch

    # torch.optim.Muon casts to bfloat16 before Newton-Schulz; without the cast the rest is exact.
    cast = torch.Tensor.bfloat16
    torch.Tensor.bfloat16 = lambda self: self.clone()  # type: ignore[method-assign,assignment]
    try:
        return run_torch(
            lambda p: torch.optim.Muon(p, lr=0.03, momentum=0.9, weight_decay=0.1),
            seed,
            schedule,
            shapes=MATRICES,
        )
    finally:
        torch.Tensor.bfloat16 = cast  # type: ignore[method-assign]


def _optax(seed: int) -> dict[str, np.ndarray]:
    def make(optax: Any) -> Any:
        from optax.contrib import muon

        return muon(lambda n: 0.03 * schedule(n + 1), beta=0.9, weight_decay=0.1)

    return run_optax(make, seed, shapes=ALL)


def _keras(kind: str, **options: Any) -> Side:
    """Keras's Muon without its casts: on torch it takes norms, and the root of an integer in κ, in single precision."""

    def side(seed: int) -> dict[str, np.ndarray]:
        os.environ["KERAS_BACKEND"] = "torch"
        from keras.src import ops

        root = ops.sqrt

        def norm(x: Any, axis: Any, keepdims: bool) -> Any:
            return root(ops.sum(ops.square(x), axis=axis, keepdims=keepdims))

        with mock.patch.multiple(ops, norm=norm, sqrt=lambda x: root(ops.cast(x, "float64"))):
            return run_keras(lambda optimizers: optimizers.Muon(**options), seed, schedule, (kind,), ALL)

    return side


def _keras_dialect(kind: str, **options: Any) -> Side:
    return lambda seed: run_refopt(
        "muon", seed, (kind,), shapes=ALL, dialect="keras", schedule=schedule, **options
    )


CASES = [
    Case(
        "muon", "torch", "torch",
        lambda seed: run_refopt("muon", seed, shapes=MATRICES, dialect="torch", lr=0.03, momentum=0.9, schedule=schedule),
        _torch, rtol=1e-11, why=WHY,
        says="torch.optim.Muon with its bfloat16 cast taken out, decay and a schedule, 200 steps on four streams, to 1e-11.",
    ),
    Case(
        "muon", "optax", "optax",
        lambda seed: run_refopt(
            "muon", seed, shapes=ALL, dialect="optax", lr=0.03, momentum=0.9, weight_decay=0.1, schedule=schedule
        ),
        _optax, rtol=1e-11, why=WHY,
        says="optax.contrib.muon, matrices, bias and kernel, with decay and a schedule, 200 steps on four streams, to 1e-11.",
    ),
    Case(
        "muon", "keras", "keras",
        _keras_dialect("random", lr=0.03, momentum=0.9, weight_decay=0.1,
            others=AdamW(lr=0.03, eps=1e-2, eps_corrected=False, weight_decay=0.1, decay="decoupled", schedule=schedule)),
        # On torch, Keras 3.15 decays all leaves by weight_decay and never looks at adam_weight_decay: one value for both.
        _keras("random", learning_rate=0.03, momentum=0.9, weight_decay=0.1, epsilon=1e-2, adam_weight_decay=0.1), rtol=1e-11, why=WHY,
        says="keras.optimizers.Muon with its casts to single precision taken out, matrices, bias and kernel, decay and a schedule, 200 steps on a"
        " random stream, to 1e-11.",
    ),
    Case(
        "muon", "keras-defaults", "keras", _keras_dialect("small"), _keras("small"), rtol=1e-11, why=WHY,
        says="keras.optimizers.Muon without arguments but for a schedule and without its casts, on small gradients, where both eps show, 200"
        " steps, to 1e-11.",
    ),
]  # fmt: skip
