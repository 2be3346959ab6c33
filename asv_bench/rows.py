"""The rows of the table of ratios: what is measured, beside what, and what it must reach."""

from __future__ import annotations

from dataclasses import dataclass

from asv_bench.side_by_side import Place

SIZES = (10**3, 10**5, 10**7)
AT_MOST = {"float64": (0.3, 0.9, 1.0), "float32": (0.3, 1.0, 1.2)}
COPY_AT_MOST = 1.3
# The peer of each: torch's fused kernels where torch has them.
PEERS = {
    "adam": "torch:fused",
    "adamw": "torch:fused",
    "lion": "kozistr",
    "adan": "kozistr",
    "ademamix": "kozistr",
}
TITLES = {
    "torch:fused": "torch fused",
    "torch:foreach": "torch foreach",
    "torch:single": "torch single",
    "torch:bfloat16": "torch, Newton-Schulz in bfloat16",
    "torch:own-dtype": "torch, in float32",
    "kozistr": "pytorch_optimizer",
    "optax": "optax, jit",
}
# What is said of ours beside the method, its size and dtype.
FORMS = {"refopt": "", "refopt:torch-bfloat16": ", torch in bfloat16"}


@dataclass(frozen=True)
class Row:
    """One ratio.

    Attributes
    ----------
    group : str
    ours, theirs : (library, key)
    at_most : float or None
        The target; None for information.
    bound : float
        The peer's seconds are multiplied by it: arrays moved over the two that a copy moves.
    """

    group: str
    ours: Place
    theirs: Place
    at_most: float | None = None
    bound: float = 1.0

    @property
    def title(self) -> str:
        what = f"{self.ours[1].replace('/', ' ')}{FORMS[self.ours[0]]}"
        return f"{what} / " + (
            f"bound by {self.theirs[1].split('/')[0]}" if self.bound != 1.0 else TITLES[self.theirs[0]]
        )


def moved(method: str) -> int:
    """Return how often a step must read or write an array like x: x, the slots (both ways), the gradient."""
    from refopt.core.registry import entry

    return 2 * (1 + len(entry(method).obj.slots)) + 1


def elementwise(sizes: tuple[int, ...] = SIZES) -> list[Row]:
    """The five methods of the target, by size and dtype."""
    return [
        Row("elementwise", ("refopt", key), (peer, key), AT_MOST[dtype][SIZES.index(n)])
        for name, peer in PEERS.items()
        for dtype in AT_MOST
        for n in sizes
        for key in [f"{name}/{n}/{dtype}"]
    ]


def copies() -> list[Row]:
    """The same against the bytes they must move over the rate of a copy, and of a negation in place."""
    return [
        Row("copy bound", ("refopt", f"{name}/{SIZES[-1]}/{dtype}"), ("refopt", f"{how}/{SIZES[-1]}/{dtype}"),
            COPY_AT_MOST, moved(name) / 2)
        for how in ("copy", "negate")
        for name in PEERS
        for dtype in AT_MOST
    ]  # fmt: skip


def leaves() -> list[Row]:
    """Two hundred leaves are one call."""
    key = "adam/200*1000/float32"
    return [
        Row("200 leaves", ("refopt", key), (peer, key)) for peer in ("torch:fused", "torch:foreach", "optax")
    ]


def others() -> list[Row]:
    """Other forms and libraries, for information."""
    keys = [f"adam/{n}/float32" for n in SIZES]
    return [
        Row("other forms", ("refopt", key), (peer, key))
        for peer in ("torch:single", "torch:foreach", "optax")
        for key in keys
    ]


def matrix(n: int = 1024) -> list[Row]:
    """Methods on matrices, in float32.

    Torch's and pytorch_optimizer's Muon cast to bfloat16 before Newton-Schulz. Equal work is compared: float32
    with theirs where the cast is taken out, and theirs as shipped with refopt on torch tensors with the
    same cast. NumPy, which has no bfloat16, beside theirs as shipped is for information.
    """
    muon, shampoo, soap = (f"{name}/{n}x{n}/float32" for name in ("muon", "shampoo", "soap"))
    shipped = ("torch:bfloat16", "kozistr")
    return [
        Row("matrix", ("refopt", muon), ("torch:own-dtype", muon), 1.0),
        *(Row("matrix", ("refopt:torch-bfloat16", muon), (peer, muon), 1.0) for peer in shipped),
        *(Row("matrix", ("refopt", muon), (peer, muon)) for peer in shipped),
        Row("matrix", ("refopt", shampoo), ("kozistr", shampoo), 1.0),
        Row("matrix", ("refopt", soap), ("kozistr", soap), 1.0),
    ]


GROUPS = {
    "elementwise": elementwise, "copy": copies, "leaves": leaves, "matrix": matrix, "others": others,
}  # fmt: skip
