"""Direct feedback alignment: hidden layers learn from random projections of the error (Nøkland 2016; Launay et al. 2019)."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, like, namespace
from refopt.core.hyper import hyper
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.estimators.base import Estimator

LAUNAY = Source("launay-2019-principled", "J. Launay, I. Poli, F. Krzakala",
    "Principled Training of Neural Networks with Direct Feedback Alignment", arxiv="1906.04554")  # fmt: skip
NOKLAND = Source("nokland-2016-direct", "A. Nøkland",
    "Direct Feedback Alignment Provides Learning in Deep Neural Networks", arxiv="1609.01596")  # fmt: skip


@register("feedback-alignment", source=LAUNAY, where="direct feedback alignment, with shared, scaled feedback", also=(NOKLAND,),
    needs=("grad", "layers", "slopes"),
    calm_problem=("mlp", {"widths": (5,), "n_examples": 70}))  # fmt: skip
class FeedbackAlignment(Estimator):
    """Direct feedback alignment: a fixed random matrix carries the output's error to each hidden layer.

    In place of the back-propagated gradients by a hidden layer's outputs s_l stand ``(e B_l) ⊙ act'(s_l)``, e the gradient by the
    network's outputs; the last layer's are exact. All B_l are the first columns of one matrix, C rows and as many columns as the
    widest hidden layer, with entries of variance ``1/(C width_l)``.

    Notes
    -----
    It is no estimate of the gradient: the weights come to agree with the feedback, and the two align. The matrix is drawn from the run's
    seed, the same at every step. In the authors' code the mean over examples is taken in the last layer alone.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("mlp", widths=(16,), n_examples=100)
    >>> r = refopt.minimize(p, "feedback-alignment", base="momentum", lr=0.2, steps=60)
    >>> bool(p.value(r.x) < 0.5 * p.value(p.start()))
    True
    """

    reduction: str = hyper("mean", ("mean", "sum"), "Over the examples, in hidden layers.")

    def estimate(self, oracle: Oracle, x: Params) -> Params:
        """Return the gradient with the hidden layers' parts replaced."""
        layers, slopes, g = oracle.layers(x, sample=False), oracle.slopes(x), dict(oracle.grad(x))
        error = layers[-1].output_grads
        n, classes = error.shape
        widest = max((slope.shape[1] for slope in slopes), default=0)
        feedback = like(generator(oracle.seed, "method", 0).standard_normal((classes, widest)), error)
        times = float(n) if self.reduction == "sum" else 1.0
        for layer, slope in zip(layers, slopes):
            width = slope.shape[1]
            wrong = (error @ feedback[:, :width]) * (slope / math.sqrt(classes * width))
            change: Array = (times * wrong - layer.output_grads) / n
            g[layer.weight] = g[layer.weight] + change.T @ layer.inputs
            if layer.bias is not None:
                g[layer.bias] = g[layer.bias] + namespace(change).sum(change, axis=0)
        return g
