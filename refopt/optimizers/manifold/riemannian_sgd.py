"""Stochastic gradient descent on manifolds (Bonnabel 2013)."""

from __future__ import annotations

from refopt.core.arrays import Array
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.manifolds.base import Manifold
from refopt.optimizers.manifold.base import OnManifold

BONNABEL = Source("bonnabel-2013-stochastic", "S. Bonnabel",
    "Stochastic Gradient Descent on Riemannian Manifolds", arxiv="1111.5280",
    venue="IEEE Transactions on Automatic Control 58(9), 2217-2229")  # fmt: skip


@register("riemannian-sgd", source=BONNABEL, where='equation (2); with by="retract" equation (3)')
class RiemannianSGD(OnManifold):
    """Riemannian SGD: a step along the geodesic against the Riemannian gradient.

    ``x_{t+1} = exp_{x_t}(-γ_t grad f(x_t))``; ``grad f`` is made of the Euclidean gradient by the manifold.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("riemannian-sgd", manifold="sphere", lr=0.5 * np.pi)
    >>> x = np.array([1.0, 0.0])
    >>> x, s = o.update(x, np.array([3.0, -1.0]), o.init(x))
    >>> print(x.round(12))
    [0. 1.]
    """

    lr: Rate = hyper(1e-3, "[0, inf)", "γ.")

    def move(self, m: Manifold, x: Array, g: Array, t: int, *kept: Array) -> tuple[Array, ...]:
        return (self.moved(m, x, -self.rate(t) * m.gradient(x, g)),)


dialect(RiemannianSGD, "geoopt", "geoopt 0.5.1 RiemannianSGD", "retractions", by="retract")
