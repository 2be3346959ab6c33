"""OrthoGrad: gradients without their part along the weights (Prieto et al. 2025)."""

from __future__ import annotations

from refopt.core.arrays import Array, lengths, namespace
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, check_like, map_leaves
from refopt.core.registry import Source, dialect, register
from refopt.wrappers.base import Wrapper

PRIETO = Source("prieto-2025-grokking", "L. Prieto, M. Barsbey, P. A. M. Mediano, T. Birdal",
    "Grokking at the Edge of Numerical Stability", arxiv="2501.04697")  # fmt: skip


@register("orthograd", source=PRIETO, where="the ⊥Grad optimizer")
class OrthoGrad(Wrapper):
    """OrthoGrad: in every leaf the gradient loses its part along the weights, and keeps its length.

    ``o = g - (⟨w, g⟩ / ⟨w, w⟩) w``, and the base method is given ``o ||g|| / ||o||``.

    Notes
    -----
    Where g is parallel to w, as in every leaf of one entry, o is rounding alone: here it is zero then, in the authors' code
    it is brought to the length of g. A leaf of zeros keeps its gradient.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("orthograd", base="sgd", lr=1.0)
    >>> x = np.array([2.0, 0.0])
    >>> x, s = o.update(x, np.array([3.0, 4.0]), o.init(x))
    >>> print(x)
    [ 2. -5.]
    """

    eps: float = hyper(0.0, "[0, inf)", "Added to ⟨w, w⟩ and to ||o||; the paper has none.")
    guard: bool = hyper(True, words="An o of at most 4 machine epsilons of g is zero.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def projected(self, w: Array, g: Array) -> Array:
        """Return one leaf's gradient as the base is given it."""
        xp = namespace(g)
        long, size = lengths(w), lengths(g)
        one = xp.ones_like(long)
        # In units of both lengths, whose squares may leave the dtype's range.
        unit, slope = w / xp.where(long > 0.0, long, one), g / xp.where(size > 0.0, size, one)
        share = xp.sum(unit * slope) * (long * long / xp.where(long > 0.0, long * long + self.eps, one))
        o = slope - share * unit
        left = lengths(o)
        least = 4.0 * float(xp.finfo(g.dtype).eps) if self.guard else 0.0
        divisor = xp.where(left > 0.0, left + self.eps / xp.where(size > 0.0, size, one), one)
        return xp.where(left > least, size * (o / divisor), xp.zeros_like(g))

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Project `grad` and update the base, where it needs gradients alone."""
        if (done := self._unusual(x, grad, s, donate)) is not None:
            return done
        check_like(grad, x, "grad")
        x, base = self.base.update(x, map_leaves(self.projected, x, grad), s["base"])
        return x, {"t": s["t"] + 1, "base": base}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with projected gradients, wherever it asks for them."""
        inner = GradientsAt(oracle, lambda oracle, w: map_leaves(self.projected, w, oracle.grad(w)))
        x, base = self.base.step(x, s["base"], inner)
        return x, {"t": s["t"] + 1, "base": base}


dialect(
    OrthoGrad,
    "official",
    "LucasPrietoAl/grokking-at-the-edge-of-numerical-stability orthograd.py",
    eps=1e-30,
    guard=False,
)
dialect(OrthoGrad, "kozistr", "pytorch_optimizer 4.1 OrthoGrad", eps=1e-30)
