"""UPGrad, DualProj, the mean, and Jacobian descent."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import refopt
from scipy.optimize import minimize

from tests.methods.aggregating import Aggregate, descent, quadratics
from tests.parity.case import Arrays, Case


def ours(name: str, m: int):
    return lambda seed: {"x": descent(refopt.get(name), seed, m)}


def torchjd(name: str, m: int):
    def theirs(seed: int) -> Arrays:
        import torch
        import torchjd.aggregation as peer
        from torchjd.linalg import QuadprogProjector

        exact = {"projector": QuadprogProjector(norm_eps=0.0, reg_eps=0.0)}
        made = getattr(peer, name)(**({} if name == "Mean" else exact))
        return {"x": descent(lambda J: made(torch.asarray(J)).numpy(), seed, m)}

    return theirs


def case(name: str, peer: str, m: int) -> Case:
    return Case(
        name, "torchjd", "torchjd", ours(name, m), torchjd(peer, m), rtol=1e-12 if name == "mean" else 1e-11,
        why="" if name == "mean" else "quadprog solves with the Gramian, whose condition is the square of the rows'",
        says=f"torchjd's {peer} without regularisation, 30 steps on {m} quadratics: "
        + ("1e-12." if name == "mean" else "1e-11."),
    )  # fmt: skip


CASES = [case("upgrad", "UPGrad", 4), case("dualproj", "DualProj", 4), case("mean", "Mean", 4)]


def projected(J: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The nearest y to x with J y >= 0, by a general solver."""
    done = minimize(
        lambda y: np.sum((y - x) ** 2) / 2, np.zeros_like(x), jac=lambda y: y - x, method="SLSQP",
        constraints={"type": "ineq", "fun": lambda y: J @ y, "jac": lambda y: J}, options={"ftol": 1e-14},
    )  # fmt: skip
    return done.x


@pytest.mark.identity("upgrad", "dualproj", "mean")
def test_definition() -> None:
    """Projections onto {y : J y >= 0} by SLSQP in n unknowns, weighted by a preference, to 1e-6."""
    rng = np.random.default_rng(0)
    J, p = rng.standard_normal((4, 5)), np.array([0.5, 0.1, 0.3, 0.2])
    want = {
        "upgrad": sum(p[i] * projected(J, J[i]) for i in range(4)),
        "dualproj": projected(J, p @ J),
        "mean": p @ J,
    }
    assert np.min(J @ want["mean"]) < -0.1
    for name, d in want.items():
        np.testing.assert_allclose(refopt.get(name)(J, preference=p), d, rtol=0, atol=1e-6)


@pytest.mark.claim("upgrad")
def test_linear_under_scaling() -> None:
    """A(diag(c) J) is linear in positive c, to 1e-14."""
    rng = np.random.default_rng(1)
    J, c, e = rng.standard_normal((4, 5)), np.array([1.0, 20.0, 0.3, 4.0]), np.array([2.0, 0.1, 5.0, 1.0])
    A = refopt.get("upgrad")
    np.testing.assert_allclose(
        A((2 * c + 3 * e)[:, None] * J), 2 * A(c[:, None] * J) + 3 * A(e[:, None] * J), rtol=0, atol=1e-13
    )


@pytest.mark.identity("upgrad", "pcgrad")
def test_half_of_pcgrad() -> None:
    """Of two gradients, UPGrad is half of PCGrad, to 1e-14."""
    J = np.array([[1.0, 0.5, -0.3], [-2.0, 0.2, 0.1]])
    np.testing.assert_allclose(2 * refopt.get("upgrad")(J), refopt.get("pcgrad")(J), rtol=1e-14)


@pytest.mark.claim("dualproj")
def test_dualproj_is_a_projection() -> None:
    """Where the mean conflicts with nothing it stays; elsewhere the rest is across the result."""
    rng = np.random.default_rng(2)
    A = refopt.get("dualproj")
    J = np.abs(rng.standard_normal((3, 4)))
    np.testing.assert_allclose(A(J), np.mean(J, axis=0), rtol=1e-14)
    J = rng.standard_normal((4, 3))
    d, g = A(J), np.mean(J, axis=0)
    assert np.min(J @ g) < -0.01
    assert np.min(J @ d) > -1e-14
    assert abs((g - d) @ d) < 1e-14


@pytest.mark.claim("mean")
def test_mean_of_the_losses() -> None:
    """It is the gradient of the mean objective, to 1e-15; two opposite gradients conflict with it."""
    p = refopt.problem("two-quadratics")
    x = p.start()
    np.testing.assert_allclose(refopt.get("mean")(p.jacobian(x)), p.grad(x), rtol=1e-14)
    J = np.array([[1.0, 0.0], [-3.0, 0.0]])
    assert J[0] @ refopt.get("mean")(J) == -1.0


@pytest.mark.claim("jacobian-descent")
@pytest.mark.parametrize("name", ["upgrad", "mgda"])
def test_pareto_set(name: str) -> None:
    """UPGrad and MGDA lower both objectives at every step and end on the known Pareto set."""
    p = refopt.problem("two-quadratics")
    o = refopt.optimizer("jacobian-descent", aggregator=name, lr=0.3)
    seen: list[np.ndarray] = []
    r = refopt.minimize(p, o, steps=3000, tol=1e-8, callback=lambda x: seen.append(p.objectives(x)))
    assert r.status == "converged"
    assert np.max(np.diff(np.array(seen), axis=0)) <= 1e-15
    curve = np.array([p.pareto(s) for s in np.linspace(0, 1, 501)])
    assert np.min(np.linalg.norm(curve - r.x, axis=1)) < 1e-2


