"""Methods that ask for more than one gradient: both sides ask the same problem at their own points."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError, ArgumentTypeError, CapabilityError
from refopt.core.method import Method
from refopt.core.registry import Entry
from refopt.verify.inputs import problems
from refopt.verify.runs.observe import observe
from refopt.verify.sides.side import asks

from tests.verify import ports

# K-FAC without adaptation, as it is usually written; eta is the first course's l2.
FIXED = {
    "rescale": False, "momentum": False, "invert_every": 1, "adapt_gamma_every": 10**6,
    "adapt_damping_every": 10**6, "eta": 0.01,
}  # fmt: skip
HEAVY = {"base": "momentum", "rate_inside": False}
# Method, port, settings of the reference, and by fault the diagnosis (None: told apart, not explained).
CASES: dict[str, tuple[Any, dict[str, Any], dict[str, str | None]]] = {
    "svrg": (
        ports.svrg, {},
        {
            "never renewed": "snapshot-never-renewed", "batch mean": "full-gradient-on-the-batch",
            "sign": "correction-sign",
        },
    ),
    "spider": (ports.spider, {}, {"length": "not-normalised"}),
    "sam": (
        ports.sam, HEAVY,
        {
            "not normalised": "perturbation-not-normalised", "downhill": "perturbation-downhill",
            "not restored": "perturbed-point-kept",
        },
    ),
    "vrgd": (ports.vrgd, {"base": "sgd", "groups": 4}, {"not clipped": None}),
    "proximal-gradient": (
        ports.proximal_gradient, {}, {"no prox": "no-prox", "no rate": "prox-without-rate"},
    ),
    "levenberg-marquardt": (
        ports.levenberg_marquardt, {},
        {"factors": "damping-factors-2-3", "diagonal": "scaling=diagonal", "always": "every-trial-taken"},
    ),
    "kfac": (
        ports.kfac, FIXED,
        {
            "pi": "damping-not-balanced", "true labels": "true-labels", "summed": "factors-summed",
            "not kept": "factors-not-kept",
        },
    ),
}  # fmt: skip
FAULTS = [
    # The first of each port; `make exhaustive` has the others.
    pytest.param(name, fault, marks=[pytest.mark.exhaustive] if i > 0 else [])
    for name, (_, _, faults) in CASES.items()
    for i, fault in enumerate(faults)
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_ports_agree(name: str, dtype: str) -> None:
    """A right port agrees in both precisions, held to a bound that is worth something."""
    port, given, _ = CASES[name]
    report = refopt.verify.compare(port(), name, dtype=dtype, **given)
    assert report.agrees, str(report)
    # Levenberg-Marquardt's equations are nearly singular once the damping has fallen.
    loose = 5e-2 if name == "levenberg-marquardt" else 1e-3
    assert report.rtol < (1e-9 if dtype == "float64" else loose)
    assert "Both asked the same problems" in str(report)


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_faults_are_told_and_named(name: str, fault: str) -> None:
    """A wrong port differs, and the diagnosis names the fault."""
    port, given, faults = CASES[name]
    report = refopt.verify.compare(port(fault), name, **given)
    assert not report.agrees, str(report)
    if faults[fault] is not None:
        why = refopt.verify.diagnose(port(fault), name, **given)
        assert why.explained_by == (faults[fault],), str(why)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.exhaustive] if n == "vrgd" else [])
        for n in CASES
        if n != "levenberg-marquardt"
    ],
)
def test_a_right_port_is_recognised(name: str) -> None:
    """Nothing is said of a port that does what the paper says."""
    port, given, _ = CASES[name]
    why = refopt.verify.diagnose(port(), name, **given)
    assert why.explained_by == ("paper",), str(why)


BOUNDS = {"lipschitz": 5.0, "strong_convexity": 0.1}
# What a method must be told where the comparison's problem does not know it.
TOLD: dict[str, dict[str, Any]] = {
    "proximal-gradient": {"lr": 0.1},
    "heavy-ball": BOUNDS,
    "nesterov-strongly-convex": BOUNDS,
    "triple-momentum": BOUNDS,
}
# The comparison has no problem of two classes with one net, of two factors, of one residual an example, of one matrix, or of
# a ReLU network's two leaves.
REFUSED = {
    "normalized-logistic-gd",
    "batch-perceptron",
    "delta-rule",
    "balanced-gd",
    "prox-linear",
    "kpca-dual",
    "relu-scp",
}


def compared(chosen: list[Entry]) -> None:
    """Every one agrees with itself: none is refused but `REFUSED`."""
    for e in chosen:
        base = refopt.optimizer(e.name)
        if not asks(base):
            assert type(base).update is not Method.update or e.needs == ("grad", "hvp")
            continue
        if e.name in REFUSED:
            continue
        own = TOLD.get(e.name, {})
        report = refopt.verify.compare(refopt.optimizer(e.name, **own), e.name, steps=6, **own)
        shares = e.name == "kfac"
        assert report.agrees != shares, str(report)


STEPPING = [m for kind in ("optimizer", "wrapper", "estimator") for m in refopt.methods(kind)]


def test_every_third_method_can_be_compared() -> None:
    """Optimizers, wrappers and estimators, chosen by name, whatever else is registered; `make exhaustive` takes all of them."""
    compared([m for m in STEPPING if zlib.crc32(m.name.encode()) % 3 == 0])


@pytest.mark.exhaustive
def test_every_method_can_be_compared() -> None:
    """All of them."""
    compared(STEPPING)


def test_shares_of_the_batch() -> None:
    """K-FAC's own shares are drawn alike by both sides where they are asked for."""
    given = {"statistics_share": 0.5, "model_share": 0.25, "damping": 1.0}
    assert refopt.verify.compare(refopt.optimizer("kfac", **given), "kfac", steps=12, **given).agrees


