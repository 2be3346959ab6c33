"""Every operation of the manifolds beside geoopt and pymanopt. Runs where they are installed: `make parity`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.manifolds.base import Manifold

Operation = Callable[..., Any]


def points(M: Manifold, shape: tuple[int, ...], seed: int) -> dict[str, np.ndarray]:
    """Two points, two tangent vectors at the first of lengths below one, and an ambient array."""
    rng = np.random.default_rng(seed)
    x, y, g = M.random(shape, rng), M.random(shape, rng), rng.standard_normal(shape)
    u, v = (M.random_tangent(x, rng) for _ in range(2))
    u, v = (0.6 * w / np.max(M.norm(x, w)) for w in (u, v))
    return {"x": x, "y": y, "u": u, "v": v, "g": g}


def held(mine: dict[str, Any], theirs: dict[str, Any], rtol: float = 1e-11, **loose: float) -> None:
    """Compare all operations by name, relative to the largest entry."""
    assert mine.keys() == theirs.keys()
    for name, want in theirs.items():
        want, got = np.asarray(want), np.asarray(mine[name])
        bound = loose.get(name, rtol) * max(1.0, float(np.max(np.abs(want))))
        np.testing.assert_allclose(np.reshape(got, want.shape), want, rtol=0, atol=bound, err_msg=name)


# Manifold of refopt, shape, geoopt's class and options, what geoopt has not or has otherwise.
GEOOPT: dict[str, tuple[Manifold, tuple[int, ...], str, dict[str, Any], set[str]]] = {
    "sphere": (refopt.manifold("sphere", carry="projection"), (3, 4), "SphereExact", {}, set()),
    "stiefel": (refopt.manifold("stiefel"), (2, 5, 2), "EuclideanStiefelExact", {}, {"log", "dist"}),
    # Of the canonical metric its proju and retr are not those of a tangent space: see the fact sheet's traps.
    "spd": (refopt.manifold("spd"), (2, 3, 3), "SymmetricPositiveDefinite", {}, set()),
    "poincare-ball": (refopt.manifold("poincare-ball", curvature=1.5), (3, 4), "PoincareBallExact", {"c": 1.5}, {"retract"}),
    "hyperboloid": (refopt.manifold("hyperboloid", curvature=0.5), (3, 4), "Lorentz", {"k": 2.0}, {"retract"}),
}  # fmt: skip


@pytest.mark.parametrize("name", GEOOPT)
@pytest.mark.parametrize("seed", range(4))
def test_geoopt(name: str, seed: int) -> None:
    """Inner products, norms, gradients, tangent and point projections, exp, log, distance, retraction and transport of five manifolds
    at curvatures of -1.5, -1/2 and as they are, to 1e-11 (SPD, whose matrix functions differ, 1e-9).
    """
    geoopt = pytest.importorskip("geoopt")
    torch = pytest.importorskip("torch")
    M, shape, kind, options, without = GEOOPT[name]
    peer = getattr(geoopt.manifolds, kind)(
        **{k: torch.tensor(v, dtype=torch.float64) for k, v in options.items()}
    )
    at = points(M, shape, seed)
    x, y, u, v, g = (at[k] for k in "xyuvg")
    X, Y, U, V, G = (torch.tensor(at[k]) for k in "xyuvg")
    mine: dict[str, Any] = {
        "inner": M.inner(x, u, v), "norm": M.norm(x, u), "gradient": M.gradient(x, g), "tangent": M.tangent(x, g),
        "exp": M.exp(x, u), "transport": M.transport(x, y, v), "project": M.project(0.7 * x + 0.1 * g),
    }  # fmt: skip
    # Without keepdim the ball's inner products of a stack come out as a matrix, in geoopt 0.5.1.
    theirs: dict[str, Any] = {
        "inner": peer.inner(X, U, V, keepdim=True), "norm": peer.inner(X, U, U, keepdim=True) ** 0.5,
        # On the hyperboloid it turns the sign of its argument's first column in place.
        "gradient": peer.egrad2rgrad(X, G.clone()), "tangent": peer.proju(X, G), "exp": peer.expmap(X, U),
        "transport": peer.transp(X, Y, V), "project": peer.projx(0.7 * X + 0.1 * G),
    }  # fmt: skip
    if "log" not in without:
        mine |= {"log": M.log(x, y), "dist": M.dist(x, y)}
        theirs |= {"log": peer.logmap(X, Y), "dist": peer.dist(X, Y)}
    if "retract" not in without:
        # The exact classes' retraction is their exponential map.
        plain = getattr(geoopt.manifolds, kind.removesuffix("Exact"))()
        mine["retract"], theirs["retract"] = M.retract(x, u), plain.retr(X, U)
    if name in ("poincare-ball", "spd"):
        # Its projections end a little inside of the ball, and clip eigenvalues at a bound of its own.
        mine.pop("project"), theirs.pop("project")
    held(mine, {k: w.numpy() for k, w in theirs.items()}, rtol=1e-9 if name == "spd" else 1e-11)


# Manifold of refopt, a point's shape, pymanopt's class and arguments.
PYMANOPT: dict[str, tuple[Manifold, tuple[int, ...], str, tuple[int, ...]]] = {
    "sphere": (refopt.manifold("sphere", carry="projection"), (5,), "Sphere", (5,)),
    "stiefel": (refopt.manifold("stiefel"), (5, 2), "Stiefel", (5, 2)),
    "grassmann": (refopt.manifold("grassmann"), (5, 2), "Grassmann", (5, 2)),
    "spd": (refopt.manifold("spd"), (3, 3), "SymmetricPositiveDefinite", (3,)),
    "poincare-ball": (refopt.manifold("poincare-ball"), (4,), "PoincareBall", (4,)),
    "euclidean": (refopt.manifold("euclidean"), (4,), "Euclidean", (4,)),
}


@pytest.mark.parametrize("name", PYMANOPT)
@pytest.mark.parametrize("seed", range(4))
def test_pymanopt(name: str, seed: int) -> None:
    """The same of six manifolds, points of Grassmann's as projectors: to 1e-11, distances and logarithms, which pymanopt takes by arccos
    or a Cholesky factor, to 1e-9.
    """
    peers = pytest.importorskip("pymanopt.manifolds")
    M, shape, kind, arguments = PYMANOPT[name]
    peer = getattr(peers, kind)(*arguments)
    at = points(M, shape, seed)
    x, y, u, v, g = (at[k] for k in "xyuvg")

    def point(z: np.ndarray) -> np.ndarray:
        return z @ z.T if name == "grassmann" else z

    mine: dict[str, Any] = {
        "inner": M.inner(x, u, v), "norm": M.norm(x, u), "gradient": M.gradient(x, g), "tangent": M.tangent(x, g),
        "exp": point(M.exp(x, u)), "retract": point(M.retract(x, u)),
    }  # fmt: skip
    theirs: dict[str, Any] = {
        "inner": peer.inner_product(x, u, v), "norm": peer.norm(x, u), "gradient": peer.euclidean_to_riemannian_gradient(x, g),
        "tangent": peer.projection(x, g), "exp": point(peer.exp(x, u)), "retract": point(peer.retraction(x, u)),
    }  # fmt: skip
    if name == "poincare-ball":
        # Its retraction is its exponential map, and it has no transport.
        theirs["retract"] = mine["retract"]
    if name != "stiefel":
        mine |= {"log": M.log(x, y), "dist": M.dist(x, y)}
        theirs |= {"log": peer.log(x, y), "dist": peer.dist(x, y)}
    if name in ("sphere", "stiefel", "euclidean"):
        # Of Grassmann's and of matrices its transport is not parallel, and here it is.
        mine["transport"], theirs["transport"] = M.transport(x, y, v), peer.transport(x, y, v)
    held(mine, theirs, log=1e-9, dist=1e-9)
