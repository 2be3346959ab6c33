"""SAM's kin and OrthoGrad beside their authors' codes, recorded."""

from __future__ import annotations

import refopt

from tests.parity.case import Case
from tests.parity.makers import ours
from tests.parity.peers.authors import Side, _on_quartic
from tests.streams import schedule

SAYS = "over torch's SGD with momentum and decay under a schedule, 40 steps on a quartic of three leaves, to 1e-12."


def _base() -> object:
    return refopt.optimizer(
        "momentum", dialect="torch", lr=0.02, momentum=0.8, weight_decay=0.1, schedule=schedule
    )


def _side(name: str, **options: object) -> Side:
    return lambda seed: _on_quartic(name, dialect="official", base=_base(), **options)(seed)


CASES = [
    Case("asam", "official", "SamsungLabs/ASAM@f156a68", _side("asam", rho=0.3, eta=0.05, weights=["kernel", "matrix"]), None,
        says=f"The authors' ASAM, two leaves weights and one not, {SAYS}"),
    Case("friendly-sam", "official", "nblt/F-SAM@2e2f989", _side("friendly-sam", rho=0.1, sigma=0.7, average=0.6), None,
        says=f"The authors' FriendlySAM with σ = 0.7 {SAYS}"),
    Case("gsam", "official", "juntang-zhuang/GSAM@a770275", _side("gsam", rho=0.1, alpha=0.3), None,
        says=f"The authors' GSAM with a constant ρ {SAYS}"),
    Case("orthograd", "official", "LucasPrietoAl/grokking-at-the-edge-of-numerical-stability@0cc9e8d",
        lambda seed: ours("orthograd", dialect="official", base=_base(), scheduled=False)(seed), None,
        says="The authors' OrthoGrad over torch's SGD with momentum and decay under a schedule, 200 steps on two streams, to 1e-12."),
]  # fmt: skip