def test_the_exact_form_of_mars() -> None:
    """A second gradient of the same batch at the last point."""
    exact = refopt.optimizer("mars-adamw", exact=True)
    assert refopt.verify.compare(exact, "mars-adamw", exact=True, steps=8).agrees
    assert not refopt.verify.compare(refopt.optimizer("mars-adamw"), "mars-adamw", exact=True, steps=8).agrees


def test_a_wrapper_takes_its_bases_numbers() -> None:
    """The base's hyperparameters are given to both sides, and its schedule."""
    report = refopt.verify.compare(ports.sam(), "sam", momentum=0.5, **HEAVY)
    assert report.agrees and report.hyperparameters["momentum"] == 0.5
    assert {f.profile for f in report.findings} == {"as given", "schedule"}
    tried = {f.profile for f in refopt.verify.compare(ports.sam(), "sam", steps=5, **HEAVY).findings}
    assert tried == {"as given", "low betas, large eps", "schedule"}
    built = refopt.optimizer("momentum", lr=0.02, rate_inside=False)
    assert refopt.verify.compare(refopt.optimizer("sam", base=built), "sam", base=built, steps=6).agrees


def test_labels_are_shared_whatever_was_drawn() -> None:
    """A side that draws something else first gets the same labels."""
    plain = ports.kfac()

    def restless(x: Any, state: Any, grad: Any, layers: Any, rng: Any, damping: float = 0.5) -> Any:
        rng.standard_normal(5)
        layers(x)
        return plain(x, state, grad, layers, damping)

    assert refopt.verify.compare(restless, "kfac", **FIXED).agrees


def test_a_point_written_in_place() -> None:
    """A side that changes its point in place is asked about the new values."""

    def inplace(x: Any, state: Any, grad: Any, rho: float = 0.05, lr: float = 0.01) -> Any:
        g = grad(x)
        up = rho * g / np.linalg.norm(g)
        x += up
        g = grad(x)
        x -= up
        x -= lr * g
        return x, None

    assert refopt.verify.compare(inplace, "sam").agrees


def test_convergence_ends_a_course() -> None:
    """Levenberg-Marquardt is compared up to where rounding decides what is accepted."""
    seen = observe(ports.levenberg_marquardt(), "levenberg-marquardt", steps=60)
    lengths = {r.tape.name: len(r.tape) for r in seen.runs}
    assert 4 <= lengths["matrix-sensing"] < 15


