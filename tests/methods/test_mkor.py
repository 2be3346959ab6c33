"""MKOR against dense inverses, what its step keeps, and MKOR-H's switch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.wrappers.mkor import rank_one

from tests.alike import SMALL_MLP, steps_on
from tests.parity.case import Arrays, Case

PROBLEM = refopt.problem("mlp", **SMALL_MLP)


BASES: dict[str, dict[str, Any]] = {
    "sgd": {"base": "momentum", "lr": 0.05, "momentum": 0.8, "update_every": 1},
    "adam": {"base": "adam", "lr": 0.02, "update_every": 3, "clip": 0.4},
}


def official(seed: int) -> Arrays:
    """Runs of the code's form around two of torch's optimizers, the second with a clip that binds."""
    out = {}
    for label, given in BASES.items():
        rng = np.random.default_rng(seed)
        p = refopt.problem("mlp", widths=(4,), data=(rng.standard_normal((20, 5)), np.arange(20) % 3), l2=0.0)
        o = refopt.optimizer("mkor", dialect="official", **given)
        points = steps_on(p, o, 24, p.start(seed))
        out[label] = np.stack(
            [np.concatenate([x[k].ravel() for k in ("W1", "b1", "W2", "b2")]) for x, _ in points[1::2]]
        )
    return out


CASES = [
    Case("mkor", "official", "Mohammad-Mozaffari/mkor@3a0e3bb", official, None,
        says="The authors' code in float64 on a tanh network around torch's SGD with momentum and Adam (24 steps, refreshes every 1 and 3,"
        " its clipping at 100 and at 0.4), to 1e-12."),
]  # fmt: skip


def run(o: Any, steps: int) -> list[Any]:
    return steps_on(PROBLEM, o, steps)


@pytest.mark.identity("mkor", "mkor-h")
@pytest.mark.parametrize("name", ["mkor", "mkor-h"])
@pytest.mark.parametrize("exact", [True, False])
def test_written_out(exact: bool, name: str) -> None:
    """12 steps with momentum and refreshes every second step: with `exact` the factors are inverses of dense
    averages ``γ L + (1 - γ) s sᵀ``, otherwise the paper's formula with outer products, to 1e-10; so is MKOR-H that never switches.
    """
    never: dict[str, Any] = {"least_decrease": -np.inf} if name == "mkor-h" else {}
    gamma, lr, mu = 0.8, 0.1, 0.7
    base = refopt.optimizer("momentum", lr=lr, momentum=mu)
    o = refopt.optimizer(
        name, base=base, gamma=gamma, exact=exact, update_every=2, threshold=1.1, shrink=0.6, **never
    )
    y = PROBLEM.start(1)
    b = base.init(y)
    kept: dict[str, list[np.ndarray]] = {}
    for t, (x, _) in enumerate(run(o, 12), 1):
        g = dict(PROBLEM.grad(y))
        for layer in PROBLEM.layers(y, None):
            a = np.append(np.mean(layer.inputs, axis=0), 1.0)
            s = np.mean(layer.output_grads, axis=0)
            factors = kept.setdefault(layer.weight, [np.eye(a.size), np.eye(s.size)])
            if t % 2 == 1:
                for i, v in enumerate((a, s)):
                    P = factors[i]
                    if np.max(np.abs(P)) > 1.1:
                        P = 0.6 * P + 0.4 * np.eye(v.size)
                    if exact:
                        factors[i] = np.linalg.inv(gamma * np.linalg.inv(P) + (1 - gamma) * np.outer(v, v))
                    else:
                        below = gamma**2 * (1 + gamma * (1 - gamma) * v @ P @ v)
                        factors[i] = gamma * P + (1 - gamma) / below * P @ np.outer(v, v) @ P
            w = np.column_stack([g[layer.weight], g[layer.bias]])
            u = factors[1] @ w @ factors[0]
            u = u * np.linalg.norm(w) / np.linalg.norm(u)
            g[layer.weight], g[layer.bias] = u[:, :-1], u[:, -1]
        y, b = base.update(y, g, b)
        for k in y:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-10, atol=1e-12)


@pytest.mark.claim("mkor")
def test_the_length_of_the_gradient_stays() -> None:
    """A step of plain descent has the length η ‖∇‖ in every layer, as without MKOR, in another direction, to 1e-12."""
    x = PROBLEM.start(1)
    g = PROBLEM.grad(x)
    new, _ = run(refopt.optimizer("mkor", base="sgd", lr=0.1, gamma=0.5), 1)[0]
    for layer in PROBLEM.layers(x, None):
        pair = (layer.weight, layer.bias)
        moved = np.concatenate([(new[k] - x[k]).ravel() for k in pair])
        was = np.concatenate([g[k].ravel() for k in pair])
        np.testing.assert_allclose(np.linalg.norm(moved), 0.1 * np.linalg.norm(was), rtol=1e-12)
        assert -moved @ was < 0.999 * np.linalg.norm(moved) * np.linalg.norm(was)


@pytest.mark.claim("mkor")
@pytest.mark.parametrize("exact", [True, False])
def test_the_factors_stay_positive_definite(exact: bool) -> None:
    """From I the inverse stays symmetric to the bit and positive definite under updates by random vectors, 200 of Sherman-Morrison's,
    15 of the paper's, which grow.
    """
    rng = np.random.default_rng(0)
    P = np.eye(5)
    for _ in range(200 if exact else 15):
        P = rank_one(P, rng.standard_normal(5), 0.9, exact=exact)
        np.testing.assert_array_equal(P, P.T)
        assert np.linalg.eigvalsh(P)[0] > 0


@pytest.mark.claim("mkor")
def test_the_codes_factors_stay_between_zero_and_the_identity() -> None:
    """``summed``: 300 refreshes by vectors of sizes 0.1 to 10 keep every eigenvalue in (0, 1], so that no entry is above 1 and the code's
    reset at 2 is never due; by hand ``P⁻¹`` is ``(ζ P + (1 - ζ) I)⁻¹ + v vᵀ``, to 1e-10.
    """
    o: Any = refopt.optimizer("mkor", dialect="official", shrink=0.9)
    rng = np.random.default_rng(0)
    P = np.eye(5)
    for i in range(300):
        v, before = 10.0 ** (i % 3 - 1) * rng.standard_normal(5), P
        P = o._summed(P, v)
        eigenvalues = np.linalg.eigvalsh(P)
        assert eigenvalues[0] > 0.0
        assert eigenvalues[-1] <= 1.0 + 1e-14
        want = np.linalg.inv(0.9 * before + 0.1 * np.eye(5)) + np.outer(v, v)
        np.testing.assert_allclose(np.linalg.inv(P), want, rtol=1e-9, atol=1e-10)


@pytest.mark.identity("mkor")
def test_a_gradient_of_zero_stays() -> None:
    """A layer whose gradient is zero has none to be brought to its length, and keeps it."""
    x = PROBLEM.start(1)
    layers = PROBLEM.layers(x, None)
    inverses = {
        layer.weight: (np.eye(layer.inputs.shape[1] + 1), np.eye(layer.output_grads.shape[1]))
        for layer in layers
    }
    o: Any = refopt.optimizer("mkor")
    for v in o.preconditioned({k: 0.0 * v for k, v in x.items()}, layers, inverses).values():
        np.testing.assert_array_equal(v, 0.0 * v)


@pytest.mark.identity("mkor")
def test_factors_that_stay_are_the_base() -> None:
    """γ = 1 keeps both factors at I: Adam, to 1e-14."""
    points = run(refopt.optimizer("mkor", base="adam", lr=0.1, gamma=1.0), 5)
    adam = refopt.optimizer("adam", lr=0.1)
    y = PROBLEM.start(1)
    s = adam.init(y)
    for x, _ in points:
        y, s = adam.update(y, PROBLEM.grad(y), s)
        for k in y:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-13, atol=1e-14)


HYBRID: dict[str, Any] = {"base": "momentum", "lr": 0.3, "momentum": 0.8, "update_every": 2}


def same(a: list[Any], b: list[Any]) -> None:
    """Two runs are at the same points, to the bit."""
    for (x, _), (y, _) in zip(a, b, strict=True):
        for k in x:
            np.testing.assert_array_equal(x[k], y[k])


@pytest.mark.identity("mkor-h")
def test_a_switch_that_never_or_always_comes() -> None:
    """τ = -inf: MKOR, and τ = inf: the base method, both bit for bit over 25 steps; so is MKOR with τ = 0 where the loss falls throughout."""
    base = refopt.optimizer("momentum", lr=0.3, momentum=0.8)
    for tau, other in (
        (-np.inf, refopt.optimizer("mkor", **HYBRID)),
        (0.0, refopt.optimizer("mkor", **HYBRID)),
        (np.inf, base),
    ):
        o = refopt.optimizer("mkor-h", least_decrease=tau, window=2, **HYBRID)
        points = run(o, 25)
        same(points, run(other, 25))
        assert points[-1][1]["switched"] == (1 if tau == np.inf else 0)


@pytest.mark.identity("mkor-h")
@pytest.mark.parametrize("tau", [0.02, 0.03])
def test_the_switch_is_where_the_loss_has_flattened(tau: float) -> None:
    """Window of 3: the switch is at the first step whose two windows' mean losses, written out over all losses of the run, differ by no
    more than τ of the older a step. Before it the points are MKOR's, behind it the base method's from the state at the switch, to the bit.
    """
    o = refopt.optimizer("mkor-h", window=3, least_decrease=tau, **HYBRID)
    points = run(o, 40)
    starts = [PROBLEM.start(1), *(x for x, _ in points[:-1])]
    f = [float(PROBLEM.value(x)) for x in starts]
    falls = [
        (np.mean(f[t - 6 : t - 3]) - np.mean(f[t - 3 : t])) / 3 / abs(np.mean(f[t - 6 : t - 3]))
        for t in range(6, 41)
    ]
    first = 6 + next(i for i, fall in enumerate(falls) if fall <= tau)
    assert [s["switched"] for _, s in points] == [0] * (first - 1) + [first] * (41 - first)
    assert [s["t"] for _, s in points] == list(range(1, 41))
    assert 7 < first < 35
    before, after = points[: first - 1], points[first - 1 :]
    same(before, run(refopt.optimizer("mkor", **HYBRID), first - 1))
    x, s = before[-1]
    base, b = refopt.optimizer("momentum", lr=0.3, momentum=0.8), s["base"]
    for y, state in after:
        x, b = base.update(x, PROBLEM.grad(x), b)
        same([(x, None)], [(y, None)])
        assert state["inverses"] == {}
        assert state["losses"] == ()


@pytest.mark.claim("mkor-h")
def test_it_is_cheaper_where_the_advantage_is_gone() -> None:
    """The network's loss flattens, and descent with the gradient's own direction does better from there on: of 300 steps fewer than 250
    ask for the layers' factors, and the loss ends below 0.9 of MKOR's, which asks for them in all 300.
    """
    problem = refopt.problem("mlp", widths=(8,), seed=0)
    settings: dict[str, Any] = {"base": "sgd", "lr": 0.1, "steps": 300, "record_every": 300}
    whole = refopt.minimize(problem, "mkor", **settings)
    hybrid = refopt.minimize(problem, "mkor-h", least_decrease=2e-3, **settings)
    assert whole.calls["layers"] == 300
    assert hybrid.calls["layers"] == hybrid.state["switched"] - 1 < 250
    assert hybrid.calls["grad"] == 300
    assert hybrid.fun < 0.9 * whole.fun


@pytest.mark.claim("mkor-h")
def test_behind_the_switch_a_step_costs_what_the_bases_does() -> None:
    """Before it a step asks for layers, a gradient and the loss, and keeps d² numbers for each side of each layer; behind it it asks for a
    gradient, and keeps the base's moments, even where the loss falls fast again.
    """
    calls: list[dict[str, int]] = []
    oracle = Oracle(PROBLEM, 0)
    o = refopt.optimizer("mkor-h", window=1, least_decrease=1e6, **HYBRID)
    x = PROBLEM.start(1)
    s = o.init(x)
    sizes = []
    for t in range(1, 5):
        oracle.begin(t)
        before = dict(oracle.counts.calls)
        x, s = o.step(x, s, oracle)
        calls.append(
            {k: n - before.get(k, 0) for k, n in oracle.counts.calls.items() if n > before.get(k, 0)}
        )
        sizes.append(sum(P.size for pair in s["inverses"].values() for P in pair))
    assert [set(c) - {"value"} for c in calls] == [{"grad", "layers"}, {"grad"}, {"grad"}, {"grad"}]
    assert all(c["grad"] == 1 for c in calls)
    assert sizes == [sum(a.inputs.shape[1] ** 2 + 2 * a.inputs.shape[1] + 1 + a.output_grads.shape[1] ** 2
        for a in PROBLEM.layers(x, None)), 0, 0, 0]  # fmt: skip
    assert s["switched"] == 2


@pytest.mark.identity("mkor-h")
def test_a_loss_of_zero_has_no_rate() -> None:
    """By hand: two windows of losses at zero have fallen by nothing; one window tells nothing; and losses may be negative."""
    o: Any = refopt.optimizer("mkor-h", window=2)
    assert o.decrease((0.0,) * 4) == 0.0
    assert o.decrease((3.0, 2.0, 1.0)) == np.inf
    assert o.decrease((-1.0, -1.0, -2.0, -2.0)) == 0.5
    assert o.decrease((1.0, 3.0, 1.0, 2.0)) == 0.125
    assert o.needs == ("value", "grad", "layers")
    with pytest.raises(refopt.errors.ArgumentError, match="window"):
        refopt.optimizer("mkor-h", window=0)
