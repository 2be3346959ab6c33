"""Kinds of slips that a second corpus of public code and reports showed: written down before the oracle was asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.registry import entry
from refopt.verify.diagnosis import LONGEST
from refopt.verify.runs.observe import observe
from refopt.verify.search.effort import Effort
from refopt.verify.search.levels import _edits
from refopt.verify.search.trajectories import Search
from refopt.verify.variants.candidate import dialects, faults, numbers


def _moments(x: Any, g: Any, state: Any, first: Any = None) -> Any:
    """Adam's averages; `first` is what they begin with in place of zeros."""
    if state is None and first is not None:
        return first[0], first[1], 1
    m, v, t = state or (0 * x, 0 * x, 0)
    return 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, t + 1


def _quotient(m: Any, v: Any, t: int) -> Any:
    return (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def begun_whole(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Adam whose averages begin at the first gradient and its square, corrected all the same (pennylane#1928)."""
    m, v, t = _moments(x, g, state, first=(g, g * g))
    return x - lr * _quotient(m, v, t), (m, v, t)


def bracket(x: Any, g: Any, state: Any, lr: float = 1.0, rho: float = 0.95, eps: float = 1e-6) -> Any:
    """AdaDelta with (rho E + (1 - rho)) g² (nd4j#1239)."""
    E, D = state or (0 * x, 0 * x)
    E = (rho * E + (1 - rho)) * g * g
    d = np.sqrt(D + eps) / np.sqrt(E + eps) * g
    return x - lr * d, (E, rho * D + (1 - rho) * d * d)


def ahead(x: Any, g: Any, v: Any, lr: float = 1e-2, momentum: float = 0.9) -> Any:
    """Nesterov's look-ahead in the average (mlx#87)."""
    v = 0 * x if v is None else v
    v = momentum * v + (1 - momentum) * (g + momentum * v)
    return x - lr * v, v


def decaying(x: Any, g: Any, total: Any, lr: float = 1e-2, eps: float = 1e-8) -> Any:
    """AdaGrad with 0.95 of the sum kept."""
    total = 0.95 * (0 * x if total is None else total) + g * g
    return x - lr * g / np.sqrt(total + eps), total


def summed(x: Any, g: Any, v: Any, lr: float = 1e-2, betas: Any = (0.0, 0.9, 0.99)) -> Any:
    """AggMo with a sum, and the rate in the velocities."""
    v = [b * u + lr * g for b, u in zip(betas, v or [0 * x] * 3)]
    return x - sum(v), v


def squared(x: Any, g: Any, v: Any, lr: float = 1.0, trust: float = 1e-3, momentum: float = 0.9,
            weight_decay: float = 5e-4) -> Any:  # fmt: skip
    """LARS of squared norms."""
    a, b = np.sum(x * x), np.sum(g * g)
    local = trust * (a / (b + weight_decay * a) if a > 0 and b + weight_decay * a > 0 else 1.0)
    v = momentum * (0 * x if v is None else v) + lr * local * (g + weight_decay * x)
    return x - v, v


def clipped(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Adam on gradients that are clipped as torch clips."""
    m, v, t = _moments(x, g * min(1.0, 1.0 / (np.linalg.norm(g) + 1e-6)), state)
    return x - lr * _quotient(m, v, t), (m, v, t)


def short_step(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Adam whose steps are at most the rate."""
    m, v, t = _moments(x, g, state)
    return x - lr * np.clip(_quotient(m, v, t), -1.0, 1.0), (m, v, t)


def masked(x: Any, g: Any, state: Any, lr: float = 1e-3, weight_decay: float = 1e-2) -> Any:
    """AdamW whose mask is turned round: biases decay, matrices do not."""
    m, v, t = _moments(x, g, state)
    return x - lr * (_quotient(m, v, t) + (weight_decay * x if x.ndim < 2 else 0.0)), (m, v, t)


def half(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Adam whose averages are kept in float16."""
    m, v, t = _moments(x, g, state)
    kept = (m.astype(np.float16).astype(x.dtype), v.astype(np.float16).astype(x.dtype), t)
    return x - lr * _quotient(m, v, t), kept


def slow_corrected(x: Any, g: Any, state: Any, lr: float = 1e-3, alpha: float = 5.0) -> Any:
    """AdEMAMix whose slow average is corrected."""
    m, v, t = _moments(x, g, None if state is None else state[:3])
    n = 0.9999 * (0 * x if state is None else state[3]) + 0.0001 * g
    u = m / (1 - 0.9**t) + alpha * n / (1 - 0.9999**t)
    return x - lr * u / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), (m, v, t, n)


def turned(x: Any, g: Any, state: Any, lr: float = 1e-3, weight_decay: float = 0.01) -> Any:
    """LAMB whose ratio is turned over."""
    m, v, t = state or (0 * x, 0 * x, 0)
    m, v, t = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, t + 1
    u = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6) + weight_decay * x
    a, b = np.linalg.norm(x), np.linalg.norm(u)
    return x - lr * (b / a if a > 0 and b > 0 else 1.0) * u, (m, v, t)


def plain(x: Any, g: Any, v: Any, lr: float = 0.1, trust: float = 1e-2, momentum: float = 0.9,
          weight_decay: float = 5e-4) -> Any:  # fmt: skip
    """LARS that leaves decay out with the ratio (jettify's, from lightning-bolts)."""
    a, b = np.linalg.norm(x), np.linalg.norm(g)
    if weight_decay > 0 and a > 0 and b > 0:
        g = trust * a / (b + weight_decay * a + 1e-8) * (g + weight_decay * x)
    v = g if v is None else momentum * v + g
    return x - lr * v, v


def norm_corrected(x: Any, g: Any, state: Any, lr: float = 2e-3) -> Any:
    """AdaMax whose norm is corrected as an average is."""
    m, u, t = state or (0 * x, 0 * x, 0)
    m, u, t = 0.9 * m + 0.1 * g, np.maximum(0.999 * u, np.abs(g) + 1e-8), t + 1
    return x - lr * (m / (1 - 0.9**t)) / (u / (1 - 0.999**t)), (m, u, t)


def forgetful(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Adan that never keeps the last gradient (holocron's)."""
    m, v, n, t = state or (0 * x, 0 * x, 0 * x, 0)
    m, v, t = 0.98 * m + 0.02 * g, 0.92 * v + 0.08 * g, t + 1
    n = 0.99 * n + 0.01 * (g + 0.92 * g) ** 2
    u = m / (1 - 0.98**t) + 0.92 * v / (1 - 0.92**t)
    return x - lr * u / (np.sqrt(n / (1 - 0.99**t)) + 1e-8), (m, v, n, t)


FOUND = {
    begun_whole: ("adam", "begins-whole"),
    bracket: ("adadelta", "bracket-late-first"),
    ahead: ("nesterov", "look-ahead-in-the-velocity-averaged"),
    decaying: ("adagrad", "sum-decays-by-0.95"),
    summed: ("aggmo", "rate-in-the-velocities"),
    squared: ("lars", "norms-squared"),
    clipped: ("adam", "gradient-clipped-by-norm-plus-1e-6"),
    short_step: ("adam", "step-clipped"),
    masked: ("adamw", "weight-decay-of-vectors"),
    half: ("adam", "state-kept-in-float16"),
    slow_corrected: ("ademamix", "slow-average-corrected"),
    turned: ("lamb", "trust-ratio-inverted"),
    plain: ("lars", "plain-without-ratio"),
    forgetful: ("adan", "previous-gradient-never-kept"),
    norm_corrected: ("adamax", "norm-corrected-too"),
}

# Two seconds and more each: methods that run leaf by leaf, and pairs.
DEAR = (summed, squared, clipped, turned, plain)


@pytest.mark.parametrize(
    "mine",
    [pytest.param(f, marks=pytest.mark.exhaustive if f in DEAR else (), id=f.__name__) for f in FOUND],
)
def test_slips_are_named(mine: Any) -> None:
    """Each is explained, by the name of the slip."""
    method, name = FOUND[mine]
    why = refopt.verify.diagnose(mine, method, steps=12)
    assert any(name in names for names in (why.explained_by, *why.also)), str(why)


class Global:
    """LARS with norms over all leaves (objax#136)."""

    def __init__(
        self, lr: float = 1.0, trust: float = 1e-3, momentum: float = 0.9, weight_decay: float = 5e-4
    ) -> None:
        self.lr, self.trust, self.momentum, self.weight_decay = lr, trust, momentum, weight_decay
        self.v: dict[str, Any] = {}

    def update(self, params: Any, grads: Any) -> None:
        """Write the step into the parameters."""
        a, b = (np.sqrt(sum(np.sum(p * p) for p in d.values())) for d in (params, grads))
        below = b + self.weight_decay * a
        ratio = self.lr * self.trust * (a / below if a > 0 and below > 0 else 1.0)
        for k, x in params.items():
            u = ratio * (grads[k] + self.weight_decay * x)
            self.v[k] = self.momentum * self.v.get(k, 0 * x) + u
            params[k] = x - self.v[k]


def test_one_norm_for_all_leaves() -> None:
    """It is told from the reference, whose norms are each leaf's own."""
    why = refopt.verify.diagnose(Global, "lars", steps=8)
    assert "norms-over-all-leaves" in why.explained_by, str(why)


def test_adafactor_has_no_factored_from_zero() -> None:
    """Numbers that a method refuses are not tried: half of 1 is 0, and once left `diagnose` as an error."""
    tried = [c.settings.get("factored_from", 1) for c in numbers(entry("adafactor"))]
    assert min(tried) == 1 and max(tried) > 1


def late(x: Any, g: Any, t: Any, lr: float = 1e-2) -> Any:
    """SGD whose rate is halved after 70 steps."""
    t = (t or 0) + 1
    return x - (lr if t <= 70 else 0.5 * lr) * g, t


def test_what_comes_into_force_late() -> None:
    """One tape is 120 steps long where `diagnose` looks: a rate that falls in the 71st is no agreement."""
    (paper, *_) = dialects(entry("sgd"))
    for longest, seen in ((0, True), (LONGEST, False)):
        observed = observe(late, "sgd", steps=8, longest=longest)
        assert len(observed.runs[0].tape) == max(8, longest)
        assert (Search(observed, Effort(10)).explains(paper) is not None) == seen


class Kept:
    """Momentum whose first velocity is the gradient's own memory."""

    def __init__(self, lr: float = 1e-2, momentum: float = 0.9) -> None:
        self.lr, self.momentum, self.v = lr, momentum, {}

    def update(self, params: Any, grads: Any) -> None:
        """Write the step into the parameters, and the velocity into the gradient."""
        for k, g in grads.items():
            if k not in self.v:
                self.v[k] = g
            else:
                self.v[k] *= self.momentum
                self.v[k] += g
            params[k] -= self.lr * self.v[k]


def test_an_object_that_keeps_the_gradient() -> None:
    """Its steps are momentum's, and the sentence says that it keeps the memory that it was given."""
    why = refopt.verify.diagnose(Kept, "momentum", steps=8)
    assert why.explained_by and "stores the gradient array without copying" in str(why), str(why)


def test_a_first_look_reaches_the_departure() -> None:
    """SGD whose seventh step is twice as long: first looks have eight steps from then on, not four."""

    def seventh(x: Any, g: Any, t: Any, lr: float = 1e-2) -> Any:
        return x - (2 * lr if (t or 0) == 6 else lr) * g, (t or 0) + 1

    (paper, *_) = dialects(entry("sgd"))
    search = Search(observe(seventh, "sgd", steps=12), Effort(50))
    assert search.explains(paper) is None and search.partial == [paper]
    search.look_longer()
    assert search.steps == 8
    assert search.glance(paper) > search.near


def test_what_departs_late_is_told_from_one_leaf() -> None:
    """What does nothing to the leaf that refuted the reference is refuted there; what mends it is not, and in single precision neither."""
    (paper, *_) = dialects(entry("sgd"))
    search = Search(observe(late, "sgd", steps=8, longest=80), Effort(50))
    assert search.explains(paper) is None and search._witness is not None
    assert search._witness[2] >= 71 and search._at_the_witness(paper) in search._there
    halved = next(c for c in faults(entry("sgd")) if c.names == ("gradient-halved",))
    assert search._at_the_witness(paper.with_(halved)) is None
    assert search.examine(paper, 1.0) is not None


def test_edits_of_what_is_done_now_and_then() -> None:
    """SOAP renews its bases in the eleventh step; lines that run there alone are edited, too."""
    base = dialects(entry("soap"))
    search = Search(observe(refopt.optimizer("soap"), "soap", steps=15), Effort(50))
    told = [c.words[0] for size in _edits(search, base[-1:]) for c in size]
    assert any("take(v, order" in words for words in told)
