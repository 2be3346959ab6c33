"""SGD with annealed gradient noise (Neelakantan et al. 2015)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start
from refopt.core.registry import Source, dialect, register
from refopt.core.rng import normal

NEELAKANTAN = Source("neelakantan-2015-adding", "A. Neelakantan, L. Vilnis, Q. V. Le, I. Sutskever, L. Kaiser, K. Kurach, J. Martens",
    "Adding Gradient Noise Improves Learning for Very Deep Networks", arxiv="1511.06807")  # fmt: skip


@register("noisy-sgd", source=NEELAKANTAN, where="annealed Gaussian noise", state_copies=0)
class NoisySGD(Method):
    """Noisy SGD: normal noise is added to every gradient, less and less of it.

    ``x_t = x_{t-1} - η (g_t + ξ_t)``, ``ξ_t ~ N(0, σ_t²)`` in every coordinate, ``σ_t² = η_n / t^γ`` for t = 1, 2, ...

    Notes
    -----
    The paper counts steps from 0 and divides by ``(1 + t)^γ``, which is the same. η_n is a variance; the paper chooses it from 0.01, 0.3
    and 1. The noise follows from the run's seed and the step alone.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "noisy-sgd", lr=0.1, steps=200, seed=0)
    >>> r.fun < 0.05
    True
    """

    lr: Rate = hyper(0.01, "[0, inf)", "η.")
    variance: float = hyper(0.01, "[0, inf)", "η_n, in squared units of the gradient.")
    gamma: float = hyper(0.55, "[0, inf)", "γ.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        check_start(x, "x")
        return {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient, add noise and step."""
        t = s["t"] + 1
        deviation = (self.variance / t**self.gamma) ** 0.5
        g = params.axpy(deviation, normal(oracle.rng, x), oracle.grad(x))
        return params.axpy(-self.rate(t), g, x), {"t": t}


dialect(
    NoisySGD,
    "optax",
    "optax 0.2.8 noisy_sgd",
    "its noise is from its own key, always the same one unless a key is given",
)
