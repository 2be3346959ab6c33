"""The Levenberg-Marquardt method for nonlinear least squares."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.arrays import Array, namespace, to_numpy
from refopt.core.hyper import hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, register
from refopt.optimizers.common.vectors import matrix

MARQUARDT = Source("marquardt-1963-algorithm", "D. W. Marquardt",
    "An Algorithm for Least-Squares Estimation of Nonlinear Parameters", doi="10.1137/0111030")  # fmt: skip
LEVENBERG = Source("levenberg-1944-method", "K. Levenberg",
    "A method for the solution of certain non-linear problems in least squares",
    venue="Quarterly of Applied Mathematics 2:164-168")  # fmt: skip
NIELSEN = Source("nielsen-1999-damping", "H. B. Nielsen", "Damping Parameter in Marquardt's Method",
    venue="Technical University of Denmark, IMM-REP-1999-05")  # fmt: skip


@register(
    "levenberg-marquardt",
    source=MARQUARDT,
    where="equations (13) to (17), and the rule for lambda that follows",
    needs=("residual", "jvp", "vjp", "least_squares"),
    also=(LEVENBERG, NIELSEN),
)
class LevenbergMarquardt(Method):
    """Levenberg-Marquardt: a Gauss-Newton step, damped until the sum of squares falls.

    For ``F = ||r||² / 2``: solve ``(J^T J + λ D) δ = -J^T r``, and with the gain
    ``ρ = (F(x) - F(x + δ)) / (δ^T (λ D δ - J^T r) / 2)`` take ``x + δ`` if ρ > `accept`; λ falls
    after a success and grows after a failure.

    Notes
    -----
    One step is one trial. J is built column by column, one ``jvp`` a parameter, so this form is for
    problems of up to some thousand parameters; after a failure J is not asked for again. On batches
    residual and Jacobian belong to the batch of the step.

    Raises
    ------
    CapabilityError
        The problem is not a sum of squares (``least_squares``).

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("matrix-sensing", n=6, rank=2, seed=0)
    >>> r = refopt.minimize(p, "levenberg-marquardt", steps=60)
    >>> r.fun < 1e-20
    True
    """

    has_rate = False
    damping: float | None = hyper(None, "[0, inf)",
        "λ before the first step. None: `tau` times the largest entry of diag(J^T J) at the start.")  # fmt: skip
    tau: float = hyper(1e-3, "(0, inf)")
    rule: str = hyper("marquardt", ("marquardt", "nielsen"),
        "λ / 10 and 10 λ; or Nielsen's ``λ max(1/3, 1 - (2ρ - 1)³)``, and growth by 2, 4, 8, ….")  # fmt: skip
    scaling: str = hyper("identity", ("identity", "diagonal", "running-maximum"),
        "D: I (Levenberg), diag(J^T J) (Marquardt), or its largest values so far (MINPACK).")  # fmt: skip
    accept: float = hyper(0.0, "[0, 1)", "Least gain for a step to be taken.")
    words = {"schedule": "Not used."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; the linearisation is made at the first step."""
        return {"t": 0, "damping": self.damping, "growth": 2.0, "model": None, "scale": None}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Try one damped step."""
        model = s["model"]
        if model is None or oracle.batch is not None:
            model = self.linearise(x, oracle)
        gram, gradient, value = model
        xp = namespace(gram)
        diagonal = xp.linalg.diagonal(gram)
        damping = s["damping"]
        if damping is None:
            damping = self.tau * float(xp.max(diagonal))
        scale = self._scale(diagonal, s["scale"])
        delta = self.damped_step(gram, gradient, damping * scale)
        trial = params.axpy(1.0, params.unflatten(to_numpy(delta), x), x)
        r = oracle.residual(trial)
        new_value = 0.5 * float(xp.sum(r * r))
        predicted = 0.5 * float(xp.sum(delta * (damping * scale * delta - gradient)))
        gain = (value - new_value) / predicted if predicted > 0.0 and math.isfinite(new_value) else -1.0
        taken = gain > self.accept
        damping, growth = self.next_damping(damping, s["growth"], gain, taken)
        return (trial if taken else x), {
            "t": s["t"] + 1,
            "damping": damping,
            "growth": growth,
            "model": None if taken else model,
            "scale": scale if self.scaling == "running-maximum" else None,
        }

    def linearise(self, x: Params, oracle: Oracle) -> tuple[Array, Array, float]:
        """Return J^T J, J^T r and F at `x`."""
        r = oracle.residual(x)
        xp = namespace(r)
        jacobian = matrix(lambda v: oracle.jvp(x, v), x)
        flat = xp.reshape(r, (-1,))
        transposed = xp.matrix_transpose(jacobian)
        return transposed @ jacobian, transposed @ flat, 0.5 * float(xp.sum(flat * flat))

    def _scale(self, diagonal: Array, before: Array | None) -> Array:
        xp = namespace(diagonal)
        if self.scaling == "identity":
            return xp.ones_like(diagonal)
        if self.scaling == "running-maximum" and before is not None:
            return xp.maximum(diagonal, before)
        return diagonal

    @staticmethod
    def damped_step(gram: Array, gradient: Array, damping: Array) -> Array:
        """Return δ of ``(J^T J + diag(damping)) δ = -J^T r``, by least squares where that is singular."""
        xp = namespace(gram)
        eye = xp.eye(gram.shape[0], dtype=gram.dtype, device=getattr(gram, "device", None))
        matrix = gram + damping * eye
        if float(xp.min(damping)) > 0.0:
            return -xp.linalg.solve(matrix, gradient[:, None])[:, 0]
        return -(xp.linalg.pinv(matrix) @ gradient)

    def next_damping(self, damping: float, growth: float, gain: float, taken: bool) -> tuple[float, float]:
        """Return λ and Nielsen's growth factor after a trial."""
        if self.rule == "marquardt":
            return (damping / 10.0 if taken else damping * 10.0), growth
        if taken:
            return damping * max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3), 2.0
        return damping * growth, 2.0 * growth

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the largest entry of J^T r."""
        return params.max_abs(oracle.vjp(x, oracle.residual(x)))
