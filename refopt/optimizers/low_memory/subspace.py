"""Subspaces of a matrix's rows and columns: choosing one, going down into it and back up."""

from __future__ import annotations

from typing import Any, ClassVar

from refopt.core.arrays import Array, Namespace, namespace
from refopt.core.errors import ShapeError
from refopt.core.groups import choose
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.params import Params, check_start, leaves, rebuild
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero

SIDES = ("short", "std", "reverse-std", "left", "right", "both")
AT_REFRESH = ("keep", "reset", "project")
# One matrix for each axis that is projected, of orthonormal columns; none for a leaf that is not.
Basis = tuple[Array, ...]


def projected_axes(shape: tuple[int, ...], side: str) -> tuple[int, ...]:
    """Return the axes of a matrix that a choice of `SIDES` makes shorter: 0 is the left side."""
    m, n = shape
    left = {"short": m <= n, "std": m < n, "reverse-std": m >= n, "left": True, "right": False}
    return (0, 1) if side == "both" else ((0,) if left[side] else (1,))


def down(G: Array, basis: Basis, axes: tuple[int, ...]) -> Array:
    """Return ``P^T G``, ``G Q`` or ``P^T G Q``."""
    for axis, P in zip(axes, basis):
        G = G @ P if axis else namespace(P).matrix_transpose(P) @ G
    return G


def up(R: Array, basis: Basis, axes: tuple[int, ...]) -> Array:
    """Return ``P R``, ``R Q^T`` or ``P R Q^T``."""
    for axis, P in zip(axes, basis):
        R = R @ namespace(P).matrix_transpose(P) if axis else P @ R
    return R


def leading(G: Array, rank: int, axes: tuple[int, ...], *, fixed_signs: bool = False) -> Basis:
    """Return the first `rank` singular vectors of each of `axes`."""
    xp = namespace(G)
    U, _, Vt = xp.linalg.svd(G, full_matrices=False)
    chosen = tuple((xp.matrix_transpose(Vt) if axis else U)[:, :rank] for axis in axes)
    return tuple(map(with_signs, chosen)) if fixed_signs else chosen


def with_signs(P: Array) -> Array:
    """Return P with the entry of largest magnitude of every column positive."""
    xp = namespace(P)
    top = xp.max(P, axis=0) >= xp.max(-P, axis=0)
    return xp.where(top, P, -P)


