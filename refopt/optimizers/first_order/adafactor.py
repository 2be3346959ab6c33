"""Adafactor (Shazeer and Stern 2018)."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import DECAYS, Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.factored import clipped_rms, outer, rms, row_and_column

SHAZEER = Source("shazeer-2018-adafactor", "N. Shazeer, M. Stern",
    "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", arxiv="1804.04235")  # fmt: skip


@register("adafactor", source=SHAZEER, where="Algorithms 4 and 5, with the hyperparameters of Algorithm 6")
class Adafactor(Decay):
    """Adafactor: of the squared gradients only row and column means are kept, and steps are relative to x.

    ``β̂_t = 1 - t^{-0.8}``, ``R_t = β̂_t R_{t-1} + (1 - β̂_t) mean_rows(g_t² + ε1)``, C_t likewise by columns,
    ``V_t = R_t C_t / mean(R_t)`` (vectors: the average itself), ``U_t = g_t / sqrt(V_t)``,
    ``Û_t = U_t / max(1, RMS(U_t) / d)``, ``x_t = x_{t-1} - α_t Û_t`` with ``α_t = max(ε2, RMS(x_{t-1})) ρ_t``,
    ``ρ_t = min(lr, 1 / sqrt(t))``. RMS is over a leaf.

    Notes
    -----
    The matrices of a leaf are its last two axes. With momentum, which the paper's section 8 does without, the average is of
    rate times direction and has no correction.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adafactor", lr=0.5)
    >>> x, s = o.update(np.array([2.0, -2.0]), np.array([3.0, 1e-4]), o.init(np.zeros(2)))
    >>> print(x)
    [ 1. -3.]
    """

    slots = ("R", "C", "m")
    lr: Rate = hyper(1e-2, "[0, inf)", "The largest ρ, without a unit.")
    relative_step: bool = hyper(True, words="False: ρ_t = lr.")
    scale_parameter: bool = hyper(True, words="False: α_t = ρ_t, in the units of x.")
    beta1: float = hyper(0.0, "[0, 1)", "Weight of the past in an average of the steps; 0: none is kept.")
    momentum_scaled: bool = hyper(True, words="The average is of α Û; False: of Û, and α multiplies it.")
    beta2_power: float = hyper(0.8, "(0, inf)", "β̂_t = 1 - t^-beta2_power.")
    beta2_cap: float = hyper(1.0, "[0, 1]", "β̂ is at most this; 1: no bound.")
    eps1: float = hyper(1e-30, "[0, inf)", "ε1, in the units of g².")
    eps_form: str = hyper("added", ("added", "floor", "machine"),
        "floor: nothing is added to g², but ``mean(R) ≥ ε1`` and ``V ≥ ε1²``; machine: the same with the dtype's machine epsilon.")  # fmt: skip
    eps2: float = hyper(1e-3, "[0, inf)", "ε2, in the units of x.")
    clip: float = hyper(1.0, "(0, inf]", "d; infinity: no clipping.")
    factored_from: int = hyper(
        1, "int [1, inf)", "Both sides must be at least this long, or V is kept whole."
    )
    factored_axes: str = hyper("last", ("last", "first", "largest"),
        "Of leaves of more dimensions: the last two, the first two, where these are long enough, or the two largest.")  # fmt: skip
    decay: str = hyper("step", (*DECAYS, "step", "constant"),
        "As of other methods, with the rate ``lr`` of the step; ``step``: ``α_t λ x`` is subtracted; ``constant``: ``λ x``.")  # fmt: skip
    decay_first: bool = hyper(False, words="True: RMS(x) is of the decayed x (Keras).")
    words = {"weight_decay": "The paper has none."}

    def active_slots(self) -> tuple[str, ...]:
        """Return the slots in use: without β1 no average of steps."""
        return self.slots if self.beta1 > 0.0 else self.slots[:2]

    def axes(self, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """Return the axes of a leaf's matrices, None where V is kept whole."""
        n = len(shape)
        if n < 2:
            return None
        pair = (n - 2, n - 1)
        if self.factored_axes == "largest":
            order = sorted(range(n), key=lambda i: shape[i])
            pair = (order[-2], order[-1])
        elif self.factored_axes == "first" and min(shape[:2]) >= self.factored_from:
            pair = (0, 1)
        return pair if min(shape[pair[0]], shape[pair[1]]) >= self.factored_from else None

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros: means for R and C, for R the whole leaf where it is not factored."""
        xp, axes = namespace(leaf), self.axes(tuple(leaf.shape))
        zero = xp.zeros_like(leaf)
        if slot == "m":
            return zero
        if axes is None:
            return zero if slot == "R" else xp.zeros_like(xp.sum(leaf))
        return row_and_column(zero, axes)[0 if slot == "R" else 1]

    def rule(self, xp):
        divisor, momentum = nonzero(xp), self.beta1 > 0.0

        def direction(x, g, R, C, beta2, k2):
            axes, eps1 = self.axes(tuple(x.shape)), self.eps1
            if self.eps_form == "machine":
                eps1 = float(xp.finfo(x.dtype).eps)
            added, floor = (eps1, 0.0) if self.eps_form == "added" else (0.0, eps1)
            square = g * g + added
            if axes is None:
                V = R = ema(R, square, beta2, k2)
            else:
                rows, columns = row_and_column(square, axes)
                R, C = ema(R, rows, beta2, k2), ema(C, columns, beta2, k2)
                V = outer(R, C, axes, floor)
            V = xp.clip(V, min=floor * floor)
            return clipped_rms(g / divisor(xp.sqrt(V)), self.clip), R, C

        def adafactor(x, g, R, C, beta2, k2, rho, l2, keep, shrink):
            u, R, C = direction(x, g + l2 * x, R, C, beta2, k2)
            alpha = rho * self.size(keep * x if self.decay_first else x)
            return keep * x - alpha * (u + shrink * x), R, C

        def with_momentum(x, g, R, C, m, beta1, k1, beta2, k2, rho, l2, keep, shrink):
            u, R, C = direction(x, g + l2 * x, R, C, beta2, k2)
            alpha = rho * self.size(keep * x if self.decay_first else x)
            m = ema(m, alpha * u if self.momentum_scaled else u, beta1, k1)
            return keep * x - (m if self.momentum_scaled else alpha * m) - alpha * shrink * x, R, C, m

        return with_momentum if momentum else adafactor

    def size(self, x: Array) -> Array | float:
        """Return what a leaf's steps are relative to."""
        return namespace(x).clip(rms(x), min=self.eps2) if self.scale_parameter else 1.0

    def scalars(self, t, carried):
        k2 = max(t**-self.beta2_power, 1.0 - self.beta2_cap)
        rho = self.rate(t)
        constant = {"keep": 1.0 - self.weight_decay} if self.decay == "constant" else {}
        return {
            **constant,
            "rho": min(rho, t**-0.5) if self.relative_step else rho,
            "k1": 1.0 - self.beta1,
            "k2": k2,
            "beta2": 1.0 - k2,
            "shrink": self.weight_decay if self.decay == "step" else 0.0,
        }

    def keep(self, t: int) -> float:
        """Return the factor that is left of x beside the step and its share of the decay."""
        return 1.0 if self.decay == "step" else super().keep(t)


