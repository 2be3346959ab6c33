"""The norm loss: its derivatives, the loop written out, and where lengths go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.params import flatten

from tests.alike import SMALL_MLP
from tests.methods.matrices import close, complex_columns, product_columns


def written_out(x: dict[str, Any], penalty: float) -> Any:
    """λ Σ (1 - ||w||)², vector by vector."""
    total = 0.0
    for w in x.values():
        if w.ndim > 1:
            for row in w:
                total = total + (1.0 - np.sqrt(np.sum(row**2))) ** 2
    return penalty * total


class Nothing:
    """f = 0."""

    def value(self, x: Any) -> float:
        return 0.0

    def grad(self, x: dict[str, Any]) -> dict[str, Any]:
        return {k: np.zeros_like(v) for k, v in x.items()}

    def hvp(self, x: dict[str, Any], v: dict[str, Any]) -> dict[str, Any]:
        return self.grad(x)


@pytest.mark.identity("norm-loss")
def test_derivatives() -> None:
    """Loss, gradient and Hessian on a matrix, filters of four axes and a bias, against complex steps of the sum over vectors; the bias has
    none, and a vector of zeros no gradient, nor one of squares below the range another than at length zero.
    """
    rng = np.random.default_rng(0)
    x = {
        "W": rng.standard_normal((3, 4)),
        "F": rng.standard_normal((2, 2, 1, 3)),
        "b": rng.standard_normal(3),
    }
    o, oracle = refopt.optimizer("norm-loss", penalty=0.7), Oracle(Nothing())
    assert o.loss(x) == pytest.approx(written_out(x, 0.7), rel=1e-14)
    want = complex_columns(lambda w: np.reshape(written_out(w, 0.7), 1), x)[0]
    g = o.gradient(oracle, x)
    close(flatten(g), want)
    np.testing.assert_array_equal(g["b"], 0.0)
    close(
        product_columns(lambda v: o.product(x, v), x), complex_columns(lambda w: complex_gradient(w, 0.7), x)
    )
    zero = {"W": np.zeros((2, 2)), "F": np.array([[3e-200, 4e-200]])}
    g = o.gradient(oracle, zero)
    np.testing.assert_array_equal(g["W"], 0.0)
    np.testing.assert_allclose(g["F"], [[-1.4 * 0.6, -1.4 * 0.8]], rtol=1e-14)
    v = {"W": np.eye(2), "F": np.zeros((1, 2))}
    np.testing.assert_allclose(o.product(zero, v)["W"], 1.4 * np.eye(2), rtol=1e-15)
    assert o.loss(x["W"]) == pytest.approx(written_out({"W": x["W"]}, 0.7), rel=1e-14)
    with pytest.raises(refopt.errors.ShapeError, match="grad"):
        o.update(np.ones((2, 3)), np.ones(3), o.init(np.ones((2, 3))))


def complex_gradient(x: dict[str, Any], penalty: float) -> dict[str, Any]:
    out = {}
    for k, w in x.items():
        g = 0.0 * w
        if w.ndim > 1:
            for i, row in enumerate(w):
                g[i] = 2.0 * penalty * (1.0 - 1.0 / np.sqrt(np.sum(row**2))) * row
        out[k] = g
    return out


@pytest.mark.identity("norm-loss")
def test_loop_written_out() -> None:
    """Ten steps of momentum on batches of a small network equal the loop written out, by `step` and by `update`, to 1e-12; with λ = 0 they
    are the base's to the bit.
    """
    p, rng = refopt.problem("mlp", **SMALL_MLP), np.random.default_rng(1)
    batches = [rng.choice(20, 6, replace=False) for _ in range(10)]
    o = refopt.optimizer("norm-loss", base="momentum", penalty=0.2, lr=0.3, momentum=0.6)
    off = refopt.optimizer("norm-loss", base="momentum", penalty=0.0, lr=0.3, momentum=0.6)
    bare = refopt.optimizer("momentum", lr=0.3, momentum=0.6)
    x = a = b = c = d = p.start(1)
    s, u, z, y = o.init(x), o.init(x), off.init(x), bare.init(x)
    m = {k: 0.0 * v for k, v in x.items()}
    for rows in batches:
        extra = complex_gradient(x, 0.2)
        m = {k: 0.6 * m[k] + g + extra[k] for k, g in p.grad(x, rows).items()}
        x = {k: x[k] - 0.3 * m[k] for k in x}
        a, s = o.step(a, s, Oracle(p).on(rows))
        b, u = o.update(b, p.grad(b, rows), u)
        c, z = off.step(c, z, Oracle(p).on(rows))
        d, y = bare.step(d, y, Oracle(p).on(rows))
    for k in x:
        np.testing.assert_allclose(a[k], x[k], rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(b[k], a[k])
        np.testing.assert_array_equal(c[k], d[k])
    assert s["t"] == u["t"] == 10


@pytest.mark.claim("norm-loss")
def test_lengths_go_to_one() -> None:
    """Without an objective each length's distance from one falls by 1 - 2ηλ a step, from above and below, and directions stay (1e-13);
    weight decay takes the same vectors to zero.
    """
    x = {"W": np.array([[0.3, 0.1, 0.0], [2.0, -2.0, 1.0], [0.6, 0.0, 0.8]]), "b": np.array([5.0])}
    o = refopt.optimizer("norm-loss", base="sgd", penalty=0.25, lr=0.4)
    w, s = x, o.init(x)
    start = np.linalg.norm(x["W"], axis=1)
    for t in range(1, 40):
        w, s = o.step(w, s, Oracle(Nothing()))
        long = np.linalg.norm(w["W"], axis=1)
        np.testing.assert_allclose(long - 1.0, 0.8**t * (start - 1.0), rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(w["W"] / long[:, None], x["W"] / start[:, None], rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(w["b"], x["b"])
    decayed = refopt.minimize(Nothing(), "sgd", x, lr=0.4, weight_decay=0.5, steps=39).x
    assert np.max(np.abs(decayed["W"])) < 1e-2


@pytest.mark.claim("norm-loss")
@pytest.mark.parametrize("base", ["cubic-newton", "gns-newton"])
def test_bases_that_ask_for_more(base: str) -> None:
    """Cubic Newton and GNS Newton end where the sum has no gradient (1e-7), which `tol` is held against, where
    lengths are nearer one than f alone would have them.
    """
    p = refopt.problem("mlp", **SMALL_MLP, l2=0.1)
    r = refopt.minimize(p, "norm-loss", p.start(1), base=base, penalty=0.3, steps=30, tol=1e-8)
    assert r.status == "converged"
    extra = complex_gradient(r.x, 0.3)
    for k, g in p.grad(r.x).items():
        np.testing.assert_allclose(g + extra[k], 0.0, atol=1e-7)
    assert r.fun == pytest.approx(float(p.value(r.x)), rel=1e-14)
    bare = refopt.minimize(p, base, p.start(1), steps=30, tol=1e-8)
    assert written_out(r.x, 1.0) < 0.5 * written_out(bare.x, 1.0)
