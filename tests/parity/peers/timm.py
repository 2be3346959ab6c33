"""timm's optimizers: its package needs torchvision at import, its optimizers do not."""

from __future__ import annotations

from typing import Any

import refopt
from refopt.core.oracle import Oracle

from tests.parity.case import Case
from tests.parity.libraries import run_torch, timm_optimizer
from tests.parity.peers.official import hessians
from tests.streams import run_refopt, schedule, stream, trajectory

KINDS = ("random", "ill")
PERIOD = 3


def _case(
    name: str,
    ours: dict[str, Any],
    module: str,
    cls: str,
    label: str = "timm",
    shapes: dict[str, Any] | None = None,
    says: str = "timm's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12.",
    **theirs: Any,
) -> Case:
    theirs = {"lr": 0.03, "weight_decay": 0.1, **theirs}
    ours = {"lr": 0.03, "weight_decay": 0.1, **ours}

    def run(seed: int) -> Any:
        import torch

        # Some of its scalar states are of the default dtype.
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return run_torch(
                lambda p: timm_optimizer(module, cls)(p, **theirs), seed, schedule, KINDS, shapes
            )
        finally:
            torch.set_default_dtype(before)

    return Case(
        name, label, "timm",
        lambda seed: run_refopt(name, seed, KINDS, shapes, dialect="timm", schedule=schedule, **ours), run,
        says=says,
    )  # fmt: skip


BETAS = {"beta1": 0.8, "beta2": 0.6, "eps": 1e-2}
ADAM = {"betas": (0.8, 0.6), "eps": 1e-2}

# The first entry of every leaf has no gradient: the leaf "still" has none at all.
STILL = {"w": (3, 4), "still": (1,), "k": (2, 3, 2, 2)}


def _handed(seed: int) -> Any:
    """timm's Adahessian, handed the second stream as the Hessian's products with the signs."""
    out = {}
    for kind in KINDS:
        products = iter(hessians(seed, kind)[::PERIOD])

        def make(p: list[Any]) -> Any:
            import torch

            class Handed(timm_optimizer("adahessian", "Adahessian")):  # type: ignore[misc]
                def set_hessian(self) -> None:
                    due = self.state[p[0]]["hessian step"] % self.update_each == 0
                    for q, h in zip(p, next(products).values() if due else p):
                        self.state[q]["hessian step"] += 1
                        if due:
                            q.hess += torch.tensor(h)

            return Handed(
                p,
                lr=0.03,
                weight_decay=0.1,
                betas=(0.8, 0.6),
                eps=1e-2,
                hessian_power=0.7,
                update_each=PERIOD,
            )

        out[kind] = run_torch(make, seed, schedule, (kind,))[kind]
    return out


class Streams:
    """Gradients and Hessian products of two streams: z ⊙ (H z) is the second, whatever the signs z."""

    def __init__(self, seed: int, kind: str) -> None:
        self.start, self.gradients = stream(seed, kind)
        self.products, self.t = hessians(seed, kind), 0

    def value(self, x: Any) -> float:
        return 0.0

    def grad(self, x: Any) -> Any:
        return self.gradients[self.t]

    def hvp(self, x: Any, z: Any) -> Any:
        return {k: h * z[k] for k, h in self.products[self.t].items()}


def _adahessian(seed: int) -> Any:
    out = {}
    for kind in KINDS:
        problem = Streams(seed, kind)
        oracle = Oracle(problem, seed)
        method = refopt.optimizer(
            "adahessian", dialect="timm", lr=0.03, weight_decay=0.1, hessian_power=0.7, update_every=PERIOD,
            schedule=schedule, **BETAS,
        )  # fmt: skip
        state = method.init(problem.start)

        def advance(x: Any, g: Any, t: int) -> Any:
            nonlocal state
            problem.t = t - 1
            oracle.begin(t)
            x, state = method.step(x, state, oracle)
            return x

        out[kind] = trajectory(advance, problem.start, problem.gradients)
    return out


CASES = [
    Case(
        "adahessian",
        "timm",
        "timm",
        _adahessian,
        _handed,
        says="timm's Adahessian handed streams of gradients and Hz, a period of 3, with decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    _case(
        "lars",
        {"lr": 0.5, "trust": 0.02, "momentum": 0.8, "dampening": 0.3},
        "lars",
        "Lars",
        shapes=STILL,
        lr=0.5,
        trust_coeff=0.02,
        momentum=0.8,
        dampening=0.3,
        says="timm's Lars with dampening, decay and a schedule, and a leaf without gradient, 200 steps on two streams, to 1e-12.",
    ),
    _case(
        "lars",
        {"momentum": 0.8, "weight_decay": 0.0},
        "lars",
        "Lars",
        "timm-plain",
        momentum=0.8,
        weight_decay=0.0,
        says="timm's Lars without decay, which adapts nothing, 200 steps on two streams, to 1e-12.",
    ),
    _case(
        "lars",
        {
            "trust": 0.02,
            "momentum": 0.8,
            "nesterov": True,
            "trust_clip": True,
            "always_adapt": True,
            "weight_decay": 0.0,
        },
        "lars",
        "Lars",
        "timm-clipped",
        STILL,
        trust_coeff=0.02,
        momentum=0.8,
        nesterov=True,
        trust_clip=True,
        always_adapt=True,
        weight_decay=0.0,
        says="timm's Lars(trust_clip, always_adapt, nesterov) without decay, 200 steps on two streams, to 1e-12.",
    ),
    _case("sgdw", {"momentum": 0.8, "dampening": 0.3}, "sgdw", "SGDW", momentum=0.8, dampening=0.3),
    _case("nadamw", {**BETAS}, "nadamw", "NAdamW", **ADAM),
    _case(
        "nadam",
        {**BETAS},
        "nadamw",
        "NAdamW",
        **ADAM,
        says="timm's NAdamW with decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    _case(
        "rmsprop",
        {"beta2": 0.8, "momentum": 0.5, "eps": 1e-2},
        "rmsprop_tf",
        "RMSpropTF",
        alpha=0.8,
        momentum=0.5,
        eps=1e-2,
    ),
    _case("novograd", {**BETAS}, "nvnovograd", "NvNovoGrad", **ADAM),
    _case(
        "madgrad",
        {"momentum": 0.8, "eps": 1e-2},
        "madgrad",
        "MADGRAD",
        momentum=0.8,
        eps=1e-2,
        decoupled_decay=True,
    ),
    _case(
        "madgrad",
        {"momentum": 0.0, "eps": 1e-2},
        "madgrad",
        "MADGRAD",
        "timm-plain",
        momentum=0.0,
        eps=1e-2,
        decoupled_decay=True,
        says="timm's MADGRAD without momentum, with decoupled decay, 200 steps on two streams, to 1e-12.",
    ),
    _case("cautious-adamw", {**BETAS}, "adamw", "AdamWLegacy", **ADAM, caution=True),
]
