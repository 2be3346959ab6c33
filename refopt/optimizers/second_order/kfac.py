"""K-FAC: natural gradient with a Kronecker-factored Fisher matrix (Martens and Grosse 2015)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.problem import Layer
from refopt.core.registry import register
from refopt.curvature.kronecker import (
    GROSSE_2016,
    MARTENS_2015,
    Factors,
    as_matrix,
    check_cover,
    damped_inverses,
    factors,
    from_matrix,
)


@register(
    "kfac",
    source=MARTENS_2015,
    where="Algorithm 2, block-diagonal form; sections 5, 6 and 7",
    also=(GROSSE_2016,),
    needs=("value", "grad", "layers", "jvp", "loss_hessian"),
)
class KFAC(Method):
    """K-FAC: a natural gradient step whose Fisher matrix is a Kronecker product a layer.

    For a layer ``s = W̄ ā``, with gradients of labels drawn from the model, ``A = E[ā āᵀ]`` and
    ``Γ = E[g gᵀ]`` are averaged with weight ``ε_k = min(1 - 1/k, 0.95)``. The proposal is
    ``Δ = -(Γ + γ/π I)⁻¹ ∇W̄ (A + πγ I)⁻¹``, π² the ratio of the mean eigenvalues; the step
    ``δ = α Δ + μ δ_0`` minimises the quadratic model M with the exact Fisher matrix + (λ + η) I.

    Notes
    -----
    M's Fisher matrix is the generalized Gauss-Newton matrix, equal to it for squared error and
    cross-entropy. The inverse is also made anew in the first three steps; that detail, and the
    constants, are from the paper as remembered in the project's fact sheet. The block-tridiagonal
    form is not here. Leaves that belong to no linear layer are an error. Of convolutions the factors are Grosse and Martens's.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("mlp", widths=(8,), seed=0)
    >>> r = refopt.minimize(p, "kfac", steps=15)
    >>> bool(r.history["value"][-1] < r.history["value"][0])
    True
    """

    has_rate = False
    damping: float = hyper(
        150.0, "(0, inf)", "λ before the first step; adapted by the Levenberg-Marquardt rule (section 6.5)."
    )
    eta: float | None = hyper(None, "[0, inf)",
        "η, the strength of the problem's own L2 term. None: the problem's attribute ``l2``, or 0.")  # fmt: skip
    momentum: bool = hyper(True, words="Include the last step δ_0 (section 7); otherwise μ = 0.")
    rescale: bool = hyper(True, words="Choose α (section 6.4); otherwise α = 1 and no momentum.")
    decay: float = hyper(0.95, "[0, 1)", "The limit of ε_k.")
    adapt_damping_every: int = hyper(5, "int [1, inf)", "T1.")
    adapt_gamma_every: int = hyper(20, "int [1, inf)", "T2.")
    invert_every: int = hyper(20, "int [1, inf)", "T3.")
    statistics_share: float = hyper(
        1 / 8, "(0, 1]", "τ1 and τ2: the shares of the batch for A and Γ, and for M."
    )
    model_share: float = hyper(1 / 4, "(0, 1]", "τ1 and τ2: the shares of the batch for A and Γ, and for M.")
    words = {"schedule": "Not used: the method has no rate."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; the factors come with the first step."""
        zero = params.zeros_like(x)
        return {"t": 0, "damping": self.damping, "gamma": None, "last": zero, "factors": {}, "inverses": {}}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one step of Algorithm 2."""
        k = s["t"] + 1
        eta = float(getattr(oracle.problem, "l2", 0.0)) if self.eta is None else self.eta
        damping = s["damping"]
        gamma = math.sqrt(damping + eta) if s["gamma"] is None else s["gamma"]
        gradient = oracle.grad(x)
        layers = self._part(oracle, self.statistics_share).layers(x, sample=True, positions=True)
        check_cover(x, layers, "kfac")
        kept = self._average(s["factors"], factors(layers), min(1.0 - 1.0 / k, self.decay))
        model = _Model(x, gradient, damping + eta, self._part(oracle, self.model_share))
        best: tuple[float, float, Params, Any] | None = None
        for candidate in self._candidates(gamma, k):
            inverses = s["inverses"]
            if k <= 3 or k % self.invert_every == 0 or candidate != s["gamma"]:
                inverses = {name: damped_inverses(a, g, candidate) for name, (a, g) in kept.items()}
            proposal = self.proposal(gradient, inverses, layers)
            delta, change = self._final(model, proposal, s["last"] if k > 1 else None)
            if best is None or change < best[0]:
                best = (change, candidate, delta, inverses)
        assert best is not None
        change, gamma, delta, inverses = best
        new_x = params.axpy(1.0, delta, x)
        if k % self.adapt_damping_every == 0:
            damping = self._adapt(damping, oracle.value(new_x) - oracle.value(x), change)
        return new_x, {
            "t": k, "damping": damping, "gamma": gamma, "last": delta, "factors": kept, "inverses": inverses,
        }  # fmt: skip

    @staticmethod
    def _part(oracle: Oracle, share: float) -> Oracle:
        """Return the oracle on a random share of its batch (section 8)."""
        if share == 1.0:
            return oracle
        batch = np.arange(oracle.n_examples) if oracle.batch is None else oracle.batch
        size = max(1, round(share * batch.size))
        return oracle.on(oracle.rng.choice(batch, size=size, replace=False))

    @staticmethod
    def _average(old: Factors, new: Factors, weight: float) -> Factors:
        if not old:
            return new
        return {
            n: (weight * old[n][0] + (1.0 - weight) * a, weight * old[n][1] + (1.0 - weight) * g)
            for n, (a, g) in new.items()
        }

    def _candidates(self, gamma: float, k: int) -> tuple[float, ...]:
        if k % self.adapt_gamma_every:
            return (gamma,)
        omega = math.sqrt(19 / 20) ** self.adapt_gamma_every
        return gamma, omega * gamma, gamma / omega

    @staticmethod
    def proposal(gradient: Params, inverses: Factors, layers: list[Layer]) -> Params:
        """Return Δ: minus each layer's gradient between its inverse factors."""
        out: dict[str, Array] = {}
        for layer in layers:
            a, g = inverses[layer.weight]
            u = -(g @ as_matrix(gradient, layer.weight, layer.bias) @ a)
            out |= from_matrix(u, gradient, layer.weight, layer.bias)
        return {n: out[n] for n in gradient}

    def _final(self, model: _Model, proposal: Params, last: Params | None) -> tuple[Params, float]:
        """Return δ and the model's change M(δ) - M(0)."""
        if not self.rescale:
            return proposal, model.change([proposal], np.ones(1))
        directions = [proposal] if last is None or not self.momentum else [proposal, last]
        matrix, vector = model.restrict(directions)
        # Parallel directions make the 2 x 2 system singular; any of its solutions is the same step.
        weights = -np.linalg.lstsq(matrix, vector, rcond=None)[0]
        delta = params.scale(float(weights[0]), directions[0])
        for weight, direction in zip(weights[1:], directions[1:]):
            delta = params.axpy(float(weight), direction, delta)
        return delta, model.change(directions, weights)

    def _adapt(self, damping: float, actual: float, predicted: float) -> float:
        """Return λ after the Levenberg-Marquardt rule of section 6.5."""
        omega = (19 / 20) ** self.adapt_damping_every
        ratio = actual / predicted if predicted < 0.0 else -math.inf
        if ratio > 0.75:
            return damping * omega
        return damping / omega if ratio < 0.25 else damping


