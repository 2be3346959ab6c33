"""M-FAC and EFCP: steps by the inverse of a window of gradients (Frantar et al. 2021, Modoranu et al. 2023)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.arrays import Array, eye_like, namespace
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

    def direction(self, g: Array, s: State) -> tuple[Array, State]:
        """Return the preconditioned gradient, and the new window and what else the state holds."""
        raise NotImplementedError

    def average(self, v: Array, u: Array) -> Array:
        """Return the momentum."""
        return ema(v, u, self.momentum, 1.0 - self.momentum)

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        t, flat = s["t"] + 1, joined(x)
        if s["v"].dtype != flat.dtype or s["v"].shape != flat.shape:
            raise DtypeError(
                f"s: is no state of x, which has {flat.shape[0]} entries of {flat.dtype}: got"
                f" {s['v'].shape[0]} of {s['v'].dtype}"
            )
        u, new = self.direction(joined(g) + self.coupled() * flat, s)
        v = self.average(s["v"], u)
        return parted(self.keep(t) * flat - self.rate(t) * v, x), {**s, **new, "t": t, "v": v}


def slid(g: Array, rows: Array, dots: Array, size: int) -> tuple[Array, Array]:
    """Return the window with `g` as its last row, without the oldest one if it is full, and its inner products."""
    xp = namespace(g)
    if rows.shape[0] == size:
        rows, dots = rows[1:, :], dots[1:, 1:]
    rows = xp.concat([rows, g[None, :]])
    last = rows @ g
    dots = xp.concat([dots, last[None, :-1]])
    return rows, xp.concat([dots, last[:, None]], axis=1)


@register("m-fac", source=MFAC, where="section 3.2, the dynamic algorithm",
    calm_problem=("matrix-completion", {}))  # fmt: skip
class DynamicMFAC(Windowed):
    """M-FAC: natural gradient by the exact inverse of a damped sum over the last m gradients.

    ``F = λ I + (1/m) Σ g_i g_iᵀ`` over the window, the new gradient in it; ``u = F⁻¹ g``,
    ``v ← μ v + (1 - μ) u``, ``W ← W - η v``. The sum is divided by m also while fewer gradients are there.

    Notes
    -----
    The paper's recursions give F⁻¹ times any vector. The vector here is a row of the window, so that with
    ``K_ij = g_iᵀ g_j`` the same u is ``m Gᵀ (K + m λ I)⁻¹ e_last``, without a difference of large numbers.

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

    def direction(self, g, s):
        rows, dots = slid(g, s["window"], s["dots"], self.window)
        return self.solved(rows, dots), {"window": rows, "dots": dots}

    def solved(self, rows: Array, dots: Array) -> Array:
        """Return ``F⁻¹ g`` for the window's last row g."""
        kernel = dots + self.window * self.damping * eye_like(dots)
        last = self.window * eye_like(dots)[:, -1:]
        return namespace(rows).linalg.solve(kernel, last)[:, 0] @ rows


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
        return self.momentum * v + u

    def direction(self, g, s):
        xp = namespace(g)
        whole = s["error"] + g
        k = max(1, int(self.density * g.shape[0]))
        order = xp.argsort(xp.abs(whole), descending=True)
        # The entry that comes r-th in the order has r at its place.
        c = xp.where(xp.argsort(order) < k, whole, 0.0)
        rows, dots = slid(c, s["window"], s["dots"], self.window)
        kept = {"window": rows, "dots": dots, "error": whole - c}
        return self.of_another(rows, dots, g) if self.precondition_dense else self.solved(rows, dots), kept

    def of_another(self, rows: Array, dots: Array, g: Array) -> Array:
        """Return ``F⁻¹ g`` for a g that is no row of the window (Woodbury)."""
        kernel = dots + self.window * self.damping * eye_like(dots)
        weights = namespace(g).linalg.solve(kernel, (rows @ g)[:, None])[:, 0]
        return (g - weights @ rows) / self.damping
