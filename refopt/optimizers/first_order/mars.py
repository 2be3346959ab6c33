"""MARS: adaptive methods on a variance-reduced gradient (Yuan et al. 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from refopt.core.arrays import Array, Namespace, namespace
from refopt.core.errors import CapabilityError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, leaves, map_leaves, norm
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.groups import Grouped, pick
from refopt.optimizers.common.lmo import as_matrix, polar_and_nuclear
from refopt.optimizers.common.orthogonal import orthogonalised
from refopt.optimizers.common.trust import leaf_norm
from refopt.optimizers.first_order.adamw import AdamW
from refopt.optimizers.first_order.muon import shape_factor

YUAN = Source(
    key="yuan-2024-mars",
    authors="H. Yuan, Y. Liu, S. Wu, X. Zhou, Q. Gu",
    year=2024,
    title="MARS: Unleashing the Power of Variance Reduction for Training Large Models",
    arxiv="2411.10438",
)
OFFICIAL = {"first": "zero", "clip": "leaf", "group": "matrices"}
OTHERS = AdamW(lr=3e-3, beta2=0.95, weight_decay=0.1, decay="decoupled")
MATRIX_CODE = "AGI-Arena/MARS MARS/optimizers/mars.py"


def clipped(c: Array, length: Array) -> Array:
    """Return c, divided by `length` where that is above 1."""
    return c / namespace(length).clip(length, min=1.0)


@dataclass(frozen=True, kw_only=True)
class VarianceReduced(Decay):
    """A leaf rule that is fed with ``c_t = g_t + γ β1 / (1 - β1) (g_t - g'_t)`` in the gradient's place.

    g' is the last gradient (kept in the state) or, in the exact form, the gradient of this batch at
    the last point.
    """

    lr: Rate = hyper(3e-3, "[0, inf)", rate=True)
    beta1: float = hyper(0.95, "[0, 1)")
    gamma: float = hyper(0.025, "[0, inf)")
    clip: str = hyper("global", ("global", "leaf", "none"))
    first: str = hyper("current", ("current", "zero"))

    def init(self, x: Params) -> State:
        """Return the state at the start `x`, with zeros for the last gradient."""
        s = super().init(x)
        return {**s, "last": map_leaves(lambda a: namespace(a).zeros_like(a), x)}

    def advance(
        self, x: Params, given: tuple[Params, ...], s: State, *, donate: bool = False
    ) -> tuple[Params, State]:
        """Correct the gradient, clip it and apply the rule."""
        (g,) = given
        last = g if s["t"] == 0 and self.first == "current" else s["last"]
        weight = self.gamma * self.beta1 / (1.0 - self.beta1)
        c = map_leaves(lambda a, b: a + weight * (a - b), g, last)
        if self.clip == "global":
            length = norm(c)
            c = map_leaves(lambda a: a / length, c) if length > 1.0 else c
        elif self.clip == "leaf":
            c = map_leaves(lambda a: clipped(a, leaf_norm(a)), c)
        own = {k: v for k, v in s.items() if k != "last"}
        x, new = super().advance(x, (c,), own, donate=donate)
        # A copy: the caller may write the next gradient into this one's memory.
        return x, {**new, "last": map_leaves(lambda a: 1.0 * a, g)}


@dataclass(frozen=True, kw_only=True)
class MarsFamily(Grouped, VarianceReduced):
    """What the three methods share: the exact form, which asks for a second gradient."""

    exact: bool = hyper(False, (True, False))
    others: Any = hyper(OTHERS)

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; the exact form keeps the last point."""
        s = super().init(x)
        return {**s, "previous": map_leaves(lambda a: 1.0 * a, x)} if self.exact else s

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Make one step of the approximate form."""
        if self.exact:
            raise CapabilityError(
                f"{self.registered_name}: exact=True asks for a second gradient; use step(x, s, oracle)"
            )
        return super().update(x, grad, s, donate=donate)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient at `x`, in the exact form at the last point too, and update."""
        g = oracle.grad(x)
        if not self.exact:
            return self.update(x, g, s)
        before = oracle.grad(s["previous"]) if s["t"] else g
        inner = {k: v for k, v in s.items() if k != "previous"}
        if "last" in inner:
            inner["last"] = pick(before, list(leaves(inner["last"])))
        new_x, new = super().update(x, g, inner)
        return new_x, {**new, "previous": x}

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        return {"lr": self.rate(t), "l2": self.coupled(), "keep": self.keep(t)}


SHARED = (
    Evidence(
        "claim",
        "gamma = 1, exact, unclipped: the averaged gradient is STORM's estimator, to 1e-12",
        "tests/claims/test_mars.py::test_exact_form_is_storm",
    ),
    Evidence(
        "claim",
        "on a deterministic function exact and approximate form agree, to 1e-13",
        "tests/claims/test_mars.py::test_forms_agree_without_noise",
    ),
)


@register(
    "mars-adamw",
    kind="optimizer",
    source=YUAN,
    where="Algorithm 2",
    dialects={"official": Dialect(OFFICIAL, MATRIX_CODE, "only matrices; AdamW for the rest")},
    evidence=(
        Evidence(
            "parity",
            "the authors' code with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[mars-adamw-official]",
        ),
        Evidence(
            "identity",
            "equals Algorithm 2 transcribed with Python floats, clipped by the whole vector, to 1e-13",
            "tests/identities/test_mars.py::test_algorithm_2",
        ),
        *SHARED,
    ),
    state_copies=3,
)
@dataclass(frozen=True, kw_only=True)
class MARSAdamW(MarsFamily):
    """MARS-AdamW: AdamW on a gradient corrected by the difference to the last one.

    ``c_t = g_t + γ β1 / (1 - β1) (g_t - g'_t)``, ``c̃_t = c_t / max(1, ‖c_t‖)``, and Adam's averages
    of c̃: ``x_{t+1} = x_t - η (m̂_t / (sqrt(v̂_t) + ε) + λ x_t)``.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    beta1, beta2 : float, range [0, 1)
    eps : float, range [0, inf)
        ε.
    gamma : float, range [0, inf)
        γ, the strength of the correction.
    exact : bool
        False: g' is the last gradient. True: the gradient at the last point on this step's batch, at
        the price of a second gradient.
    clip : {"global", "leaf", "none"}
        The norm in c̃ is that of all treated leaves together (the paper), of each leaf (the code), or
        c̃ = c.
    first : {"current", "zero"}
        g' at the first step: g itself, as the paper's x_1 = x_0 says; or zero (the code).
    group : str, sequence of str, or callable
        The leaves that are treated so.
    others : Method
        For all other leaves.
    weight_decay : float, range [0, inf)
        λ.
    decay : {"decoupled", "independent", "coupled"}
    schedule : callable, optional

    References
    ----------
    H. Yuan, Y. Liu, S. Wu, X. Zhou, Q. Gu 2024, arXiv:2411.10438, Algorithm 2.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=10.0)
    >>> refopt.minimize(p, "mars-adamw", lr=0.05, steps=500).fun < 1e-2
    True
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    beta2: float = hyper(0.99, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)")

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        return {
            "step": self.rate(t) / correction(self.beta1, t),
            "root": correction(self.beta2, t) ** -0.5,
            "l2": self.coupled(),
            "keep": self.keep(t),
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return the step."""

        def mars(x, c, m, v, step, root, l2, keep):  # type: ignore[no-untyped-def]
            c = c + l2 * x
            m = ema(m, c, self.beta1, 1.0 - self.beta1)
            v = ema(v, c * c, self.beta2, 1.0 - self.beta2)
            below = xp.sqrt(v) * root + self.eps
            return keep * x - step * m / xp.where(below > 0.0, below, xp.ones_like(below)), m, v

        return mars


@register(
    "mars-lion",
    kind="optimizer",
    source=YUAN,
    where="Algorithm 3",
    dialects={"official": Dialect(OFFICIAL, MATRIX_CODE, "only matrices; AdamW for the rest")},
    evidence=(
        Evidence(
            "parity",
            "the authors' code with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[mars-lion-official]",
        ),
        Evidence(
            "identity",
            "unclipped from zero with beta1 = Lion's beta2, gamma = 1 - beta1 / beta2: Lion, to 1e-13",
            "tests/identities/test_mars.py::test_mars_lion_contains_lion",
        ),
        *SHARED[1:],
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class MARSLion(MarsFamily):
    """MARS-Lion: the sign of the averaged corrected gradient.

    ``c̃_t`` as in `MARSAdamW`, ``m_t = β1 m_{t-1} + (1 - β1) c̃_t``,
    ``x_{t+1} = x_t - η (sign(m_t) + λ x_t)``.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    beta1 : float, range [0, 1)
    gamma : float, range [0, inf)
    exact : bool
    clip : {"global", "leaf", "none"}
    first : {"current", "zero"}
    group : str, sequence of str, or callable
    others : Method
        As in `MARSAdamW`.
    weight_decay : float, range [0, inf)
        λ.
    decay : {"decoupled", "independent", "coupled"}
    schedule : callable, optional

    Notes
    -----
    Without clipping, from a last gradient of zero, β1 = b2 and γ = 1 - b1 / b2 give Lion(b1, b2).

    References
    ----------
    H. Yuan, Y. Liu, S. Wu, X. Zhou, Q. Gu 2024, arXiv:2411.10438, Algorithm 3.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("mars-lion", lr=0.1)
    >>> x = np.array([1.0, -2.0])
    >>> x, s = o.update(x, np.array([30.0, -0.5]), o.init(x))
    >>> print(x)
    [ 0.9 -1.9]
    """

    slots: ClassVar[tuple[str, ...]] = ("m",)

    def rule(self, xp: Namespace) -> Rule:
        """Return the step."""

        def mars(x, c, m, lr, l2, keep):  # type: ignore[no-untyped-def]
            m = ema(m, c + l2 * x, self.beta1, 1.0 - self.beta1)
            return keep * x - lr * xp.sign(m), m

        return mars


@register(
    "mars-shampoo",
    kind="optimizer",
    source=YUAN,
    where="Algorithm 4",
    dialects={
        "official": Dialect(
            {**OFFICIAL, "factor": "newton-schulz", "eps": 1e-8, "scale": "max"},
            MATRIX_CODE,
            "five steps of Muon's Newton-Schulz (in bfloat16: ns_dtype) in place of the SVD",
        )
    },
    evidence=(
        Evidence(
            "parity",
            "the authors' code without its bfloat16 cast, with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[mars-shampoo-official]",
        ),
        Evidence(
            "identity",
            "gamma = 0: Muon without Nesterov momentum, both with a converged polar factor, to 1e-10",
            "tests/identities/test_mars.py::test_mars_shampoo_contains_muon",
        ),
        Evidence(
            "claim",
            "every singular value of the step is lr, to 1e-13",
            "tests/claims/test_mars.py::test_shampoo_step_is_orthogonal",
        ),
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class MARSShampoo(MarsFamily):
    """MARS-Shampoo: the polar factor of the averaged corrected gradient.

    ``c_t`` as in `MARSAdamW`, not clipped, ``m_t = β1 m_{t-1} + (1 - β1) c_t``, ``m_t = U Σ V^T``,
    ``x_{t+1} = x_t - η (U V^T + λ x_t)``, for every matrix.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    beta1 : float, range [0, 1)
    gamma : float, range [0, inf)
    exact : bool
    clip : {"none", "global", "leaf"}
    first : {"current", "zero"}
        As in `MARSAdamW`.
    factor : {"svd", "newton-schulz"}
        How U V^T is computed; zero singular values stay zero. Newton-Schulz: of m / (1 - β1), with
        Muon's coefficients, which does not converge to U V^T.
    ns_steps : int, range [1, inf)
    ns_dtype : str, optional
        As in `Muon`.
    eps : float, range [0, inf)
        Added to the norm that Newton-Schulz divides by.
    scale : {"none", "max", "match-rms", "spectral"}
        Multiplies U V^T; see `refopt.optimizers.first_order.muon.shape_factor`.
    group : str, sequence of str, or callable
        The leaves that are treated so; those of more than two dimensions as (first axis, rest).
    others : Method
        For all other leaves.
    weight_decay : float, range [0, inf)
        λ.
    decay : {"decoupled", "independent", "coupled"}
    schedule : callable, optional

    References
    ----------
    H. Yuan, Y. Liu, S. Wu, X. Zhou, Q. Gu 2024, arXiv:2411.10438, Algorithm 4.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("mars-shampoo", lr=0.1)
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.diag([3.0, 0.1]), o.init(x))
    >>> print(np.diag(x))
    [-0.1 -0.1]
    """

    slots: ClassVar[tuple[str, ...]] = ("m",)
    clip: str = hyper("none", ("none", "global", "leaf"))
    factor: str = hyper("svd", ("svd", "newton-schulz"))
    ns_steps: int = hyper(5, "int [1, inf)")
    ns_dtype: str | None = hyper(None)
    eps: float = hyper(1e-8, "[0, inf)")
    scale: str = hyper("none", ("none", "max", "match-rms", "spectral"))
    group: Any = hyper("matrices-and-kernels")

    def rule(self, xp: Namespace) -> Rule:
        """Return the step of one matrix."""

        def mars(x, c, m, lr, l2, keep):  # type: ignore[no-untyped-def]
            m = ema(m, c + l2 * x, self.beta1, 1.0 - self.beta1)
            M = as_matrix(m)
            if self.factor == "svd":
                factor = polar_and_nuclear(M)[0]
            else:
                factor = orthogonalised(
                    M / (1.0 - self.beta1), self.ns_dtype, steps=self.ns_steps, eps=self.eps
                )
            kappa = shape_factor(self.scale, M.shape[0], math.prod(M.shape[1:]))
            return keep * x - lr * kappa * xp.reshape(factor, x.shape), m

        return mars
