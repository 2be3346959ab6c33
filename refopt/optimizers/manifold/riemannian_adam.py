"""Adaptive methods on products of manifolds (Bécigneul and Ganea 2019)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.manifolds.base import Manifold
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.manifold.base import OnManifold, square

BECIGNEUL = Source("becigneul-2019-riemannian", "G. Bécigneul, O.-E. Ganea",
    "Riemannian Adaptive Optimization Methods", arxiv="1810.00760")  # fmt: skip


class Moments(OnManifold):
    """RADAM and RAMSGRAD: a tangent vector that is carried along, and a number for each point."""

    lr: Rate = hyper(1e-3, "[0, inf)", "α.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(0.0, "[0, inf)", "Added to the root; the paper has none.")
    bias_correction: bool = hyper(
        False, words="Divide m by 1 - β1^t and v by 1 - β2^t, as Adam; the paper does not."
    )

    def move(self, m: Manifold, x: Array, g: Array, t: int, *kept: Array) -> tuple[Array, ...]:
        tau, v, *largest = kept
        grad = m.gradient(x, g)
        mean = ema(tau, grad, self.beta1, 1.0 - self.beta1)
        v = ema(v, square(m, x, grad), self.beta2, 1.0 - self.beta2)
        xp = namespace(x)
        largest = [xp.where(a > v, a, v) for a in largest]
        first = correction(self.beta1, t) if self.bias_correction else 1.0
        second = correction(self.beta2, t) if self.bias_correction else 1.0
        divisor = nonzero(xp)(xp.sqrt((*largest, v)[0] / second) + self.eps)
        new = self.moved(m, x, -self.rate(t) / first * mean / divisor)
        return new, m.transport(x, new, mean), v, *largest


@register(
    "riemannian-adam",
    source=BECIGNEUL,
    where="Section 4, RADAM: RAMSGRAD without the maximum",
    state_copies=2,
)
class RiemannianAdam(Moments):
    """Riemannian Adam: on each manifold of a product Adam with one second moment, its first moment carried along.

    ``m = β1 τ + (1 - β1) g``, ``v = β2 v + (1 - β2) ||g||_x²``, ``x' = exp_x(-α m / sqrt(v))``, ``τ = P_{x→x'} m``, from zeros; g is
    the Riemannian gradient, P the transport.

    Notes
    -----
    v is one number for each point of a stack, kept in every entry of it. On lines, ``manifold=None``, it is Adam.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("riemannian-adam", manifold="sphere", lr=0.1)
    >>> x = np.array([1.0, 0.0])
    >>> x, s = o.update(x, np.array([3.0, -1.0]), o.init(x))
    >>> print(x.round(6), s["m"].round(6))
    [0.950415 0.310984] [ 0.031098 -0.095042]
    """

    slots = ("m", "v")


dialect(RiemannianAdam, "geoopt", "geoopt 0.5.1 RiemannianAdam", "bias correction, eps outside the root, retractions",
    eps=1e-8, bias_correction=True, by="retract")  # fmt: skip


@register("riemannian-amsgrad", source=BECIGNEUL, where="Figure 1, RAMSGRAD", state_copies=3)
class RiemannianAMSGrad(Moments):
    """Riemannian AMSGrad: `riemannian-adam` with the largest second moment so far.

    ``m = β1 τ + (1 - β1) g``, ``v = β2 v + (1 - β2) ||g||_x²``, ``v̂ = max(v̂, v)``, ``x' = exp_x(-α m / sqrt(v̂))``,
    ``τ = P_{x→x'} m``, from zeros.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("riemannian-amsgrad", manifold="sphere", lr=0.1)
    >>> x = np.array([1.0, 0.0])
    >>> x, s = o.update(x, np.array([3.0, -1.0]), o.init(x))
    >>> print(x.round(6))
    [0.950415 0.310984]
    """

    slots = ("m", "v", "largest")


dialect(RiemannianAMSGrad, "geoopt", "geoopt 0.5.1 RiemannianAdam(amsgrad=True)",
    "bias correction after the maximum, eps outside the root, retractions", eps=1e-8, bias_correction=True, by="retract")  # fmt: skip


@register("riemannian-adagrad", source=BECIGNEUL, where="Section 4, RADAGRAD", state_copies=1)
class RiemannianAdaGrad(OnManifold):
    """Riemannian AdaGrad: on each manifold of a product the gradient over the root of all its squared norms so far.

    ``S_t = S_{t-1} + ||g_t||_x²``, ``x_{t+1} = exp_x(-α g_t / sqrt(S_t))``; g is the Riemannian gradient.

    Notes
    -----
    A point whose gradients have all been zero stays. On lines, ``manifold=None``, it is AdaGrad with ε = 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> M = refopt.manifold("sphere")
    >>> o = refopt.optimizer("riemannian-adagrad", manifold=M, lr=0.25)
    >>> x = np.array([1.0, 0.0])
    >>> y, s = o.update(x, np.array([3.0, -7.0]), o.init(x))
    >>> print(M.dist(x, y).round(12))
    0.25
    """

    slots = ("S",)
    lr: Rate = hyper(1e-2, "[0, inf)", "α: the length of the first step.")
    eps: float = hyper(0.0, "[0, inf)", "Added to the root; the paper has none.")

    def move(self, m: Manifold, x: Array, g: Array, t: int, *kept: Array) -> tuple[Array, ...]:
        xp, grad = namespace(x), m.gradient(x, g)
        S = kept[0] + square(m, x, grad)
        return self.moved(m, x, -self.rate(t) * grad / nonzero(xp)(xp.sqrt(S) + self.eps)), S
