"""AdAdaGrad: AdaGrad's steps on batches that grow with the noise (Lau et al. 2024)."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.arrays import Array, lengths, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, leaves, map_leaves
from refopt.core.registry import Source, register

LAU = Source("lau-2024-adadagrad", "T. T.-K. Lau, H. Liu, M. Kolar",
    "AdAdaGrad: Adaptive Batch Size Schemes for Adaptive Gradient Methods", arxiv="2402.11215")  # fmt: skip
BYRD = Source("byrd-2012-sample", "R. H. Byrd, G. M. Chin, J. Nocedal, Y. Wu",
    "Sample size selection in optimization methods for machine learning",
    venue="Mathematical Programming 134:127-155")  # fmt: skip
BOLLAPRAGADA = Source("bollapragada-2017-adaptive", "R. Bollapragada, R. Byrd, J. Nocedal",
    "Adaptive Sampling Strategies for Stochastic Optimization", arxiv="1710.11258")  # fmt: skip


class AdaptiveBatch(Method):
    """What the two share: a batch of their own at every step, and the test that says how large the next one is.

    The batch is the driver's, where it has one (``batch_size``), and as many others as b wants, drawn without replacement
    from the step's random numbers; b is at least the driver's.
    """

    lr: Rate = hyper(0.01, "[0, inf)", "The rate.")
    batch: int = hyper(
        64, "int [2, inf)", "b_1, at least the driver's ``batch_size`` and at most the number of examples."
    )
    largest: int | None = hyper(None, "int [2, inf)", "The largest b; None: all examples.")
    test: str = hyper("norm", ("norm", "coordinate", "inner-product", "augmented"),
        "Which variance is held against the mean gradient: of the gradients; of every coordinate by itself; of the"
        " products with the mean; or of these and of the parts orthogonal to the mean, each by itself.")  # fmt: skip
    tolerance: float = hyper(0.1, "(0, inf)", "η of the first two tests, θ of the products.")
    orthogonal: float = hyper(0.1, "(0, inf)", "ν of the orthogonal parts.")
    eps: float = hyper(1e-10, "[0, inf)", "ε, beside the root.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: b_1, and the sums of squares."""
        return {"t": 0, "batch": self.batch, **self.sums(check_start(x, "x"))}

    def sums(self, x: Params) -> State:
        """Return the sums of squares before the first step."""
        raise NotImplementedError

    def move(self, x: Params, g: Params, s: State, t: int) -> tuple[Params, State]:
        """Return the point after step `t` with the mean gradient `g`, and the sums."""
        raise NotImplementedError

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one step on b examples and choose the next b."""
        t, n = s["t"] + 1, oracle.n_examples
        most = n if self.largest is None else min(self.largest, n)
        given = 0 if oracle.batch is None else oracle.batch.size
        size = min(max(s["batch"], given), most)
        each = oracle.enlarged(size).example_grads(x)
        mean = map_leaves(lambda a: namespace(a).mean(a, axis=0), each)
        new, sums = self.move(x, mean, s, t)
        wanted = self.wanted(each, mean)
        grown = most if wanted >= most else max(size, math.ceil(wanted))
        return new, {"t": t, "batch": grown, **sums}

    def wanted(self, each: Params, mean: Params) -> float:
        """Return the batch size at which the test would just be passed, by this batch's variances."""
        length = params.norm(mean)
        away = map_leaves(lambda a, m: a - m[None, ...], each, mean)
        if length == 0.0:
            return math.inf if params.max_abs(away) > 0.0 else 0.0
        # In units of the mean gradient's length.
        size = next(iter(leaves(each).values())).shape[0]
        away = params.scale(1.0 / length, away)
        whole = params.dot(away, away) / (size - 1)
        if self.test == "coordinate":
            return (
                max(map(float, leaves(map_leaves(_largest_ratio, away, mean)).values()))
                * (length / self.tolerance) ** 2
                / (size - 1)
            )
        if self.test == "norm":
            return whole / self.tolerance**2
        along = _products(away, params.scale(1.0 / length, mean))
        inner = params.dot(along, along) / (size - 1)
        if self.test == "inner-product":
            return inner / self.tolerance**2
        return max(inner / self.tolerance**2, (whole - inner) / self.orthogonal**2)


