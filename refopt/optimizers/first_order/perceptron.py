"""From logistic regression to the perceptron: large steps on separable data (Tyurin 2024)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start
from refopt.core.registry import Source, register
from refopt.optimizers.common.neuron import NEEDS, Neuron, neuron

TYURIN = Source("tyurin-2024-logistic", "A. Tyurin",
    "From Logistic Regression to the Perceptron Algorithm: Exploring Gradient Descent with Large Step Sizes",
    arxiv="2412.08424")  # fmt: skip
PROBLEM = ("logistic", {"n_examples": 80})


class Separating(Method):
    """What the two share: weights of the examples, and an end once every example is on its side."""

    def weights(self, seen: Neuron) -> Array:
        """Return what the examples' ``y_i a_i`` are multiplied by in a step."""
        raise NotImplementedError

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        check_start(x, "x")
        return {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one step, or stay where all examples are on their side."""
        seen = neuron(oracle, x, self.registered_name)
        if float(namespace(seen.nets).min(seen.margins)) > 0.0:
            return params.copied(x), {"t": s["t"] + 1}
        step = oracle.vjp(x, self.weights(seen) * seen.labels)
        return params.axpy(self.gain(s["t"] + 1), step, x), {"t": s["t"] + 1}

    def gain(self, t: int) -> float:
        """Return what the step is multiplied by at step `t`."""
        return self.multiplier(t)

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return how far the worst example is from its side, 0 where all are on it: ``tol=0`` stops there."""
        seen = neuron(oracle, x, self.registered_name)
        least = float(namespace(seen.nets).min(seen.margins))
        # On the border an example is not yet on its side, and yet at no distance from it.
        return 0.0 if least > 0.0 else max(-least, 1e-300)


@register("normalized-logistic-gd", source=TYURIN, where="Normalized LR+GD", needs=NEEDS, state_copies=0,
    calm_problem=PROBLEM)  # fmt: skip
class NormalizedLogisticGD(Separating):
    """Normalised gradient descent for logistic regression: the examples' weights sum to one.

    ``w_{t+1} = w_t + γ (sum_i p_i y_i a_i) / (sum_i p_i)``, ``p_i = 1 / (1 + exp(y_i a_i^T w_t))``, until every
    ``y_i a_i^T w_t > 0``.

    Notes
    -----
    It is gradient descent with the rate γ over the mean of p, not over the gradient's norm. With a separator of
    length 1 and margin μ, R = max ||a_i||, it makes at most ``(R² + 4 c n / γ) / μ²`` steps from zero,
    c = 0.2784645. A regulariser of the problem is not looked at. The normaliser is from memory of the paper.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("logistic", data=([[2.0, 1.0], [-1.0, 1.0]], [1, 0]), intercept=False)
    >>> r = refopt.minimize(p, "normalized-logistic-gd", lr=4.0, steps=50, tol=0.0)
    >>> print(r.status, r.nit, r.x)
    converged 1 [6. 0.]
    """

    lr: Rate = hyper(1.0, "[0, inf)", "γ, in the units of w over those of a.")

    def weights(self, seen: Neuron) -> Array:
        xp = namespace(seen.nets)
        # The sum is at least a half, since an example is not on its side.
        return seen.wrong / xp.sum(seen.wrong)

    def gain(self, t: int) -> float:
        """Return γ of step `t`."""
        return self.rate(t)


@register("batch-perceptron", source=TYURIN, where="the batch perceptron", needs=NEEDS, state_copies=0,
    calm_problem=PROBLEM)  # fmt: skip
class BatchPerceptron(Separating):
    """The batch perceptron: the mean of all examples that are on the wrong side.

    ``w_{t+1} = w_t + (1 / n) sum_i s(y_i a_i^T w_t) y_i a_i``, with s = 1 below zero, 1/2 at zero and 0 above, until
    every ``y_i a_i^T w_t > 0``.

    Notes
    -----
    It is what gradient descent for logistic regression from zero tends to, over its rate, as the rate grows.
    Hence the 1/2, which counts at w = 0. With a separator of length 1 and margin μ and R = max ||a_i||, it
    makes at most n R² / μ² steps from zero, normalised R² / μ².

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("logistic", data=([[2.0, 1.0], [-1.0, 1.0]], [1, 0]), intercept=False)
    >>> r = refopt.minimize(p, "batch-perceptron", steps=50, tol=0.0)
    >>> print(r.status, r.nit, r.x)
    converged 1 [0.75 0.  ]
    """

    normalized: bool = hyper(False, words="True: over ``sum_i s_i`` in place of n.")
    words = {"schedule": "Of the step, which has no rate of its own."}

    def weights(self, seen: Neuron) -> Array:
        xp, m = namespace(seen.nets), seen.margins
        one = xp.ones_like(m)
        s = xp.where(m < 0.0, one, xp.where(m == 0.0, 0.5 * one, 0.0 * one))
        return s / (xp.sum(s) if self.normalized else float(m.shape[0]))
