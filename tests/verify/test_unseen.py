"""What implementations that this was not built on showed: a false alarm, a crash or a silence each."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentTypeError
from refopt.optimizers.first_order.muon import Muon
from refopt.optimizers.first_order.rmsprop import RMSprop
from refopt.verify.inputs import hessians
from refopt.verify.inputs.tapes import make
from refopt.verify.sides import names
from refopt.verify.variants.deviation import known


def test_scikit_learn() -> None:
    """Its Adam has eps beside the uncorrected root, and its momentum is ours in the form without 1 - momentum."""
    from sklearn.neural_network import _stochastic_optimizers as sklearn

    def side(make: Any) -> Any:
        def step(x: Any, g: Any, state: Any) -> Any:
            (x,) = held = [np.array(x)]
            state = state or make(held)
            state.update_params(held, [g])
            return held[0], state

        return step

    adam = refopt.verify.diagnose(side(sklearn.AdamOptimizer), "adam", steps=20)
    assert adam.explained_by == ("eps_corrected=False",), str(adam)
    plain = side(lambda held: sklearn.SGDOptimizer(held, 0.02, momentum=0.8, nesterov=False))
    assert refopt.verify.compare(plain, "momentum", lr=0.02, momentum=0.8, steps=20).agrees
    # lr is fitted: nothing tells that it is 0.07.
    ahead = refopt.verify.diagnose(side(lambda held: sklearn.SGDOptimizer(held, 0.07)), "nesterov", steps=20)
    assert set(ahead.explained_by) <= {"torch", "keras", "rate-times-7", "lr=0.07"}, str(ahead)
    assert ahead.explained_by


def test_numbers_that_nobody_tells() -> None:
    """Constants inside a function: the dialect is found with three numbers and a rate that no list has."""

    def mine(x: Any, g: Any, state: Any) -> Any:
        m, v, t = state or (0.0, 0.0, 0)
        m, v, t = 0.95 * m + 0.05 * g, 0.99 * v + 0.01 * g * g, t + 1
        alpha = 0.0137 * np.sqrt(1 - 0.99**t) / (1 - 0.95**t)
        return x - alpha * m / (np.sqrt(v) + 1e-6), (m, v, t)

    why = refopt.verify.diagnose(mine, "adam", steps=20)
    assert set(why.explained_by) == {"keras", "beta1=0.95", "beta2=0.99", "eps=1e-06", "lr=0.0137"}, str(why)


def test_a_dialect_but_for_one_switch() -> None:
    """The other value of a switch is the paper's own, beside a dialect that changes it."""

    def mine(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
        o = refopt.optimizer("adabound", dialect="official", bounds_follow_rate=False, lr=lr)
        return o.update(x, g, o.init(x) if state is None else state)

    why = refopt.verify.diagnose(mine, "adabound", steps=20)
    assert why.explained_by == ("official", "bounds_follow_rate=False"), str(why)


def test_two_switches() -> None:
    """Both beside a dialect, before anything is edited."""

    def mine(
        x: Any, g: Any, state: Any, lr: float = 0.1, trust: float = 1e-3, momentum: float = 0.9,
        weight_decay: float = 1e-4,
    ) -> Any:  # fmt: skip
        o = refopt.optimizer(
            "lars", lr=lr, trust=trust, momentum=momentum, weight_decay=weight_decay,
            ratio_needs="gradient", rate_without_ratio=True,
        )  # fmt: skip
        return o.update(x, g, o.init(x) if state is None else state)

    why = refopt.verify.diagnose(mine, "lars", steps=20)
    assert set(why.explained_by) == {"optax", "joint=False", "ratio_needs=gradient"}, str(why)


def root_by_svd(method: Any) -> Any:
    """Return Shampoo of a matrix with eps inside the sums and roots by singular values, as libraries have it."""

    def root(a: np.ndarray) -> np.ndarray:
        u, s, vt = np.linalg.svd(a)
        return (u * s**-0.25) @ vt

    def step(x: Any, g: Any, state: Any, lr: float = 0.1, eps: float = 1e-4) -> Any:
        left, right = state or (eps * np.eye(x.shape[0]), eps * np.eye(x.shape[1]))
        left, right = left + g @ g.T, right + g.T @ g
        return x - lr * method(left, root) @ g @ root(right), (left, right)

    return step


def test_another_factorisation_is_rounding() -> None:
    """Of ill-scaled sums the small eigenvalues are rounding; a fault that is none of it is still seen."""
    shapes = {"tall": (6, 2), "wide": (3, 5)}
    right = root_by_svd(lambda a, root: root(a))
    report = refopt.verify.compare(right, "shampoo", steps=30, shapes=shapes)
    assert report.agrees, str(report)
    wrong = root_by_svd(lambda a, root: root(a + 1e-6 * np.eye(len(a))))
    assert not refopt.verify.compare(wrong, "shampoo", steps=30, shapes=shapes).agrees


def test_leaves_of_another_method_are_held_with_their_own_numbers_alone() -> None:
    """MARS hands vectors to AdamW: what eps and a schedule mean to that, each library says for itself."""

    class Fixed:
        """The authors' MARS, whose AdamW has no schedule and Adam's eps whatever it is told."""

        def init(self, x: Any) -> Any:
            return None

        def update(self, x: Any, g: Any, state: Any, lr: float = 3e-3, eps: float = 1e-8) -> Any:
            o = refopt.optimizer("mars-adamw", dialect="official", lr=lr, eps=eps)
            return o.update(x, g, o.init(x) if state is None else state)

    report = refopt.verify.compare(Fixed(), "mars-adamw", dialect="official", steps=20)
    assert report.agrees, str(report)
    assert "hands them to another method" in str(report)
    # The leaves are still compared under the hyperparameters as they come.
    assert {f.leaf for f in report.findings} >= {"vector", "wide"}


def test_greek_letters() -> None:
    """alpha is Adam's rate and RMSprop's weight, gamma a momentum or a weight: their sizes tell them apart."""
    adam = refopt.methods(kind="optimizer")
    cls = {m.name: m.obj for m in adam}
    assert names.read(cls["adam"], {"alpha": 1e-3, "beta1": 0.9}) == {"lr": 1e-3, "beta1": 0.9}
    assert names.read(RMSprop, {"alpha": 0.99, "lr": 0.1}) == {"beta2": 0.99, "lr": 0.1}
    assert names.read(RMSprop, {"alpha": 1e-3, "rho": 0.9}) == {"lr": 1e-3, "beta2": 0.9}
    assert names.read(RMSprop, {"eta": 1e-3, "gamma": 0.9}) == {"lr": 1e-3, "beta2": 0.9}
    assert names.read(cls["momentum"], {"eta": 0.1, "gamma": 0.9}) == {"lr": 0.1, "momentum": 0.9}
    # AdaBound has a gamma of its own.
    assert names.read(cls["adabound"], {"gamma": 1e-3}) == {"gamma": 1e-3}
    assert "momentum" not in names.read(Muon, {"gamma": 0.1})


def test_a_parameter_that_torch_requires_has_no_default() -> None:
    """Its marker of old is no value; the reference's default is given."""

    class _RequiredParameter:
        pass

    required = _RequiredParameter()

    def mine(x: Any, g: Any, state: Any, lr: Any = required) -> Any:
        return x - lr * g, None

    assert refopt.verify.compare(mine, "sgd", steps=5).agrees
    # eta is the rate where there is no other name for it; here it is LARS's trust.
    lars = {m.name: m.obj for m in refopt.methods(kind="optimizer")}["lars"]
    assert names.read(lars, {"lr": inspect.Parameter.empty, "eta": 1e-3}) == {"trust": 1e-3}


def test_one_reason_is_told_once() -> None:
    """With what to try."""

    def never(x: Any, g: Any, state: Any) -> Any:
        raise ValueError("not without my CUDA")

    with pytest.raises(ArgumentTypeError) as caught:
        refopt.verify.compare(never, "sgd")
    assert str(caught.value).count("CUDA") == 1
    assert "lambda params" in str(caught.value)


def test_a_generator_of_a_fixed_seed_is_no_biased_probe() -> None:
    """Every run draws the same signs again: they are looked at once. Many that differ are as biased as they are."""
    draw = np.where(np.random.default_rng(0).random(4000) < 0.53, 1.0, -1.0)

    def probes(values: np.ndarray) -> Any:
        p = hessians.Probes(1)
        p.add(1, {"w": [values]})
        return p

    method = refopt.optimizer("adahessian")
    assert abs(draw.mean()) * 4000**0.5 < hessians.SIGMAS < abs(draw.mean()) * 40_000**0.5
    assert hessians.verdict([probes(draw[: 4000 - k]) for k in range(10)], method)[0] == ()
    assert hessians.verdict([probes(np.roll(draw, k)) for k in range(10)], method)[0] == ("probe-biased",)


def test_a_gradient_written_into_is_noted() -> None:
    """The steps are right, and the caller's array is not what it was."""

    def mine(x: Any, g: Any, state: Any, lr: float = 0.1) -> Any:
        g *= lr
        return x - g, None

    def clean(x: Any, g: Any, state: Any, lr: float = 0.1) -> Any:
        return x - lr * g, None

    report = refopt.verify.compare(mine, "sgd", steps=5)
    assert report.agrees and "writes into the gradient" in str(report)
    assert "writes into" not in str(refopt.verify.compare(clean, "sgd", steps=5))


def adan_of_the_paper(
    x: Any,
    g: Any,
    state: Any,
    lr: float = 1e-3,
    beta1: float = 0.02,
    beta2: float = 0.08,
    beta3: float = 0.01,
) -> Any:
    """Return Adan without decay, its betas the weights of what is new, as its paper writes them."""
    m, v, n, old, t = state or (0.0, 0.0, 0.0, g, 0)
    d, t = g - old, t + 1
    m, v = (1 - beta1) * m + beta1 * g, (1 - beta2) * v + beta2 * d
    n = (1 - beta3) * n + beta3 * (g + (1 - beta2) * d) ** 2
    u = m / (1 - (1 - beta1) ** t) + (1 - beta2) * v / (1 - (1 - beta2) ** t)
    return x - lr * u / (np.sqrt(n / (1 - (1 - beta3) ** t)) + 1e-8), (m, v, n, g, t)


def clipped_adam(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Return Pyro's ClippedAdam: entries at 10, eps beside the uncorrected root."""
    m, v, t = state or (0.0, 0.0, 0)
    g = np.clip(g, -10, 10)
    m, v, t = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, t + 1
    return x - lr * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-8), (m, v, t)


def belief(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Return an Adam whose second moment is AdaBelief's."""
    m, v, t = state or (0.0, 0.0, 0)
    m, t = 0.9 * m + 0.1 * g, t + 1
    v = 0.999 * v + 0.001 * (g - m) ** 2
    return x - lr * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), (m, v, t)


def shared(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Return an Adam whose averages were made by ``m = v = zeros_like(x)``."""
    m, t = state or (np.zeros_like(x), 0)
    t += 1
    m = 0.9 * m + 0.1 * g
    m = 0.999 * m + 0.001 * g * g
    return x - lr * m / (1 - 0.9**t) / (np.sqrt(m / (1 - 0.999**t)) + 1e-8), (m, t)


def whole(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Return an Adam with one second moment a tensor."""
    m, v, t = state or (0.0, 0.0, 0)
    m, v, t = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * np.mean(g * g), t + 1
    return x - lr * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), (m, v, t)


def power(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Return an Adam with (1 - beta1)^t in the first correction."""
    m, v, t = state or (0.0, 0.0, 0)
    m, v, t = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, t + 1
    return x - lr * m / 0.1**t / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), (m, v, t)


def no_bias_decay(x: Any, g: Any, state: Any, lr: float = 1e-2, weight_decay: float = 0.1) -> Any:
    """Return an SGD that decays matrices alone."""
    return x - lr * g - (lr * weight_decay * x if x.ndim > 1 else 0.0), None


def centralised(x: Any, g: Any, state: Any, lr: float = 1e-2) -> Any:
    """Return SGD with gradient centralisation."""
    return x - lr * (g - g.mean(axis=tuple(range(1, g.ndim)), keepdims=True) if g.ndim > 1 else g), None


def fed_back(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Return AMSGrad with ``np.maximum(v, vmax, out=v)``."""
    m, v, t = state or (0.0, 0.0, 0)
    m, t = 0.9 * m + 0.1 * g, t + 1
    v = np.maximum(v, 0.999 * v + 0.001 * g * g)
    return x - lr * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), (m, v, t)


def stuck_lamb(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Return LAMB without a guard: what starts at zero stays."""
    m, v, t = state or (0.0, 0.0, 0)
    m, v, t = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, t + 1
    u = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6)
    return x - lr * np.linalg.norm(x) / np.linalg.norm(u) * u, (m, v, t)


def stuck_lars(
    x: Any, g: Any, state: Any, lr: float = 0.1, momentum: float = 0.9, weight_decay: float = 1e-4, trust: float = 1e-3
) -> Any:  # fmt: skip
    """Return LARS without a guard."""
    size = np.linalg.norm(x)
    local = trust * size / (np.linalg.norm(g) + weight_decay * size)
    v = (0.0 if state is None else momentum * state) + lr * local * (g + weight_decay * x)
    return x - v, v


def corrected_decay(x: Any, g: Any, state: Any, lr: float = 1e-3, weight_decay: float = 1e-2) -> Any:
    """Return AdamW whose decay is multiplied by the corrected rate."""
    m, v, t = state or (0.0, 0.0, 0)
    m, v, t = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, t + 1
    return x - lr / (1 - 0.9**t) * (m / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + weight_decay * x), (m, v, t)


def both_decays(x: Any, g: Any, state: Any, lr: float = 1e-2, weight_decay: float = 0.1) -> Any:
    """Return momentum with decay in the velocity and beside it."""
    b = (0.0 if state is None else 0.9 * state) + g + weight_decay * x
    return x - lr * b - lr * weight_decay * x, b


FOUND = {
    adan_of_the_paper: ("adan", {"official", "betas-complement"}),
    clipped_adam: ("adam", {"keras", "eps=1e-08", "gradient-clipped-by-entry-at-10"}),
    belief: ("adam", {"squares-of-the-distance"}),
    shared: ("adam", {"averages-share-a-buffer"}),
    whole: ("adam", {"second-average-of-the-leaf"}),
    power: ("adam", {"bias-correction-power-of-complement-first"}),
    no_bias_decay: ("sgd", {"weight-decay-of-matrices"}),
    centralised: ("sgd", {"gradient-centralised"}),
    fed_back: ("amsgrad", {"torch", "maximum-fed-back"}),
    stuck_lamb: ("lamb", {"optax", "ratio-unguarded"}),
    stuck_lars: ("lars", {"ratio-unguarded"}),
    corrected_decay: ("adamw", {"weight-decay-times-corrected-rate"}),
    both_decays: ("sgdw", {"timm", "weight-decay-both-ways"}),
}


# What takes longest; `make exhaustive` has them.
DEAR = (stuck_lamb, clipped_adam)


@pytest.mark.parametrize(
    "mine",
    [pytest.param(f, marks=[pytest.mark.exhaustive] if f in DEAR else [], id=f.__name__) for f in FOUND],
)
def test_kinds_of_faults(mine: Any) -> None:
    """Each is caught, and called by its name."""
    method, wanted = FOUND[mine]
    why = refopt.verify.diagnose(mine, method, steps=20)
    assert wanted in [set(n) for n in (why.explained_by, *why.also)], str(why)


def test_no_deviation_breaks_a_method_that_it_is_offered() -> None:
    """Applied to every method, each leaves something that runs, or says that it does not apply."""
    tape = make("random", 2, shapes={"w": (3, 4)})
    for entry in refopt.methods(kind="optimizer"):
        if tuple(entry.needs) != ("grad",):
            continue
        for d in known(entry.name):
            changed = d.change(refopt.optimizer(entry.name))
            if changed is None:
                continue
            x = {k: v.copy() for k, v in tape.x0.items()}
            try:
                with np.errstate(all="ignore"):
                    changed.update(x, dict(tape.gradients[0]), changed.init(x))
            except (ArithmeticError, LookupError, ValueError, TypeError, np.linalg.LinAlgError):
                # What a search passes over.
                continue
