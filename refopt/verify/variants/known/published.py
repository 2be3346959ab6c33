"""Faults of one method each, as a published release had them; see docs/museum.md."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.arrays import Namespace, namespace
from refopt.core.groups import SHAPES
from refopt.core.method import LeafRule, Rule
from refopt.core.params import Params, map_leaves
from refopt.optimizers.common.averages import ema
from refopt.verify.variants.deviation import (
    Around,
    altered,
    blended,
    deviation,
    fields,
    innermost,
    refit,
    rewritten,
    with_namespace,
    with_numbers,
    with_shared,
)


@deviation(
    "lion-buffer-shared",
    "with one buffer for step and momentum: both averages are taken in it, one after the other",
    stage="step",
    seen=("pytorch-optimizer 2.7.0 Lion (fixed in 2.8.0)",),
    only=("lion",),
)
def _(method: Any) -> Any:
    inner = innermost(method)
    have = fields(inner)

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            t = s["t"] + 1
            g = params.axpy(inner.coupled(), x, grad)
            m = blended(blended(s["m"], g, have["beta1"]), g, have["beta2"])
            keep, rate = inner.keep(t), inner.rate(t)
            return map_leaves(lambda a, b: keep * a - rate * namespace(a).sign(b), x, m), {
                **s, "t": t, "m": m,
            }  # fmt: skip

    return Changed(method)


@deviation(
    "times-the-root",
    "times the root of the averaged squares (and eps beside it), in place of over it",
    stage="text",
)
def _(method: Any) -> Any:
    if not isinstance(method, LeafRule):
        return None
    try:
        wanted = inspect.signature(method.rule(np)).parameters
    except NotImplementedError:
        # A whole-leaf method that overrides what its rule would be called from.
        return None
    if not {"root", "step", "eps"} <= wanted.keys():
        return None
    eps = fields(method).get("eps", 0.0)

    def changed(self: Any, t: int, numbers: dict[str, float]) -> dict[str, float]:
        return {**numbers, "step": numbers["step"] / numbers["root"], "root": 1.0, "eps": eps}

    return with_shared(
        with_numbers(method, changed), "nonzero", lambda m: lambda xp, *eps: lambda below: 1.0 / below
    )


@deviation(
    "look-ahead-kept-projected",
    "with the look-ahead written back into the momentum buffer, and projected there",
    stage="step",
    seen=("pytorch-optimizer 2.7.0 SGDP (fixed in 2.8.0)",),
    only=("sgdp",),
)
def _(method: Any) -> Any:
    inner = innermost(method)
    have = fields(inner)
    if not have["nesterov"]:
        return None

    def kept(x: Any, g: Any, b: Any) -> Any:
        d = g + have["momentum"] * b
        return d if x.ndim < 2 else inner.project(namespace(x), x, g, d)[0]

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            new, after = self.method.update(x, grad, s)
            g = params.axpy(inner.coupled(), x, grad)
            return new, {**after, "b": map_leaves(kept, x, g, after["b"])}

    return Changed(method)


@deviation(
    "oracle-of-the-gradient",
    "with the oracle asked about the gradient, not about its average",
    stage="text",
    seen=("pytorch-optimizer 3.6.0 SCION (fixed in 3.6.1)",),
    only=("scion",),
)
def _(method: Any) -> Any:
    return altered(method, alpha=1.0)


@deviation(
    "difference-weight-complement",
    "with 1 - beta2 in place of beta2 as the weight of the gradient's change, in step and square",
    stage="text",
    seen=("optax 0.2.8 adan (pull request #1715, open)",),
    only=("adan",),
)
def _(method: Any) -> Any:
    beta2 = fields(method)["beta2"]

    def changed(self: Any, t: int, numbers: dict[str, float]) -> dict[str, float]:
        step = numbers["step_v"] / beta2 * (1.0 - beta2) if beta2 else 0.0
        return {**numbers, "weight": 1.0 - beta2, "step_v": step}

    return with_numbers(method, changed)


@deviation(
    "centered-mean-of-squares",
    "with the mean that centers made of squared gradients, and its square taken out of the stored average",
    stage="text",
    seen=("keras 2.10.0 experimental RMSprop (fixed in 2.11.0)",),
    only=("rmsprop",),
)
def _(method: Any) -> Any:
    have = fields(method)
    if not have["centered"]:
        return None

    def rule(self: Any, xp: Namespace) -> Rule:
        def scaled(
            x: Any, g: Any, v: Any, m: Any, beta: float, fresh: float, eps_in: float, eps_out: float,
            gain: float, l2: float,
        ) -> tuple[Any, Any, Any]:  # fmt: skip
            g = g + l2 * x
            m = beta * m + fresh * (g * g)
            v = beta * v + fresh * (g * g) - m * m
            return gain * g / (xp.sqrt(v + eps_in) + eps_out), v, m

        def centered(x, g, v, m, beta, fresh, weight, eps_in, eps_out, mu, gain, out, l2, keep):
            u, v, m = scaled(x, g, v, m, beta, fresh, eps_in, eps_out, gain, l2)
            return keep * x - out * u, v, m

        def both(x, g, v, m, b, beta, fresh, weight, eps_in, eps_out, mu, gain, out, l2, keep):
            u, v, m = scaled(x, g, v, m, beta, fresh, eps_in, eps_out, gain, l2)
            b = mu * b + u
            return keep * x - out * (mu * b + u if have["nesterov"] else b), v, m, b

        return both if have["momentum"] else centered

    return rewritten(method, rule=rule)


@deviation(
    "next-momentum-product-too-long",
    "with this step's momentum once more in the product of momenta that corrects the look-ahead",
    stage="text",
    seen=("torch 1.13.1 NAdam, one tensor at a time (fixed in 2.0.0)",),
    only=("nadam",),
)
def _(method: Any) -> Any:
    if fields(method)["shared_correction"]:
        return None
    cls = type(method)

    def scalars(self: Any, t: int, carried: Any) -> dict[str, float]:
        now, after = self.momentum(t), self.momentum(t + 1)
        through = 1.0 - carried["product"] * now * after
        return {**cls.scalars(self, t, carried), "through": self.rate(t) * after / through}

    return rewritten(method, scalars=scalars)


@deviation(
    "next-momentum-is-this-one", "with this step's momentum in place of the next one's", stage="text", only=("nadam",)
)  # fmt: skip
def _(method: Any) -> Any:
    cls = type(method)

    def scalars(self: Any, t: int, carried: Any) -> dict[str, float]:
        now, product = self.momentum(t), carried["product"]
        through = 1.0 - product * (1.0 if self.shared_correction else now)
        return {**cls.scalars(self, t, carried), "through": self.rate(t) * now / through}

    return rewritten(method, scalars=scalars)


@deviation(
    "gradient-weight-complement", "with mu in place of 1 - mu as the gradient's weight in the step",
    stage="text", only=("nadam",),
)  # fmt: skip
def _(method: Any) -> Any:
    def changed(self: Any, t: int, numbers: dict[str, float]) -> dict[str, float]:
        now = self.momentum(t)
        return {**numbers, "direct": numbers["direct"] / (1.0 - now) * now}

    return with_numbers(method, changed)


def _lars(*, in_norm: bool) -> Callable[[Any], Any]:
    """Leave LARS's decay in the norm under its ratio alone, or in the step alone."""

    def change(method: Any) -> Any:
        if not fields(method)["weight_decay"]:
            return None
        cls = type(method)
        # Without a gradient that release's ratio is one.
        plain = altered(method, weight_decay=0.0, always_adapt=True, rate_without_ratio=True)

        def local(self: Any, w: Any, g: Any, u: Any, rate: float) -> Any:
            return cls._local(plain, w, g, g, rate)

        if not in_norm:
            return rewritten(method, _local=local)

        def rule(self: Any, xp: Namespace) -> Rule:
            adapts = self.always_adapt or self.weight_decay > 0.0

            def lars(w, g, v, rate, mu, fresh, inside, out):
                if adapts and SHAPES[self.adapt](w):
                    g = self._local(w, g, g + self.weight_decay * w, rate) * g
                v = mu * v + fresh * inside * g
                return w - out * (inside * g + mu * v if self.nesterov else v), v

            return lars

        return rewritten(method, rule=rule)

    return change