dialect(Adafactor, "torch", "torch 2.13 optim.Adafactor", "floors in place of ε1",
    eps_form="machine", decay="decoupled")  # fmt: skip
dialect(Adafactor, "optax", "optax 0.2.8 adafactor", "no 1 / sqrt(t); its default rate is 1",
    relative_step=False, factored_axes="largest", factored_from=128, decay="constant")  # fmt: skip
dialect(Adafactor, "keras", "Keras 3 Adafactor", lr=1e-3, decay="decoupled", decay_first=True)
dialect(Adafactor, "timm", "timm 1.0 Adafactor", "given a rate it is the whole α: relative_step and scale_parameter are False",
    factored_axes="first", factored_from=17)  # fmt: skip
dialect(Adafactor, "big-vision", "timm 1.0 AdafactorBigVision, with float32 momentum", "no clipping; the average is of directions",
    lr=1.0, relative_step=False, scale_parameter=False, beta1=0.9, momentum_scaled=False, beta2_cap=0.999, clip=math.inf,
    factored_axes="largest", factored_from=16, decay="decoupled")  # fmt: skip
dialect(Adafactor, "kozistr", "pytorch_optimizer 4.1 AdaFactor", "its average is in bfloat16, which is not followed",
    beta1=0.9, beta2_cap=0.999)  # fmt: skip
