"""Faults in a rule's text: averages, bias corrections, roots and eps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refopt.core.errors import CapabilityError
from refopt.optimizers.common import averages
from refopt.verify.variants.deviation import (
    deviation,
    fields,
    patched,
    rewritten,
    with_namespace,
    with_shared,
)

# --- bias correction -------------------------------------------------------------------------------

Correction = Callable[[float, int], float]


def _corrections(make: Callable[[Any], Correction]) -> Callable[[Any], Any]:
    return lambda method: with_shared(method, "correction", make)


def _except(name: str) -> Callable[[Any], Correction]:
    def make(method: Any) -> Callable[[float, int], float]:
        beta = fields(method).get(name)
        return lambda b, t: 1.0 if b == beta else averages.correction(b, t)

    return make


deviation("no-bias-correction", "without bias correction", stage="text")(
    _corrections(lambda method: lambda beta, t: 1.0)
)


deviation("no-first-bias-correction", "with bias correction of the second average alone", stage="text")(
    _corrections(_except("beta1"))
)


deviation("no-second-bias-correction", "with bias correction of the first average alone", stage="text")(
    _corrections(_except("beta2"))
)


def _one_of(name: str | None, change: Correction) -> Callable[[Any], Correction]:
    """Change the corrections with the beta called `name`; None: all of them."""

    def make(method: Any) -> Correction:
        beta = fields(method).get(name) if name else None
        return lambda b, t: change(b, t) if name is None or b == beta else averages.correction(b, t)

    return make


def _running_product(beta: float, t: int) -> float:
    return float(np.float32(1.0) - np.multiply.reduce(np.full(t, beta, dtype=np.float32)))


_CHANGES: Mapping[str, tuple[str, Correction, tuple[str, ...]]] = {
    "of-step-1": (
        "1 - beta in place of 1 - beta^t",
        lambda b, t: 1.0 - b,
        ("pytorch-optimizer 3.4.2 ScheduleFreeRAdam (fixed in 3.5.0), inverted",),
    ),
    "complement": (
        "1 - (1 - beta^t) = beta^t in place of 1 - beta^t",
        lambda b, t: b**t,
        ("pytorch-optimizer 3.3.0 AdamG (fixed in 3.3.1)",),
    ),
    "one-step-ahead": ("1 - beta^(t+1) in place of 1 - beta^t", lambda b, t: averages.correction(b, t + 1), ()),
    "one-step-behind": (
        "1 - beta^(t-1), from the second step on, in place of 1 - beta^t",
        lambda b, t: averages.correction(b, max(t - 1, 1)),
        (),
    ),
    "power-of-complement": ("(1 - beta)^t in place of 1 - beta^t", lambda b, t: (1.0 - b) ** t, ()),
    "inverted": ("the bias correction multiplied in place of divided", lambda b, t: 1.0 / averages.correction(b, t), ()),
    "squared": ("the bias correction applied twice", lambda b, t: averages.correction(b, t) ** 2, ()),
    "single": ("1 - beta^t from a running product in single precision", _running_product, ("tinygrad's Adam",)),
    "single-power": (
        "1 - beta^t in single precision",
        lambda b, t: float(np.float32(1.0) - np.float32(b) ** np.float32(t)),
        (),
    ),
    "rooted": ("the root of the bias correction", lambda b, t: averages.correction(b, t) ** 0.5, ()),
}  # fmt: skip


for _name, (_what, _change, _seen) in _CHANGES.items():
    for _tail, _beta, _of in (
        ("", None, ""),
        ("-first", "beta1", "the first"),
        ("-second", "beta2", "the second"),
    ):
        deviation(
            f"bias-correction-{_name}{_tail}", f"with {_what}{_of and f', in {_of} average'}", stage="text", seen=_seen
        )(_corrections(_one_of(_beta, _change)))  # fmt: skip


def _other_beta(name: str, other: str) -> Callable[[Any], Correction]:
    def make(method: Any) -> Correction:
        have = fields(method)
        mine, theirs = have.get(name), have.get(other)
        return lambda b, t: averages.correction(theirs if b == mine and theirs is not None else b, t)

    return make


deviation("first-correction-with-beta2", "with beta2 in the first average's bias correction", stage="text")(
    _corrections(_other_beta("beta1", "beta2"))
)


deviation("second-correction-with-beta1", "with beta1 in the second average's bias correction", stage="text")(
    _corrections(_other_beta("beta2", "beta1"))
)


# --- averages --------------------------------------------------------------------------------------

Average = Callable[..., Any]


def nth(which: int | None, changed: Average, calls: int) -> Average:
    """Return an average whose `which`-th call of every `calls` is `changed`; None: every call."""
    count = [0]

    def ema(average: Any, new: Any, beta: Any, complement: Any) -> Any:
        place = count[0] % calls
        count[0] += 1
        return (changed if which in (None, place) else averages.ema)(average, new, beta, complement)

    return ema


def count_averages(method: Any) -> int:
    """Return how many exponential averages the rule of `method` takes of one leaf; 0 if it has none."""
    count = [0]

    def counting(average: Any, new: Any, beta: Any, complement: Any) -> Any:
        count[0] += 1
        return averages.ema(average, new, beta, complement)

    changed = with_shared(method, "ema", lambda m: counting)
    if changed is None:
        return 0
    with np.errstate(all="ignore"):
        x = np.ones((2, 2))
        try:
            changed.update(x, 0.5 * x, changed.init(x))
        except CapabilityError:  # its step asks for more than a gradient
            return 0
    return count[0]


def _averages(which: int | None, changed: Average) -> Callable[[Any], Any]:
    def change(method: Any) -> Any:
        calls = count_averages(method)
        if calls == 0 or (which is not None and (which >= calls or calls == 1)):
            return None
        return with_shared(method, "ema", lambda m: nth(which, changed, calls))

    return change


def _undamped(average: Any, new: Any, beta: Any, complement: Any) -> Any:
    return beta * average + new


def _swapped(average: Any, new: Any, beta: Any, complement: Any) -> Any:
    return complement * average + beta * new


def _both(average: Any, new: Any, beta: Any, complement: Any) -> Any:
    return beta * average + beta * new


def _negated(average: Any, new: Any, beta: Any, complement: Any) -> Any:
    return beta * average - complement * new


def _newest(average: Any, new: Any, beta: Any, complement: Any) -> Any:
    return new


PLACES = {None: "averages", 0: "first average", 1: "second average"}


for _which, _words in PLACES.items():
    _tail = "" if _which is None else f"-{('first', 'second')[_which]}"
    deviation(f"undamped{_tail}", f"with sums in place of its {_words}: (1 - beta) is missing", stage="text")(
        _averages(_which, _undamped)
    )
    deviation(
        f"average-weights-swapped{_tail}", f"with beta and 1 - beta exchanged in its {_words}", stage="text"
    )(_averages(_which, _swapped))
    deviation(
        f"average-weights-both-beta{_tail}", f"with beta for both weights of its {_words}", stage="text"
    )(_averages(_which, _both))
    deviation(f"average-negated{_tail}", f"with the new term of its {_words} subtracted", stage="text")(
        _averages(_which, _negated)
    )
    deviation(f"not-averaged{_tail}", f"with the newest value in place of its {_words}", stage="text")(
        _averages(_which, _newest)
    )


def _squares_of(product: Callable[[Any, Any, Any], Any]) -> Callable[[Any], Any]:
    """Average ``product(m, g, old)`` where the squares' average stands: the first average, new and old."""

    def change(method: Any) -> Any:
        calls, held = count_averages(method), [None, None, None]
        if calls < 2:
            return None

        def make(method: Any) -> Average:
            count = [0]

            def ema(average: Any, new: Any, beta: Any, complement: Any) -> Any:
                place = count[0] % calls
                count[0] += 1
                if place == 1:
                    new = product(*held)
                out = averages.ema(average, new, beta, complement)
                if place == 0:
                    held[:] = [out, new, average]
                return out

            return ema

        return with_shared(method, "ema", make)

    return change


