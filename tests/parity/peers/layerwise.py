"""lion, lars and lamb beside optax and pytorch_optimizer."""

from __future__ import annotations

from tests.parity.case import Case
from tests.parity.makers import optax_side, ours, torch_side
from tests.parity.peers.beyond_adam import case, timm

CASES = [
    Case(
        "lion", "optax", "optax",
        ours("lion", dialect="optax", lr=0.03, beta1=0.8, beta2=0.6, weight_decay=0.1),
        optax_side(lambda o, lr: o.lion(lr, b1=0.8, b2=0.6, weight_decay=0.1), 0.03),
        says="optax.lion with decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "lion", "kozistr", "pytorch-optimizer",
        ours("lion", dialect="kozistr", lr=0.03, beta1=0.6, beta2=0.8, weight_decay=0.1),
        torch_side("Lion", lr=0.03, betas=(0.6, 0.8), weight_decay=0.1),
        says="pytorch_optimizer.Lion with decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "lars", "optax", "optax",
        ours("lars", dialect="optax", lr=0.5, trust=0.02, momentum=0.8, weight_decay=0.1),
        optax_side(
            lambda o, lr: o.lars(lr, trust_coefficient=0.02, momentum=0.8, weight_decay=0.1), 0.5
        ),
        says="optax.lars with decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "lars", "kozistr", "pytorch-optimizer",
        ours("lars", dialect="kozistr", lr=0.03, trust=0.02, momentum=0.8, weight_decay=0.1),
        torch_side("LARS", lr=0.03, trust_coefficient=0.02, momentum=0.8, weight_decay=0.1),
        says="pytorch_optimizer.LARS with decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "lamb", "optax", "optax",
        ours("lamb", dialect="optax", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, weight_decay=0.1),
        optax_side(lambda o, lr: o.lamb(lr, b1=0.8, b2=0.6, eps=1e-2, weight_decay=0.1), 0.03),
        says="optax.lamb with decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "lamb", "kozistr", "pytorch-optimizer",
        ours(
            "lamb", dialect="kozistr", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, weight_decay=0.1,
            largest_size=10.0,
        ),
        torch_side("Lamb", lr=0.03, betas=(0.8, 0.6), eps=1e-2, weight_decay=0.1),
        says="pytorch_optimizer.Lamb (clamped sizes, eps in the ratio, decay outside), 200 steps on two streams, to 1e-12.",
    ),
    case("lamb", "timm", timm("lamb", "Lamb", lr=0.03, betas=(0.8, 0.6), eps=1e-2, weight_decay=0.1, max_grad_norm=None),
        "timm's Lamb without its clipping, with decay", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, weight_decay=0.1),
    case("lamb", "timm-plain", timm("lamb", "Lamb", lr=0.03, betas=(0.8, 0.6), eps=1e-2, weight_decay=0.0, max_grad_norm=None),
        "timm's Lamb without its clipping and without decay, which does not adapt", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, weight_decay=0.0),
]  # fmt: skip
