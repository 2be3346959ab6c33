"""Upper bounds of a convolution's spectral norm by Gram iteration: circular and zero padding."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from refopt.core.arrays import Array, check_array, like, namespace, to_numpy
from refopt.core.cost import Cost
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.registry import Source, register
from refopt.matrix.common import check_choice, check_count
from refopt.matrix.gram import DELATTRE_2023, gram_gradient, gram_iteration

DELATTRE_2024 = Source(
    key="delattre-2024-spectral",
    authors="B. Delattre, Q. Barthélemy, A. Allauzen",
    title="Spectral Norm of Convolutional Layers with Circular and Zero Paddings",
    arxiv="2402.00240",
)
SEDGHI_2019 = Source(
    key="sedghi-2019-singular",
    authors="H. Sedghi, V. Gupta, P. M. Long",
    title="The Singular Values of Convolutional Layers",
    arxiv="1805.10408",
    venue="ICLR 2019",
)


def _kernel(K: Array) -> Array:
    K = check_array(K, "K", ndim=4)
    if 0 in K.shape:
        raise ShapeError(f"K: is empty, shape {tuple(K.shape)}")
    return K


def _image(K: Array, n: int | tuple[int, int]) -> tuple[int, int]:
    sizes = n if isinstance(n, tuple) else (n, n)
    if len(sizes) != 2:
        raise ShapeError(f"n: wanted an int or (height, width), got {n!r}")
    for size, width in zip(sizes, K.shape[2:]):
        check_count(size, "n")
        if size < width:
            raise ArgumentError(
                f"n: wanted an image no smaller than the kernel {tuple(K.shape[2:])}, got {n!r}"
            )
    return sizes[0], sizes[1]


def frequency_blocks(K: Array, n: tuple[int, int]) -> Array:
    """Return the transfer matrices of the circular convolution, shape (h, w // 2 + 1, larger, smaller)."""
    xp = namespace(K)
    K = xp.permute_dims(K, (1, 0, 2, 3)) if K.shape[1] > K.shape[0] else K
    return xp.permute_dims(xp.fft.rfftn(K, s=n, axes=(2, 3)), (2, 3, 0, 1))


def autocorrelation(K: Array) -> Array:
    """Return ``C[o, o'] = sum_i K[o, i] * K[o', i]`` over all lags, widths k -> 2 k - 1."""
    xp = namespace(K)
    widths = (2 * K.shape[2] - 1, 2 * K.shape[3] - 1)
    F = xp.permute_dims(xp.fft.rfftn(K, s=widths, axes=(2, 3)), (2, 3, 0, 1))
    C = xp.permute_dims(F @ xp.matrix_transpose(xp.conj(F)), (2, 3, 0, 1))
    lags = xp.fft.irfftn(C, s=widths, axes=(2, 3))
    return xp.roll(lags, (K.shape[2] - 1, K.shape[3] - 1), axis=(2, 3))  # negative lags first


def _circular_image(n: int) -> Callable[[], Array]:
    K = np.random.default_rng(0).standard_normal((16, 16, 3, 3))
    return lambda: conv_spectral_norm_gram(K, n)


@register(
    "conv-spectral-norm-gram",
    kind="matfun",
    source=DELATTRE_2023,
    where="Algorithm 3 (circular padding)",
    costs=(Cost("n", 2.0, "a Gram matrix for each of n^2 frequencies", _circular_image, (16, 32, 64, 128)),),
    also=(DELATTRE_2024, SEDGHI_2019),
)  # fmt: skip
def conv_spectral_norm_gram(
    K: Array, n: int | tuple[int, int] = 32, steps: int = 4, *, padding: str = "circular"
) -> Array:
    """Return an upper bound of the spectral norm of a 2-D convolution by Gram iteration.

    Circular: one matrix per frequency of the kernel's Fourier transform on the image, `gram_iteration` on
    each, and the largest value. Zero: the kernel is replaced by its autocorrelation N times (rescaled), and
    the bound is the largest absolute row sum to the power ``2^-N``; it holds for every image size.

    Parameters
    ----------
    K : array of shape (c_out, c_in, k_h, k_w)
        Real; stride 1, no groups, no dilation.
    n : int or (int, int)
        Image size, no smaller than the kernel; not used by ``padding="zero"``.
    steps : int
        N, at least 1.
    padding : {"circular", "zero"}

    Returns
    -------
    array of shape ()

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError, DtypeError, NonFiniteError
        Bad arguments, an image smaller than the kernel.

    See Also
    --------
    conv_spectral_norm_gram_jvp, conv_spectral_norm_gram_vjp : derivatives of both bounds.
    spectral_norm_gram : the same for a matrix.

    Notes
    -----
    Converges for every kernel, from above: the circular bound to the exact norm, the zero-padding one to
    the supremum over image sizes. That supremum also bounds circular padding.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> K = np.zeros((1, 1, 3, 3)); K[0, 0, 1] = [1.0, 2.0, 1.0]
    >>> bound = refopt.get("conv-spectral-norm-gram")
    >>> print(round(float(bound(K, n=8)), 6), round(float(bound(K, padding="zero", steps=8)), 2))
    4.0 4.0
    """
    K = _kernel(K)
    check_count(steps, "steps")
    check_choice(padding, "padding", ("circular", "zero"))
    xp = namespace(K)
    if padding == "circular":
        return xp.max(gram_iteration(frequency_blocks(K, _image(K, n)), steps))
    return _size_free(K, steps)[0]


def _size_free(K: Array, steps: int) -> tuple[Array, list[Array], list[Array]]:
    """Return the bound for zero padding, the kernels K_0 / r_0, …, K_{N-1} / r_{N-1}, K_N, and the r_t."""
    xp = namespace(K)
    K = xp.permute_dims(K, (1, 0, 2, 3)) if K.shape[1] > K.shape[0] else K
    log_scale = like(0.0, K)
    kernels, scales = [], []
    for t in range(steps):
        largest = xp.max(xp.abs(K))
        if not bool(largest > 0):
            return xp.zeros_like(largest), [], []
        r = largest * xp.sqrt(xp.sum((K / largest) ** 2))
        kernels.append(K / r)
        scales.append(r)
        K = autocorrelation(K / r)
        log_scale = log_scale + 2.0**-t * xp.log(r)
    value = xp.max(xp.sum(xp.abs(K), axis=(1, 2, 3))) ** 2.0**-steps * xp.exp(log_scale)
    return value, [*kernels, K], scales


def _autocorrelation_adjoint(K: Array, G: Array) -> Array:
    """Return the gradient in K of ``<G, autocorrelation(K)>``: ``(G^ + G^*) K^`` in the Fourier domain."""
    xp = namespace(K)
    widths = (2 * K.shape[2] - 1, 2 * K.shape[3] - 1)
    G = xp.roll(G, (1 - K.shape[2], 1 - K.shape[3]), axis=(2, 3))
    F, H = (xp.permute_dims(xp.fft.rfftn(X, s=widths, axes=(2, 3)), (2, 3, 0, 1)) for X in (K, G))
    product = xp.permute_dims((H + xp.matrix_transpose(xp.conj(H))) @ F, (2, 3, 0, 1))
    return xp.fft.irfftn(product, s=widths, axes=(2, 3))[:, :, : K.shape[2], : K.shape[3]]


def _size_free_gradient(K: Array, steps: int) -> Array:
    """Return a (sub)gradient: the value does not depend on the scales r_t, so they count as constants."""
    xp = namespace(K)
    value, kernels, scales = _size_free(K, steps)
    if not kernels:
        return xp.zeros_like(K)
    rows = xp.sum(xp.abs(kernels[-1]), axis=(1, 2, 3))
    top = int(xp.argmax(rows))
    chosen = like([[[[float(i == top)]]] for i in range(rows.shape[0])], K)
    G = xp.sign(kernels[-1]) * chosen * (value * 2.0**-steps / rows[top])
    for kernel, r in zip(kernels[-2::-1], scales[::-1]):
        G = _autocorrelation_adjoint(kernel, G) / r
    return xp.permute_dims(G, (1, 0, 2, 3)) if K.shape[1] > K.shape[0] else G


def conv_spectral_norm_gram_vjp(
    K: Array,
    cotangent: Array = 1.0,
    n: int | tuple[int, int] = 32,
    steps: int = 4,
    *,
    padding: str = "circular",
) -> Array:
    """Return `cotangent` times the gradient of the bound.

    Circular: with W the gradient of the Gram value at the largest frequency (f, g), the kernel's entry at
    (h, w) gets ``Re(W exp(2 pi i (f h / n_h + g w / n_w)))``. Zero: back through the autocorrelations from
    the signs of the largest row.
    """
    K = _kernel(K)
    check_count(steps, "steps")
    check_choice(padding, "padding", ("circular", "zero"))
    if padding == "zero":
        return cotangent * _size_free_gradient(K, steps)
    size = _image(K, n)
    xp = namespace(K)
    blocks = frequency_blocks(K, size)
    values = to_numpy(gram_iteration(blocks, steps))
    f, g = divmod(int(values.argmax()), values.shape[1])
    W = gram_gradient(blocks[f, g, ...], steps)
    rows = like(range(K.shape[2]), K) * (2 * math.pi * f / size[0])
    columns = like(range(K.shape[3]), K) * (2 * math.pi * g / size[1])
    angle = rows[:, None] + columns[None, :]
    gradient = xp.real(W)[..., None, None] * xp.cos(angle) - xp.imag(W)[..., None, None] * xp.sin(angle)
    if K.shape[1] > K.shape[0]:
        gradient = xp.permute_dims(gradient, (1, 0, 2, 3))
    return cotangent * gradient


def conv_spectral_norm_gram_jvp(
    K: Array,
    tangent: Array,
    n: int | tuple[int, int] = 32,
    steps: int = 4,
    *,
    padding: str = "circular",
) -> Array:
    """Return the derivative of the bound along `tangent`, shape ()."""
    tangent = check_array(tangent, "tangent", shape=tuple(K.shape))
    return namespace(K).sum(conv_spectral_norm_gram_vjp(K, 1.0, n, steps, padding=padding) * tangent)
