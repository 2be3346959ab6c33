"""MKOR: rank-one updates of inverse Kronecker factors, before a first-order step (Mozaffari et al. 2023)."""

from __future__ import annotations

import math
from typing import ClassVar

from refopt.core.arrays import Array, eye_like, namespace, norm
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, leaves, rebuild
from refopt.core.problem import Layer
from refopt.core.registry import Source, dialect, register
from refopt.curvature.kronecker import Factors, as_matrix, from_matrix, homogeneous
from refopt.wrappers.base import Wrapper

MOZAFFARI = Source("mozaffari-2023-mkor", "M. Mozaffari, S. Li, Z. Zhang, M. Mehri Dehnavi",
    "MKOR: Momentum-Enabled Kronecker-Factor-Based Optimizer Using Rank-1 Updates", arxiv="2306.01685")  # fmt: skip


def rank_one(inverse: Array, v: Array, gamma: float, *, exact: bool) -> Array:
    """Return the new inverse factor for the vector v.

    Exact: the inverse of ``γ P⁻¹ + (1 - γ) v vᵀ`` by Sherman-Morrison. Otherwise as the paper prints it:
    ``γ P + (1 - γ) / (γ² (1 + γ (1 - γ) vᵀ P v)) P v vᵀ P``.
    """
    xp = namespace(inverse)
    u = inverse @ v
    inner = xp.sum(v * u)
    # Multiplied in this order it is symmetric to the bit; an antisymmetric part would grow by 1/γ an update.
    outer = u[:, None] * u[None, :]
    if exact:
        part = (1.0 - gamma) / gamma
        return (inverse - (part / (1.0 + part * inner)) * outer) / gamma
    weight = (1.0 - gamma) / (gamma**2 * (1.0 + gamma * (1.0 - gamma) * inner))
    return gamma * inverse + weight * outer


