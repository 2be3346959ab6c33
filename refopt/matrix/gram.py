"""Spectral norms: upper bounds by Gram iteration, lower bounds by power iteration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refopt.core.arrays import Array, check_array, eye_like, like, namespace
from refopt.core.cost import Cost
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.registry import Dialect, Source, register
from refopt.core.rng import generator
from refopt.matrix.common import (
    adjoint,
    check_count,
    check_like,
    check_number,
    frobenius,
    inner,
)

DELATTRE_2023 = Source(
    key="delattre-2023-gram",
    authors="B. Delattre, Q. Barthélemy, A. Araujo, A. Allauzen",
    title="Efficient Bound of Lipschitz Constant for Convolutional Layers by Gram Iteration",
    arxiv="2305.16173",
    venue="ICML 2023",
)
MIYATO_2018 = Source(
    key="miyato-2018-spectral",
    authors="T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida",
    title="Spectral Normalization for Generative Adversarial Networks",
    arxiv="1802.05957",
    venue="ICLR 2018",
)


def _matrix(A: Array) -> Array:
    A = check_array(A, "A", min_ndim=2, complex_ok=True)
    if 0 in A.shape[-2:]:
        raise ShapeError(f"A: is empty, shape {tuple(A.shape)}")
    return A


def _guarded(x: Array) -> Array:
    """Return `x` with ones in place of zeros, to divide by."""
    xp = namespace(x)
    return xp.where(x > 0, x, xp.ones_like(x))


def gram_iteration(G: Array, steps: int) -> Array:
    """Return ``||(G* G)^(2^(N-1))||_F^(2^-N)``, shape (...): the Schatten norm of order 2^(N+1).

    ``G <- G* G`` after a division by ``r = ||G||_F``, whose logarithm is kept: undone at the end, it counts
    with weight ``2^-t`` after t steps. Dividing is what keeps the squares in range.
    """
    xp = namespace(G)
    first = frobenius(G)
    G = G / _guarded(first)  # taken out before the loop: at extreme scales its logarithm would cost digits
    log_scale = xp.zeros_like(first)
    for t in range(steps):
        r = _guarded(frobenius(G))
        G = G / r
        log_scale = log_scale + 2.0**-t * xp.log(r)
        G = adjoint(G) @ G
    return (first * _guarded(frobenius(G)) ** 2.0**-steps * xp.exp(log_scale))[..., 0, 0]


def gram_gradient(G: Array, steps: int) -> Array:
    """Return the gradient of `gram_iteration`: ``(1/s) G (G* G / s^2)^(2^N - 1)``, zero at G = 0.

    Each square is divided by its norm; the factor lost is restored by Euler's identity <gradient, G> = s,
    as the value is homogeneous of degree 1.
    """
    xp = namespace(G)
    if steps == 0:
        return G / _guarded(frobenius(G))
    square = adjoint(G) @ (G / _guarded(frobenius(G)))
    square = square / _guarded(frobenius(square))
    product = xp.broadcast_to(eye_like(square), square.shape)
    for _ in range(steps):
        product = product @ square
        product = product / _guarded(frobenius(product))
        square = square @ square
        square = square / _guarded(frobenius(square))
    W = (G / _guarded(frobenius(G))) @ product
    along = inner(W, G)[..., None, None]
    return W * gram_iteration(G, steps)[..., None, None] / _guarded(along)


def _five_gram_steps(n: int) -> Callable[[], Array]:
    A = np.random.default_rng(0).standard_normal((n, n))
    return lambda: spectral_norm_gram(A, 5)


@register(
    "spectral-norm-gram",
    kind="matfun",
    source=DELATTRE_2023,
    where="Gram iteration for dense matrices, with rescaling",
    costs=(Cost("n", 3.0, "one product of n x n matrices a step", _five_gram_steps, (128, 256, 512, 1024)),),
    dialects={
        "official": Dialect({"steps": 100}, "blaisedelattre/lip4conv@7d11545", "its dense default"),
    },
)  # fmt: skip
def spectral_norm_gram(A: Array, steps: int = 10) -> Array:
    """Return an upper bound of the spectral norm of `A` by Gram iteration.

    ``G <- G* G`` N times, rescaled; then ``||G||_F^(2^-N)`` (scales undone), which is
    ``(sum_i sigma_i^(2^(N+1)))^(2^-(N+1))``.

    Parameters
    ----------
    A : array of shape (..., m, n)
        Real or complex.
    steps : int
        N, at least 0; 0 gives the Frobenius norm.

    Returns
    -------
    array of shape (...)
        At least sigma_1 (to rounding), at most ``rank^(2^-(N+1)) sigma_1``.

    Raises
    ------
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    spectral_norm_gram_jvp, spectral_norm_gram_vjp : exact derivatives of the N-th iterate.
    spectral_norm_power : a lower bound.

    Notes
    -----
    Converges for every matrix, monotonically from above. For a simple sigma_1 the relative error is about
    ``2^-(N+1) (sigma_2 / sigma_1)^(2^(N+1))``; for one of multiplicity m about ``ln(m) 2^-(N+1)``.
    Deterministic: no random start.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(round(float(refopt.get("spectral-norm-gram")(np.diag([3.0, 1.0]), steps=5)), 6))
    3.0
    """
    A = _matrix(A)
    check_count(steps, "steps", least=0)
    # The smaller Gram matrix carries the products; the value is the same.
    return gram_iteration(adjoint(A) if A.shape[-1] > A.shape[-2] else A, steps)


def spectral_norm_gram_vjp(A: Array, cotangent: Array = 1.0, steps: int = 10) -> Array:
    """Return `cotangent` (shape (...)) times the gradient ``(1/s) A (A* A / s^2)^(2^N - 1)``."""
    A = _matrix(A)
    check_count(steps, "steps", least=0)
    gradient = (
        adjoint(gram_gradient(adjoint(A), steps)) if A.shape[-1] > A.shape[-2] else gram_gradient(A, steps)
    )
    weight = cotangent[..., None, None] if hasattr(cotangent, "ndim") else cotangent
    return weight * gradient


def spectral_norm_gram_jvp(A: Array, tangent: Array, steps: int = 10) -> Array:
    """Return the derivative along `tangent`, shape (...)."""
    A = _matrix(A)
    return inner(spectral_norm_gram_vjp(A, 1.0, steps), check_like(tangent, "tangent", A, "A"))


def power_vectors(
    A: Array, steps: int, start: Array | None, distribution: str, seed: int, eps: float
) -> tuple[Array, Array]:
    """Return the left and right unit vectors v (..., m, 1) and u (..., n, 1) after `steps` power steps."""
    xp = namespace(A)
    if start is None:
        rng = generator(seed, "start")
        draw = rng.standard_normal if distribution == "normal" else rng.random
        u = like(draw(A.shape[-1]), A)
    else:
        u = check_array(start, "start", complex_ok=True, min_ndim=1)
        if u.shape[-1] != A.shape[-1]:
            raise ShapeError(f"start: wanted shape (..., {A.shape[-1]}), got {tuple(u.shape)}")
        if not bool(xp.all(frobenius(u[..., None]) > 0)):
            raise ArgumentError("start: is zero")
    u = u[..., None]

    def normalise(x: Array) -> Array:
        norm = frobenius(x)
        return x / _guarded(xp.where(norm > eps, norm, xp.full_like(norm, eps)))

    for _ in range(steps):
        v = normalise(A @ u)
        u = normalise(adjoint(A) @ v)
    return v, u


@register(
    "spectral-norm-power",
    kind="matfun",
    source=MIYATO_2018,
    where="Algorithm 1, the power iteration",
    also=(DELATTRE_2023,),
    dialects={
        "lip4conv": Dialect({"steps": 50, "distribution": "uniform"}, "blaisedelattre/lip4conv@7d11545",
                            "unverified: no run of it was recorded"),
        "torch": Dialect({"steps": 16, "eps": 1e-12}, "torch 2.13",
                         "15 warm-up steps and one a forward pass; norms are clamped at eps"),
    },
)  # fmt: skip
def spectral_norm_power(
    A: Array,
    steps: int = 50,
    *,
    start: Array | None = None,
    distribution: str = "normal",
    seed: int = 0,
    eps: float = 0.0,
) -> Array:
    """Return a lower bound of the spectral norm of `A` by power iteration.

    Repeat ``v = A u / ||A u||``, ``u = A* v / ||A* v||``; the value is ``v* A u``.

    Parameters
    ----------
    A : array of shape (..., m, n)
        Real or complex.
    steps : int
        At least 1.
    start : array of shape (n,) or (..., n), optional
        u_0; by default drawn by `seed`.
    distribution : {"normal", "uniform"}
        Of the drawn start: standard normal, or uniform on [0, 1).
    seed : int
    eps : float
        At least 0; norms are clamped from below by it.

    Returns
    -------
    array of shape (...)

    Raises
    ------
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments, a zero start.

    See Also
    --------
    spectral_norm_power_jvp, spectral_norm_power_vjp : derivatives with u and v held fixed.
    spectral_norm_gram : an upper bound.

    Notes
    -----
    Converges to sigma_1 unless the start is orthogonal to its right singular space, where it stalls at a
    smaller singular value: no certificate of a Lipschitz constant. The error falls by
    ``(sigma_2 / sigma_1)^4`` a step.

    References
    ----------
    T. Miyato et al. (2018), ICLR, arXiv:1802.05957, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(round(float(refopt.get("spectral-norm-power")(np.diag([3.0, 1.0]))), 6))
    3.0
    """
    A, v, u = _power(A, steps, start, distribution, seed, eps)
    return inner(v, A @ u)


def _power(
    A: Array, steps: int, start: Array | None, distribution: str, seed: int, eps: float
) -> tuple[Array, Array, Array]:
    A = _matrix(A)
    check_count(steps, "steps")
    check_number(eps, "eps", least=0.0)
    if distribution not in ("normal", "uniform"):
        raise ArgumentError(f"distribution: wanted 'normal' or 'uniform', got {distribution!r}")
    v, u = power_vectors(A, steps, start, distribution, seed, eps)
    return A, v, u


def spectral_norm_power_vjp(
    A: Array,
    cotangent: Array = 1.0,
    steps: int = 50,
    *,
    start: Array | None = None,
    distribution: str = "normal",
    seed: int = 0,
    eps: float = 0.0,
) -> Array:
    """Return `cotangent` times ``v u*``: the gradient with the vectors held fixed."""
    A, v, u = _power(A, steps, start, distribution, seed, eps)
    weight = cotangent[..., None, None] if hasattr(cotangent, "ndim") else cotangent
    return weight * (v @ adjoint(u))


def spectral_norm_power_jvp(
    A: Array,
    tangent: Array,
    steps: int = 50,
    *,
    start: Array | None = None,
    distribution: str = "normal",
    seed: int = 0,
    eps: float = 0.0,
) -> Array:
    """Return ``v* E u``, the derivative along `tangent` with the vectors held fixed."""
    A, v, u = _power(A, steps, start, distribution, seed, eps)
    return inner(v, check_like(tangent, "tangent", A, "A") @ u)
