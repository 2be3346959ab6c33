"""SPIDER: a path-integrated gradient estimate and steps of fixed length (Fang et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, check_start, map_leaves, norm, zeros_like
from refopt.core.registry import Evidence, Source, register
from refopt.optimizers.first_order.normalized_gd import CHEN_GENERALIZED

FANG = Source(
    key="fang-2018-spider",
    authors="C. Fang, C. J. Li, Z. Lin, T. Zhang",
    year=2018,
    title="SPIDER: Near-Optimal Non-Convex Optimization via Stochastic Path-Integrated Differential Estimator",
    venue="NeurIPS 2018",
)


@register(
    "spider",
    kind="optimizer",
    source=CHEN_GENERALIZED,
    where="Algorithm 2 (SPIDER with normalised steps)",
    also=(FANG,),
    evidence=(
        Evidence(
            "identity",
            "with full batches it is normalised gradient descent, to 1e-12",
            "tests/identities/test_spider.py::test_full_batches_are_normalized_gd",
        ),
        Evidence(
            "identity",
            "equals the algorithm transcribed with the same batches, to 1e-12",
            "tests/identities/test_spider.py::test_algorithm",
        ),
        Evidence(
            "claim",
            "components with one Hessian: the estimate's error is constant inside a period, to 1e-12",
            "tests/claims/test_spider.py::test_error_stays_inside_a_period",
        ),
        Evidence(
            "claim",
            "on a sum of quartics where stochastic gradient descent diverges it comes to the optimum; every step has length lr",
            "tests/claims/test_spider.py::test_where_sgd_diverges",
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class SPIDER(Method):
    """SPIDER: the last gradient estimate plus the batch's change of gradient, and a step of length γ.

    With t from 0: if t mod q = 0, ``v_t = ∇f_S(w_t)`` on a large sample; else
    ``v_t = v_{t-1} + ∇f_B(w_t) - ∇f_B(w_{t-1})`` on a batch B; ``w_{t+1} = w_t - γ v_t / ‖v_t‖``.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        γ, in the units of w.
    period : int, range [1, inf)
        q.
    large_batch : int, range [1, inf), optional
        The size of S, drawn with replacement; None: all examples.
    normalize : bool
        False: ``w_{t+1} = w_t - γ v_t``, as in SpiderBoost.
    schedule : callable, optional

    Notes
    -----
    B is the run's batch. A step inside a period costs two gradients of B. v = 0 stays. The paper
    returns a point drawn uniformly; here it is the last.

    References
    ----------
    Z. Chen et al. 2023, arXiv:2303.02854; C. Fang, C. J. Li, Z. Lin, T. Zhang 2018.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic")
    >>> r = refopt.minimize(p, "spider", lr=0.02, period=5, steps=20, batch_size=8)
    >>> dict(r.calls)
    {'grad': 36}
    """

    lr: Rate = hyper(0.01, "[0, inf)", rate=True)
    period: int = hyper(10, "int [1, inf)")
    large_batch: int | None = hyper(None, "int [1, inf)")
    normalize: bool = hyper(True, (True, False))

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        x = check_start(x, "x")
        return {"t": 0, "v": zeros_like(x), "previous": x}

    def estimate(self, x: Params, s: State, oracle: Oracle) -> Params:
        """Return v_t."""
        if s["t"] % self.period == 0:
            large = oracle.full if self.large_batch is None else oracle.on(oracle.draw(self.large_batch))
            return large.grad(x)
        here, there = oracle.grad(x), oracle.grad(s["previous"])
        return map_leaves(lambda v, a, b: v + a - b, s["v"], here, there)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one step from `x`."""
        v, t = self.estimate(x, s, oracle), s["t"] + 1
        length = norm(v) if self.normalize else 1.0
        new = axpy(-self.rate(t) / length, v, x) if length > 0.0 else x
        return new, {"t": t, "v": v, "previous": x}