@register("mkor", kind="optimizer", source=MOZAFFARI, where="Algorithm 1", needs=("grad", "layers"))
class MKOR(Wrapper):
    """MKOR: each layer's gradient between two inverse factors that are updated by one vector a time.

    With a and s the means over the batch of a layer's inputs (and one for the bias) and output gradients, every T
    steps: an inverse with an entry above ε becomes ``ζ P + (1 - ζ) I``; then both go on by `rank_one`, L⁻¹ with s
    and R⁻¹ with a, from I. ``Δ = L⁻¹ ∇W R⁻¹``, and the base method steps with ``Δ ‖∇W‖ / ‖Δ‖``.

    Notes
    -----
    The update as printed is not the inverse of ``γ L + (1 - γ) s sᵀ`` (it adds where Sherman-Morrison subtracts),
    but stays positive definite; `exact` has the inverse. ζ, ε and T are those of the authors' code, whose update
    is another one (``dialect="official"``; its reset to I of factors with an entry above 2 is left out, since none is above 1). Leaves that belong to no linear layer keep their gradients.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("mlp", widths=(8,), seed=0)
    >>> r = refopt.minimize(p, "mkor", base="momentum", lr=0.05, steps=15, record="full")
    >>> bool(r.history["value"][-1] < r.history["value"][0])
    True
    """

    own_needs: ClassVar[tuple[str, ...]] = ("grad", "layers")
    gamma: float = hyper(0.95, "(0, 1]", "γ.")
    exact: bool = hyper(False, words="False: the update that the paper prints; True: Sherman-Morrison's.")
    summed: bool = hyper(False, words="True, as in the authors' code: the first refresh leaves I, later ones end with the inverse of"
        " ``(ζ P + (1 - ζ) I)⁻¹ + v vᵀ``. γ, ε and `exact` are then not used; P stays below I.")  # fmt: skip
    clip: float = hyper(
        math.inf, "(0, inf]", "Inputs and output gradients are cut off at this before their means."
    )
    norms: str = hyper("joint", ("joint", "apart"),
        "‖∇W‖ and ‖Δ‖: joint, of weight and bias as one matrix; apart, the sum of both norms (the authors' code).")  # fmt: skip
    update_every: int = hyper(10, "int [1, inf)", "T: at t = 1, T + 1, ….")
    threshold: float = hyper(2.0, "(0, inf]", "ε, for the largest entry of an inverse.")
    shrink: float = hyper(0.95, "[0, 1]", "ζ.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; the factors come with the first step."""
        return {**super().init(x), "inverses": {}}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with preconditioned gradients."""
        t, inverses = s["t"] + 1, s["inverses"]
        layers = oracle.layers(x, sample=False)
        if (t - 1) % self.update_every == 0:
            inverses = {layer.weight: self._updated(layer, inverses) for layer in layers}
        inner = GradientsAt(oracle, lambda oracle, w: self.preconditioned(oracle.grad(w), layers, inverses))
        x, base = self.base.step(x, s["base"], inner)
        return x, {"t": t, "base": base, "inverses": inverses}

    def _updated(self, layer: Layer, old: Factors) -> tuple[Array, Array]:
        """Return R⁻¹ and L⁻¹ after this batch."""
        out = []
        for i, rows in enumerate((homogeneous(layer), layer.output_grads)):
            xp = namespace(rows)
            v = xp.mean(xp.clip(rows, -self.clip, self.clip) if self.clip < math.inf else rows, axis=0)
            if self.summed:
                out.append(self._summed(old[layer.weight][i], v) if old else eye_like(rows))
                continue
            P = old[layer.weight][i] if old else eye_like(rows)
            if float(xp.max(xp.abs(P))) > self.threshold:
                P = self.shrink * P + (1.0 - self.shrink) * eye_like(P)
            out.append(rank_one(P, v, self.gamma, exact=self.exact))
        return out[0], out[1]

    def _summed(self, P: Array, v: Array) -> Array:
        """Return the inverse of ``(ζ P + (1 - ζ) I)⁻¹ + v vᵀ``."""
        B = self.shrink * P + (1.0 - self.shrink) * eye_like(P)
        u = B @ v
        return B - (u[:, None] * u[None, :]) / (1.0 + namespace(v).sum(v * u))

    def _size(self, w: Array, layer: Layer) -> float:
        """Return the norm of a layer's gradient."""
        if self.norms == "joint" or layer.bias is None:
            return norm(w)
        return norm(w[:, :-1]) + norm(w[:, -1])

    def preconditioned(self, gradient: Params, layers: list[Layer], inverses: Factors) -> Params:
        """Return the gradient with each layer's between its inverses, of the length that it had."""
        out = dict(leaves(gradient))
        for layer in layers:
            right, left = inverses[layer.weight]
            w = as_matrix(out, layer.weight, layer.bias)
            u = left @ w @ right
            size = self._size(u, layer)
            u = u * (self._size(w, layer) / size) if size > 0.0 else w
            out |= from_matrix(u, out, layer.weight, layer.bias)
        return rebuild(gradient, out)


dialect(
    MKOR,
    "official",
    "Mohammad-Mozaffari/mkor mkor.py, in full precision",
    summed=True,
    clip=100.0,
    norms="apart",
)


THESIS = Source("mozaffari-2026-compression", "M. Mozaffari",
    "Compression Trinity: Exploring Sparsity, Quantization, and Low-Rank Approximations for LLM Compression",
    venue="Doctoral thesis, University of Toronto")  # fmt: skip


@register("mkor-h", kind="optimizer", source=MOZAFFARI, also=(THESIS,), needs=("value", "grad", "layers"),
    where="Hybrid MKOR (Section 3.3.2 of the thesis); the criterion is this library's")  # fmt: skip
class MKORH(MKOR):
    """MKOR-H: MKOR until the loss has flattened, then its base method alone, for good.

    With means over windows of w steps, ``F = (1/w) Σ_{i=t-2w+1}^{t-w} f_i`` and ``F' = (1/w) Σ_{i=t-w+1}^t f_i`` of the losses f_i
    at which steps start, the loss falls by ``ρ_t = (F - F') / (w |F|)`` a step. From the first step t ≥ 2w with ``ρ_t ≤ τ`` on,
    this one among them, the base method steps with the gradient itself, from the state that it has.

    Notes
    -----
    The author's thesis says that the switch is "loss decrease rate-based" and "back to first-order methods if needed", and neither it
    nor the authors' code (commit 3a0e3bb), in which nothing switches, has a statistic, a window or a threshold. So ρ, w and τ are
    choices of this library: two windows' means rather than two losses, since a batch's loss is noisy. The one detector that the thesis
    describes, the knee-points of its rate schedule (A.8), compares an exponential average of the decrease with a share of the decrease so far.
    The base's moments, which are of preconditioned gradients, go on, as they do at the code's manual switch. τ = -inf never switches:
    MKOR. τ = inf does at the first step: the base method. Behind the switch neither losses nor layers are asked for, and the factors are
    gone from the state, whose ``"switched"`` is the first step of the base's own, 0 before.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("mlp", widths=(8,), seed=0)
    >>> r = refopt.minimize(p, "mkor-h", base="momentum", lr=0.05, steps=100, window=5, least_decrease=0.01)
    >>> 10 < r.state["switched"] < 100 and r.calls["layers"] == r.state["switched"] - 1
    True
    """

    own_needs = ("value", "grad", "layers")
    window: int = hyper(10, "int [1, inf)", "w.")
    least_decrease: float = hyper(1e-3, "[-inf, inf]", "τ, a share of the loss per step.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        return {**super().init(x), "losses": (), "switched": 0}

    def decrease(self, losses: tuple[float, ...]) -> float:
        """Return ρ of the last 2w losses; infinite where there are fewer, and 0 where F is."""
        w = self.window
        if len(losses) < 2 * w:
            return math.inf
        before, now = sum(losses[:w]) / w, sum(losses[w:]) / w
        return (before - now) / (w * abs(before)) if before != 0.0 else 0.0

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step as MKOR or, behind the switch, as the base."""
        t, losses, switched = s["t"] + 1, s["losses"], s["switched"]
        if not switched:
            losses = (*losses, oracle.value_and_grad(x)[0])[-2 * self.window :]
            switched = t if self.decrease(losses) <= self.least_decrease else 0
        if switched:
            x, base = self.base.step(x, s["base"], oracle)
            return x, {"t": t, "base": base, "inverses": {}, "losses": (), "switched": switched}
        x, new = super().step(x, s, oracle)
        return x, {**new, "losses": losses, "switched": 0}
