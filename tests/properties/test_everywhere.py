"""Every registered optimizer and wrapper, on every namespace, dtype, form of parameters and engine."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import warnings
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.arrays import to_numpy
from refopt.core.build import problems_with
from refopt.core.method import Elementwise, LeafRule, Method
from refopt.core.oracle import Oracle
from refopt.core.params import leaves, map_leaves
from refopt.core.registry import Entry
from refopt.core.sampling import Sampler
from refopt.optimizers.common.decay import Decay

from tests.streams import stream

METHODS = [m for kind in ("optimizer", "wrapper", "estimator", "bilevel") for m in refopt.methods(kind)]
NAMES = [m.name for m in METHODS]
ELEMENTWISE = [m.name for m in METHODS if isinstance(m.obj, type) and issubclass(m.obj, Elementwise)]
GRADIENT_ONLY = [
    m.name
    for m in METHODS
    if isinstance(m.obj, type) and issubclass(m.obj, LeafRule) and m.obj.given == ("g",)
]
UPDATING = [
    m.name
    for m in METHODS
    if m.kind in ("optimizer", "wrapper")
    and not hasattr(refopt.optimizer(m.name), "base")
    and type(refopt.optimizer(m.name)).update is not Method.update
]
STEPS = 40
# Gravity draws a velocity before the first step.
MOVING = {"gravity"}
# Where x moves without a gradient for other reasons than decay: AdamP decays a weight that is free of scale by
# less, INNA has a second variable, MADGRAD goes a part of the way to a point, SOAP's and its kin's first calls make no step, SaRA
# moves small entries alone, and the spectral sphere has a norm of its own.
OTHERWISE = {
    "adamp",
    "inna",
    "innaprop",
    "kl-shampoo",
    "kl-soap",
    "madgrad",
    "sara",
    "soap",
    "spectral-sphere",
}
# Fromage divides a leaf by the root of 1 + η² in every step.
SHRINKING = {"fromage"}
STANDING = [n for n in GRADIENT_ONLY if n not in MOVING | SHRINKING]

# What a problem is asked to be small enough for the steps of the dearest method.
SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"widths": (5,), "data": (np.random.default_rng(4).standard_normal((70, 9)), np.arange(70) % 4)},
    "quadratic": {"n": 12},
    "matrix-sensing": {"n": 6, "rank": 2},
}
PREFERRED = ("mlp", "matrix-sensing", "logistic", "quadratic")
# Prodigy's own rate makes the MLP chaotic: rounding grows 1e7 times in a hundred steps of the digits.
# Conda's singular vectors turn far where two singular values come near each other, as on the small MLP.
INSTEAD = {"prodigy": "logistic", "conda": "matrix-sensing"}


def _problem(method: Entry) -> Any:
    """A zoo problem that offers what the method needs, as rich as possible."""
    if "calm_problem" in method.extra:
        # The method's dynamics amplify rounding on the richest problem: a name and its arguments.
        name, arguments = method.extra["calm_problem"]
        return refopt.problem(name, **arguments)
    having = problems_with(refopt.optimizer(method.name).needs)
    name = INSTEAD.get(method.name) or next(n for n in (*PREFERRED, *having) if n in having)
    return refopt.problem(name, **SMALL.get(name, {}))


def _to(xp: Any, x: Any, dtype: str = "float64") -> Any:
    def one(leaf: np.ndarray) -> Any:
        return xp.asarray(leaf.astype(dtype))

    return {k: one(v) for k, v in x.items()} if isinstance(x, dict) else one(x)


def _flat(x: Any) -> np.ndarray:
    return np.concatenate([to_numpy(v).ravel() for v in leaves(x).values()])


def _run(name: str, problem: Any, x0: Any, steps: int = STEPS, **kwargs: Any) -> Any:
    batch = {"batch_size": 64} if (getattr(problem, "n_examples", None) or 0) > 64 else {}
    return refopt.minimize(problem, name, x0, steps=steps, record_every=steps, seed=3, **batch, **kwargs)


@pytest.fixture(scope="module")
def numpy_runs() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_namespaces_agree(method: Entry, xp: Any, numpy_runs: dict[str, Any]) -> None:
    """40 steps in float64 give the same trajectory in every library, to rtol 1e-12."""
    problem = _problem(method)
    x0 = problem.start(1)
    if method.name not in numpy_runs:
        numpy_runs[method.name] = _run(method.name, problem, x0)
    want = numpy_runs[method.name]
    got = _run(method.name, problem, _to(xp, x0))
    assert got.status == want.status
    a, b = _flat(got.x), _flat(want.x)
    # Summation order differs between libraries, and the steps carry that on.
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * np.max(np.abs(b)))
    assert type(next(iter(leaves(got.x).values()))) is type(next(iter(leaves(_to(xp, x0)).values())))


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_float32_stays(method: Entry, xp: Any) -> None:
    """float32 in, float32 out, and near the float64 run for a few steps."""
    problem = _problem(method)
    x0 = problem.start(1)
    got = _run(method.name, problem, _to(xp, x0, "float32"), steps=3)
    want = _run(method.name, problem, x0, steps=3)
    assert all(v.dtype == xp.float32 for v in leaves(got.x).values())
    for key, value in got.state.items():
        for leaf in leaves(value).values():
            if hasattr(leaf, "dtype"):
                assert leaf.dtype == xp.float32, key
    a, b = _flat(got.x).astype(np.float64), _flat(want.x)
    assert np.max(np.abs(a - b)) <= 1e-3 * max(1.0, np.max(np.abs(b)))


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_inputs_are_not_changed(method: Entry) -> None:
    """Read-only parameters and states are taken, and nothing of them is written to."""

    def freeze(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        elif isinstance(value, dict):
            for v in value.values():
                freeze(v)
        elif isinstance(value, (list, tuple)):
            for v in value:
                freeze(v)
        return value

    problem = _problem(method)
    o = refopt.optimizer(method.name)
    x = freeze(problem.start(1))
    s = freeze(o.init(x))
    n = getattr(problem, "n_examples", None) or 0
    oracle = Oracle(problem, 0, Sampler(n, 64, "shuffle", 0) if n > 64 else None)
    for t in range(1, 4):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        freeze(x)
        freeze(dict(s))
        assert s["t"] == t


@pytest.mark.parametrize("name", GRADIENT_ONLY)
def test_array_or_dict(name: str) -> None:
    """A single array and a dict of one array give the same run."""
    x, gradients = stream(0, "random", steps=5, shapes={"w": (3, 4)})
    o = refopt.optimizer(name)
    s_dict, s_array, as_array = o.init(x), o.init(x["w"]), x["w"]
    for g in gradients:
        x, s_dict = o.update(x, g, s_dict)
        as_array, s_array = o.update(as_array, g["w"], s_array)
    np.testing.assert_array_equal(x["w"], as_array)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_numba_engine(name: str, dtype: str) -> None:
    """The fused loop gives NumPy's bits in float64, and a few ulp in float32; donated or not."""
    pytest.importorskip("numba")
    plain, fused = refopt.optimizer(name), refopt.optimizer(name, engine="numba")
    if plain.given != ("g",):
        pytest.skip("needs more than gradients; test_numba_engine_in_minimize runs it")
    x, gradients = stream(1, "ill", steps=30)
    x = {k: v.astype(dtype) for k, v in x.items()}
    y, z = x, {k: v.copy() for k, v in x.items()}
    sx, sy, sz = plain.init(x), fused.init(y), fused.init(z)
    for g64 in gradients:
        g = {k: v.astype(dtype) for k, v in g64.items()}
        x, sx = plain.update(x, g, sx)
        y, sy = fused.update(y, g, sy)
        z, sz = fused.update(z, g, sz, donate=True)
    exact = dtype == "float64" and not _uses_library_functions(name)
    for k in x:
        np.testing.assert_array_equal(y[k], z[k])
        if exact:
            np.testing.assert_array_equal(x[k], y[k])
        else:
            scale = np.max(np.abs(x[k]))
            assert np.max(np.abs(x[k] - y[k])) <= 64 * np.finfo(dtype).eps * scale


