"""Slips that were written down before the oracle was asked, and that it did not know then."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.registry import entry
from refopt.verify.diagnosis import _at_bottom
from refopt.verify.runs.observe import observe
from refopt.verify.search.effort import Effort
from refopt.verify.search.trajectories import Search
from refopt.verify.variants.candidate import dialects, faults


def _adam(x: Any, g: Any, state: Any, late: int, inside: float) -> Any:
    """Adam with `late` in the corrections' counter and a decay `inside` the quotient."""
    m, v, t = (0 * x, 0 * x, 1) if state is None else state
    m, v, k = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, max(t - late, 1)
    u = (m / (1 - 0.9**k) + inside * x) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
    return u, (m, v, t + 1)


def behind(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Adam whose counter starts at 0, and is 1 at least where it divides."""
    u, state = _adam(x, g, state, 1, 0.0)
    return x - lr * u, state


def inside(x: Any, g: Any, state: Any, lr: float = 1e-3, weight_decay: float = 1e-2) -> Any:
    """AdamW whose decay is divided by the root, too."""
    u, state = _adam(x, g, state, 0, weight_decay)
    return x - lr * u, state


def mean(x: Any, g: Any, state: Any, lr: float = 1e-2, eps: float = 1e-10) -> Any:
    """AdaGrad of the mean of squares."""
    total, t = (0 * x, 0) if state is None else state
    total, t = total + g * g, t + 1
    return x - lr * g / (np.sqrt(total / t) + eps), (total, t)


def velocity(
    x: Any,
    g: Any,
    state: Any,
    lr: float = 1.0,
    momentum: float = 0.9,
    trust: float = 0.001,
    weight_decay: float = 1e-4,
) -> Any:
    """LARS whose ratio is to the velocity's norm."""
    v = momentum * (0 * x if state is None else state) + g + weight_decay * x
    a, b = np.linalg.norm(x), np.linalg.norm(v)
    return x - lr * (trust * a / b if a > 0 and b > 0 else trust) * v, v


def on_the_velocity(x: Any, g: Any, v: Any, lr: float = 0.1, trust: float = 1e-3, momentum: float = 0.9,
                    weight_decay: float = 5e-4) -> Any:  # fmt: skip
    """LARS whose ratio, which alone has the decay, multiplies the velocity (oracle-cases, H13)."""
    a, b = np.linalg.norm(x), np.linalg.norm(g)
    v = momentum * (0 * x if v is None else v) + g
    return x - (lr * trust * a / (b + weight_decay * a) if a > 0 and b > 0 else lr) * v, v


def capped(x: Any, g: Any, v: Any, lr: float = 0.1, trust: float = 1e-3, momentum: float = 0.9,
           weight_decay: float = 5e-4) -> Any:  # fmt: skip
    """The same with the rate capped, as fastai's Larc has it (H26)."""
    a, b = np.linalg.norm(x), np.linalg.norm(g)
    v = momentum * (0 * x if v is None else v) + g
    return x - lr * (min(trust * a / (b + weight_decay * a), 1.0) if a > 0 and b > 0 else 1.0) * v, v


def ratio_first(x: Any, g: Any, state: Any, lr: float = 1e-3, weight_decay: float = 0.01) -> Any:
    """LAMB whose ratio is taken before the decay is added."""
    m, v, t = state or (0 * x, 0 * x, 0)
    m, v, t = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, t + 1
    r = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6)
    a, b = np.linalg.norm(x), np.linalg.norm(r)
    return x - lr * (a / b if a > 0 and b > 0 else 1.0) * (r + weight_decay * x), (m, v, t)


def raw_velocity(
    x: Any, g: Any, state: Any, lr: float = 1e-2, alpha: float = 0.99, momentum: float = 0.9
) -> Any:
    """RMSprop whose velocity is of gradients, divided afterwards."""
    v, b = state or (0 * x, 0 * x)
    v, b = alpha * v + (1 - alpha) * g * g, momentum * b + g
    return x - lr * b / (np.sqrt(v) + 1e-8), (v, b)


def norms(x: Any, g: Any, state: Any, lr: float = 1e-2, beta1: float = 0.95, beta2: float = 0.98) -> Any:
    """NovoGrad of norms in place of their squares."""
    n = np.linalg.norm(g)
    m, v = (g / (n + 1e-8), n) if state is None else (state[0], beta2 * state[1] + (1 - beta2) * n)
    m = m if state is None else beta1 * m + g / (v + 1e-8)
    return x - lr * m, (m, v)


