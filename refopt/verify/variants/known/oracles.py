"""Deviations of methods that ask for more than one gradient: SVRG, SPIDER, SAM, prox, Levenberg-Marquardt, K-FAC."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.method import Method
from refopt.core.oracle import GradientsAt, Oracle
from refopt.verify.variants.deviation import altered, deviation, rewritten, with_shared


class _Changed(GradientsAt):
    """An oracle with some of its answers replaced, on every batch."""

    def __init__(self, inner: Oracle) -> None:
        super().__init__(inner, lambda oracle, x: oracle.grad(x))

    def _with_batch(self, batch: Any) -> Oracle:
        return type(self)(self._inner._with_batch(batch))


class _OwnBatch(_Changed):
    """The step's batch is all there is."""

    @property
    def full(self) -> Oracle:
        """The batch."""
        return self


class _TrueLabels(_Changed):
    """No labels are drawn."""

    def layers(self, x: Any, *, sample: bool, positions: bool = False) -> Any:
        """Return the layers with the data's labels."""
        return self._inner.layers(x, sample=False, positions=positions)


class _NoProx(_Changed):
    """The nonsmooth part is not there."""

    def prox(self, x: Any, step: float) -> Any:
        """Return x."""
        return x


class _UnitProx(_Changed):
    """The proximal step does not know the rate."""

    def prox(self, x: Any, step: float) -> Any:
        """Return the proximal point of the whole penalty."""
        return self._inner.prox(x, 1.0)


def with_oracle(method: Any, make: Callable[[Oracle], Oracle]) -> Any:
    """Return `method` with another oracle: ``make(oracle)``."""
    if not isinstance(method, Method):
        return None
    cls = type(method)

    def step(self: Any, x: Any, s: Any, oracle: Oracle) -> Any:
        return cls.step(self, x, s, make(oracle))

    return rewritten(method, step=step)


REDUCED = ("svrg", "spider")


@deviation(
    "full-gradient-on-the-batch", "with the step's batch in place of all examples", stage="text", only=REDUCED
)
def _(method: Any) -> Any:
    return with_oracle(method, _OwnBatch)


def _direction(change: Callable[[Any, Any, Any], Any]) -> Callable[[Any], Any]:
    return lambda method: rewritten(method, direction=staticmethod(change))


for name, what, change in (
    ("correction-sign", "with the correction's sign flipped", lambda a, b, mu: a + b - mu),
    ("correction-dropped", "without the correction: the batch's gradient alone", lambda a, b, mu: a),
    ("full-gradient-dropped", "without the full gradient at the snapshot", lambda a, b, mu: a - b),
    ("snapshot-gradient-dropped", "without the batch's gradient at the snapshot", lambda a, b, mu: a + mu),
    ("full-gradient-alone", "with the snapshot's full gradient alone", lambda a, b, mu: mu),
):
    deviation(name, what, stage="text", only=("svrg",))(_direction(change))


@deviation(
    "snapshot-never-renewed", "with the first snapshot kept for good", stage="settings", only=("svrg",)
)
def _(method: Any) -> Any:
    return altered(method, inner_steps=10**9)


@deviation(
    "estimate-never-renewed", "with the estimate carried on for good", stage="settings", only=("spider",)
)
def _(method: Any) -> Any:
    return altered(method, period=10**9)


@deviation("not-normalised", "with the estimate itself for a step", stage="text", only=("spider",))
def _(method: Any) -> Any:
    return with_shared(
        method, "normalized_step", lambda m: lambda x, v, lr, beta, floor=0.0: params.axpy(-lr, v, x)
    )


# --- sharpness-aware minimization ------------------------------------------------------------------


def _perturbed_by(make: Callable[[Any], Callable[[Any, Any, Any], Any]]) -> Callable[[Any], Any]:
    def change(method: Any) -> Any:
        return rewritten(method, perturbation=make(type(method)))

    return change


def _unscaled(cls: type) -> Callable[[Any, Any, Any], Any]:
    return lambda self, w, g: params.scale(self.rho, g)


