"""Everything that is registered, every operation of a manifold and every preconditioner has a comparison."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import refopt
import scipy.linalg
import scipy.optimize
from refopt.core import params
from refopt.core.errors import ArgumentError, UnknownNameError
from refopt.core.registry import KINDS, STEPPING
from refopt.verify import compare, diagnose
from refopt.verify.inputs.calls.kinds import FUNCTIONS, kind_of, parts
from refopt.verify.runs.functions import compared, own_answer, reference_of

NAMES = [
    *(m.name for m in refopt.methods() if m.kind in FUNCTIONS),
    *(p for p in parts() if p != "preconditioner.amg" or importlib.util.find_spec("pyamg")),
]


def test_every_kind_is_compared() -> None:
    assert {m.kind for m in refopt.methods()} <= {*STEPPING, *FUNCTIONS} < set(KINDS)


@pytest.mark.parametrize("name", NAMES)
def test_reference_is_held_to_itself(name: str) -> None:
    """The reference answers every call, agrees with itself, and does not where its answer is 1.001 times as large."""
    kind = kind_of(name)
    assert kind is not None
    reference = reference_of(name, kind)
    caught = 0
    for case in kind.cases(name, 0):
        own = own_answer(reference, kind, case, case.args)
        assert isinstance(own, np.ndarray), (case.name, own)
        error, allowed, problem = compared(reference, kind, case, own)
        assert not problem and error <= allowed < 0.5, (case.name, allowed)
        error, allowed, problem = compared(reference, kind, case, 1.001 * own)
        caught += bool(problem) or error > allowed
    assert caught


def _mgda(J: np.ndarray) -> np.ndarray:
    """The nearest point of the hull to zero: of every face's nearest point the nearest that is inside."""
    found = []
    for k in range(1, len(J) + 1):
        for rows in itertools.combinations(range(len(J)), k):
            face = J[list(rows)]
            steps = (face[1:] - face[0]).T
            away = np.linalg.lstsq(steps, -face[0], rcond=None)[0] if k > 1 else np.zeros(0)
            w = np.concatenate([[1.0 - away.sum()], away])
            if np.all(w >= 0):
                found.append(w @ face)
    return min(found, key=np.linalg.norm)


def _pcgrad(J: np.ndarray, order: Any = None) -> np.ndarray:
    out = np.zeros(J.shape[1])
    for i, row in enumerate(J):
        g = row.copy()
        for j in order[i] if order else range(len(J)):
            if j != i and g @ J[j] < 0:
                g = g - (g @ J[j]) / (J[j] @ J[j]) * J[j]
        out += g
    return out


def _cosine(t: int, steps: int, floor: float = 0.0) -> float:
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(t - 1, steps) / steps))


