"""Every registered problem: same numbers in every library and dtype, inputs untouched, exact derivatives."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.arrays import to_numpy
from refopt.core.errors import MissingExtraError
from refopt.core.objective import objective
from refopt.core.params import leaves, map_leaves, norm, rebuild
from refopt.core.problem import offered
from refopt.diagnostics.derivative_check import derivative_check

# Beside every problem's defaults: variants, and defaults made smaller where they are large.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "adam-counterexample": [{"setting": "theorem-2", "C": 4.0, "start_at": 0.2}],
    "data-reweighting": [{"n": 9, "weights": "softmax", "noise": 0.0}],
    "ridge-hyperparameter": [{"blocks": 3, "single": True}],
    "logistic-hyperparameter": [{"n": 12, "single": True}],
    "merely-convex-lower": [{"n": 2, "constrained": True}],
    "rosenbrock": [{"n": 5, "lower": -1.0, "upper": [2.0, 3.0, 1.5, 2.0, 0.9]}],
    "fractional-regression": [
        {"denominator": "top-k", "k": 2, "l1": 0.1},
        {"denominator": "concave", "bound": 2.0},
    ],
    "kpca": [
        {"variant": "robust", "kernel": "laplace"},
        {"variant": "sparse", "norm": "entries", "kernel": "linear", "limit": 0.1},
    ],
    "checkered-regression": [{"planes": 1}, {"planes": 3}],
    "categorical-latent": [{"variables": 3, "categories": 2, "cubic": 1.0}],
    "quadratic": [{"spectrum": [3.0, -1.0, 0.5], "diagonal": True, "optimum": 2.0}],
    "ridge": [{"data": "digits", "l2": 0.0, "n_examples": 50}],
    "logistic": [{"data": "digits", "l2": 0.1, "l1": 0.01}],
    "softmax": [{"data": "breast-cancer", "l2": 0.1, "n_examples": 60}],
    "matrix-sensing": [
        {"n": 6, "rank": 2, "search_rank": 4, "scaling": "mean", "noise": 0.1},
        {"n": 6, "rank": 2, "operator": "identity"},
    ],
    "asymmetric-matrix-sensing": [{"n1": 5, "n2": 6, "rank": 2, "balance": 0.5, "scaling": "mean"}],
    "robust-matrix-sensing": [{"n": 6, "rank": 2, "outliers": 0.0}],
    "matrix-completion": [{"n1": 7, "n2": 8, "search_rank": 3, "init": "random", "noise": 0.1}],
    "mlp": [
        {
            "widths": (6, 5),
            "activation": activation,
            "loss": loss,
            "data": "teacher",
            "l2": l2,
            "n_examples": 40,
        }
        for activation, loss, l2 in (
            ("tanh", "mse", 0.0),
            ("relu", "mse", 0.1),
            ("gelu", "cross-entropy", 0.0),
            ("relu", "cross-entropy", 0.1),
        )
    ],
}
# Where the defaults are a large data set: the same on its first examples.
FEWER: dict[str, dict[str, Any]] = {
    "mlp": {"n_examples": 70, "widths": (4,)},
    "softmax": {"n_examples": 70},
    "data-reweighting": {"n": 20},
    "logistic-hyperparameter": {"n": 20},
}
BATCHLESS = (
    "penalty",
    "prox",
    "project",
    "constraint",
    "constraint_vjp",
    "constraint_hvp",
    "bounds",
    "fraction",
    "coordinate_slope",
    "coordinate_prox",
    "gram",
    "sample_grad",
)
UNCHECKED = {
    "value",
    "residual",
    "penalty",
    "objectives",
    "upper_value",
    "lower_value",
    "constraint",
    "bounds",
    "fraction",
    "coordinate_slope",
    "coordinate_prox",
    "gram",
    "term_weights",
    "sample_grad",
    "slopes",
}
LEVELS = (
    "upper_value",
    "upper_grad",
    "lower_value",
    "lower_grad",
    "lower_hvp",
    "lower_mixed",
    "upper_hvp",
    "upper_mixed",
)
CASES = [
    pytest.param(entry.name, keywords, id=f"{entry.name}-{i}")
    for entry in refopt.methods(kind="problem")
    for i, keywords in enumerate([FEWER.get(entry.name, {}), *VARIANTS.get(entry.name, [])])
]
problems = pytest.mark.parametrize(("name", "keywords"), CASES)
HAS_TORCH = importlib.util.find_spec("torch") is not None


def make(name: str, keywords: dict[str, Any]) -> Any:
    return refopt.get(name)(**keywords)


def point(problem: Any, seed: int = 0) -> Any:
    """Off the start, where derivatives may vanish by symmetry; feasible."""
    rng = np.random.default_rng(seed)
    x = map_leaves(lambda a: a + 0.3 * rng.standard_normal(a.shape), problem.start(seed))
    return problem.project(x) if hasattr(problem, "project") else x


def arguments(problem: Any, x: Any, batch: Any) -> dict[str, tuple[Any, ...]]:
    """What each capability is called with beside the batch; NumPy float64."""
    rng = np.random.default_rng(1)
    v = map_leaves(lambda a: rng.standard_normal(a.shape), x)
    u = rng.standard_normal(problem.residual(x, batch=batch).shape) if hasattr(problem, "residual") else None
    other = {
        "directional": (v,),
        "hvp": (v,),
        "third": (v,),
        "jvp": (v,),
        "vjp": (u,),
        "loss_hessian": (u,),
        "prox": (0.5,),
        "sample_grad": (v,),
        "coordinate_slope": (1,),
        "coordinate_prox": (1, 0.7, 2.0, 0.6),
    }
    if hasattr(problem, "lower_hvp"):
        other |= dict.fromkeys(LEVELS[4:], (v["lower"],))
    if hasattr(problem, "constraint"):
        u = rng.standard_normal(problem.constraint(x).shape)
        other |= {"constraint_vjp": (u,), "constraint_hvp": (u, v)}
    if hasattr(problem, "term_weights"):
        other["term_grad"] = (rng.random(problem.term_weights(x, batch).shape),)
    return {c: (x, *other.get(c, ())) for c in offered(problem) if c not in ("least_squares", "example_prox")}


def call(problem: Any, capability: str, args: tuple[Any, ...], batch: Any) -> list[Any]:
    """All arrays of the result, in one list."""
    keywords = {} if batch is None or capability in BATCHLESS else {"batch": batch}
    result = getattr(problem, capability)(*args, **keywords)
    if capability == "layers":
        return [a for layer in result for a in (layer.inputs, layer.output_grads)]
    if capability == "rollouts":
        return [result.weights, result.grads, result.hvps(args[0])]
    if capability == "bounds":
        return [leaf for side in result for leaf in leaves(side).values()]
    if capability in ("fraction", "coordinate_slope", "slopes"):
        return list(result)
    if capability == "value_and_grad":
        return [result[0], *leaves(result[1]).values()]
    return list(leaves(result).values())


def batch_of(problem: Any) -> np.ndarray | None:
    n = problem.n_examples
    return None if n is None else np.random.default_rng(2).integers(0, n, size=min(5, n))


def moved(tree: Any, xp: Any, dtype: Any) -> Any:
    if isinstance(tree, (int, float)):
        return tree
    return map_leaves(lambda a: xp.asarray(np.array(a), dtype=dtype), tree)


@problems
def test_libraries_agree(name: str, keywords: dict[str, Any], xp: Any) -> None:
    """Float64, full and batch: to 1e-12 of the largest entry, and the result stays in x's library."""
    problem = make(name, keywords)
    x = point(problem)
    for batch in {id(b): b for b in (None, batch_of(problem))}.values():
        for capability, args in arguments(problem, x, batch).items():
            want = call(problem, capability, args, batch)
            got = call(problem, capability, tuple(moved(a, xp, xp.float64) for a in args), batch)
            assert len(got) == len(want)
            for a, b in zip(got, want):
                assert type(a) is type(xp.zeros(1)) or (xp is np and isinstance(a, np.generic)), capability
                assert a.dtype == xp.float64
                scale = max(float(np.max(np.abs(b))), 1e-300)
                if capability == "directional":
                    scale = norm(problem.grad(x, batch=batch)) * norm(args[1])
                np.testing.assert_allclose(to_numpy(a), b, rtol=0, atol=1e-12 * scale, err_msg=capability)