def _downhill(cls: Any) -> Callable[[Any, Any, Any], Any]:
    return lambda self, w, g: params.scale(-1.0, cls.perturbation(self, w, g))


def _by_leaf(cls: Any) -> Callable[[Any, Any, Any], Any]:
    return lambda self, w, g: params.map_leaves(lambda a, b: cls.perturbation(self, a, b), w, g)


def _weighted_once(cls: type) -> Callable[[Any, Any, Any], Any]:
    def perturbation(self: Any, w: Any, g: Any) -> Any:
        weighted = params.map_leaves(lambda a, b: namespace(a).abs(a) * b, w, g)
        length = params.norm(weighted) + self.eps
        return params.scale(self.rho / length if length > 0.0 else 0.0, weighted)

    return perturbation


for name, what, make in (
    ("perturbation-not-normalised", "with rho times the gradient, not divided by its norm", _unscaled),
    ("perturbation-downhill", "with the perturbation along the negative gradient", _downhill),
    ("perturbation-by-leaf", "with the norm of each leaf by itself", _by_leaf),
    ("perturbation-weighted-once", "with |w| g, not w^2 g, for the perturbation", _weighted_once),
):
    deviation(name, what, stage="text", only=("sam",))(_perturbed_by(make))


@deviation("no-perturbation", "without the perturbation: its base alone", stage="settings", only=("sam",))
def _(method: Any) -> Any:
    return altered(method, rho=0.0)


@deviation(
    "perturbed-point-kept", "stepping from the perturbed point, which is not taken back", stage="text", only=("sam",)
)  # fmt: skip
def _(method: Any) -> Any:
    def step(self: Any, x: Any, s: Any, oracle: Oracle) -> Any:
        moved = params.axpy(1.0, self.perturbation(x, oracle.grad(x)), x)
        x, base = self.base.step(moved, s["base"], oracle)
        return x, {"t": s["t"] + 1, "base": base}

    return rewritten(method, step=step)


@deviation("prediction-backwards", "with the prediction behind the weights", stage="text", only=("xgrad",))
def _(method: Any) -> Any:
    if not isinstance(method, Method):
        return None
    cls: Any = type(method)

    def predicted(self: Any, x: Any, s: Any) -> Any:
        return params.axpy(-1.0, cls.predicted(self, x, s), params.scale(2.0, x))

    return rewritten(method, predicted=predicted)


@deviation("no-prediction", "without the prediction: its base alone", stage="settings", only=("xgrad",))
def _(method: Any) -> Any:
    return altered(method, steps_ahead=0.0)


# --- proximal gradient -----------------------------------------------------------------------------


@deviation("no-prox", "without the proximal step", stage="text", only=("proximal-gradient",))
def _(method: Any) -> Any:
    return with_oracle(method, _NoProx)


@deviation(
    "prox-without-rate", "with the penalty not multiplied by the rate", stage="text", only=("proximal-gradient",)
)  # fmt: skip
def _(method: Any) -> Any:
    return with_oracle(method, _UnitProx)


# --- Levenberg-Marquardt ---------------------------------------------------------------------------

LM = ("levenberg-marquardt",)


@deviation("every-trial-taken", "with every trial step taken", stage="text", only=LM)
def _(method: Any) -> Any:
    made = altered(method, accept=-math.inf)
    if made is None:
        return None
    cls: Any = type(method)

    def next_damping(self: Any, damping: float, growth: float, gain: float, taken: bool) -> Any:
        return cls.next_damping(self, damping, growth, gain, gain > 0.0)

    return rewritten(made, next_damping=next_damping)


def _factors(shrink: float, grow: float) -> Callable[[Any], Any]:
    def next_damping(self: Any, damping: float, growth: float, gain: float, taken: bool) -> Any:
        return (damping / shrink if taken else damping * grow), growth

    return lambda method: rewritten(method, next_damping=next_damping)


deviation("damping-constant", "with the damping as it began", stage="text", only=LM)(_factors(1.0, 1.0))