def slowing(x: Any, g: Any, t: Any, lr: float = 1e-2) -> Any:
    """SGD whose rate falls as the root of the step's number."""
    t = (t or 0) + 1
    return x - lr / np.sqrt(t) * g, t


def exchanged(x: Any, g: Any, state: Any, lr: float = 1e-3, nu1: float = 0.7, nu2: float = 1.0) -> Any:
    """QHAdam whose ν's have changed places."""
    m, v, t = state or (0 * x, 0 * x, 0)
    m, v, t = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, t + 1
    a, b = m / (1 - 0.9**t), v / (1 - 0.999**t)
    return x - lr * ((1 - nu2) * g + nu2 * a) / (np.sqrt((1 - nu1) * g * g + nu1 * b) + 1e-8), (m, v, t)


def renewed(x: Any, g: Any, state: Any, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.9999) -> Any:
    """ADOPT whose average holds the gradient that it divides; no bound."""
    if state is None:
        return x, (0 * x, g * g)
    m, v = state
    v = beta2 * v + (1 - beta2) * g * g
    m = beta1 * m + (1 - beta1) * g / np.maximum(np.sqrt(v), 1e-6)
    return x - lr * m, (m, v)


def alpha_first(x: Any, g: Any, state: Any, lr: float = 1e-3, alpha: float = 5.0) -> Any:
    """AdEMAMix whose α is on the fast average."""
    m, n, v, t = state or (0 * x, 0 * x, 0 * x, 0)
    m, n, v, t = 0.9 * m + 0.1 * g, 0.9999 * n + 0.0001 * g, 0.999 * v + 0.001 * g * g, t + 1
    return x - lr * (alpha * m / (1 - 0.9**t) + n) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), (m, n, v, t)


FOUND = {
    renewed: ("adopt", "divided-by-the-renewed-average"),
    alpha_first: ("ademamix", "alpha-on-the-fast-average"),
    slowing: ("sgd", "rate-over-root-of-step"),
    exchanged: ("qhadam", "nu1-and-nu2-swapped"),
    raw_velocity: ("rmsprop", "velocity-before-the-root"),
    norms: ("novograd", "norm-in-place-of-its-square"),
    on_the_velocity: ("lars", "ratio-beside-the-velocity-or-the-rate"),
    capped: ("lars", "ratio-beside-the-velocity-capped"),
    ratio_first: ("lamb", "ratio-before-the-decay"),
    behind: ("adam", "bias-correction-one-step-behind"),
    inside: ("adamw", "weight-decay-in-the-quotient"),
    mean: ("adagrad", "mean-in-place-of-the-sum"),
    velocity: ("lars", "ratio-of-the-velocity"),
}


# Of three of LARS's and LAMB's ratio that take long; `make exhaustive` has them.
DEAR = (ratio_first, capped, on_the_velocity)


@pytest.mark.parametrize(
    "mine",
    [pytest.param(f, marks=[pytest.mark.exhaustive] if f in DEAR else [], id=f.__name__) for f in FOUND],
)
def test_slips_are_named(mine: Any) -> None:
    """Each is explained, by the name of the slip."""
    method, name = FOUND[mine]
    why = refopt.verify.diagnose(mine, method, steps=30)
    assert any(name in names for names in (why.explained_by, *why.also)), str(why)


def test_steps_to_the_bit() -> None:
    """A counter that momentum does not look at changes no bit; a negated gradient does. What takes the dialect's own steps is told as it."""
    found = entry("momentum")
    paper, faulty = dialects(found)[0], {c.names[0]: c for c in faults(found)}
    search = Search(observe(refopt.optimizer("momentum"), "momentum", steps=5), Effort(100))
    idle, other = (paper.with_(faulty[n]) for n in ("counter-one-ahead", "gradient-negated"))
    assert search.same_steps(idle, paper) and not search.same_steps(other, paper)
    assert _at_bottom(search, [paper], [(idle, [])]) == [(paper, [])]
    assert _at_bottom(search, [paper], [(other, [])]) == [(other, [])]


def test_a_rule_written_so_that_digits_cancel() -> None:
    """Heavy ball as the difference of two points agrees, and the report says how it is written; with 0.9001 it does not."""

    def difference(
        x: Any, g: Any, last: Any, lr: float = 1e-2, momentum: float = 0.9, times: float = 1.0
    ) -> Any:
        return x - lr * g + times * momentum * (x - (x if last is None else last)), x.copy()

    report = refopt.verify.compare(difference, "momentum")
    assert report.agrees and any("difference of the last two points" in n for n in report.notes), str(report)
    assert not refopt.verify.compare(functools.partial(difference, times=1.0001), "momentum", steps=60).agrees


