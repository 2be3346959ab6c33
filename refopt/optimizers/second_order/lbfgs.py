"""L-BFGS (Nocedal 1980, Liu and Nocedal 1989)."""

from __future__ import annotations

from typing import Any

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start
from refopt.core.registry import Source, dialect, register
from refopt.curvature.lbfgs import LIU, two_loops
from refopt.optimizers.common.line_search import Line, backtracking, strong_wolfe, zoom
from refopt.optimizers.common.sums import sum_abs

NOCEDAL = Source("nocedal-1980-updating", "J. Nocedal", "Updating Quasi-Newton Matrices with Limited Storage",
    venue="Mathematics of Computation 35(151), 773-782", doi="10.1090/S0025-5718-1980-0572855-7")  # fmt: skip
SEARCHES = ("strong-wolfe", "zoom", "backtracking", "none")


@register(
    "lbfgs",
    source=LIU,
    where="Algorithm 2.1",
    also=(NOCEDAL,),
    needs=("value", "grad"),
    calm_problem=("quadratic", {"n": 12}),
)
class LBFGS(GradientMethod):
    """L-BFGS: quasi-Newton steps from the last few changes of point and gradient, with a line search.

    ``x_{k+1} = x_k + α_k d_k``, ``d_k = -H_k g_k`` by the two-loop recursion over the last m pairs ``s = x_{i+1} - x_i``,
    ``y = g_{i+1} - g_i``, from ``H = (sᵀy / yᵀy) I`` of the newest; α_k fulfils the Wolfe conditions
    ``f(x_k + α d) ≤ f(x_k) + c1 α gᵀd`` and ``|∇f(x_k + α d)ᵀd| ≤ c2 |gᵀd|``.

    Notes
    -----
    A pair is kept where sᵀy is positive, as the second condition makes it; then every d descends. The first step has the length of
    the gradient, or 1 if that is longer. All leaves are one vector. Where no direction descends (at a minimum) the point stays.
    Searches: ``strong-wolfe`` as in minFunc and torch (brackets, cubics), ``zoom`` as in optax (Nocedal and Wright's), ``backtracking``
    on values alone with the first condition, ``none``: α = lr.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(lambda x: float(x @ x), lambda x: 2.0 * x, x0=np.array([1.0, -2.0]))
    >>> r = refopt.minimize(p, "lbfgs", steps=3)
    >>> print(r.fun < 1e-20)
    True
    """

    one_vector = True
    lr: Rate = hyper(
        1.0, "[0, inf)", "The first step tried, 1 in quasi-Newton methods; without a search, the step."
    )
    memory: int = hyper(10, "int [1, inf)", "m.")
    line_search: str = hyper("strong-wolfe", SEARCHES, "How α is found.")
    c1: float = hyper(1e-4, "(0, 1)", "Of the first condition.")
    c2: float = hyper(0.9, "(0, 1)", "Of the second.")
    evaluations: int = hyper(20, "int [1, inf)", "The most points that a search looks at.")
    curvature_floor: float = hyper(0.0, "[0, inf)", "A pair is kept where sᵀy is above it.")
    keeps_all: bool = hyper(
        False, words="True: pairs of negative sᵀy are kept too, and those of zero without weight (optax)."
    )
    first: str = hyper("l2", ("l2", "l1", "one"),
        "The first direction is -g times ``min(1, 1 / ‖g‖)`` with this norm, or -g.")  # fmt: skip

    @property
    def needs(self) -> tuple[str, ...]:
        """Values, where a search looks at them."""
        return ("grad",) if self.line_search == "none" else self.own_needs

    @property
    def given(self) -> tuple[str, ...]:  # type: ignore[override]
        """What a step is fed with."""
        return ("g",) if self.line_search == "none" else ("f", "g")

    def active_slots(self) -> tuple[str, ...]:
        """Return the names that a state must have."""
        return ("x", "g", "pairs")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: no pairs."""
        x = check_start(x, "x")
        return {"t": 0, "x": params.copied(x), "g": params.zeros_like(x), "pairs": {}}

    def pairs(self, x: Params, g: Params, s: State) -> list[dict[str, Any]]:
        """Return the pairs, the oldest first, with the one that leads to `x`."""
        pairs = list(s["pairs"].values())
        if s["t"] == 0:
            return pairs
        step, change = params.subtract(x, s["x"]), params.subtract(g, s["g"])
        if self.keeps_all or params.dot(step, change) > self.curvature_floor:
            pairs.append({"s": step, "y": change})
        return pairs[-self.memory :]

    def direction(self, g: Params, pairs: list[dict[str, Any]], first: bool) -> Params:
        """Return ``-H g``."""
        if not pairs:
            return params.scale(-self.first_scale(g) if first else -1.0, g)
        products = [params.dot(p["s"], p["y"]) for p in pairs]
        below = params.dot(pairs[-1]["y"], pairs[-1]["y"])
        gamma = products[-1] / below if below > 0.0 else 1.0
        weighted = [(p["s"], p["y"], 1.0 / sy if sy != 0.0 else 0.0) for p, sy in zip(pairs, products)]
        return params.scale(-1.0, two_loops(g, weighted, gamma))

    def first_scale(self, g: Params) -> float:
        """Return what the first gradient is multiplied by."""
        if self.first == "one":
            return 1.0
        length = params.norm(g) if self.first == "l2" else sum_abs(g)
        return min(1.0, 1.0 / length) if length > 0.0 else 1.0

    def search(self, oracle: Oracle, x: Params, d: Params, f: float, slope: float, t: float) -> Params:
        """Return the point that the line search ends at, from its first step `t` on."""
        line = Line(oracle, x, d)
        if self.line_search == "backtracking":
            t = backtracking(line, f, slope, t, c1=self.c1, most=self.evaluations)
        else:
            how = strong_wolfe if self.line_search == "strong-wolfe" else zoom
            t = how(line, f, slope, t, c1=self.c1, c2=self.c2, most=self.evaluations)
        # A new object: the next step asks there again, whether the run was cut here or not.
        return params.axpy(t, d, x)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for value and gradient at `x` and along the direction that they give."""
        if self.line_search == "none":
            return super().step(x, s, oracle)
        f, g = oracle.value_and_grad(x)
        t, pairs = s["t"] + 1, self.pairs(x, g, s)
        d = self.direction(g, pairs, t == 1)
        slope, rate = params.dot(g, d), self.rate(t)
        new = self.search(oracle, x, d, f, slope, rate) if slope < 0.0 and rate > 0.0 else params.copied(x)
        return new, self._state(t, x, g, pairs)

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step without a search."""
        t, pairs = s["t"] + 1, self.pairs(x, g, s)
        d = self.direction(g, pairs, t == 1)
        return params.axpy(self.rate(t), d, x), self._state(t, x, g, pairs)

    def _state(self, t: int, x: Params, g: Params, pairs: list[dict[str, Any]]) -> State:
        kept = {str(i): p for i, p in enumerate(pairs)}
        return {"t": t, "x": params.copied(x), "g": params.copied(g), "pairs": kept}


dialect(LBFGS, "torch", "torch 2.13 optim.LBFGS(line_search_fn='strong_wolfe'), one iteration a call",
    "line_search='none' for its default; stopping is the driver's", memory=100, curvature_floor=1e-10, first="l1", evaluations=25)  # fmt: skip
dialect(LBFGS, "optax", "optax 0.2.8 lbfgs", "no test of the curvature", line_search="zoom", keeps_all=True)