deviation("squares-of-the-first-average", "with the first average squared in place of the gradient", stage="text")(
    _squares_of(lambda m, g, old: m * m)
)  # fmt: skip


deviation("squares-mixed", "with gradient times first average in place of the gradient's square", stage="text")(
    _squares_of(lambda m, g, old: m * g)
)  # fmt: skip


deviation(
    "squares-of-the-distance",
    "with the square of the gradient's distance from its first average in place of the gradient's (AdaBelief)",
    stage="text",
)(_squares_of(lambda m, g, old: (g - m) ** 2))


deviation(
    "squares-of-the-distance-from-old",
    "with the square of the gradient's distance from the first average of the step before",
    stage="text",
    seen=("optax 0.2.3 adabelief (fixed in 0.2.4), in AdaBelief",),
)(_squares_of(lambda m, g, old: (g - old) ** 2))


def _stale(which: int) -> Callable[[Any], Any]:
    """Use an average before it takes in the new gradient; store it after."""

    def change(method: Any) -> Any:
        calls = count_averages(method)
        if which >= calls:
            return None
        cls = type(method)

        def update(self: Any, x: Any, grad: Any, s: Any, *, donate: bool = False) -> Any:
            _, after = cls.update(self, x, grad, s)
            with patched(cls, "ema", nth(which, lambda average, new, beta, complement: average, calls)):
                moved, _ = cls.update(self, x, grad, s)
            return moved, after

        return rewritten(method, update=update)

    return change