class Chosen(Decay):
    """A leaf rule that treats the matrices of a group, and gives Adam with the same settings to the rest.

    A subclass gives the `first_slots` of a leaf, by which its rule sees whether the leaf is of the group.
    """

    group: Any = hyper("matrices", words="The leaves that are projected; see `choose`. The rest has Adam.",
        kind="str, sequence of str, or callable")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`.

        Raises
        ------
        ShapeError
            A leaf of the group is no matrix.
        """
        x = check_start(x, "x")
        mine = set(choose(x, self.group))
        for k, leaf in leaves(x).items():
            if k in mine and leaf.ndim != 2:
                raise ShapeError(f"group: wanted matrices, got leaf {k!r} of shape {tuple(leaf.shape)}")
        first = {k: self.first_slots(leaf, k in mine) for k, leaf in leaves(x).items()}
        slots = {slot: rebuild(x, {k: v[slot] for k, v in first.items()}) for slot in self.active_slots()}
        return {"t": 0, **self.start_numbers(), **slots}

    def first_slots(self, leaf: Array, projected: bool) -> dict[str, Any]:
        """Return the first slots of one leaf."""
        raise NotImplementedError


class Projected(Chosen):
    """Adam for gradients that have been projected, with plain Adam for leaves that are no matrices.

    A subclass's rule calls `project` and `averaged`, then `moved`.
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "basis")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    rank: int = hyper(128, "int [1, inf)", "r; at most the shorter side is used.")
    update_every: int = hyper(200, "int [1, inf)", "T: a new subspace at t = 1, T + 1, 2T + 1, ….")
    refresh_at_multiples: bool = hyper(
        False, words="New subspaces at t = T, 2T, … besides the first; otherwise at t = 1, T + 1, …."
    )
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_corrected: bool = hyper(
        True, words="True: ε stands beside ``sqrt(V̂)``. False: beside ``sqrt(V)`` (the authors' code)."
    )
    side: str = hyper("short", SIDES,
        "Which side becomes r long: short, the left one of a matrix with m ≤ n, else the right one. std: the"
        " same, but the right one of a square matrix. reverse-std: the other one of std. both: both.")  # fmt: skip
    at_refresh: str = hyper("keep", AT_REFRESH,
        "What becomes of M and V when the subspace changes. keep: nothing, though their coordinates change."
        " reset: zero, and the bias corrections count from there. project: M goes along by ``Q_oldᵀ Q_new``,"
        " V by that matrix's squares.")  # fmt: skip
    decay_after: bool = hyper(False, words="True: decoupled decay multiplies the new W, not the old.")

    def first_slots(self, leaf: Array, projected: bool) -> dict[str, Any]:
        """Return the first slots of one leaf: zeros of their shapes."""
        xp = namespace(leaf)
        if not projected:
            return {"m": xp.zeros_like(leaf), "v": xp.zeros_like(leaf), "basis": ()}
        axes, r = projected_axes(leaf.shape, self.side), self.used_rank(leaf.shape)
        zeros = tuple(xp.zeros((leaf.shape[axis], r), dtype=leaf.dtype, device=leaf.device) for axis in axes)
        low = down(xp.zeros_like(leaf), zeros, axes)
        return {"m": low, "v": xp.zeros_like(low), "basis": zeros}

    def used_rank(self, shape: tuple[int, ...]) -> int:
        """Return the rank for a matrix of `shape`."""
        return min(self.rank, *shape)

    def since(self, t: int) -> int:
        """Return how many steps the subspace of step `t` is old: 1 at a refresh."""
        if self.refresh_at_multiples:
            return t % self.update_every + 1 if t >= self.update_every else t
        return (t - 1) % self.update_every + 1

    def scalars(self, t, carried):
        k = self.since(t)
        n = k if self.at_refresh == "reset" else t
        c1, c2 = correction(self.beta1, n), correction(self.beta2, n)
        return {
            "t": float(t),
            "due": float(k == 1),
            "step": self.rate(t) / c1,
            "root": c2**-0.5,
            "eps": self.eps if self.eps_corrected else self.eps / c2**0.5,
            "others": self.rate(t) / correction(self.beta1, t),
            "others_root": correction(self.beta2, t) ** -0.5,
        }

    def refreshed(self, g: Array, m: Array, v: Array, basis: Basis, t: float) -> tuple[Array, Array, Basis]:
        """Return the moments and the basis of a new subspace."""
        axes = projected_axes(g.shape, self.side)
        new = self.new_basis(g, axes)
        if self.at_refresh == "reset":
            m, v = 0.0 * m, 0.0 * v
        elif self.at_refresh == "project" and t > 1.0:
            xp = namespace(g)
            turns = tuple(xp.matrix_transpose(old) @ P for old, P in zip(basis, new))
            m, v = down(m, turns, axes), down(v, tuple(a * a for a in turns), axes)
        return m, v, new

    def new_basis(self, g: Array, axes: tuple[int, ...]) -> Basis:
        """Return the subspace for the gradient `g`."""
        raise NotImplementedError

    def averaged(
        self, xp: Namespace, r: Array, m: Array, v: Array, root: float, eps: float
    ) -> tuple[Array, Array, Array]:
        """Return the moments with `r`, and M over the root of V."""
        m = ema(m, r, self.beta1, 1.0 - self.beta1)
        v = ema(v, r * r, self.beta2, 1.0 - self.beta2)
        return m, v, m / nonzero(xp, eps)(xp.sqrt(v) * root + eps)

    def unprojected(
        self, xp: Namespace, x: Array, g: Array, m: Array, v: Array, root: float, eps: float, others: float,
        others_root: float, keep: float,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        """Return x and the moments of a leaf without a subspace: Adam's, which no refresh resets."""
        eps = eps if self.eps_corrected else eps * (others_root / root)
        m, v, u = self.averaged(xp, g, m, v, others_root, eps)
        return self.moved(x, others * u, keep), m, v

    def moved(self, x: Array, u: Array, keep: float) -> Array:
        """Return x less `u`, with decay."""
        return keep * (x - u) if self.decay_after else keep * x - u


class Singular(Projected):
    """`Projected` on the gradient's leading singular vectors."""

    fixed_signs: bool = hyper(False,
        words="True: every singular vector has its entry of largest magnitude positive. False: the signs"
        " of the array's library; old moments then meet new signs, and a run past the first refresh"
        " depends on the library.")  # fmt: skip

    def new_basis(self, g, axes):
        return leading(g, self.used_rank(g.shape), axes, fixed_signs=self.fixed_signs)
