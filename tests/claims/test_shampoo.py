"""Why Shampoo's preconditioner is one."""

from __future__ import annotations

import numpy as np
import pytest
import refopt


@pytest.mark.claim("shampoo")
def test_preconditioner_is_an_upper_bound() -> None:
    """eps I + (1/r) sum of vec(G) vec(G)^T is below the Kronecker product of the square roots of L
    and R.

    eps I + (1/r) sum vec(G) vec(G)^T <= L^{1/2} (x) R^{1/2} (row-major vec), r the largest rank.
    """
    rng = np.random.default_rng(0)
    o = refopt.optimizer("shampoo", lr=1.0, eps=0.01)
    x = np.zeros((3, 4))
    s = o.init(x)
    for rank in (1, 2, 3):
        total = 0.01 * np.eye(12)
        s = o.init(x)
        for _ in range(8):
            g = rng.standard_normal((3, rank)) @ rng.standard_normal((rank, 4))
            _, s = o.update(x, g, s)
            total += np.outer(g.ravel(), g.ravel()) / rank
        roots = []
        for m in s["sums"]:
            w, v = np.linalg.eigh(m + 0.01 * np.eye(len(m)))
            roots.append(v @ np.diag(np.sqrt(w)) @ v.T)
        gap = np.linalg.eigvalsh(np.kron(*roots) - total)
        assert gap[0] > 0.0
        # With exponents -1/k in place of -1/2k the step is another: this holds for the rule itself.
        step = (x - o.update(x, g, s)[0]).ravel()
        assert step @ g.ravel() > 0.0