def _sphere_exp(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    n = np.linalg.norm(u, axis=-1, keepdims=True)
    return np.cos(n) * x + np.sin(n) * u / n


def _ball_distance(x: np.ndarray, y: np.ndarray, curvature: float = 1.0) -> np.ndarray:
    x, y = math.sqrt(curvature) * x, math.sqrt(curvature) * y
    gap = ((x - y) ** 2).sum(-1) / ((1 - (x**2).sum(-1)) * (1 - (y**2).sum(-1)))
    return np.arccosh(1 + 2 * gap) / math.sqrt(curvature)


def _empirical(problem: Any, x: Any) -> np.ndarray:
    rows = params.leaves(problem.example_grads(x))
    G = np.concatenate([v.reshape(v.shape[0], -1) for v in rows.values()], axis=1)
    return G.T @ G / len(G)


def _hessian_by_products(problem: Any, x: Any) -> np.ndarray:
    n = params.size(x)
    return np.stack([params.flatten(problem.hvp(x, params.unflatten(e, x))) for e in np.eye(n)], axis=1)


def _lanczos(problem: Any, x: Any, directions: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights by an orthonormal basis of the Krylov space, not by the recursion."""
    H, v = _hessian_by_products(problem, x), directions[0]
    K = [v / np.linalg.norm(v)]
    for _ in range(steps - 1):
        w = H @ K[-1]
        for _ in range(2):
            w = w - sum((q @ w) * q for q in K)
        K.append(w / np.linalg.norm(w))
    Q = np.stack(K, axis=1)
    nodes, vectors = np.linalg.eigh(Q.T @ H @ Q)
    return nodes, vectors[0] ** 2


def _rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
    return scipy.optimize.rosen(x), scipy.optimize.rosen_der(x)


def _logistic(x: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0.0, -labels * (inputs @ x))))


def _linear_program(a: np.ndarray, b: np.ndarray, C: np.ndarray) -> np.ndarray:
    n, m = C.shape
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    found = scipy.optimize.linprog(C.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]))
    return found.x.reshape(n, m)


RIGHT = [
    (_pcgrad, "pcgrad", {}),
    (_mgda, "mgda", {}),
    (_cosine, "cosine-decay", {}),
    (lambda t: 0.1 * _cosine(t, 50), "cosine-decay", {"steps": 50, "lr": 0.1}),
    (_sphere_exp, "sphere.exp", {}),
    (_ball_distance, "poincare-ball.dist", {}),
    (_empirical, "empirical-fisher", {}),
    (_hessian_by_products, "hessian", {}),
    (_lanczos, "lanczos-quadrature", {}),
    (_rosenbrock, "rosenbrock", {}),
    (_logistic, "logistic", {}),
    (lambda A, r: r / np.diag(A), "preconditioner.jacobi", {}),
    (lambda problem, x, v: (v @ problem.hvp(x, v) / (v @ v), problem.grad(x) @ v / np.linalg.norm(v)),
     "directional-sharpness", {}),
    (lambda A, b: np.linalg.solve(A, b), "iterative-sketching", {}),
    (lambda H, noise, power=1.0: _receiver(H, noise, power), "mmse-cg", {}),
    (_linear_program, "exact-ot", {}),
    (lambda A: scipy.linalg.logm(A), "spd-log", {}),
]  # fmt: skip


def _receiver(H: np.ndarray, noise: float, power: float) -> np.ndarray:
    """Regularised zero forcing by the right inverse, of equal priorities and powers."""
    K = len(H)
    W = H.conj().T @ np.linalg.inv(H @ H.conj().T + K * noise / power * np.eye(K))
    return math.sqrt(power / K) * W / np.linalg.norm(W, axis=0)


@pytest.mark.parametrize(("mine", "name", "options"), RIGHT, ids=[name for _, name, _ in RIGHT])
def test_right_implementations(mine: Any, name: str, options: dict[str, Any]) -> None:
    report = compare(mine, name, **options)
    assert report.agrees, str(report)


WRONG = [
    (lambda J: _pcgrad(J) / len(J), "pcgrad", "averaged"),
    (lambda J: J.mean(0), "mgda", "plain-mean"),
    (lambda t, steps: _cosine(t + 1, steps), "cosine-decay", "one-step-ahead"),
    (lambda x, u: (x + u) / np.linalg.norm(x + u, axis=-1, keepdims=True), "sphere.exp", "retraction"),
    (lambda x, y: -_ball_distance(x, y), "poincare-ball.dist", "negated"),
    (lambda p, x: p.n_examples * _empirical(p, x),
     "empirical-fisher", "summed-over-examples"),
    (_empirical, "fisher", "empirical-fisher-in-its-place"),
    (lambda x: (_rosenbrock(x)[0], -_rosenbrock(x)[1]), "rosenbrock", "gradient-negated"),
    (lambda A, r: np.diag(A) * r, "preconditioner.jacobi", "not-inverted"),
    (lambda problem, x: True, "derivative-check", "always-passed"),
    (lambda x, y, reg, tol=1e-12: 2 * refopt.get("sinkhorn-divergence")(x, y, reg, tol=tol).value,
     "sinkhorn-divergence", "doubled"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mine", "name", "fault"), WRONG, ids=[f"{name}-{fault}" for _, name, fault in WRONG]
)
def test_faults_of_every_kind(mine: Any, name: str, fault: str) -> None:
    assert not compare(mine, name).agrees
    found = diagnose(mine, name)
    assert found.explained_by == (fault,), str(found)


def test_dialects_of_functions() -> None:
    """The dialect that agrees is named in the first line, and may be asked for."""
    report = compare(lambda t: 0.9 ** (t - 1), "exponential-decay", rate=0.9)
    assert not report.agrees and report.agrees_in == "torch"
    assert "agrees with exponential-decay in the dialect 'torch', and differs" in str(report)
    assert compare(lambda t: 0.9 ** (t - 1), "exponential-decay", dialect="torch", rate=0.9).agrees
    with pytest.raises(UnknownNameError, match="no dialect 'torchh'"):
        compare(lambda t: 0.9**t, "exponential-decay", dialect="torchh", rate=0.9)


def test_an_edit_beside_a_convention() -> None:
    """A schedule that counts from zero and falls to half of the way: both are told."""
    found = diagnose(
        lambda t, steps: 0.5 * (1 + math.cos(math.pi / 2 * min(t, steps) / steps)), "cosine-decay"
    )
    assert found.explained_by[0] == "one-step-ahead" and len(found.explained_by) == 2, str(found)


def test_what_cannot_be_given_is_asked_for() -> None:
    with pytest.raises(
        ArgumentError, match=r"takes none of steps, floor; say what it was made with.*steps=..."
    ):
        compare(lambda t: 1.0 / t, "cosine-decay")


def test_what_a_curvature_draws_or_damps_is_asked_for() -> None:
    """Another damping or other directions are no fault: who does not take them is told to, and not called wrong."""
    for name in ("m-fac-static", "closed-form-fit", "lie-group-fit"):
        with pytest.raises(ArgumentError, match=r"takes none of (damp|directions)"):
            compare(_hessian_by_products, name)


def test_a_reference_that_always_refuses_agrees_with_nobody() -> None:
    def raises(A: np.ndarray) -> np.ndarray:
        raise ValueError

    with pytest.raises(ArgumentError, match="p: wanted at least 1"):
        compare(raises, "inverse-pth-root", p=-1)


def test_unknown_parts() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'sphere.exp'"):
        compare(_sphere_exp, "sphere.exps")


def test_on_the_command_line(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Functions are told as JSON too; --steps is a schedule's own; a plot of errors by step is refused."""
    from refopt.cli import main

    mine = tmp_path / "mine.py"
    mine.write_text(
        "import math\ndef f(t, steps): return 0.5 * (1 + math.cos(math.pi * min(t, steps) / steps))\n"
    )
    assert main(["verify", f"{mine}:f", "cosine-decay", "--steps", "50", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["explained_by"] == ["one-step-ahead"] and list(told["cases"]) == ["as stated"]
    assert main(["verify", f"{mine}:f", "cosine-decay", "--plot", str(tmp_path / "x.png")]) == 2
    assert "call by call" in capsys.readouterr().err
