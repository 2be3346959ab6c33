"""Kronecker factors of the Fisher matrix of linear layers (K-FAC)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refopt.core.arrays import Array, eye_like, namespace, to_numpy
from refopt.core.errors import ArgumentError, CapabilityError
from refopt.core.hyper import check_number
from refopt.core.params import Params, leaves
from refopt.core.problem import Layer
from refopt.core.registry import Source, register
from refopt.curvature.base import Curvature

MARTENS_2015 = Source("martens-2015-optimizing", "J. Martens, R. Grosse",
    "Optimizing Neural Networks with Kronecker-factored Approximate Curvature", arxiv="1503.05671")  # fmt: skip

GROSSE_2016 = Source("grosse-2016-convolution", "R. Grosse, J. Martens",
    "A Kronecker-factored approximate Fisher matrix for convolution layers", arxiv="1602.01407")  # fmt: skip

Factors = dict[str, tuple[Array, Array]]


def homogeneous(layer: Layer) -> Array:
    """Return the layer's inputs, a row for each example and position, with a one appended where it has a bias."""
    a = layer.rows()[0]
    if layer.bias is None:
        return a
    xp = namespace(a)
    return xp.concat([a, xp.ones_like(a[:, :1])], axis=1)


def factors(layers: list[Layer]) -> Factors:
    """Return A and Γ of every layer, by the weight's name.

    Over the examples ``A = E[a aᵀ]`` and ``Γ = E[s sᵀ]``; of a layer used at T positions A is the sum over them and Γ the
    mean (Grosse and Martens 2016).
    """
    out = {}
    for layer in layers:
        a, g = homogeneous(layer), layer.rows()[1]
        xp = namespace(a)
        out[layer.weight] = (
            xp.matrix_transpose(a) @ a / layer.inputs.shape[0],
            xp.matrix_transpose(g) @ g / g.shape[0],
        )
    return out


def as_matrix(v: Params, weight: str, bias: str | None) -> Array:
    """Return a layer's part of v as ``[V_W, V_b]``, of shape (out, in + 1), (out, in) without a bias."""
    W = v[weight]
    xp = namespace(W)
    W = xp.reshape(W, (W.shape[0], -1))
    return xp.concat([W, v[bias][:, None]], axis=1) if bias else W


def from_matrix(V: Array, v: Params, weight: str, bias: str | None) -> dict[str, Array]:
    """Return a layer's leaves, shaped as in v, from ``[V_W, V_b]``."""
    shape = tuple(v[weight].shape)
    if not bias:
        return {weight: namespace(V).reshape(V, shape)}
    return {weight: namespace(V).reshape(V[:, :-1], shape), bias: V[:, -1]}


def damped_inverses(a: Array, g: Array, gamma: float) -> tuple[Array, Array]:
    """Return the inverses of A + πγ I and Γ + γ/π I (section 6.3, factored Tikhonov damping)."""
    xp = namespace(a)
    mean_a = float(xp.linalg.trace(a)) / a.shape[0]
    mean_g = float(xp.linalg.trace(g)) / g.shape[0]
    # A factor of zeros (a dead or saturated layer) has no scale to balance.
    pi = math.sqrt(mean_a / mean_g) if mean_a > 0.0 and mean_g > 0.0 else 1.0
    return xp.linalg.inv(a + pi * gamma * eye_like(a)), xp.linalg.inv(g + gamma / pi * eye_like(g))


def check_cover(x: Params, layers: list[Layer], who: str) -> None:
    """Raise unless every parameter belongs to a linear layer."""
    covered = {n for layer in layers for n in (layer.weight, layer.bias) if n is not None}
    left = sorted(leaves(x).keys() - covered)
    if left:
        raise CapabilityError(f"{who}: the problem's layers do not cover the parameters {', '.join(left)}")


