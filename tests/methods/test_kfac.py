"""Where K-FAC is exact, and what it is invariant to.

K-FAC against dense Kronecker products and a transcription of Algorithm 2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.arrays import to_numpy
from refopt.core.errors import CapabilityError, ShapeError
from refopt.core.oracle import Oracle
from refopt.core.problem import Layer
from refopt.core.rng import generator
from refopt.curvature.kronecker import damped_inverses, factors


def _linear() -> object:
    """One linear layer with squared loss: 3 inputs, 2 outputs."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 3))
    y = a @ rng.standard_normal((3, 2)) + 0.3 * rng.standard_normal((40, 2))
    return refopt.problem("mlp", widths=(), loss="mse", data=(a, y))


EXACT = {"damping": 1e-24, "eta": 0.0, "statistics_share": 1.0, "model_share": 1.0}


@pytest.mark.claim("kfac")
def test_exact_for_one_linear_layer() -> None:
    """One linear layer with squared loss: A x Gamma is the Gauss-Newton matrix, so one undamped step
    solves it (1e-10).

    With the exact Gamma = I of squared loss, A x Gamma is the Gauss-Newton matrix, and one undamped
    step lands on the least-squares solution.
    """
    p = _linear()
    o = refopt.optimizer("kfac", **EXACT)
    x = p.start(0)
    oracle = Oracle(p)
    oracle.begin(1)
    layers = p.layers(x, None)
    from refopt.curvature.kronecker import damped_inverses, factors

    a, _ = factors(layers)[layers[0].weight]
    inverses = {layers[0].weight: damped_inverses(a, np.eye(2), 1e-12)}
    step = o.proposal(p.grad(x), inverses, layers)
    new = {k: x[k] + step[k] for k in x}
    design = np.concatenate([p.inputs, np.ones((40, 1))], axis=1)
    want = np.linalg.lstsq(design, p.targets, rcond=None)[0].T
    np.testing.assert_allclose(new["W1"], want[:, :-1], rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(new["b1"], want[:, -1], rtol=1e-10, atol=1e-11)
    # A x Gamma with Gamma = I against the Gauss-Newton matrix, column by column.
    for name in x:
        for index in np.ndindex(x[name].shape):
            v = {k: np.zeros_like(u) for k, u in x.items()}
            v[name][index] = 1.0
            ggn = oracle.ggn(x, v)
            bar = np.concatenate([v["W1"], v["b1"][:, None]], axis=1) @ a
            np.testing.assert_allclose(ggn["W1"], bar[:, :-1], atol=1e-13)
            np.testing.assert_allclose(ggn["b1"], bar[:, -1], atol=1e-13)


@pytest.mark.claim("kfac")
@pytest.mark.parametrize("rescale", [True, False])
def test_invariant_to_affine_inputs(rescale: bool) -> None:
    """The undamped step does not change under an affine map of the network's inputs (1e-8)."""
    rng = np.random.default_rng(1)
    inputs, targets = rng.standard_normal((60, 4)), rng.standard_normal((60, 2))
    t, c = rng.standard_normal((4, 4)) + 3 * np.eye(4), rng.standard_normal(4)
    a = refopt.problem("mlp", widths=(3,), loss="mse", data=(inputs, targets))
    b = refopt.problem("mlp", widths=(3,), loss="mse", data=(inputs @ t.T + c, targets))
    x = a.start(0)
    inverse = np.linalg.inv(t)
    y = {**x, "W1": x["W1"] @ inverse, "b1": x["b1"] - x["W1"] @ inverse @ c}
    np.testing.assert_allclose(a.value(x), b.value(y), rtol=1e-12)
    o = refopt.optimizer("kfac", rescale=rescale, momentum=False, **EXACT)
    # The factors must be invertible for the claim: squared loss, widths below the batch size.
    oa, ob = Oracle(a, 0), Oracle(b, 0)
    oa.begin(1)
    ob.begin(1)
    x, _ = o.step(x, o.init(x), oa)
    y, _ = o.step(y, o.init(y), ob)
    np.testing.assert_allclose(y["W1"] @ t, x["W1"], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(a.value(x), b.value(y), rtol=1e-8)


SEED = 4


def _problem() -> object:
    rng = np.random.default_rng(0)
    return refopt.problem(
        "mlp", widths=(3,), data=(rng.standard_normal((30, 4)), rng.integers(0, 3, 30)), l2=1e-3
    )


def _vec(w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Stack the columns of [W b]."""
    return np.concatenate([w, b[:, None]], axis=1).ravel(order="F")


@pytest.mark.identity("kfac")
def test_dense_kronecker() -> None:
    """The proposal solves with the dense Kronecker product of the damped factors, to 1e-10.

    The proposal is -(A_d x Gamma_d)^-1 vec(gradient), layer by layer.
    """
    p = _problem()
    x = p.start(0)
    layers, g = p.layers(x, None, rng=generator(1, "method", 1)), p.grad(p.start(0))
    gamma = 0.3
    inverses = {n: damped_inverses(a, s, gamma) for n, (a, s) in factors(layers).items()}
    delta = refopt.optimizer("kfac").proposal(g, inverses, layers)
    for layer in layers:
        a, s = factors(layers)[layer.weight]
        pi = math.sqrt(np.trace(a) / len(a) / (np.trace(s) / len(s)))
        dense = np.kron(a + pi * gamma * np.eye(len(a)), s + gamma / pi * np.eye(len(s)))
        want = -np.linalg.solve(dense, _vec(g[layer.weight], g[layer.bias]))
        np.testing.assert_allclose(_vec(delta[layer.weight], delta[layer.bias]), want, rtol=1e-10, atol=1e-12)


def _dense_ggn(p: object, x: dict, batch: np.ndarray) -> np.ndarray:
    """The Gauss-Newton matrix, column by column, in the dict's order."""
    oracle, columns = Oracle(p).on(batch), []
    for name in x:
        for index in np.ndindex(x[name].shape):
            v = {k: np.zeros_like(u) for k, u in x.items()}
            v[name][index] = 1.0
            columns.append(_flat(oracle.ggn(x, v)))
    return np.stack(columns, axis=1)


def _flat(x: dict) -> np.ndarray:
    return np.concatenate([v.ravel() for v in x.values()])


@pytest.mark.identity("kfac")
def test_algorithm_2() -> None:
    """30 steps equal a transcription of Algorithm 2 with dense matrices, rescaling, momentum, lambda
    and gamma, to 1e-8.

    30 steps with dense matrices: statistics, inverses every T3, gamma every T2, rescaling with
    momentum, lambda every T1.
    """
    p = _problem()
    t1, t2, t3, lam, eta = 5, 7, 4, 1.0, 1e-3
    o = refopt.optimizer(
        "kfac", damping=lam, adapt_damping_every=t1, adapt_gamma_every=t2, invert_every=t3,
        statistics_share=0.5, model_share=0.5,
    )  # fmt: skip
    x = p.start(1)
    s, oracle = o.init(x), Oracle(p, SEED)
    theta, last, kept, dense = x, None, {}, {}
    gamma = math.sqrt(lam + eta)
    for k in range(1, 31):
        oracle.begin(k)
        x, s = o.step(x, s, oracle)
        rng = generator(SEED, "method", k)
        n = p.n_examples
        s1 = rng.choice(np.arange(n), size=round(0.5 * n), replace=False)
        layers = p.layers(theta, s1, rng=rng)
        s2 = rng.choice(np.arange(n), size=round(0.5 * n), replace=False)
        g, fisher = p.grad(theta), _dense_ggn(p, theta, s2)
        eps = min(1 - 1 / k, 0.95)
        for layer in layers:
            bar = np.concatenate([layer.inputs, np.ones((len(layer.inputs), 1))], axis=1)
            new = (bar.T @ bar / len(bar), layer.output_grads.T @ layer.output_grads / len(bar))
            old = kept.get(layer.weight, new)
            kept[layer.weight] = tuple(eps * u + (1 - eps) * v for u, v in zip(old, new))
        omega = math.sqrt(19 / 20) ** t2
        tried = []
        for candidate in [gamma] if k % t2 else [gamma, omega * gamma, gamma / omega]:
            proposal, mine = dict(g), {}
            for layer in layers:
                a, c = kept[layer.weight]
                if k <= 3 or k % t3 == 0 or candidate != gamma:
                    pi = math.sqrt(np.trace(a) / len(a) / (np.trace(c) / len(c)))
                    mine[layer.weight] = np.linalg.inv(
                        np.kron(a + pi * candidate * np.eye(len(a)), c + candidate / pi * np.eye(len(c)))
                    )
                else:
                    mine[layer.weight] = dense[layer.weight]
                u = -(mine[layer.weight] @ _vec(g[layer.weight], g[layer.bias])).reshape(
                    len(c), -1, order="F"
                )
                proposal[layer.weight], proposal[layer.bias] = u[:, :-1], u[:, -1]
            basis = [_flat(proposal)] if last is None else [_flat(proposal), last]
            d = np.stack(basis, axis=1)
            q = fisher + (lam + eta) * np.eye(len(fisher))
            w = -np.linalg.solve(d.T @ q @ d, d.T @ _flat(g))
            delta = d @ w
            tried.append((0.5 * delta @ q @ delta + _flat(g) @ delta, candidate, delta, mine))
        change, gamma, delta, dense = min(tried, key=lambda item: item[0])
        before = p.value(theta)
        theta = _unflat(_flat(theta) + delta, theta)
        last = delta
        if k % t1 == 0:
            rho = (p.value(theta) - before) / change
            lam = lam * (19 / 20) ** t1 if rho > 0.75 else lam / (19 / 20) ** t1 if rho < 0.25 else lam
        # Thirty 2 x 2 systems and inverses of damped factors: rounding grows to about 1e-9.
        np.testing.assert_allclose(_flat(x), _flat(theta), rtol=1e-8, atol=1e-8)
        assert math.isclose(s["damping"], lam, rel_tol=1e-12)
        assert math.isclose(s["gamma"], gamma, rel_tol=1e-12)


def _unflat(v: np.ndarray, like: dict) -> dict:
    out, i = {}, 0
    for k, u in like.items():
        out[k] = v[i : i + u.size].reshape(u.shape)
        i += u.size
    return out


def test_levenberg_marquardt_rule() -> None:
    """Section 6.5: lambda falls above 3/4, grows below 1/4, and a model that does not fall counts as below."""
    o = refopt.optimizer("kfac", adapt_damping_every=5)
    omega = (19 / 20) ** 5
    for ratio, factor in ((0.76, omega), (0.74, 1.0), (0.26, 1.0), (0.24, 1 / omega), (-1.0, 1 / omega)):
        assert o._adapt(2.0, -3.0 * ratio, -3.0) == 2.0 * factor
    assert o._adapt(2.0, -1.0, 0.0) == 2.0 / omega


def shared_layer(a_shape: tuple[int, ...] = (4, 3, 6), g_shape: tuple[int, ...] = (4, 3, 2)) -> Any:
    """A problem whose one layer, a kernel (2, 3, 2), is used at three positions of four examples."""
    rng = np.random.default_rng(0)
    layer = Layer("k", "b", rng.standard_normal(a_shape), rng.standard_normal(g_shape))
    x0 = {"k": np.zeros((2, 3, 2)), "b": np.zeros(2)}
    problem = refopt.from_functions(
        lambda x: 0.0, lambda x: x, x0=x0, layers=lambda x, batch=None, rng=None: [layer]
    )
    return problem, layer, x0


@pytest.mark.identity("kfac-factors")
def test_a_layer_at_several_positions(xp: Any) -> None:
    """Of patches A is the mean over examples of the sum over positions, Γ the mean over both; products keep the kernel's shape."""
    problem, layer, x0 = shared_layer()
    rows = np.concatenate([layer.inputs, np.ones((4, 3, 1))], axis=2)
    A, G = np.zeros((7, 7)), np.zeros((2, 2))
    for b in range(4):
        for t in range(3):
            A += np.outer(rows[b, t], rows[b, t]) / 4
            G += np.outer(layer.output_grads[b, t], layer.output_grads[b, t]) / 12
    moved = Layer("k", "b", xp.asarray(layer.inputs), xp.asarray(layer.output_grads))
    problem.layers = lambda x, batch=None, rng=None: [moved]
    C = refopt.curvature("kfac-factors", problem, {k: xp.asarray(v) for k, v in x0.items()}, labels="data")
    v = {"k": np.arange(12.0).reshape(2, 3, 2), "b": np.array([1.0, -2.0])}
    V = np.concatenate([v["k"].reshape(2, 6), v["b"][:, None]], axis=1)
    got = C @ {k: xp.asarray(a) for k, a in v.items()}
    want = G @ V @ A
    np.testing.assert_allclose(to_numpy(got["k"]), want[:, :6].reshape(2, 3, 2), rtol=1e-12)
    np.testing.assert_allclose(to_numpy(got["b"]), want[:, 6], rtol=1e-12)


def test_layers_at_several_positions_are_taken_or_refused() -> None:
    """Who does not know of positions refuses them before it computes anything wrong; shapes that do not belong together too."""
    problem, _, x0 = shared_layer()
    with pytest.raises(CapabilityError, match=r"k is used at 3 positions .*kfac-factors take both"):
        refopt.minimize(problem, "mkor", x0, steps=1)
    odd = shared_layer(g_shape=(4, 2, 2))[0]
    with pytest.raises(ShapeError, match=r"layers\(x\): k: wanted inputs"):
        refopt.curvature("kfac-factors", odd, x0)


@pytest.mark.identity("kfac-factors")
def test_a_layer_without_a_bias() -> None:
    """A layer whose inputs get no one: the Kronecker product of its factors, and solutions with it."""
    rng = np.random.default_rng(0)
    layer = Layer("W", None, rng.standard_normal((5, 3)), rng.standard_normal((5, 2)))
    problem = refopt.from_functions(
        lambda x: 0.0, lambda x: x, x0={"W": np.zeros((2, 3))}, layers=lambda x, batch=None, rng=None: [layer]
    )
    A, G = (m.T @ m / 5 for m in (layer.inputs, layer.output_grads))
    C = refopt.curvature("kfac-factors", problem, problem.x0, labels="data")
    np.testing.assert_allclose(C.dense(), np.kron(G, A), rtol=1e-12)
    v = {"W": rng.standard_normal((2, 3))}
    want = np.linalg.solve(np.kron(G, A) + 0.1 * np.eye(6), v["W"].ravel())
    np.testing.assert_allclose(C.solve(v, damping=0.1)["W"].ravel(), want, rtol=1e-10)
