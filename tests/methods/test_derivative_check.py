"""The check catches what is wrong, in every capability and by both methods, and passes what is right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError, CapabilityError, NonFiniteError
from refopt.core.params import leaves, map_leaves
from refopt.core.problem import Layer, Rollouts, offered
from refopt.diagnostics.derivative_check import derivative_check
from refopt.diagnostics.directional import differences
from refopt.problems.adam_counterexample import AdamCounterexample
from refopt.problems.logistic import Logistic
from refopt.problems.mlp import MLP
from refopt.problems.tabular_policy import TabularPolicy

BATCH = np.array([4, 1, 30])


def network(l2: float = 0.0) -> MLP:
    return MLP((4,), loss="mse" if l2 == 0 else "cross-entropy", data="teacher", n_examples=40, l2=l2)


class Faulty:
    """A problem whose `capability` answers go through `fault`; with `real`, complex points are refused."""

    def __init__(self, inner: Any, capability: str, fault: Any, real: bool) -> None:
        self._inner, self._capability, self._fault, self._real = inner, capability, fault, real

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)
        if not callable(member) or name == "start":
            return member

        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
            if self._real and any(np.iscomplexobj(leaf) for leaf in leaves(x).values()):
                raise TypeError("real numbers only")
            if name == self._capability and self._fault == "lost batch":
                kwargs.pop("batch", None)
            result = member(x, *args, **kwargs)
            return spoil(name, result, self._fault) if name == self._capability else result

        return call


def spoil(name: str, result: Any, fault: str) -> Any:
    change = {
        "right": lambda a: a,
        "lost batch": lambda a: a,
        "sign": lambda a: -a,
        "factor": lambda a: 2 * a,
        "rows": lambda a: np.roll(a, 1, axis=0),
        "nan": lambda a: a * np.nan,
        # Two entries of the last leaf exchanged, which keeps every norm.
        "index": lambda a: a,
    }[fault]
    if name == "value_and_grad":
        return result[0], spoil("grad", result[1], fault)
    if name == "layers":
        return [
            Layer(r.weight, r.bias, r.inputs, spoil("example_grads", r.output_grads, fault)) for r in result
        ]
    if fault == "index":
        last = list(leaves(result))[-1]
        swap = lambda a: np.concatenate([a[..., 1:2], a[..., :1], a[..., 2:]], axis=-1)  # noqa: E731
        return {**result, last: swap(result[last])} if isinstance(result, dict) else swap(result)
    return map_leaves(change, result)


CAPABILITIES = (
    "grad", "value_and_grad", "hvp", "example_grads", "jvp", "vjp", "loss_gradient", "loss_hessian", "layers",
)  # fmt: skip
FAULTS = [(c, f) for c in CAPABILITIES for f in ("sign", "factor", "index")]
# Elsewhere than in these an answer for all examples has another shape, which raises.
FAULTS += [("example_grads", "rows")]
FAULTS += [(c, "lost batch") for c in ("grad", "value_and_grad", "hvp")]
# A number has no index.
FAULTS += [("directional", f) for f in ("sign", "factor", "lost batch")]


@pytest.mark.claim("derivative-check")
@pytest.mark.parametrize("real", [False, True], ids=["complex", "differences"])
@pytest.mark.parametrize(("capability", "fault"), FAULTS)
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_faults_are_caught(l2: float, capability: str, fault: str, real: bool) -> None:
    """A wrong sign, a factor 2, a shifted index and a lost batch are caught in every capability."""
    inner = network(l2)
    report = derivative_check(Faulty(inner, capability, fault, real), batch=BATCH)
    assert capability in report.failures
    assert not report.passed
    assert f"FAIL {capability}" in str(report)


@pytest.mark.parametrize("real", [False, True], ids=["complex", "differences"])
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_right_ones_pass(l2: float, real: bool) -> None:
    inner = network(l2)
    for batch in (None, BATCH):
        report = derivative_check(Faulty(inner, "grad", "right", real), batch=batch)
        assert report.passed, str(report)
        assert {c.capability for c in report.checks} == set(offered(inner)) - {"value", "residual", "slopes"}
        how = "differences" if real else "complex step"
        assert {report[c].how for c in ("grad", "hvp", "jvp", "loss_hessian")} <= {how, "complex step"}
        assert report["grad"].how == how
        assert report["grad"].error < (1e-8 if real else 1e-13)


@pytest.mark.claim("derivative-check")
def test_slopes() -> None:
    """The remainder of central differences falls with slope 3, of a wrong derivative with 1.

    R(h) = |F(x+h) - F(x-h) - 2h d| of exp: h^3 / 3 + ..., and 2h|d - F'| where d is wrong.
    """
    x, v = np.array([0.4]), np.array([1.0])
    right = np.exp(x)
    good = differences(np.exp, x, v, right, 1.0)
    assert good.passed
    assert good.slope == pytest.approx(3.0, abs=0.05)
    for wrong in (-right, 2 * right, right * (1 + 1e-5)):
        bad = differences(np.exp, x, v, wrong, 1.0)
        assert not bad.passed
        assert bad.slope == pytest.approx(1.0, abs=0.05)


class Absolute:
    """A kink at 0, and a claimed slope there."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def value(self, x: Any) -> Any:
        return np.sum(np.abs(x))

    def grad(self, x: Any) -> Any:
        return np.where(x == 0, self.slope, np.sign(x))


