"""Methods beside their authors' code: runs that were recorded from the repositories named in each case.

The code was run in float64: defaults of float32 and casts to bfloat16 were replaced, nothing else. Where it
asks for a Hessian or for sampled labels, it was handed the second stream of `hessians`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import refopt

from tests.parity.case import Arrays, Case
from tests.parity.makers import TWO, Side, ours
from tests.parity.peers.authors import Quartic
from tests.streams import KEPT, STEPS, Leaves, flat, schedule, stream, trajectory

BETAS = {"beta1": 0.8, "beta2": 0.6}
COMMON = {"lr": 0.03, "eps": 1e-2, "weight_decay": 0.1}
MATRICES = {"tall": (5, 3), "wide": (2, 6), "bias": (4,)}
FADAM = "lessw2020/FAdam_PyTorch"
OPTIM = "kyleliang919/C-Optim"
BATCH, PERIOD = 4, 10


def hessians(seed: int, kind: str) -> list[Leaves]:
    """A second stream: gradients under labels that were drawn from a model, or diagonals."""
    return stream(seed + 1000, kind)[1]


def late(seed: int) -> tuple[Leaves, list[Leaves]]:
    """The random stream, but one leaf has no gradient in the first five steps."""
    x, gradients = stream(seed, "random")
    return x, [g if t >= 5 else {**g, "b": 0.0 * g["b"]} for t, g in enumerate(gradients)]


def _jasper(seed: int) -> Arrays:
    kwargs: dict[str, Any] = {"dialect": "jasper", "grad_averaging": True, **COMMON, **BETAS}
    method = refopt.optimizer("novograd", schedule=schedule, **kwargs)
    x, gradients = late(seed)
    state = method.init(x)

    def advance(x: Leaves, g: Leaves, t: int) -> Leaves:
        nonlocal state
        x, state = method.update(x, g, state)
        return x

    return {**ours("novograd", **kwargs)(seed), "late": trajectory(advance, x, gradients)}


def _fadam(version: str, commit: str, **kwargs: Any) -> Case:
    # An eps that shows, and gradients far below it.
    side = ours("fadam", dialect=version, kinds=(*TWO, "small"), lr=0.03, weight_decay=0.1, **BETAS, **kwargs)
    return Case("fadam", version, f"{FADAM}@{commit}", side, None)


def _cautious(label: str, peer: str, **kwargs: Any) -> Case:
    side = ours("cautious-adamw", **COMMON, **BETAS, **kwargs)
    return Case("cautious-adamw", label, peer, side, None)


def _moonlight(seed: int) -> Arrays:
    others = refopt.optimizer(
        "adamw", decay="decoupled", eps_corrected=False, schedule=schedule, **COMMON, **BETAS
    )
    side = ours(
        "muon", shapes=MATRICES, dialect="moonlight", lr=0.03, momentum=0.9, weight_decay=0.1, others=others
    )
    return side(seed)


def tiny(seed: int, kind: str) -> tuple[Leaves, list[Leaves], list[Leaves]]:
    """Start, gradients and second stream; of the kind "tiny", they are so small that Sophia's eps shows."""
    x, gradients = stream(seed, "random" if kind == "tiny" else kind)
    second = hessians(seed, "random" if kind == "tiny" else kind)
    if kind != "tiny":
        return x, gradients, second
    scaled = [{k: 1e-15 * v for k, v in g.items()} for g in gradients]
    return x, scaled, [{k: 3e-8 * v for k, v in g.items()} for g in second]


def _sophia(seed: int) -> Arrays:
    out = {}
    method: Any = refopt.optimizer(
        "sophia", dialect="official", lr=0.03, gamma=0.2, weight_decay=0.1, update_every=PERIOD,
        schedule=schedule, **BETAS,
    )  # fmt: skip
    for kind in (*TWO, "tiny"):
        x, gradients, drawn = tiny(seed, kind)
        state = method.init(x)

        def advance(x: Leaves, g: Leaves, t: int) -> Leaves:
            nonlocal state
            # The refresh at the end of a step is the one at the beginning of the next.
            h = {k: BATCH * v * v for k, v in drawn[max(t - 2, 0)].items()}
            x, state = method.advance(x, (g, h), state)
            return x

        out[kind] = trajectory(advance, x, gradients)
    return out


