"""SGD along a tracked median of gradients (Schaipp et al. 2024)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import Params, check_start, map_leaves
from refopt.core.registry import Source, register
from refopt.optimizers.common.clipping import shortening

SCHAIPP = Source("schaipp-2024-sgd", "F. Schaipp, G. Garrigos, U. Simsekli, R. M. Gower",
    "SGD with Clipping is Secretly Estimating the Median Gradient", arxiv="2402.12828")  # fmt: skip


@register("median-sgd", source=SCHAIPP, where="the stochastic proximal point method for the median gradient",
    state_copies=1)  # fmt: skip
class MedianSGD(GradientMethod):
    """SGD with a tracked median: a proximal step towards each new gradient, instead of an average.

    ``m_t = argmin_m D(m - g_t) + ||m - m_{t-1}||² / (2 τ)``, ``x_{t+1} = x_t - η m_t``, from m_0 = 0. With
    d = g_t - m_{t-1}, m_t - m_{t-1} is: for D the norm, ``min(1, τ / ||d||) d``; for the sum of absolute
    values, d clipped to [-τ, τ] in every coordinate; for Huber's function of the norm,
    ``min(τ / (μ + τ), τ / ||d||) d``; for half the squared norm, ``τ / (1 + τ) d``.

    Notes
    -----
    Half the squared norm is the exponential average with β = 1 / (1 + τ), which one outlier moves as far as it
    likes; the others move by τ at most. With m_{t-1} replaced by 0 it is clipped SGD. How the paper names
    the variants is from memory; the steps are the minimisers themselves.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("median-sgd", lr=1.0, tau=0.5)
    >>> x, s = o.update(np.zeros(2), np.array([3e6, 4e6]), o.init(np.zeros(2)))
    >>> print(x)
    [-0.3 -0.4]
    """

    lr: Rate = hyper(0.01, "[0, inf)", "η.")
    tau: float = hyper(1.0, "(0, inf)", "τ, in the units of the gradient; of no unit for the squared norm.")
    distance: str = hyper("norm", ("norm", "absolute", "huber", "squared"), "D.")
    mu: float = hyper(
        1.0, "(0, inf)", "μ of Huber's function: ``z² / (2 μ)`` up to μ, and ``z - μ / 2`` beyond."
    )
    anchor: str = hyper("last", ("last", "zero"), "What stands for m_{t-1}; zero is clipping.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: m_0 = 0."""
        return {"t": 0, "m": params.zeros_like(check_start(x, "x"))}

    def active_slots(self) -> tuple[str, ...]:
        """Return the names of the state arrays in use."""
        return ("m",)

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Move the median towards `g`, and x against it."""
        t = s["t"] + 1
        before = s["m"] if self.anchor == "last" else params.zeros_like(x)
        m = params.axpy(1.0, self.moved(params.subtract(g, before)), before)
        return params.axpy(-self.rate(t), m, x), {"t": t, "m": m}

    def moved(self, d: Params) -> Params:
        """Return how far the median goes when the new gradient lies `d` beyond it."""
        tau = self.tau
        if self.distance == "squared":
            return params.scale(tau / (1.0 + tau), d)
        if self.distance == "absolute":

            def cut(a: Array) -> Array:
                xp = namespace(a)
                return xp.where(xp.abs(a) > tau, xp.sign(a) * tau, a)

            return map_leaves(cut, d)
        whole = 1.0 if self.distance == "norm" else tau / (self.mu + tau)
        return params.scale(shortening(params.norm(d), tau, whole), d)