def test_a_problem_of_ones_own() -> None:
    """A further course joins the comparison; a tape of gradients does not."""
    own = problems.course(refopt.problem("quadratic", n=6), 12, flat=True, name="mine")
    report = refopt.verify.compare(ports.sam(), "sam", extra_tapes=[own], **HEAVY)
    assert report.agrees and "mine" in {f.tape for f in report.findings}
    with pytest.raises(ArgumentError, match="extra_tapes: sam asks at points of its own"):
        refopt.verify.compare(ports.sam(), "sam", extra_tapes=[refopt.verify.inputs.tapes.make("random", 5)])
    with pytest.raises(ArgumentError, match="batch_size"):
        problems.course(refopt.problem("quadratic", n=6), batch_size=2)


def test_what_is_served() -> None:
    """Values, residuals, products and Jacobians are the problem's, in the course's form."""
    p = refopt.problem("mlp", widths=(3,), loss="mse", data="teacher", n_examples=12)
    given: dict[str, Any] = {}
    names = "value grad full_grad residual jacobian jvp vjp loss_hessian hvp example_grads batch n_examples"

    def peek(x: Any, state: Any, oracle: Any, value: Any, grad: Any) -> Any:
        given.update({n: getattr(oracle, n) for n in names.split()}, x=x.copy())
        return x, None

    own = problems.course(p, 1, batch_size=4, flat=True)
    refopt.verify.compare(peek, "svrg", lr=0.0, extra_tapes=[own], steps=4)
    x, rows = given["x"], given["batch"]
    point = own.for_problem(x)
    flat = refopt.core.params.flatten
    assert len(rows) == 4 and given["n_examples"] == 12
    np.testing.assert_array_equal(given["grad"](x), flat(p.grad(point, batch=rows)))
    np.testing.assert_array_equal(given["full_grad"](x), flat(p.grad(point)))
    np.testing.assert_array_equal(given["grad"](x, [1, 2]), flat(p.grad(point, batch=np.array([1, 2]))))
    jac, v = given["jacobian"](x), np.linspace(-1, 1, x.size)
    np.testing.assert_allclose(jac @ v, given["jvp"](x, v).ravel(), atol=1e-12)
    r = given["residual"](x)
    np.testing.assert_allclose(jac.T @ r.ravel(), given["grad"](x), atol=1e-12)
    np.testing.assert_allclose(given["vjp"](x, r), given["grad"](x), atol=1e-12)
    np.testing.assert_allclose(given["example_grads"](x).mean(axis=0), given["grad"](x), atol=1e-12)
    assert given["hvp"](x, v).shape == x.shape and given["loss_hessian"](x, r).shape == r.shape
    np.testing.assert_allclose(given["value"](x), 0.5 * np.sum(r * r), atol=1e-12)


def test_bad_sides() -> None:
    """What cannot be asked along is told with what is wanted."""
    with pytest.raises(CapabilityError, match="names what it is given"):
        refopt.verify.compare(lambda x, g, s: (x, s), "svrg")
    with pytest.raises(ArgumentTypeError, match="parameter 'speed' is neither"):
        refopt.verify.compare(lambda x, s, grad, speed: (x, s), "svrg")
    with pytest.raises(CapabilityError, match="list cannot be asked along"):
        refopt.verify.compare(["./program"], "svrg")
    with pytest.raises(ArgumentTypeError, match="could not make step 1 of 'logistic-batches': ZeroDivision"):
        refopt.verify.compare(lambda x, s, grad: (x, 1 // 0), "svrg")
    with pytest.raises(ArgumentTypeError, match="x a dict of arrays"):
        refopt.verify.compare(lambda x, s, grad: (np.zeros(3), s), "kfac")
    with pytest.raises(ArgumentTypeError, match="with the shapes"):
        refopt.verify.compare(lambda x, s, grad: ({"W1": np.zeros(3)}, s), "kfac")


def test_a_pair_of_functions() -> None:
    """(init, update): the state is made from the start."""

    def update(x: Any, state: Any, grad: Any, full_grad: Any, lr: float = 0.05) -> Any:
        return ports.svrg()(x, state, grad, full_grad, lr, 10)

    pair = (lambda x: (0, None, None), update)
    assert refopt.verify.compare(pair, "svrg", inner_steps=10).agrees
