"""Variance reduced gradient descent by the gradient's signal-to-noise ratio (Jiang et al. 2023)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, CapabilityError
from refopt.core.hyper import hyper
from refopt.core.method import GradientMethod, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, map_leaves
from refopt.core.registry import Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.wrappers.base import Wrapper

JIANG = Source("jiang-2023-accelerating", "G. Jiang, J. Liu, Z. Ding, L. Guo, W. Lin",
    "Accelerating Large Batch Training via Gradient Signal to Noise Ratio (GSNR)", arxiv="2309.13681")  # fmt: skip


def signal_to_noise(groups: list[Array], floor: float) -> Array:
    """Return the clipped, normalised ratio r of one leaf from the gradients of k groups.

    Parameters
    ----------
    groups : list of array
        g_1, …, g_k, the mean gradient of each group.
    floor : float
        γ.

    Returns
    -------
    array like g_1
        In [γ, 1]. A coordinate without variance counts as certain, r = 1, and is left out of the
        mean that normalises; a coordinate whose mean is zero has γ.
    """
    xp = namespace(groups[0])
    stacked = xp.stack(groups)
    mean = xp.mean(stacked, axis=0)
    variance = xp.mean((stacked - mean) ** 2, axis=0)
    noisy = variance > 0
    one = xp.ones_like(mean)
    ratio = xp.where(noisy, mean * mean / xp.where(noisy, variance, one), 0.0 * one)
    count = xp.sum(xp.astype(noisy, mean.dtype))
    average = xp.sum(ratio) / xp.where(count > 0, count, xp.ones_like(count))
    ratio = ratio / xp.where(average > 0, average, xp.ones_like(average))
    ratio = xp.where(noisy | (mean == 0), ratio, one)
    return xp.where(ratio > 1.0, one, xp.where(ratio < floor, floor * one, ratio))


@register("vrgd", source=JIANG, where="the algorithms VR-SGD, VR-Momentum, VR-Adam, VR-LARS, VR-LAMB")
class VRGD(Wrapper):
    """VRGD: the base steps with a gradient whose noisy coordinates are damped.

    The batch is cut into k groups with mean gradients g_d: ``ḡ = mean g_d``, ``σ² = mean g_d² - ḡ²``,
    ``r = ḡ² / σ²``, divided by its mean over the leaf and clipped to [γ, 1]. The base is given ``r ⊙ ḡ``;
    a base with second moments (Adam, LAMB) ``p̂ ⊙ ḡ`` with ``p ← β3 p + (1 - β3) r`` and
    ``p̂ = p / (1 - β3^t)``.

    Raises
    ------
    CapabilityError
        The problem is not a sum over examples, or the base needs more than a gradient.
    ArgumentError
        The batch cannot be cut into `groups` equal parts.

    Notes
    -----
    There is no public code. Unverified: the smoothed forms (VR-Adam, VR-LAMB), dividing before clipping,
    and the biased variance are from memory of the paper, whose text could not be had. What becomes of
    coordinates without variance is decided here: see `signal_to_noise`.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic")
    >>> r = refopt.minimize(p, "vrgd", base="adam", groups=4, lr=0.05, batch_size=64, steps=20)
    >>> round(r.gradient_equivalents * p.n_examples / 64, 6)  # as much as one gradient a step
    20.0
    """

    groups: int = hyper(
        8, "int [2, inf)", "k, the number of devices in the paper. The batch's size must be a multiple of it."
    )
    gamma: float = hyper(0.1, "(0, 1]", "γ.")
    beta3: float = hyper(0.9, "[0, 1)")
    smooth: bool | None = hyper(
        None, (True, False, None), "Whether r is averaged; None: if the base has a ``beta2``."
    )
    words = {
        "base": "A method that steps from one gradient; a name takes further hyperparameters.",
        "schedule": "Of the base's rate: handed on to a base that is given by name.",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.base, GradientMethod):
            raise CapabilityError(
                f"vrgd: base: wanted a method that steps from one gradient, got {self.base!r}"
            )

    @property
    def smooths(self) -> bool:
        """Tell whether r is averaged over the steps."""
        return hasattr(self.base, "beta2") if self.smooth is None else self.smooth

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the base's, and p."""
        s = super().init(x)
        return {**s, "p": params.zeros_like(x)} if self.smooths else s

    def group_gradients(self, x: Params, oracle: Oracle) -> list[Params]:
        """Return the mean gradient of each group."""
        if getattr(oracle.problem, "n_examples", None) is None:
            raise CapabilityError("vrgd: the problem is not a sum over examples (it has no n_examples)")
        batch = np.arange(oracle.n_examples) if oracle.batch is None else oracle.batch
        if batch.size % self.groups:
            raise ArgumentError(
                f"vrgd: groups: wanted a divisor of the batch size {batch.size}, got {self.groups}"
            )
        return [params.copied(oracle.on(part).grad(x)) for part in np.split(batch, self.groups)]

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with the damped mean gradient."""
        t = s["t"] + 1
        found = self.group_gradients(x, oracle)
        mean = map_leaves(lambda *g: sum(g[1:], g[0]) / len(g), found[0], *found[1:])
        weight = map_leaves(lambda *g: signal_to_noise(list(g), self.gamma), found[0], *found[1:])
        new: dict[str, Any] = {"t": t}
        if self.smooths:
            new["p"] = map_leaves(lambda p, r: ema(p, r, self.beta3, 1.0 - self.beta3), s["p"], weight)
            weight = params.scale(1.0 / correction(self.beta3, t), new["p"])
        x, new["base"] = self.base.update(x, map_leaves(lambda r, g: r * g, weight, mean), s["base"])
        return x, new
