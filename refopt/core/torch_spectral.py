"""Functions of a Hermitian torch matrix whose gradient is finite where eigenvalues are equal."""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def spectral_function() -> Any:
    """Return the ``torch.autograd.Function`` of ``Q f(L) Q*``, for H = Q L Q*; torch is not imported before.

    A gradient G goes back as ``Q (K ∘ (Q* G Q)) Q*`` (Daleckii and Krein). Torch's own derivative of eigenvectors divides by the
    differences of eigenvalues. That of this gradient, for second derivatives, is torch's own.
    """
    import torch

    class Spectral(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(H: Any, values: Any, vectors: Any, function: Any, kernel: Any) -> Any:
            return (vectors * function(values)[..., None, :]) @ vectors.mH

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            H, values, vectors, _, ctx.kernel = inputs
            ctx.save_for_backward(H, values, vectors)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> tuple[Any, ...]:
            H, values, vectors = ctx.saved_tensors
            if torch.is_grad_enabled():
                values, vectors = torch.linalg.eigh(H)
            inside = ctx.kernel(values) * (vectors.mH @ gradient @ vectors)
            return vectors @ inside @ vectors.mH, None, None, None, None

    return Spectral
