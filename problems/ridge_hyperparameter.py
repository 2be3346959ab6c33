"""The weights of a ridge penalty, chosen by the validation loss: hypergradients in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
from refopt.core.arrays import Array, like, namespace
from refopt.core.hyper import check_number
from refopt.core.params import Params
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, frozen, real_part

HOERL = Source("hoerl-1970-ridge", "A. E. Hoerl, R. W. Kennard",
    "Ridge Regression: Biased Estimation for Nonorthogonal Problems",
    venue="Technometrics 12(1), 55-67", doi="10.1080/00401706.1970.10488634")  # fmt: skip


@register("ridge-hyperparameter", kind="problem", source=HOERL,
    where="Section 3, with the penalty's weight chosen by validation")  # fmt: skip
class RidgeHyperparameter(Problem):
    """Ridge regressions whose penalties ``e^x`` are the upper player.

    Lower: ``f = (1/m) Σ_i [mean_j (z_ij·y_i - b_ij)²/2 + Σ_k e^{x_k} y_ik²/2]`` over m blocks (tasks) that share x;
    upper: ``F = (1/m) Σ_i mean_j (z'_ij·y_i - b'_ij)²/2`` on other data. With one penalty in all, x has size 1.

    Example k of the sums belongs to block ``k // per_block``, and a batch takes the training and the validation example
    of that number.

    Parameters
    ----------
    n : int
        Features.
    per_block : int
        Training examples of a block, and as many for validation.
    blocks : int
        m.
    single : bool
        One penalty for all features, instead of one each.
    noise : float
        The targets' deviation.
    seed : int

    Attributes
    ----------
    Z, Zv : array of shape (m, per_block, n)
    b, bv : array of shape (m, per_block)
    blocks : int
        m, for methods that sample blocks.

    Raises
    ------
    ArgumentError, ArgumentTypeError

    Examples
    --------
    >>> import numpy as np
    >>> from refopt.problems.ridge_hyperparameter import RidgeHyperparameter
    >>> p = RidgeHyperparameter(n=2)
    >>> p.hypergradient(np.zeros(2)).shape, p.response(np.zeros(2)).shape
    ((2,), (1, 2))
    """

    def __init__(
        self,
        n: int = 4,
        per_block: int = 8,
        blocks: int = 1,
        single: bool = False,
        noise: float = 0.5,
        seed: int = 0,
    ) -> None:
        for name, value in (("n", n), ("per_block", per_block), ("blocks", blocks)):
            check_number(value, "int [1, inf)", name)
        check_number(noise, "[0, inf)", "noise")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        rng = generator(seed, "problem")
        self.n, self.per_block, self.blocks = int(n), int(per_block), int(blocks)
        shape = (self.blocks, self.per_block, self.n)
        self.Z, self.Zv = frozen(rng.standard_normal(shape)), frozen(rng.standard_normal(shape))
        truth = rng.standard_normal((self.blocks, self.n)) * np.geomspace(1.0, 0.1, self.n)
        exact = (np.einsum("ijk,ik->ij", data, truth) for data in (self.Z, self.Zv))
        self.b, self.bv = (frozen(e + noise * rng.standard_normal(e.shape)) for e in exact)
        self.n_examples = self.blocks * self.per_block
        self._shapes = {"upper": (1 if single else self.n,), "lower": (self.blocks, self.n)}

    def start(self, seed: int = 0) -> Params:
        """Return normal log-weights, and zero regressions."""
        return {
            "upper": generator(seed, "start").standard_normal(self._shapes["upper"]),
            "lower": np.zeros(self._shapes["lower"]),
        }

    def hessians(self, upper: np.ndarray) -> np.ndarray:
        """Return the m Hessians of the blocks, NumPy."""
        weights = np.diag(np.broadcast_to(np.exp(upper), (self.n,)))
        return np.einsum("ijk,ijl->ikl", self.Z, self.Z) / self.per_block + weights

    def response(self, upper: np.ndarray) -> np.ndarray:
        """Return y*(x), one row a block, NumPy."""
        right = np.einsum("ijk,ij->ik", self.Z, self.b) / self.per_block
        return np.linalg.solve(self.hessians(upper), right[..., None])[..., 0]

    def hypergradient(self, upper: np.ndarray) -> np.ndarray:
        """Return the derivative of F(x, y*(x)), NumPy: ``-e^x ⊙ mean_i y_i* ⊙ H_i⁻¹ ∇_y f_i``."""
        y = self.response(upper)
        away = np.einsum("ijk,ik->ij", self.Zv, y) - self.bv
        g = np.einsum("ijk,ij->ik", self.Zv, away) / self.per_block
        back = np.linalg.solve(self.hessians(upper), g[..., None])[..., 0]
        full = -np.exp(upper) * np.mean(y * back, axis=0)
        return full if upper.shape[0] == self.n else np.sum(full, keepdims=True)

    def _shares(self, x: Params, batch: np.ndarray | None) -> tuple[Array, Array]:
        """Return each example's weight, and each block's, of the mean over the batch."""
        size, m = self.per_block, self.blocks
        if batch is None:
            each = np.full((m, size), 1.0 / (m * size))
        else:
            each = np.bincount(batch, minlength=m * size).reshape(m, size) / batch.size
        y = x["lower"]
        return like(each, y), like(each.sum(axis=1), y)

    def _fit(self, x: Params, batch: np.ndarray | None, data: str, targets: str) -> tuple[Any, ...]:
        check_batch(batch, self.n_examples)
        check_point(x, self._shapes)
        each, block = self._shares(_real(x), batch)
        Z, y = self._data(data, _real(x)), x["lower"]
        return each, block, Z, namespace(y).sum(Z * y[:, None, :], axis=2) - self._data(targets, _real(x))

    def upper_value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return F."""
        each, _, _, away = self._fit(x, batch, "Zv", "bv")
        return namespace(away).sum(each * away * away) / 2

    def upper_grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of F by both players; by the upper one it is 0."""
        each, _, Z, away = self._fit(x, batch, "Zv", "bv")
        return {"upper": 0.0 * x["upper"], "lower": _rows((each * away)[:, :, None] * Z)}

    def lower_value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return f."""
        each, block, _, away = self._fit(x, batch, "Z", "b")
        xp, y = namespace(away), x["lower"]
        penalty = block[:, None] * xp.exp(x["upper"]) * y * y
        return xp.sum(each * away * away) / 2 + xp.sum(penalty) / 2

    def lower_grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of f by both players."""
        each, block, Z, away = self._fit(x, batch, "Z", "b")
        y = x["lower"]
        penalty = block[:, None] * namespace(y).exp(x["upper"]) * y
        return {
            "upper": self._folded(penalty * y / 2, x),
            "lower": _rows((each * away)[:, :, None] * Z) + penalty,
        }

    def lower_hvp(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the Hessian of f by y times v, one block a row."""
        each, block, Z, _ = self._fit(x, batch, "Z", "b")
        xp = namespace(v)
        along = xp.sum(Z * v[:, None, :], axis=2)
        return _rows((each * along)[:, :, None] * Z) + block[:, None] * xp.exp(x["upper"]) * v

    def lower_mixed(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``e^x ⊙ Σ_i y_i ⊙ v_i`` over the blocks."""
        _, block, _, _ = self._fit(x, batch, "Z", "b")
        return self._folded(block[:, None] * namespace(v).exp(x["upper"]) * x["lower"] * v, x)

    def _folded(self, each: Array, x: Params) -> Array:
        """Return the sum over blocks, and over features where they share a penalty."""
        xp = namespace(each)
        total = xp.sum(each, axis=0)
        return total if x["upper"].shape[0] == self.n else xp.reshape(xp.sum(total), (1,))


def _rows(a: Array) -> Array:
    return namespace(a).sum(a, axis=1)


def _real(x: Params) -> Params:
    """Return parameters of the real dtype: data stays real under a complex step."""
    return {k: real_part(v) for k, v in x.items()}
