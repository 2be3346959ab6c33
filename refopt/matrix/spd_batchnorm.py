"""Riemannian batch normalisation under the generalised Bures-Wasserstein metric (GBWBN)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from refopt.core.arrays import Array, eye_like, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.matrix.bures import bures_wasserstein_distance, two_roots
from refopt.matrix.bures_mean import bures_wasserstein_mean
from refopt.matrix.common import (
    check_choice,
    check_like,
    check_number,
    check_psd,
    elementwise,
    hermitian_part,
    pairs,
    schur_map,
)
from refopt.matrix.lyapunov import lyapunov_eigh
from refopt.matrix.spd import spd_power
from refopt.matrix.spd_geometry import spd_exp_map, spd_geodesic, spd_log_map
from refopt.matrix.square_root import psd_eigh


@dataclass(frozen=True)
class RunningStatistics:
    """The running mean (n, n) and variance () that evaluation uses."""

    mean: Array
    variance: Array


def transport_to_identity(G: Array, V: Array) -> Array:
    """Carry tangent vectors at G to the identity: in G's eigenbasis times ``sqrt(2 / (g_i + g_j))``.

    An isometry: both metric tensors are ``sum |V_ij|^2 / (2 (g_i + g_j))`` in the eigenbasis.
    """
    values, vectors = psd_eigh(G, "G", strict=True)
    left, right = pairs(values)
    return schur_map(vectors, namespace(values).sqrt(2 / (left + right)), V)


def transport_from_identity(W: Array, V: Array) -> Array:
    """Carry tangent vectors at the identity to W: in W's eigenbasis times ``sqrt((w_i + w_j) / 2)``."""
    values, vectors = psd_eigh(W, "W", strict=True)
    left, right = pairs(values)
    return schur_map(vectors, namespace(values).sqrt((left + right) / 2), V)