def test_kinks() -> None:
    """Any subgradient passes at the kink, nothing outside; beside it the slope is 1 and no other."""
    for slope, passes in ((0.0, True), (0.7, True), (-1.0, True), (1.5, False), (-2.0, False)):
        report = derivative_check(Absolute(slope), np.zeros(1))
        assert report.passed is passes, (slope, str(report))
    for want, passes in ((0.4, True), (1.5, False), (-1.5, False)):
        at_kink = differences(lambda a: np.sum(np.abs(a)), np.zeros(1), np.ones(1), np.asarray(want), 1.0)
        assert at_kink.passed is passes
    near = np.array([1e-5, -0.3])
    assert derivative_check(Absolute(0.0), near).passed
    assert derivative_check(Absolute(0.0), near)["grad"].how == "differences"  # |.| is not analytic


@pytest.mark.parametrize("real", [False, True], ids=["complex", "differences"])
def test_relu_at_ordinary_points_and_at_the_kink(real: bool) -> None:
    p = MLP((30,), "relu", data="teacher", n_examples=40)
    for seed in range(3):
        assert derivative_check(Faulty(p, "grad", "right", real), seed=seed).passed
    flat = map_leaves(np.zeros_like, p.start())  # every unit exactly at its kink
    flat["W2"] = p.start()["W2"]
    assert "grad" not in derivative_check(p, flat).failures


def test_a_minimum_is_no_fault() -> None:
    """At a solution the gradient is rounding, which must not be taken for an error."""
    p = MLP((4,), loss="mse", data="teacher")
    for problem in (p, Faulty(p, "grad", "right", True)):
        assert derivative_check(problem, p.solution).passed


def test_prox_and_project() -> None:
    class Shrunk(Logistic):
        def prox(self, x: Any, step: float) -> Any:
            return super().prox(x, 2 * step)

    assert derivative_check(Logistic(l1=0.1)).passed
    assert derivative_check(Shrunk(l1=0.1)).failures == ("prox",)

    class Tilted(Logistic):
        """Wrong along the entries that are not zero, and not by their common scale."""

        def prox(self, x: Any, step: float) -> Any:
            right = super().prox(x, step)
            tilt = np.zeros_like(right)
            first, second = np.flatnonzero(right)[:2]
            tilt[first], tilt[second] = right[second], -right[first]
            return right + 0.001 * tilt / np.linalg.norm(tilt)

    assert derivative_check(Tilted(l1=0.1)).failures == ("prox",)

    class Inside(AdamCounterexample):
        def project(self, x: Any) -> Any:
            return np.clip(x, -0.5, 0.5)

    class Open(AdamCounterexample):
        def project(self, x: Any) -> Any:
            return x / 2

    assert derivative_check(AdamCounterexample(), np.array([0.9])).passed
    assert derivative_check(Open()).failures == ("project",)
    assert derivative_check(Inside(), np.array([0.9])).passed  # it is the projection onto another set


