"""The gradient-free methods of the zeroth-order benchmark (Zhang et al. 2024), as ZeroFlow uses them."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.groups import choose
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, leaves, map_leaves, rebuild
from refopt.core.registry import Source, dialect, register
from refopt.core.rng import normal
from refopt.optimizers.first_order.adam import Adam
from refopt.optimizers.zeroth_order.estimates import FORMS, LAWS, mean, slopes
from refopt.optimizers.zeroth_order.mezo import NORMS

ZHANG = Source("zhang-2024-revisiting", "Y. Zhang, P. Li, J. Hong, J. Li, et al.",
    "Revisiting Zeroth-Order Optimization for Memory-Efficient LLM Fine-Tuning: A Benchmark",
    arxiv="2402.11592")  # fmt: skip
FENG = Source("feng-2025-zeroflow", "T. Feng, et al.",
    "ZeroFlow: Overcoming Catastrophic Forgetting is Easier than You Think", arxiv="2501.01045")  # fmt: skip
CODE = "ZO-Bench/ZO-LLM zo-bench/trainer.py"


class Estimating(Method):
    """What they share: the estimate ``ĝ = (1/q) Σ c_i z_i``, c_i a difference quotient of f along z_i."""

    lr: Rate = hyper(1e-6, "[0, inf)", "η. The benchmark tries 1e-8 to 1e-5.")
    radius: float = hyper(1e-3, "(0, inf)", "ε.")
    samples: int = hyper(1, "int [1, inf)", "q, the directions of a step.")
    form: str = hyper("two-point", FORMS,
        "``c = (L(θ + ε z) - L(θ - ε z)) / (2 ε)``, or ``c = (L(θ + ε z) - L(θ)) / ε``; L(θ) is asked for once"
        " a step.")  # fmt: skip
    law: str = hyper("gaussian", LAWS, "Of z, with E[z zᵀ] = I.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the counter alone."""
        return {"t": 0}

    def slopes(self, x: Params, oracle: Oracle) -> list[tuple[float, Params]]:
        """Return c_i and z_i for every direction of the step."""
        return slopes(oracle, x, self.law, self.radius, self.form, self.samples)

    def estimate(self, x: Params, oracle: Oracle) -> Params:
        """Return ĝ."""
        return mean(self.slopes(x, oracle))


@register("zo-sgd", source=ZHANG, where="the method ZO-SGD", needs=("value",), also=(FENG,), state_copies=0)
class ZOSGD(Estimating):
    """ZO-SGD: gradient descent with an estimate from differences of values along random directions.

    ``ĝ = (1/q) Σ c_i z_i``, ``θ ← θ - η ĝ``.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "zo-sgd", lr=0.1, samples=4, steps=200, record="full")
    >>> dict(r.calls), bool(r.fun < 0.1 * r.history["value"][0])
    ({'value': 1600}, True)
    """

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Estimate and descend."""
        t = s["t"] + 1
        return params.axpy(-self.rate(t), self.estimate(x, oracle), x), {"t": t}


@register("zo-sgd-sign", source=ZHANG, where="the method ZO-SGD-Sign", needs=("value",), also=(FENG,),
    state_copies=0)  # fmt: skip
class ZOSGDSign(Estimating):
    """ZO-SGD-Sign: every coordinate moves by the rate, against the sign of the estimate.

    ``ĝ = (1/q) Σ c_i z_i``, ``θ ← θ - η sign(ĝ)``, with sign(0) = 0.

    Notes
    -----
    The benchmark's runs of this method went through AdamW on sign(c) z: its trainer puts its own
    optimizer in place only where one was named, and the published sweeps name none.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "zo-sgd-sign", lr=0.01, steps=300, record="full")
    >>> bool(r.fun < 0.1 * r.history["value"][0])
    True
    """

    sign: str = hyper("elementwise", ("elementwise", "scalar"),
        "Of ĝ as above, or of the numbers c_i alone: ``θ ← θ - (η/q) Σ sign(c_i) z_i``.")  # fmt: skip

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Estimate and take the sign."""
        t, found = s["t"] + 1, self.slopes(x, oracle)
        if self.sign == "scalar":
            d = mean([(float(np.sign(c)), z) for c, z in found])
        else:
            d = map_leaves(lambda g: namespace(g).sign(g), mean(found))
        return params.axpy(-self.rate(t), d, x), {"t": t}


