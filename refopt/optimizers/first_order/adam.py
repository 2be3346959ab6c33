"""Adam and AdaMax (Kingma and Ba 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay

KINGMA = Source(
    key="kingma-2014-adam",
    authors="D. P. Kingma, J. Ba",
    year=2014,
    title="Adam: A Method for Stochastic Optimization",
    arxiv="1412.6980",
)


@dataclass(frozen=True, kw_only=True)
class AdamFamily(ElementwiseDecay):
    """What Adam and its close relatives share: hyperparameters, moments, corrections.

    The rule's numbers are ``step = lr / c1``, ``root = 1 / sqrt(c2)`` and eps, with c1 and c2 the bias
    corrections, so that the denominator ``sqrt(v) * root + eps`` is Adam's ``sqrt(v_hat) + eps``.
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", rate=True)
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)")
    eps_corrected: bool = hyper(True, (True, False))

    def moment_scalars(self, t: int) -> dict[str, float]:
        """Return the weights of both averages and the corrected step of step `t`."""
        c1, c2 = correction(self.beta1, t), correction(self.beta2, t)
        # eps beside the uncorrected root equals eps / sqrt(c2) beside the corrected one.
        eps = self.eps if self.eps_corrected else self.eps / c2**0.5
        return {
            "beta1": self.beta1,
            "k1": 1.0 - self.beta1,
            "beta2": self.beta2,
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) / c1,
            "root": 1.0 / c2**0.5,
            "eps": eps,
        }


