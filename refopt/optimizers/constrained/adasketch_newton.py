"""AdaSketch-Newton: equality constraints by sketched Newton steps on an exact augmented Lagrangian (Hong et al. 2023)."""

from __future__ import annotations

import numpy as np

from refopt.core import params
from refopt.core.arrays import like, norm, to_numpy
from refopt.core.hyper import Rate, check_rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import dialect, register
from refopt.linear.iterative_sketching import HONG, SKETCHES, iterative_sketching
from refopt.optimizers.common.vectors import joined, parted, symmetric_matrix

HALVINGS = 60


@register("adasketch-newton", source=HONG, where="the adaptive inexact Newton method, with any sketch",
    needs=("value", "grad", "hvp", "constraint", "constraint_vjp", "constraint_hvp"),
    calm_problem=("constrained-logistic", {}))  # fmt: skip
class AdaSketchNewton(Method):
    """AdaSketch-Newton for min f with c = 0: Newton's step on the Lagrangian, as exact as descent asks.

    With ``L = f + λᵀc``, G the Jacobian of c, H = ∇²_x L, and B = H, or ``H + (ξ_B + ‖H‖) I`` where H is not positive along
    c = 0: the system ``Γ z = b``, ``Γ = [[B, Gᵀ], [G, 0]]``, ``b = -[∇_x L; c]`` is solved by `iterative-sketching` from 0
    until ``‖Γ‖ Ψ ‖Γ z - b‖ ≤ θ δ ‖b‖``. The merit is ``L_η = L + η1/2 ‖c‖² + η2/2 ‖∇_x L‖²``; while
    ``∇L_ηᵀ z > -η2/2 ‖b‖²``, ``η1 ← η1 ν²``, ``η2 ← η2/ν``, ``δ ← min(δ/ν⁴, δ')``, and the solver goes on. Then
    ``(x, λ) ← (x, λ) + α z``, α = 1 halved until ``L_η`` falls by ``α β |∇L_ηᵀ z|``.
    ``δ' = (1/2 - β) η2/((1 + η1 + η2) Υ² Ψ²)``, ``Ψ = 20 max(‖B‖², 1)/(min(ξ_G, 1) min(ξ_B, 1))``, ``Υ = max(‖G‖, ‖H‖, 1)``,
    ξ_G the least eigenvalue of G Gᵀ; every step begins with ``δ ← min(δ, δ')``.

    Notes
    -----
    B, G and Γ are laid out: one ``hvp`` and one ``constraint_hvp`` an unknown, one ``constraint_vjp`` a constraint. λ begins at 0.
    The authors' code has ∇²f for H in ∇L_η, which is not its gradient where c is curved; that is not followed. A point
    where ∇c is dependent ends the run.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("constrained-logistic", n=5, planes=2)
    >>> r = refopt.minimize(p, "adasketch-newton", steps=30)
    >>> bool(abs(p.constraint(r.x)).max() < 1e-12)
    True
    """

    has_rate = False
    eta1: float = hyper(1.0, "(0, inf)", "η1 at first.")
    eta2: float = hyper(0.1, "(0, inf)", "η2 at first.")
    delta: float = hyper(0.1, "(0, inf)", "δ at first.")
    least_delta: float = hyper(0.0, "[0, inf)", "δ is not made smaller than this.")
    xi: float = hyper(0.1, "(0, inf)", "ξ_B.")
    beta: float = hyper(0.1, "(0, 0.5)", "β.")
    nu: float = hyper(1.5, "(1, inf)", "ν.")
    theta: Rate = hyper(
        1.0, "(0, inf)", "θ, or a function of the step that goes to 0, for superlinear convergence."
    )
    curvature: float = hyper(1e-6, "[0, inf)", "The least eigenvalue of H along c = 0 with which B = H.")
    norms: str = hyper("spectral", ("spectral", "frobenius"), "‖·‖ of matrices.")
    sketch: str = hyper("gaussian", SKETCHES, "The law of S, of `iterative-sketching`.")
    sketch_size: int | None = hyper(None, "int [1, inf)",
        "Columns of S. None: as many as z has entries, of which one sketch is enough; 1 in the paper's experiments.")  # fmt: skip
    maxiter: int = hyper(100_000, "int [1, inf)", "Most sketches of one solution.")
    words = {"schedule": "Not used."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: η1, η2 and δ; λ is made at the first step."""
        params.check_start(x, "x")
        return {"t": 0, "multipliers": None, "eta1": self.eta1, "eta2": self.eta2, "delta": self.delta}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Solve the Newton system as well as is needed, and search along the step."""
        t, flat = s["t"] + 1, joined(x)
        at = Lagrangian(x, s["multipliers"], oracle)
        b, H, G = -np.concatenate([at.slope, at.c]), at.hessian(), at.jacobian()
        new = {"t": t, "multipliers": at.lam, "eta1": s["eta1"], "eta2": s["eta2"], "delta": s["delta"]}
        size, order = norm(b), 2 if self.norms == "spectral" else None
        if size == 0.0:
            return params.copied(x), new

        def measure(A: np.ndarray) -> float:
            return float(np.linalg.norm(A, order))

        m, n = G.shape
        xi = float(np.linalg.eigvalsh(G @ G.T)[0])
        if xi <= n * np.finfo(np.float64).eps * measure(G) ** 2:
            raise np.linalg.LinAlgError("the gradients of the constraints are linearly dependent")
        Z = np.linalg.qr(G.T, mode="complete")[0][:, m:]
        flawed = m < n and np.linalg.eigvalsh(Z.T @ H @ Z)[0] < self.curvature
        B = H + (self.xi + measure(H)) * np.eye(n) if flawed else H
        system = np.block([[B, G.T], [G, np.zeros((m, m))]])
        psi = 20.0 * max(measure(B) ** 2, 1.0) / (min(xi, 1.0) * min(self.xi, 1.0))
        upsilon = max(measure(G), measure(H), 1.0)
        theta = check_rate(self.theta(t), f"theta({t})") if callable(self.theta) else self.theta
        # What is left of the residual where z is right but for rounding.
        rounding = 10.0 * np.finfo(np.float64).eps * float(np.linalg.cond(system)) * size
        eta1, eta2, delta, z, shrink = s["eta1"], s["eta2"], s["delta"], np.zeros(n + m), 1.0
        while True:
            trial = (0.5 - self.beta) * eta2 / ((1.0 + eta1 + eta2) * upsilon**2 * psi**2)
            delta = max(min(delta / shrink, trial), self.least_delta)
            z = iterative_sketching(system, b, z, sketch=self.sketch, sketch_size=self.sketch_size or n + m,
                rtol=theta * delta / (measure(system) * psi), atol=rounding, maxiter=self.maxiter,
                seed=int(oracle.rng.integers(2**62))).x  # fmt: skip
            gradient = at.merit_gradient(H, G, eta1, eta2)
            slope = float(gradient @ z)
            # Beyond these, of the authors' code, the step is taken as it is.
            if slope <= -0.5 * eta2 * size * size or eta1 > 1e8 or eta2 < 1e-8:
                break
            eta1, eta2, shrink = eta1 * self.nu**2, eta2 / self.nu, self.nu**4
        here, alpha = at.merit(eta1, eta2), 1.0
        # Near a solution the merit falls by less than rounding leaves of it.
        slack = 10.0 * at.eps * max(abs(here), abs(at.f))
        new |= {"eta1": eta1, "eta2": eta2, "delta": delta}
        for _ in range(HALVINGS):
            after = params.axpy(1.0, parted(like(alpha * z[:n], flat), x), x)
            lam = like(to_numpy(at.lam) + alpha * z[n:], flat)
            found = Lagrangian(after, lam, oracle).merit(eta1, eta2)
            # A resumed run asks again for the gradient where it starts, and so does this one.
            oracle.forget()
            if found <= here + alpha * self.beta * slope + slack:
                return after, {**new, "multipliers": lam}
            alpha *= 0.5
        return params.copied(x), new

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the largest entry of ∇_x L and c."""
        at = Lagrangian(x, s["multipliers"], oracle)
        return float(np.max(np.abs(np.concatenate([at.slope, at.c]))))


class Lagrangian:
    """f, c, ∇_x L and their derivatives at a point, in float64."""

    def __init__(self, x: Params, lam: object, oracle: Oracle) -> None:
        c, flat = oracle.constraint(x), joined(x)
        self.x, self.oracle = x, oracle
        self.lam = lam if lam is not None else like(np.zeros(c.shape), flat)
        self.eps = float(np.finfo(to_numpy(flat).dtype).eps)
        self.f, g = oracle.value_and_grad(x)
        back = oracle.constraint_vjp(x, self.lam)
        self.c = to_numpy(c).astype(np.float64)
        self.slope = to_numpy(joined(g)).astype(np.float64) + to_numpy(joined(back)).astype(np.float64)

    def jacobian(self) -> np.ndarray:
        """Return G."""
        rows = [joined(self.oracle.constraint_vjp(self.x, like(e, self.lam))) for e in np.eye(self.c.size)]
        return np.stack([to_numpy(row) for row in rows]).astype(np.float64)

    def hessian(self) -> np.ndarray:
        """Return H."""

        def product(v: Params) -> Params:
            return params.axpy(
                1.0, self.oracle.hvp(self.x, v), self.oracle.constraint_hvp(self.x, self.lam, v)
            )

        return to_numpy(symmetric_matrix(product, self.x)).astype(np.float64)

    def merit(self, eta1: float, eta2: float) -> float:
        """Return L_η."""
        lam = to_numpy(self.lam).astype(np.float64)
        return (
            self.f
            + float(lam @ self.c)
            + eta1 / 2.0 * float(self.c @ self.c)
            + eta2 / 2.0 * float(self.slope @ self.slope)
        )

    def merit_gradient(self, H: np.ndarray, G: np.ndarray, eta1: float, eta2: float) -> np.ndarray:
        """Return ∇L_η by x and λ."""
        return np.concatenate(
            [self.slope + eta2 * H @ self.slope + eta1 * G.T @ self.c, self.c + eta2 * G @ self.slope]
        )


dialect(AdaSketchNewton, "official", "IlgeeHong/AdaSketch-Newton CUTEst/AdaSketchNewtonRK", "but for its ∇L_η",
    norms="frobenius", sketch="kaczmarz", sketch_size=1, least_delta=1e-6)  # fmt: skip