deviation("damping-backwards", "with the damping growing after a success", stage="text", only=LM)(
    _factors(0.1, 0.1)
)


@deviation(
    "damping-adds-up", "with the damping added to the kept J^T J, so that it adds up over failures", stage="text", only=LM
)  # fmt: skip
def _(method: Any) -> Any:
    cls: Any = type(method)

    def step(self: Any, x: Any, s: Any, oracle: Any) -> Any:
        new, after = cls.step(self, x, s, oracle)
        if after["model"] is None:
            return new, after
        gram, gradient, value = after["model"]
        diagonal = np.diagonal(gram)
        damping = self.tau * float(np.max(diagonal)) if s["damping"] is None else s["damping"]
        added = np.diag(damping * self._scale(diagonal, s["scale"]))
        return new, {**after, "model": (gram + added, gradient, value)}

    return rewritten(method, step=step)


# What public implementations divide and multiply by, beside Marquardt's 10.
for shrink, grow in ((2, 2), (3, 2), (2, 3), (5, 5), (9, 11), (5, 1.5), (2, 10), (10, 2), (4, 2), (3, 5)):
    deviation(
        f"damping-factors-{shrink:g}-{grow:g}",
        f"with the damping divided by {shrink:g} after a success and multiplied by {grow:g} after a failure",
        stage="text", only=LM,
    )(_factors(shrink, grow))  # fmt: skip


# --- K-FAC -----------------------------------------------------------------------------------------


@deviation(
    "true-labels", "with the data's labels in place of labels drawn from the model (the empirical Fisher)",
    stage="text", only=("kfac",),
)  # fmt: skip
def _(method: Any) -> Any:
    return with_oracle(method, _TrueLabels)


def _damped(change: Callable[[Any, Any, Any, float], Any]) -> Callable[[Any], Any]:
    def make(method: Any) -> Callable[[Any, Any, float], Any]:
        from refopt.curvature.kronecker import damped_inverses

        return lambda a, g, gamma: change(damped_inverses, a, g, gamma)

    return lambda method: with_shared(method, "damped_inverses", make)


def _plain_inverses(_: Any, a: Any, g: Any, gamma: float) -> Any:
    xp = namespace(a)
    return tuple(xp.linalg.inv(m + gamma * xp.eye(m.shape[0], dtype=m.dtype)) for m in (a, g))


deviation("damping-not-balanced", "with pi = 1: both factors damped alike", stage="text", only=("kfac",))(
    _damped(_plain_inverses)
)


deviation("damping-not-rooted", "with the factors damped by gamma squared", stage="text", only=("kfac",))(
    _damped(lambda plain, a, g, gamma: plain(a, g, gamma * gamma))
)


@deviation("factors-summed", "with factors summed over the batch, not averaged", stage="text", only=("kfac",))
def _(method: Any) -> Any:
    def make(method: Any) -> Callable[[Any], Any]:
        from refopt.curvature.kronecker import factors

        def summed(layers: Any) -> Any:
            sizes = {layer.weight: layer.inputs.shape[0] for layer in layers}
            return {k: (a * sizes[k], g * sizes[k]) for k, (a, g) in factors(layers).items()}

        return summed

    return with_shared(method, "factors", make)


@deviation(
    "output-gradients-of-the-mean", "with output gradients of the mean loss, not of each example's own",
    stage="text", only=("kfac",),
)  # fmt: skip
def _(method: Any) -> Any:
    def make(method: Any) -> Callable[[Any], Any]:
        from refopt.curvature.kronecker import factors

        def of_the_mean(layers: Any) -> Any:
            sizes = {layer.weight: layer.inputs.shape[0] for layer in layers}
            return {k: (a, g / sizes[k] ** 2) for k, (a, g) in factors(layers).items()}

        return of_the_mean

    return with_shared(method, "factors", make)


@deviation(
    "factors-not-kept", "with each step's own factors, not their average", stage="settings", only=("kfac",)
)
def _(method: Any) -> Any:
    return altered(method, decay=0.0)
