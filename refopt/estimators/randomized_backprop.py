"""Weight gradients of linear layers from sketches of what they are fed (Bershatsky et al. 2022)."""

from __future__ import annotations

from refopt.core.arrays import Array, like
from refopt.core.hyper import hyper
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, register
from refopt.estimators.base import Estimator
from refopt.estimators.gradient_sketch import sketch_matrix

BERSHATSKY = Source("bershatsky-2022-memory",
    "D. Bershatsky, A. Mikhalev, A. Katrutsa, J. Gusak, D. Merkulov, I. Oseledets",
    "Memory-Efficient Backpropagation through Large Linear Layers", arxiv="2201.13195")  # fmt: skip


@register("randomized-backprop", source=BERSHATSKY, where="the randomised gradient of a linear layer's weights", needs=("grad", "layers"),
    calm_problem=("softmax", {"n_examples": 70}))  # fmt: skip
class RandomizedBackprop(Estimator):
    """Randomised backpropagation: of each linear layer's inputs a sketch of k rows is kept, in place of all B.

    For ``∇W = Yᵀ X``, X (B, in) the inputs and Y (B, out) the mean loss's gradients by the outputs: ``(S Y)ᵀ (S X)`` with S (k, B) drawn
    for each layer, E[SᵀS] = I. Biases and gradients by the inputs stay exact.

    Notes
    -----
    The estimate is unbiased, with ``E ‖ĝ - Yᵀ X‖² = (‖X‖² ‖Y‖² + ‖YᵀX‖²)/k`` for normal entries, ``2 Σ ‖x_i‖² ‖y_i‖²/k`` less for
    signs. The authors' code multiplies its transforms by k² too much, which is not followed. Here the whole gradient is asked for
    as well, for the leaves and regularisers that no layer has.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("mlp", widths=(8,), n_examples=200)
    >>> r = refopt.minimize(p, "randomized-backprop", share=0.2, base="momentum", lr=0.05, steps=60)
    >>> bool(p.value(r.x) < 0.5 * p.value(p.start()))
    True
    """

    share: float = hyper(0.5, "(0, 1]", "k/B; k is rounded, and at least 1.")
    sketch: str = hyper(
        "gaussian", ("gaussian", "rademacher", "dct"), "S's law; the last, rows of the cosine transform."
    )

    def estimate(self, oracle: Oracle, x: Params) -> Params:
        """Return the gradient with the weights' parts replaced."""
        layers, g = oracle.layers(x, sample=False), dict(oracle.grad(x))
        for layer in layers:
            B = layer.inputs.shape[0]
            S = sketch_matrix(self.sketch, max(1, round(self.share * B)), B, oracle.rng)
            g[layer.weight] = (
                g[layer.weight] + error(like(S, layer.inputs), layer.inputs, layer.output_grads) / B
            )
        return g


def error(S: Array, X: Array, Y: Array) -> Array:
    """Return ``(S Y)ᵀ (S X) - Yᵀ X``."""
    return (S @ Y).T @ (S @ X) - Y.T @ X
