"""Gradient descent on two factors with one modified step (Xiong et al. 2023)."""

from __future__ import annotations

from refopt.core.arrays import namespace
from refopt.core.errors import ShapeError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, check_start, leaves, rebuild
from refopt.core.registry import Source, register
from refopt.optimizers.recovery.scaled_gd import partners

XIONG = Source("xiong-2023-slows", "Nuoya Xiong, Lijun Ding, Simon S. Du",
    "How Over-Parameterization Slows Down Gradient Descent in Matrix Sensing: The Curses of Symmetry and Initialization",
    arxiv="2310.01769")  # fmt: skip


@register("balanced-gd", source=XIONG, where="the method that modifies one step of gradient descent", needs=("value", "grad"),
    state_copies=0, factors=2, calm_problem=("asymmetric-matrix-sensing", {"n1": 6, "n2": 5, "rank": 2}))  # fmt: skip
class BalancedGD(Method):
    """Gradient descent on ``M = F Gᵀ`` that once gives all singular values of F the same size.

    ``F <- F - η ∇_F f``, ``G <- G - η ∇_G f``, both at once. At the first point with ``f <= threshold``, before its step,
    with the SVD ``F = A S Bᵀ``: ``F <- β A``, ``G <- G B S / β``. The product stays; F is well conditioned from then on, G
    small in the directions that M does not need, and the error falls like ``exp(-c η β² t)`` whatever the start's size α,
    where plain descent's rate is of the order of α².

    Notes
    -----
    The paper asks for a small error ‖F Gᵀ - M‖ and a β below the root of M's least singular value. Its exact
    condition could not be read; here it is a value of f, which a method can see. F must have full column rank.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("asymmetric-matrix-sensing", n1=8, n2=7, rank=2, search_rank=4, measurements=400)
    >>> r = refopt.minimize(p, "balanced-gd", lr=0.2, beta=0.7, threshold=1e-2, steps=400)
    >>> q = refopt.minimize(p, "sgd", lr=0.2, steps=400)
    >>> r.fun < 1e-6 * q.fun, r.state["modified_at"] > 0
    (True, True)
    """

    lr: Rate = hyper(0.1, "[0, inf)", "η, in units of 1 over M.")
    beta: float = hyper(0.5, "(0, inf)", "β, in units of F.")
    threshold: float = hyper(1e-2, "[0, inf)", "The value of f at which the one step is modified.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step at which the factors were changed, 0 for not yet."""
        if len(partners(check_start(x, "x"))) != 2:
            raise ShapeError("x: wanted two factors, F (n1, r) and G (n2, r), got one")
        return {"t": 0, "modified_at": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Change the factors if it is time, ask for the gradient there, and step."""
        t, at = s["t"] + 1, s["modified_at"]
        if at == 0 and oracle.value(x) <= self.threshold:
            x, at = self.modified(x), t
        return axpy(-self.rate(t), oracle.grad(x), x), {"t": t, "modified_at": at}

    def modified(self, x: Params) -> Params:
        """Return factors of the same product, of which the first has all singular values at β.

        Raises
        ------
        ShapeError
            F has less than full column rank.
        """
        (first, F), (second, G) = leaves(x).items()
        xp = namespace(F)
        A, S, Bt = xp.linalg.svd(F, full_matrices=False)
        if F.shape[0] < F.shape[1] or not float(S[-1]) > float(xp.finfo(F.dtype).eps) * float(S[0]):
            raise ShapeError(
                f"x: {first} has less than full column rank, {F.shape[1]}, so the step is not defined"
            )
        return rebuild(x, {first: self.beta * A, second: (G @ xp.matrix_transpose(Bt)) * (S / self.beta)})
