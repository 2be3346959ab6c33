"""Sharpness-aware minimization (Foret et al. 2020)."""

from __future__ import annotations

import operator

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, dialect, register
from refopt.wrappers.base import Wrapper

FORET = Source("foret-2020-sharpness", "P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur",
    "Sharpness-Aware Minimization for Efficiently Improving Generalization", arxiv="2010.01412")  # fmt: skip
KWON = Source("kwon-2021-asam", "J. Kwon, J. Kim, H. Park, I. K. Choi",
    "ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning of Deep Neural Networks",
    arxiv="2102.11600")  # fmt: skip


class Perturbed(Wrapper):
    """Base of SAM and its kin: the base method steps with gradients from points beside its own."""

    def perturbation(self, w: Params, g: Params) -> Params:
        """Return what is added at `w`, where the gradient is `g`."""
        raise NotImplementedError

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with gradients from the perturbed points."""

        def sharp(oracle: Oracle, w: Params) -> Params:
            return oracle.grad(params.axpy(1.0, self.perturbation(w, oracle.grad(w)), w))

        x, base = self.base.step(x, s["base"], GradientsAt(oracle, sharp))
        return x, {"t": s["t"] + 1, "base": base}


@register("sam", source=FORET, where="Algorithm 1, equation (3) with p = 2", also=(KWON,))
class SAM(Perturbed):
    """SAM: the base method steps with the gradient at the worst point of a small ball, to first order.

    ``ε̂ = ρ ∇L(w) / ||∇L(w)||_2``, ``g = ∇L(w + ε̂)``, and the base method steps from w with g. The
    norm is over all parameters; both gradients are of the same batch.

    Examples
    --------
    >>> import refopt
    >>> o = refopt.optimizer("sam", base="momentum", rho=0.05, lr=0.1)
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), o, steps=100)
    >>> dict(r.calls)
    {'grad': 200}
    """

    rho: float = hyper(0.05, "[0, inf)", "ρ, in the units of x.")
    eps: float = hyper(0.0, "[0, inf)",
        "Added to the norm; the paper has none (0), and a gradient of zero is then not moved from.")  # fmt: skip
    adaptive: bool = hyper(False, words="ASAM: ``ε̂ = ρ w² ⊙ ∇L / || |w| ⊙ ∇L ||``.")
    words = {
        "base": "The method that steps; a name takes further hyperparameters (``lr=...``).",
        "schedule": "Of the base's rate: handed on to a base that is given by name.",
    }

    def perturbation(self, w: Params, g: Params) -> Params:
        """Return ε̂ at `w`, where the gradient is `g`."""
        return ascent(g, self.rho, self.eps, sizes(w) if self.adaptive else None)


def sizes(w: Params) -> Params:
    """Return ``|w|``, the stretch of adaptive SAM."""
    return params.map_leaves(lambda a: namespace(a).abs(a), w)


def ascent(g: Params, rho: float, eps: float, stretch: Params | None = None) -> Params:
    """Return ``ρ T² g / (||T g|| + ε)`` with `stretch`, T, elementwise (none: 1); zero where g is."""
    along = g if stretch is None else params.map_leaves(operator.mul, stretch, g)
    length = params.norm(along) + eps
    direction = along if stretch is None else params.map_leaves(operator.mul, stretch, along)
    return params.scale(rho / length if length > 0.0 else 0.0, direction)


def across(v: Params, u: Params, eps: float = 0.0) -> Params:
    """Return v without its part along u; ε is added to every norm and to their product."""
    size, long = params.norm(v), params.norm(u)
    if size == 0.0 or long == 0.0:
        return v
    # Of unit vectors, so that no product leaves the range of the dtype.
    cosine = params.dot(params.scale(1.0 / size, v), params.scale(1.0 / long, u)) / (1.0 + eps / size / long)
    return params.axpy(-cosine * size / (long + eps), u, v)


dialect(SAM, "official", "google-research/sam", "no guard of the norm; a zero gradient stays", eps=0.0)
dialect(SAM, "davda54", "davda54/sam", eps=1e-12)
