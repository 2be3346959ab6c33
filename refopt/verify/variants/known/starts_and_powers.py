"""Slips of averages and of what goes into them: how they begin, which power they hold, in which precision they are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.params import Params, leaves, map_leaves, rebuild
from refopt.optimizers.common import averages
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.trust import leaf_norm
from refopt.verify.variants.deviation import (
    Around,
    deviation,
    fields,
    innermost,
    patched,
    rewritten,
    with_numbers,
    with_shared,
)
from refopt.verify.variants.known.averages_and_roots import (
    Average,
    _averages,
    _squares_of,
    count_averages,
    nth,
)

PLACES = {None: "averages", 0: "first average", 1: "second average", 2: "third average"}


def _tail(which: int | None) -> str:
    return "" if which is None else f"-{('first', 'second', 'third')[which]}"


# --- how an average is written ---------------------------------------------------------------------


def _old_whole(average: Any, new: Any, beta: Any, complement: Any) -> Any:
    return average + complement * new


def _bracket_late(average: Any, new: Any, beta: Any, complement: Any) -> Any:
    return (beta * average + complement) * new


for _which, _words in PLACES.items():
    deviation(f"old-kept-whole{_tail(_which)}", f"with all of the old value kept in its {_words}", stage="text")(
        _averages(_which, _old_whole)
    )  # fmt: skip
    deviation(
        f"bracket-late{_tail(_which)}",
        f"with (beta old + 1 - beta) new in its {_words}: the bracket ends too late",
        stage="text",
    )(_averages(_which, _bracket_late))


# --- how it begins ---------------------------------------------------------------------------------


def _begins_whole(which: int | None) -> Callable[[Any], Any]:
    """Let an average begin at its first value, whatever the weights."""

    def whole(average: Any, new: Any, beta: Any, complement: Any) -> Any:
        return new

    def change(method: Any) -> Any:
        calls = count_averages(method)
        if calls == 0 or (which is not None and (which >= calls or calls == 1)):
            return None
        cls = type(method)

        def update(self: Any, x: Any, grad: Any, s: Any, *, donate: bool = False) -> Any:
            if s["t"] > 0:
                return cls.update(self, x, grad, s)
            with patched(cls, "ema", nth(which, whole, calls)):
                return cls.update(self, x, grad, s)

        return rewritten(method, update=update)

    return change


for _which, _words in PLACES.items():
    deviation(
        f"begins-whole{_tail(_which)}",
        f"with its {_words} begun at the first value, not at zero, and the bias correction as it is",
        stage="text",
    )(_begins_whole(_which))


# --- what it averages ------------------------------------------------------------------------------

deviation("absolutes-averaged", "with the average of |g| in place of squares", stage="text")(
    _squares_of(lambda m, g, old: abs(g))
)


deviation("not-squared", "with the average of g, not of its square", stage="text")(
    _squares_of(lambda m, g, old: g)
)


deviation("fourth-powers-averaged", "with the average of fourth powers in place of squares", stage="text")(
    _squares_of(lambda m, g, old: g**4)
)


@deviation(
    "fourth-powers-in-adams-average",
    "with Adam's average, of fourth powers, in the second moment's place",
    stage="text",
    only=("yogi",),
    seen=("optax 0.1.0 yogi (pull request #288)",),
)
def _(method: Any) -> Any:
    eps = fields(method)["eps"]

    def rule(self: Any, xp: Any) -> Any:
        divisor = nonzero(xp, eps)

        def yogi(x, g, m, v, beta1, k1, k2, step, root, eps, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            m, v = averages.ema(m, g, beta1, k1), averages.ema(v, g**4, self.beta2, k2)
            return keep * x - step * m / divisor(xp.sqrt(v) * root + eps), m, v

        return yogi

    return rewritten(method, rule=rule)


def _ahead(share: Callable[[float], float]) -> Callable[[Any], Any]:
    """Add momentum times the velocity to the gradient before the velocity takes ``share(momentum)`` of it."""

    def change(method: Any) -> Any:
        weight = share(fields(method)["momentum"])

        def rule(self: Any, xp: Any) -> Any:
            def momentum(x, g, v, gamma, gain, out, l2, keep):  # type: ignore[no-untyped-def]
                v = gamma * v + weight * gain * (g + l2 * x + gamma * v)
                return keep * x - out * v, v

            return momentum

        return rewritten(method, rule=rule)

    return change


for _name, _words, _share in (
    ("", "", lambda momentum: 1.0),
    ("-averaged", ", which takes 1 - momentum of both", lambda momentum: 1.0 - momentum),
):
    deviation(
        f"look-ahead-in-the-velocity{_name}",
        f"with momentum times the velocity added to the gradient before the velocity's own step{_words}",
        stage="text",
        only=("nesterov", "momentum"),
        seen=("mlx, first draft of its Nesterov (pull request #87)",) if _name else (),
    )(_ahead(_share))


@deviation(
    "difference-negated",
    "with the last gradient less this one as the change of the gradient",
    stage="text",
    only=("adan",),
)
def _(method: Any) -> Any:
    return with_numbers(method, lambda self, t, numbers: {**numbers, "moving": -numbers["moving"]})


for _rho in (0.9, 0.95, 0.99, 0.999):

    def _decaying(method: Any, rho: float = _rho) -> Any:
        class Changed(Around):
            def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
                return self.method.update(x, grad, {**s, "G": params.scale(rho, s["G"])})

        return Changed(method)

    deviation(
        f"sum-decays-by-{_rho:g}", f"with {_rho:g} of the old sum kept at every step", stage="step", only=("adagrad",)
    )(_decaying)  # fmt: skip


@deviation(
    "sum-of-velocities", "with the sum of the velocities, not their mean", stage="text", only=("aggmo",)
)
def _(method: Any) -> Any:
    whole = float(len(fields(method)["betas"]))
    return with_numbers(method, lambda self, t, numbers: {**numbers, "step": whole * numbers["step"]})


@deviation("rate-in-the-velocities", "with the rate in the velocities", stage="text", only=("aggmo",))
def _(method: Any) -> Any:
    def rule(self: Any, xp: Any) -> Any:
        def aggmo(x, g, v, step, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            v = xp.stack([beta * v[i, ...] + step * g for i, beta in enumerate(self.betas)])
            return keep * x - xp.sum(v, axis=0), v

        return aggmo

    return rewritten(method, rule=rule)


# --- norms of leaves -------------------------------------------------------------------------------

deviation("norms-squared", "with squared norms in place of norms", stage="text")(
    lambda method: with_shared(method, "leaf_norm", lambda m: lambda a: leaf_norm(a) ** 2)
)


deviation("trust-ratio-inverted", "with its ratio turned over", stage="text")(
    lambda method: with_shared(method, "trust_ratio", lambda m: _turned)
)


def _turned(size: Any, denominator: Any) -> Any:
    xp = namespace(size)
    whole = (size > 0.0) & (denominator > 0.0)
    return xp.where(whole, denominator / xp.where(whole, size, xp.ones_like(size)), xp.ones_like(size))


@deviation("norms-over-all-leaves", "with norms over all leaves in place of each leaf's own", stage="step")
def _(method: Any) -> Any:
    inner = innermost(method)
    with patched(type(inner), "leaf_norm", leaf_norm) as there:
        if not there:
            return None

    def joined(named: Params) -> Any:
        return np.concatenate([np.ravel(v) for v in leaves(named).values()])

    class Changed(Around):
        def init(self, x: Params) -> Any:
            return self.method.init(joined(x))

        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            new, after = self.method.update(joined(x), joined(grad), s)
            named = leaves(x)
            cuts = np.cumsum([np.size(v) for v in named.values()])[:-1]
            parts = zip(named.items(), np.split(new, cuts))
            return rebuild(x, {k: part.reshape(np.shape(v)) for (k, v), part in parts}), after

    return Changed(method)


# --- the precision in which an average is kept -----------------------------------------------------


def to_bfloat16(a: Any) -> Any:
    """Round to the nearest bfloat16, ties to even, in the array's own dtype."""
    values = np.asarray(a, dtype=np.float32)
    bits = values.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)
    return np.where(np.isfinite(values), rounded, values).astype(np.asarray(a).dtype)


