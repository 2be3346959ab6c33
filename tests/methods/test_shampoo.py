"""Why Shampoo's preconditioner is one.

Shampoo against full-matrix AdaGrad, the polar factor, and an explicit tensor.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import refopt

from tests.streams import stream


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


@pytest.mark.identity("shampoo")
def test_vector_is_full_matrix_adagrad() -> None:
    """For a vector it is full-matrix AdaGrad, computed with mpmath to 50 digits, to 1e-11.

    x - lr (eps I + sum g g^T)^{-1/2} g, the root from mpmath.
    """
    x, gradients = stream(0, "random", steps=6, shapes={"b": (4,)})
    o = refopt.optimizer("shampoo", lr=0.3, eps=0.01)
    y, s, h = x["b"], o.init(x), 0.01 * mpmath.eye(4)
    with mpmath.workdps(50):
        for g in gradients:
            x, s = o.update(x, g, s)
            column = mpmath.matrix([float(e) for e in g["b"]])
            h = h + column * column.T
            values, vectors = mpmath.eigsy(h)
            root = vectors * mpmath.diag([v**-0.5 for v in values]) * vectors.T
            y = y - 0.3 * np.array([float(e) for e in root * column])
            np.testing.assert_allclose(x["b"], y, rtol=1e-11, atol=1e-12)


@pytest.mark.identity("shampoo")
@pytest.mark.parametrize("root", ["eigh", "newton"])
def test_first_step_is_the_polar_factor(root: str) -> None:
    """A first step is -lr U V^T of the gradient's SVD as eps -> 0, to 1e-9.

    L^{-1/4} G R^{-1/4} = U V^T as eps -> 0.
    """
    g = np.random.default_rng(0).standard_normal((4, 4))
    u, _, vt = np.linalg.svd(g)
    o = refopt.optimizer("shampoo", lr=0.3, eps=1e-10, root=root)
    x, _ = o.update(np.zeros((4, 4)), g, o.init(np.zeros((4, 4))))
    # eps / sigma_min^2 = 1e-10 / 0.2 is the distance from the limit, and Newton's tolerance.
    np.testing.assert_allclose(x, -0.3 * u @ vt, atol=1e-9)


def test_three_axes() -> None:
    """A tensor of three axes: exponent -1/6 along each, by explicit sums."""
    x, gradients = stream(0, "random", steps=4, shapes={"k": (2, 3, 2)})
    o = refopt.optimizer("shampoo", lr=0.3, eps=0.1)
    y, s = x["k"], o.init(x)
    h = [0.1 * np.eye(n) for n in (2, 3, 2)]
    for g in gradients:
        x, s = o.update(x, g, s)
        G = g["k"]
        h[0] = h[0] + np.einsum("ajk,bjk->ab", G, G)
        h[1] = h[1] + np.einsum("iak,ibk->ab", G, G)
        h[2] = h[2] + np.einsum("ija,ijb->ab", G, G)
        roots = []
        for m in h:
            w, v = np.linalg.eigh(m)
            roots.append(v @ np.diag(w ** (-1 / 6)) @ v.T)
        y = y - 0.3 * np.einsum("ijk,ia,jb,kc->abc", G, *roots)
        np.testing.assert_allclose(x["k"], y, rtol=1e-12, atol=1e-12)


@pytest.mark.identity("shampoo")
@pytest.mark.parametrize("dialect", ["kozistr", "jettify"])
def test_scalars_of_libraries(dialect: str) -> None:
    """Without an axis, in the libraries' dialects, it is SGD with coupled decay and their momentum,
    to 1e-15.

    A scalar has no axis to precondition along: x - lr ((1 - mu) g + mu * last step + wd x).
    """
    o = refopt.optimizer("shampoo", dialect=dialect, lr=0.3, momentum=0.6, weight_decay=0.1)
    x, y, last = np.array(0.7), 0.7, None
    s = o.init(x)
    for g in (2.0, -0.5, 3.0):
        x, s = o.update(x, np.array(g), s)
        last = (g if last is None else 0.4 * g + 0.6 * last) + 0.1 * y
        y = y - 0.3 * last
        np.testing.assert_allclose(x, y, rtol=1e-15)
