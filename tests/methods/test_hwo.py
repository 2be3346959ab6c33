"""Hidden weight optimisation and input gains: written out, whitening, what each solution minimises, and the cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.problem import Layer
from refopt.optimizers.second_order.hwo import solved

from tests.alike import steps_on

NAMES = ("hwo", "oig-bp", "oig-hwo")
Weights = dict[str, np.ndarray]


class Net:
    """The paper's network: sigmoid units, direct weights from the inputs to the outputs, the last input 1."""

    least_squares = True

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, hidden: int = 4) -> None:
        self.X, self.T, self.hidden = inputs, targets, hidden
        self.n_examples = len(inputs)

    def start(self, seed: int = 0) -> Weights:
        rng = np.random.default_rng(seed)
        K, M = self.X.shape[1], self.T.shape[1]
        return {"W": rng.standard_normal((self.hidden, K)), "Woh": rng.standard_normal((M, self.hidden)),
            "Woi": rng.standard_normal((M, K))}  # fmt: skip

    def outputs(self, x: Weights) -> np.ndarray:
        return 1 / (1 + np.exp(-self.X @ x["W"].T))

    def predict(self, x: Weights) -> np.ndarray:
        return self.outputs(x) @ x["Woh"].T + self.X @ x["Woi"].T

    def residual(self, x: Weights) -> np.ndarray:
        return (self.predict(x) - self.T) / np.sqrt(len(self.X))

    def value(self, x: Weights) -> float:
        return float(np.sum(self.residual(x) ** 2)) / 2

    def jvp(self, x: Weights, v: Weights) -> np.ndarray:
        out = self.outputs(x)
        inner = (out * (1 - out) * (self.X @ v["W"].T)) @ x["Woh"].T
        return (inner + out @ v["Woh"].T + self.X @ v["Woi"].T) / np.sqrt(len(self.X))

    def vjp(self, x: Weights, u: np.ndarray) -> Weights:
        out = self.outputs(x)
        delta = (u @ x["Woh"]) * out * (1 - out)
        n = np.sqrt(len(self.X))
        return {"W": delta.T @ self.X / n, "Woh": u.T @ out / n, "Woi": u.T @ self.X / n}

    def grad(self, x: Weights) -> Weights:
        return self.vjp(x, self.residual(x))

    def layers(self, x: Weights, rng: Any = None) -> list[Layer]:
        none = np.zeros((len(self.X), 1))
        return [
            Layer("W", None, self.X, none),
            Layer("Woh", None, self.outputs(x), none),
            Layer("Woi", None, self.X, none),
        ]


def net(seed: int = 0, n: int = 30, whiten: bool = False) -> Net:
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.standard_normal((n, 3)) @ rng.standard_normal((3, 3)) + 0.5, np.ones(n)])
    T = np.column_stack([np.sin(X[:, 0]) + X[:, 1] * X[:, 2], np.cos(X @ [0.5, 1.0, -0.3, 0.2])])
    if whiten:
        values, U = np.linalg.eigh(X.T @ X / n)
        X = X @ (U * values**-0.5) @ U.T
    return Net(X, T)


def written_out(p: Net, x: Weights, name: str) -> Weights:
    """One iteration as the paper has it, example by example, with E = mean Σ (t - y)²."""
    X, T, N = p.X, p.T, len(p.X)
    W, Woh = x["W"], x["Woh"]
    out, y = p.outputs(x), p.predict(x)
    slope = out * (1 - out)
    G = np.zeros_like(W)
    for q in range(N):
        for k in range(p.hidden):
            delta = slope[q, k] * sum(2 * (T[q, i] - y[q, i]) * Woh[i, k] for i in range(2))
            G[k] += delta * X[q] / N
    D = G if name == "oig-bp" else np.linalg.solve(X.T @ X / N, G.T).T
    K = X.shape[1]
    u = np.array([[[X[q, m] * sum(Woh[i, k] * slope[q, k] * D[k, m] for k in range(p.hidden)) for m in range(K)]
        for i in range(2)] for q in range(N)])  # fmt: skip
    H = 2 / N * np.einsum("qim,qij->mj", u, u)
    g = np.sum(G * D, axis=0)
    r = np.full(K, np.sum(g) / np.sum(H)) if name == "hwo" else np.linalg.solve(H, g)
    W = W + D * r
    z = np.column_stack([p.outputs({"W": W}), X])
    Wo = np.linalg.lstsq(z, T, rcond=None)[0].T
    return {"W": W, "Woh": Wo[:, : p.hidden], "Woi": Wo[:, p.hidden :]}


@pytest.mark.identity("hwo", "oig-bp", "oig-hwo")
@pytest.mark.parametrize("name", NAMES)
def test_written_out(name: str) -> None:
    """Six iterations of the sigmoid network with direct weights equal the paper's formulas example by example, to 1e-7; and those
    of an MLP with biases, the network of the same predictions whose direct weights are the outputs' bias alone.
    """
    p = net()
    o = refopt.optimizer(name)
    x = p.start(1)
    for t, (got, s) in enumerate(steps_on(p, o, 6), start=1):
        assert s == {"t": t}
        x = written_out(p, x, name)
        for k in x:
            np.testing.assert_allclose(got[k], x[k], rtol=1e-7, atol=1e-7)
        x = got