@register(
    "adam",
    kind="optimizer",
    source=KINGMA,
    where="Algorithm 1",
    dialects={
        "torch": Dialect({"decay": "coupled"}, "torch 2.13 optim.Adam"),
        "optax": Dialect({}, "optax 0.2.8 adam", "has eps_root besides"),
        "keras": Dialect(
            {"eps": 1e-7, "eps_corrected": False, "decay": "decoupled"},
            "Keras 3 Adam",
            "eps beside the uncorrected root, the form that the end of the paper's section 2 offers",
        ),
    },
    evidence=(
        Evidence(
            "claim",
            "on the counterexample of Reddi et al. (x* = -1) it is at 0.994 after 30000 steps, AMSGrad at -0.867, AdamNC at -0.217 and falling",
            "tests/claims/test_online.py::test_adam_diverges_and_the_others_converge",
        ),
        Evidence(
            "parity",
            "Keras 3's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adam-keras]",
        ),
        Evidence(
            "identity",
            "Keras's dialect equals its formulas transcribed, 100 steps under a schedule with decay, to 1e-12",
            "tests/identities/test_keras_dialects.py::test_keras",
        ),
        Evidence(
            "parity",
            "torch.optim.Adam with coupled decay, low beta2 and large eps, 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adam-torch]",
        ),
        Evidence(
            "parity",
            "torch.optim.Adam at its defaults under a schedule, 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adam-torch-default]",
        ),
        Evidence(
            "parity",
            "optax.adam with eps_root, 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adam-optax]",
        ),
        Evidence(
            "identity",
            "equals Algorithm 1 transcribed line by line with Python floats, to 1e-13",
            "tests/identities/test_adam.py::test_algorithm_1",
        ),
        Evidence(
            "claim",
            "no step exceeds 7.270 lr, the supremum for the default betas, and more than 7.15 lr is reached",
            "tests/claims/test_adam.py::test_step_bound",
        ),
        Evidence(
            "claim",
            "with eps = 0 the trajectory does not change when the gradients are rescaled coordinate by coordinate",
            "tests/claims/test_adam.py::test_invariant_to_diagonal_rescaling",
        ),
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class Adam(AdamFamily):
    """Adam: gradients averaged, and divided by the root of their averaged squares.

    ``m_t = β1 m_{t-1} + (1 - β1) g_t``, ``v_t = β2 v_{t-1} + (1 - β2) g_t²``,
    ``m̂_t = m_t / (1 - β1^t)``, ``v̂_t = v_t / (1 - β2^t)``,
    ``x_t = x_{t-1} - α m̂_t / (sqrt(v̂_t) + ε)``, from m_0 = v_0 = 0.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        α, in the units of x: a step is of about this size.
    beta1, beta2 : float, range [0, 1)
        β1 and β2.
    eps : float, range [0, inf)
        ε, in the units of the gradient.
    eps_root : float, range [0, inf)
        Added to v̂ inside the root (optax); the paper has none.
    eps_corrected : bool
        True: ε stands beside ``sqrt(v̂)`` as above. False: beside ``sqrt(v)``, the paper's ε̂.
    weight_decay : float, range [0, inf)
        The paper has none.
    decay : {"coupled", "decoupled", "independent"}
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    Notes
    -----
    A coordinate whose gradient has always been zero does not move, with ε = 0 neither.

    The paper states the step bound α (1 - β1) / sqrt(1 - β2), or α. That is not strict: the supremum
    for β1 < sqrt(β2) is α (1 - β1) / sqrt((1 - β2) (1 - β1²/β2)), 7.270 α at the defaults.

    References
    ----------
    D. P. Kingma, J. Ba 2014, Adam: A Method for Stochastic Optimization, arXiv:1412.6980, Algorithm 1.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic"), "adam", lr=0.1, steps=500)
    >>> r.success
    True
    """

    eps_root: float = hyper(0.0, "[0, inf)")

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        # Inside the root, eps_root stands beside v_hat = v / c2.
        inside = self.eps_root * correction(self.beta2, t)
        return {
            **self.moment_scalars(t),
            "inside": inside,
            "l2": self.coupled(),
            "keep": self.keep(t),
            "zero": 0.0,
            "one": 1.0,
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return Algorithm 1's step."""
        may_be_zero = self.eps == 0.0 and self.eps_root == 0.0

        def adam(x, g, m, v, beta1, k1, beta2, k2, step, root, eps, inside, l2, keep, zero, one):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            m = ema(m, g, beta1, k1)
            v = ema(v, g * g, beta2, k2)
            denominator = xp.sqrt(v + inside) * root + eps
            if may_be_zero:
                denominator = xp.where(denominator > zero, denominator, one)
            return keep * x - step * m / denominator, m, v

        return adam


@register(
    "adamax",
    kind="optimizer",
    source=KINGMA,
    where="Algorithm 2, section 7.1",
    dialects={
        "torch": Dialect({"eps": 1e-8, "eps_inside": True, "decay": "coupled"}, "torch 2.13 optim.Adamax"),
        "optax": Dialect({"eps": 1e-8, "eps_inside": True}, "optax 0.2.8 adamax"),
        "keras": Dialect({"lr": 1e-3, "eps": 1e-7, "decay": "decoupled"}, "Keras 3 Adamax"),
    },
    evidence=(
        Evidence(
            "parity",
            "Keras 3's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adamax-keras]",
        ),
        Evidence(
            "identity",
            "Keras's dialect equals its formulas transcribed, 100 steps under a schedule with decay, to 1e-12",
            "tests/identities/test_keras_dialects.py::test_keras",
        ),
        Evidence(
            "parity",
            "torch.optim.Adamax with coupled decay, 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adamax-torch]",
        ),
        Evidence(
            "parity",
            "optax.adamax, 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adamax-optax]",
        ),
        Evidence(
            "identity",
            "u is the limit p -> infinity of the p-norm recursion (p = 2000: to 1e-6)",
            "tests/identities/test_adam.py::test_adamax_is_the_limit_of_p_norms",
        ),
        Evidence(
            "claim",
            "no step exceeds (1 - beta1) / (1 - beta1 / beta2) = 1.00909 lr, and that is reached",
            "tests/claims/test_adam.py::test_adamax_step_bound",
        ),
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class AdaMax(ElementwiseDecay):
    r"""AdaMax: Adam with the decayed maximum of the gradients in place of their root mean square.

    ``m_t = β1 m_{t-1} + (1 - β1) g_t``, ``u_t = max(β2 u_{t-1}, |g_t|)``,
    ``x_t = x_{t-1} - α / (1 - β1^t) · m_t / u_t``, from m_0 = u_0 = 0.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        α, in the units of x.
    beta1, beta2 : float, range [0, 1)
    eps : float, range [0, inf)
        The paper has none (0); a coordinate whose gradient has always been zero then stays.
    eps_inside : bool
        True: ``u_t = max(β2 u_{t-1}, |g_t| + ε)`` (torch, optax). False: ``m_t / (u_t + ε)`` (Keras).
    weight_decay : float, range [0, inf)
    decay : {"coupled", "decoupled", "independent"}
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    Notes
    -----
    The paper states \\|Δ\\| ≤ α; the supremum for β1 < β2 is α (1 - β1) / (1 - β1/β2), 1.00909 α at the
    defaults.

    References
    ----------
    D. P. Kingma, J. Ba 2014, arXiv:1412.6980, Algorithm 2.

    Examples
    --------
    >>> import refopt
    >>> refopt.minimize(refopt.problem("quadratic"), "adamax", lr=0.1, steps=500).success
    True
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "u")
    lr: Rate = hyper(2e-3, "[0, inf)", rate=True)
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(0.0, "[0, inf)")
    eps_inside: bool = hyper(False, (True, False))

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        return {
            "beta1": self.beta1,
            "k1": 1.0 - self.beta1,
            "beta2": self.beta2,
            "step": self.rate(t) / correction(self.beta1, t),
            "inside": self.eps if self.eps_inside else 0.0,
            "outside": 0.0 if self.eps_inside else self.eps,
            "l2": self.coupled(),
            "keep": self.keep(t),
            "zero": 0.0,
            "one": 1.0,
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return Algorithm 2's step."""

        def adamax(x, g, m, u, beta1, k1, beta2, step, inside, outside, l2, keep, zero, one):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            m = ema(m, g, beta1, k1)
            u = xp.maximum(beta2 * u, xp.abs(g) + inside)
            denominator = u + outside
            denominator = xp.where(denominator > zero, denominator, one)
            return keep * x - step * m / denominator, m, u

        return adamax
