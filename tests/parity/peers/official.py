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


def _fadam(version: str, commit: str, says: str, **kwargs: Any) -> Case:
    # An eps that shows, and gradients far below it.
    side = ours("fadam", dialect=version, kinds=(*TWO, "small"), lr=0.03, weight_decay=0.1, **BETAS, **kwargs)
    return Case("fadam", version, f"{FADAM}@{commit}", side, None, says=says)


def _cautious(label: str, peer: str, says: str, **kwargs: Any) -> Case:
    side = ours("cautious-adamw", **COMMON, **BETAS, **kwargs)
    return Case("cautious-adamw", label, peer, side, None, says=says)


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
        says="The authors' adam.lua, over tables in place of Torch's tensors, low betas, large eps, decay and schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "sgdw", "official", "loshchil/AdamW-and-SGDW@0ae5185",
        _side("sgdw", "official", lr=0.03, momentum=0.8, dampening=0.3, weight_decay=0.02), None,
        says="The authors' sgd.lua, over tables in place of Torch's tensors, with dampening, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case("lion", "official", "google/automl@6a54c87", _side("lion", "official", lr=0.03, weight_decay=0.1, **BETAS), None, says="The authors' torch code with decay and a schedule, 200 steps on two streams, to 1e-12."),
    Case("lamb", "official", "google-research/albert@b772393", _side("lamb", "official", **COMMON, **BETAS), None, says="ALBERT's LAMBOptimizer by one of the authors, its slots in float64, with decay and a schedule, 200 steps on two streams, to 1e-12."),
    Case(
        "novograd", "jasper", "NVIDIA/DeepLearningExamples@729963d",
        _jasper, None,
        says="The authors' Jasper code with averaged gradients, large eps, decay and a schedule, 200 steps on two streams and on one where a leaf has no gradient at first, to 1e-12.",
    ),
    Case(
        "inna", "tensorflow", "camcastera/INNA-for-DeepLearning@9c10c01",
        _side("inna", "tensorflow", scheduled=False, lr=0.05, alpha=0.7, beta=0.3, first_velocity=2.0), None,
        says="The authors' TensorFlow code in float64, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "nadam", "official", "tdozat/Optimization@702c7ac",
        _side("nadam", "official", scheduled=False, lr=0.03, eps=1e-2, **BETAS), None,
        says="The author's code, over NumPy in place of TensorFlow's operations, with low betas and large eps, 200 steps on two streams, to 1e-12.",
    ),
    _cautious("first", f"{OPTIM}@fcfc4b7", dialect="first", says="The authors' first code with decay and a schedule, 200 steps on two streams, to 1e-12."),
    _cautious("second", f"{OPTIM}@3106e07", dialect="first", decay_after=False, says="The authors' second code (the same mask, decay before the step), 200 steps on two streams, to 1e-12."),
    _cautious("levanter", "marin-community/levanter@9263f81", dialect="levanter", says="levanter's scale_by_cautious, its mask's mean in float64, with decay and a schedule, 200 steps on two streams, to 1e-12."),
    _fadam("v1", "ff03471", eps=1e-2, says="The port's state of the paper's first version, its F kept as in a later state, in float64 with decay and a schedule, 200 steps on three streams, to 1e-12."),
    _fadam("v2", "7e8dd2a", eps=1e-2, eps_gradient=0.5, says="The port's state of the paper's second version, its F kept as in a later state, in float64 with decay and a schedule, 200 steps on three streams, to 1e-12."),
    _fadam("v3", "93666b5", eps=1e-2, says="The port's state of the paper's third version in float64 with decay and a schedule, 200 steps on three streams, to 1e-12."),
    Case("muon", "moonlight", "MoonshotAI/Moonlight@c2ad5b2", _moonlight, None, rtol=1e-11, why=WHY, says="Moonlight's Muon with its bfloat16 cast taken out and its AdamW, two matrices and a vector, 200 steps on two streams with decay and a schedule, to 1e-11."),
    Case(
        "randomly-scaled-sgdm", "authors", "ZQZCalin/jaxoptimizers@badf728",
        _side("randomly-scaled-sgdm", "authors", lr=0.003, beta=0.8, mu=2.0), None,
        says="An author's online_nonconvex(ogd_mirror_descent) handed the same s, under a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case("sophia", "official", "Liuhong99/Sophia@a7e1572", _sophia, None, says="The authors' SophiaG handed streams of gradients and of gradients under drawn labels, a period of 10, with decay and a schedule, 200 steps on three streams, to 1e-12."),
    Case("sam", "official", "google-research/sam@dae9904", _sam, None, says="The authors' train_step around a gradient step, with decay in the loss and a schedule, 200 steps on a nonlinear function and on an ill-conditioned one, to 1e-12."),
]  # fmt: skip
