"""Gradient clipping by norm (Pascanu et al. 2013)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, check_like
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.clipping import shortening
from refopt.wrappers.base import Wrapper

PASCANU = Source("pascanu-2012-difficulty", "R. Pascanu, T. Mikolov, Y. Bengio",
    "On the difficulty of training Recurrent Neural Networks", arxiv="1211.5063")  # fmt: skip


def clipped(g: Params, threshold: float, eps: float = 0.0) -> Params:
    """Return `g` scaled to a norm of at most `threshold`, over all leaves; with eps beside the norm."""
    return params.scale(shortening(params.norm(g) + eps, threshold), g)


@register("clip-norm", source=PASCANU, where="Algorithm 1")
class ClipNorm(Wrapper):
    """Clipping by norm: the base method is given a gradient that is no longer than a threshold.

    ``g <- c g / ||g||`` where ``||g|| >= c``; the norm is over all parameters, so that the direction stays.

    Notes
    -----
    The paper's second proposal, a soft constraint against vanishing gradients, is a penalty on a recurrent
    network's weights and no part of this.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("clip-norm", base="sgd", threshold=1.0, lr=1.0)
    >>> x, s = o.update(np.zeros(2), np.array([3.0, 4.0]), o.init(np.zeros(2)))
    >>> print(x)
    [-0.6 -0.8]
    """

    threshold: float = hyper(1.0, "(0, inf)", "c, in the units of the gradient.")
    eps: float = hyper(0.0, "[0, inf)", "Beside the norm: the factor is ``min(1, c / (||g|| + eps))``.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Clip `grad` and update the base, where it needs gradients alone."""
        if (done := self._unusual(x, grad, s, donate)) is not None:
            return done
        check_like(grad, x, "grad")
        x, base = self.base.update(x, clipped(grad, self.threshold, self.eps), s["base"])
        return x, {"t": s["t"] + 1, "base": base}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with clipped gradients, wherever it asks for them."""

        def short(oracle: Oracle, w: Params) -> Params:
            return clipped(oracle.grad(w), self.threshold, self.eps)

        x, base = self.base.step(x, s["base"], GradientsAt(oracle, short))
        return x, {"t": s["t"] + 1, "base": base}


dialect(ClipNorm, "torch", "torch 2.13 nn.utils.clip_grad_norm_", eps=1e-6)
dialect(ClipNorm, "optax", "optax 0.2.8 clip_by_global_norm", "TensorFlow's clip_by_global_norm alike")
