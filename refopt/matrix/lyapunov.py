"""The Lyapunov equation B X + X B = C: by the matrix sign function, and exactly in B's eigenbasis."""

from __future__ import annotations

from refopt.core.arrays import Array, eye_like, namespace
from refopt.core.errors import ConvergenceError, ShapeError
from refopt.core.registry import Dialect, Source, register
from refopt.matrix.common import (
    adjoint,
    check_choice,
    check_count,
    check_like,
    check_psd,
    eigh,
    epsilon,
    frobenius,
    hermitian_part,
    pairs,
    schur_map,
)

MOST_STEPS = 100

SONG_2022 = Source(
    key="song-2022-fast",
    authors="Y. Song, N. Sebe, W. Wang",
    title="Fast Differentiable Matrix Square Root",
    arxiv="2201.08663",
    venue="ICLR 2022",
)
SONG_2022_INVERSE = Source(
    key="song-2022-inverse",
    authors="Y. Song, N. Sebe, W. Wang",
    title="Fast Differentiable Matrix Square Root and Inverse Square Root",
    arxiv="2201.12543",
)


@register(
    "lyapunov-sign",
    kind="matfun",
    source=SONG_2022,
    where="the backward pass: the iteration of the matrix sign function on [[B, C], [0, -B]]",
    dialects={
        "official": Dialect(
            {"steps": 8, "scale": "square"}, "KingJamesSong/FastDifferentiableMatSqrt@5506d70",
            "eight steps, converged or not, and B divided by the square root of the norm of its square",
        )
    },
)  # fmt: skip
def lyapunov_sign(B: Array, C: Array, *, steps: int | None = None, scale: str | Array = "frobenius") -> Array:
    """Solve ``B X + X B = C`` for positive definite `B` by the iteration of the matrix sign function.

    The sign of ``[[B, C], [0, -B]]`` is ``[[I, 2 X], [0, -I]]``. From ``B_0 = B / s``, ``C_0 = C / s``::

        C_{k+1} = (C_k (3 I - B_k^2) - B_k^2 C_k + B_k C_k B_k) / 2
        B_{k+1} = B_k (3 I - B_k^2) / 2

    and ``X = C_K / 2``.

    Parameters
    ----------
    B : array of shape (..., n, n)
        Hermitian positive definite.
    C : array of shape (..., n, n)
        Need not be symmetric.
    steps : int, optional
        K. By default the iteration runs until it has converged to rounding.
    scale : {"frobenius", "square"} or array of shape (..., 1, 1)
        s: ``||B||_F``; ``||B^2||_F^{1/2}``, which is smaller and so the faster of the two; or your own.

    Returns
    -------
    array of shape (..., n, n)
        X.

    Raises
    ------
    ConvergenceError
        `B` is not positive definite, `scale` puts its eigenvalues outside (0, sqrt(3)), or the iteration
        has not converged after 100 steps.
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    lyapunov_eigh : the exact solution in the eigenbasis of B.
    lyapunov_jvp, lyapunov_vjp : derivatives in B and C.

    Notes
    -----
    Converges for eigenvalues of ``B / s`` in (0, sqrt(3)), which both named scales ensure. An entry of the
    solution in B's eigenbasis is wrong by the factor ``(f_K(b_i) + f_K(b_j)) / 2``, f_K the K-fold
    composition of ``b -> b (3 - b^2) / 2``: about ``ln(s / b_min) / ln 1.5 + 4`` steps are needed.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> B = np.diag([1.0, 3.0])
    >>> X = refopt.get("lyapunov-sign")(B, np.ones((2, 2)))
    >>> print(np.round(X, 6))
    [[0.5      0.25    ]
     [0.25     0.166667]]
    """
    B = check_psd(B, "B", strict=True)
    C = check_like(C, "C", B, "B")
    if steps is not None:
        check_count(steps, "steps")
    s = _scale(B, scale)
    return sign_iteration(B / s, C / s, steps)


