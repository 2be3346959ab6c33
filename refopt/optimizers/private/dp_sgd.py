"""DP-SGD: clipped gradients of single examples, and noise (Abadi et al. 2016)."""

from __future__ import annotations

import numpy as np

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, check_start, leaves, map_leaves, zeros_like
from refopt.core.registry import Source, register
from refopt.core.rng import normal
from refopt.optimizers.private.accountant import epsilon

ABADI = Source("abadi-2016-deep", "M. Abadi, A. Chu, I. Goodfellow, H. B. McMahan, I. Mironov, K. Talwar, L. Zhang",
    "Deep Learning with Differential Privacy", arxiv="1607.00133")  # fmt: skip
MIRONOV = Source("mironov-2019-renyi", "I. Mironov, K. Talwar, L. Zhang",
    "Rényi Differential Privacy of the Sampled Gaussian Mechanism", arxiv="1908.10530")  # fmt: skip
CANONNE = Source("canonne-2020-discrete", "C. L. Canonne, G. Kamath, T. Steinke",
    "The Discrete Gaussian for Differential Privacy", arxiv="2004.00010")  # fmt: skip


@register("dp-sgd", source=ABADI, where="Algorithm 1", also=(MIRONOV, CANONNE), needs=("example_grads",),
    calm_problem=("logistic", {"l2": 0.1, "n_examples": 80}))  # fmt: skip
class DPSGD(Method):
    """DP-SGD: every example's gradient is shortened to C, their sum gets normal noise, and its scale is fixed.

    Each example is in the batch with probability q, by itself; ``ḡ_i = g_i min(1, C/‖g_i‖)``, the norm over all
    parameters; ``x ← x - η (Σ ḡ_i + N(0, σ²C² I))/B`` with the expected size ``B = q n``. An empty batch is noise alone.
    `epsilon` says what so many steps cost.

    Notes
    -----
    The method draws its batches itself, from all examples: the accountant counts on Poisson sampling, and a division by
    the size that was drawn would tell it. The driver's ``batch_size`` is not looked at.

    Examples
    --------
    >>> import refopt
    >>> o = refopt.optimizer("dp-sgd", lr=0.5, noise=1.1, sampling_rate=0.1)
    >>> r = refopt.minimize(refopt.problem("logistic", l2=0.1), o, steps=100)
    >>> round(r.fun, 1), round(o.epsilon(100, delta=1e-5), 2)
    (0.2, 6.61)
    """

    lr: Rate = hyper(0.1, "[0, inf)", "η.")
    clip: float = hyper(1.0, "(0, inf)", "C, the longest that one example's gradient may be.")
    noise: float = hyper(1.0, "[0, inf)", "σ, the noise's deviation over C.")
    sampling_rate: float = hyper(0.1, "(0, 1]", "q.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: no more than the count."""
        check_start(x, "x")
        return {"t": 0}

    def epsilon(self, steps: int, delta: float) -> float:
        """Return ε after so many steps, at δ = `delta` (`refopt.optimizers.private.accountant.epsilon`)."""
        return epsilon(self.sampling_rate, self.noise, steps, delta) if self.noise > 0.0 else float("inf")

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Sample, clip, add noise, and step."""
        t, n = s["t"] + 1, oracle.n_examples
        chosen = np.flatnonzero(oracle.rng.random(n) < self.sampling_rate)
        total = zeros_like(x)
        if chosen.size:
            total = clipped_sum(oracle.on(chosen).example_grads(x), self.clip)
        total = axpy(self.noise * self.clip, normal(oracle.rng, x), total)
        return axpy(-self.rate(t) / (self.sampling_rate * n), total, x), {"t": t}


def example_norms(each: Params) -> Array:
    """Return the norm of each entry of the first axis over all leaves, shape (B,); no square leaves the dtype's range."""
    rows = {k: namespace(g).reshape(g, (g.shape[0], -1)) for k, g in leaves(each).items()}
    first = next(iter(rows.values()))
    xp = namespace(first)
    largest = xp.max(xp.stack([xp.max(xp.abs(g), axis=1) for g in rows.values()]), axis=0)
    unit = xp.where(largest > 0.0, largest, xp.ones_like(largest))
    return xp.sqrt(sum(xp.sum((g / unit[:, None]) ** 2, axis=1) for g in rows.values())) * unit


def clipped_sum(each: Params, most: float) -> Params:
    """Return the sum over the first axis, each entry of it shortened to `most` over all leaves."""
    length = example_norms(each)
    xp = namespace(length)
    # The factor is 1 where the length is below `most`, and `most / length` above; no zero is divided by.
    factor = xp.where(
        length > most, most / xp.where(length > most, length, xp.ones_like(length)), xp.ones_like(length)
    )
    return weighted_sum(each, factor)


def weighted_sum(each: Params, weights: Array) -> Params:
    """Return the sum over the first axis with a weight for each entry of it."""

    def summed(g: Array) -> Array:
        xp = namespace(g)
        return xp.sum(g * xp.reshape(weights, (-1,) + (1,) * (g.ndim - 1)), axis=0)

    return map_leaves(summed, each)
