"""Train the small convolution that ships with `dcdm`: ``python -m asv_bench.train_dcdm``, in the parity environment.

The network of Kaneda et al. (2023) for 64^3 grids, in two dimensions, on the five-point Laplacian of a 32 x 32 grid. Right sides
are ``b = sum c_i q_i / |.|`` over the eigenvectors q_i, c_i normal, nine times as large in the lower half of the spectrum; the
paper takes Ritz vectors of a Lanczos run, which Poisson's equation does not need. The loss is the paper's,
``|b - A f (f^T b) / (f^T A f)|^2``, whatever the scale of f = f(b).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import scipy.fft
import torch
from refopt.linear.convolution import BEFORE, CHANNELS, HALF, layer_shapes
from torch.nn import functional

OUT = Path(__file__).parents[1] / "refopt" / "linear" / "poisson_2d.npz"


def draw(rng: np.random.Generator, batch: int, n: int) -> torch.Tensor:
    """Return right sides of norm 1, shape (batch, 1, n, n)."""
    k = np.pi * np.arange(1, n + 1) / (n + 1)
    eigenvalues = 4 - 2 * np.cos(k)[:, None] - 2 * np.cos(k)
    low = eigenvalues <= np.median(eigenvalues)
    c = rng.standard_normal((batch, n, n)) * np.where(low, 9.0, 1.0)
    b = scipy.fft.dstn(c, type=1, axes=(1, 2))
    b /= np.linalg.norm(b, axis=(1, 2), keepdims=True)
    return torch.tensor(b[:, None], dtype=torch.float32)


def laplacian(x: torch.Tensor) -> torch.Tensor:
    """Apply the five-point Laplacian with zero boundary to (batch, 1, n, n)."""
    stencil = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])
    return functional.conv2d(x, stencil[None, None], padding=1)


def network(b: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """Apply the network; `refopt.linear.convolution.apply` is the same on any array library."""

    def convolve(h: torch.Tensor, name: str) -> torch.Tensor:
        return functional.conv2d(h, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    def block(h: torch.Tensor, first: str, second: str) -> torch.Tensor:
        return torch.relu(convolve(torch.relu(convolve(h, first)), second)) + h

    h = torch.relu(convolve(convolve(b, "first"), "open"))
    fine = torch.relu(convolve(block(h, *BEFORE[:2]), BEFORE[2]))
    half = functional.avg_pool2d(fine, 2)
    for k in range(0, len(HALF), 2):
        half = block(half, *HALF[k : k + 2])
    h = functional.interpolate(half, scale_factor=2, mode="nearest") + fine
    for k in (0, 2):
        h = block(h, f"after{k}", f"after{k + 1}")
    return torch.einsum("bchw,c->bhw", h, weights["last.weight"])[:, None] + weights["last.bias"]


def start(rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Return weights drawn as He et al. draw them, halved where blocks add up."""
    weights = {}
    for name, shape in layer_shapes().items():
        fan = int(np.prod(shape[1:])) if len(shape) == 4 else CHANNELS
        value = (
            rng.standard_normal(shape) * np.sqrt(1.0 / fan) if name.endswith("weight") else np.zeros(shape)
        )
        weights[name] = torch.tensor(value, dtype=torch.float32, requires_grad=True)
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    weights = start(rng)
    optimizer = torch.optim.Adam(weights.values(), lr=options.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps, eta_min=1e-2 * options.lr)
    began, mean = time.time(), 1.0
    for step in range(1, options.steps + 1):
        b = draw(rng, options.batch, options.size)
        f = network(b, weights)
        Af = laplacian(f)
        scale = (f * b).sum((1, 2, 3), keepdim=True) / (f * Af).sum((1, 2, 3), keepdim=True)
        loss = ((b - Af * scale) ** 2).sum((1, 2, 3)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        mean += 0.02 * (loss.item() - mean)
        if step % 200 == 0:
            print(f"{step}: loss {mean:.4f}, {time.time() - began:.0f} s", flush=True)
        if step % 1000 == 0 or step == options.steps:
            # Half precision: the directions are approximate anyway, and the file has half the size.
            np.savez_compressed(
                options.out, **{k: v.detach().numpy().astype(np.float16) for k, v in weights.items()}
            )


if __name__ == "__main__":
    main()
