"""Hessian, generalized Gauss-Newton and Fisher matrix, exactly, and their diagonals."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.params import Params, leaves, map_leaves
from refopt.core.problem import Layer
from refopt.core.registry import Source, register
from refopt.curvature.base import Curvature

PEARLMUTTER = Source("pearlmutter-1994-hessian", "Barak A. Pearlmutter",
    "Fast Exact Multiplication by the Hessian", venue="Neural Computation 6(1), 147-160",
    doi="10.1162/neco.1994.6.1.147")  # fmt: skip
SCHRAUDOLPH = Source("schraudolph-2002-fast", "Nicol N. Schraudolph",
    "Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent",
    venue="Neural Computation 14(7), 1723-1738", doi="10.1162/08997660260028683")  # fmt: skip
MARTENS_2014 = Source("martens-2014-insights", "J. Martens",
    "New insights and perspectives on the natural gradient method", arxiv="1412.1193")  # fmt: skip


@register("hessian", kind="curvature", source=PEARLMUTTER, where="section 3", needs=("hvp",))
class Hessian(Curvature):
    """The Hessian of the objective, ``C = ∇² f(x)``, by exact products.

    A product is one Hessian-vector product of the problem, its regularisation included.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=8.0)
    >>> refopt.curvature("hessian", p, np.zeros(4)).trace().__round__(6)
    1.875
    """

    needs: tuple[str, ...] = ("hvp",)

    def product(self, v: Params) -> Params:
        """Return ∇² f(x) v."""
        return self.oracle.hvp(self.x, v)


@register("ggn", kind="curvature", source=SCHRAUDOLPH, where="section 3",
    needs=("jvp", "vjp", "loss_hessian"), also=(MARTENS_2014,))  # fmt: skip
class GGN(Curvature):
    """The generalized Gauss-Newton matrix, ``C = Jᵀ H J`` of ``f = φ(r(x))``.

    J is the Jacobian of the inner map r (a network's outputs), H the Hessian of φ (the mean loss) at r(x), with
    the mean's factor in it once. What the problem adds outside of φ, such as ``l2 ||x||² / 2``, is left out.
    Equal to the Hessian where r is linear; positive semidefinite where φ is convex.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("softmax")
    >>> C = refopt.curvature("ggn", p, p.start(0), batch=np.arange(8))
    >>> C.shape, bool(C.spectrum()[0] > -1e-12)
    ((650, 650), True)
    """

    needs: tuple[str, ...] = ("jvp", "vjp", "loss_hessian")

    def product(self, v: Params) -> Params:
        """Return Jᵀ H J v: a forward and a reverse pass."""
        return self.oracle.ggn(self.x, v)

    def diagonal(self) -> Params:
        """Return the diagonal, by forward passes alone."""
        return ggn_diagonal(self)


def ggn_diagonal(C: Curvature) -> Params:
    """Return ``(J e_i)ᵀ H (J e_i)`` for every parameter, like x."""
    found = []
    for e in C.basis():
        u = C.oracle.jvp(C.x, e)
        found.append(float(namespace(u).sum(u * C.oracle.loss_hessian(C.x, u))))
    return params.unflatten(np.array(found, dtype=C.dtype), C.x)


def per_example(layers: list[Layer], x: Params) -> Params:
    """Return each example's gradient, on a new first axis, from inputs and output gradients of linear layers."""
    out = {}
    for layer in layers:
        a, g = layer.inputs, layer.output_grads
        xp, B = namespace(a), a.shape[0]
        a, g = xp.reshape(a, (B, -1, a.shape[-1])), xp.reshape(g, (B, -1, g.shape[-1]))
        W = xp.matrix_transpose(g) @ a
        out[layer.weight] = xp.reshape(W, (B, *leaves(x)[layer.weight].shape))
        if layer.bias is not None:
            out[layer.bias] = xp.sum(g, axis=1)
    missing = sorted(x.keys() - out.keys()) if isinstance(x, dict) else ["x"]
    if missing:
        raise ArgumentError(f"samples: the problem's layers do not cover the parameters {', '.join(missing)}")
    return {k: out[k] for k in x}


def gram_product(rows: Params, v: Params) -> Params:
    """Return ``(1/B) Σ_n g_n (g_nᵀ v)`` for gradients `rows` on a first axis of B."""
    weights: Any = 0.0
    for g, u in zip(params.leaves(rows).values(), params.leaves(v).values()):
        xp = namespace(g)
        weights = weights + xp.reshape(g, (g.shape[0], -1)) @ xp.reshape(u, (-1,))
    weights = weights / weights.shape[0]

    def back(g: Any) -> Any:
        xp = namespace(g)
        return xp.reshape(weights @ xp.reshape(g, (g.shape[0], -1)), g.shape[1:])

    return map_leaves(back, rows)


class _Drawn(Curvature):
    """What is exact, or, with `samples`, made of gradients of labels that are drawn from the model."""

    samples: int | None

    def __init__(
        self, problem: Any, x: Params, batch: Any = None, *, samples: int | None = None, seed: int = 0
    ) -> None:
        self.samples = samples
        if samples is not None:
            check_number(samples, "int [1, inf)", "samples")
            self.needs = ("layers",)
        super().__init__(problem, x, batch, seed=seed)

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """Whether the expectation over labels is taken, and not a mean over draws."""
        return self.samples is None

    def draws(self) -> Iterator[Params]:
        """Give the examples' gradients for each drawing of labels, on a first axis."""
        for _ in range(self.samples or 0):
            yield per_example(self.oracle.layers(self.x, sample=True, positions=True), self.x)


@register("fisher", kind="curvature", source=MARTENS_2014, where="sections 5 and 9",
    needs=("jvp", "vjp", "loss_hessian"), also=(SCHRAUDOLPH,))  # fmt: skip
class Fisher(_Drawn):
    """The Fisher matrix, ``C = mean_n E_y[ g_n(y) g_n(y)ᵀ ]`` with y of the model's law, not the data's.

    ``samples=None`` takes the expectation exactly: for losses that are the negative logarithm of an exponential
    family in its natural parameters (cross-entropy, half squares) E[∇_r l ∇_r lᵀ] is the Hessian of the loss, so
    that this Fisher matrix *is* the generalized Gauss-Newton matrix (Martens, section 9.2), and its products are
    computed as such. ``samples=M`` draws M labels an example once, and is the estimate
    ``(1/(M B)) Σ g g^T`` from them: unbiased, and the same matrix for every product.

    Parameters
    ----------
    samples : int, optional
        M, in [1, inf); the problem then needs ``layers``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("softmax")
    >>> drawn = refopt.curvature("fisher", p, p.start(0), batch=np.arange(8), samples=4, seed=1)
    >>> drawn.exact, drawn.calls
    (False, {})
    """

    needs: tuple[str, ...] = ("jvp", "vjp", "loss_hessian")

    @functools.cached_property
    def rows(self) -> Params:
        """The drawn gradients, on a first axis of M B."""
        if self.samples is None:
            raise ArgumentError("samples: wanted a number of draws, got None: without them there are no rows")
        return map_leaves(lambda *a: namespace(a[0]).concat(list(a)), *self.draws())

    def product(self, v: Params) -> Params:
        """Return C v."""
        return self.oracle.ggn(self.x, v) if self.samples is None else gram_product(self.rows, v)

    def diagonal(self) -> Params:
        """Return the diagonal: of squares of the drawn gradients, or ``(J e_i)ᵀ H (J e_i)``."""
        if self.samples is not None:
            return map_leaves(lambda g: namespace(g).mean(g * g, axis=0), self.rows)
        return ggn_diagonal(self)


class Diagonal(Curvature):
    """A diagonal matrix: subclasses give `_entries`, like x."""

    def __init__(self, problem: Any, x: Params, batch: Any = None, *, seed: int = 0) -> None:
        super().__init__(problem, x, batch, seed=seed)
        self._kept: Params | None = None

    def _entries(self) -> Params:
        raise NotImplementedError

    def diagonal(self) -> Params:
        """Return the diagonal, like x; computed once."""
        if self._kept is None:
            self._kept = self._entries()
        return params.copied(self._kept)

    def product(self, v: Params) -> Params:
        """Return C v."""
        return map_leaves(lambda d, u: d * u, self.diagonal(), v)

    def inverse_product(self, v: Params, damping: float) -> Params:
        """Return ``v / (d + damping)``."""
        shifted = map_leaves(lambda d: d + damping, self.diagonal())
        if any(bool(namespace(d).any(d == 0)) for d in params.leaves(shifted).values()):
            raise ArgumentError(f"damping: the diagonal plus {damping:g} has zeros; wanted a larger one")
        return map_leaves(lambda d, u: u / d, shifted, v)

    def _assemble(self) -> np.ndarray:
        return np.diag(params.flatten(self.diagonal()))

    def spectrum(self) -> np.ndarray:
        """Return the entries in ascending order."""
        return np.sort(params.flatten(self.diagonal()))


@register("hessian-diagonal", kind="curvature", source=PEARLMUTTER, where="section 3", needs=("hvp",))
class HessianDiagonal(Diagonal):
    """The diagonal of the Hessian as a matrix of its own, ``C = diag(∇² f(x))``, exactly, by n products.

    `refopt.curvature.estimates.diagonal` estimates it from random probes.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(lambda x: float(x @ x * x[0]), hvp=lambda x, v: 2 * np.array(
    ...     [3 * x[0] * v[0] + x[1] * v[1], x[1] * v[0] + x[0] * v[1]]))
    >>> print(refopt.curvature("hessian-diagonal", p, np.array([1.0, 2.0])).diagonal())
    [6. 2.]
    """

    needs: tuple[str, ...] = ("hvp",)

    def _entries(self) -> Params:
        found = [params.flatten(self.oracle.hvp(self.x, e))[i] for i, e in enumerate(self.basis())]
        return params.unflatten(np.array(found, dtype=self.dtype), self.x)


@register("fisher-diagonal", kind="curvature", source=MARTENS_2014, where="section 11",
    needs=("jvp", "loss_hessian"))  # fmt: skip
class FisherDiagonal(_Drawn, Diagonal):
    """The diagonal of the Fisher matrix as a matrix of its own, exactly or from labels drawn from the model.

    Parameters
    ----------
    samples : int, optional
        None: exact, by n forward passes. M in [1, inf): the mean square of the gradients of M drawn labels an
        example; the problem then needs ``layers``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("softmax")
    >>> at = p.start(0), np.arange(6)
    >>> full = refopt.curvature("fisher", p, *at).dense()
    >>> d = refopt.curvature("fisher-diagonal", p, *at)
    >>> bool(np.allclose(np.diag(full), d.dense().diagonal()))
    True
    """

    needs: tuple[str, ...] = ("jvp", "loss_hessian")

    def _entries(self) -> Params:
        if self.samples is None:
            return ggn_diagonal(self)
        total: Params = params.zeros_like(self.x)
        for rows in self.draws():
            total = map_leaves(lambda t, g: t + namespace(g).mean(g * g, axis=0), total, rows)
        return params.scale(1.0 / self.samples, total)
