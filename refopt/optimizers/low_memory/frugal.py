"""FRUGAL: AdamW in a part of the space, sign descent in the rest (Zmushko et al. 2024)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refopt.core.arrays import Array, Namespace, like, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.params import Params, leaves, rebuild
from refopt.core.registry import Source, dialect, register
from refopt.core.rng import generator
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.low_memory.subspace import SIDES, Chosen, down, leading, projected_axes, up

ZMUSHKO = Source("zmushko-2024-frugal", "P. Zmushko, A. Beznosikov, M. Takáč, S. Horváth",
    "FRUGAL: Memory-Efficient Optimization by Reducing State Overhead for Scalable Training",
    arxiv="2411.07837")  # fmt: skip
COORDINATES = ("blocks", "columns", "rows", "entries")
SUBSPACES = ("svd", "random", "permutation")
ORDERS = ("random", "ascending", "descending", "mirror")


@register("frugal", source=ZMUSHKO, where="Algorithm 1, with AdamW and signSGD")
class FRUGAL(Chosen):
    """FRUGAL: a share ρ of the space, chosen anew every T steps, has AdamW; the rest has sign descent.

    With A the part of G in the chosen coordinates or subspace and N Adam's direction for A:
    ``W ← (1 - η λ) W - η α N - η α κ sign(G - A)``. At a new choice the moments are zero and the bias corrections
    count anew. Leaves outside the group have AdamW throughout.

    Notes
    -----
    With blocks, whole leaves are chosen, ``round(ρ · number of leaves)`` of the group; one leaf alone is then
    never chosen for ρ < 1/2. Of a subspace that is the whole space nothing is left over and no sign is taken; the
    authors' code takes the signs of rounding.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("frugal", lr=0.1, density=0.5, inactive="none")
    >>> x = np.zeros((2, 4))
    >>> x, s = o.update(x, np.ones((2, 4)), o.init(x))
    >>> print(np.count_nonzero(x))
    4
    """

    slots = ("m", "v", "active")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    density: float = hyper(0.25, "[0, 1]", "ρ; rounded down for columns, rows and entries, else to nearest.")
    projection: str = hyper("columns", (*COORDINATES, *SUBSPACES),
        "What is chosen: whole leaves (blocks), random columns, rows or entries, or a subspace: of the gradient's"
        " singular vectors, random, or of random coordinates.")  # fmt: skip
    order: str = hyper("random", ORDERS,
        "Of blocks. mirror: pairs from both ends of the leaves; odd ones out are left.")  # fmt: skip
    side: str = hyper("std", SIDES, "The side that a subspace makes shorter; see galore.")
    update_every: int = hyper(200, "int [1, inf)", "T: a new choice at t = 1, T + 1, ….")
    at_refresh: str = hyper("reset", ("reset", "keep"),
        "keep: M and V stay as they are, though their coordinates change, and t counts on; blocks always reset.")  # fmt: skip
    inactive: str = hyper("sign", ("sign", "sgd", "none"), "What moves the rest: its sign, itself, nothing.")
    inactive_ratio: float = hyper(1.0, "[0, inf)", "κ.")
    scale: float = hyper(1.0, "[0, inf)", "α, for leaves of the group.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    fixed_signs: bool = hyper(False, words="True: singular vectors with signs of their own; see galore.")
    seed: int = hyper(0, "int [0, 18446744073709551615]", "Of the choices.")

    def first_slots(self, leaf, projected):
        xp = namespace(leaf)
        zeros = xp.zeros_like(leaf)
        if not projected:
            return {"m": zeros, "v": xp.zeros_like(leaf), "active": ()}
        if self.projection in COORDINATES:
            n = 0 if self.projection == "blocks" else self.count(leaf.shape)
            low = xp.zeros(n, dtype=leaf.dtype, device=leaf.device)
            return {"m": low, "v": xp.zeros_like(low), "active": (xp.arange(n, device=leaf.device),)}
        axes = projected_axes(leaf.shape, self.side)
        r = self.rank(leaf.shape, axes)
        active = tuple(xp.zeros((leaf.shape[a], r), dtype=leaf.dtype, device=leaf.device) for a in axes)
        low = down(zeros, active, axes)
        return {"m": low, "v": xp.zeros_like(low), "active": active}

    def count(self, shape: tuple[int, ...]) -> int:
        """Return how many entries of a matrix are chosen."""
        m, n = shape
        if self.projection == "entries":
            return int(m * n * self.density)
        return m * int(n * self.density) if self.projection == "columns" else n * int(m * self.density)

    def rank(self, shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
        """Return the dimension of a chosen subspace."""
        return round(min(shape[a] for a in axes) * self.density)

    def since(self, t: int) -> int:
        """Return how many steps the choice of step `t` is old, 1 where it is new."""
        return (t - 1) % self.update_every + 1

    def scalars(self, t, carried):
        n = self.since(t) if self.at_refresh == "reset" or self.projection == "blocks" else t

        def corrected(n: int) -> tuple[float, float]:
            return self.rate(t) / correction(self.beta1, n), correction(self.beta2, n) ** -0.5

        (step, root), (others, others_root) = corrected(n), corrected(t)
        return {"step": step, "root": root, "others": others, "others_root": others_root}

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def adam(g, m, v, root, eps):
            m, v = ema(m, g, self.beta1, 1.0 - self.beta1), ema(v, g * g, self.beta2, 1.0 - self.beta2)
            return m, v, m / divisor(xp.sqrt(v) * root + eps)

        def frugal(x, g, m, v, active, step, root, others, others_root, lr, eps, l2, keep):
            g = g + l2 * x
            if not active:
                m, v, u = adam(g, m, v, others_root, eps)
                return keep * x - others * u, m, v, active
            go_down, go_up = self.ways(xp, active, x.shape)
            low = go_down(g)
            m, v, u = adam(low, m, v, root, eps)
            x = keep * x - step * self.scale * go_up(u)
            if self.inactive != "none" and math.prod(low.shape) < math.prod(x.shape):
                rest = g - go_up(low)
                rest = xp.sign(rest) if self.inactive == "sign" else rest
                x = x - lr * self.scale * self.inactive_ratio * rest
            return x, m, v, active

        return frugal

    def ways(self, xp: Namespace, active: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
        """Return the ways into the chosen part of a matrix and back."""
        if self.projection in SUBSPACES:
            axes = projected_axes(shape, self.side)
            return lambda G: down(G, active, axes), lambda R: up(R, active, axes)
        (chosen,) = active
        k, n = chosen.shape[0], math.prod(shape)

        def go_down(G: Array) -> Array:
            return xp.take(xp.reshape(G, (-1,)), chosen)

        def go_up(R: Array) -> Array:
            if k == 0:
                return xp.zeros(shape, dtype=R.dtype, device=R.device)
            entries = xp.arange(n, dtype=chosen.dtype, device=chosen.device)
            order = xp.argsort(chosen)
            place = xp.searchsorted(xp.take(chosen, order), entries)
            place = xp.take(order, xp.where(place < k, place, 0))
            found = xp.take(chosen, place) == entries
            return xp.reshape(xp.where(found, xp.take(R, place), 0.0), shape)

        return go_down, go_up

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make a new choice where one is due; then one step."""
        t = s["t"] + 1
        return super()._update(x, g, self.chosen(x, g, s, t) if self.since(t) == 1 else s, donate)

    def chosen(self, x: Params, g: Params, s: State, t: int) -> State:
        """Return the state with the choice of step `t`."""
        rng = generator(self.seed, "method", t)
        points, slopes = leaves(x), leaves(g)
        slots = {slot: dict(leaves(s[slot])) for slot in self.slots}
        mine = [k for k in points if slots["active"][k]]
        whole = {mine[i] for i in self.blocks(len(mine), t, rng)} if self.projection == "blocks" else set()
        for k in mine:
            leaf = points[k]
            active = self.drawn(leaf, slopes[k] + self.coupled() * leaf, rng, k in whole)
            slots["active"][k] = active
            if self.at_refresh == "reset" or self.projection == "blocks":
                low = self.ways(namespace(leaf), active, leaf.shape)[0](leaf)
                slots["m"][k], slots["v"][k] = 0.0 * low, 0.0 * low
        return {**s, **{slot: rebuild(x, v) for slot, v in slots.items()}}

    def drawn(self, x: Array, g: Array, rng: np.random.Generator, whole: bool) -> tuple[Any, ...]:
        """Return what is chosen of one leaf: the entries' numbers, or a basis of each axis."""
        rows, columns = x.shape
        if self.projection in COORDINATES:
            entries = np.arange(rows * columns).reshape(rows, columns)
            if self.projection == "blocks":
                entries = entries if whole else entries[:0]
            elif self.projection == "columns":
                entries = entries[:, rng.permutation(columns)[: int(columns * self.density)]]
            elif self.projection == "rows":
                entries = entries[rng.permutation(rows)[: int(rows * self.density)]]
            else:
                entries = rng.permutation(rows * columns)[: self.count(x.shape)]
            xp = namespace(x)
            index = xp.arange(1, device=x.device).dtype
            return (like(entries.ravel(), x, dtype=index),)
        axes = projected_axes(x.shape, self.side)
        r = self.rank(x.shape, axes)
        if self.projection == "svd":
            return leading(g, r, axes, fixed_signs=self.fixed_signs)
        if self.projection == "random":
            return tuple(like(np.linalg.qr(rng.standard_normal((x.shape[a], r)))[0], x) for a in axes)
        return tuple(like(np.eye(x.shape[a])[:, rng.permutation(x.shape[a])[:r]], x) for a in axes)

    def blocks(self, n: int, t: int, rng: np.random.Generator) -> list[int]:
        """Return the numbers of the leaves chosen at step `t`."""
        k, turn = round(n * self.density), (t - 1) // self.update_every
        if self.order == "random":
            return [int(i) for i in rng.permutation(n)[:k]]
        if self.order == "mirror":
            pairs = [(turn * (k // 2) + i) % (n // 2) for i in range(k // 2)]
            return [*pairs, *(n - 1 - i for i in pairs)]
        ahead = [(turn * k + i) % n for i in range(k)]
        return ahead if self.order == "ascending" else [n - 1 - i for i in ahead]


dialect(FRUGAL, "official", "fzmushko/FRUGAL proj_optimizer_templates.py", weight_decay=0.01)
