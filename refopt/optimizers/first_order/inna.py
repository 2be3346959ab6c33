"""INNA and INNAprop: explicit Euler on a damped inertial Newton system (Castera 2019, Bolte 2024)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.arrays import Array
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay

CASTERA = Source("castera-2019-inertial", "C. Castera, J. Bolte, C. Févotte, E. Pauwels",
    "An Inertial Newton Algorithm for Deep Learning", arxiv="1905.12278")  # fmt: skip
BOLTE = Source("bolte-2024-second", "J. Bolte, R. Boustany, E. Pauwels, A. Purica",
    "A second-order-like optimizer with adaptive gradient scaling for deep learning", arxiv="2410.05871")  # fmt: skip


class PhaseSpace(ElementwiseDecay):
    """What both methods share: the point's companion ψ, started where it pulls on nothing."""

    slots: ClassVar[tuple[str, ...]] = ("psi",)
    lr: Rate = hyper(0.01, "[0, inf)", "The first rate; a time step.")
    alpha: float = hyper(0.5, "[0, inf)", "α, viscous damping.")
    beta: float = hyper(0.1, "(0, inf)", "β, Newtonian damping.")

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return ψ_0 = (1 - αβ) θ_0; zeros for every other slot."""
        return (1.0 - self.alpha * self.beta) * leaf if slot == "psi" else super().init_slot(slot, leaf)

    def phase_scalars(self, t: int) -> dict[str, float]:
        """Return the weights of θ and ψ in the pull r."""
        return {"of_x": self.alpha - 1.0 / self.beta, "of_psi": 1.0 / self.beta}


@register("inna", source=CASTERA, where="the discrete algorithm INNA", state_copies=1)
class INNA(PhaseSpace):
    """INNA: an inertial Newton method without Hessians, by a second variable.

    ``r = (α - 1/β) θ_k + ψ_k / β``, ``ψ_{k+1} = ψ_k - γ_k r``, ``θ_{k+1} = θ_k - γ_k (r + β g_k)``,
    from ψ_0 = (1 - αβ) θ_0, with ``γ_k = lr t^-q``, t = k + 1: explicit Euler on
    ``θ'' + α θ' + β ∇²J θ' + ∇J = 0``.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=10.0)
    >>> refopt.minimize(p, "inna", lr=0.1, beta=1.0, power=0.0, steps=3000).fun < 1e-8
    True
    """

    power: float = hyper(0.5, "[0, 1]", "q: how the rate decays.")
    first_velocity: float | None = hyper(None, "(-inf, inf)",
        words="c: ψ_0 is moved by ``-(β² - β c) g`` at the first step, whose step is then -γ c g in"
        " place of -γ β g. None: ψ_0 as above.")  # fmt: skip
    decay_first: bool = hyper(
        False, words="With decoupled decay: r is computed from the decayed θ (True) or from θ (False)."
    )

    def rule(self, xp):
        decay_first = self.decay_first

        def inna(x, g, psi, lr, of_x, of_psi, beta, kick, l2, keep):
            g = g + l2 * x
            kept = keep * x
            psi = psi - kick * g
            r = of_x * (kept if decay_first else x) + of_psi * psi
            return kept - lr * (r + beta * g), psi - lr * r

        return inna

    def rate(self, t: int) -> float:
        """Return γ of step `t`."""
        return super().rate(t) * t**-self.power

    def scalars(self, t, carried):
        kick = 0.0
        if t == 1 and self.first_velocity is not None:
            kick = self.beta**2 - self.beta * self.first_velocity
        return {**self.phase_scalars(t), "kick": kick}


dialect(INNA, "official", "camcastera/INNA-for-DeepLearning INNA_for_pytorch/inna.py", lr=0.1, power=0.0,
    decay="decoupled")  # fmt: skip
dialect(INNA, "tensorflow", "camcastera/INNA-for-DeepLearning INNA_for_tensorflow/inna.py",
    "psi starts so that the first velocity is minus the gradient", first_velocity=1.0)  # fmt: skip
dialect(INNA, "innaprop", "innaprop/innaprop classification/optimizers/inna.py", alpha=0.1, beta=0.1,
    power=0.0, decay_first=True)  # fmt: skip


@register("innaprop", source=BOLTE, where="the algorithm INNAprop", also=(CASTERA,), state_copies=2)
class INNAprop(PhaseSpace):
    """INNAprop: INNA on the gradient divided by its running root mean square.

    ``θ ← (1 - γ λ) θ``, ``v ← σ v + (1 - σ) g²``, ``d = sqrt(v / (1 - σ^t)) + ε``,
    ``r = (α - 1/β) θ + ψ / β``, ``ψ ← ψ - γ r``, ``θ ← θ - γ (r + β g / d)``, from v_0 = 0 and
    ψ_0 = (1 - αβ) θ_0.

    Notes
    -----
    The paper's listing writes the last line with the new ψ, which divides by β - γ; the form above is the same
    step (a line of algebra) and stays defined at γ = β.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=10.0)
    >>> refopt.minimize(p, "innaprop", lr=0.01, weight_decay=0.0, steps=1500).fun < 1e-3
    True
    """

    slots = ("psi", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "γ.")
    alpha: float = hyper(0.1, "[0, inf)", "α, viscous damping.")
    beta: float = hyper(0.9, "(0, inf)", "β, Newtonian damping.")
    sigma: float = hyper(0.999, "[0, 1)", "σ.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    weight_decay: float = hyper(0.01, "[0, inf)", "λ.")

    def rule(self, xp):
        def innaprop(x, g, psi, v, lr, of_x, of_psi, beta, sigma, k, root, eps, l2, keep):
            g = g + l2 * x
            x = keep * x
            v = ema(v, g * g, sigma, k)
            d = xp.sqrt(v) * root + eps
            r = of_x * x + of_psi * psi
            return x - lr * (r + beta * (g / xp.where(d > 0.0, d, 1.0))), psi - lr * r, v

        return innaprop

    def scalars(self, t, carried):
        return {**self.phase_scalars(t), "k": 1.0 - self.sigma, "root": correction(self.sigma, t) ** -0.5}


dialect(INNAprop, "official", "innaprop/innaprop innaprop.py")
