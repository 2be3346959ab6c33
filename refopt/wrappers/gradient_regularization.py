"""Gradient regularization and how its gradient is taken (Karakida et al. 2022); flooding (Ishida et al. 2020)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, axpy, copied, scale, subtract
from refopt.core.registry import Source, dialect, register
from refopt.wrappers.base import Wrapper

KARAKIDA = Source("karakida-2022-understanding", "R. Karakida, T. Takase, T. Hayase, K. Osawa",
    "Understanding Gradient Regularization in Deep Learning: Efficient Finite-Difference Computation and"
    " Implicit Bias", arxiv="2210.02720")  # fmt: skip
ISHIDA = Source("ishida-2020-do", "T. Ishida, I. Yamane, T. Sakai, G. Niu, M. Sugiyama",
    "Do We Need Zero Training Loss After Achieving Zero Training Error?", arxiv="2002.08709")  # fmt: skip
WORDS = {
    "base": "The method that steps; a name takes further hyperparameters (``lr=...``).",
    "schedule": "Of the base's rate: handed on to a base that is given by name.",
}


@register("gradient-regularization", source=KARAKIDA, where="equations (2) to (5)")
class GradientRegularization(Wrapper):
    """Gradient regularization: the base minimises ``L + (γ/2) ‖∇L‖²``, whose gradient is ``∇L + γ ΔR``.

    ``ΔR = (∇L(θ + ε ∇L) - ∇L(θ))/ε`` forward, ``(∇L(θ) - ∇L(θ - ε ∇L))/ε`` backward,
    ``(∇L(θ + ε ∇L) - ∇L(θ - ε ∇L))/(2 ε)`` centred, and ``∇²L ∇L`` exact (double backpropagation). All are one on a
    quadratic; the gradient is not normalised, other than in `sam`.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4)
    >>> r = refopt.minimize(p, "gradient-regularization", form="centred", lr=0.1, steps=100)
    >>> dict(r.calls)
    {'grad': 300}
    """

    gamma: float = hyper(0.1, "[0, inf)", "γ.")
    radius: float = hyper(
        0.1, "(0, inf)", "ε. A large one is no worse: forward, it favours flat minima more."
    )
    form: str = hyper("forward", ("forward", "backward", "centred", "exact"), "How ΔR is taken.")
    words = WORDS

    @property
    def needs(self) -> tuple[str, ...]:
        """The gradient, Hessian-vector products for the exact form, and what the base needs."""
        own = ("grad", "hvp") if self.form == "exact" else ("grad",)
        return tuple(dict.fromkeys((*own, *self.base.needs)))

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with the regularised gradients."""
        x, base = self.base.step(x, s["base"], GradientsAt(oracle, self.gradient))
        return x, {"t": s["t"] + 1, "base": base}

    def gradient(self, oracle: Oracle, w: Params) -> Params:
        """Return ``∇L + γ ΔR`` at `w`."""
        g = copied(oracle.grad(w))
        if self.form == "exact":
            return axpy(self.gamma, oracle.hvp(w, g), g)
        ahead = behind = g
        if self.form != "backward":
            ahead = copied(oracle.grad(axpy(self.radius, g, w)))
        if self.form != "forward":
            behind = oracle.grad(axpy(-self.radius, g, w))
        width = 2.0 * self.radius if self.form == "centred" else self.radius
        return axpy(self.gamma / width, subtract(ahead, behind), g)


@register("flooding", source=ISHIDA, where="equation (3)", needs=("value", "grad"), also=(KARAKIDA,))
class Flooding(Wrapper):
    """Flooding: the base descends while the batch's loss is above a level, and ascends below it.

    The loss is ``|L - b| + b``, so the base is given ``sign(L - b) ∇L``, with sign(0) = 0. It is switched off by
    b = 0. The loss is the batch's mean; decay that is the base's own is not turned.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4)
    >>> r = refopt.minimize(p, "flooding", level=0.1, lr=0.05, steps=500)
    >>> abs(r.fun - 0.1) < 0.02
    True
    """

    level: float = hyper(0.1, "[0, inf)", "b, in the units of the loss.")
    words = WORDS

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with the turned gradients."""
        x, base = self.base.step(x, s["base"], GradientsAt(oracle, self.gradient))
        return x, {"t": s["t"] + 1, "base": base}

    def gradient(self, oracle: Oracle, w: Params) -> Params:
        """Return ``sign(L - b) ∇L`` at `w`."""
        if self.level == 0.0:
            return oracle.grad(w)
        loss, g = oracle.value_and_grad(w)
        return scale(float((loss > self.level) - (loss < self.level)), g)


dialect(Flooding, "official", "takashiishida/flooding synthetic/demo_synth.py")