deviation(
    "weight-decay-in-the-norm-alone", "with the decay in the ratio's norm, but not in the step",
    stage="text", seen=("timm 0.5.4 Lars (fixed in 0.6.7)",), only=("lars",),
)(_lars(in_norm=True))  # fmt: skip


deviation(
    "ratio-without-decay", "with the decay in the step, but not in the ratio's norm",
    stage="text", seen=("pytorch-optimizer 3.5.1 LARS (right in 4.1.0)",), only=("lars",),
)(_lars(in_norm=False))  # fmt: skip


@deviation(
    "prodigy-counter-twice",
    "with the step counted twice a call (1, 3, 5, …), once where all gradients have been zero",
    stage="counter",
    seen=("pytorch-optimizer 3.9.0 Prodigy",),
    only=("prodigy",),
)
class TwiceCounted(Around):
    """Count as that release does; the schedule still sees every step once."""

    def init(self, x: Params) -> Any:
        """Return the method's state beside the counter."""
        return {**self.method.init(x), "twice": 1}

    def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
        """Let the correction see the counter."""
        own = {k: v for k, v in s.items() if k != "twice"}
        new, after = self.method.update(x, grad, {**own, "k": s["twice"] - 1})
        return new, {**after, "twice": s["twice"] + (2 if after["k"] == s["twice"] else 1)}


