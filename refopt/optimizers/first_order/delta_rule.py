"""The delta rule of a single neuron, as in the lecture notes of Cuevas-Tello (2018)."""

from __future__ import annotations

import numpy as np

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start
from refopt.core.registry import Source, register
from refopt.optimizers.common.neuron import NEEDS, neuron

CUEVAS = Source("cuevastello-2018-apuntes", "J. C. Cuevas-Tello", "Apuntes de Redes Neuronales Artificiales",
    arxiv="1806.05298")  # fmt: skip
WIDROW = Source("widrow-1960-adaptive", "B. Widrow, M. E. Hoff", "Adaptive switching circuits",
    venue="IRE WESCON Convention Record 4:96-104")  # fmt: skip


@register("delta-rule", source=CUEVAS, where="the delta rule", needs=NEEDS, also=(WIDROW,), state_copies=0,
    calm_problem=("logistic", {"n_examples": 80}))  # fmt: skip
class DeltaRule(Method):
    """The delta rule: an example at a time, the weights move by the error times the input.

    ``w <- w + η (d_i - y_i) f' a_i`` with the output ``y_i = f(a_i^T w)`` and the target d_i. f is a threshold (with
    1 for f'), the identity, or ``1 / (1 + exp(-z))``, whose f' is ``y_i (1 - y_i)``.

    Notes
    -----
    The threshold gives Rosenblatt's perceptron, the identity the rule of Widrow and Hoff. Without the driver's
    batches step t takes example (t - 1) mod n, in order; with them, the mean over the batch. A bias is a constant
    feature (``intercept`` of the problem). The notes' own signs and start are not known to us: the start is x0.

    Examples
    --------
    >>> import refopt
    >>> either = ([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 1])
    >>> r = refopt.minimize(refopt.problem("logistic", data=either), "delta-rule", lr=1.0, steps=40)
    >>> print(r.x)
    [ 1.  1. -1.]
    """

    lr: Rate = hyper(0.1, "[0, inf)", "η.")
    output: str = hyper("threshold", ("threshold", "identity", "sigmoid"), "f.")
    low: float = hyper(
        0.0, (0.0, -1.0), "The target of the class -1, and what the threshold gives it; the other is 1."
    )
    at_zero: bool = hyper(True, words="Whether the threshold gives 1 at zero.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output == "sigmoid" and self.low:
            raise ArgumentError("delta-rule: low: wanted 0, the sigmoid's own range, got -1")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        check_start(x, "x")
        return {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Take the next example, or the driver's batch."""
        t = s["t"] + 1
        if oracle.batch is None and oracle.n_examples > 1:
            oracle = oracle.on(np.array([(t - 1) % oracle.n_examples]))
        seen = neuron(oracle, x, "delta-rule")
        xp, z = namespace(seen.nets), seen.nets
        one = xp.ones_like(z)
        target = xp.where(seen.labels > 0.0, one, self.low * one)
        if self.output == "threshold":
            fires = z >= 0.0 if self.at_zero else z > 0.0
            delta = target - xp.where(fires, one, self.low * one)
        elif self.output == "identity":
            delta = target - z
        else:
            # p of the wrong side is the output's distance from its target.
            delta = seen.labels * seen.wrong * seen.wrong * (1.0 - seen.wrong)
        step = oracle.vjp(x, delta / float(z.shape[0]))
        return params.axpy(self.rate(t), step, x), {"t": t}