class Badly(Quartic):
    """The quartic with its coordinates scaled from 0.03 to 30."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        n = self.a.shape[0]
        d = 10.0 ** np.random.default_rng([seed, 8]).uniform(-1.5, 1.5, n)
        self.a = self.a * np.outer(d, d) / 30 + np.diag(d * d)

    def grad(self, x: Any) -> dict[str, np.ndarray]:
        return self.split(self.a @ self.join(x))


# The authors' decay is a term of the loss.
DECAY = 0.1
SAM = {"random": (Quartic, 0.02, 0.1), "ill": (Badly, 1e-3, 0.05)}


def _sam(seed: int) -> Arrays:
    out = {}
    for kind, (problem, lr, rho) in SAM.items():
        p = problem(seed)
        p.a = p.a + DECAY * np.eye(p.a.shape[0])
        base = refopt.optimizer("sgd", dialect="torch", lr=lr, schedule=schedule)
        method: Any = refopt.optimizer("sam", dialect="official", base=base, rho=rho)
        oracle = refopt.core.oracle.Oracle(p, seed)
        x, rows = p.start, []
        state = method.init(x)
        for t in range(1, STEPS + 1):
            oracle.begin(t)
            x, state = method.step(x, state, oracle)
            if t in KEPT:
                rows.append(flat(x))
        out[kind] = np.stack(rows)
    return out


WHY = "five quintic steps amplify rounding in small singular directions by up to 3.4445^5 = 485"


def _side(name: str, dialect: str, **kwargs: Any) -> Side:
    return ours(name, dialect=dialect, **kwargs)


CASES = [
    Case(
        "adamw", "official", "loshchil/AdamW-and-SGDW@0ae5185",
        _side("adamw", "official", lr=0.03, eps=1e-2, weight_decay=0.02, **BETAS), None,
    ),
    Case(
        "sgdw", "official", "loshchil/AdamW-and-SGDW@0ae5185",
        _side("sgdw", "official", lr=0.03, momentum=0.8, dampening=0.3, weight_decay=0.02), None,
    ),
    Case("lion", "official", "google/automl@6a54c87", _side("lion", "official", lr=0.03, weight_decay=0.1, **BETAS), None),
    Case("lamb", "official", "google-research/albert@b772393", _side("lamb", "official", **COMMON, **BETAS), None),
    Case(
        "novograd", "jasper", "NVIDIA/DeepLearningExamples@729963d",
        _jasper, None,
    ),
    Case(
        "inna", "tensorflow", "camcastera/INNA-for-DeepLearning@9c10c01",
        _side("inna", "tensorflow", scheduled=False, lr=0.05, alpha=0.7, beta=0.3, first_velocity=2.0), None,
    ),
    Case(
        "nadam", "official", "tdozat/Optimization@702c7ac",
        _side("nadam", "official", scheduled=False, lr=0.03, eps=1e-2, **BETAS), None,
    ),
    _cautious("first", f"{OPTIM}@fcfc4b7", dialect="first"),
    _cautious("second", f"{OPTIM}@3106e07", dialect="first", decay_after=False),
    _cautious("levanter", "marin-community/levanter@9263f81", dialect="levanter"),
    _fadam("v1", "ff03471", eps=1e-2),
    _fadam("v2", "7e8dd2a", eps=1e-2, eps_gradient=0.5),
    _fadam("v3", "93666b5", eps=1e-2),
    Case("muon", "moonlight", "MoonshotAI/Moonlight@c2ad5b2", _moonlight, None, rtol=1e-11, why=WHY),
    Case(
        "randomly-scaled-sgdm", "authors", "ZQZCalin/jaxoptimizers@badf728",
        _side("randomly-scaled-sgdm", "authors", lr=0.003, beta=0.8, mu=2.0), None,
    ),
    Case("sophia", "official", "Liuhong99/Sophia@a7e1572", _sophia, None),
    Case("sam", "official", "google-research/sam@dae9904", _sam, None),
]  # fmt: skip
