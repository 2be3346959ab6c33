"""Riemannian SGD, Adam, AMSGrad and AdaGrad, and the tree in the ball."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import refopt
import scipy.linalg
from refopt.manifolds.base import Manifold

from tests.parity.case import Arrays, Case
from tests.streams import stream

# name: the manifold as geoopt has it, a point's shape, the peer's class and its options
SPACES: dict[str, tuple[Manifold, tuple[int, ...], str, dict[str, Any]]] = {
    "sphere": (refopt.manifold("sphere", carry="projection"), (3, 4), "Sphere", {}),
    "stiefel": (refopt.manifold("stiefel"), (5, 2), "EuclideanStiefel", {}),
    "spd": (refopt.manifold("spd"), (3, 3), "SymmetricPositiveDefinite", {}),
    "poincare-ball": (refopt.manifold("poincare-ball", curvature=1.5), (3, 4), "PoincareBall", {"c": 1.5}),
}


def gradients(name: str, seed: int) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """A start, and the Euclidean gradient of ``||x - a||^2 / 2`` for an a off the manifold; of a Wishart on SPD."""
    rng = np.random.default_rng(seed)
    M, shape = SPACES[name][:2]
    x, a = M.random(shape, rng), rng.standard_normal(shape)
    if name == "spd":
        return x, lambda x: M.tangent(x, np.eye(3) + 0.3 * M.tangent(x, a)) - np.linalg.inv(x)
    return x, lambda x: x - a


def ours(method: str, space: str, steps: int = 30, **options: Any) -> Callable[[int], Arrays]:
    def run(seed: int) -> Arrays:
        x, gradient = gradients(space, seed)
        o = refopt.optimizer(method, manifold=SPACES[space][0], lr=0.1, dialect="geoopt", **options)
        s, points = o.init(x), []
        for _ in range(steps):
            x, s = o.update(x, gradient(x), s)
            points.append(x)
        return {"x": np.array(points)}

    return run


def geoopt(
    kind: str, space: str, exact: bool = False, steps: int = 30, **options: Any
) -> Callable[[int], Arrays]:
    def run(seed: int) -> Arrays:
        import geoopt
        import torch

        x, gradient = gradients(space, seed)
        cls = getattr(geoopt.manifolds, SPACES[space][2] + ("Exact" if exact else ""))
        # A number would be kept in float32.
        manifold = cls(**{k: torch.tensor(v, dtype=torch.float64) for k, v in SPACES[space][3].items()})
        p = geoopt.ManifoldParameter(torch.tensor(x), manifold=manifold.double())
        o = getattr(geoopt.optim, kind)([p], lr=0.1, **options)
        points = []
        for _ in range(steps):
            p.grad = torch.tensor(gradient(p.detach().numpy()))
            o.step()
            points.append(p.detach().numpy().copy())
        return {"x": np.array(points)}

    return run


def case(method: str, kind: str, space: str, exact: bool = False, **options: Any) -> Case:
    mine: dict[str, Any] = {"by": "exp"} if exact else {}
    steps, digits = 30, "1e-11"
    why = "thirty steps carry on the rounding of norms and factorizations that are taken in other ways"
    if space == "spd" and method != "riemannian-sgd":
        # Its transport.
        steps, digits, why = (
            10,
            "1e-9",
            "geoopt's matrix exponential has twelve digits, and ten steps carry that on",
        )
    return Case(
        method, f"geoopt-{space}" + ("-exp" if exact else ""), "geoopt", ours(method, space, steps, **mine),
        geoopt(kind, space, exact, steps, **options), rtol=float(digits), why=why,
        says=f"geoopt's {kind}{' with amsgrad' if options else ''}, {'exponential maps' if exact else 'retractions'},"
        f" on {SPACES[space][2]}, {steps} steps: {digits}.",
    )  # fmt: skip


def on_pymanopt(seed: int) -> tuple[Any, ...]:
    """Two points near each other and a tangent vector, for Grassmann (5, 2) and the ball."""
    rng = np.random.default_rng(seed)
    found = []
    for M, shape in ((refopt.manifold("grassmann"), (5, 2)), (refopt.manifold("poincare-ball"), (4,))):
        x = M.random(shape, rng)
        u = M.random_tangent(x, rng)
        found += [M, x, 0.4 * u / M.norm(x, u), M.random(shape, rng)]
    return tuple(found)


def maps(seed: int) -> Arrays:
    G, x, u, y, B, a, v, b = on_pymanopt(seed)
    e = G.exp(x, u)
    return {
        "grassmann exp": e @ e.T, "grassmann log": G.log(x, y), "grassmann dist": np.asarray(G.dist(x, y)),
        "grassmann gradient": G.gradient(x, y), "ball exp": B.exp(a, v), "ball log": B.log(a, b),
        "ball dist": np.asarray(B.dist(a, b)), "ball gradient": B.gradient(a, b), "ball norm": np.asarray(B.norm(a, v)),
    }  # fmt: skip


def pymanopt_maps(seed: int) -> Arrays:
    import pymanopt.manifolds as peer

    _, x, u, y, _, a, v, b = on_pymanopt(seed)
    G, B = peer.Grassmann(5, 2), peer.PoincareBall(4)
    e = G.exp(x, u)
    return {
        "grassmann exp": e @ e.T, "grassmann log": G.log(x, y), "grassmann dist": np.asarray(G.dist(x, y)),
        "grassmann gradient": G.euclidean_to_riemannian_gradient(x, y), "ball exp": B.exp(a, v), "ball log": B.log(a, b),
        "ball dist": np.asarray(B.dist(a, b)), "ball gradient": B.euclidean_to_riemannian_gradient(a, b),
        "ball norm": np.asarray(B.norm(a, v)),
    }  # fmt: skip


CASES = [
    *(case("riemannian-sgd", "RiemannianSGD", space) for space in SPACES),
    *(case("riemannian-sgd", "RiemannianSGD", space, True) for space in ("sphere", "poincare-ball")),
    *(case("riemannian-adam", "RiemannianAdam", space) for space in SPACES),
    *(case("riemannian-amsgrad", "RiemannianAdam", space, amsgrad=True) for space in SPACES),
    Case("riemannian-sgd", "pymanopt", "pymanopt", maps, pymanopt_maps, rtol=1e-11,
         why="pymanopt takes angles by arccos and inverses of x^T y",
         says="pymanopt's maps of Grassmann (5, 2) and of the ball: exp, log, dist, gradient, 1e-11."),
]  # fmt: skip

LINES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "riemannian-sgd": ("sgd", {}, {}),
    "riemannian-adam": ("adam", {"dialect": "geoopt", "eps": 1e-8}, {"eps": 1e-8}),
    "riemannian-amsgrad": ("amsgrad", {"beta2": 0.99}, {"beta2": 0.99, "rate_root": False}),
    "riemannian-adagrad": ("adagrad", {"eps": 0.1}, {"eps": 0.1, "eps_inside": False}),
}


@pytest.mark.identity("riemannian-sgd", "riemannian-adam", "riemannian-amsgrad", "riemannian-adagrad")
@pytest.mark.parametrize("name", LINES)
def test_on_lines(name: str) -> None:
    """With every entry a line of its own it is the Euclidean method, over 30 steps, to 1e-13."""
    other, mine, theirs = LINES[name]
    rate = lambda t: 0.1 / (1.0 + t)  # noqa: E731
    a, b = refopt.optimizer(name, lr=rate, **mine), refopt.optimizer(other, lr=rate, **theirs)
    x, gradients = stream(0, "random", steps=30)
    y, sx, sy = x, a.init(x), b.init(x)
    for g in gradients:
        x, sx = a.update(x, g, sx)
        y, sy = b.update(y, g, sy)
    for k in x:
        np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-13)


def written_out(
    name: str, M: Manifold, x: np.ndarray, gradient: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The paper's algorithms for one point, by a loop over a stack."""
    out = []
    for point in x:
        m, v, largest, total = np.zeros_like(point), 0.0, 0.0, 0.0
        for _ in range(12):
            g = M.gradient(point, gradient(point))
            if name == "riemannian-adagrad":
                total += float(M.inner(point, g, g))
                point = M.exp(point, -0.1 / np.sqrt(total) * g)
                continue
            m = 0.8 * m + 0.2 * g
            v = 0.9 * v + 0.1 * float(M.inner(point, g, g))
            largest = max(largest, v)
            under = largest if name == "riemannian-amsgrad" else v
            new = M.exp(point, -0.1 / np.sqrt(under) * m)
            m, point = M.transport(point, new, m), new
        out.append(point)
    return np.array(out)


