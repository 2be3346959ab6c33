"""The benchmark's gradient-free suite: descent in expectation, invariances, and what reduces to what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.methods.values import Cubic, H, Linear, X, at, nodes

Z = np.array([0.6, -1.2, 0.9])


def one_step(o: Any, oracle: Oracle, x: np.ndarray = X) -> np.ndarray:
    return o.step(x, o.init(x), oracle)[0]


@pytest.mark.claim("zo-sgd")
def test_descent_in_expectation() -> None:
    """On a quadratic E f(θ⁺) = f - η‖g‖² + η²(tr(H)‖g‖² + 2 gᵀHg)/2, by quadrature to 1e-12: descent while
    η < 2‖g‖²/(tr(H)‖g‖² + 2 gᵀHg).
    """
    h, x = H[:2, :2], X[:2]
    p = Cubic(h)
    g = h @ x
    second = np.trace(h) * (g @ g) + 2 * g @ h @ g
    bound = 2 * (g @ g) / second
    for lr in (0.9 * bound, 1.1 * bound):
        o = refopt.optimizer("zo-sgd", lr=lr)
        after = sum(w * p.value(one_step(o, at(p, *z), x)) for w, z in nodes("gaussian", 1))
        np.testing.assert_allclose(after, p.value(x) - lr * (g @ g) + lr**2 * second / 2, rtol=1e-11)
        assert (after < p.value(x)) == (lr < bound)


@pytest.mark.identity("zo-sgd")
def test_written_out() -> None:
    """Steps with three directions, both quotients, are θ - (η/q) Σ c z written out, to 1e-12: 6 and 4 values."""
    p, eps, lr = Cubic(H, 1.3), 0.2, 0.03
    z = [Z, Z[::-1], 2 * Z]
    for form, asked in (("two-point", 6), ("one-sided", 4)):
        x, total = X, np.zeros(3)
        for d in z:
            far = p.value(x - eps * d) if form == "two-point" else p.value(x)
            total += (p.value(x + eps * d) - far) / (eps * (2 if form == "two-point" else 1)) * d
        oracle = at(p, *z)
        o = refopt.optimizer("zo-sgd", lr=lr, radius=eps, samples=3, form=form)
        np.testing.assert_allclose(one_step(o, oracle), x - lr * total / 3, rtol=1e-12)
        assert oracle.counts.calls == {"value": asked}


@pytest.mark.identity("zo-sgd", "forward-sgd")
def test_forward_is_the_limit() -> None:
    """On a quadratic ZO-SGD and Forward-SGD make the same 20 steps from one seed, whatever ε, to 1e-9."""
    p = refopt.problem("quadratic", n=4)
    a = refopt.minimize(p, "forward-sgd", lr=0.1, steps=20, seed=2)
    b = refopt.minimize(p, "zo-sgd", lr=0.1, radius=0.5, steps=20, seed=2)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-9)
    assert a.calls == {"directional": 20}


@pytest.mark.claim("forward-sgd")
def test_forward_step() -> None:
    """θ - η (j v + λ θ) with one derivative along v, the decay not on leaves called bias; without decay the linear
    model of f falls by η j², so that no step raises it.
    """
    rng = np.random.default_rng(0)
    g = {"w": rng.standard_normal((2, 2)), "bias": rng.standard_normal(2)}
    x = {k: rng.standard_normal(v.shape) for k, v in g.items()}

    class Plane:
        def directional(self, x: Any, v: Any) -> float:
            return sum(float(np.sum(g[k] * v[k])) for k in g)

    v = {"w": rng.standard_normal((2, 2)), "bias": rng.standard_normal(2)}
    j = Plane().directional(x, v)
    o = refopt.optimizer("forward-sgd", lr=0.1, weight_decay=0.5)
    new, s = o.step(x, o.init(x), at(Plane(), v["w"], v["bias"]))
    np.testing.assert_allclose(new["w"], x["w"] - 0.1 * (j * v["w"] + 0.5 * x["w"]), rtol=1e-13)
    np.testing.assert_allclose(new["bias"], x["bias"] - 0.1 * j * v["bias"], rtol=1e-13)
    assert s == {"t": 1}
    bare = refopt.optimizer("forward-sgd", lr=0.1)
    new, _ = bare.step(x, bare.init(x), at(Plane(), v["w"], v["bias"]))
    fall = sum(float(np.sum(g[k] * (new[k] - x[k]))) for k in g)
    np.testing.assert_allclose(fall, -0.1 * j**2, rtol=1e-12)
    slow = refopt.optimizer("forward-sgd", lr=0.1, schedule=lambda t: 0.5 if t == 1 else 0.0)
    half, _ = slow.step(x, slow.init(x), at(Plane(), v["w"], v["bias"]))
    np.testing.assert_allclose(half["w"], x["w"] - 0.05 * j * v["w"], rtol=1e-13)


@pytest.mark.claim("zo-sgd-sign")
@pytest.mark.parametrize("dialect", ["paper", "official"])
def test_sign_is_scale_free(dialect: str) -> None:
    """2^k f has the trajectory of f, bit for bit, in both forms; the elementwise step has every entry of
    size η.
    """
    p = refopt.problem("quadratic", n=4)
    scaled = refopt.from_functions(lambda x: 1024.0 * p.value(x), x0=p.start())
    common = {"steps": 15, "lr": 0.125, "dialect": dialect, "samples": 2}
    a = refopt.minimize(p, "zo-sgd-sign", x0=p.start(), **common)
    b = refopt.minimize(scaled, "zo-sgd-sign", x0=p.start(), **common)
    np.testing.assert_array_equal(a.x, b.x)
    if dialect == "paper":
        one = refopt.minimize(p, "zo-sgd-sign", x0=p.start(), **{**common, "steps": 1})
        np.testing.assert_allclose(np.abs(one.x - p.start()), 0.125, rtol=1e-15)


@pytest.mark.identity("zo-sgd-sign")
def test_signs_written_out() -> None:
    """θ - η sign(Σ c z), or θ - (η/q) Σ sign(c) z in the official dialect, with two directions, to 1e-14;
    sign(0) = 0.
    """
    p, z = Cubic(H), [Z, np.array([0.2, -0.4, -1.5])]
    c = [float(p.grad(X) @ d) for d in z]
    assert c[0] * c[1] < 0  # both signs
    for dialect, want in (
        ("paper", np.sign(c[0] * z[0] + c[1] * z[1])),
        ("official", (np.sign(c[0]) * z[0] + np.sign(c[1]) * z[1]) / 2),
    ):
        o = refopt.optimizer("zo-sgd-sign", dialect=dialect, lr=0.1, samples=2)
        np.testing.assert_allclose(one_step(o, at(p, *z)), X - 0.1 * want, rtol=1e-14)
        np.testing.assert_array_equal(one_step(o, at(Cubic(0.0 * H), *z)), X)


@pytest.mark.claim("zo-sgd-conserve")
def test_conserve_on_a_quadratic() -> None:
    """On a convex quadratic the step against the estimate is never taken, and the step along it is taken while
    η < 2/(zᵀHz): zo-sgd below, standing still above; five values a step.
    """
    p, top = Cubic(H), 2 / float(Z @ H @ Z)
    for lr in (0.99 * top, 1.01 * top):
        oracle = at(p, Z)
        got = one_step(refopt.optimizer("zo-sgd-conserve", lr=lr), oracle)
        assert oracle.counts.calls == {"value": 5}
        if lr < top:
            np.testing.assert_array_equal(got, one_step(refopt.optimizer("zo-sgd", lr=lr), at(p, Z)))
        else:
            np.testing.assert_array_equal(got, X)


class Table:
    """f at five points of a line: where it is asked, in order."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def value(self, x: np.ndarray) -> float:
        return self.values.pop(0)


