"""Recovery of a low-rank matrix from linear measurements, by two factors."""

from __future__ import annotations

import math

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, count, frozen, rows
from refopt.problems.sensing import (
    SCALED_GD,
    QuadraticResidual,
    check_sizes,
    incoherence,
    orthonormal,
    padded,
    spectrum,
)  # fmt: skip

Params = dict[str, Array]


@register(
    "asymmetric-matrix-sensing",
    kind="problem",
    source=Source(
        key="xiong-2023-overparameterization",
        authors="Nuoya Xiong, Lijun Ding, Simon S. Du",
        title="How Over-Parameterization Slows Down Gradient Descent in Matrix Sensing: "
        "The Curses of Symmetry and Initialization",
        arxiv="2310.01769",
    ),
    where="the asymmetric parameterisation F G^T",
    also=(SCALED_GD,),
)
class AsymmetricMatrixSensing(QuadraticResidual):
    """Asymmetric matrix sensing ``f(F, G) = ||A(F G^T) - y||^2 / 2`` with ``y = A(M*)`` plus noise.

    Parameters are ``{"F": (n1, search_rank), "G": (n2, search_rank)}``; ``A(M)_i = <A_i, M>``, the A_i with
    independent normal entries. The gradients are ``Z G`` and ``Z^T F`` with Z = A*(A(F G^T) - y). With
    `balance` b > 0 the term ``b ||F^T F - G^T G||_F^2 / 8`` of older works is added; a batch has all of it.
    As least squares, r is ``sqrt(w / B) (A(F G^T) - y)`` over the B measurements of a batch (w = m for
    ``scaling="isometric"``, 1 for ``"mean"``), followed by the entries of ``sqrt(b) (F^T F - G^T G) / 2``
    where b > 0.

    Parameters
    ----------
    n1, n2 : int
        Sizes of M*.
    rank : int
        Of M*.
    search_rank : int, optional
        Columns of F and G; the rank if left out.
    measurements : int, optional
        m; 5 max(n1, n2) rank if left out (ScaledGD's experiments).
    condition_number : float
        kappa of M*: singular values are evenly spaced from 1 to 1/kappa.
    scaling : {"isometric", "mean"}
        Entries of A_i are N(0, 1/m), or N(0, 1) with 1/m in the loss. The functions f are the same.
    balance : float
        b.
    noise : float
        Standard deviation of normal noise on each y_i, relative to the root mean square of A(M*).
    init_scale : float
        alpha of the start F = alpha F~, G = alpha G~ / 3, entries N(0, 1/n) with their own n. (The 1/3, which
        breaks the balance, is not checked against the paper.)
    seed : int
        Of the truth, the measurements and the noise.

    Attributes
    ----------
    truth : array of shape (n1, n2)
        M*.
    solution : dict
        Balanced factors of M*, with zero columns appended, where search_rank >= rank and there is no noise;
        `optimum` is 0 there.
    rank : int
    truth_condition_number : float
        kappa.
    incoherence : float
        Of its singular vectors.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        Bad sizes or settings.

    References
    ----------
    N. Xiong, L. Ding, S. S. Du (2023). How Over-Parameterization Slows Down Gradient Descent in Matrix
    Sensing, arXiv:2310.01769. Truth and m as in the code of T. Tong, C. Ma, Y. Chi (2021), arXiv:2005.08898.

    Examples
    --------
    >>> from refopt.problems.asymmetric_matrix_sensing import AsymmetricMatrixSensing
    >>> p = AsymmetricMatrixSensing(n1=6, n2=4, rank=2)
    >>> {k: v.shape for k, v in p.start().items()}, float(p.value(p.solution)) < 1e-30
    ({'F': (6, 2), 'G': (4, 2)}, True)
    """

    def __init__(
        self,
        n1: int = 20,
        n2: int = 15,
        rank: int = 3,
        search_rank: int | None = None,
        measurements: int | None = None,
        condition_number: float = 1.0,
        scaling: str = "isometric",
        balance: float = 0.0,
        noise: float = 0.0,
        init_scale: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.search_rank = k = check_sizes({"n1": n1, "n2": n2}, rank, search_rank, condition_number, seed)
        if scaling not in ("isometric", "mean"):
            raise ArgumentError(f"scaling: wanted 'isometric' or 'mean', got {scaling!r}")
        check_number(balance, "[0, inf)", "balance")
        check_number(noise, "[0, inf)", "noise")
        check_number(init_scale, "(0, inf)", "init_scale")
        if measurements is not None:
            check_number(measurements, "int [1, inf)", "measurements")
        m = 5 * max(n1, n2) * rank if measurements is None else int(measurements)
        self.n1, self.n2, self.rank, self.n_examples = int(n1), int(n2), int(rank), m
        self.scaling, self.balance, self.init_scale = scaling, float(balance), float(init_scale)
        self.truth_condition_number = float(condition_number)
        self._weight = float(m) if scaling == "isometric" else 1.0
        self._shapes = {"F": (self.n1, k), "G": (self.n2, k)}
        rng = generator(seed, "problem")
        u, v, s = orthonormal(rng, n1, rank), orthonormal(rng, n2, rank), spectrum(rank, condition_number)
        self.incoherence = incoherence(u, v)
        self.truth = frozen((u * s) @ v.T)
        a = rng.standard_normal((m, n1 * n2))
        self.matrices = frozen(a / math.sqrt(self._weight))  # A_i as rows
        observed = self.matrices @ self.truth.reshape(-1)
        if noise:
            size = math.sqrt(float(np.mean(observed**2)))
            observed = observed + noise * size * rng.standard_normal(m)
        elif k >= rank:
            roots = np.sqrt(s)
            self.solution = {"F": frozen(padded(u * roots, k)), "G": frozen(padded(v * roots, k))}
            self.optimum = 0.0
        self.observations = frozen(observed)

    def start(self, seed: int = 0) -> Params:
        """Return ``alpha F~`` and ``alpha G~ / 3``."""
        rng = generator(seed, "start")
        scales = {"F": self.init_scale / math.sqrt(self.n1), "G": self.init_scale / math.sqrt(self.n2) / 3}
        return {k: scales[k] * rng.standard_normal(self._shapes[k]) for k in ("F", "G")}

    def error(self, x: Params) -> float:
        """Return ``||F G^T - M*||_F / ||M*||_F``."""
        gap = x["F"] @ x["G"].T - self._data("truth", x)
        return math.sqrt(float(namespace(gap).sum(gap * gap))) / float(np.linalg.norm(self.truth))

    def _apply(self, matrix: Array, batch: np.ndarray | None) -> Array:
        """Return ``sqrt(w / B) A(M)`` of the batch."""
        vector = namespace(matrix).reshape(matrix, (-1,))
        return math.sqrt(self._weight / count(self, batch)) * (rows(self, "matrices", matrix, batch) @ vector)

    def _check(self, x: Params, batch: np.ndarray | None, name: str = "x") -> None:
        check_point(x, self._shapes, name)
        check_batch(batch, self.n_examples)

    def _with_balance(self, r: Array, gap: Array) -> Array:
        """Append the balancing entries to the measurements' part of a residual."""
        xp = namespace(r)
        return xp.concat([r, math.sqrt(self.balance) / 2 * xp.reshape(gap, (-1,))]) if self.balance else r

    def residual(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return r, shape (B,), or (B + search_rank^2,) with `balance`."""
        self._check(x, batch)
        f, g = x["F"], x["G"]
        y = math.sqrt(self._weight / count(self, batch)) * rows(self, "observations", x, batch)
        return self._with_balance(self._apply(f @ g.T, batch) - y, f.T @ f - g.T @ g)

    def jvp(self, x: Params, v: Params, batch: np.ndarray | None = None) -> Array:
        """Return the Jacobian of r at x times v, like r."""
        self._check(x, batch)
        self._check(v, batch, "v")
        f, g, df, dg = x["F"], x["G"], v["F"], v["G"]
        half = f.T @ df - g.T @ dg
        return self._with_balance(self._apply(df @ g.T + f @ dg.T, batch), half + half.T)

    def vjp(self, x: Params, u: Array, batch: np.ndarray | None = None) -> Params:
        """Return the transposed Jacobian of r at x times u, like x."""
        self._check(x, batch)
        b, k, xp = count(self, batch), self.search_rank, namespace(x["F"])
        size = b + (k * k if self.balance else 0)
        if tuple(getattr(u, "shape", ())) != (size,):
            raise ShapeError(f"u: wanted shape {(size,)} like the residual, got {getattr(u, 'shape', None)}")
        z = math.sqrt(self._weight / b) * (rows(self, "matrices", x, batch).T @ u[:b])
        z = xp.reshape(z, (self.n1, self.n2))
        out = {"F": z @ x["G"], "G": z.T @ x["F"]}
        if self.balance:
            w = xp.reshape(u[b:], (k, k)) * (math.sqrt(self.balance) / 2)
            out = {"F": out["F"] + x["F"] @ (w + w.T), "G": out["G"] - x["G"] @ (w + w.T)}
        return out

    def example_grads(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of each ``f_i = w (<A_i, F G^T> - y_i)^2 / 2 + balancing term``."""
        self._check(x, batch)
        f, g, b, xp = x["F"], x["G"], count(self, batch), namespace(x["F"])
        a = rows(self, "matrices", x, batch)
        e = self._weight * (a @ xp.reshape(f @ g.T, (-1,)) - rows(self, "observations", x, batch))
        z = e[:, None, None] * xp.reshape(a, (b, self.n1, self.n2))
        gap = self.balance / 2 * (f.T @ f - g.T @ g)
        return {
            "F": z @ g + (f @ gap)[None, ...],
            "G": xp.matrix_transpose(z) @ f - (g @ gap)[None, ...],
        }
