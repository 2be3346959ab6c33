"""OASIS: Hutchinson's Hessian diagonal, and a rate from the curvature that it leaves (Jahani et al. 2021)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, copied, map_leaves, subtract, zeros_like
from refopt.core.registry import Source, register
from refopt.core.rng import rademacher
from refopt.optimizers.common.averages import ema

JAHANI = Source("jahani-2021-doubly",
    "M. Jahani, S. Rusakov, Z. Shi, P. Richtárik, M. W. Mahoney, M. Takáč",
    "Doubly Adaptive Scaled Algorithm for Machine Learning Using Second-Order Information",
    arxiv="2109.05198")  # fmt: skip


@register(
    "oasis",
    source=JAHANI,
    where="Algorithm 1",
    needs=("grad", "hvp"),
    calm_problem=("matrix-sensing", {"n": 6, "rank": 2}),
)
class OASIS(Method):
    """OASIS: a step divided by the averaged Hessian diagonal, and a rate without a search.

    ``D_k = β2 D_{k-1} + (1 - β2) z ⊙ ∇²F(w_k) z`` with signs z, ``D̂_k = max(|D_k|, α)`` entrywise;
    ``η_k = min( sqrt(1 + θ_{k-1}) η_{k-1}, ‖w_k - w_{k-1}‖_{D̂_k} / (2 ‖∇F(w_k) - ∇F(w_{k-1})‖_{D̂_k^{-1}}) )``,
    ``w_{k+1} = w_k - η_k D̂_k^{-1} ∇F(w_k)``, ``θ_k = η_k / η_{k-1}``, with ``‖x‖_D² = x^T D x``. The first step has the given
    η_0 and D_0, and θ_0 = ∞.

    Notes
    -----
    On batches both gradients of the quotient are of the step's batch, two a step; z sees that batch too, where the
    paper may draw another. D_0, which the paper takes as given, is the mean over `start_probes` draws at w_0. A
    schedule multiplies the step and not the remembered η.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=100.0, diagonal=True)
    >>> r = refopt.minimize(p, "oasis", steps=60)
    >>> bool(r.fun < 1e-20), round(r.state["eta"], 12)  # D is exact, and the quotient then 1/2
    (True, 0.5)
    """

    lr: Rate = hyper(1e-2, "[0, inf)", "η_0; without a unit. The rate of every step where it is fixed.")
    beta2: float = hyper(0.99, "[0, 1)", "β2.")
    alpha: float = hyper(1e-2, "(0, inf)", "α, the least size of the diagonal, in units of the Hessian.")
    adaptive: bool = hyper(True, words="False: the rate is fixed, the paper's second form.")
    start_probes: int = hyper(10, "int [1, inf)", "Draws whose mean is D_0.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; D comes with the first step."""
        zero = zeros_like(check_start(x, "x"))
        state: dict[str, object] = {"t": 0, "d": zero}
        if not self.adaptive:
            return state
        return {**state, "x": zeros_like(x), "g": zeros_like(x), "eta": 0.0, "theta": 0.0}

    def diagonal(self, x: Params, s: State, oracle: Oracle) -> Params:
        """Return D of this step."""
        draws = self.start_probes if s["t"] == 0 else 1
        mean = zeros_like(x)
        for _ in range(draws):
            z = rademacher(oracle.rng, x)
            mean = map_leaves(lambda m, z, h: m + z * h / draws, mean, z, oracle.hvp(x, z))
        if s["t"] == 0:
            return mean
        return map_leaves(lambda d, h: ema(d, h, self.beta2, 1.0 - self.beta2), s["d"], mean)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient, its last point's gradient on this batch, and a Hessian product; then step."""
        t, g, d = s["t"] + 1, copied(oracle.grad(x)), self.diagonal(x, s, oracle)
        size = map_leaves(self.bounded, d)
        new: dict[str, object] = {"t": t, "d": d}
        if self.adaptive:
            eta, theta = float(self.lr(1) if callable(self.lr) else self.lr), 0.0
            if t > 1:
                before = s["g"] if oracle.batch is None else oracle.grad(s["x"])
                eta = self.next_rate(subtract(x, s["x"]), subtract(g, before), size, s)
                theta = eta / s["eta"] if s["eta"] > 0.0 else 1.0
            new.update(x=copied(x), g=g, eta=eta, theta=theta)
            rate = eta * self.multiplier(t)
        else:
            rate = self.rate(t)
        return map_leaves(lambda x, g, d: x - rate * g / d, x, g, size), new

    def bounded(self, d: Array) -> Array:
        """Return D̂."""
        xp = namespace(d)
        d = xp.abs(d)
        return xp.where(d < self.alpha, self.alpha, d)

    @staticmethod
    def next_rate(moved: Params, changed: Params, size: Params, s: State) -> float:
        """Return η_k from the last step, the gradient's change over it, and D̂_k."""
        roots = map_leaves(lambda d: namespace(d).sqrt(d), size)
        above = params.norm(map_leaves(lambda a, r: a * r, moved, roots))
        below = 2.0 * params.norm(map_leaves(lambda a, r: a / r, changed, roots))
        # θ_0 = ∞: the quotient alone decides on the first rate after η_0.
        most = (1.0 + s["theta"]) ** 0.5 * s["eta"] if s["t"] > 1 else None
        if below == 0.0 or above == 0.0:
            return s["eta"] if most is None or above == 0.0 else most
        return above / below if most is None else min(most, above / below)