@pytest.mark.identity("hwo", "oig-bp", "oig-hwo")
@pytest.mark.parametrize("name", NAMES)
def test_biases_are_columns(name: str) -> None:
    """Three steps on an MLP with biases: the hidden layer moves as with a column of ones among the inputs, its factors from the
    dense Jacobian, and the output weights with bias are lstsq's (1e-8).
    """
    p = refopt.problem("mlp", widths=(3,), loss="mse", data="teacher", n_examples=30)
    A = np.column_stack([p.inputs, np.ones(30)])
    x = p.start(1)
    for got, _ in steps_on(p, refopt.optimizer(name), 3):
        g = p.grad(x)
        G = -np.column_stack([g["W1"], g["b1"]])
        D = G if name == "oig-bp" else G @ np.linalg.inv(A.T @ A / 30)
        hidden = np.tanh(A @ np.column_stack([x["W1"], x["b1"]]).T)
        # ∂ prediction / ∂ r_m of every example and output.
        U = np.stack(
            [
                (((1 - hidden**2) * np.outer(A[:, m], D[:, m])) @ x["W2"].T / 30**0.5).ravel()
                for m in range(6)
            ],
            axis=1,
        )
        c = np.sum(G * D, axis=0)
        r = (
            np.full(6, np.sum(c) / np.sum(U.T @ U))
            if name == "hwo"
            else np.linalg.lstsq(U.T @ U, c, rcond=None)[0]
        )
        W = np.column_stack([x["W1"], x["b1"]]) + D * r
        np.testing.assert_allclose(np.column_stack([got["W1"], got["b1"]]), W, rtol=1e-8, atol=1e-9)
        Z = np.column_stack([np.tanh(A @ W.T), np.ones(30)])
        out = np.linalg.lstsq(Z, p.targets, rcond=None)[0]
        np.testing.assert_allclose(got["W2"], out[:3].T, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(got["b2"], out[3], rtol=1e-7, atol=1e-8)
        x = got


@pytest.mark.claim("hwo", "oig-hwo")
def test_whitening() -> None:
    """On whitened inputs x' = R^(-1/2) x the predictions of five hwo iterations are the same from the same network, to 1e-6: it is
    steepest descent there, where R = I and oig-hwo is oig-bp to 1e-9; oig-bp is changed by whitening.
    """
    p, q = net(), net(whiten=True)
    A = np.linalg.lstsq(p.X, q.X, rcond=None)[0]
    x = p.start(1)
    # W x = W A^-1 x'.
    y = {"W": x["W"] @ np.linalg.inv(A).T, "Woh": x["Woh"], "Woi": x["Woi"] @ np.linalg.inv(A).T}
    np.testing.assert_allclose(q.predict(y), p.predict(x), rtol=1e-10)
    ends = {}
    for name in ("hwo", "oig-bp"):
        a = refopt.minimize(p, name, x, steps=5).x
        b = refopt.minimize(q, name, y, steps=5).x
        ends[name] = np.max(np.abs(p.predict(a) - q.predict(b)))
    assert ends["hwo"] < 1e-6 < 1e-3 < ends["oig-bp"]
    same = [refopt.minimize(q, name, y, steps=4).x["W"] for name in ("oig-bp", "oig-hwo")]
    np.testing.assert_allclose(same[0], same[1], rtol=1e-9)


@pytest.mark.claim("hwo", "oig-bp", "oig-hwo")
@pytest.mark.parametrize("name", NAMES)
def test_what_is_minimised(name: str) -> None:
    """Along the gains -∂E/∂r at 0 is <G, D> column by column, by differences (1e-6); no other gains give a lower Gauss-Newton model
    (of 300), for hwo no other common factor; gains lower it at least as far as the factor; output weights are never worse
    than those before, and no others of 200 are better.
    """
    p = net(2)
    x = p.start(3)
    G = -p.grad(x)["W"]
    D = G if name == "oig-bp" else np.linalg.solve(p.X.T @ p.X / 30, G.T).T
    o = refopt.optimizer(name)

    def at(r: np.ndarray) -> Weights:
        return {**x, "W": x["W"] + D * r}

    def model(r: np.ndarray) -> float:
        v = {"W": D * r, "Woh": 0 * x["Woh"], "Woi": 0 * x["Woi"]}
        return float(np.sum((p.residual(x) + p.jvp(x, v)) ** 2)) / 2

    h = 1e-5
    slopes = [(p.value(at(h * e)) - p.value(at(-h * e))) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(-np.array(slopes), np.sum(G * D, axis=0), rtol=1e-5, atol=1e-8)
    none = {"Woh": 0 * x["Woh"], "Woi": 0 * x["Woi"]}
    U = np.stack([p.jvp(x, {"W": D * e, **none}).ravel() for e in np.eye(4)], axis=1)
    r = o.factors(G, D, U)
    rng = np.random.default_rng(0)
    for _ in range(300):
        away = 10 ** -rng.uniform(0, 4) * (
            rng.standard_normal() * np.ones(4) if name == "hwo" else rng.standard_normal(4)
        )
        assert model(r) <= model(r * (1 + away)) + 1e-14
    z = np.sum(G * D) / np.sum(U.sum(1) ** 2)
    assert model(r) <= model(np.full(4, z)) + 1e-14
    new, _ = o.step(x, o.init(x), Oracle(p))
    moved = {**x, "W": new["W"]}
    np.testing.assert_allclose(new["W"], at(r)["W"], rtol=1e-9)
    assert p.value(new) <= p.value(moved)
    for _ in range(200):
        other = {
            k: v + (10 ** -rng.uniform(0, 4) * rng.standard_normal(v.shape) if k != "W" else 0.0)
            for k, v in new.items()
        }
        assert p.value(new) <= p.value(other) + 1e-14


@pytest.mark.identity("hwo", "oig-bp", "oig-hwo")
@pytest.mark.parametrize("name", NAMES)
def test_dependent_inputs(name: str) -> None:
    """An input that is the sum of two others changes no prediction of oig-hwo and hwo (1e-5): its direction is zero. Every output
    weight from it is zero, and so is every gain of it in orthogonal least squares; `solved` agrees with lstsq in what it fits.
    """
    p = net(1)
    q = Net(np.column_stack([p.X, p.X[:, 0] + p.X[:, 1]]), p.T)
    x = p.start(1)
    y = {
        "W": np.column_stack([x["W"], np.zeros(4)]),
        "Woh": x["Woh"],
        "Woi": np.column_stack([x["Woi"], np.zeros(2)]),
    }
    a, b = (refopt.minimize(problem, name, start, steps=3).x for problem, start in ((p, x), (q, y)))
    np.testing.assert_allclose(b["Woi"][:, 4], 0.0, atol=1e-8)
    if name != "oig-bp":
        np.testing.assert_array_equal(b["W"][:, 4], 0.0)
        np.testing.assert_allclose(p.predict(a), q.predict(b), atol=1e-5)
    A = q.X
    R, C = A.T @ A, A.T @ p.T
    W = solved(R, C, 1e-10)
    np.testing.assert_array_equal(W[4], 0.0)
    np.testing.assert_allclose(A @ W, A @ np.linalg.lstsq(A, p.T, rcond=None)[0], atol=1e-9)
    full = solved(R[:4, :4], C[:4], 1e-10)
    np.testing.assert_allclose(full, np.linalg.solve(R[:4, :4], C[:4]), rtol=1e-9)
    np.testing.assert_array_equal(solved(np.zeros((2, 2)), np.ones(2), 0.0), 0.0)
    rough = solved(R, C, 0.5)
    assert np.sum(np.all(rough == 0.0, axis=1)) > 1


@pytest.mark.claim("oig-hwo")
def test_beside_levenberg_marquardt() -> None:
    """For the multiplications of six steps of Levenberg-Marquardt (its J by back-propagation, JᵀJ and a Cholesky factor; 58 weights),
    some fifty of oig-hwo end at a quarter of its error or less, from four starts.
    """
    rng = np.random.default_rng(0)
    N, K, hidden, M = 60, 5, 8, 2
    X = rng.standard_normal((N, K - 1))
    y = np.column_stack([np.sin(X[:, 0] * X[:, 1]), np.abs(X[:, 2]) + 0.1 * rng.standard_normal(N)])
    p = refopt.problem("mlp", widths=(hidden,), loss="mse", data=(X, y))
    forward = N * (hidden * K + M * (hidden + 1))
    P = hidden * K + M * (hidden + 1)
    levenberg = forward + M * 2 * forward + N * M * P * (P + 1) / 2 + P**3 / 6
    # The gradient, D, the derivatives by the gains and their Hessian, R and C of the outputs, four factorisations' worth.
    gains = 3 * forward + hidden * K * K + N * hidden * K * (1 + M) + N * M * K * (K + 1) / 2
    outputs = N * hidden * K + N * (hidden + 1) * (hidden + 1 + M) + 4 * (hidden + 1) ** 3
    steps = int(6 * levenberg / (gains + outputs))
    assert 40 < steps < 60
    for seed in range(4):
        x = p.start(seed)
        ours = refopt.minimize(p, "oig-hwo", x, steps=steps).fun
        assert ours < 0.25 * refopt.minimize(p, "levenberg-marquardt", x, steps=6).fun


def test_other_networks() -> None:
    """One layer, two hidden layers: errors that say what is wanted."""
    data = (
        np.random.default_rng(0).standard_normal((20, 3)),
        np.random.default_rng(1).standard_normal((20, 2)),
    )
    for name in NAMES:
        with pytest.raises(refopt.errors.ShapeError, match="hidden layer"):
            refopt.minimize(refopt.problem("mlp", widths=(), loss="mse", data=data), name, steps=1)
        for widths in ((3, 3), (3, 2)):
            with pytest.raises(refopt.errors.ArgumentError, match="linear in W2, b2, W3, b3"):
                refopt.minimize(refopt.problem("mlp", widths=widths, loss="mse", data=data), name, steps=1)
