"""DIFF2: private gradients made of private differences (Murata and Suzuki 2023)."""

from __future__ import annotations

import math

import numpy as np

from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, check_number, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, check_start, copied, nbytes, norm, scale, subtract, zeros_like
from refopt.core.registry import Source, register
from refopt.core.rng import normal
from refopt.optimizers.private.accountant import epsilon
from refopt.optimizers.private.dp_sgd import clipped_sum

MURATA = Source("murata-2023-diff2", "T. Murata, T. Suzuki",
    "DIFF2: Differential Private Optimization via Gradient Differences for Nonconvex Distributed Learning",
    arxiv="2302.03884")  # fmt: skip


@register("diff2", source=MURATA, where="DIFF2 with the GD routine", needs=("example_grads",),
    calm_problem=("logistic", {"l2": 0.1, "n_examples": 80}))  # fmt: skip
class DIFF2(Method):
    """DIFF2: a noisy gradient, carried on by noisy differences whose noise is as small as the step.

    At the first of every T rounds each client p sends ``d_p = mean_i clip(∇f_i(x_{r-1}), C1) + N(0, σ1² I)``, and
    ``v_r = mean_p d_p``. At the others, with ``Δ = ‖x_{r-1} - x_{r-2}‖``,
    ``d_p = mean_i clip(∇f_i(x_{r-1}) - ∇f_i(x_{r-2}), C2 Δ) + N(0, σ2² Δ² I)``, and ``v_r = v_{r-1} + mean_p d_p``.
    ``x_r = x_{r-1} - η v_r``; ``clip(z, C) = z min(1, C/‖z‖)``, the norm over all parameters.

    Notes
    -----
    Every round looks at all examples, whatever the driver's ``batch_size``; clients hold consecutive ones, as equally
    as can be. Differences are not shortened where C2 is at least the examples' constant of smoothness. The paper
    returns the point of a round drawn at random. With T = 1 it is gradient descent with clipped, noisy gradients.

    Raises
    ------
    ArgumentError
        There are more clients than examples.

    Examples
    --------
    >>> import refopt
    >>> o = refopt.optimizer("diff2", lr=0.5, noise=0.01, noise_difference=0.01, restart_every=10)
    >>> r = refopt.minimize(refopt.problem("logistic", l2=0.1), o, steps=40)
    >>> bool(r.fun < 0.3), round(o.epsilon(40, 569, delta=1e-5), 1)
    (True, 12.2)
    """

    lr: Rate = hyper(0.1, "[0, inf)", "η.")
    clip: float = hyper(1.0, "(0, inf)", "C1, of an example's gradient.")
    clip_difference: float = hyper(1.0, "(0, inf)", "C2, of an example's difference, over the step's length.")
    noise: float = hyper(0.01, "[0, inf)", "σ1, in the units of the gradient.")
    noise_difference: float = hyper(0.01, "[0, inf)", "σ2, over the step's length.")
    restart_every: int = hyper(20, "int [1, inf)", "T.")
    clients: int = hyper(1, "int [1, inf)", "How many share the examples, each with noise of its own.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the point before, and v."""
        x = check_start(x, "x")
        return {"t": 0, "before": copied(x), "v": zeros_like(x)}

    def epsilon(self, steps: int, n_examples: int, delta: float) -> float:
        """Return ε after so many rounds at δ = `delta`, for whoever sees what one client sends; neighbours differ in one
        of that client's `n_examples` examples. Shares of Gaussian releases add up as squares of sensitivity over noise.
        """
        check_number(steps, "int [0, inf)", "steps")
        check_number(n_examples, "int [1, inf)", "n_examples")
        restarts = -(-int(steps) // self.restart_every)
        spent = 0.0
        for rounds, most, sigma in (
            (restarts, self.clip, self.noise),
            (steps - restarts, self.clip_difference, self.noise_difference),
        ):
            if rounds and sigma == 0.0:
                return math.inf
            spent += rounds * (2.0 * most / (n_examples * sigma)) ** 2 if rounds else 0.0
        return epsilon(1.0, spent**-0.5, 1, delta) if spent > 0.0 else 0.0

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask the clients for gradients or differences, and step."""
        t, n = s["t"] + 1, oracle.n_examples
        if self.clients > n:
            raise ArgumentError(f"clients: wanted at most the number of examples, {n}, got {self.clients}")
        anew = (t - 1) % self.restart_every == 0
        length = 1.0 if anew else norm(subtract(x, s["before"]))
        most = (self.clip if anew else self.clip_difference) * length
        sigma = (self.noise if anew else self.noise_difference) * length
        v = zeros_like(x) if anew else s["v"]
        for held in np.array_split(np.arange(n), self.clients):
            there = oracle.on(held)
            each = there.example_grads(x)
            if not anew:
                each = subtract(each, there.example_grads(s["before"]))
            sent = axpy(sigma, normal(oracle.rng, x), scale(1.0 / held.size, clipped_sum(each, most)))
            oracle.counts.sent(nbytes(sent))
            v = axpy(1.0 / self.clients, sent, v)
        return axpy(-self.rate(t), v, x), {"t": t, "before": copied(x), "v": v}