@problems
def test_float32_stays(name: str, keywords: dict[str, Any], xp: Any) -> None:
    """Float32 in, float32 out, and close to float64 as far as float32 goes."""
    problem = make(name, keywords)
    x, batch = point(problem), batch_of(problem)
    for capability, args in arguments(problem, x, batch).items():
        rounded = tuple(moved(moved(a, np, np.float32), np, np.float64) for a in args)
        want = call(problem, capability, rounded, batch)
        got = call(problem, capability, tuple(moved(a, xp, xp.float32) for a in args), batch)
        for a, b in zip(got, want):
            assert a.dtype == xp.float32, capability
            scale = max(float(np.max(np.abs(b))), 1e-3)  # differences such as p - y cancel
            if capability == "directional":  # an inner product: what is summed may be far larger than the sum
                scale = norm(problem.grad(rounded[0], batch=batch)) * norm(rounded[1])
            np.testing.assert_allclose(to_numpy(a), b, rtol=0, atol=1e-4 * scale, err_msg=capability)


@problems
def test_inputs_are_not_modified(name: str, keywords: dict[str, Any]) -> None:
    """Read-only arrays pass, and calling twice gives the same bits."""
    problem = make(name, keywords)

    def locked(tree: Any) -> Any:
        if isinstance(tree, (int, float)):
            return tree
        out = {k: np.array(v) for k, v in leaves(tree).items()}
        for leaf in out.values():
            leaf.flags.writeable = False
        return rebuild(tree, out)

    x, batch = locked(point(problem)), batch_of(problem)
    for capability, args in arguments(problem, x, batch).items():
        args = tuple(map(locked, args))
        first, second = (call(problem, capability, args, batch) for _ in range(2))
        for a, b in zip(first, second):
            np.testing.assert_array_equal(a, b)
    fresh = problem.start(3)
    for name_, leaf in leaves(fresh).items():
        assert leaf.flags.writeable, "a start belongs to the caller"
        leaf += 1.0
        assert not np.array_equal(leaf, leaves(problem.start(3))[name_])


