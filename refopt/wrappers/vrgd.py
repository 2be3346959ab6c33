"""VRGD: coordinates weighted by their gradient's signal-to-noise ratio (Jiang et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, leaves, map_leaves, rebuild, zeros_like
from refopt.core.registry import Evidence, Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.wrappers.base import Wrapper

JIANG = Source(
    key="jiang-2023-accelerating",
    authors="G.-q. Jiang, J. Liu, Z. Ding, L. Guo, W. Lin",
    year=2023,
    title="Accelerating Large Batch Training via Gradient Signal to Noise Ratio (GSNR)",
    arxiv="2309.13681",
)


def signal_to_noise(mean: Array, squares: Array, floor: float) -> Array:
    """Return one leaf's ratios ``mean² / variance``, divided by their mean and clipped to [floor, 1].

    Parameters
    ----------
    mean, squares : array
        Means over the groups of the gradients and of their squares.
    floor : float

    Notes
    -----
    A coordinate without variance has no part in the mean, and ratio 1, or `floor` if its gradient is
    zero.
    """
    xp = namespace(mean)
    signal = mean * mean
    # What is left below the rounding of the squares is no variance.
    noise = squares - signal
    noisy = noise > 4.0 * float(xp.finfo(mean.dtype).eps) * squares
    one, zero = xp.ones_like(mean), xp.zeros_like(mean)
    r = xp.where(noisy, signal / xp.where(noisy, noise, one), zero)
    count = xp.sum(xp.where(noisy, one, zero))
    level = xp.sum(r) / xp.where(count > 0.0, count, xp.ones_like(count))
    r = r / xp.where(level > 0.0, level, xp.ones_like(level))
    r = xp.where(noisy, r, xp.where(signal > 0.0, one, zero))
    return xp.clip(r, min=floor, max=1.0)


@register(
    "vrgd",
    kind="wrapper",
    source=JIANG,
    where="Algorithm 1 (VR-SGD); the averaged ratio of VR-Adam and VR-LAMB",
    evidence=(
        Evidence(
            "identity",
            "floor = 1 is the base method on the mean of the groups' gradients, to 1e-14",
            "tests/identities/test_vrgd.py::test_floor_one_is_the_base",
        ),
        Evidence(
            "identity",
            "equals the algorithm transcribed with Python floats, group by group, to 1e-13",
            "tests/identities/test_vrgd.py::test_algorithm",
        ),
        Evidence(
            "claim",
            "rescaling a leaf's gradients leaves its ratios; every ratio is in [floor, 1]; more noise, smaller ratio",
            "tests/claims/test_vrgd.py::test_ratios",
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class VRGD(Wrapper):
    """VRGD: the base method steps with the gradient times its coordinates' signal-to-noise ratio.

    The batch is cut into k groups with mean gradients g_d; ``ḡ = (1/k) Σ g_d``,
    ``σ² = (1/k) Σ g_d² - ḡ²``, ``r = ḡ² / σ²``; within every leaf ``r ← r / mean(r)``, then
    ``r ← clip(r, γ, 1)``, and the base is fed with ``r ⊙ ḡ``.

    Parameters
    ----------
    base : Method or str
        The method that steps; a name takes further hyperparameters (``lr=...``).
    groups : int, range [1, inf)
        k, the paper's devices; at most the batch size is used.
    floor : float, range (0, 1]
        γ.
    average : float, range [0, 1)
        β3: the base is fed with ``p̂ ⊙ ḡ``, ``p_t = β3 p_{t-1} + (1 - β3) r_t``,
        ``p̂_t = p_t / (1 - β3^t)``, as in VR-Adam and VR-LAMB (0.9 there). 0: r itself (VR-SGD,
        VR-Momentum, VR-LARS).
    schedule : callable, optional
        Not used by VRGD; give it to the base.

    Notes
    -----
    Written from memory of the paper; no code of its authors was found, and the averaged form is the
    less certain part. The paper does not say what 0/0 is: here a coordinate without variance has r = 1
    (γ where ḡ = 0), and no part in the mean. The base must ask for one gradient a step.

    References
    ----------
    G.-q. Jiang et al. 2023, arXiv:2309.13681.

    Examples
    --------
    >>> import refopt
    >>> o = refopt.optimizer("vrgd", base="sgd", lr=0.5, groups=4)
    >>> r = refopt.minimize(refopt.problem("logistic"), o, steps=20, batch_size=32)
    >>> dict(r.calls)
    {'grad': 80}
    """

    groups: int = hyper(8, "int [1, inf)")
    floor: float = hyper(0.1, "(0, 1]")
    average: float = hyper(0.0, "[0, 1)")

    def init(self, x: Params) -> State:
        """Return the base's state, and zeros for p where there is an average."""
        s = super().init(x)
        return {**s, "p": zeros_like(x)} if self.average else s

    def split(self, oracle: Oracle, x: Params) -> tuple[Params, Params]:
        """Return the mean over the groups of their gradients at `x` and of the squares."""
        batch = np.arange(oracle.n_examples) if oracle.batch is None else oracle.batch
        k = min(self.groups, batch.size)
        if k == 1:
            found = [oracle.grad(x)]
        else:
            # Groups of one size, as devices have them; a rest smaller than k is left out.
            cut = batch[: batch.size // k * k]
            found = [oracle.on(part).grad(x) for part in np.split(cut, k)]
        mean = map_leaves(lambda *g: sum(g[1:], start=g[0]) / k, *found)
        return mean, map_leaves(lambda *g: sum((a * a for a in g[1:]), start=g[0] * g[0]) / k, *found)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with the weighted gradient."""
        t, kept = s["t"] + 1, {}

        def weighted(oracle: Oracle, w: Params) -> Params:
            mean, squares = self.split(oracle, w)
            r = map_leaves(lambda a, b: signal_to_noise(a, b, self.floor), mean, squares)
            if self.average:
                p = map_leaves(lambda a, b: ema(a, b, self.average, 1.0 - self.average), s["p"], r)
                kept["p"] = p
                r = map_leaves(lambda a: a / correction(self.average, t), p)
            return rebuild(mean, {k: leaves(r)[k] * g for k, g in leaves(mean).items()})

        x, base = self.base.step(x, s["base"], GradientsAt(oracle, weighted))
        return x, {"t": t, "base": base, **kept}
