"""INNA and INNAprop: explicit Euler on a damped inertial Newton system (Castera 2019, Bolte 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Array, Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay

CASTERA = Source(
    key="castera-2019-inertial",
    authors="C. Castera, J. Bolte, C. Févotte, E. Pauwels",
    year=2019,
    title="An Inertial Newton Algorithm for Deep Learning",
    arxiv="1905.12278",
)
BOLTE = Source(
    key="bolte-2024-second",
    authors="J. Bolte, R. Boustany, E. Pauwels, A. Purica",
    year=2024,
    title="A second-order-like optimizer with adaptive gradient scaling for deep learning",
    arxiv="2410.05871",
)


@dataclass(frozen=True, kw_only=True)
class PhaseSpace(ElementwiseDecay):
    """What both methods share: the point's companion ψ, started where it pulls on nothing."""

    slots: ClassVar[tuple[str, ...]] = ("psi",)
    lr: Rate = hyper(0.01, "[0, inf)", rate=True)
    alpha: float = hyper(0.5, "[0, inf)")
    beta: float = hyper(0.1, "(0, inf)")

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return ψ_0 = (1 - αβ) θ_0; zeros for every other slot."""
        return (1.0 - self.alpha * self.beta) * leaf if slot == "psi" else super().init_slot(slot, leaf)

    def phase_scalars(self, t: int) -> dict[str, float]:
        """Return the rate, the weights of θ and ψ in the pull r, and β."""
        return {
            "lr": self.rate(t),
            "of_x": self.alpha - 1.0 / self.beta,
            "of_psi": 1.0 / self.beta,
            "beta": self.beta,
        }


@register(
    "inna",
    kind="optimizer",
    source=CASTERA,
    where="the discrete algorithm INNA",
    dialects={
        "official": Dialect(
            {"lr": 0.1, "power": 0.0, "decay": "decoupled"},
            "camcastera/INNA-for-DeepLearning INNA_for_pytorch/inna.py",
        ),
        "tensorflow": Dialect(
            {"first_velocity": 1.0},
            "camcastera/INNA-for-DeepLearning INNA_for_tensorflow/inna.py",
            "psi starts so that the first velocity is minus the gradient",
        ),
        "innaprop": Dialect(
            {"alpha": 0.1, "beta": 0.1, "power": 0.0, "decay_first": True},
            "innaprop/innaprop classification/optimizers/inna.py",
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "the authors' torch code with decay, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[inna-official]",
        ),
        Evidence(
            "parity",
            "the copy in innaprop/innaprop with decay, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[inna-innaprop]",
        ),
        Evidence(
            "parity",
            "the authors' TensorFlow code in float64, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[inna-tensorflow]",
        ),
        Evidence(
            "identity",
            "beta = rate: heavy ball with momentum 1 - alpha rate and rate rate^2, to 1e-12",
            "tests/identities/test_inna.py::test_equal_beta_and_rate_is_heavy_ball",
        ),
        Evidence(
            "identity",
            "psi eliminated: equals the velocity form, to 1e-12",
            "tests/identities/test_inna.py::test_velocity_form",
        ),
        Evidence(
            "claim",
            "alpha beta = 1: psi stays 0, and it is gradient descent with rate lr beta, to 1e-13",
            "tests/claims/test_inna.py::test_critical_damping_is_gradient_descent",
        ),
    ),
    state_copies=1,
)
@dataclass(frozen=True, kw_only=True)
class INNA(PhaseSpace):
    """INNA: an inertial Newton method without Hessians, by a second variable.

    ``r = (α - 1/β) θ_k + ψ_k / β``, ``ψ_{k+1} = ψ_k - γ_k r``, ``θ_{k+1} = θ_k - γ_k (r + β g_k)``,
    from ψ_0 = (1 - αβ) θ_0, with ``γ_k = lr t^-q``, t = k + 1: explicit Euler on
    ``θ'' + α θ' + β ∇²J θ' + ∇J = 0``.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        The first rate; a time step.
    alpha : float, range [0, inf)
        α, viscous damping.
    beta : float, range (0, inf)
        β, Newtonian damping.
    power : float, range [0, 1]
        q: how the rate decays.
    first_velocity : float, optional
        c: ψ_0 is moved by ``-(β² - β c) g`` at the first step, whose step is then -γ c g in place of
        -γ β g. None: ψ_0 as above.
    decay_first : bool
        With decoupled decay: r is computed from the decayed θ (True) or from θ (False).
    weight_decay : float, range [0, inf)
    decay : {"decoupled", "independent", "coupled"}
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    References
    ----------
    C. Castera, J. Bolte, C. Févotte, E. Pauwels 2021, JMLR 22, arXiv:1905.12278.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=10.0)
    >>> refopt.minimize(p, "inna", lr=0.1, beta=1.0, power=0.0, steps=3000).fun < 1e-8
    True
    """

    power: float = hyper(0.5, "[0, 1]")
    first_velocity: float | None = hyper(None)
    decay_first: bool = hyper(False, (True, False))

    def rate(self, t: int) -> float:
        """Return γ of step `t`."""
        return super().rate(t) * t**-self.power

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        kick = 0.0
        if t == 1 and self.first_velocity is not None:
            kick = self.beta**2 - self.beta * self.first_velocity
        return {**self.phase_scalars(t), "kick": kick, "l2": self.coupled(), "keep": self.keep(t)}

    def rule(self, xp: Namespace) -> Rule:
        """Return the step."""
        decay_first = self.decay_first

        def inna(x, g, psi, lr, of_x, of_psi, beta, kick, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            kept = keep * x
            psi = psi - kick * g
            r = of_x * (kept if decay_first else x) + of_psi * psi
            return kept - lr * (r + beta * g), psi - lr * r

        return inna


@register(
    "innaprop",
    kind="optimizer",
    source=BOLTE,
    where="the algorithm INNAprop",
    also=(CASTERA,),
    dialects={"official": Dialect({}, "innaprop/innaprop innaprop.py")},
    evidence=(
        Evidence(
            "parity",
            "the authors' code with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[innaprop-official]",
        ),
        Evidence(
            "identity",
            "equals the paper's listing, in which theta's line uses the new psi, transcribed with Python floats, to 1e-12",
            "tests/identities/test_inna.py::test_innaprop_algorithm_1",
        ),
        Evidence(
            "identity",
            "is INNA fed with the scaled gradient, to 1e-13",
            "tests/identities/test_inna.py::test_innaprop_is_inna_on_scaled_gradients",
        ),
        Evidence(
            "claim",
            "alpha = beta = 1: AdamW with beta1 = 0, to 1e-13",
            "tests/claims/test_inna.py::test_innaprop_at_one_is_adamw",
        ),
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class INNAprop(PhaseSpace):
    """INNAprop: INNA on the gradient divided by its running root mean square.

    ``θ ← (1 - γ λ) θ``, ``v ← σ v + (1 - σ) g²``, ``d = sqrt(v / (1 - σ^t)) + ε``,
    ``r = (α - 1/β) θ + ψ / β``, ``ψ ← ψ - γ r``, ``θ ← θ - γ (r + β g / d)``, from v_0 = 0 and
    ψ_0 = (1 - αβ) θ_0.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        γ.
    alpha : float, range [0, inf)
        α, viscous damping.
    beta : float, range (0, inf)
        β, Newtonian damping.
    sigma : float, range [0, 1)
        σ.
    eps : float, range [0, inf)
        ε.
    weight_decay : float, range [0, inf)
        λ.
    decay : {"decoupled", "independent", "coupled"}
        Decoupled as above.
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    Notes
    -----
    The paper's listing writes the last line with the new ψ, which divides by β - γ; the form above is the same
    step (a line of algebra) and stays defined at γ = β.

    References
    ----------
    J. Bolte, R. Boustany, E. Pauwels, A. Purica 2024, arXiv:2410.05871.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=10.0)
    >>> refopt.minimize(p, "innaprop", lr=0.01, weight_decay=0.0, steps=1500).fun < 1e-3
    True
    """

    slots: ClassVar[tuple[str, ...]] = ("psi", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", rate=True)
    alpha: float = hyper(0.1, "[0, inf)")
    beta: float = hyper(0.9, "(0, inf)")
    sigma: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)")
    weight_decay: float = hyper(0.01, "[0, inf)")

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        return {
            **self.phase_scalars(t),
            "sigma": self.sigma,
            "k": 1.0 - self.sigma,
            "root": correction(self.sigma, t) ** -0.5,
            "eps": self.eps,
            "l2": self.coupled(),
            "keep": self.keep(t),
            "zero": 0.0,
            "one": 1.0,
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return the step."""

        def innaprop(x, g, psi, v, lr, of_x, of_psi, beta, sigma, k, root, eps, l2, keep, zero, one):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            x = keep * x
            v = ema(v, g * g, sigma, k)
            d = xp.sqrt(v) * root + eps
            r = of_x * x + of_psi * psi
            return x - lr * (r + beta * (g / xp.where(d > zero, d, one))), psi - lr * r, v

        return innaprop
