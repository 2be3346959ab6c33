"""ASAM, Friendly SAM, GSAM and OrthoGrad."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.wrappers.sam import across

from tests.streams import stream


class Coupled:
    """A quartic of two leaves with scales: f(x) = Σ (d x)⁴/4 + (Σ d x)² / 2."""

    def __init__(self, d: float = 1.0) -> None:
        self.d = {"w": np.full((2, 2), d), "b": np.ones(2)}
        self.x0 = {"w": np.array([[1.0, -0.4], [0.3, 0.8]]) / d, "b": np.array([0.5, -0.2])}

    def value(self, x: Any) -> float:
        y = np.concatenate([(self.d[k] * x[k]).ravel() for k in x])
        return float(np.sum(y**4) / 4 + np.sum(y) ** 2 / 2)

    def grad(self, x: Any) -> Any:
        total = sum(float(np.sum(self.d[k] * x[k])) for k in x)
        return {k: self.d[k] * ((self.d[k] * x[k]) ** 3 + total) for k in x}


def flat(x: Any) -> np.ndarray:
    return np.concatenate([x[k].ravel() for k in ("w", "b")])


@pytest.mark.claim("asam")
def test_the_ball_does_not_see_the_scale_of_weights() -> None:
    """Weights a hundred times smaller where the loss multiplies them by a hundred: the perturbation of what the loss sees is
    the same with η = 0, to 1e-13, and ‖T⁻¹ ε̂‖ is ρ; SAM's is 50 times another."""
    one, hundred = Coupled(), Coupled(100.0)
    o = refopt.optimizer("asam", eta=0.0, rho=0.3)
    a, b = (o.perturbation(p.x0, p.grad(p.x0)) for p in (one, hundred))
    np.testing.assert_allclose(100.0 * b["w"], a["w"], rtol=1e-13)
    np.testing.assert_allclose(b["b"], a["b"], rtol=1e-13)
    stretched = flat({"w": a["w"] / np.abs(one.x0["w"]), "b": a["b"]})
    np.testing.assert_allclose(np.linalg.norm(stretched), 0.3, rtol=1e-13)
    sam = refopt.optimizer("sam", rho=0.3)
    c, d = (sam.perturbation(p.x0, p.grad(p.x0)) for p in (one, hundred))
    assert np.max(np.abs(100.0 * d["w"] / c["w"])) > 50.0


@pytest.mark.identity("asam", "friendly-sam", "gsam")
def test_sam_is_their_limit() -> None:
    """T = 1 (no leaf a weight), σ = 0 and α = 0: SAM's points over momentum, bit for bit."""
    p = Coupled()
    kw: dict[str, Any] = {"base": "momentum", "lr": 0.02, "rho": 0.1, "steps": 15}
    want = flat(refopt.minimize(p, "sam", **kw).x)
    for name, options in (
        ("asam", {"weights": "none"}), ("friendly-sam", {"sigma": 0.0}), ("gsam", {"alpha": 0.0}),
    ):  # fmt: skip
        np.testing.assert_array_equal(flat(refopt.minimize(p, name, **options, **kw).x), want)


@pytest.mark.identity("asam", "friendly-sam", "gsam")
@pytest.mark.parametrize("eps", [0.0, 0.3])
def test_by_hand(eps: float) -> None:
    """Eight steps over plain SGD, written out, without ε and with a large one, to 1e-12."""
    p = Coupled()

    def grad(v: np.ndarray) -> np.ndarray:
        return flat(p.grad({"w": v[:4].reshape(2, 2), "b": v[4:]}))

    runs = {
        "asam": {"rho": 0.3, "eta": 0.05}, "friendly-sam": {"rho": 0.1, "sigma": 0.7, "average": 0.6},
        "gsam": {"rho": lambda t: 0.1 / t, "alpha": 0.3},
    }  # fmt: skip
    for name, options in runs.items():
        got = flat(refopt.minimize(p, name, base="sgd", lr=0.05, steps=8, eps=eps, **options).x)
        v, m = flat(p.x0), np.zeros(6)
        for t in range(1, 9):
            g = grad(v)
            if name == "asam":
                T = np.concatenate([np.abs(v[:4]) + 0.05, np.ones(2)])
                step = grad(v + 0.3 * T**2 * g / (np.linalg.norm(T * g) + eps))
            elif name == "friendly-sam":
                d = g if t == 1 else g - 0.7 * m
                m = g if t == 1 else 0.6 * m + 0.4 * g
                step = grad(v + 0.1 * d / (np.linalg.norm(d) + eps))
            else:
                size = np.linalg.norm(g)
                sharp = grad(v + 0.1 / t * g / (size + eps))
                long = np.linalg.norm(sharp)
                cosine = g @ sharp / (size * long + eps)
                step = sharp - 0.3 * (g - cosine * size / (long + eps) * sharp)
            v = v - 0.05 * step
        np.testing.assert_allclose(got, v, rtol=1e-12, atol=1e-14)