@pytest.mark.claim("jacobian-descent")
@pytest.mark.parametrize("name", ["upgrad", "mgda", "dualproj"])
def test_it_ends_pareto_stationary(name: str) -> None:
    """Three quadratics in six unknowns, with three non-conflicting aggregators, rates of 1/(L (1 + t/50)): at the end some convex weights cancel the
    gradients to 1e-2 of their lengths, as the theorem has it, with each objective below its start.
    """
    hessians, minima, start = quadratics(2, 3, 6)
    p = refopt.from_functions(
        lambda x: 0.0, objectives=lambda x: np.einsum("ij,ijk,ik->i", x - minima, hessians, x - minima) / 2,
        jacobian=lambda x: np.einsum("ijk,ik->ij", hessians, x - minima), x0=start,
    )  # fmt: skip
    L = float(max(np.linalg.eigvalsh(h)[-1] for h in hessians))
    r = refopt.minimize(
        p, "jacobian-descent", aggregator=name, lr=lambda t: 1.0 / (L * (1 + t / 50)), steps=1500
    )
    J = p.jacobian(r.x)
    assert np.linalg.norm(refopt.get("mgda")(J)) < 1e-2 * np.min(np.linalg.norm(J, axis=1))
    assert np.all(p.objectives(r.x) < p.objectives(start))


@pytest.mark.identity("jacobian-descent")
@pytest.mark.parametrize("base", ["adam", "nesterov"])
def test_mean_is_the_base(base: str) -> None:
    """With the mean for its aggregator it is the base on the mean objective, to 1e-13, for twice the price."""
    p = refopt.problem("two-quadratics")
    a = refopt.minimize(p, base, lr=0.05, steps=40)
    b = refopt.minimize(p, "jacobian-descent", aggregator="mean", base=base, lr=0.05, steps=40)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-13)
    assert dict(b.calls) == {"jacobian": 40}
    assert b.gradient_equivalents == 2 * a.gradient_equivalents == 80.0


class Named:
    """The two quadratics with a dict of two leaves."""

    def __init__(self) -> None:
        self.inner = refopt.problem("two-quadratics", n=5)

    def start(self, seed: int = 0):
        x = self.inner.start(seed)
        return {"a": x[:2].reshape(1, 2), "b": x[2:]}

    def whole(self, x):
        return np.concatenate([x["a"].ravel(), x["b"]])

    def objectives(self, x, batch=None):
        return self.inner.objectives(self.whole(x))

    def jacobian(self, x, batch=None):
        J = self.inner.jacobian(self.whole(x))
        return {"a": J[:, :2].reshape(2, 1, 2), "b": J[:, 2:]}


@pytest.mark.identity("jacobian-descent")
@pytest.mark.parametrize("name", ["upgrad", "pcgrad", "gradnorm", "bloop"])
def test_named_leaves(name: str) -> None:
    """A dict of leaves is aggregated as the one vector of all, stateful aggregators included, to 1e-13."""
    split, run = Named(), functools.partial(refopt.minimize, steps=20, lr=0.1, aggregator=name, tol=0.0)
    a, b = run(split, "jacobian-descent"), run(split.inner, "jacobian-descent")
    np.testing.assert_allclose(split.whole(a.x), b.x, rtol=1e-13)
    state = b.state["aggregator"]
    assert set(state) == {"gradnorm": {"weights", "first"}, "bloop": {"average"}}.get(name, set())


def test_a_stateful_aggregator_goes_on() -> None:
    """GradNorm's weights are those of a loop that hands the state on by itself."""
    p = refopt.problem("two-quadratics")
    gradnorm: Aggregate = functools.partial(refopt.get("gradnorm"), alpha=0.5)
    r = refopt.minimize(p, "jacobian-descent", aggregator=gradnorm, lr=0.1, steps=15)
    x, state = p.start(), None
    for _ in range(15):
        d, state = gradnorm(p.jacobian(x), state, losses=p.objectives(x))
        x = x - 0.1 * d
    np.testing.assert_allclose(r.x, x, rtol=1e-13)
    np.testing.assert_allclose(r.state["aggregator"]["weights"], state["weights"], rtol=1e-13)
    assert dict(r.calls) == {"objectives": 15, "jacobian": 15}
    assert r.gradient_equivalents == pytest.approx(15 * (2 + 2 / 3), rel=1e-14)


def test_what_is_not_finite_ends_the_run() -> None:
    """A rate that is too large: the run says that it diverged, and its answer is finite."""
    r = refopt.minimize(refopt.problem("two-quadratics"), "jacobian-descent", lr=1e30, steps=100)
    assert r.status == "diverged"
    assert np.all(np.isfinite(r.x))
    p = refopt.from_functions(
        lambda x: x[0], objectives=lambda x: x, jacobian=lambda x: np.full((2, 2), np.nan), x0=np.ones(2)
    )
    assert refopt.minimize(p, "jacobian-descent", steps=3).status == "diverged"


def test_a_tolerance_draws_nothing() -> None:
    """An aggregator that draws makes the same run with a tolerance that is checked before every step."""

    def drawn(J: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.random(2) @ J

    p = refopt.problem("two-quadratics")
    a, b = (
        refopt.minimize(p, "jacobian-descent", aggregator=drawn, lr=0.1, steps=10, tol=tol)
        for tol in (None, 0.0)
    )
    np.testing.assert_array_equal(a.x, b.x)


def test_bad_aggregators() -> None:
    with pytest.raises(refopt.errors.UnknownNameError, match="upgrad"):
        refopt.optimizer("jacobian-descent", aggregator="upgrda")
    with pytest.raises(refopt.errors.ArgumentTypeError, match="aggregator"):
        refopt.optimizer("jacobian-descent", aggregator=3)
    with pytest.raises(refopt.errors.CapabilityError, match="jacobian"):
        refopt.minimize(refopt.problem("quadratic"), "jacobian-descent")
