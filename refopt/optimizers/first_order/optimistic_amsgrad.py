"""Optimistic AMSGrad: AMSGrad with a predicted gradient (Wang et al. 2021)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import Params, check_start, map_leaves
from refopt.core.registry import Source, register
from refopt.optimizers.common.averages import ema

WANG = Source("wang-2021-optimistic", "J.-K. Wang, X. Li, B. Karimi, P. Li",
    "An Optimistic Acceleration of AMSGrad for Nonconvex Optimization", arxiv="1903.01435",
    venue="ACML, PMLR 157:422-437")  # fmt: skip
SCIEUR = Source("scieur-2016-regularized", "D. Scieur, A. d'Aspremont, F. Bach",
    "Regularized Nonlinear Acceleration", venue="NeurIPS 29")  # fmt: skip


def extrapolate(points: Sequence[Params], regularization: float) -> Params:
    """Return the regularised minimal polynomial extrapolation of a sequence (RMPE).

    With ``U = [x_1 - x_0, …, x_r - x_{r-1}]``, ``(U^T U + λ I) z = 1`` and ``c = z / (1^T z)`` it is
    ``sum_{i<r} c_i x_i``.

    Parameters
    ----------
    points : sequence of array or dict of arrays
        x_0, …, x_r, at least two.
    regularization : float
        λ > 0, in the units of the squared differences.

    Returns
    -------
    like the points
    """
    steps = [params.subtract(b, a) for a, b in itertools.pairwise(points)]
    gram = np.array([[params.dot(a, b) for b in steps] for a in steps])
    z = np.linalg.solve(gram + regularization * np.eye(len(steps)), np.ones(len(steps)))
    weights = z / z.sum()
    return map_leaves(lambda *xs: sum(float(c) * x for c, x in zip(weights, xs)), *points[:-1])


@register(
    "optimistic-amsgrad",
    source=WANG,
    where="the algorithm Optimistic-AMSGrad, with extrapolated gradients as its prediction",
    also=(SCIEUR,),
    state_copies=11,
)
class OptimisticAMSGrad(GradientMethod):
    """Optimistic AMSGrad: the second moment sees only what the prediction missed.

    With m_t the prediction of g_t, made before it is seen:
    ``θ_t = β1 θ_{t-1} + (1 - β1) g_t``, ``v_t = β2 v_{t-1} + (1 - β2) (g_t - m_t)²``,
    ``v̂_t = max(v̂_{t-1}, v_t)``, ``w̃_{t+1} = w̃_t - η θ_t / sqrt(v̂_t)``,
    ``h_{t+1} = β1 θ_{t-1} + (1 - β1) m_{t+1}``, ``w_{t+1} = w̃_{t+1} - η h_{t+1} / sqrt(v̂_t)``,
    from w̃_1 = w_1, θ_0 = 0, v_0 = v̂_0 = ε.

    Notes
    -----
    The constraint set of the paper is all space here.

    Unverified: that gradients are what is extrapolated, and v_0 = ε, are from memory of the published
    paper. The released code is of an earlier version: it extrapolates weights ("the latest five
    iterates", says its page) through an auxiliary network, and has further faults; it agrees on θ_{t-1}
    in h. The extrapolation is over all parameters at once, there by tensors.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic"), "optimistic-amsgrad", lr=0.02, steps=500)
    >>> r.success
    True
    """

    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.99, "[0, 1)")
    eps: float = hyper(1e-8, "(0, inf)", "ε, the second moment's start, in squared units of the gradient.")
    history: int = hyper(5, "int [0, inf)",
        "r: the prediction extrapolates the last r + 1 gradients by `extrapolate`; it is zero before so"
        " many are known, and always with r = 0.")  # fmt: skip
    regularization: float = hyper(1e-3, "(0, inf)", "λ of the extrapolation.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        x = check_start(x, "x")
        zero, eps = params.zeros_like(x), params.full_like(x, self.eps)
        return {
            "t": 0,
            "auxiliary": params.copied(x),
            "theta": zero,
            "v": eps,
            "v_max": eps,
            "prediction": zero,
            "past": (),
        }

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step from the gradient at `x`."""
        t = s["t"] + 1
        eta, b1, b2 = self.rate(t), self.beta1, self.beta2
        theta = map_leaves(lambda a, g: ema(a, g, b1, 1.0 - b1), s["theta"], g)
        v = map_leaves(lambda a, g, m: ema(a, (g - m) * (g - m), b2, 1.0 - b2), s["v"], g, s["prediction"])
        v_max = map_leaves(lambda a, b: namespace(a).maximum(a, b), s["v_max"], v)

        def descend(w: Params, d: Params) -> Params:
            return map_leaves(lambda a, b, c: a - eta * b / namespace(c).sqrt(c), w, d, v_max)

        auxiliary = descend(s["auxiliary"], theta)
        past = (*s["past"], params.copied(g))[-(self.history + 1) :]
        ready = self.history > 0 and len(past) == self.history + 1
        prediction = extrapolate(past, self.regularization) if ready else params.zeros_like(x)
        ahead = map_leaves(lambda a, m: ema(a, m, b1, 1.0 - b1), s["theta"], prediction)
        return descend(auxiliary, ahead), {
            "t": t, "auxiliary": auxiliary, "theta": theta, "v": v, "v_max": v_max, "prediction": prediction,
            "past": past,
        }  # fmt: skip