@pytest.mark.identity("asam", "friendly-sam", "gsam")
def test_one_array_and_no_gradient() -> None:
    """A single array is stepped as a dict of it is, bit for bit; where the gradient is zero every one of them stands still, and
    GSAM, where g_p alone is, takes the whole of g for the part across."""
    p, x0 = Coupled(), np.array([[1.0, -0.4], [0.3, 0.8]])
    one = refopt.from_functions(lambda w: float(np.sum(w**4) / 4), lambda w: w**3, x0=x0)
    leaf = refopt.from_functions(
        lambda x: float(np.sum(x["w"] ** 4) / 4), lambda x: {"w": x["w"] ** 3}, x0={"w": x0}
    )
    kw: dict[str, Any] = {"base": "sgd", "lr": 0.1, "rho": 0.3}
    for name in ("asam", "friendly-sam", "gsam"):
        a, b = (refopt.minimize(q, name, steps=5, **kw).x for q in (one, leaf))
        np.testing.assert_array_equal(a, b["w"])
        still = refopt.minimize(p, name, {k: 0.0 * v for k, v in p.x0.items()}, steps=2, **kw).x
        np.testing.assert_array_equal(flat(still), np.zeros(6))
    v, zero = np.array([3.0, -4.0]), np.zeros(2)
    np.testing.assert_array_equal(across(v, zero), v)
    np.testing.assert_array_equal(across(zero, v), zero)


@pytest.mark.claim("friendly-sam")
def test_a_gradient_that_does_not_change_is_not_perturbed_along() -> None:
    """A linear loss: from the second step on d = 0 with σ = 1, so the point that is asked about is the base's own."""
    asked = []

    def grad(x: np.ndarray) -> np.ndarray:
        asked.append(x.copy())
        return np.array([1.0, -2.0])

    p = refopt.from_functions(lambda x: float(x[0] - 2 * x[1]), grad, x0=np.zeros(2))
    refopt.minimize(p, "friendly-sam", base="sgd", lr=0.1, rho=0.5, steps=3)
    np.testing.assert_allclose(np.linalg.norm(asked[1] - asked[0]), 0.5, rtol=1e-14)
    np.testing.assert_array_equal(asked[2], asked[3])
    np.testing.assert_array_equal(asked[4], asked[5])


@pytest.mark.claim("gsam")
def test_what_is_taken_out_is_orthogonal_to_the_perturbed_gradient() -> None:
    """g_⊥ has no part along g_p, to 1e-14, at gradients of any size, so that α changes nothing of the perturbed loss's slope."""
    rng = np.random.default_rng(0)
    for size in (1e-200, 1.0, 1e200):
        g, sharp = size * rng.standard_normal(5), size * rng.standard_normal(5)
        got = across(g, sharp) / size
        g, sharp = g / size, sharp / size
        assert abs(got @ sharp) < 1e-14 * np.linalg.norm(got) * np.linalg.norm(sharp)
        np.testing.assert_allclose(got, g - (g @ sharp) / (sharp @ sharp) * sharp, rtol=1e-12)


@pytest.mark.claim("orthograd")
def test_orthogonal_and_as_long() -> None:
    """⟨w, g'⟩ = 0 and ‖g'‖ = ‖g‖ in every leaf, to 1e-14 of their lengths, from 1e-200 to 1e200; a step of SGD lengthens ‖w‖² by
    η² ‖g‖² (the paper's: weights cannot be scaled down)."""
    o, rng = refopt.optimizer("orthograd", base="sgd", lr=1.0), np.random.default_rng(0)
    for size in (1e-200, 1.0, 1e200):
        w, g = rng.standard_normal((3, 4)), size * rng.standard_normal((3, 4))
        u = o.projected(w, g) / size
        assert abs(np.sum(w * u)) < 1e-14 * np.linalg.norm(w) * np.linalg.norm(u)
        np.testing.assert_allclose(np.linalg.norm(u), np.linalg.norm(g / size), rtol=1e-14)
    x, _ = o.update(w, g / size, o.init(w))
    np.testing.assert_allclose(np.sum(x**2), np.sum(w**2) + np.sum((g / size) ** 2), rtol=1e-13)


