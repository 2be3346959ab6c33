"""DeMo: workers that send only the largest cosine coefficients of their momenta (Peng et al. 2024)."""

from __future__ import annotations

import numpy as np
import scipy.fft

from refopt.core.arrays import Array, like, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, leaves, rebuild
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.lmo import as_matrix

PENG = Source("peng-2024-demo", "B. Peng, J. Quesnelle, D. P. Kingma", "DeMo: Decoupled Momentum Optimization", arxiv="2411.19870")  # fmt: skip


def side(n: int, most: int) -> int:
    """Return the largest divisor of n that is at most `most`."""
    return max(d for d in range(1, min(n, most) + 1) if n % d == 0)


def cosines(n: int, reference: Array) -> Array:
    """Return the orthonormal DCT-II of length n as a matrix, one frequency a row."""
    C = scipy.fft.dct(np.eye(n), norm="ortho", axis=0)
    # Cosines at odd multiples of a right angle are zero: their rounding would have a sign.
    return like(np.where(np.abs(C) < 1e-12, 0.0, C), reference)


def tiles(M: Array, h: int, w: int) -> Array:
    """Return a matrix as its tiles, shape (rows/h, columns/w, h, w)."""
    xp = namespace(M)
    return xp.permute_dims(xp.reshape(M, (M.shape[0] // h, h, M.shape[1] // w, w)), (0, 2, 1, 3))


def whole(T: Array) -> Array:
    """Return the matrix of tiles."""
    xp = namespace(T)
    rows, columns, h, w = T.shape
    return xp.reshape(xp.permute_dims(T, (0, 2, 1, 3)), (rows * h, columns * w))


def largest(T: Array, k: int) -> Array:
    """Return ones at the `k` entries of largest magnitude of every tile, else zeros; of equal ones the first."""
    xp = namespace(T)
    flat = xp.reshape(xp.abs(T), (*T.shape[:2], -1))
    rank = xp.argsort(xp.argsort(flat, axis=-1, descending=True, stable=True), axis=-1, stable=True)
    return xp.reshape(xp.where(rank < k, xp.ones_like(flat), xp.zeros_like(flat)), T.shape)


@register("demo", source=PENG, where="Algorithm 1", calm_problem=("logistic", {"l2": 0.1}))
class DeMo(GradientMethod):
    """DeMo: workers send the fastest parts of their momenta, and step along the sign of the mean of these.

    For worker i ``δ_i ← β δ_i + η g_i``; of the cosine transform of every tile of δ_i the k largest coefficients q_i are sent and taken out of it,
    ``δ_i ← δ_i - DCT^{-1}(q_i)``; with q the mean of those that were sent, coefficient by coefficient,
    ``x ← (1 - η λ) x - η sign(DCT^{-1}(q))``.

    Notes
    -----
    A tile's side is the largest divisor of the axis that is at most `chunk`; vectors have tiles of one axis, kernels are matrices of (first axis,
    rest), where the codes stop with an error. A coefficient that one worker alone sent counts whole. Where a tile has no more entries than k
    all of it is sent, so that no transform is made: one worker is then sign descent. Workers hold equal consecutive runs of the
    batch's examples, and the rate is inside δ.

    Raises
    ------
    ArgumentError
        There are more workers than examples, or a gradient is handed over where there are several workers.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("demo", lr=0.1, top_k=1)
    >>> x, s = o.update(np.zeros(4), np.array([3.0, 2.0, 1.0, 0.5]), o.init(np.zeros(4)))
    >>> print(x)  # the mean of the four is the largest coefficient
    [-0.1 -0.1 -0.1 -0.1]
    """

    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    decay_rate: float = hyper(0.999, "[0, 1]", "β.")
    top_k: int = hyper(32, "int [1, inf)", "k.")
    chunk: int = hyper(64, "int [1, inf)", "The longest side of a tile.")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ, decoupled.")
    workers: int = hyper(1, "int [1, inf)", "How many share the examples.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: one δ for each worker."""
        x = check_start(x, "x")
        zero = {k: (0.0 * v,) * self.workers for k, v in leaves(x).items()}
        return {"t": 0, "delta": rebuild(x, zero)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask every worker for its gradient, and step."""
        if self.workers == 1:
            return self.update(x, oracle.grad(x), s)
        held = np.arange(oracle.n_examples) if oracle.batch is None else oracle.batch
        if self.workers > held.size:
            raise ArgumentError(
                f"workers: wanted at most the number of examples, {held.size}, got {self.workers}"
            )
        shares = np.array_split(held, self.workers)
        return self.advanced(x, [oracle.on(share).grad(x) for share in shares], s)

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step from the gradient of the one worker."""
        if self.workers > 1:
            raise ArgumentError(
                f"workers: update(x, grad, s) is for one, got {self.workers}; use step(x, s, oracle)"
            )
        return self.advanced(x, [g], s)

    def advanced(self, x: Params, gs: list[Params], s: State) -> tuple[Params, State]:
        """Make one step from the gradients of all workers."""
        t = s["t"] + 1
        lr = self.rate(t)
        moved, deltas = {}, {}
        for name, leaf in leaves(x).items():
            own = [self.decay_rate * d + lr * leaves(g)[name] for d, g in zip(leaves(s["delta"])[name], gs)]
            u, deltas[name] = self.exchanged(own)
            moved[name] = (1.0 - lr * self.weight_decay) * leaf - lr * namespace(leaf).sign(u)
        return rebuild(x, moved), {"t": t, "delta": rebuild(x, deltas)}

    def exchanged(self, own: list[Array]) -> tuple[Array, tuple[Array, ...]]:
        """Return the mean of what the workers sent of one leaf, and what each keeps."""
        first = own[0]
        xp, shape = namespace(first), first.shape
        if first.ndim < 2:
            own = [xp.reshape(d, (1, -1)) for d in own]
        else:
            own = [as_matrix(d) for d in own]
        h, w = (side(n, self.chunk) for n in own[0].shape)
        if h * w <= self.top_k:
            mean = sum(own[1:], own[0]) / len(own)
            return xp.reshape(mean, shape), tuple(xp.zeros_like(first) for _ in own)
        C, D = cosines(h, first), cosines(w, first)
        coefficients = [C @ tiles(d, h, w) @ xp.matrix_transpose(D) for d in own]
        sent = [largest(c, self.top_k) for c in coefficients]
        parts = [c * mask for c, mask in zip(coefficients, sent)]
        count = sum(sent[1:], sent[0])
        mean = sum(parts[1:], parts[0]) / xp.where(count > 0.0, count, xp.ones_like(count))
        back = [whole(xp.matrix_transpose(C) @ q @ D) for q in (mean, *parts)]
        kept = tuple(xp.reshape(d - q, shape) for d, q in zip(own, back[1:]))
        return xp.reshape(back[0], shape), kept


dialect(DeMo, "official", "bloc97/DeMo demo.py; pytorch_optimizer 4.1 DeMo alike", "takes no kernels")
