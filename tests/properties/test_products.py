"""The products that save half of the work give what the plain product gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from refopt.core.arrays import to_numpy
from refopt.matrix.products import STRIPS_FROM, gram, product, squared

SHAPES = [(3, 5), (5, 3), (2, 4, 3), (STRIPS_FROM + 7, 40), (2, 3, 4, 2)]


def _draw(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    A = rng.standard_normal(shape)
    return (A + 1j * rng.standard_normal(shape) if dtype.startswith("complex") else A).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gram_and_square(xp: Any, shape: tuple[int, ...], dtype: str) -> None:
    """A A*, and b S + c S^2 of it, to rounding; what is given stays as it was."""
    A = _draw(shape, dtype)
    given = xp.asarray(A.copy())
    S = gram(given)
    want = A.astype("complex128") @ np.conj(np.swapaxes(A.astype("complex128"), -1, -2))
    bound = 64 * np.finfo(dtype).eps * np.abs(want).max()
    assert S.dtype == given.dtype
    np.testing.assert_allclose(to_numpy(S), want, rtol=0, atol=bound)
    P = squared(S, -4.0, 0.5)
    other = -4.0 * want + 0.5 * want @ want
    np.testing.assert_allclose(
        to_numpy(P), other, rtol=0, atol=64 * np.finfo(dtype).eps * np.abs(other).max()
    )
    np.testing.assert_array_equal(to_numpy(given), A)


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (2, 1, 3, 5)])
def test_product(xp: Any, shape: tuple[int, ...], dtype: str) -> None:
    """A B + beta C, to rounding; C stays as it was."""
    C, A = _draw(shape, dtype), _draw((*shape[:-1], 4), dtype)
    B = _draw((*shape[:-2], 4, shape[-1]), dtype)
    given = xp.asarray(C.copy())
    got = product(xp.asarray(A), xp.asarray(B), given, 0.3)
    assert got.dtype == given.dtype
    want = A.astype("float64") @ B + 0.3 * C.astype("float64")
    np.testing.assert_allclose(
        to_numpy(got), want, rtol=0, atol=16 * np.finfo(dtype).eps * np.abs(want).max()
    )
    np.testing.assert_array_equal(to_numpy(given), C)


def test_torch_differentiates_through() -> None:
    """Tensors that want a gradient get one, at the orders of the strips too."""
    torch = pytest.importorskip("torch", reason="torch is not installed; make parity runs this")
    A = torch.tensor(_draw((STRIPS_FROM, 3), "float64"), requires_grad=True)
    (got,) = torch.autograd.grad(torch.sum(squared(gram(A), 1.0, 0.0)), A)
    ones = torch.ones(STRIPS_FROM, STRIPS_FROM, dtype=torch.float64)
    torch.testing.assert_close(got, 2 * ones @ A.detach())
