"""soap beside its authors' code."""

from __future__ import annotations

from tests.parity.case import Case
from tests.parity.makers import ours

# Square leaves: the Gram matrices of one gradient are then regular and their eigenvectors unique.
SQUARE = {"w": (4, 4), "b": (5,)}

CASES = [
    Case(
        "soap", "official", "nikhilvyas/SOAP@a1e5535",
        ours(
            "soap", dialect="official", kinds=("random",), shapes=SQUARE, lr=0.03, beta1=0.8, beta2=0.9,
            eps=1e-2, weight_decay=0.1, update_every=10,
        ),
        None,
        says="The authors' code in float64 on square matrices and vectors with decay, 200 steps and 20 refreshes, to 1e-12.",
    ),
]  # fmt: skip