dialect(ZOSGDSign, "official", CODE, "the sign of the scalar alone", sign="scalar")


@register("zo-sgd-conserve", source=ZHANG, where="the method ZO-SGD-Cons", needs=("value",), also=(FENG,),
    state_copies=0)  # fmt: skip
class ZOSGDConserve(Estimating):
    """ZO-SGD-Cons: of the steps along and against the estimate and none, the one of least loss.

    ``a = θ - η ĝ``, ``b = θ + η ĝ``, and the best of a, b and θ on the step's batch is taken; of equal
    ones b before a before θ.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "zo-sgd-conserve", lr=0.5, steps=50)
    >>> dict(r.calls), bool(np.all(np.diff(r.history["value"]) <= 0))
    ({'value': 250}, True)
    """

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Estimate, look both ways, and keep the best."""
        t, here = s["t"] + 1, oracle.value(x)
        g, eta = self.estimate(x, oracle), self.rate(s["t"] + 1)
        ahead, back = params.axpy(-eta, g, x), params.axpy(eta, g, x)
        at, behind = oracle.value(ahead), oracle.value(back)
        if at <= here:
            return (ahead if at < behind else back), {"t": t}
        return (x if here < behind else back), {"t": t}


@register("zo-adam", source=ZHANG, where="the method ZO-Adam", needs=("value",), also=(FENG,), state_copies=2)
class ZOAdam(Estimating):
    """ZO-Adam: Adam on an estimate from differences of values.

    ``ĝ = (1/q) Σ c_i z_i`` takes the gradient's place in `adam`.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "zo-adam", lr=0.05, samples=4, steps=200, record="full")
    >>> bool(r.fun < 0.1 * r.history["value"][0])
    True
    """

    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "Adam's ε.")

    @property
    def adam(self) -> Adam:
        """The Adam that makes the step."""
        return Adam(lr=self.lr, beta1=self.beta1, beta2=self.beta2, eps=self.eps, schedule=self.schedule)

    def init(self, x: Params) -> State:
        """Return Adam's state at the start `x`."""
        return self.adam.init(x)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Estimate and make Adam's step."""
        return self.adam.update(x, self.estimate(x, oracle), s)


@register("forward-sgd", source=ZHANG, where="the method Forward-Grad", needs=("directional",), also=(FENG,),
    state_copies=0)  # fmt: skip
class ForwardSGD(Method):
    """Forward-SGD: a step along a random direction, by the derivative along it: one forward pass.

    ``j = ∇L(θ)ᵀ v`` with v ~ N(0, I), ``θ ← θ - η (j v + λ θ)``.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "forward-sgd", lr=0.05, steps=300, record="full")
    >>> dict(r.calls), bool(r.fun < 0.1 * r.history["value"][0])
    ({'directional': 300}, True)
    """

    lr: Rate = hyper(1e-6, "[0, inf)", "η.")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ.")
    undecayed: Any = hyper(NORMS, words="The leaves without decay; see `choose`.",
        kind="str, sequence of str, or callable")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the counter alone."""
        return {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for one directional derivative and move along its direction."""
        t, v = s["t"] + 1, normal(oracle.rng, x)
        j, eta, still, along = oracle.directional(x, v), self.rate(t), choose(x, self.undecayed), leaves(v)
        new = {
            k: (1.0 if k in still else 1.0 - eta * self.weight_decay) * a - eta * j * along[k]
            for k, a in leaves(x).items()
        }
        return rebuild(x, new), {"t": t}


dialect(ForwardSGD, "official", CODE, "its decay, unlike that of the methods on differences, is in force")
