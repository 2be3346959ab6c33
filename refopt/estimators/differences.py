"""Gradients from values alone: one point, two points, every coordinate."""

from __future__ import annotations

import numpy as np

from refopt.core import params
from refopt.core.hyper import hyper
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, register
from refopt.estimators.base import Estimator, isotropic
from refopt.optimizers.zeroth_order.estimates import FORMS, LAWS, coordinate_slopes, draw, mean, slopes

FLAXMAN = Source("flaxman-2005-online", "A. D. Flaxman, A. T. Kalai, H. B. McMahan",
    "Online convex optimization in the bandit setting: gradient descent without a gradient",
    arxiv="cs/0408007")  # fmt: skip
NESTEROV = Source("nesterov-2017-random", "Y. Nesterov, V. Spokoiny",
    "Random Gradient-Free Minimization of Convex Functions",
    venue="Foundations of Computational Mathematics 17, 527-566", doi="10.1007/s10208-015-9296-2")  # fmt: skip
KIEFER = Source("kiefer-1952-stochastic", "J. Kiefer, J. Wolfowitz",
    "Stochastic Estimation of the Maximum of a Regression Function",
    venue="The Annals of Mathematical Statistics 23(3), 462-466", doi="10.1214/aoms/1177729392")  # fmt: skip


@register("one-point-gradient", source=FLAXMAN, where="Lemma 2.1", needs=("value",))
class OnePoint(Estimator):
    """The one-point estimate: a value beside the point, times the direction in which it was taken.

    ``ĝ = (1/n) Σ f(x + μ z_i) z_i / μ`` with E[z zᵀ] = I. With u = z/√d on the unit sphere and δ = μ √d this is
    ``(d/δ) f(x + δ u) u``, the paper's. Its expectation is the gradient of f averaged over the ball of radius δ;
    its variance grows as f²/μ².

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=2, condition_number=2.0)
    >>> r = refopt.minimize(p, "one-point-gradient", lr=1e-3, radius=0.5, steps=2000, record="full")
    >>> dict(r.calls), bool(r.fun < r.history["value"][0])
    ({'value': 2000}, True)
    """

    radius: float = hyper(0.1, "(0, inf)", "μ; the paper's δ over √d.")
    samples: int = hyper(1, "int [1, inf)", "n.")
    law: str = hyper("sphere", LAWS, "Of z.")

    def estimate(self, oracle: Oracle, x: Params) -> Params:
        """Return ĝ."""
        found = []
        for _ in range(self.samples):
            z = draw(self.law, oracle.rng, x)
            found.append((oracle.value(params.axpy(self.radius, z, x)) / self.radius, z))
        return mean(found)

    def moments(self, f: float, g: np.ndarray) -> tuple[np.ndarray, float]:
        """Return g, and that of `isotropic` with d f²/(n μ²) besides."""
        return g, isotropic(self.law, self.samples, g) + g.size * (f / self.radius) ** 2 / self.samples


@register("two-point-gradient", source=NESTEROV, where="equation (26) and Section 3", needs=("value",))
class TwoPoint(Estimator):
    """The two-point estimate: difference quotients along random directions.

    ``ĝ = (1/n) Σ (f(x + μ z_i) - f(x - μ z_i)) / (2 μ) z_i`` with E[z zᵀ] = I, or with
    ``(f(x + μ z_i) - f(x)) / μ``. For Gaussian z its expectation is the gradient of ``E f(x + μ z)``; on
    quadratics the symmetric form is ``(1/n) Σ (gᵀz_i) z_i``, whatever μ.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "two-point-gradient", base="adam", lr=0.05, steps=300, record="full")
    >>> dict(r.calls), bool(r.fun < 0.1 * r.history["value"][0])
    ({'value': 600}, True)
    """

    radius: float = hyper(1e-3, "(0, inf)", "μ.")
    samples: int = hyper(1, "int [1, inf)", "n.")
    form: str = hyper("two-point", FORMS, "The symmetric quotient, or the one-sided one.")
    law: str = hyper("gaussian", LAWS, "Of z.")

    def estimate(self, oracle: Oracle, x: Params) -> Params:
        """Return ĝ."""
        return mean(slopes(oracle, x, self.law, self.radius, self.form, self.samples))

    def moments(self, f: float, g: np.ndarray) -> tuple[np.ndarray, float]:
        """Return g, and that of `isotropic`."""
        return g, isotropic(self.law, self.samples, g)


@register("coordinate-gradient", source=KIEFER, where="its multivariate form: one quotient a coordinate",
    needs=("value",), calm_problem=("quadratic", {"n": 6}))  # fmt: skip
class Coordinates(Estimator):
    """The coordinate-wise estimate: a difference quotient along every axis.

    ``ĝ_i = (f(x + μ e_i) - f(x - μ e_i)) / (2 μ)``, exact on quadratics; or ``(f(x + μ e_i) - f(x)) / μ``, whose
    error there is μ H_ii / 2. It draws nothing, and asks for 2 d or d + 1 values.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "coordinate-gradient", lr=1.0, steps=20, record="full")
    >>> dict(r.calls)
    {'value': 160}
    """

    radius: float = hyper(1e-3, "(0, inf)", "μ.")
    form: str = hyper("two-point", FORMS, "The symmetric quotient, or the one-sided one.")

    def estimate(self, oracle: Oracle, x: Params) -> Params:
        """Return ĝ."""
        return coordinate_slopes(oracle, x, self.radius, self.form)

    def moments(self, f: float, g: np.ndarray) -> tuple[np.ndarray, float]:
        """Return g and ‖g‖²: nothing is random."""
        return g, float(g @ g)
