"""Kron: PSGD's Kronecker factors whitening the momentum, as popular trainers have it (Walters 2024)."""

from __future__ import annotations

import math
from typing import Any

from refopt.core import arrays
from refopt.core.arrays import Array, eye_like, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, leaves, rebuild, zeros_like
from refopt.core.registry import Source, dialect, register
from refopt.core.rng import normal
from refopt.curvature.fitted import LI_2024
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.clipping import shortening
from refopt.optimizers.second_order.psgd import LI_2018, largest, share
from refopt.optimizers.second_order.psgd_kron import (
    Factors,
    back,
    balanced,
    contraction,
    inverse_back,
    norm_bound,
    through,
)

WALTERS = Source("walters-2024-kron", "E. Walters, X.-L. Li", "kron_torch: An implementation of PSGD Kron", url="https://github.com/evanatyourservice/kron_torch")  # fmt: skip


def fitted(factors: Factors, h: Array, v: Array, rate: float) -> Factors:
    """Return the factors after a step towards whitening `h`, `v` being noise: all see the same ``A = Q h`` and ``B = Q⁻ᵀ v``."""
    A, B = through(factors, h), inverse_back(factors, v)
    new = []
    for axis, f in enumerate(factors):
        first, second = contraction(f, A, axis), contraction(f, B, axis)
        if f.ndim == 1:
            new.append(f - share(rate, largest(first + second)) * (first - second) * f)
        else:
            E = namespace(f).triu(first - second)
            new.append(f - share(rate, norm_bound(first + second)) * (E @ f))
    return tuple(new)


@register("kron", source=WALTERS, where="kron.py", also=(LI_2024, LI_2018))
class Kron(Method):
    """Kron: momentum times a Kronecker-factored whitening matrix, which is fitted to the momentum itself.

    ``m ← β m + (1 - β) g``, ``m̂ = m / (1 - β^t)``. For a leaf, Q = Q_1 ⊗ … ⊗ Q_k with a triangular factor for every axis, or a diagonal one: with normal v,
    ``A = Q m̂``, ``B = Q⁻ᵀ v``, unfolded along axis i ``T1 = A_i A_iᵀ``, ``T2 = B_i B_iᵀ``, ``Q_i ← Q_i - μ triu(T1 - T2) Q_i / ‖T1 + T2‖``, all from the same
    A and B. ``P = Qᵀ Q m̂``, ``x ← x - η (P min(1, r / (RMS(P) + 1e-6)) + λ x)``; λ of leaves with two axes or more alone.

    Notes
    -----
    It is `psgd-kron` in the whitening form, with momentum in the gradient's place in the fit too, no damping, no memory of the norms, and a
    fit that becomes rare: of the first 500 steps every one has one, then every ``1/p``-th with ``p = max(exp(-(t - 501) / 1000), 0.03)``. With
    a probability of 0.01 a step first brings the factors of every leaf to equal largest entries. Leaves of one axis have a
    diagonal. Norms are lower bounds (`norm_bound`).

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("matrix-sensing", n=4, rank=2)
    >>> r = refopt.minimize(p, "kron", lr=0.05, steps=100)
    >>> bool(r.fun < 1e-2 * r.history["value"][0])
    True
    """

    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    momentum: float = hyper(0.9, "[0, 1)", "β.")
    fit_rate: float = hyper(0.1, "(0, 1]", "μ.")
    update_probability: float | None = hyper(None, "(0, 1]", "p, of every step. None: as above.")
    balance_probability: float = hyper(0.01, "[0, 1]", "Of balancing, in a step with a fit.")
    from_momentum: bool = hyper(True, words="False: Q is fitted to the gradient.")
    init_scale: float = hyper(1.0, "(0, inf)", "Q's first multiple of I.")
    max_size: float = hyper(8192, "[0, inf]", "Longer axes have diagonal factors.")
    max_rms: float = hyper(1.1, "(0, inf]", "r; infinity: steps are not shortened.")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: momentum, factors, and the steps since the last fit."""
        x = check_start(x, "x")
        first = {k: self.first(v) for k, v in leaves(x).items()}
        return {"t": 0, "waited": 0, "m": zeros_like(x), "q": rebuild(x, first)}

    def shaped(self, leaf: Array) -> Array:
        """Return a leaf as it is, a scalar with one axis."""
        return leaf if leaf.ndim else namespace(leaf).reshape(leaf, (1,))

    def first(self, leaf: Array) -> Factors:
        """Return a leaf's first factors."""
        shape = self.shaped(leaf).shape
        c, out = self.init_scale ** (1.0 / len(shape)), []
        for n in shape:
            eye = c * eye_like(leaf, n)
            diagonal = len(shape) < 2 or n == 1 or n > self.max_size
            out.append(namespace(leaf).sum(eye, axis=0) if diagonal else eye)
        return tuple(out)

    def due(self, t: int, waited: int) -> bool:
        """Tell whether Q is fitted at step t, which is the `waited`-th since the last fit."""
        p = self.update_probability
        p = max(min(math.exp(-0.001 * (t - 501)), 1.0), 0.03) if p is None else p
        return waited >= 1.0 / p

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient, fit Q, and step."""
        g, t, rng = leaves(oracle.grad(x)), s["t"] + 1, oracle.rng
        due = self.due(t, s["waited"] + 1)
        balance = due and rng.random() < self.balance_probability
        noise = leaves(normal(rng, x)) if due else {}
        beta, lr = self.momentum, self.rate(t)
        moved: dict[str, Array] = {}
        kept: dict[str, dict[str, Any]] = {"m": {}, "q": {}}
        for name, leaf in leaves(x).items():
            m = ema(leaves(s["m"])[name], g[name], beta, 1.0 - beta)
            factors, h = leaves(s["q"])[name], self.shaped(m / correction(beta, t))
            if due:
                factors = balanced(factors) if balance and leaf.ndim > 1 else factors
                target = h if self.from_momentum else self.shaped(g[name])
                factors = fitted(factors, target, self.shaped(noise[name]), self.fit_rate)
            P = back(factors, through(factors, h))
            P = shortening(arrays.norm(P) / math.sqrt(math.prod(P.shape)) + 1e-6, self.max_rms) * P
            decay = self.weight_decay if leaf.ndim > 1 else 0.0
            moved[name] = (1.0 - lr * decay) * leaf - lr * namespace(leaf).reshape(P, leaf.shape)
            kept["m"][name], kept["q"][name] = m, factors
        state = {k: rebuild(x, v) for k, v in kept.items()}
        return rebuild(x, moved), {"t": t, "waited": 0 if due else s["waited"] + 1, **state}


dialect(Kron, "kozistr", "pytorch_optimizer 4.1 Kron", "triangular solves in float32; draws other noise")