def _through(dtype: Any) -> Callable[[Any], Any]:
    return lambda a: np.asarray(a, dtype=dtype).astype(np.asarray(a).dtype)


ROUNDED: dict[str, Callable[[Any], Any]] = {
    "float32": _through(np.float32),
    "bfloat16": to_bfloat16,
    "float16": _through(np.float16),
}


def _rounding(to: Callable[[Any], Any]) -> Average:
    return lambda average, new, beta, complement: to(averages.ema(average, new, beta, complement))


def _stored(to: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Round what a method keeps after a step that used it whole."""

    def change(method: Any) -> Any:
        slots = [k for k in getattr(innermost(method), "slots", ()) if k in ("m", "v", "n", "G", "E", "b")]
        if not slots:
            return None

        class Changed(Around):
            def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
                new, after = self.method.update(x, grad, s)
                return new, {**after, **{k: map_leaves(to, after[k]) for k in slots if k in after}}

        return Changed(method)

    return change


for _name, _to in ROUNDED.items():
    deviation(f"averages-in-{_name}", f"with its averages in {_name}", stage="text")(
        _averages(None, _rounding(_to))
    )
    deviation(f"state-kept-in-{_name}", f"with its state kept in {_name} from one step to the next", stage="step")(
        _stored(_to)
    )  # fmt: skip
