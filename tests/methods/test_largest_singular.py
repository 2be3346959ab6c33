"""The spectral norm of large matrices beside all singular values."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.matrix.largest import DENSE, largest_singular
from scipy.linalg import svdvals


def matrices(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    G = rng.standard_normal((n, n))
    half = n // 2
    apart = np.zeros((n, n))
    # The longest rows are in the block of the smaller norm.
    apart[:half, :half], apart[half:, half:] = 3.0 * np.eye(half), 10.0 / (n - half)
    return {
        "gram": G @ G.T, "skew": G - G.T, "shifted": G @ G.T + n * np.eye(n), "any": G, "wide": G[: n - 20], "tall": G[:, : n - 20],
        "diagonal": np.diag(np.geomspace(1, 1e6, n)), "identity": np.eye(n), "rank one": np.outer(G[0], G[1]), "rank three": G[:, :3] @ G[:3],
        "apart": apart, "zero": np.zeros((n, n)), "orthogonal": np.linalg.qr(G)[0], "small": 1e-200 * G, "large": 1e200 * G,
        "nearly equal": np.diag(1.0 - 1e-9 * np.arange(n)), "one entry": np.eye(n) * (np.arange(n) == 7),
    }  # fmt: skip


@pytest.mark.parametrize("n", [DENSE, DENSE + 1, 300])
def test_beside_all_singular_values(n: int) -> None:
    """17 matrices, of which some have a norm that one row, one block or the first steps do not show: to 1e-13, and float32 to 1e-6."""
    for name, A in matrices(n).items():
        want = svdvals(A)[0]
        assert largest_singular(A) == pytest.approx(want, rel=1e-13, abs=0.0), name
        if 1e-30 < want < 1e30:
            got = largest_singular(A.astype(np.float32))
            assert got == pytest.approx(want, rel=1e-6), name
    assert largest_singular(np.full((n, n), np.inf)) == np.inf if n > DENSE else True


def test_other_libraries() -> None:
    """array-api-strict, to 1e-13, and torch where it is installed."""
    strict = pytest.importorskip("array_api_strict")
    A = matrices(300)["gram"]
    want = svdvals(A)[0]
    assert largest_singular(strict.asarray(A)) == pytest.approx(want, rel=1e-13)
    torch = pytest.importorskip("torch", reason="torch is not installed; make parity runs this")
    assert largest_singular(torch.asarray(A)) == pytest.approx(want, rel=1e-13)
