"""Sketched gradients: sent in fewer numbers, and noisy where they must be private (Song, Wang, Yu and Zhang 2023)."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
import scipy.linalg

from refopt.core.arrays import like
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number, hyper
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, leaves, nbytes, scale, zeros_like
from refopt.core.registry import Source, register
from refopt.core.rng import normal, rademacher
from refopt.estimators.base import Estimator
from refopt.linear.iterative_sketching import draw_sketch
from refopt.optimizers.common.vectors import joined, parted
from refopt.optimizers.private.accountant import epsilon
from refopt.optimizers.private.dp_sgd import clipped_sum

SONG = Source("song-2023-sketching", "Z. Song, Y. Wang, Z. Yu, L. Zhang",
    "Sketching for First Order Method: Efficient Algorithm for Low-Bandwidth Channel and Vulnerability",
    arxiv="2210.08371")  # fmt: skip
LAWS = ("gaussian", "rademacher", "count", "srht")


def sketch_matrix(sketch: str, size: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Return R of shape (size, d) with E[RᵀR] = I.

    Parameters
    ----------
    sketch : {"gaussian", "rademacher", "count", "srht", "dct"}
        Normal entries of variance 1/size; signs over √size; one sign a column, in a row drawn uniformly; rows of a
        Hadamard matrix, drawn uniformly with replacement, with signs a column, over √size; rows of the orthogonal cosine
        transform, drawn likewise, times √(d/size).
    size, d : int
    rng : numpy.random.Generator

    Examples
    --------
    >>> R = sketch_matrix("count", 2, 5, np.random.default_rng(0))
    >>> np.abs(R).sum(axis=0).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    if sketch == "count":
        return draw_sketch("count", size, 0, np.ones(d), rng).T
    if sketch == "gaussian":
        rows = draw_sketch("gaussian", size, 0, np.ones(d), rng).T
    elif sketch == "dct":
        rows = math.sqrt(d) * scipy.fft.dct(np.eye(d), norm="ortho", axis=0)[rng.integers(0, d, size)]
    elif sketch == "rademacher":
        rows = rademacher(rng, np.zeros((size, d)))
    else:
        order = 1 << (d - 1).bit_length()
        rows = scipy.linalg.hadamard(order)[rng.integers(0, order, size), :d] * rademacher(rng, np.zeros(d))
    return rows / math.sqrt(size)


@register("gradient-sketch", source=SONG, where="sketching and de-sketching, the federated and the private algorithm",
    needs=("grad",), calm_problem=("quadratic", {"n": 6}))  # fmt: skip
class GradientSketch(Estimator):
    """Sketch and de-sketch: s numbers ``R g`` are sent of a gradient, and ``RᵀR g`` is made of them.

    R is drawn anew for each gradient, of the shape (s, d) with E[RᵀR] = I, so that the estimate is unbiased:
    ``ĝ = RᵀR (1/N) Σ_c h_c`` with the sum ``h_c = Σ_k g_c(u_k)`` over K steps ``u_{k+1} = u_k - η_local g_c(u_k)`` of client
    c from u_0 = x, that is ``u_k = x - η_local Σ_{j<k} g_c(u_j)``. With SGD of rate η_local η_global around it, this is the paper's federated algorithm; with N = K = 1
    sketched gradient descent. Its private form has ``g_c + N(0, σ² I)`` for g_c.

    Notes
    -----
    ``E‖ĝ‖² = (1 + (d ± 1)/s) ‖h‖²``, + for normal entries and - for the others, so a rate must be smaller by as much as d/s.
    R is laid out. Clients hold consecutive examples of those that the base asks about, as equally as can be. The paper
    takes the examples' gradients to be bounded where it adds noise: `clip` makes them so.

    Raises
    ------
    ArgumentError
        There are more clients than examples.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l2=0.1)
    >>> r = refopt.minimize(p, "gradient-sketch", size=8, lr=0.1, steps=200)
    >>> bool(r.fun < 0.3), dict(r.calls)
    (True, {'grad': 200, 'bytes_sent': 12800})
    """

    size: int = hyper(16, "int [1, inf)", "s.")
    sketch: str = hyper("gaussian", LAWS, "R's law.")
    clients: int = hyper(1, "int [1, inf)", "N.")
    local_steps: int = hyper(1, "int [1, inf)", "K.")
    local_lr: float = hyper(0.1, "[0, inf)", "η_local.")
    noise: float = hyper(0.0, "[0, inf)", "σ, of every client and local step.")
    clip: float | None = hyper(None, "(0, inf)",
        "The longest that one example's gradient may be, over all parameters; None: as long as it is.")  # fmt: skip

    @property
    def needs(self) -> tuple[str, ...]:
        """The gradient, or each example's, and what the base needs beside gradients."""
        own = ("grad",) if self.clip is None else ("example_grads",)
        return tuple(dict.fromkeys((*own, *(n for n in self.base.needs if n != "grad"))))

    def epsilon(self, steps: int, n_examples: int, delta: float) -> float:
        """Return ε after so many estimates at δ = `delta`, of one client, where one of its `n_examples` examples is another."""
        check_number(n_examples, "int [1, inf)", "n_examples")
        if self.clip is None or self.noise == 0.0:
            return math.inf
        return epsilon(1.0, self.noise * n_examples / (2.0 * self.clip), steps * self.local_steps, delta)

    def estimate(self, oracle: Oracle, x: Params) -> Params:
        """Return ĝ."""
        h = joined(self.summed(oracle, x))
        R = like(sketch_matrix(self.sketch, self.size, h.shape[0], oracle.rng), h)
        # The sketch is linear: that of the mean stands for the mean of each client's.
        sketched = R @ h
        oracle.counts.sent(self.clients * nbytes(sketched))
        return parted(R.T @ sketched, x)

    def summed(self, oracle: Oracle, x: Params) -> Params:
        """Return the mean over clients of the sums over local steps."""
        if self.clients == 1:
            return self.local(oracle, x)
        examples = np.arange(oracle.n_examples) if oracle.batch is None else oracle.batch
        if self.clients > examples.size:
            raise ArgumentError(
                f"clients: wanted at most the number of examples, {examples.size}, got {self.clients}"
            )
        total = zeros_like(x)
        for held in np.array_split(examples, self.clients):
            total = axpy(1.0 / self.clients, self.local(oracle.on(held), x), total)
        return total

    def local(self, oracle: Oracle, x: Params) -> Params:
        """Return one client's sum."""
        total = zeros_like(x)
        for _ in range(self.local_steps):
            u = axpy(-self.local_lr, total, x)
            if self.clip is None:
                g = oracle.grad(u)
            else:
                each = oracle.example_grads(u)
                g = scale(1.0 / next(iter(leaves(each).values())).shape[0], clipped_sum(each, self.clip))
            if self.noise:
                g = axpy(self.noise, normal(oracle.rng, x), g)
            total = axpy(1.0, g, total)
        return total

    def moments(self, f: float, g: np.ndarray) -> tuple[np.ndarray, float]:
        """Return K g, and the paper's second moment of that and the noise."""
        extra = 1 if self.sketch == "gaussian" else -1
        steps = self.local_steps
        square = steps**2 * float(g @ g) + steps * self.noise**2 * g.size / self.clients
        return steps * g, (1.0 + (g.size + extra) / self.size) * square