@pytest.mark.identity("riemannian-adam", "riemannian-amsgrad", "riemannian-adagrad")
@pytest.mark.parametrize("space", ["sphere", "poincare-ball", "hyperboloid", "spd"])
@pytest.mark.parametrize("name", ["riemannian-adam", "riemannian-amsgrad", "riemannian-adagrad"])
def test_written_out(name: str, space: str) -> None:
    """The paper's algorithm for each point of a stack alone: one second moment a point, 12 steps, to 1e-12."""
    M = refopt.manifold(space)
    shape = (2, 3, 3) if space == "spd" else (3, 4)
    rng = np.random.default_rng(2)
    x, a = M.random(shape, rng), M.random(shape[1:], rng)
    options = {} if name == "riemannian-adagrad" else {"beta1": 0.8, "beta2": 0.9}
    o = refopt.optimizer(name, manifold=M, lr=0.1, **options)
    y, s = x, o.init(x)
    for _ in range(12):
        y, s = o.update(y, y - a, s)
    np.testing.assert_allclose(y, written_out(name, M, x, lambda p: p - a), rtol=0, atol=1e-12)


class Rayleigh:
    """``x^T A x / 2`` on the sphere, with known eigenvalues."""

    manifold = refopt.manifold("sphere")

    def __init__(self) -> None:
        q = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
        self.A, self.first = (q * [1.0, 2.0, 3.0, 4.0, 5.0]) @ q.T, q[:, 0]

    def start(self, seed: int = 0) -> np.ndarray:
        return self.manifold.random(5, seed)

    def grad(self, x: np.ndarray, batch: Any = None) -> np.ndarray:
        return self.A @ x