@pytest.mark.identity("zo-sgd-conserve")
@pytest.mark.parametrize("here", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("ahead", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("back", [0.0, 1.0, 2.0])
def test_conserve_takes_the_best(here: float, ahead: float, back: float) -> None:
    """All orders of the three losses: the least is kept, and of equal ones b before a before θ, as in the
    benchmark's code.
    """
    o = refopt.optimizer("zo-sgd-conserve", lr=0.5, radius=1.0)
    got, s = o.step(X, o.init(X), at(Table(here, 4.0, 2.0, ahead, back), Z))
    assert s == {"t": 1}
    best = min(here, ahead, back)
    want = X + 0.5 * Z if back == best else X - 0.5 * Z if ahead == best else X
    np.testing.assert_array_equal(got, want)


@pytest.mark.identity("zo-adam")
def test_adam_on_the_same_estimates() -> None:
    """Adam fed with the estimates makes the same 15 steps, bit for bit, with betas, eps and schedule of its
    own.
    """
    p = refopt.problem("quadratic", n=4)
    own = {"lr": 0.1, "beta1": 0.7, "beta2": 0.95, "eps": 1e-2, "schedule": lambda t: 1 / t}
    o, adam, estimates = refopt.optimizer("zo-adam", samples=2, **own), refopt.optimizer("adam", **own), []
    x = y = p.start()
    s, r, oracle, other = o.init(x), adam.init(y), Oracle(p, 4), Oracle(p, 4)
    twin = refopt.optimizer("two-point-gradient", samples=2)
    for t in range(1, 16):
        oracle.begin(t), other.begin(t)
        x, s = o.step(x, s, oracle)
        estimates.append(twin.estimate(other, y))
        y, r = adam.update(y, estimates[-1], r)
        np.testing.assert_array_equal(x, y)
    assert oracle.counts.calls == {"value": 60}


@pytest.mark.claim("zo-adam")
def test_adam_is_scale_free() -> None:
    """With ε_A = 0, 2^k f has the trajectory of f, bit for bit, and the first step has every entry of size
    η.
    """
    p = refopt.problem("quadratic", n=4)
    scaled = refopt.from_functions(lambda x: 1024.0 * p.value(x), x0=p.start())
    common = {"x0": p.start(), "lr": 0.05, "eps": 0.0}
    a, b = (refopt.minimize(q, "zo-adam", steps=12, **common) for q in (p, scaled))
    np.testing.assert_array_equal(a.x, b.x)
    one = refopt.minimize(p, "zo-adam", steps=1, **common)
    np.testing.assert_allclose(np.abs(one.x - p.start()), 0.05, rtol=1e-12)


@pytest.mark.identity("zo-sgd", "zo-sgd-sign", "zo-sgd-conserve", "forward-sgd")
def test_the_rate_is_the_steps() -> None:
    """Three steps under the schedule t, seeds and all, are three single steps with one, two and three times
    the rate; the counter says 3.
    """
    p = Cubic(H, 0.5)
    for name in ("zo-sgd", "zo-sgd-sign", "zo-sgd-conserve", "forward-sgd"):
        o = refopt.optimizer(name, lr=0.01, schedule=lambda t: float(t))
        oracle, x, y = Oracle(p, 7), X, X
        s = o.init(x)
        assert s == {"t": 0}
        for t in (1, 2, 3):
            oracle.begin(t)
            x, s = o.step(x, s, oracle)
            oracle.begin(t)
            y = one_step(refopt.optimizer(name, lr=0.01 * t), oracle, y)
            np.testing.assert_allclose(x, y, rtol=1e-14)
        assert s == {"t": 3}


@pytest.mark.identity("zo-sgd-conserve")
def test_conserve_asks_where_it_may_go() -> None:
    """The five values are those at θ, θ ± ε z, θ - η ĝ and θ + η ĝ, on a function that is not even."""
    p, asked = Cubic(H, 1.3), []

    class Listening:
        def value(self, x: np.ndarray) -> float:
            asked.append(x)
            return p.value(x)

    one_step(refopt.optimizer("zo-sgd-conserve", lr=0.1, radius=0.25), at(Listening(), Z))
    g = (p.value(X + 0.25 * Z) - p.value(X - 0.25 * Z)) / 0.5 * Z
    want = [X, X + 0.25 * Z, X - 0.25 * Z, X - 0.1 * g, X + 0.1 * g]
    np.testing.assert_allclose(sorted(map(tuple, asked)), sorted(map(tuple, want)), rtol=1e-13)


@pytest.mark.identity("zo-sgd-sign", "zo-adam")
def test_one_sided_goes_forward() -> None:
    """The one-sided quotient looks along z and not against it: where |x| has its kink between, the signs
    differ.
    """
    p = refopt.from_functions(lambda x: float(abs(x[0])))
    x, z = np.array([-0.5]), np.array([1.0])
    for name in ("zo-sgd-sign", "zo-adam"):
        o = refopt.optimizer(name, lr=0.1, radius=2.0, form="one-sided")
        np.testing.assert_allclose(one_step(o, at(p, z), x), [-0.6], rtol=1e-7)


@pytest.mark.claim("zo-sgd", "forward-sgd")
@pytest.mark.parametrize("law", ["gaussian", "sphere"])
def test_slower_by_the_dimension(law: str) -> None:
    """Of f = h‖θ‖²/2 a step with η = q/(h D), D = d + q + 1 (on the sphere d + q - 1), leaves the share 1 - q/D on
    average, where the gradient's would leave nothing, and at no other η less: in the plane, q = 1 and 2, by quadrature
    to 1e-12; E‖θ⁺ - θ‖² is η² D/q ‖g‖².
    """
    h, x = 1.7, X[:2]
    p = Cubic(h * np.eye(2))
    methods = [("zo-sgd", {"samples": q, "law": law}, q) for q in (1, 2)]
    if law == "gaussian":
        methods.append(("forward-sgd", {}, 1))
    for name, more, q in methods:
        D = 2 + q + (1 if law == "gaussian" else -1)
        eta, left = q / (h * D), []
        for lr in (eta, 0.9 * eta, 1.1 * eta):
            o = refopt.optimizer(name, lr=lr, **more)
            found = [(w, one_step(o, at(p, *z), x)) for w, z in nodes(law, q)]
            left.append(sum(w * p.value(y) for w, y in found) / p.value(x))
            moved = sum(w * float((y - x) @ (y - x)) for w, y in found)
            np.testing.assert_allclose(moved, lr**2 * D / q * h**2 * (x @ x), rtol=1e-11)
        np.testing.assert_allclose(left[0], 1 - q / D, rtol=1e-11)
        assert min(left[1:]) > left[0]


@pytest.mark.claim("zo-sgd-sign")
def test_sign_goes_the_right_way_on_average() -> None:
    """With one direction a coordinate's step has the gradient's sign with the probability 1 - arccos(|g_i|/‖g‖)/π, so
    that on average it is -η (2/π) arcsin(g_i/‖g‖): never uphill; the official form's is -η (2/π)^½ g/‖g‖. Summed
    over the arcs between the signs' changes, in the plane, to 1e-12.
    """
    g, lr = np.array([1.5, -0.4]), 0.25
    p, unit = Linear(0.3, g), g / np.linalg.norm(g)
    turn = np.arctan2(g[1], g[0])
    ends = np.sort(
        np.mod([0.0, np.pi / 2, np.pi, 3 * np.pi / 2, turn + np.pi / 2, turn - np.pi / 2], 2 * np.pi)
    )
    u, w = np.polynomial.legendre.leggauss(12)
    mean = {"elementwise": np.zeros(2), "scalar": np.zeros(2)}
    right = np.zeros(2)
    for a, b in zip(ends, np.append(ends[1:], ends[0] + 2 * np.pi)):
        for angle, share in zip(a + (b - a) * (u + 1) / 2, w / 2 * (b - a) / (2 * np.pi)):
            z = np.array([np.cos(angle), np.sin(angle)])
            for sign, total in mean.items():
                step = one_step(refopt.optimizer("zo-sgd-sign", lr=lr, sign=sign), at(p, z), np.zeros(2))
                # A normal z is such a direction times a length, whose mean is (π/2)^½: the scalar form has it.
                total += share * step * (np.sqrt(np.pi / 2) if sign == "scalar" else 1.0)
                right += share * (np.sign(step) == -np.sign(g)) * (sign == "elementwise")
    np.testing.assert_allclose(right, 1 - np.arccos(np.abs(unit)) / np.pi, rtol=1e-12)
    np.testing.assert_allclose(mean["elementwise"], -lr * 2 / np.pi * np.arcsin(unit), rtol=1e-12)
    np.testing.assert_allclose(mean["scalar"], -lr * np.sqrt(2 / np.pi) * unit, rtol=1e-12)


@pytest.mark.claim("zo-sgd-conserve")
def test_conserve_never_ascends() -> None:
    """The loss of the step's batch never rises: 150 steps on Rosenbrock's function and on batches of logistic regression,
    at rates from 1e-4 to 10, at which zo-sgd from the same points and directions raises it more than 500 times of 1500.
    """
    worse, moved = 0, set()
    for p, batch in ((refopt.problem("rosenbrock"), None), (refopt.problem("logistic", n_examples=40), 8)):
        for lr in (1e-4, 1e-2, 0.1, 1.0, 10.0):
            o, plain = refopt.optimizer("zo-sgd-conserve", lr=lr), refopt.optimizer("zo-sgd", lr=lr)
            x, oracle, rng = p.start(), Oracle(p, 1), np.random.default_rng(0)
            for t in range(1, 151):
                oracle.begin(t)
                oracle.batch = None if batch is None else rng.choice(40, batch, replace=False)
                before = oracle.value(x)
                new = one_step(o, oracle, x)
                oracle.begin(t)
                other = one_step(plain, oracle, x)
                worse += oracle.value(other) > before
                assert oracle.value(new) <= before
                moved.add("a" if np.array_equal(new, other) else "o" if np.array_equal(new, x) else "b")
                x = new
    assert worse > 500 and moved == {"a", "b", "o"}


@pytest.mark.claim("zo-adam")
def test_adams_longest_step() -> None:
    """Where values have not differed for a while, the first step that sees a difference moves every coordinate by
    η √((1 - β2^t)/(1 - β2)) (1 - β1)/(1 - β1^t) at ε_A = 0, 1e-9: by η at once, 1.82 η after 400 steps, and never
    by Kingma and Ba's bound η (1 - β1)/√(1 - β2) = 3.16 η.
    """
    found = []
    for quiet in (0, 5, 50, 400):
        o, x = refopt.optimizer("zo-adam", lr=0.05, eps=0.0), X
        s = o.init(x)
        for _ in range(quiet):
            x, s = o.step(x, s, at(Cubic(0.0 * H), Z))
        np.testing.assert_array_equal(x, X)
        new, s = o.step(x, s, at(Cubic(H), Z))
        t = quiet + 1
        most = 0.05 * np.sqrt((1 - 0.999**t) / 0.001) * 0.1 / (1 - 0.9**t)
        np.testing.assert_allclose(new - x, -most * np.sign((X @ H @ Z) * Z), rtol=1e-9)
        found.append(float(np.max(np.abs(new - x))) / 0.05)
    np.testing.assert_allclose([found[0], found[-1]], [1.0, 1.8179], rtol=1e-4)
    assert max(found) < 0.1 / np.sqrt(0.001)
