"""Optimizers that torch, optax, timm and pytorch_optimizer offer, beside those libraries."""

from __future__ import annotations

from typing import Any

from tests.parity.case import Case
from tests.parity.makers import optax_side, ours, torch_side
from tests.parity.peers.timm import _case as timm

PAIR = (0.6, 0.7)
BETAS = {"beta1": 0.6, "beta2": 0.7}
RATE = {"lr": 0.03, "eps": 1e-2}
DECAY = {"weight_decay": 0.1}


def kozistr(
    name: str, cls: str, mine: dict[str, Any], theirs: dict[str, Any], label: str = "kozistr", says: str = ""
) -> Case:
    """pytorch_optimizer's class beside the dialect of that name."""
    return Case(
        name, label, "pytorch-optimizer",
        ours(name, dialect="kozistr", **RATE, **DECAY, **mine),
        torch_side(cls, double=True, **RATE, **DECAY, **theirs),
        says=says or f"pytorch_optimizer.{cls} with low betas, large eps, decay and a schedule, 200 steps on two streams, to 1e-12.",
    )  # fmt: skip


def optax(name: str, make: Any, mine: dict[str, Any], says: str) -> Case:
    """optax's alias beside the dialect of that name."""
    return Case(
        name,
        "optax",
        "optax",
        ours(name, dialect="optax", lr=0.03, **mine),
        optax_side(make, 0.03),
        says=says,
    )


def official(name: str, peer: str, what: str, **mine: Any) -> Case:
    """The authors' code, recorded, beside their dialect."""
    says = f"The authors' {what} with decay and a schedule, 200 steps on two streams, to 1e-12."
    return Case(name, "official", peer, ours(name, dialect="official", lr=0.03, **mine), None, says=says)