@register(
    "kfac-factors", kind="curvature", source=MARTENS_2015, where="section 3, equation (1)", needs=("layers",),
    also=(GROSSE_2016,),
)  # fmt: skip
class KFACFactors(Curvature):
    """The block-diagonal Kronecker approximation of the Fisher matrix: ``A_l ⊗ Γ_l`` for each layer.

    ``A = mean ā āᵀ`` of the layer's inputs (with a one for the bias), ``Γ = mean s sᵀ`` of the gradients of the
    examples' losses by its outputs. For a layer's ``V = [V_W, V_b]``, of shape (out, in + 1), ``C V = Γ V A``. Exact for
    one example, and for one linear layer under a loss of constant Hessian in expectation over labels.

    Of a convolution (a layer that an example uses at T positions, with its patches as inputs) A is the sum over the positions
    and Γ the mean, Grosse and Martens's KFC, where derivatives at different positions are taken to be uncorrelated.

    Parameters
    ----------
    labels : {"model", "data"}
        Labels drawn from the model, `samples` an example, or the data's own (then it approximates the empirical
        Fisher matrix).
    samples : int
        In [1, inf).
    damping_form : {"spectrum", "factored"}
        `solve` adds the damping to the product's eigenvalues, exactly, or to the factors, ``(A + π√λ I)`` and
        ``(Γ + √λ/π I)`` with ``π² = (tr A / dim A) / (tr Γ / dim Γ)`` (section 6.3).

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("softmax")
    >>> C = refopt.curvature("kfac-factors", p, p.start(0), batch=np.array([3]), labels="data")
    >>> F = refopt.curvature("empirical-fisher", p, p.start(0), batch=np.array([3]))
    >>> bool(np.allclose(C.dense(), F.dense()))
    True
    """

    exact = False
    needs = ("layers",)

    def __init__(
        self, problem: Any, x: Params, batch: Any = None, *, labels: str = "model", samples: int = 1,
        damping_form: str = "spectrum", seed: int = 0,
    ) -> None:  # fmt: skip
        for value, name, allowed in (
            (labels, "labels", ("model", "data")), (damping_form, "damping_form", ("spectrum", "factored")),
        ):  # fmt: skip
            if value not in allowed:
                raise ArgumentError(f"{name}: wanted one of {', '.join(map(repr, allowed))}, got {value!r}")
        check_number(samples, "int [1, inf)", "samples")
        super().__init__(problem, x, batch, seed=seed)
        self.labels, self.samples, self.damping_form = labels, samples, damping_form
        draws = [
            self.oracle.layers(self.x, sample=labels == "model", positions=True)
            for _ in range(samples if labels == "model" else 1)
        ]
        check_cover(self.x, draws[0], "kfac-factors")
        self._biases = {layer.weight: layer.bias for layer in draws[0]}
        found = [factors(layers) for layers in draws]
        self.factors: Factors = {
            k: (found[0][k][0], sum((f[k][1] for f in found[1:]), start=found[0][k][1]) / len(found))
            for k in found[0]
        }

    def product(self, v: Params) -> Params:
        """Return Γ V A layer by layer."""
        return self._by_layer(v, lambda V, a, g: g @ V @ a)

    def inverse_product(self, v: Params, damping: float) -> Params:
        """Return ``(C + damping I)^{-1} v`` layer by layer, in the form that `damping_form` names."""

        def factored(V: Array, a: Array, g: Array) -> Array:
            inverse_a, inverse_g = damped_inverses(a, g, math.sqrt(damping))
            return inverse_g @ V @ inverse_a

        def by_spectrum(V: Array, a: Array, g: Array) -> Array:
            xp = namespace(a)
            (da, qa), (dg, qg) = xp.linalg.eigh(a), xp.linalg.eigh(g)
            below = dg[:, None] * da[None, :] + damping
            if bool(xp.any(below <= 0)):
                raise ArgumentError(f"damping: {damping:g} leaves a layer singular; wanted a larger one")
            return qg @ ((xp.matrix_transpose(qg) @ V @ qa) / below) @ xp.matrix_transpose(qa)

        return self._by_layer(v, factored if self.damping_form == "factored" else by_spectrum)

    def _by_layer(self, v: Params, apply: Any) -> Params:
        out: dict[str, Array] = {}
        for weight, (a, g) in self.factors.items():
            bias = self._biases[weight]
            out |= from_matrix(apply(as_matrix(v, weight, bias), a, g), v, weight, bias)
        return {k: out[k] for k in v}

    def diagonal(self) -> Params:
        """Return the products of the factors' diagonals."""
        out: dict[str, Array] = {}
        for weight, (a, g) in self.factors.items():
            xp, bias = namespace(a), self._biases[weight]
            d = xp.linalg.diagonal(g)[:, None] * xp.linalg.diagonal(a)[None, :]
            out |= from_matrix(d, self.x, weight, bias)
        return {k: out[k] for k in self.x}

    def spectrum(self) -> np.ndarray:
        """Return the eigenvalues: products of those of the factors."""
        pairs = [
            (np.linalg.eigvalsh(to_numpy(a)), np.linalg.eigvalsh(to_numpy(g)))
            for a, g in self.factors.values()
        ]
        return np.sort(np.concatenate([np.outer(dg, da).ravel() for da, dg in pairs]))