def _scale(B: Array, scale: str | Array) -> Array:
    xp = namespace(B)
    if isinstance(scale, str):
        check_choice(scale, "scale", ("frobenius", "square"))
        return frobenius(B) if scale == "frobenius" else xp.sqrt(frobenius(B @ B))
    if getattr(scale, "ndim", None) is None or tuple(scale.shape[-2:]) != (1, 1):
        raise ShapeError("scale: wanted 'frobenius', 'square' or an array of shape (..., 1, 1)")
    if bool(xp.any(eigh(B)[0][..., -1:] >= 3**0.5 * scale[..., 0])):
        raise ConvergenceError("scale: wanted the eigenvalues of B / scale below sqrt(3)")
    return scale


def sign_iteration(B: Array, C: Array, steps: int | None) -> Array:
    """Run the iteration on scaled B and C; return ``C_K / 2``."""
    xp = namespace(B)
    eye = eye_like(B)
    most = MOST_STEPS if steps is None else steps
    for _ in range(most):
        square = B @ B
        gap = float(xp.max(xp.abs(square - eye))) if steps is None else 1.0
        C = (C @ (3 * eye - square) - square @ C + B @ C @ B) / 2
        B = B @ (3 * eye - square) / 2
        if gap <= epsilon(B) ** 0.5:  # quadratic: the step just taken brought it to rounding
            return C / 2
    if steps is None:
        raise ConvergenceError(
            f"B: not converged after {MOST_STEPS} steps; wanted a condition number below about 1 / eps of the"
            " dtype. lyapunov_eigh solves the equation exactly"
        )
    return C / 2


def lyapunov_eigh(B: Array, C: Array) -> Array:
    """Solve ``B X + X B = C`` for positive definite `B` in its eigenbasis.

    ``X = Q ((Q* C Q)_ij / (b_i + b_j)) Q*``.

    Parameters
    ----------
    B : array of shape (..., n, n)
        Hermitian positive definite (one zero eigenvalue is one too many: the equation is then singular).
    C : array of shape (..., n, n)

    Returns
    -------
    array of shape (..., n, n)

    Raises
    ------
    ConvergenceError
        `B` is not positive definite.

    Examples
    --------
    >>> import numpy as np
    >>> print(lyapunov_eigh(np.diag([1.0, 3.0]), np.ones((2, 2)))[0])
    [0.5  0.25]
    """
    B = check_psd(B, "B", strict=True)
    C = check_like(C, "C", B, "B")
    values, vectors = eigh(B)
    left, right = pairs(values)
    return schur_map(vectors, 1 / (left + right), C)


def lyapunov_jvp(B: Array, X: Array, tangent_B: Array, tangent_C: Array) -> Array:
    """Return dX for the solution `X`: the solution of ``B dX + dX B = dC - dB X - X dB``."""
    return lyapunov_eigh(B, tangent_C - tangent_B @ X - X @ tangent_B)


def lyapunov_vjp(B: Array, X: Array, cotangent: Array) -> tuple[Array, Array]:
    """Return the cotangents of B and C: with ``B S + S B = G`` they are ``-(S X* + X* S)`` and S."""
    S = lyapunov_eigh(B, cotangent)
    return -(S @ adjoint(X) + adjoint(X) @ S), S


def root_derivative(
    root: Array, direction: Array, *, steps: int | None, scale: str | Array = "square"
) -> Array:
    """Return the derivative of ``A^{1/2}`` along `direction` given the root: ``S X + X S = E``.

    The map is self-adjoint, so it is the forward and the reverse derivative alike.
    """
    return lyapunov_sign(hermitian_part(root), direction, steps=steps, scale=scale)


def inverse_root_derivative(
    root: Array, direction: Array, *, steps: int | None, scale: str | Array = "square"
) -> Array:
    """Return the derivative of ``A^{-1/2}``, given as `root` R: ``R X + X R = -R^2 E R^2``; self-adjoint."""
    root = hermitian_part(root)
    square = root @ root
    return lyapunov_sign(root, -(square @ direction @ square), steps=steps, scale=scale)