class _Model:
    """The quadratic model M(δ) = δᵀ (F + shift I) δ / 2 + ∇hᵀ δ along given directions."""

    def __init__(self, x: Params, gradient: Params, shift: float, oracle: Oracle) -> None:
        self.x, self.gradient, self.shift, self.oracle = x, gradient, shift, oracle
        self._seen: list[tuple[Params, Array, Array]] = []

    def _outputs(self, direction: Params) -> tuple[Array, Array]:
        """Return J d and H J d, asked for once a direction."""
        for seen, jd, hjd in self._seen:
            if seen is direction:
                return jd, hjd
        jd = self.oracle.jvp(self.x, direction)
        hjd = self.oracle.loss_hessian(self.x, jd)
        self._seen.append((direction, jd, hjd))
        return jd, hjd

    def restrict(self, directions: list[Params]) -> tuple[np.ndarray, np.ndarray]:
        """Return the model's matrix and gradient in the span of `directions`."""
        n = len(directions)
        matrix, vector = np.empty((n, n)), np.empty(n)
        for i, d in enumerate(directions):
            vector[i] = params.dot(self.gradient, d)
            jd = self._outputs(d)[0]
            for j, e in enumerate(directions):
                fisher = float(namespace(jd).sum(jd * self._outputs(e)[1]))
                matrix[i, j] = fisher + self.shift * params.dot(d, e)
        return matrix, vector

    def change(self, directions: list[Params], weights: np.ndarray) -> float:
        """Return M(δ) - M(0) of the combination with `weights`."""
        matrix, vector = self.restrict(directions)
        return float(0.5 * weights @ matrix @ weights + vector @ weights)