@pytest.mark.exhaustive
def test_a_variant_that_changes_nothing_explains_nothing() -> None:
    """Heavy ball as the difference of two points cancels, and is a hair outside the bound: it is told to be momentum."""

    def difference(x: Any, g: Any, last: Any, lr: float = 1e-2, momentum: float = 0.9) -> Any:
        return x - lr * g + momentum * (x - (x if last is None else last)), x.copy()

    why = refopt.verify.diagnose(difference, "momentum", steps=60)
    assert why.explained_by == ("paper",), str(why)


def test_a_variance_less_eps() -> None:
    """TensorFlow.js takes eps from the variance of centered RMSprop, which then may have no root (oracle-cases, H5)."""

    def tfjs(x: Any, g: Any, state: Any, lr: float = 0.01, beta2: float = 0.9, eps: float = 1e-7) -> Any:
        v, m = state or (0 * x, 0 * x)
        v, m = beta2 * v + (1 - beta2) * g * g, beta2 * m + (1 - beta2) * g
        return x - lr * g / np.sqrt(v - (m * m + eps)), (v, m)

    why = refopt.verify.diagnose(tfjs, "rmsprop", steps=30)
    assert why.explained_by == ("eps-subtracted-in-the-variance",), str(why)


def test_damping_that_adds_up() -> None:
    """Levenberg-Marquardt whose damping is added to the J^T J that is kept for the next trial (oracle-cases, H15)."""

    def kept(x: Any, state: Any, residual: Any, jacobian: Any, tau: float = 1e-3) -> Any:
        r, s = np.ravel(residual(x)), state or {}
        if s.get("fresh", True):
            J = jacobian(x)
            A, b = J.T @ J, J.T @ r
            lam = s.get("lam", tau * np.max(np.diag(A)))
        else:
            A, b, lam = s["A"], s["b"], s["lam"]
        A = A + lam * np.eye(len(x))
        d = np.linalg.solve(A, -b)
        if r @ r - np.sum(np.ravel(residual(x + d)) ** 2) > 0:
            return x + d, {"fresh": True, "lam": lam / 10}
        return x, {"fresh": False, "A": A, "b": b, "lam": lam * 10}

    why = refopt.verify.diagnose(kept, "levenberg-marquardt")
    assert "damping-adds-up" in why.explained_by, str(why)


def test_what_is_not_finite_on_one_tape() -> None:
    """Shampoo of order 2 whose roots have no digits left on huge gradients: told, and where (oracle-cases, H14)."""

    def odyssey(x: Any, g: Any, state: Any, lr: float = 0.1, eps: float = 1e-4) -> Any:
        if x.ndim != 2:
            raise ValueError("matrices only")
        L, R = state or (eps * np.eye(x.shape[0]), eps * np.eye(x.shape[1]))
        L, R = L + g @ g.T, R + g.T @ g
        # The smallest eigenvalues of a singular sum are rounding: made negative here, on every processor.
        lost = np.nan if np.max(np.abs(g)) > 1e5 else 1.0

        def root(a: Any) -> Any:
            w, q = np.linalg.eigh(a)
            return (q * w**-0.5) @ q.T

        return x - lost * lr * root(L) @ g @ root(R), (L, R)

    why = refopt.verify.diagnose(odyssey, "shampoo", steps=20)
    assert why.explained_by == ("exponent=order", "not-finite:huge"), str(why)
    assert "But it is not finite on huge gradients, where the reference is" in str(why)


def test_a_variant_that_is_lost_in_rounding_explains_nothing() -> None:
    """RAdam without the rectification's root was told as a variant whose steps grow without end, off by 8e20 and allowed more."""

    def rootless(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
        m, v, t = state or (0 * x, 0 * x, 0)
        m, v, t = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, t + 1
        top, u = 1999.0, m / (1 - 0.9**t)
        length = top - 2 * t * 0.999**t / (1 - 0.999**t)
        if length <= 4:
            return x - lr * u, (m, v, t)
        r = (length - 4) * (length - 2) * top / ((top - 4) * (top - 2) * length)
        return x - lr * r * u / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), (m, v, t)

    found = entry("radam")
    search = Search(observe(rootless, "radam", steps=60), Effort(100))
    lost = next(c for c in faults(found) if "(1 - beta)^t" in c.words[0] and "second" in c.words[0])
    assert search.glance(dialects(found)[0].with_(lost)) < 1e-6  # as far as it looks at first
    assert search.explains(dialects(found)[0].with_(lost)) is None