@pytest.mark.claim("riemannian-sgd")
def test_leading_eigenvector() -> None:
    """On the sphere it finds the eigenvector of the least eigenvalue, to 1e-12, at the rate of its gap.

    Near the end the error falls by 1 - lr (λ_2 - λ_1) a step.
    """
    p, gaps = Rayleigh(), []
    r = refopt.minimize(
        p, "riemannian-sgd", lr=0.25, steps=120,
        callback=lambda x: gaps.append(np.linalg.norm(x - p.first * np.sign(x @ p.first))),
    )  # fmt: skip
    assert gaps[-1] < 1e-12
    assert gaps[60] / gaps[59] == pytest.approx(0.75, rel=1e-3)
    assert abs(np.linalg.norm(r.x) - 1.0) < 1e-15


@pytest.mark.identity("riemannian-sgd")
def test_geodesic_of_frames() -> None:
    """A step on the Stiefel manifold is Edelman's formula with SciPy's exponential of a matrix, to 1e-13."""
    M = refopt.manifold("stiefel")
    x = M.random((5, 2), 0)
    g = np.random.default_rng(1).standard_normal((5, 2))
    u = -0.3 * (g - x @ (x.T @ g + g.T @ x) / 2)
    a, s, one = x.T @ u, u.T @ u, np.eye(2)
    turn = scipy.linalg.expm(np.block([[a, -s], [one, a]]))[:, :2]
    o = refopt.optimizer("riemannian-sgd", manifold=M, lr=0.3)
    y, _ = o.update(x, g, o.init(x))
    np.testing.assert_allclose(y, np.hstack([x, u]) @ turn @ scipy.linalg.expm(-a), rtol=0, atol=1e-13)


@pytest.mark.claim("riemannian-adagrad")
def test_first_step_is_the_rate() -> None:
    """On every manifold the first step's geodesic has the length of the rate, whatever the gradient, to 1e-12."""
    for space, shape in (("sphere", (3,)), ("spd", (2, 2)), ("hyperboloid", (4,)), ("grassmann", (4, 2))):
        M = refopt.manifold(space)
        x = M.random(shape, 0)
        for scale in (1e-3, 1.0, 1e6):
            o = refopt.optimizer("riemannian-adagrad", manifold=M, lr=0.3)
            g = scale * np.random.default_rng(1).standard_normal(shape)
            y, _ = o.update(x, g, o.init(x))
            assert float(M.dist(x, y)) == pytest.approx(0.3, rel=1e-11)
            o = refopt.optimizer("riemannian-adagrad", manifold=M, lr=0.3, by="retract")
            grad = M.gradient(x, g)
            np.testing.assert_allclose(
                o.update(x, g, o.init(x))[0], M.retract(x, -0.3 * grad / M.norm(x, grad)), rtol=0, atol=1e-13
            )


