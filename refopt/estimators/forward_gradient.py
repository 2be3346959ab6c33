"""Forward gradients (Baydin et al. 2022), and guided ones (Fournier et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.errors import ArgumentTypeError
from refopt.core.hyper import hyper
from refopt.core.oracle import Oracle
from refopt.core.params import Params, leaves, rebuild
from refopt.core.registry import Source, dialect, register
from refopt.core.rng import normal
from refopt.estimators.base import Estimator, isotropic
from refopt.optimizers.zeroth_order.estimates import LAWS, draw, mean

BAYDIN = Source("baydin-2022-gradients", "A. G. Baydin, B. A. Pearlmutter, D. Syme, F. Wood, P. Torr",
    "Gradients without Backpropagation", arxiv="2202.08587")  # fmt: skip
FOURNIER = Source("fournier-2023-forward", "L. Fournier, S. Rivaud, E. Belilovsky, M. Eickenberg, E. Oyallon",
    "Can Forward Gradient Match Backpropagation?", arxiv="2306.06968")  # fmt: skip


@register("forward-gradient", source=BAYDIN, where="Definition 1 and Algorithm 1", needs=("directional",))
class ForwardGradient(Estimator):
    """The forward gradient: the derivative along a random direction, times the direction.

    ``ĝ = (1/n) Σ (∇f(x)ᵀ v_i) v_i`` with v ~ N(0, I), each by one forward pass. It is unbiased, and one sample
    has the covariance ``‖g‖² I + g gᵀ``.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "forward-gradient", lr=0.05, steps=300, record="full")
    >>> dict(r.calls), bool(r.fun < 0.1 * r.history["value"][0])
    ({'directional': 300}, True)
    """

    samples: int = hyper(1, "int [1, inf)", "n; the paper has 1.")
    law: str = hyper("gaussian", LAWS, "Of v.")

    def estimate(self, oracle: Oracle, x: Params) -> Params:
        """Return ĝ."""
        drawn = [draw(self.law, oracle.rng, x) for _ in range(self.samples)]
        return mean([(oracle.directional(x, v), v) for v in drawn])

    def moments(self, f: float, g: np.ndarray) -> tuple[np.ndarray, float]:
        """Return g, and that of `isotropic`."""
        return g, isotropic(self.law, self.samples, g)


@register("forward-gradient-guided", source=FOURNIER, where="equation (2), weight space", needs=("directional",),
    also=(BAYDIN,), calm_problem=("quadratic", {"n": 6}))  # fmt: skip
class GuidedForwardGradient(Estimator):
    """The guided forward gradient: the gradient's projection on a guess, leaf by leaf.

    ``ĝ = ⟨g, G⟩ / (‖G‖² + ε) G`` for each leaf, with the guess G a direction that is cheap to have, such as the
    gradient of a local loss; ⟨g, G⟩ is one directional derivative.

    Raises
    ------
    ArgumentTypeError
        `guess` is neither None nor callable.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4)
    >>> o = refopt.optimizer("forward-gradient-guided", guess=lambda oracle, x: p.grad(x), lr=0.5)
    >>> r = refopt.minimize(p, o, steps=10, record="full")
    >>> dict(r.calls), bool(abs(r.x - refopt.minimize(p, "sgd", lr=0.5, steps=10).x).max() < 1e-12)
    ({'directional': 10}, True)
    """

    guess: Callable[[Oracle, Params], Params] | None = hyper(None,
        words="G as ``guess(oracle, x)``, with the oracle on the examples that are asked about; None: normal"
        " numbers.", kind="callable")  # fmt: skip
    normalize: bool = hyper(True,
        words="Divide by ‖G‖² + ε as above. False: ``⟨g, G⟩ G``, which is unbiased for normal numbers.")  # fmt: skip
    eps: float = hyper(0.0, "[0, inf)", "ε; a guess of zero gives zero.")
    per_example: bool = hyper(False,
        words="Project each example's gradient on that example's guess and average; else the batch's on the"
        " batch's.")  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guess is not None and not callable(self.guess):
            raise ArgumentTypeError(
                f"guess: wanted a function of the oracle and x, or None, got {self.guess!r}"
            )

    def estimate(self, oracle: Oracle, x: Params) -> Params:
        """Return ĝ."""
        if not self.per_example or getattr(oracle.problem, "n_examples", None) is None:
            return self.projected(oracle, x)
        examples = np.arange(oracle.n_examples) if oracle.batch is None else oracle.batch
        each = [(1.0, self.projected(oracle.on(examples[i : i + 1]), x)) for i in range(examples.size)]
        return mean(each)

    def projected(self, oracle: Oracle, x: Params) -> Params:
        """Return the projection of the oracle's gradient on its guess."""
        guess = normal(oracle.rng, x) if self.guess is None else self.guess(oracle, x)
        named, out = leaves(guess), {}
        for name, leaf in named.items():
            alone = {k: v if k == name else 0.0 * v for k, v in named.items()}
            out[name] = self.weight(oracle.directional(x, rebuild(x, alone)), leaf) * leaf
        return rebuild(x, out)

    def weight(self, along: float, guess: Any) -> float:
        """Return what multiplies one leaf of the guess, along which the derivative is `along`."""
        if not self.normalize:
            return along
        length = params.norm(guess)
        # Divided twice: the square of a small guess would be zero.
        return along / length / (length + self.eps / length) if length > 0.0 else 0.0

    def moments(self, f: float, g: np.ndarray) -> tuple[np.ndarray, float]:
        """Return both for normal numbers and one leaf: g/d and ‖g‖²/d, or unnormalised g and (d + 2)‖g‖²."""
        if self.normalize:
            return g / g.size, float(g @ g) / g.size
        return g, isotropic("gaussian", 1, g)


dialect(GuidedForwardGradient, "official", "streethagore/ForwardLocalGradient trainer/estimators.py",
    "its estimator weight", per_example=True, eps=1e-16)  # fmt: skip
