"""Thermodynamic natural gradient descent (Donatella et al. 2024)."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, like, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, check_start
from refopt.core.registry import register
from refopt.linear.thermodynamic import DONATELLA
from refopt.matrix.common import eigh
from refopt.optimizers.common.vectors import joined, parted, symmetric_matrix


@register(
    "tngd",
    source=DONATELLA,
    where="the hybrid loop: a digital gradient and curvature, an analog solve",
    needs=("grad", "jvp", "vjp", "loss_hessian"),
    calm_problem=("matrix-sensing", {"n": 4, "rank": 1}),
)
class TNGD(Method):
    """TNGD: a natural gradient that a thermal process has come to after a time, from a start of its own.

    With F the generalized Gauss-Newton matrix and g the gradient, ``dy = -(F y + λ y - g) dt + sqrt(2 κ) dW`` runs
    for a time τ from y(0), and ``θ ← θ - η y(τ)``. With A = F + λ I the law of y(τ) is normal, of mean
    ``e^(-Aτ) y(0) + A⁻¹ (I - e^(-Aτ)) g`` and covariance ``κ A⁻¹ (I - e^(-2Aτ))``: damped natural gradient for a
    long time without noise; for none, the start, which the gradient makes SGD.

    Notes
    -----
    The exact law is drawn by an eigendecomposition of F, laid out by one product a parameter; ``euler`` takes
    steps of the process instead, one product each. The paper's device makes them at once. The delayed form, in which F and g
    are of the last step, and the Adam form are not here.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("matrix-sensing", n=4, rank=1)
    >>> r = refopt.minimize(p, "tngd", lr=0.5, damping=1e-3, time=100.0, steps=60)
    >>> bool(r.fun < 1e-8 * r.history["value"][0])
    True
    """

    lr: Rate = hyper(0.1, "[0, inf)", "η, without a unit at a long time.")
    damping: float = hyper(0.1, "(0, inf)", "λ, in the units of the curvature.")
    time: float = hyper(10.0, "[0, inf]", "τ, in the inverse units of the curvature.")
    temperature: float = hyper(0.0, "[0, inf)", "κ, of the noise.")
    start: str = hyper("gradient", ("gradient", "last"), "y(0): g, or the last step's y(τ), at first zero.")
    process: str = hyper("exact", ("exact", "euler"), "How y(τ) is drawn.")
    dt: float = hyper(0.01, "(0, inf)", "A step of ``euler``, the last of which ends at τ.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: y of zeros, where it is kept."""
        flat = joined(check_start(x, "x"))
        return {"t": 0, **({"y": namespace(flat).zeros_like(flat)} if self.start == "last" else {})}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient and the curvature, run the process, and step."""
        g, t = joined(oracle.grad(x)), s["t"] + 1
        y = s["y"] if self.start == "last" else g
        y = self.exact(x, g, y, oracle) if self.process == "exact" else self.euler(x, g, y, oracle)
        new = axpy(-self.rate(t), parted(y, x), x)
        return new, {"t": t, **({"y": y} if self.start == "last" else {})}

    def exact(self, x: Params, g: Array, y: Array, oracle: Oracle) -> Array:
        """Return a draw of y(τ) by its law."""
        xp = namespace(g)
        values, vectors = eigh(symmetric_matrix(lambda u: oracle.ggn(x, u), x))
        a = xp.clip(values, min=0.0) + self.damping
        back = xp.matrix_transpose(vectors)
        # 1 - e^(-aτ), to all its digits where aτ is small; 1 at τ = ∞.
        gone = -xp.expm1(-self.time * a) if self.time < math.inf else xp.ones_like(a)
        mean = (1.0 - gone) * (back @ y) + gone / a * (back @ g)
        if self.temperature:
            # 1 - e^(-2aτ) = gone (2 - gone).
            z = back @ like(oracle.rng.standard_normal(g.shape[0]), g)
            mean = mean + xp.sqrt(self.temperature * gone * (2.0 - gone) / a) * z
        return vectors @ mean

    def euler(self, x: Params, g: Array, y: Array, oracle: Oracle) -> Array:
        """Return y(τ) of Euler's and Maruyama's steps."""
        steps = math.ceil(self.time / self.dt)
        for k in range(steps):
            h = min(self.dt, self.time - k * self.dt)
            drift = joined(oracle.ggn(x, parted(y, x))) + self.damping * y - g
            y = y - h * drift
            if self.temperature:
                y = y + math.sqrt(2.0 * self.temperature * h) * like(
                    oracle.rng.standard_normal(g.shape[0]), g
                )
        return y
