"""ProxyProx: proximal steps on a cheap proxy of the objective (Woodworth et al. 2023)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core.errors import ArgumentTypeError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, copied, map_leaves, subtract
from refopt.core.problem import offers
from refopt.core.registry import Source, register

WOODWORTH = Source("woodworth-2023-losses", "B. Woodworth, K. Mishchenko, F. Bach",
    "Two Losses Are Better Than One: Faster Optimization Using a Cheaper Proxy", arxiv="2302.03542")  # fmt: skip


@register("proxyprox", source=WOODWORTH, where="Algorithm 1, the inner solver by a number of steps",
    calm_problem=("softmax", {"n_examples": 100}))  # fmt: skip
class ProxyProx(Method):
    """ProxyProx: one gradient of the objective h a step, and many of a proxy p that is like it.

    ``c = ∇h(w_k) - ∇p(w_k)``, and w_{k+1} is nearly the minimiser of ``p(w) + ⟨c, w⟩ + ‖w - w_k‖²/(2η)``, by steps
    ``w ← w - α (∇p(w) + c + (w - w_k)/η)`` from w_k. The rate depends on how far the Hessians of h and p are apart,
    not on their size: with an exact inner solution a quadratic's errors are multiplied by
    ``I - (H_p + I/η)⁻¹ H_h``.

    Raises
    ------
    ArgumentTypeError
        `proxy` is neither None, nor example indices, nor a problem with ``grad``.

    Notes
    -----
    The paper ends the inner solution by a test of its accuracy; the number of steps is the authors' code's. ∇p(w_k),
    of which c is made, is the first of the inner gradients.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("logistic", l2=0.1)
    >>> o = refopt.optimizer("proxyprox", proxy=np.arange(60), prox_step=5.0, lr=0.05, inner_steps=50)
    >>> r = refopt.minimize(p, o, steps=10)
    >>> r.calls["grad"], round(r.gradient_equivalents, 1)  # ten of all examples, 500 of a tenth
    (510, 62.7)
    """

    lr: Rate = hyper(0.1, "[0, inf)", "α, of the inner steps.")
    prox_step: float = hyper(1.0, "(0, inf)", "η; best about 1 over the distance of the Hessians.")
    inner_steps: int = hyper(10, "int [1, inf)", "Inner steps.")
    proxy: Any = hyper(None,
        words="p: a problem with ``grad``; indices of examples, of which p is the mean; or None, h itself, which makes"
        " it the proximal point method.", kind="problem or array of int")  # fmt: skip
    proxy_cost: float = hyper(0.0, "[0, 1]", "The price of a gradient of a problem p, in those of h.")

    def __post_init__(self) -> None:
        super().__post_init__()
        p = self.proxy
        indices = isinstance(p, np.ndarray) and p.dtype.kind in "iu" and p.ndim == 1 and p.size > 0
        if not (p is None or indices or (not isinstance(p, np.ndarray) and offers(p, "grad"))):
            raise ArgumentTypeError(
                f"proxyprox: proxy: wanted a problem with grad, example indices or None, got {p!r}"
            )

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the counter alone."""
        return {"t": 0}

    def cheap(self, oracle: Oracle) -> Oracle:
        """Return the oracle of p, counted together with h's."""
        if self.proxy is None:
            return oracle
        if isinstance(self.proxy, np.ndarray):
            return oracle.on(self.proxy)
        other = Oracle(self.proxy, oracle.seed)
        other.counts, other._share = oracle.counts, self.proxy_cost
        return other

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Correct the proxy by the true gradient, and take its proximal step."""
        t, p = s["t"] + 1, self.cheap(oracle)
        alpha, weight, w = self.rate(t), 1.0 / self.prox_step, x
        true = copied(oracle.grad(x))
        near = true if self.proxy is None else copied(p.grad(x))
        correction = subtract(true, near)
        for i in range(self.inner_steps):
            g = near if i == 0 else p.grad(w)
            pulled = map_leaves(lambda a, c, u, v: a + c + weight * (u - v), g, correction, w, x)
            w = axpy(-alpha, pulled, w)
        return w, {"t": t}