def test_float32() -> None:
    p = network(0.1)
    x = {k: v.astype(np.float32) for k, v in p.start().items()}
    for problem in (p, Faulty(p, "grad", "right", True)):
        assert derivative_check(problem, x).passed
    assert derivative_check(Faulty(p, "grad", "factor", True), x).failures[0] == "grad"


def test_every_library(xp: Any, dtype: str) -> None:
    """Where x is not NumPy's, differences do; in float32 with its tolerance."""
    for problem in (network(), network(0.1), Logistic(l1=0.1, n_examples=50)):
        start = map_leaves(lambda a: a + 0.1, problem.start())
        x = map_leaves(lambda a: xp.asarray(a, dtype=getattr(xp, dtype)), start)
        assert derivative_check(problem, x).passed, str(derivative_check(problem, x))
        assert derivative_check(problem, x, batch=BATCH).passed
    wrong = Faulty(network(), "hvp", "factor", True)
    x = map_leaves(lambda a: xp.asarray(a, dtype=getattr(xp, dtype)), network().start())
    assert derivative_check(wrong, x).failures == ("hvp",)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_nan_is_a_failure(capability: str) -> None:
    report = derivative_check(Faulty(network(), capability, "nan", False))
    assert capability in report.failures
    assert report[capability].error == math.inf


def test_not_finite() -> None:
    class Broken:
        def value(self, x: Any) -> Any:
            return np.sum(x)

        def grad(self, x: Any) -> Any:
            return x * np.nan

    check = derivative_check(Broken(), np.ones(2))["grad"]
    assert (check.passed, check.error, check.note) == (False, math.inf, "not finite")


def test_bad_arguments() -> None:
    class Nothing:
        pass

    with pytest.raises(CapabilityError, match="needs grad"):
        derivative_check(Nothing(), np.ones(1))
    with pytest.raises(ArgumentError, match="x: give a point"):
        derivative_check(Absolute(0.0))
    with pytest.raises(NonFiniteError, match="x"):
        derivative_check(Absolute(0.0), np.array([np.inf]))
    with pytest.raises(ArgumentError, match="'hvp' was not checked"):
        derivative_check(Absolute(0.0), np.ones(1))["hvp"]


@pytest.mark.claim("derivative-check")
def test_faults_of_third_derivatives_and_trajectories() -> None:
    """A wrong sign or factor in a third derivative, in a trajectory's gradient or in its Hessian is caught."""
    inner = Logistic((np.arange(12.0).reshape(6, 2) % 5 - 2.0, [0, 1, 0, 1, 1, 0]))
    for fault in ("sign", "factor"):
        assert derivative_check(Faulty(inner, "third", fault, False)).failures == ("third",)
    policy = TabularPolicy(states=2, actions=2, horizon=2)
    assert derivative_check(policy).passed
    for turned in ("grads", "hvps"):

        class Wrong(TabularPolicy):
            def rollouts(self, x: Any, n: Any = None, rng: Any = None, turned: str = turned) -> Rollouts:
                right = super().rollouts(x, n, rng)
                if turned == "grads":
                    return Rollouts(right.weights, -right.grads, right.hvps)
                return Rollouts(right.weights, right.grads, lambda v: 2 * right.hvps(v))

        wrong = Wrong(states=2, actions=2, horizon=2)
        assert derivative_check(wrong).failures == ("rollouts",)


@pytest.mark.parametrize("fault", ["sign", "factor", "index", "right"])
def test_jacobians(fault: str) -> None:
    """A Jacobian with a wrong sign, a factor 2 or rows in another order is caught; the right one passes."""
    p = refopt.problem("two-quadratics")

    class Wrong:
        value, grad, objectives, start = p.value, p.grad, p.objectives, p.start

        def jacobian(self, x: Any) -> Any:
            J = p.jacobian(x)
            return {"sign": -J, "factor": 2 * J, "index": J[::-1], "right": J}[fault]

    assert derivative_check(Wrong()).failures == (() if fault == "right" else ("jacobian",))