deviation("stale-first-average", "with the first average of the step before", stage="text")(_stale(0))


deviation("stale-second-average", "with the second average of the step before", stage="text")(_stale(1))


# --- roots and eps ---------------------------------------------------------------------------------


def _rooted(
    make: Callable[[Any, Any, float, float], Callable[[Any], Any]], *, drop_eps: bool
) -> Callable[[Any], Any]:
    """Change the root of a rule: ``make(method, xp, eps, root)`` with the correction `root` of this step."""

    def change(method: Any) -> Any:
        eps = fields(method).get("eps")
        if drop_eps and not eps:
            return None
        if not hasattr(method, "numbers"):
            return None
        cls, now = type(method), [1.0]

        def numbers(self: Any, t: int, carried: Any) -> dict[str, float]:
            found: dict[str, float] = cls.numbers(self, t, carried)
            now[0] = found.get("root", 1.0)
            if drop_eps:
                found = {k: 0.0 if k.startswith("eps") and k != "eps_root" else v for k, v in found.items()}
            return found

        changed = with_namespace(method, lambda m, xp: {"sqrt": make(m, xp, eps or 0.0, now[0])})
        return None if changed is None else rewritten(changed, numbers=numbers)

    return change


deviation("eps-inside-root", "with eps inside the root, beside the corrected average", stage="text")(
    _rooted(lambda m, xp, eps, root: lambda v: xp.sqrt(v + eps / root**2), drop_eps=True)
)


deviation(
    "eps-inside-root-uncorrected", "with eps inside the root, beside the uncorrected average", stage="text"
)(_rooted(lambda m, xp, eps, root: lambda v: xp.sqrt(v + eps), drop_eps=True))


deviation(
    "eps-inside-too", "with eps inside the root too, beside the uncorrected average", stage="text",
    seen=("pytorch-optimizer 3.5.1 AdaBound (1e-15 in place of eps from 3.7.0 on, #398)",),
)(_rooted(lambda m, xp, eps, root: lambda v: xp.sqrt(v + eps), drop_eps=False))  # fmt: skip


deviation(
    "floor-under-the-root", "with 1e-15 inside the root beside eps outside, beside the corrected average", stage="text",
    seen=("pytorch-optimizer 4.1.0, wherever apply_ams_bound makes the divisor",),
)(_rooted(lambda m, xp, eps, root: lambda v: xp.sqrt(v + 1e-15 / root**2), drop_eps=False))  # fmt: skip


deviation("eps-beside-uncorrected-root", "with eps beside the uncorrected root", stage="text")(
    _rooted(lambda m, xp, eps, root: lambda v: xp.sqrt(v) + eps, drop_eps=True)
)


deviation("eps-as-floor", "with the larger of root and eps in place of their sum", stage="text")(
    _rooted(
        lambda m, xp, eps, root: lambda v: xp.maximum(xp.sqrt(v), xp.full_like(v, eps / root)), drop_eps=True
    )
)


deviation("eps-squared-inside-root", "with eps² inside the root", stage="text")(
    _rooted(lambda m, xp, eps, root: lambda v: xp.sqrt(v + (eps / root) ** 2), drop_eps=True)
)


deviation("no-root", "without the root", stage="text")(
    _rooted(lambda m, xp, eps, root: lambda v: v * root, drop_eps=False)
)


deviation("no-root-but-of-the-correction", "without the root, but for that of the correction", stage="text")(
    _rooted(lambda m, xp, eps, root: lambda v: 1.0 * v, drop_eps=False)
)


deviation("cube-root", "with a cube root in place of the square root", stage="text")(
    _rooted(lambda m, xp, eps, root: lambda v: v ** (1.0 / 3.0), drop_eps=False)
)
