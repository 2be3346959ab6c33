"""TrAct: the first layer's gradient made that of its activations (Petersen, Borgelt and Ermon 2024)."""

from __future__ import annotations

from refopt.core.arrays import Array, eye_like, namespace
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, dialect, register
from refopt.wrappers.base import Wrapper

PETERSEN = Source("petersen-2024-tract", "F. Petersen, C. Borgelt, S. Ermon",
    "TrAct: Making First-layer Pre-Activations Trainable", arxiv="2410.23970")  # fmt: skip


@register(
    "tract", source=PETERSEN, where="the closed form for a linear first layer", needs=("grad", "layers")
)
class TrAct(Wrapper):
    """TrAct: the first layer's weights move so that its pre-activations make gradient steps, by least squares.

    For the first layer ``z = X Wᵀ`` of B examples, ``∇W`` becomes ``∇W (XᵀX/B + λ I)⁻¹``; everything else, the bias too, keeps its
    gradient, and the base method steps.

    Notes
    -----
    It is the minimiser of ``‖X Dᵀ - B Δ‖²/B + λ ‖D‖²``, Δ the gradients by z of the mean loss: for λ → 0 and independent inputs
    the pre-activations move by -η B Δ, for a large λ the step is 1/λ of the usual one. It is K-FAC's input factor of the first layer, of
    the step's batch. A rank below the number of inputs is taken account of by the smaller of two equal systems.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("mlp", widths=(8,), n_examples=200)
    >>> r = refopt.minimize(p, "tract", base="momentum", lr=0.05, steps=30, record="full")
    >>> bool(r.history["value"][-1] < 0.6 * r.history["value"][0])
    True
    """

    damping: float = hyper(0.1, "(0, inf)", "λ.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with the first layer's gradient replaced."""
        x, base = self.base.step(x, s["base"], GradientsAt(oracle, self.gradient))
        return x, {"t": s["t"] + 1, "base": base}

    def gradient(self, oracle: Oracle, w: Params) -> Params:
        """Return the gradient at `w`, with that of the first layer's weights replaced."""
        first, g = oracle.layers(w, sample=False)[0], oracle.grad(w)
        return {**g, first.weight: fitted(g[first.weight], first.inputs, self.damping)}


def fitted(G: Array, X: Array, damping: float) -> Array:
    """Return ``G (XᵀX/B + λ I)⁻¹``."""
    xp, (B, n) = namespace(G), X.shape
    if n <= B:
        return xp.matrix_transpose(xp.linalg.solve((X.T @ X) / B + damping * eye_like(X, n), G.T))
    inner = xp.linalg.solve((X @ X.T) / B + damping * eye_like(X, B), X @ G.T / B)
    return (G - inner.T @ X) / damping


dialect(TrAct, "official", "Felix-Petersen/tract tract.py", "its exact inverse")