@pytest.mark.claim("riemannian-amsgrad")
def test_second_moments_never_fall() -> None:
    """The divisor never falls, and after a gradient 1e3 times the others steps stay small for good."""
    M = refopt.manifold("poincare-ball")
    o = refopt.optimizer("riemannian-amsgrad", manifold=M, lr=0.1, beta2=0.5)
    x, s, last, steps = np.zeros((1, 2)), None, 0.0, []
    s = o.init(x)
    for t in range(60):
        g = np.array([[1e3 if t == 5 else 1.0, 0.0]])
        before = x
        x, s = o.update(x, g * M.factor(x) ** 2 / M.factor(x), s)
        assert s["largest"][0, 0] >= last
        last = s["largest"][0, 0]
        steps.append(float(M.dist(before, x)[0]))
    assert max(steps[50:]) < 3e-4 < min(steps[:4])


@pytest.mark.claim("riemannian-adam")
def test_transport_keeps_the_length_of_the_moment() -> None:
    """Carried in parallel, the moment keeps its length: without new gradients it decays by β1 alone, to 1e-12."""
    for space, shape in (("sphere", (3,)), ("poincare-ball", (2,)), ("hyperboloid", (3,)), ("spd", (2, 2))):
        M = refopt.manifold(space)
        o = refopt.optimizer("riemannian-adam", manifold=M, lr=0.2)
        x = M.random(shape, 0)
        g = np.random.default_rng(1).standard_normal(shape)
        x, s = o.update(x, g, o.init(x))
        for _ in range(5):
            before = float(M.norm(x, s["m"]))
            x, s = o.update(x, 0.0 * g, s)
            assert float(M.norm(x, s["m"])) == pytest.approx(0.9 * before, rel=1e-12)


@pytest.mark.claim("poincare-tree", "riemannian-adam", "riemannian-sgd")
@pytest.mark.parametrize(("name", "lr"), [("riemannian-adam", 0.05), ("riemannian-sgd", 3.0)])
def test_tree(name: str, lr: float) -> None:
    """Embedded in the disc, a node is nearer to its ancestors than to what is unrelated, and leaves lie outermost."""
    p = refopt.problem("poincare-tree")
    r = refopt.minimize(p, name, lr=lr, steps=400)
    d = p._distances(r.x)[3]
    ranks = [np.mean(d[u][p.unrelated[u] > 0] > d[u, v]) for u, v in zip(*np.nonzero(p.related))]
    assert np.mean(ranks) > 0.97
    radii = np.linalg.norm(r.x, axis=1)
    assert radii[0] < radii[1:].min()
    assert r.fun < 0.5 * float(p.value(p.start()))


@pytest.mark.identity("riemannian-adam")
def test_products_and_bad_starts() -> None:
    """A dict of manifolds by name; a leaf without one is Euclidean; a start off the manifold is an error."""
    M = refopt.manifold("sphere")
    o = refopt.optimizer("riemannian-adam", manifold={"a": M}, lr=0.1)
    x = {"a": M.random(3), "b": np.ones(2)}
    x, s = o.update(x, {"a": np.ones(3), "b": np.array([1.0, 0.0])}, o.init(x))
    M.check(x["a"])
    assert x["b"][1] == 1.0 > x["b"][0]
    assert s["v"]["a"][0] == s["v"]["a"][1]
    with pytest.raises(refopt.errors.ArgumentError, match=r"x\['a'\].*Sphere"):
        o.init({"a": np.ones(3), "b": np.ones(2)})
    with pytest.raises(refopt.errors.ArgumentError, match=r"^x: is not on"):
        refopt.optimizer("riemannian-sgd", manifold=M).init(np.ones(3))
    with pytest.raises(refopt.errors.NonFiniteError, match="x"):
        refopt.optimizer("riemannian-sgd").init(np.array([np.nan]))
    with pytest.raises(refopt.errors.ArgumentTypeError, match="manifold"):
        refopt.optimizer("riemannian-sgd", manifold=3)
    with pytest.raises(refopt.errors.UnknownNameError, match="sphere"):
        refopt.optimizer("riemannian-sgd", manifold="spere")
