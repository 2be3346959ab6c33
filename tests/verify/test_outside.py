"""Code from outside, as it was found: what is true of it was written down before it was asked."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.registry import entry
from refopt.verify import compare, diagnose
from refopt.verify.inputs.calls.systems import SOLVER_FAULTS, SYSTEMS
from refopt.verify.inputs.profiles import Profile
from refopt.verify.runs.functions import answer_of, cases_of, compared, reference_of
from refopt.verify.runs.observe import observe
from refopt.verify.search.effort import Effort
from refopt.verify.search.filters import filters
from refopt.verify.search.levels import greedy
from refopt.verify.search.trajectories import Search
from refopt.verify.variants.candidate import dialects, faults, switches
from refopt.verify.variants.deviation import patched
from refopt.verify.variants.edits import Text
from refopt.verify.variants.text_edit import swapped
from refopt.verify.variants.turns import EndlessError


def plain_momentum(x, g, state, lr=0.01, momentum=0.9):
    v = 0 * x if state is None else state
    v = momentum * v + lr * g
    return x - v, v


def test_a_tape_cannot_tell_momentum_from_nesterov() -> None:
    """The commonest slip of all agrees with nesterov on gradients that are given, and that is said."""
    assert "asks for its gradient at a point of its own" in str(compare(plain_momentum, "nesterov", steps=10))
    assert "(x, state, grad, ...)" in str(diagnose(plain_momentum, "nesterov", steps=10))


def test_a_function_that_asks_tells_them_apart() -> None:
    """A function (x, state, grad) shows where it asks."""

    def asks(ahead: float):
        def step(x, state, grad, lr=0.01, momentum=0.9):
            v = 0 * x if state is None else state
            v = momentum * v + lr * grad(x - ahead * momentum * v)
            return x - v, v

        return step

    assert not compare(asks(0.0), "nesterov", steps=5).agrees
    assert compare(asks(1.0), "nesterov", steps=5).agrees and compare(asks(0.0), "momentum", steps=5).agrees


def test_a_side_that_always_raises_is_not_explained() -> None:
    def broken(A):
        raise ValueError("no")

    answer = diagnose(broken, "sqrtm-eigh")
    assert answer.explained_by == () and "raised in every case" in str(answer)


def test_a_single_beta_is_the_squares_weight() -> None:
    """RMSprop's ``beta`` is no momentum."""

    def rms(x, g, state, lr=0.1, beta=0.99):
        s = 0 * x if state is None else state
        s = beta * s + (1 - beta) * g * g
        return x - lr * g / np.sqrt(s + 1e-8), s

    assert diagnose(rms, "rmsprop", steps=10).explained_by == ("paper",)


def test_undefined_at_zero() -> None:
    """A CG that answers NaN for b = 0."""

    def cg(A, b, x0=None, rtol=1e-5, maxiter=None):
        x = np.zeros_like(b) if x0 is None else np.array(x0)
        r = b - A @ x
        p, rs = r.copy(), r @ r
        for _ in range(maxiter or 10 * len(b)):
            Ap = A @ p
            a = rs / (p @ Ap)
            x, r = x + a * p, r - a * Ap
            new = r @ r
            if new < (b @ b) * rtol**2:
                break
            p, rs = r + new / rs * p, new
        return x

    report = compare(cg, "cg")
    assert not report.agrees and report.leaf == "nothing to solve for"
    fault = next(f for f in SOLVER_FAULTS if f.name == "undefined-at-zero")
    cases = cases_of(SYSTEMS, "cg", 0, {})
    answers = [(c, answer_of(cg, SYSTEMS, c, {})) for c in cases if c.name == "nothing to solve for"]
    ((error, _, problem),) = (
        compared(fault.change(reference_of("cg", SYSTEMS)), SYSTEMS, *a) for a in answers
    )
    assert error == 0.0 and not problem


def test_cost_over_its_mean() -> None:
    def sinkhorn(a, b, C, reg):
        K = np.exp(-C / (reg * C.mean()))
        u, v = np.ones(len(a)), np.ones(len(b))
        for _ in range(5000):
            v = b / (K.T @ u)
            u = a / (K @ v)
        return u[:, None] * K * v[None, :]

    assert diagnose(sinkhorn, "sinkhorn").explained_by == ("cost-over-its-mean",)