CASES = [
    official("adabelief", "juntang-zhuang/Adabelief-Optimizer@2855178", "AdaBelief 0.2.0, rectified and decoupled,", eps=1e-2,
        beta1=0.6, beta2=0.9, **DECAY),
    official("adopt", "iShohei220/adopt@6468572", "ADOPT, coupled,", eps=1e-2, **BETAS, **DECAY),
    official("laprop", "Z-T-WANG/LaProp-Optimizer@a419916", "LaProp, its decay apart from the rate,", eps=1e-2, weight_decay=0.01,
        **BETAS),
    official("qhm", "facebookresearch/qhoptim@e81dea3", "QHM, coupled,", beta=0.6, nu=0.4, **DECAY),
    official("qhadam", "facebookresearch/qhoptim@e81dea3", "QHAdam, coupled,", eps=1e-2, nu1=0.4, nu2=0.3, **BETAS, **DECAY),
    optax("adabelief", lambda optax, rate: optax.adabelief(rate, 0.6, 0.7, eps=1e-2, eps_root=1e-3),
        {"eps": 1e-2, "eps_added": 1e-3, **BETAS},
        "optax.adabelief with low betas, two large eps and a schedule, 200 steps on two streams, to 1e-12."),
    Case("adabelief", "optax-defaults", "optax", ours("adabelief", kinds=("small",), dialect="optax", lr=0.03),
        optax_side(lambda optax, rate: optax.adabelief(rate), 0.03, kinds=("small",)),
        says="optax.adabelief without arguments but for a rate, on small gradients, where its two eps show, 200 steps, to 1e-12."),
    kozistr("adabelief", "AdaBelief", BETAS, {"betas": PAIR}),
    timm("adabelief", {"beta1": 0.6, "beta2": 0.9, "eps": 1e-2}, "adabelief", "AdaBelief", betas=(0.6, 0.9), eps=1e-2,
        says="timm's AdaBelief, rectified, with low betas, large eps, decay and a schedule, 200 steps on two streams, to 1e-12."),
    optax("radam", lambda optax, rate: optax.radam(rate, 0.6, 0.9, eps=1e-2), {"eps": 1e-2, "beta1": 0.6, "beta2": 0.9},
        "optax.radam with low betas, large eps and a schedule, 200 steps on two streams, to 1e-12."),
    Case("radam", "torch", "torch", ours("radam", dialect="torch", beta1=0.6, beta2=0.9, **RATE, **DECAY),
        torch_side("RAdam", "torch.optim", double=True, betas=(0.6, 0.9), **RATE, **DECAY),
        says="torch.optim.RAdam with low betas, large eps, coupled decay and a schedule, 200 steps on two streams, to 1e-12."),
    kozistr("radam", "RAdam", {"beta1": 0.6, "beta2": 0.9}, {"betas": (0.6, 0.9)},
        says="pytorch_optimizer.RAdam, which stands still before rectification, with decay and a schedule, 200 steps on two streams, to 1e-12."),
    optax("yogi", lambda optax, rate: optax.yogi(rate, 0.6, 0.7, eps=1e-2), {"eps": 1e-2, **BETAS},
        "optax.yogi with low betas, large eps and a schedule, 200 steps on two streams, to 1e-12."),
    Case("sign-sgd", "optax", "optax", ours("sign-sgd", dialect="optax", lr=0.03), optax_side(lambda optax, rate: optax.sign_sgd(rate), 0.03),
        says="optax.sign_sgd under a schedule, 200 steps on two streams, to 1e-12."),
    optax("signum", lambda optax, rate: optax.signum(rate, 0.6), {"beta": 0.6},
        "optax.signum under a schedule, 200 steps on two streams, to 1e-12."),
    Case("signum", "kozistr", "pytorch-optimizer", ours("signum", dialect="kozistr", lr=0.03, beta=0.6, weight_decay=0.1),
        torch_side("SignSGD", double=True, lr=0.03, momentum=0.6, weight_decay=0.1),
        says="pytorch_optimizer.SignSGD with decoupled decay and a schedule, 200 steps on two streams, to 1e-12."),
    kozistr("yogi", "Yogi", {**BETAS, "initial": 0.3, "initial_momentum": 0.3}, {"betas": PAIR, "initial_accumulator": 0.3}),
    optax("adopt", lambda optax, rate: optax.contrib.adopt(rate, 0.6, 0.7, eps=1e-2), {"eps": 1e-2, **BETAS},
        "optax.contrib.adopt with low betas, large eps and a schedule, 200 steps on two streams, to 1e-12."),
    kozistr("adopt", "ADOPT", BETAS, {"betas": PAIR}),
    timm("adopt", {**BETAS, "eps": 1e-2}, "adopt", "Adopt", betas=PAIR, eps=1e-2,
        says="timm's Adopt with low betas, large eps, coupled decay and a schedule, 200 steps on two streams, to 1e-12."),
    kozistr("laprop", "LaProp", BETAS, {"betas": PAIR, "foreach": False}),
    timm("laprop", {**BETAS, "eps": 1e-2}, "laprop", "LaProp", betas=PAIR, eps=1e-2,
        says="timm's LaProp with low betas, large eps, decay and a schedule, 200 steps on two streams, to 1e-12."),
    Case("qhm", "kozistr", "pytorch-optimizer", ours("qhm", dialect="kozistr", lr=0.03, beta=0.6, nu=0.4, weight_decay=0.1),
        torch_side("QHM", double=True, lr=0.03, momentum=0.6, nu=0.4, weight_decay=0.1),
        says="pytorch_optimizer.QHM with coupled decay and a schedule, 200 steps on two streams, to 1e-12."),
    Case("qhadam", "kozistr", "pytorch-optimizer",
        ours("qhadam", dialect="kozistr", **RATE, **DECAY, **BETAS, nu1=0.4, nu2=0.3),
        torch_side("QHAdam", double=True, betas=PAIR, nus=(0.4, 0.3), **RATE, **DECAY), rtol=3e-8,
        why="its weights of the averages are in single precision, whose rounding is 6e-8",
        says="pytorch_optimizer.QHAdam, whose weights are in single precision, 200 steps on two streams, to 3e-8 (measured 4e-9)."),
]  # fmt: skip
