"""bSAM: SAM from a relaxation of Bayes (Möllenhoff and Khan 2022)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, map_leaves
from refopt.core.registry import Source, dialect, register
from refopt.core.rng import normal
from refopt.optimizers.common.averages import ema

MOLLENHOFF = Source(
    "mollenhoff-2022-sam",
    "T. Möllenhoff, M. E. Khan",
    "SAM as an Optimal Relaxation of Bayes",
    arxiv="2210.01620",
)


@register("bsam", kind="wrapper", source=MOLLENHOFF, where="bSAM", state_copies=2)
class BSAM(Method):
    """bSAM: SAM with the precisions of a posterior in place of the ball, learnt from the gradients at draws from it.

    ``y = x + n / sqrt(N s)``, n normal; ``g = ∇L(y)``, ``g_p = ∇L(x + ρ g / s)``; ``m ← β1 m + (1 - β1)(g_p + δ x)``, ``x ← x - η m / s``,
    ``s ← β2 s + (1 - β2)(sqrt(s) |g| + γ + δ)``, in every coordinate, with the old s in x's step.

    Notes
    -----
    N is the number of the problem's examples where none is given. The draws follow from the run's seed and the step. The average over
    parts of a batch (m-sharpness) of the authors' experiments is not here. pytorch_optimizer's BSAM is another rule: its noise is divided by
    N s, not by the root; noise and perturbation stay in x; m averages δ times the gradient; and s is learnt from squares.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "bsam", lr=0.5, steps=50, seed=0)
    >>> dict(r.calls)
    {'grad': 100}
    """

    lr: Rate = hyper(0.1, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    rho: float = hyper(0.05, "[0, inf)", "ρ.")
    delta: float = hyper(0.0, "[0, inf)", "δ, the prior's precision over N: a coupled decay.")
    damping: float = hyper(0.1, "(0, inf)", "γ, below which s does not fall in the long run.")
    initial: float = hyper(1.0, "(0, inf)", "s_0, in the units of the gradient over x.")
    examples: int | None = hyper(
        None, "int [1, inf)", "N. None: the problem's number, 1 for a problem without."
    )

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: no momentum, and s_0."""
        zero = params.zeros_like(check_start(x, "x"))
        return {"t": 0, "m": zero, "s": params.full_like(zero, self.initial)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradients at a draw and at the perturbed point."""
        t, eta, n = s["t"] + 1, self.rate(s["t"] + 1), self.examples or oracle.n_examples

        def drawn(a: Array, noise: Array, precision: Array) -> Array:
            return a + noise / namespace(a).sqrt(n * precision)

        g = params.copied(oracle.grad(map_leaves(drawn, x, normal(oracle.rng, x), s["s"])))
        sharp = oracle.grad(map_leaves(lambda a, b, c: a + self.rho * b / c, x, g, s["s"]))
        m = map_leaves(
            lambda a, b, c: ema(a, b + self.delta * c, self.beta1, 1.0 - self.beta1), s["m"], sharp, x
        )
        new = map_leaves(lambda a, b, c: a - eta * b / c, x, m, s["s"])

        def learnt(precision: Array, b: Array) -> Array:
            xp = namespace(b)
            return ema(
                precision,
                xp.sqrt(precision) * xp.abs(b) + (self.damping + self.delta),
                self.beta2,
                1.0 - self.beta2,
            )

        return new, {"t": t, "m": m, "s": map_leaves(learnt, s["s"], g)}


dialect(BSAM, "official", "team-approx-bayes/bayesian-sam optim.py", "its wdecay is delta")