@pytest.mark.identity("orthograd")
def test_where_there_is_nothing_to_take_out_or_nothing_left() -> None:
    """Weights of zero and gradients across the weights are handed on to the bit; a gradient along them, or a leaf of one entry, gives
    zero; the base's run on the projected gradients is the wrapper's."""
    o = refopt.optimizer("orthograd")
    g = np.array([3.0, -4.0, 0.5])
    np.testing.assert_allclose(o.projected(np.zeros(3), g), g, rtol=1e-15)
    np.testing.assert_allclose(o.projected(np.array([4.0, 3.0, 0.0]), g), g, rtol=1e-14)
    np.testing.assert_array_equal(o.projected(g, 0.1 * g), 0.0 * g)
    np.testing.assert_array_equal(o.projected(g, 0.0 * g), 0.0 * g)
    for w in (0.1, 0.3, 0.7):
        np.testing.assert_array_equal(o.projected(np.array([w]), np.array([0.37])), [0.0])
    # What is left of g is rounding up to 4 epsilons of it; the authors' code brings that to g's length too.
    free, along, eps = refopt.optimizer("orthograd", guard=False), np.array([1.0, 0.0]), np.finfo(float).eps
    for left, guarded in ((3.5 * eps, 0.0), (4.5 * eps, 1.0)):
        g2 = np.array([1.0, left])
        np.testing.assert_allclose(o.projected(along, g2), [0.0, guarded], rtol=1e-14)
        np.testing.assert_allclose(free.projected(along, g2), [0.0, 1.0], rtol=1e-14)
    x, gradients = stream(1, "random", steps=12)
    over = refopt.optimizer("orthograd", base="adam", lr=0.1)
    adam, y, s = refopt.optimizer("adam", lr=0.1), x, None
    s, r, z = over.init(x), adam.init(x), x
    for g in gradients:
        y, s = over.update(y, g, s)
        u = {k: g[k] - np.sum(z[k] * g[k]) / np.sum(z[k] ** 2) * z[k] for k in z}
        z, r = adam.update(z, {k: u[k] * np.linalg.norm(g[k]) / np.linalg.norm(u[k]) for k in z}, r)
        for k in y:
            np.testing.assert_allclose(y[k], z[k], rtol=1e-9, atol=1e-11)


@pytest.mark.identity("orthograd")
def test_with_eps_and_where_the_base_asks() -> None:
    """ε = 0.3 as the authors add it, to ⟨w, w⟩ and ‖o‖, to 1e-13; `minimize` makes the steps of `update`, and over SAM both of its
    gradients are projected, each at its own point."""
    p, o = Coupled(), refopt.optimizer("orthograd", base="sgd", lr=0.05, eps=0.3)
    x = p.x0
    s = o.init(x)
    for t in range(1, 6):
        g = p.grad(x)
        want = {}
        for k in x:
            u = g[k] - np.sum(x[k] * g[k]) / (np.sum(x[k] ** 2) + 0.3) * x[k]
            want[k] = x[k] - 0.05 * u * np.linalg.norm(g[k]) / (np.linalg.norm(u) + 0.3)
        x, s = o.update(x, g, s)
        assert s["t"] == t
        np.testing.assert_allclose(flat(x), flat(want), rtol=1e-13)
    r = refopt.minimize(p, o, steps=5)
    np.testing.assert_array_equal(flat(r.x), flat(x))
    assert r.state["t"] == 5
    plain = refopt.optimizer("orthograd")

    def projected(w: Any) -> Any:
        g = p.grad(w)
        return {k: plain.projected(w[k], g[k]) for k in w}

    turned = refopt.from_functions(p.value, projected, x0=p.x0)
    sam = refopt.optimizer("sam", base="sgd", lr=0.05, rho=0.2)
    got = refopt.minimize(p, "orthograd", base=sam, steps=5).x
    np.testing.assert_array_equal(flat(got), flat(refopt.minimize(turned, sam, steps=5).x))
