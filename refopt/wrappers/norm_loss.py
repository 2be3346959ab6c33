"""The norm loss (Georgiou et al. 2021): weight vectors are drawn to length one."""

from __future__ import annotations

import numpy as np

from refopt.core.arrays import Array, lengths, namespace
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, axpy, check_like, leaves, map_leaves
from refopt.core.registry import Source, register
from refopt.wrappers.base import Wrapper

GEORGIOU = Source("georgiou-2021-norm", "T. Georgiou, S. Schmitt, T. Bäck, W. Chen, M. Lew",
    "Norm Loss: An efficient yet effective regularization method for deep neural networks", arxiv="2103.06583")  # fmt: skip


def _lengths(w: Array) -> Array:
    """Return the lengths of a leaf's weight vectors, shaped to be multiplied with it."""
    return lengths(w, axis=tuple(range(1, w.ndim)), keepdims=True)


class _Regularised(GradientsAt):
    """The objective and the norm loss together, as the base sees them."""

    def __init__(self, inner: Oracle, method: NormLoss) -> None:
        super().__init__(inner, method.gradient)
        self._method = method

    def value(self, x: Params) -> float:
        """Return f and the norm loss."""
        return self._inner.value(x) + self._method.loss(x)

    def hvp(self, x: Params, v: Params) -> Params:
        """Return the product with both Hessians."""
        return axpy(1.0, self._method.product(x, v), self._inner.hvp(x, v))

    def _with_batch(self, batch: np.ndarray | None) -> Oracle:
        return _Regularised(self._inner._with_batch(batch), self._method)


@register("norm-loss", source=GEORGIOU, where="the norm loss and its gradient")
class NormLoss(Wrapper):
    """Norm loss: the base minimises f and ``λ Σ_i (1 - ||w_i||)^2`` over the weight vectors w_i of all neurons.

    A weight vector is what a leaf of two axes or more has at one index of the first axis, so a filter is one, too; biases have
    none. Its gradient ``2 λ (1 - 1/||w_i||) w_i`` is weight decay whose sign is the other where w_i is short.

    Notes
    -----
    Values, gradients and Hessian-vector products that the base asks for are those of the sum, and `tol` of `minimize` is held
    against it; `fun` and the history's `value` are f. A vector of zeros, where the loss has no gradient, is let be.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("norm-loss", penalty=0.25, lr=1.0)
    >>> x = np.array([[0.6, 0.8], [3.0, 4.0]])
    >>> x, s = o.update(x, np.zeros((2, 2)), o.init(x))
    >>> print(x)
    [[0.6 0.8]
     [1.8 2.4]]
    """

    penalty: float = hyper(0.01, "[0, inf)", "λ.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def loss(self, x: Params) -> float:
        """Return the norm loss at `x`."""
        rows = [_lengths(w) for w in leaves(x).values() if w.ndim >= 2]
        return self.penalty * sum(float(namespace(r).sum((1.0 - r) ** 2)) for r in rows)

    def gradient(self, oracle: Oracle, w: Params) -> Params:
        """Return the gradient of the sum at `w`."""
        return map_leaves(self._added, w, oracle.grad(w))

    def product(self, x: Params, v: Params) -> Params:
        """Return the Hessian of the norm loss at `x` times `v`."""
        return map_leaves(self._bent, x, v)

    def _added(self, w: Array, g: Array) -> Array:
        if w.ndim < 2:
            return g
        xp, long = namespace(w), _lengths(w)
        unit = w / xp.where(long > 0.0, long, xp.ones_like(long))
        return g + 2.0 * self.penalty * (w - unit)

    def _bent(self, w: Array, v: Array) -> Array:
        xp = namespace(w)
        if w.ndim < 2:
            return xp.zeros_like(v)
        long = _lengths(w)
        some = long > 0.0
        divisor = xp.where(some, long, xp.ones_like(long))
        unit = w / divisor
        along = xp.sum(unit * v, axis=tuple(range(1, w.ndim)), keepdims=True) * unit
        return 2.0 * self.penalty * xp.where(some, v - (v - along) / divisor, v)

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the base's measure of the sum."""
        return self.base.stationarity(x, s["base"], _Regularised(oracle, self))

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Add the norm loss's gradient to `grad` and update the base, where it needs gradients alone."""
        if (done := self._unusual(x, grad, s, donate)) is not None:
            return done
        check_like(grad, x, "grad")
        x, base = self.base.update(x, map_leaves(self._added, x, grad), s["base"])
        return x, {"t": s["t"] + 1, "base": base}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base on the sum."""
        x, base = self.base.step(x, s["base"], _Regularised(oracle, self))
        return x, {"t": s["t"] + 1, "base": base}
