"""The small trained convolution that ships with `dcdm`: an approximate inverse of the five-point Laplacian."""

from __future__ import annotations

import functools
from importlib import resources

import numpy as np

from refopt.core.arrays import Array, Namespace, like, namespace

CHANNELS = 16
# Three by three convolutions, in the order in which they are applied; each pair but for the third of BEFORE is a residual block.
BEFORE = ("before0", "before1", "before2")
HALF = tuple(f"half{k}" for k in range(6))
AFTER = tuple(f"after{k}" for k in range(4))


def layer_shapes() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the weights."""
    shapes: dict[str, tuple[int, ...]] = {"first.weight": (CHANNELS, 1, 3, 3), "first.bias": (CHANNELS,)}
    for name in ("open", *BEFORE, *HALF, *AFTER):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (CHANNELS, CHANNELS, 3, 3), (CHANNELS,)
    return shapes | {"last.weight": (CHANNELS,), "last.bias": (1,)}


@functools.cache
def weights() -> dict[str, np.ndarray]:
    """Return the trained weights; `asv_bench/train_dcdm.py` made them."""
    with (
        resources.files("refopt.linear").joinpath("poisson_2d.npz").open("rb") as file,
        np.load(file) as stored,
    ):
        return {name: stored[name] for name in stored.files}


def convolve(xp: Namespace, h: Array, weight: Array, bias: Array) -> Array:
    """Return the three by three convolution of h (c, n, m) with zeros around it; weight is (k, c, 3, 3), torch's order."""
    c, n, m = h.shape
    column = xp.zeros_like(h[:, :, :1])
    wide = xp.concat([column, h, column], axis=2)
    row = xp.zeros_like(wide[:, :1, :])
    wide = xp.concat([row, wide, row], axis=1)
    patches = [wide[:, i : i + n, j : j + m] for i in range(3) for j in range(3)]
    stacked = xp.reshape(xp.stack(patches, axis=1), (9 * c, n * m))
    flat = xp.matmul(xp.reshape(weight, (weight.shape[0], 9 * c)), stacked)
    return xp.reshape(flat, (weight.shape[0], n, m)) + bias[:, None, None]


def relu(xp: Namespace, h: Array) -> Array:
    """Return what is positive of h."""
    return xp.where(h > 0, h, xp.zeros_like(h))


def apply(b: Array) -> Array:
    """Apply the network to a grid (n, m) with even sides: a direction, up to its length, near A^-1 b."""
    xp = namespace(b)
    w = {name: like(value, b) for name, value in weights().items()}
    n, m = b.shape

    def layer(h: Array, name: str) -> Array:
        return convolve(xp, h, w[f"{name}.weight"], w[f"{name}.bias"])

    def block(h: Array, first: str, second: str) -> Array:
        return relu(xp, layer(relu(xp, layer(h, first)), second)) + h

    h = relu(xp, layer(layer(b[None, :, :], "first"), "open"))
    fine = relu(xp, layer(block(h, *BEFORE[:2]), BEFORE[2]))
    half = (fine[:, ::2, ::2] + fine[:, 1::2, ::2] + fine[:, ::2, 1::2] + fine[:, 1::2, 1::2]) / 4.0
    for k in range(0, len(HALF), 2):
        half = block(half, *HALF[k : k + 2])
    h = xp.reshape(xp.stack([half, half], axis=3), (CHANNELS, n // 2, m))
    h = xp.reshape(xp.stack([h, h], axis=2), (CHANNELS, n, m)) + fine
    for k in range(0, len(AFTER), 2):
        h = block(h, *AFTER[k : k + 2])
    last = xp.matmul(w["last.weight"][None, :], xp.reshape(h, (CHANNELS, n * m)))
    return xp.reshape(last, (n, m)) + w["last.bias"]
