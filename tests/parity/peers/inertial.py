"""inna, innaprop, cautious-adamw and nadamw beside their authors' code, torch, optax and pytorch_optimizer."""

from __future__ import annotations

from tests.parity.case import Case
from tests.parity.makers import optax_side, ours, torch_side

INNAPROP = "innaprop/innaprop@d4bef0c"
BETAS = {"beta1": 0.8, "beta2": 0.6}
PAIR = (0.8, 0.6)

CASES = [
    Case(
        "inna", "official", "camcastera/INNA-for-DeepLearning@9c10c01",
        ours("inna", dialect="official", scheduled=False, lr=0.05, power=0.3, weight_decay=0.1), None,
        says="The authors' torch code with decay, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "inna", "innaprop", INNAPROP,
        ours("inna", dialect="innaprop", lr=0.05, alpha=0.7, beta=0.3, weight_decay=0.1), None,
        says="The copy in innaprop/innaprop with decay, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "innaprop", "official", INNAPROP,
        ours("innaprop", dialect="official", lr=0.05, alpha=0.7, beta=0.3, sigma=0.6, eps=1e-2, weight_decay=0.1),
        None,
        says="The authors' code with decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "cautious-adamw", "official", "kyleliang919/C-Optim@2c0517c",
        ours("cautious-adamw", dialect="official", lr=0.03, eps=1e-2, weight_decay=0.1, **BETAS), None,
        says="The authors' code (foreach=False) with decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "nadamw", "optax", "optax",
        ours("nadamw", dialect="optax", lr=0.03, eps=1e-2, weight_decay=0.1, **BETAS),
        optax_side(lambda o, lr: o.nadamw(lr, b1=0.8, b2=0.6, eps=1e-2, weight_decay=0.1), 0.03),
        says="optax.nadamw with decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "nadamw", "torch", "torch",
        ours("nadamw", dialect="torch", lr=0.03, eps=1e-2, weight_decay=0.1, momentum_decay=0.1, **BETAS),
        torch_side(
            "NAdam", "torch.optim", lr=0.03, betas=PAIR, eps=1e-2, weight_decay=0.1, momentum_decay=0.1,
            decoupled_weight_decay=True, double=True,
        ),
        says="torch.optim.NAdam(decoupled_weight_decay=True) with a schedule, 200 steps on two streams, to 1e-12.",
    ),
]  # fmt: skip