@problems
def test_inputs_of_other_libraries_are_not_modified(name: str, keywords: dict[str, Any], xp: Any) -> None:
    problem = make(name, keywords)
    x, batch = point(problem), batch_of(problem)
    for capability, args in arguments(problem, x, batch).items():
        there = tuple(moved(a, xp, xp.float64) for a in args)
        call(problem, capability, there, batch)
        for before, after in zip(args, there):
            if not isinstance(before, (int, float)):
                for key, leaf in leaves(after).items():
                    np.testing.assert_array_equal(to_numpy(leaf), leaves(before)[key])


@problems
def test_batches_average_to_the_whole(name: str, keywords: dict[str, Any]) -> None:
    """Means over a partition into unequal batches, weighted by size."""
    problem = make(name, keywords)
    if problem.n_examples is None or not getattr(problem, "additive", True):
        assert batch_of(problem) is None or problem.n_examples
        return
    x, n = point(problem), problem.n_examples
    order = np.random.default_rng(3).permutation(n)
    parts = [order[: n // 3], order[n // 3 :]]
    args = arguments(problem, x, None)
    for capability in ("value", "grad", "value_and_grad", "directional", "hvp", *LEVELS):
        if capability not in args:
            continue
        whole = call(problem, capability, args[capability], None)
        pieces = [call(problem, capability, args[capability], b) for b in parts]
        for i, want in enumerate(whole):
            got = sum(len(b) / n * piece[i] for b, piece in zip(parts, pieces))
            scale = max(float(np.max(np.abs(pieces[0][i]))), 1e-300)
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * scale)
    grad = "grad" if "grad" in args else "upper_grad"
    everything = call(problem, grad, args[grad], np.arange(n))
    for a, b in zip(everything, call(problem, grad, args[grad], None)):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 * max(float(np.max(np.abs(b))), 1e-300))


@pytest.mark.identity(
    "derivative-check", says="Every capability of every problem of the zoo passes, relu kinks included."
)
@pytest.mark.identity("mlp", "quadratic")
@problems
def test_derivatives(name: str, keywords: dict[str, Any]) -> None:
    """Complex steps match grad, hvp, jvp, vjp and the loss's derivatives to 1e-12."""
    problem = make(name, keywords)
    for batch in {id(b): b for b in (None, batch_of(problem))}.values():
        report = derivative_check(problem, point(problem), batch=batch)
        assert report.passed, str(report)
        checked = {c.capability for c in report.checks}
        assert checked == set(offered(problem)) - UNCHECKED
        for check in report.checks:
            assert check.how != "unchecked", check.capability
            if check.how == "complex step":
                assert check.error < 1e-12, str(report)
    assert derivative_check(problem).passed


@problems
def test_known_facts(name: str, keywords: dict[str, Any]) -> None:
    """A known solution is stationary and has the known value."""
    problem = make(name, keywords)
    if problem.solution is None:
        return
    if problem.optimum is not None:
        value = objective(problem, problem.solution)
        assert value == pytest.approx(problem.optimum, rel=1e-12, abs=1e-14)
        if hasattr(problem, "value"):
            assert float(problem.value(point(problem))) > problem.optimum
    if problem.strong_convexity and problem.lipschitz:
        x, y = point(problem), point(problem, 1)
        change = to_numpy(problem.grad(x)) - to_numpy(problem.grad(y))
        ratio = np.linalg.norm(change) / np.linalg.norm(x - y)
        assert problem.strong_convexity * (1 - 1e-12) <= ratio <= problem.lipschitz * (1 + 1e-12)


def test_classes_are_reached_from_the_package() -> None:
    for entry in refopt.methods(kind="problem"):
        assert getattr(refopt.problems, entry.obj.__name__) is entry.obj
    with pytest.raises(AttributeError):
        refopt.problems.Nothing  # noqa: B018


def test_scikit_learn_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it: one line that names the extra; arrays and the teacher still work."""
    from refopt.problems import data as module

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # makes its import fail
    monkeypatch.setitem(module.NAMED, "digits", module._digits.__wrapped__)
    with pytest.raises(MissingExtraError, match=r"refopt\[data\]"):
        module.load("digits")
    assert module.load(([[1.0]], [0]))[0].shape == (1, 1)