@dataclass(frozen=True)
class BuresBatchNorm:
    """Batch normalisation of SPD matrices: centre at I, scale to dispersion s^2, move to the bias.

    With ``Y_i = M^{-1/2} X_i^theta M^{-1/2}``, their mean G and variance v^2: ``V_i = Log_G(Y_i)`` is carried
    to I, multiplied by ``s / sqrt(v^2 + eps)``, carried to ``W' = M^{-1/2} W^theta M^{-1/2}``, followed by
    ``Exp_{W'}``, and M and theta are undone. All maps are those of the Bures-Wasserstein metric.

    Parameters
    ----------
    theta : float
        Power of the deformation, not 0.
    momentum : float
        Share of the batch in the running statistics, in [0, 1].
    eps : float
        Added to the variance.
    mean_steps : int or None
        Steps of the fixed point from the arithmetic mean; None until converged (the code takes 1).
    variance_about : {"mean", "identity"}
        Where the dispersion is measured: about the batch's mean, or, as the authors' code has it, about I
        before centring.
    fold : bool
        ``Exp(V) = (I + S) B (I + S)`` folds where ``I + S`` is not positive definite (at the identity
        ``S = V/2``). False raises an error there; True goes on with the folded point, as the authors' code
        does without saying so.

    References
    ----------
    R. Wang, S. Jin, Z. Chen, X. Luo, X.-J. Wu (2025), CVPR, arXiv:2504.00660.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.stack([np.diag([1.0, 2.0]), np.diag([1.5, 1.0])])
    >>> norm = BuresBatchNorm()
    >>> Y, running = norm.train(X, np.eye(2), norm.init(np.eye(2)))
    >>> from refopt.matrix.bures_mean import bures_wasserstein_mean
    >>> print(np.round(bures_wasserstein_mean(Y), 6))
    [[1. 0.]
     [0. 1.]]
    """

    theta: float = 1.0
    momentum: float = 0.1
    eps: float = 1e-5
    mean_steps: int | None = None
    variance_about: str = "mean"
    fold: bool = False

    def __post_init__(self) -> None:
        if check_number(self.theta, "theta") == 0:
            raise ArgumentError("theta: wanted a number other than 0")
        if check_number(self.momentum, "momentum", least=0.0) > 1:
            raise ArgumentError(f"momentum: wanted a number in [0, 1], got {self.momentum!r}")
        check_number(self.eps, "eps", least=0.0)
        check_choice(self.variance_about, "variance_about", ("mean", "identity"))

    def init(self, like: Array) -> RunningStatistics:
        """Return the starting statistics, identity and 1, of the dtype of an (n, n) array."""
        xp = namespace(like)
        return RunningStatistics(eye_like(like), xp.ones((), dtype=like.dtype))

    def _inward(self, X: Array, M: Array | None) -> Array:
        X = spd_power(X, self.theta) if self.theta != 1 else X
        if M is None:
            return X
        inverse = two_roots(M, "M")[1]
        return hermitian_part(inverse @ X @ inverse)

    def _outward(self, Y: Array, M: Array | None) -> Array:
        if M is not None:
            root = two_roots(M, "M")[0]
            Y = hermitian_part(root @ Y @ root)
        return spd_power(Y, 1 / self.theta) if self.theta != 1 else Y

    def _variance(self, Y: Array, G: Array) -> Array:
        xp = namespace(Y)
        centre = G if self.variance_about == "mean" else eye_like(Y)
        distances = bures_wasserstein_distance(xp.broadcast_to(centre, Y.shape), Y, squared=True)
        return xp.mean(distances) / self.theta**2

    def _folded(self, V: Array) -> Array:
        """Return the tangent vector at I whose exponential is ``(I + V/2)^2`` and does not fold."""
        xp = namespace(V)
        eye = eye_like(V)
        return 2 * (elementwise(xp.abs, hermitian_part(eye + V / 2)) - eye)

    def _normalise(
        self, Y: Array, G: Array, variance: Array, bias: Array, scale: Array, M: Array | None
    ) -> Array:
        xp = namespace(Y)
        V = transport_to_identity(G, spd_log_map(xp.broadcast_to(G, Y.shape), Y, "bures-wasserstein"))
        V = self._folded(V) if self.fold else V
        V = (scale / xp.sqrt(variance + self.eps)) * V
        V = self._folded(V) if self.fold else V
        W = self._inward(bias, M)
        moved = hermitian_part(transport_from_identity(W, V))
        base = xp.broadcast_to(W, Y.shape)
        if not self.fold:
            return self._outward(spd_exp_map(base, moved, "bures-wasserstein"), M)
        factor = eye_like(W) + lyapunov_eigh(base, moved)
        return self._outward(hermitian_part(factor @ base @ factor), M)

    def train(
        self,
        X: Array,
        bias: Array,
        running: RunningStatistics,
        *,
        scale: Array = 1.0,
        M: Array | None = None,
    ) -> tuple[Array, RunningStatistics]:
        """Normalise a batch X (N, n, n) by its own statistics; return it and the updated running ones.

        Raises
        ------
        ConvergenceError
            A matrix is not positive definite; a step of the map folds (and `fold` is False).
        """
        X = check_psd(X, "X", strict=True)
        if X.ndim != 3:
            raise ShapeError(f"X: wanted shape (N, n, n), got {tuple(X.shape)}")
        bias = check_psd(check_like(bias, "bias", X, "X"), "bias", strict=True)
        Y = self._inward(X, M)
        G = bures_wasserstein_mean(Y, steps=self.mean_steps)
        variance = self._variance(Y, G)
        mean = spd_geodesic(running.mean, G, self.momentum, "bures-wasserstein")
        updated = replace(
            running,
            mean=hermitian_part(mean),
            variance=(1 - self.momentum) * running.variance + self.momentum * variance,
        )
        return self._normalise(Y, G, variance, bias, scale, M), updated

    def evaluate(
        self,
        X: Array,
        bias: Array,
        running: RunningStatistics,
        *,
        scale: Array = 1.0,
        M: Array | None = None,
    ) -> Array:
        """Normalise X (N, n, n) by the running statistics."""
        X = check_psd(X, "X", strict=True)
        bias = check_psd(check_like(bias, "bias", X, "X"), "bias", strict=True)
        return self._normalise(self._inward(X, M), running.mean, running.variance, bias, scale, M)
