"""Private training by matrix factorization, over several epochs (Choquette-Choo et al. 2023)."""

from __future__ import annotations

import numpy as np

from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, check_start, zeros_like
from refopt.core.registry import Source, register
from refopt.core.rng import generator, normal
from refopt.optimizers.private.accountant import epsilon
from refopt.optimizers.private.dp_sgd import clipped_sum
from refopt.optimizers.private.factorization import noise_matrix

CHOQUETTE = Source("choquettechoo-2023-multiepoch",
    "C. A. Choquette-Choo, H. B. McMahan, K. Rush, A. Thakurta",
    "Multi-Epoch Matrix Factorization Mechanisms for Private Machine Learning", arxiv="2211.06530")  # fmt: skip
DENISOV = Source("denisov-2022-improved", "S. Denisov, H. B. McMahan, K. Rush, A. Smith, A. Thakurta",
    "Improved Differential Privacy for SGD via Optimal Private Linear Operators on Adaptive Streams",
    arxiv="2202.08312")  # fmt: skip


@register("dp-mf", source=CHOQUETTE, where="equation (3), with the factorization of Section 4", also=(DENISOV,),
    needs=("example_grads",), calm_problem=("logistic", {"l2": 0.1, "n_examples": 80}))  # fmt: skip
class DPMF(Method):
    """DP-MF: clipped gradients with noise that is correlated over steps, so that its prefix sums are small.

    With the prefix sums A = B C of n steps, B (C G + Z) is released: step t moves by
    ``x ← x - η (Σ ḡ_i + (C⁻¹Z)_t)/B``, ``ḡ_i = g_i min(1, ζ/‖g_i‖)`` and Z of deviation σ ζ, C of sensitivity 1 for
    examples that take part in k steps, b = n/k apart: the one of least error, or by Fourier transforms, or I.

    Notes
    -----
    The method draws no batches: step t looks at the examples whose number is t - 1 modulo b, in each epoch the same.
    It makes n steps and no more. The noise of earlier steps is drawn again, not kept.

    Examples
    --------
    >>> import refopt
    >>> o = refopt.optimizer("dp-mf", lr=0.3, noise=2.0, total_steps=20, participations=2)
    >>> r = refopt.minimize(refopt.problem("logistic", l2=0.1), o, steps=20)
    >>> bool(r.fun < 0.4), round(o.epsilon(delta=1e-5), 2)
    (True, 2.17)
    """

    lr: Rate = hyper(0.1, "[0, inf)", "η.")
    clip: float = hyper(1.0, "(0, inf)", "ζ.")
    noise: float = hyper(1.0, "[0, inf)", "σ, over ζ and the sensitivity.")
    total_steps: int = hyper(40, "int [1, inf)", "n.")
    participations: int = hyper(2, "int [1, inf)", "k, the epochs; a divisor of n.")
    mechanism: str = hyper("optimal", ("optimal", "fft", "identity"), "Which C.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.total_steps % self.participations:
            raise ArgumentError(
                f"participations: wanted a divisor of total_steps, {self.total_steps}, got {self.participations}"
            )

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: no more than the count."""
        check_start(x, "x")
        return {"t": 0}

    def epsilon(self, delta: float) -> float:
        """Return ε of all n steps at δ = `delta`: one Gaussian release of noise σ."""
        return epsilon(1.0, self.noise, 1, delta) if self.noise > 0.0 else float("inf")

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Clip, add the step's row of noise, and step."""
        t, b, n = s["t"] + 1, self.total_steps // self.participations, oracle.n_examples
        if t > self.total_steps:
            raise ArgumentError(
                f"total_steps: the noise was made for {self.total_steps} steps, and this is {t}"
            )
        chosen, total = np.arange((t - 1) % b, n, b), zeros_like(x)
        if chosen.size:
            total = clipped_sum(oracle.on(chosen).example_grads(x), self.clip)
        row = noise_matrix(self.mechanism, self.total_steps, self.participations)[t - 1]
        for j in np.flatnonzero(row) if self.noise else ():
            z = normal(generator(oracle.seed, "method", int(j) + 1), x)
            total = axpy(self.noise * self.clip * float(row[j]), z, total)
        return axpy(-self.rate(t) * b / n, total, x), {"t": t}
