"""DeepZero: coordinate-wise estimates on a sparse set of coordinates (Chen et al. 2023)."""

from __future__ import annotations

import numpy as np

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, flatten, full_like, leaves, unflatten, zeros_like
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.zeroth_order.estimates import coordinate_slopes, mean, slopes

CHEN = Source("chen-2023-deepzero", "A. Chen, Y. Zhang, J. Jia, J. Diffenderfer, J. Liu, K. Parasyris, et al.",
    "DeepZero: Scaling up Zeroth-Order Optimization for Deep Model Training", arxiv="2310.02025")  # fmt: skip


@register("zo-cge", source=CHEN, where="equation (2), Algorithm 1 and ZO-GraSP, equation (4)", needs=("value",),
    state_copies=2, calm_problem=("quadratic", {"n": 6}))  # fmt: skip
class ZOCGE(Method):
    """DeepZero: momentum on a difference quotient along every coordinate of a set that changes.

    ``ĝ_i = (f(θ + μ e_i) - f(θ)) / μ`` for i in S, 0 elsewhere; ``v ← γ v + ĝ + λ θ``, ``θ ← θ - η v``. S is a
    uniformly random part of every leaf, drawn anew every so many steps. How large a part of which leaf is fixed at
    the first step: the same of all, or by ZO-GraSP, which scores ``s = -θ ⊙ (g' - g)/μ`` with random estimates g at
    θ and g' at θ + μ g, and counts the lowest.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=8)
    >>> r = refopt.minimize(p, "zo-cge", density=0.5, redraw_every=10, lr=0.1, steps=200)
    >>> dict(r.calls), bool(r.fun < 0.01 * r.history["value"][0])
    ({'value': 1000}, True)
    """

    lr: Rate = hyper(0.1, "[0, inf)", "η.")
    radius: float = hyper(5e-3, "(0, inf)", "μ, also of the scores.")
    momentum: float = hyper(0.9, "[0, 1)", "γ.")
    weight_decay: float = hyper(5e-4, "[0, inf)", "λ; it acts on all coordinates.")
    density: float = hyper(1.0, "(0, 1]", "The share of all coordinates that is in S.")
    redraw_every: int | None = hyper(None, "int [1, inf)",
        "Steps from one S to the next; the paper has epochs. None: S stays.")  # fmt: skip
    ratios: str = hyper("even", ("even", "grasp"), "The shares of the leaves: all equal, or by ZO-GraSP.")
    probes: int = hyper(192, "int [1, inf)", "Directions of a random estimate for the scores.")
    ranks: str = hyper("signed", ("signed", "magnitude"),
        "ZO-GraSP counts the lowest s as above, or the largest |s|.")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: no velocity, and every coordinate in S."""
        return {"t": 0, "v": zeros_like(x), "mask": full_like(x, 1.0)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Draw S where it is time, ask for its quotients, and make the step of momentum."""
        t, mask = s["t"] + 1, s["mask"]
        if self.density < 1.0 and s["t"] % (self.redraw_every or t) == 0:
            counts = self.counts(x, oracle) if s["t"] == 0 else kept(mask)
            mask = drawn(x, counts, oracle.rng)
        g = coordinate_slopes(oracle, x, self.radius, "one-sided", flatten(mask))
        v = params.axpy(self.momentum, s["v"], params.axpy(self.weight_decay, x, g))
        return params.axpy(-self.rate(t), v, x), {"t": t, "v": v, "mask": mask}

    def counts(self, x: Params, oracle: Oracle) -> dict[str, int]:
        """Return how many coordinates of every leaf are in S."""
        if self.ratios == "even":
            sizes = {k: params.size(v) for k, v in leaves(x).items()}
            return {k: max(1, round(self.density * n)) for k, n in sizes.items()}
        score = flatten(self.scores(x, oracle))
        order = np.argsort(score if self.ranks == "signed" else -np.abs(score), kind="stable")
        chosen = np.zeros(score.size)
        chosen[order[: max(1, round(self.density * score.size))]] = 1.0
        return kept(unflatten(chosen, x))

    def scores(self, x: Params, oracle: Oracle) -> Params:
        """Return s of ZO-GraSP, from two random estimates with directions of their own."""

        def estimate(at: Params) -> Params:
            return mean(slopes(oracle, at, "gaussian", self.radius, "one-sided", self.probes))

        g = estimate(x)
        ahead = estimate(params.axpy(self.radius, g, x))
        return params.map_leaves(lambda w, a, b: -w * (a - b) / self.radius, x, ahead, g)


def kept(mask: Params) -> dict[str, int]:
    """Return the number of ones in every leaf."""
    return {k: int(np.count_nonzero(flatten(v))) for k, v in leaves(mask).items()}


def drawn(x: Params, counts: dict[str, int], rng: np.random.Generator) -> Params:
    """Return so many ones at random places of every leaf, zeros elsewhere."""
    parts = []
    for k, leaf in leaves(x).items():
        part = np.zeros(params.size(leaf))
        part[rng.permutation(part.size)[: counts[k]]] = 1.0
        parts.append(part)
    return unflatten(np.concatenate(parts), x)


dialect(ZOCGE, "official", "OPTML-Group/DeepZero algorithm/zoo/gradient_estimate.py",
    "a pruner by magnitude is fed with the scores; its random estimate is normalised leaf by leaf, which is not here",
    ranks="magnitude", ratios="grasp", density=0.1)  # fmt: skip
