"""prodigy beside its authors' code and optax."""

from __future__ import annotations

from tests.parity.case import Case
from tests.parity.makers import optax_side, ours

OFFICIAL = "konstmish/prodigy@3efb213"
COMMON = {"beta1": 0.8, "beta2": 0.6, "eps": 1e-2, "d0": 1e-3, "weight_decay": 0.1}

CASES = [
    Case("prodigy", "official", OFFICIAL, ours("prodigy", dialect="official", **COMMON), None, says="The authors' code with decay and a schedule, 200 steps on two streams, to 1e-12."),
    Case(
        "prodigy", "official-switches", OFFICIAL,
        ours(
            "prodigy", decay="coupled", bias_correction=True, growth_rate=1.05, safeguard_warmup=True,
            d_coef=0.7, **COMMON,
        ),
        None,
        says="The authors' code with bias correction, growth limit, coupled decay and warm-up guard, to 1e-12.",
    ),
    Case(
        "prodigy", "optax", "optax",
        ours("prodigy", dialect="optax", **COMMON),
        optax_side(
            lambda o, lr: o.contrib.prodigy(lr, (0.8, 0.6), eps=1e-2, estim_lr0=1e-3, weight_decay=0.1), 1.0
        ),
        says="optax.contrib.prodigy with decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
]  # fmt: skip