def adam_with(update):
    def step(x, g, state, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m, v, t = state or (0 * x, 0 * x, 0)
        t += 1
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        return x - update(m, v, t, lr, beta1, beta2, eps), (m, v, t)

    return step


def times_the_root(m, v, t, lr, beta1, beta2, eps):
    return lr * np.sqrt(1 - beta2**t) / (1 - beta1**t) * m * (np.sqrt(v) + eps)


def single_counters(m, v, t, lr, beta1, beta2, eps):
    c1, c2 = (float(1 - np.multiply.reduce(np.full(t, b, dtype=np.float32))) for b in (beta1, beta2))
    return lr * (m / c1) / (np.sqrt(v / c2) + eps)


@pytest.mark.parametrize(
    ("update", "name"), [(times_the_root, "times-the-root"), (single_counters, "bias-correction-single")]
)
def test_adams(update, name) -> None:
    """A product for a quotient (Tribuo); powers of beta kept in single precision (tinygrad)."""
    assert diagnose(adam_with(update), "adam", steps=12).explained_by == (name,)


def test_cautious_decay() -> None:
    """Decay only where the step goes towards zero besides (arXiv:2510.12402)."""

    def step(x, g, state, lr=1e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.01):
        m, v, t = state or (0 * x, 0 * x, 0)
        t += 1
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        u = (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        return x - lr * weight_decay * x * (u * x >= 0) - lr * u, (m, v, t)

    assert diagnose(step, "adamw", steps=10).explained_by == ("weight-decay-cautious",)


def test_a_first_velocity_without_the_rate() -> None:
    def step(x, g, state, lr=0.01, momentum=0.9):
        v = -g if state is None else momentum * state - lr * g
        return x + v, v

    assert diagnose(step, "momentum", steps=10).explained_by == ("first-step-without-rate",)


def test_steps_are_repeated_by_what_was_measured() -> None:
    """The momentum part is added twice: the response to one gradient gives by how much."""

    def step(x, g, state, lr=0.01, momentum=0.9):
        v = 0 * x if state is None else state
        ahead = x + momentum * v
        v = momentum * v - lr * g
        return ahead + v, v

    assert diagnose(step, "momentum", steps=10).explained_by == ("steps-repeated-momentum",)


def test_a_bound_on_the_weights_norm() -> None:
    """LAMB with the norm of the weights clamped at 10: a leaf far from zero shows it."""

    def step(x, g, state, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.0):
        m, v = state or (0 * x, 0 * x)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        u = m / (np.sqrt(v) + eps) + weight_decay * x
        wn, un = min(np.linalg.norm(x), 10.0), np.linalg.norm(u)
        return x - lr * (wn / un if wn > 0 and un > 0 else 1.0) * u, (m, v)

    report = compare(step, "lamb", dialect="official", steps=10)
    assert not report.agrees and report.leaf == "far"


def endless(n):
    while n != 1:
        n //= 2
    return n


def test_a_loop_that_never_ends_is_given_up() -> None:
    """An edit may send a function round for ever (0 halved is 0); the variant is abandoned instead."""
    text = Text(endless)
    code = text.code(())
    assert text.loops and code is not None
    with swapped([(endless, code)]):
        assert endless(64) == 1
        with pytest.raises(EndlessError, match="100000 turns"):
            endless(0)


def test_compare_names_the_dialect_that_agrees() -> None:
    """A right library is not called different without saying in which dialect it is right."""
    theirs = refopt.optimizer("adamw", dialect="keras")
    report = compare(theirs, "adamw", steps=10)
    assert not report.agrees and report.agrees_in == "keras"
    assert str(report).splitlines()[0].startswith("refopt's adamw agrees with adamw in the dialect 'keras'")


def test_a_small_constant_besides_is_told_as_such() -> None:
    """Clipping with 1e-9 beside the norm is off the named clipping by about as much: more than rounding, and said."""

    def step(x, g, state, lr=0.1):
        return x - lr * g * min(1.0, 1.0 / (np.linalg.norm(g) + 1e-9)), None

    answer = diagnose(step, "sgd", steps=5, effort=300)
    assert answer.explained_by == ("gradient-clipped-by-norm",) and "more than rounding explains" in str(
        answer
    )
    assert 1e-11 < answer.error < 1e-8


def test_leaves_that_differ_are_searched_by_themselves() -> None:
    """Two changes on vectors alone, which no named deviation knows as such; matrices are Adam's."""

    def step(x, g, state, lr=0.01, beta1=0.9, beta2=0.999, eps=1e-8):
        m, v, t = state or (0 * x, 0 * x, 0)
        t += 1
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        c1, c2 = (1.0, 1.0) if x.ndim == 1 else (1 - beta1**t, 1 - beta2**t)
        return x - lr * (m / c1) / (np.sqrt(v / c2) + eps), (m, v, t)

    answer = diagnose(step, "adam", steps=10)
    assert answer.explained_by == ("no-bias-correction", "in:vector,long,far")
    assert "but on vectors alone (vector, long, far)" in str(answer)


@pytest.mark.parametrize("before", [True, False])
def test_averaged_steps_are_explained_by_the_measured_weight(before: bool) -> None:
    """An average of AdaGrad's steps, of weight 0.8: of steps over their rates (jax) or of the steps as they are."""

    def step(x, g, state, lr=0.1):
        G, m = state or (0 * x, 0 * x)
        G = G + g * g
        own = g / np.where(G > 0, np.sqrt(G), 1) * (1.0 if before else lr)
        m = 0.2 * own + 0.8 * m
        return x - (lr * m if before else m), (G, m)

    seen = observe(step, "adagrad", steps=10, eps=0.0)
    found = {c.names[0]: Search(seen, Effort(10)).explains(c) is not None for c in filters(seen, "adagrad")}
    explained = {name for name, well in found.items() if well}
    assert explained == {"steps-averaged-0.8-before-the-rate" if before else "steps-averaged-0.8"}


def test_parts_are_put_together_one_by_one() -> None:
    """Three parts, none of them near alone: each is the one that brings the sum of them nearest."""
    parts = ("eps_corrected=False", "no-first-bias-correction", "gradient-centralised")
    found = entry("adam")
    singles = {c.names[0]: c for c in (*switches(found), *faults(found))}
    root = dialects(found)[0]
    whole = root
    for name in parts:
        whole = whole.with_(singles[name])
    theirs = whole.build(Profile("", {"lr": 0.01}))

    def step(x, g, state):
        return theirs.update(x, g, theirs.init(x) if state is None else state)

    search = Search(observe(step, "adam", steps=8, lr=0.01), Effort(10_000))
    among = [*(singles[name] for name in parts), *list(singles.values())[::10]]
    *_, last = filter(None, greedy(search, root, among))
    assert set(last.names) == set(parts) and search.explains(last) is not None


def test_what_a_running_sum_leaves_is_rounding() -> None:
    """AdaShift whose window is a running sum, from which old gradients are taken again, is right: what stays of them is not a fault."""

    def windowed(x, g, state, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-10, keep=10):
        kept, m, v, t = ([], 0 * x, 0 * x, 0) if state is None else state
        total = sum(beta1**i for i in range(keep))
        t, old = t + 1, kept[0] if len(kept) == keep else None
        m = beta1 * (m - (beta1 ** (keep - 1) / total * old if old is not None else 0.0)) + g / total
        if old is not None:
            v = beta2 * v + (1 - beta2) * np.max(old * old)
            x = x - lr * m / (np.sqrt(v / (1 - beta2 ** (t - keep))) + eps)
        return x, (([*kept, g])[-keep:], m, v, t)

    report = compare(windowed, "adashift", steps=12, shapes={"long": (3000,)})
    assert report.agrees, str(report)


def test_two_bases_of_one_null_space_are_rounding() -> None:
    """SOAP whose bases come from a singular value decomposition agrees in `diagnose` as in `compare`."""
    o = refopt.optimizer("soap", dialect="official")

    def mine(x, g, state):
        with patched(type(o), "eigenbasis", lambda H: np.linalg.svd(H)[0]):
            return o.update(x, g, o.init(x) if state is None else state)

    answer = diagnose(mine, "soap", steps=3, effort=10)
    assert "official" in (*answer.explained_by, *answer.also), str(answer)


def test_the_nearest_may_be_another_methods_dialect() -> None:
    """Something like pytorch_optimizer's LaProp, called Adam, is not explained, and its nearest is told with what was measured."""
    o = refopt.optimizer("laprop", dialect="kozistr")

    def odd(x, g, state):
        y, state = o.update(x, g, o.init(x) if state is None else state)
        return y + 1e-5 * (y - x) * np.cos(1e6 * g), state

    answer = diagnose(odd, "adam", steps=3, effort=300)
    assert answer.explained_by == () and answer.nearest == ("laprop", "kozistr"), str(answer)
