"""M-FAC and EFCP: steps by the inverse of a window of gradients (Frantar et al. 2021, Modoranu et al. 2023)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refopt.core.arrays import Array, eye_like, namespace, put
from refopt.core.errors import DtypeError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.params import Params, check_start, leaves
from refopt.core.registry import Source, dialect, register
from refopt.curvature.gradients import MFAC
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.vectors import joined, parted

MODORANU_EFCP = Source("modoranu-2023-error", "I.-V. Modoranu, A. Kalinov, E. Kurtic, E. Frantar, D. Alistarh",
    "Error Feedback Can Accurately Compress Preconditioners", arxiv="2306.06098")  # fmt: skip


class Windowed(Decay):
    """A step by what the last gradients, as rows of a matrix, say: a subclass gives `direction`."""

    one_vector = True
    slots: ClassVar[tuple[str, ...]] = ("window", "dots", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    momentum: float = hyper(0.0, "[0, 1)", "μ.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; the window grows row by row."""
        x = check_start(x, "x")
        flat = joined(x)
        if any(leaf.dtype != flat.dtype for leaf in leaves(x).values()):
            raise DtypeError(
                f"x: {self.registered_name} takes all leaves as one vector, so they must be of one dtype"
            )
        xp = namespace(flat)
        rows = xp.zeros((0, flat.shape[0]), dtype=flat.dtype, device=flat.device)
        dots = xp.zeros((0, 0), dtype=flat.dtype, device=flat.device)
        return {"t": 0, "window": rows, "dots": dots, "v": xp.zeros_like(flat)}

    def direction(self, g: Array, s: State, donate: bool) -> tuple[Array, State]:
        """Return the preconditioned gradient, and the new window and what else the state holds.

        Parameters
        ----------
        g : array
        s : state
        donate : bool
            Its window may be written over.
        """
        raise NotImplementedError

    def average(self, v: Array, u: Array) -> Array:
        """Return the momentum."""
        return ema(v, u, self.momentum, 1.0 - self.momentum) if self.momentum else u

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        t, flat = s["t"] + 1, joined(x)
        if s["v"].dtype != flat.dtype or s["v"].shape != flat.shape:
            raise DtypeError(
                f"s: is no state of x, which has {flat.shape[0]} entries of {flat.dtype}: got"
                f" {s['v'].shape[0]} of {s['v'].dtype}"
            )
        g, coupled, keep = joined(g), self.coupled(), self.keep(t)
        # Of a million parameters and more a pass that changes nothing is not free.
        u, new = self.direction(g + coupled * flat if coupled else g, s, donate)
        v = self.average(s["v"], u)
        return parted((keep * flat if keep != 1.0 else flat) - self.rate(t) * v, x), {
            **s,
            **new,
            "t": t,
            "v": v,
        }


def slid(g: Array, rows: Array, dots: Array, size: int) -> tuple[Array, Array]:
    """Return the window with `g` as its last row, without the oldest one if it is full, and its inner products."""
    xp = namespace(g)
    if rows.shape[0] == size:
        rows, dots = rows[1:, :], dots[1:, 1:]
    rows = xp.concat([rows, g[None, :]])
    last = rows @ g
    dots = xp.concat([dots, last[None, :-1]])
    return rows, xp.concat([dots, last[:, None]], axis=1)


def turned(g: Array, s: State, size: int, donate: bool) -> tuple[int, State]:
    """Return the row of `g` in the window, and the parts of the state with it: in the oldest row's place if the window is full.

    The rows are then in no order of time, and nothing but one row is written where the state is donated.
    """
    rows, dots, i = s["window"], s["dots"], s["oldest"]
    if rows.shape[0] < size:
        rows, dots = slid(g, rows, dots, size)
        return rows.shape[0] - 1, {"window": rows, "dots": dots, "oldest": 0}
    xp = namespace(g)
    if not (donate and type(rows) is np.ndarray and rows.flags.writeable):
        rows = xp.asarray(rows, copy=True)
    rows = put(rows, (i, slice(None)), g)
    line = rows @ g
    dots = put(put(xp.asarray(dots, copy=True), (i, slice(None)), line), (slice(None), i), line)
    return i, {"window": rows, "dots": dots, "oldest": (i + 1) % size}


@register("m-fac", source=MFAC, where="section 3.2, the dynamic algorithm",
    calm_problem=("matrix-completion", {}))  # fmt: skip
