"""Magma: steps of whole leaves are left out at random, the others shortened by how far momentum and gradient agree (Joo et al. 2026)."""

from __future__ import annotations

import math
from typing import Any

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.groups import choose
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, leaves, rebuild, zeros_like
from refopt.core.registry import Source, dialect, register
from refopt.core.rng import generator
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.trust import leaf_norm
from refopt.wrappers.base import Wrapper

JOO = Source("joo-2026-surprising", "T. Joo, W. Xia, C. Kim, M. Zhang, E. Ie", "On Surprising Effectiveness of Masking Updates in Adaptive Optimizers",
    arxiv="2602.15322")  # fmt: skip


@register("magma", source=JOO, where="the algorithm Magma, blocks being leaves")
class Magma(Wrapper):
    """Magma: a leaf takes half of the base's steps, and the shorter the less momentum and gradient agree.

    With the base's step Δ_t and its first moment m_t, new already, for every leaf ``s_t = β s_{t-1} + (1 - β) / (1 + exp(-cos(m_t, g_t) / τ))``,
    ``z_t = 1`` with probability p, else 0, ``x_t = x_{t-1} + s_t z_t Δ_t``. The base's state goes on as if x had moved.

    Notes
    -----
    m is what the base's state calls so, or else an average of the gradients of the wrapper's own. The paper does not say where s begins; the codes
    begin with 1. s tends to at most ``1 / (1 + exp(-1/τ))``, 0.62: on average a leaf moves by less than a third. Decay that is part of the
    base's step is left out with it. The paper leaves embeddings as they are: `group`.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("magma", base="sgd", lr=1.0, keep=1.0, score_beta=0.0)
    >>> x, s = o.update(np.zeros(2), np.array([1.0, 2.0]), o.init(np.zeros(2)))
    >>> print(x.round(4))  # the sigmoid of a half
    [-0.6225 -1.2449]
    """

    keep: float = hyper(0.5, "[0, 1]", "p.")
    temperature: float = hyper(2.0, "(0, inf)", "τ.")
    score_beta: float = hyper(0.9, "[0, 1]", "β.")
    first_score: float = hyper(1.0, "[0, 1]", "s_0.")
    own_beta: float = hyper(
        0.9, "[0, 1)", "The weight of the past in the wrapper's own average of gradients."
    )
    group: Any = hyper(
        "all", words="The leaves whose steps are masked.", kind="str, sequence of str, or callable"
    )
    seed: int = hyper(0, "int [0, inf)", "Of the draws, which are not those of the base.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the base's, the scores, and an average of gradients where the base has none."""
        x = check_start(x, "x")
        s = {**super().init(x), "score": dict.fromkeys(leaves(x), self.first_score)}
        return s if "m" in s["base"] else {**s, "average": zeros_like(x)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient and the base's step, and mask it."""
        g = params.copied(oracle.grad(x))
        return self._masked(x, g, s, self.base.step(x, s["base"], oracle))

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Update the base, where it needs gradients alone, and mask its step."""
        if (done := self._unusual(x, grad, s, donate)) is not None:
            return done
        return self._masked(params.without_graph(x), grad, s, self.base.update(x, grad, s["base"]))

    def _masked(self, x: Params, g: Params, s: State, stepped: tuple[Params, State]) -> tuple[Params, State]:
        t, (new, base) = s["t"] + 1, stepped
        rng, own = generator(self.seed, "wrapper", t), {}
        if "average" in s:
            beta = self.own_beta
            own["average"] = params.map_leaves(lambda m, b: ema(m, b, beta, 1.0 - beta), s["average"], g)
        moments, moved, scores = (
            leaves(own["average"] if own else base["m"]),
            dict(leaves(new)),
            dict(s["score"]),
        )
        mine = set(choose(x, self.group))
        for name, leaf in leaves(x).items():
            drawn = rng.random() < self.keep
            if name in mine:
                found = 1.0 / (1.0 + math.exp(-cosine(moments[name], leaves(g)[name]) / self.temperature))
                scores[name] = ema(scores[name], found, self.score_beta, 1.0 - self.score_beta)
                moved[name] = leaf + scores[name] * (moved[name] - leaf) if drawn else leaf
        return rebuild(x, moved), {"t": t, "base": base, "score": scores, **own}


def cosine(m: Array, g: Array) -> float:
    """Return the cosine of two leaves, 0 where one is zero."""
    divisor = nonzero(namespace(m))
    # Of unit vectors, so that no product leaves the range of the dtype.
    return float(namespace(m).sum((m / divisor(leaf_norm(m))) * (g / divisor(leaf_norm(g)))))


dialect(Magma, "kozistr", "pytorch_optimizer 4.1 Magma", "scores in float32; draws otherwise")