@deviation(
    "counter-while-idle",
    "with steps counted in the bias correction while all gradients have been zero",
    stage="counter",
    seen=("pytorch-optimizer 4.1.0 Prodigy",),
    only=("prodigy",),
)
class Idle(Around):
    """Count every call."""

    def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
        """Let the correction see the number of calls."""
        return self.method.update(x, grad, {**s, "k": s["t"]})


@deviation(
    "friction-dropped",
    "with the friction computed and not used",
    stage="text",
    seen=("pytorch-optimizer 3.10.0 DiffGrad (right in 4.1.0)",),
    only=("diffgrad",),
)
def _(method: Any) -> Any:
    # exp(-inf) = 0 makes the friction one.
    return with_namespace(method, lambda m, xp: {"exp": xp.zeros_like})


@deviation(
    "eps-beside-inverse-root",
    "with eps added to 1 / sqrt(v), not to sqrt(v)",
    stage="text",
    seen=("pytorch-optimizer 3.9.0 AdamP (fixed in 3.10.0)",),
    only=("adamp",),
)
def _(method: Any) -> Any:
    def rule(self: Any, xp: Namespace) -> Rule:
        b1, b2, eps = self.beta1, self.beta2, self.eps

        def adamp(x, g, m, v, step, root, l2, keep, keep_free):
            g = g + l2 * x
            m, v = ema(m, g, b1, 1.0 - b1), ema(v, g * g, b2, 1.0 - b2)
            ahead = ema(m, g, b1, 1.0 - b1) if self.nesterov else m
            # Where v is zero this is 0 times infinity, as there.
            p = ahead * (1.0 / xp.sqrt(v) + eps) / root
            if x.ndim < 2:
                return keep * x - step * p, m, v
            q, free = self.project(xp, x, g, p)
            return xp.where(free, keep_free * x, keep * x) - step * q, m, v

        return adamp

    return rewritten(method, rule=rule)


@deviation(
    "weight-decay-multiplies-gradient",
    "with the gradient multiplied by 1 + decay times the parameter, not added to the decay",
    stage="step",
    seen=("mxnet Nadam before its issue #8925 was closed (December 2017)",),
)
def _(method: Any) -> Any:
    inner = innermost(method)
    strength = fields(inner).get("weight_decay")
    if not strength:
        return None
    plain = altered(inner, weight_decay=0.0)

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            return self.method.update(x, map_leaves(lambda a, g: g * (1.0 + strength * a), x, grad), s)

    return Changed(refit(method, plain))


@deviation(
    "previous-gradient-aliased",
    "with the last gradient kept without a copy, so that it is always the present one",
    stage="step",
    seen=("torch-optimizer 0.0.1a7 DiffGrad (fixed in 0.0.1a9)",),
)
def _(method: Any) -> Any:
    inner = innermost(method)
    if "previous" not in getattr(inner, "slots", ()):
        return None
    coupled = inner.coupled() if hasattr(inner, "coupled") else 0.0

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            # At the first step there is none to share memory with.
            held = s["previous"] if s["t"] == 0 else params.axpy(coupled, x, grad)
            return self.method.update(x, grad, {**s, "previous": held})

    return Changed(method)