class DynamicMFAC(Windowed):
    """M-FAC: natural gradient by the exact inverse of a damped sum over the last m gradients.

    ``F = λ I + (1/m) Σ g_i g_iᵀ`` over the window, the new gradient in it; ``u = F⁻¹ g``,
    ``v ← μ v + (1 - μ) u``, ``W ← W - η v``. The sum is divided by m also while fewer gradients are there.

    Notes
    -----
    The paper's recursions give F⁻¹ times any vector. The vector here is a row of the window, so that with
    ``K_ij = g_iᵀ g_j`` the same u is ``m Gᵀ (K + m λ I)⁻¹ e_i``, i being g's row, without a difference of large numbers. A full
    window is copied in every step, unless the state is donated (``update(..., donate=True)``): one row is then written.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("m-fac", lr=1.0, window=1, damping=1.0)
    >>> x, s = o.update(np.zeros(1), np.array([2.0]), o.init(np.zeros(1)))
    >>> print(x)
    [-0.4]
    """

    window: int = hyper(1024, "int [1, inf)", "m.")
    damping: float = hyper(1e-5, "(0, inf)", "λ.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; ``"oldest"`` is the row of a full window that the next gradient takes."""
        return {**super().init(x), "oldest": 0}

    def active_slots(self) -> tuple[str, ...]:
        """Return the names that a state must have."""
        return (*super().active_slots(), "oldest")

    def direction(self, g, s, donate):
        i, kept = turned(g, s, self.window, donate)
        return self.solved(kept["window"], kept["dots"], i), kept

    def solved(self, rows: Array, dots: Array, i: int) -> Array:
        """Return ``F⁻¹ g`` for the window's row g at `i`."""
        kernel = dots + self.window * self.damping * eye_like(dots)
        own = self.window * eye_like(dots)[:, i : i + 1]
        return namespace(rows).linalg.solve(kernel, own)[:, 0] @ rows


dialect(DynamicMFAC, "official", "IST-DASLab/M-FAC optim.py", "decay is coupled", decay="coupled")


@register(
    "efcp", kind="wrapper", source=MODORANU_EFCP, where="Algorithm 1, with Top-k and M-FAC", also=(MFAC,)
)
class EFCP(DynamicMFAC):
    """EFCP: M-FAC on sparse gradients, with what was left out fed back.

    ``a = ξ + g``, c holds the k entries of a of largest magnitude, ``ξ ← a - c``. M-FAC's window is of c and so
    is the step: ``u = F⁻¹ c``, ``v ← μ v + u``, ``W ← W - η v``. From ξ = 0.

    Notes
    -----
    Top-k is over all leaves at once. The sparse rows are held dense here: the numbers are the same, the memory is
    M-FAC's. The paper's low-rank compression is not here.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("efcp", lr=1.0, window=1, damping=1.0, density=0.5)
    >>> x, s = o.update(np.zeros(2), np.array([2.0, 1.0]), o.init(np.zeros(2)))
    >>> print(x + 0.0, s["error"])
    [-0.4  0. ] [0. 1.]
    """

    slots = ("window", "dots", "v", "error")
    density: float = hyper(0.01, "(0, 1]", "k over the number of entries, rounded down; k is at least 1.")
    precondition_dense: bool = hyper(False, words="True: the step is ``F⁻¹ g``, of the gradient as it came.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        s = super().init(x)
        return {**s, "error": namespace(s["v"]).zeros_like(s["v"])}

    def average(self, v, u):
        return self.momentum * v + u if self.momentum else u

    def direction(self, g, s, donate):
        xp = namespace(g)
        whole = s["error"] + g
        k = max(1, int(self.density * g.shape[0]))
        order = xp.argsort(xp.abs(whole), descending=True)
        # The entry that comes r-th in the order has r at its place.
        c = xp.where(xp.argsort(order) < k, whole, 0.0)
        i, kept = turned(c, s, self.window, donate)
        rows, dots, kept = kept["window"], kept["dots"], {**kept, "error": whole - c}
        return self.of_another(rows, dots, g) if self.precondition_dense else self.solved(rows, dots, i), kept

    def of_another(self, rows: Array, dots: Array, g: Array) -> Array:
        """Return ``F⁻¹ g`` for a g that is no row of the window (Woodbury)."""
        kernel = dots + self.window * self.damping * eye_like(dots)
        weights = namespace(g).linalg.solve(kernel, (rows @ g)[:, None])[:, 0]
        return (g - weights @ rows) / self.damping
