"""LoRA-RITE: both factors of a low-rank product preconditioned so that the product does not see how it is factored (Yen et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from refopt.core import arrays
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from refopt.core.groups import pick
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, Method, State
from refopt.core.params import Params, check_start, leaves, rebuild
from refopt.core.registry import Source, dialect, register
from refopt.matrix.common import eigh, from_eigen
from refopt.optimizers.common.averages import ema
from refopt.optimizers.first_order.adamw import AdamW
from refopt.optimizers.second_order.shampoo import square_zeros

YEN = Source("yen-2024-lora", "J.-N. Yen, S. Si, Z. Meng, F. Yu, S. S. Duvvuri, I. S. Dhillon, C.-J. Hsieh, S. Kumar",
    "LoRA Done RITE: Robust Invariant Transformation Equilibration for LoRA Optimization", arxiv="2410.20625")  # fmt: skip


def corrected(beta: float, t: int) -> float:
    """Return the weight of the past that makes an average's bias correction part of its weights."""
    return beta * (1.0 - beta ** (t - 1)) / (1.0 - beta**t)


def root_mean_square(u: Array) -> float:
    """Return the root of the mean square of all entries."""
    return arrays.norm(u) / math.sqrt(math.prod(u.shape))


@register("lora-rite", source=YEN, where="the algorithm LoRA-RITE")
class LoRARITE(GradientMethod):
    """LoRA-RITE: matrix Adam on gradients from which the other factor's size is taken, in its basis.

    For a pair of A (r x n) and B (m x r) of the product B A, and ``A^T = Q_A R_A``, ``B = Q_B R_B`` (QR): ``Ū_A = ∇A^T R_B^+``,
    ``Ū_B = ∇B R_A^+``. With ``Π = Q_B^T Q_B'``, Q' of the step before, for A: ``V ← β2' Π V Π^T + (1 - β2') Ū^T Ū / n``,
    ``D = Ū V^{-1/2}``, ``M ← β1' M Π^T + (1 - β1') D``, ``A^T ← A^T - η (M R_B^{+T} + λ A^T)``, and for B the same with Q_A and R_A. The roots are
    ``Σ v_i v_i^T / (sqrt(λ_i) + ε)``; β' contain the bias correction, ``β' = β (1 - β^{t-1}) / (1 - β^t)``.

    Notes
    -----
    If another run has T A and B T^{-1}, with an invertible T, both have the same products B A for ever, but for ε, clipping and decay. A
    factor of zeros, as LoRA begins with, gives the other no step. The authors' code clips and skips by default
    (``dialect="official"``); its capping of M and its balancing of the factors' norms, both off by default, are not here.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError
        `pairs` names a leaf that there is not, or one twice; A's rows are not as many as B's columns.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> x = {"A": np.array([[2.0, 0.0]]), "B": np.array([[1.0], [0.0], [0.0]])}
    >>> o = refopt.optimizer("lora-rite", lr=0.1, pairs=[("A", "B")])
    >>> y, s = o.update(x, x, o.init(x))
    >>> print(y["A"].round(4), y["B"][:, 0].round(4))  # steps over the other's size
    [[1.8586 0.    ]] [0.9134 0.     0.    ]
    """

    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-6, "[0, inf)", "ε.")
    eps_squared_inside: bool = hyper(False, words="True: ``sqrt(λ_i + ε²) + ε``.")
    pairs: Any = hyper(None,
        words="Pairs (A, B) of leaves by name. None: matrices in their order, each with the next one whose columns are as many as"
        " its rows.", kind="sequence of pairs of str")  # fmt: skip
    clip: float = hyper(math.inf, "(0, inf]", "All Ū are scaled so that the norm of all is at most this.")
    skip: float = hyper(math.inf, "(0, inf]", "A Ū whose root mean square is above this counts as zero.")
    escape: bool = hyper(False,
        words="True: to V's eigenvalues is added an average of what they lost when the basis turned, ``ρ ← β2' (ρ + min(max_i (λ_i - λ_i'),"
        " tr V - tr V'))``, with V' turned and both terms at least 0.")  # fmt: skip
    weight_decay: float = hyper(0.0, "[0, inf)", "λ.")
    others: Any = hyper(AdamW(lr=1e-3, decay="decoupled"),
        words="For leaves that are in no pair; default AdamW at the same rate.", kind="Method")  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.others, Method):
            raise ArgumentTypeError(f"others: wanted a Method, got {self.others!r}")

    def paired(self, x: Params) -> list[tuple[str, str]]:
        """Return the pairs of leaves."""
        known = leaves(x)
        if self.pairs is not None:
            try:
                found = [(str(a), str(b)) for a, b in self.pairs]
            except (TypeError, ValueError):
                raise ArgumentTypeError(f"pairs: wanted pairs of names, got {self.pairs!r}") from None
            flat = [name for pair in found for name in pair]
            if not set(flat) <= known.keys() or len(set(flat)) != len(flat):
                raise ArgumentError(f"pairs: wanted each of {', '.join(known)} at most once, got {found}")
        else:
            found, free = [], [k for k, v in known.items() if v.ndim == 2]
            while len(free) > 1:
                a, b = free[:2]
                fits = known[a].shape[0] == known[b].shape[1]
                found += [(a, b)] if fits else []
                free = free[2 if fits else 1 :]
        for a, b in found:
            if known[a].ndim != 2 or known[b].ndim != 2 or known[a].shape[0] != known[b].shape[1]:
                shapes = tuple(known[a].shape), tuple(known[b].shape)
                raise ShapeError(
                    f"pairs: wanted A of shape (r, n) and B of (m, r), got {a!r}, {b!r} of {shapes[0]}, {shapes[1]}"
                )
        return found

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        x = check_start(x, "x")
        pairs = self.paired(x)
        s: dict[str, Any] = {"t": 0, "m": {}, "v": {}, "basis": {}, "rho": {}}
        for pair in pairs:
            views = self.views(x, pair)
            # Of a factor with fewer rows than columns the basis has so many columns, and the other one's averages.
            ranks = [min(leaf.shape) for leaf in views]
            for name, leaf, own, other in zip(pair, views, ranks, reversed(ranks)):
                s["m"][name], s["v"][name] = 0.0 * leaf[:, :other], square_zeros(leaf, other)
                s["basis"][name], s["rho"][name] = 0.0 * leaf[:, :own], 0.0
        rest = self.rest(x, pairs)
        return {**s, "others": self.others.init(pick(x, rest))} if rest else s

    def views(self, x: Params, pair: tuple[str, str]) -> tuple[Array, Array]:
        """Return A^T and B."""
        a, b = (leaves(x)[name] for name in pair)
        return namespace(a).matrix_transpose(a), b

    def rest(self, x: Params, pairs: list[tuple[str, str]]) -> list[str]:
        """Return the leaves that are in no pair."""
        taken = {name for pair in pairs for name in pair}
        return [k for k in leaves(x) if k not in taken]

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step: pair by pair, the other method for the rest."""
        t, pairs, moved = s["t"] + 1, self.paired(x), dict(leaves(x))
        new: dict[str, Any] = {"t": t, "m": {}, "v": {}, "basis": {}, "rho": {}}
        seen = {pair: self.unmagnified(x, g, pair) for pair in pairs}
        total = math.hypot(*(arrays.norm(u) for us, _, _ in seen.values() for u in us)) if pairs else 0.0
        scale = self.clip / total if total > self.clip else 1.0
        for pair, (us, bases, inverses) in seen.items():
            for i, (name, leaf) in enumerate(zip(pair, self.views(x, pair))):
                other = pair[1 - i]
                turn = namespace(leaf).matrix_transpose(bases[1 - i]) @ s["basis"][other]
                step, kept = self.direction(
                    scale * us[i], turn, {k: s[k][name] for k in ("m", "v", "rho")}, t
                )
                u = step @ namespace(leaf).matrix_transpose(inverses[1 - i]) + self.weight_decay * leaf
                leaf = leaf - self.rate(t) * u
                moved[name] = namespace(leaf).matrix_transpose(leaf) if i == 0 else leaf
                for k, v in kept.items():
                    new[k][name] = v
                new["basis"][name] = bases[i]
        rest = self.rest(x, pairs)
        if rest:
            others, new["others"] = self.others.update(
                pick(x, rest), pick(g, rest), s["others"], donate=donate
            )
            moved |= leaves(others)
        return rebuild(x, {k: moved[k] for k in leaves(x)}), new

    def unmagnified(
        self, x: Params, g: Params, pair: tuple[str, str]
    ) -> tuple[list[Array], list[Array], list[Array]]:
        """Return both Ū, both Q and the pseudo-inverses of both R."""
        xp = namespace(leaves(x)[pair[0]])
        bases, inverses = [], []
        for leaf in self.views(x, pair):
            Q, R = xp.linalg.qr(leaf)
            bases.append(Q)
            inverses.append(xp.linalg.pinv(R))
        us = [h @ inverse for h, inverse in zip(self.views(g, pair), reversed(inverses))]
        return [u if root_mean_square(u) <= self.skip else 0.0 * u for u in us], bases, inverses

    def direction(self, u: Array, turn: Array, s: Mapping[str, Any], t: int) -> tuple[Array, dict[str, Any]]:
        """Return M, and the new averages of one factor."""
        xp = namespace(u)
        b1, b2 = corrected(self.beta1, t), corrected(self.beta2, t)
        back = xp.matrix_transpose(turn)
        turned, rho = turn @ s["v"] @ back, s["rho"]
        if self.escape:
            rho = b2 * (rho + lost(s["v"], turned))
        V = ema(turned, xp.matrix_transpose(u) @ u / u.shape[0], b2, 1.0 - b2)
        values, vectors = eigh((V + xp.matrix_transpose(V)) / 2.0)
        inside = self.eps**2 if self.eps_squared_inside else 0.0
        below = xp.sqrt(xp.clip(values, min=0.0) + rho + inside) + self.eps
        root = from_eigen(vectors, xp.where(below > 0.0, 1.0 / xp.where(below > 0.0, below, 1.0), 0.0))
        m = ema(s["m"] @ back, u @ root, b1, 1.0 - b1)
        return m, {"m": m, "v": V, "rho": rho}


def lost(old: Array, new: Array) -> float:
    """Return what an average lost when it was turned: the least of the trace's loss and of the eigenvalues' largest."""
    xp = namespace(old)
    by_value = float(xp.max(eigh(old)[0] - eigh((new + xp.matrix_transpose(new)) / 2.0)[0]))
    by_trace = float(xp.sum(xp.linalg.diagonal(old - new)))
    return min(max(by_value, 0.0), max(by_trace, 0.0))


dialect(
    LoRARITE,
    "official",
    "gkevinyen5418/LoRA-RITE lora_rite.py",
    "takes leaves in pairs, A first",
    clip=1.0,
    skip=1.0,
)
dialect(LoRARITE, "kozistr", "pytorch_optimizer 4.1 LoRARite", "takes leaves in pairs, A first", clip=1.0, skip=1.0,
    eps_squared_inside=True)  # fmt: skip