def _uses_library_functions(name: str) -> bool:
    """exp, log, tanh, atan2, cbrt and powers come from different libraries in NumPy and in Numba."""
    rule = refopt.optimizer(name).rule(np)
    names = set(rule.__code__.co_names)
    return bool(
        names & {"exp", "log", "tanh", "atan2", "cbrt", "pow", "expm1", "log1p"}
    ) or "**" in inspect.getsource(rule)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_numba_engine_in_minimize(name: str) -> None:
    """`minimize` gives the same run with engine='numba', from the same seed."""
    pytest.importorskip("numba")
    problem = _problem(next(m for m in METHODS if m.name == name))
    a = _run(name, problem, problem.start(1), steps=10)
    b = _run(name, problem, problem.start(1), steps=10, engine="numba")
    np.testing.assert_allclose(_flat(a.x), _flat(b.x), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_rule_takes_what_there_is(name: str) -> None:
    """No whole literal (in a compiled loop it would widen float32), and no number that the rule does not take."""
    o = refopt.optimizer(name)
    rule = o.rule(np)
    whole = [c for c in rule.__code__.co_consts if isinstance(c, int) and not isinstance(c, bool)]
    assert not whole, f"{name}: write {whole} as floats"
    carried = o.carry(3, {"t": 2, **o.start_numbers()})
    unused = set(o.scalars(3, {**o.start_numbers(), **carried})) - set(inspect.signature(rule).parameters)
    assert not unused, f"{name}: the rule has no parameter for {sorted(unused)} of scalars"


@pytest.mark.parametrize("eps", [0.0, 1e-50])
@pytest.mark.parametrize("name", STANDING)
def test_no_gradient_no_move(name: str, eps: float) -> None:
    """Without eps, or with one that rounds to zero, a zero gradient moves nothing and makes no NaN.

    The house rule for 0/0: such a coordinate stands still. All coordinates here; for an elementwise rule
    also one beside others that move.
    """
    cls = type(refopt.optimizer(name))
    tiny = {
        f.name: eps
        for f in dataclasses.fields(cls)
        if f.name.startswith("eps") and str(f.metadata.get("allowed")).startswith(("[0", "(0"))
    }
    tiny = {
        k: v for k, v in tiny.items() if v or str(cls.__dataclass_fields__[k].metadata["allowed"])[0] == "["
    }
    still = {
        k: v
        for k, v in (("weight_decay", 0.0), ("norm_loss", 0.0), ("constrained", False))
        if k in cls.__dataclass_fields__
    }
    o = refopt.optimizer(name, **tiny, **still)
    x = np.linspace(-1.0, 1.0, 12, dtype=np.float32).reshape(4, 3)
    g = np.linspace(-3.0, 1.5, 12, dtype=np.float32).reshape(4, 3)
    g[1, 1] = 0.0
    for gradient in (0.0 * g, g) if name in ELEMENTWISE else (0.0 * g,):
        y, s = x, o.init(x)
        for _ in range(4):
            y, s = o.update(y, gradient, s)
        assert np.all(np.isfinite(y))
        # MADGRAD computes x anew from x_0, as (1 - c) x + c x_0: to the rounding of four such sums.
        rtol = 4 * np.finfo(np.float32).eps if name == "madgrad" else 0.0
        np.testing.assert_allclose(y[gradient == 0.0], x[gradient == 0.0], rtol=rtol, atol=0.0)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_resume_gives_the_same_bits(method: Entry, tmp_path: Any) -> None:
    """A run that is cut and resumed from its checkpoint equals the run that was not."""
    problem = _problem(method)
    x0 = problem.start(2)
    whole = _run(method.name, problem, x0, steps=12)
    path = tmp_path / "run.ckpt"
    _run(method.name, problem, x0, steps=7, checkpoint=path)
    rest = _run(method.name, problem, x0, steps=12, checkpoint=path, resume=True)
    np.testing.assert_array_equal(_flat(whole.x), _flat(rest.x))
    assert whole.calls == rest.calls


def _arrays(value: Any) -> list[np.ndarray]:
    """All arrays inside a state."""
    if isinstance(value, dict):
        return [a for v in value.values() for a in _arrays(v)]
    if isinstance(value, (tuple, list)):
        return [a for v in value for a in _arrays(v)]
    return [value] if isinstance(value, np.ndarray) else []


@pytest.mark.parametrize("name", GRADIENT_ONLY)
def test_nothing_is_shared_with_what_was_given(name: str) -> None:
    """Neither the state nor the new point has memory of the start, the point or the gradient."""
    o = refopt.optimizer(name)
    x, gradients = stream(5, "random", steps=3)
    s = o.init(x)
    assert not any(np.shares_memory(a, b) for a in _arrays(s) for b in _arrays(x))
    for g in gradients:
        y, s = o.update(x, g, s)
        given = [*_arrays(x), *_arrays(g)]
        assert not any(np.shares_memory(a, b) for a in [*_arrays(y), *_arrays(s)] for b in given)
        x = y


@pytest.mark.parametrize("name", GRADIENT_ONLY)
def test_a_state_of_something_else_is_refused(name: str) -> None:
    """Another method's state, none, a broken counter, another dtype: a typed error, and never another answer."""
    o = refopt.optimizer(name)
    x = np.linspace(-1.0, 1.0, 6).reshape(2, 3)
    good = o.init(x)
    wrong: list[Any] = [None, {}, [], 3, {**good, "t": -5}, {**good, "t": "0"}, {**good, "t": None}]
    wrong += [{k: v for k, v in good.items() if k != slot} for slot in o.active_slots()]
    for s in wrong:
        with pytest.raises(refopt.errors.RefoptError, match="s: wanted a state of"):
            o.update(x, x, s)
    single = x.astype(np.float32)
    with warnings.catch_warnings(), contextlib.suppress(refopt.errors.RefoptError):
        warnings.simplefilter("error")
        assert o.update(single, single, good)[0].dtype == np.float32


@pytest.mark.parametrize("engine", ["array", "numba"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_state_of_another_shape_is_refused(name: str, engine: str) -> None:
    """As many numbers in another shape are no state either, whoever runs the rule."""
    o = refopt.optimizer(name, engine=engine)
    x = np.linspace(-1.0, 1.0, 6).reshape(2, 3)
    if not o.active_slots() or o.given != ("g",):
        pytest.skip("it has no slots, or its step asks for more than a gradient")
    with pytest.raises(refopt.errors.ShapeError):
        o.update(x.T.copy(), x.T.copy(), o.init(x))


def _with(name: str, *wanted: str) -> bool:
    """Tell whether a method has the hyperparameters."""
    return set(wanted) <= set(type(refopt.optimizer(name)).__dataclass_fields__)


RATED = [n for n in UPDATING if _with(n, "lr") and n not in MOVING]
DECAYING = [n for n in UPDATING if issubclass(type(refopt.optimizer(n)), Decay)]


def _steps(o: Any, change: Any = None, n: int = 5) -> np.ndarray:
    """x after some steps, an odd number so that a sign shows, on the same gradients, each changed by ``change(g, x)``."""
    x, gradients = stream(6, "random", steps=n, shapes={"w": (4, 3)})
    s = o.init(x)
    for g in gradients:
        x, s = o.update(x, g if change is None else {"w": change(g["w"], x["w"])}, s)
    return x["w"]


@pytest.mark.parametrize("name", DECAYING)
def test_decay_is_what_it_is_called(name: str) -> None:
    """Coupled: g + λ x in the gradient's place. Decoupled with λ: independent with λ times the rate."""
    o, forms = refopt.optimizer(name), _forms(name)
    if o.given != ("g",):
        pytest.skip("its step asks for more than a gradient")
    common: dict[str, Any] = {"lr": 0.05, "schedule": lambda t: 1.0 / t}
    # A rate that falls by itself is no schedule; MARS corrects the gradient before decay joins it.
    plain: dict[str, Any] = {"rate_root": False, "power": 0.0}
    if name.startswith("mars-"):
        plain |= {"gamma": 0.0, "clip": "none"}
    common |= {k: v for k, v in plain.items() if _with(name, k)}
    # NovoGrad's coupled decay stands beside the divided gradient, as in its paper.
    if "coupled" in forms and name != "novograd":
        got = _steps(refopt.optimizer(name, weight_decay=0.3, decay="coupled", **common))
        want = _steps(refopt.optimizer(name, weight_decay=0.0, **common), lambda g, x: g + 0.3 * x)
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
    if {"decoupled", "independent"} <= forms:
        got = _steps(refopt.optimizer(name, weight_decay=0.3, decay="decoupled", **common))
        want = _steps(refopt.optimizer(name, weight_decay=0.3 * 0.05, decay="independent", **common))
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
    if "decoupled" in forms and name not in OTHERWISE:
        # Without gradient nothing but the decay moves.
        x = _steps(
            refopt.optimizer(name, weight_decay=0.3, decay="decoupled", **common), lambda g, x: 0.0 * g
        )
        start, _ = stream(6, "random", steps=1, shapes={"w": (4, 3)})
        left = np.prod([1.0 - 0.05 / t * 0.3 for t in range(1, 6)])
        np.testing.assert_allclose(x, left * start["w"], rtol=1e-12)


def _forms(name: str) -> set[str]:
    return set(type(refopt.optimizer(name)).__dataclass_fields__["decay"].metadata["allowed"])


class Bowl:
    """f(x) = Σ (h + λ) x² / 2 with the Hessian products of λ = 0: its decay is in the gradient alone."""

    def __init__(self, decay: float) -> None:
        self.h, self.decay = np.array([1.0, 4.0, 0.3, 2.0]), decay

    def start(self, seed: int = 0) -> np.ndarray:
        return np.array([1.0, -2.0, 0.5, 3.0])

    def value(self, x: np.ndarray) -> float:
        return 0.5 * float(np.sum((self.h + self.decay) * x * x))

    def grad(self, x: np.ndarray) -> np.ndarray:
        return self.h * x + self.decay * x

    def hvp(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return self.h * v


SECOND = [
    m.name
    for m in METHODS
    if isinstance(refopt.optimizer(m.name), Decay)
    and refopt.optimizer(m.name).given != ("g",)
    and set(m.needs) <= {"value", "grad", "hvp"}
]


@pytest.mark.parametrize("name", SECOND)
def test_coupled_decay_is_in_the_gradient_alone(name: str) -> None:
    """Methods with Hessian products: coupled decay changes the gradient, and the curvature not."""
    common: dict[str, Any] = {"lr": 0.05, "steps": 8, "seed": 0}
    want = refopt.minimize(Bowl(0.3), name, weight_decay=0.0, **common).x
    got = refopt.minimize(Bowl(0.0), name, weight_decay=0.3, decay="coupled", **common).x
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("name", [n for n in UPDATING if _with(n, "lower", "upper")])
def test_a_box_holds(name: str) -> None:
    """From the first step on no coordinate is outside, and some are at its sides."""
    o = refopt.optimizer(name, lr=0.5, lower=-0.1, upper=0.2)
    x, gradients = stream(6, "random", steps=20, shapes={"w": (4, 3)})
    s, touched = o.init(x), set()
    for g in gradients:
        x, s = o.update(x, g, s)
        assert np.all((x["w"] >= -0.1) & (x["w"] <= 0.2))
        touched |= {-0.1, 0.2} & set(x["w"].ravel().tolist())
    assert touched == {-0.1, 0.2}


@pytest.mark.parametrize("name", RATED)
def test_a_rate_may_be_a_function(name: str) -> None:
    """``lr`` as a function of t = 1, 2, ..., and as a number under a schedule, give the same run."""
    if refopt.optimizer(name).given != ("g",):
        pytest.skip("its step asks for more than a gradient")
    lr = type(refopt.optimizer(name)).__dataclass_fields__["lr"].default
    # Independent decay follows the schedule alone.
    still = {"weight_decay": 0.0} if _with(name, "weight_decay") else {}
    asked: dict[str, set[int]] = {"schedule": set(), "lr": set()}

    def half(t: int, of: str) -> float:
        asked[of].add(t)
        return 0.5**t

    scheduled = _steps(refopt.optimizer(name, schedule=lambda t: half(t, "schedule"), **still))
    got = _steps(refopt.optimizer(name, lr=lambda t: lr * half(t, "lr"), **still))
    np.testing.assert_allclose(got, scheduled, rtol=1e-10)
    # Optimistic methods play the next point with the next step's rate.
    assert all({1, 2, 3, 4, 5} <= steps <= {1, 2, 3, 4, 5, 6} for steps in asked.values())


def _shapes(name: str) -> dict[str, tuple[int, ...]] | None:
    """Methods on low-rank factors take no other leaves; those of two levels have two players."""
    method = next(m for m in METHODS if m.name == name)
    if method.kind == "bilevel":
        return {"upper": (3,), "lower": (4, 3)}
    factors = method.extra.get("factors")
    return {"w": (4, 3), "v": (5, 3)} if factors == 2 else {"w": (4, 3)} if factors else None


@pytest.mark.parametrize("name", NAMES)
def test_a_start_is_not_kept(name: str) -> None:
    """A state has no memory of the start: who writes into x later changes nothing."""
    x, _ = stream(5, "random", steps=1, shapes=_shapes(name))
    assert not any(
        np.shares_memory(a, b) for a in _arrays(refopt.optimizer(name).init(x)) for b in x.values()
    )


@pytest.mark.parametrize("name", UPDATING)
def test_no_graph_is_kept(name: str) -> None:
    """torch parameters that require grad, the natural thing to pass: steps keep no graph of them."""
    torch = pytest.importorskip("torch", reason="torch is not installed; make parity runs this")
    o = refopt.optimizer(name)
    start, gradients = stream(5, "random", steps=2, shapes=_shapes(name))
    x = {k: torch.nn.Parameter(torch.asarray(v)) for k, v in start.items()}
    s = o.init(x)
    for g in gradients:
        try:
            x, s = o.update(x, {k: torch.asarray(v) for k, v in g.items()}, s)
        except refopt.errors.CapabilityError:
            pytest.skip("its step asks for more than a gradient")
        assert not any(v.requires_grad for v in x.values())


class OneBuffer:
    """A problem whose gradient is written into one array, again and again, and whose start is that array's."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.buffer = inner, {k: np.empty_like(v) for k, v in leaves(inner.start(1)).items()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def grad(self, x: Any, batch: Any = None) -> Any:
        new = self.inner.grad(x) if batch is None else self.inner.grad(x, batch)
        if not isinstance(new, dict):
            (kept,) = self.buffer.values()
            kept[...] = new
            return kept
        for k, v in new.items():
            self.buffer[k][...] = v
        return self.buffer


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_one_gradient_buffer_gives_the_same_bits(method: Entry) -> None:
    """A problem that reuses its gradient's memory is minimised as one that does not."""
    problem = _problem(method)
    x0 = problem.start(1)
    before = _flat(x0).copy()
    want = _run(method.name, problem, x0, steps=8)
    got = _run(method.name, OneBuffer(problem), x0, steps=8)
    np.testing.assert_array_equal(_flat(got.x), _flat(want.x))
    np.testing.assert_array_equal(_flat(x0), before)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_a_schedule_is_asked_for_the_step(method: Entry) -> None:
    """In a run of four steps t = 1, 2, 3, 4, of methods that have a rate, and nothing before or far beyond."""
    asked: set[int] = set()

    def schedule(t: int) -> float:
        asked.add(t)
        return 1.0

    try:
        o = refopt.optimizer(method.name, schedule=schedule)
    except refopt.errors.RefoptError:
        pytest.skip("its base has the schedule, or it has no rate")
    problem = _problem(method)
    # A base that is stepped once in so many batches has a step of its own then.
    every = getattr(o, "batches", 1)
    r = _run(o, problem, problem.start(1), steps=4 * every)
    # The first is also asked for when a method is built; optimistic methods play the next point with its own rate.
    assert asked <= {1, 2, 3, 4, 5}
    assert {1, 2, 3, 4} <= asked
    assert r.nit == 4 * every


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_a_second_device(method: Entry) -> None:
    """On array-api-strict's second device nothing moves to the first, nothing is mixed, and steps are counted."""
    strict = pytest.importorskip("array_api_strict")
    problem, device = _problem(method), strict.Device("device1")
    x0 = map_leaves(lambda a: strict.asarray(a, device=device), problem.start(1))
    found = _run(method.name, problem, x0, steps=3)
    kept = [found.x, *(v for v in found.state.values() if isinstance(v, dict) or hasattr(v, "device"))]
    devices = {str(leaf.device) for part in kept for leaf in leaves(part).values() if hasattr(leaf, "device")}
    assert devices == {str(device)}
    assert found.state["t"] == found.nit == 3