def _products(each: Params, direction: Params) -> Array:
    """Return the inner product of every example's entries with `direction`."""
    parts = map_leaves(
        lambda a, d: namespace(a).sum(a * d[None, ...], axis=tuple(range(1, a.ndim))), each, direction
    )
    first, *others = leaves(parts).values()
    for part in others:
        first = first + part
    return first


def _largest_ratio(away: Array, mean: Array) -> Array:
    """Return the largest over the coordinates of their squares' sum over the mean's square, 0 for 0 / 0."""
    xp = namespace(mean)
    sizes = lengths(away, 0)
    ratio = sizes / xp.where(mean == 0.0, xp.ones_like(mean), xp.abs(mean))
    ratio = xp.where((mean == 0.0) & (sizes > 0.0), xp.inf * xp.ones_like(mean), ratio)
    return xp.max(ratio * ratio)


WORDS = {"eps": "ε; with 0 a coordinate without gradient stays."}


@register("adadagrad", source=LAU, where="AdAdaGrad with the norm test", needs=("example_grads",),
    also=(BYRD, BOLLAPRAGADA), state_copies=1)  # fmt: skip
class AdAdaGrad(AdaptiveBatch):
    """AdAdaGrad: AdaGrad, with a batch that grows until its gradient is larger than the noise in it.

    With g_i the b gradients of a step, ḡ their mean and V the sum over coordinates of their sample variances:
    ``G <- G + ḡ²``, ``x <- x - lr ḡ / (sqrt(G) + ε)``, ``b <- ceil(max(b, V / (η² ||ḡ||²)))``, from G = 0.

    Notes
    -----
    The test looks at the gradients before the step, and the new size holds from the next step on; a batch never
    shrinks. In a run with a ``batch_size`` the driver's batch is the first part of every batch. The code of the authors sums the products' variances by tensors; here they are of the whole gradient.
    The coordinate-wise test, ``b <- ceil(max(b, max_j V_j / (η² ḡ_j²)))``, is from memory of the paper; no code
    of it is known.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l2=0.1)
    >>> r = refopt.minimize(p, "adadagrad", lr=0.1, batch=16, tolerance=0.5, steps=60)
    >>> 16 < r.state["batch"] <= p.n_examples
    True
    """

    words = WORDS

    def sums(self, x: Params) -> State:
        return {"G": params.zeros_like(x)}

    def move(self, x: Params, g: Params, s: State, t: int) -> tuple[Params, State]:
        sums, lr = map_leaves(lambda a, b: a + b * b, s["G"], g), self.rate(t)

        def stepped(a: Array, b: Array, c: Array) -> Array:
            xp = namespace(a)
            root = xp.sqrt(c) + self.eps
            return a - lr * b / xp.where(root == 0.0, xp.ones_like(root), root)

        return map_leaves(stepped, x, g, sums), {"G": sums}


@register("adadagrad-norm", source=LAU, where="AdAdaGrad-Norm with the norm test", needs=("example_grads",),
    also=(BYRD, BOLLAPRAGADA), state_copies=0)  # fmt: skip
class AdAdaGradNorm(AdaptiveBatch):
    """AdAdaGrad-Norm: AdaGrad-Norm, with a batch that grows until its gradient is larger than the noise in it.

    As `adadagrad`, with one sum for all coordinates: ``v <- v + ||ḡ||²``, ``x <- x - lr ḡ / (sqrt(v) + ε)``.

    Notes
    -----
    The state holds the root b of v. The code of the authors has sums by rows and tensors in place of v, which is
    another method.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l2=0.1)
    >>> r = refopt.minimize(p, "adadagrad-norm", batch=16, tolerance=0.5, steps=60)
    >>> 16 < r.state["batch"] <= p.n_examples
    True
    """

    lr: Rate = hyper(1.0, "[0, inf)", "The rate, in the units of x.")
    initial: float = hyper(0.1, "[0, inf)", "The root of v before the first step.")
    words = WORDS

    def sums(self, x: Params) -> State:
        return {"b": self.initial}

    def move(self, x: Params, g: Params, s: State, t: int) -> tuple[Params, State]:
        b = math.hypot(s["b"], params.norm(g))
        divisor = b + self.eps
        gain = self.rate(t) / divisor if divisor > 0.0 else 0.0
        return params.axpy(-gain, g, x), {"b": b}
