"""Affine scaling trust regions for bounded nonlinear systems (Bellavia et al. 2003), and their scalings (Ayanzadeh et al. 2019)."""

from __future__ import annotations

import math

import numpy as np

from refopt.core import params
from refopt.core.arrays import like, norm, to_numpy
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import check_number, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.vectors import joined, matrix, parted

AYANZADEH = Source("ayanzadeh-2019-scaling", "A. Ayanzadeh, S. Yazdanian, E. Shahamatnia",
    "A New Class of Scaling Matrices for Scaled Trust Region Algorithms", arxiv="1904.09209")  # fmt: skip
BELLAVIA = Source("bellavia-2003-affine", "S. Bellavia, M. Macconi, B. Morini",
    "An affine scaling trust-region approach to bound-constrained nonlinear systems",
    venue="Applied Numerical Mathematics 44(3), 257-280", doi="10.1016/S0168-9274(02)00170-8")  # fmt: skip
KNOWN = ("coleman-li", "heinkenschloss-ulbrich-ulbrich", "kanzow-klug", "hager-mair-zhang")


@register("affine-scaling-trust-region", source=AYANZADEH, where="the convex combination of the known scalings", also=(BELLAVIA,),
    needs=("residual", "jvp", "vjp", "least_squares", "bounds"),
    calm_problem=("rosenbrock", {"lower": -1.5, "upper": 1.2}))  # fmt: skip
class AffineScalingTrustRegion(Method):
    """The affine scaling trust region method for F(x) = 0 with l < x < u: a dogleg in scaled variables, kept inside.

    With g = JᵀF and the scaling d, ``D = diag(d)^(-1/2)``: of the Newton step ``s = -J⁻¹F`` where ``‖D s‖ ≤ Δ``, the
    Cauchy step ``-(‖D⁻¹g‖/‖J D⁻²g‖)² D⁻²g``, cut to Δ, where that is as long, and else the point of length Δ between
    them, take the step shortened to ``max(θ, 1 - ‖p‖)`` of the way to the bounds where it would reach them, or the Cauchy
    step so shortened where the model ``m(p) = gᵀp + ‖J p‖²/2`` falls less than a tenth of what it does there. While ‖F‖²/2
    falls by less than m/4, ``Δ ← min(Δ/4, ‖D p‖/2)``; where by more than 3m/4, ``Δ ← max(Δ, 2 ‖D p‖)`` afterwards.

    Notes
    -----
    With x_i's distance X_i to the bound to which -g_i points, d_i is X_i, or 1 where that is infinite (Coleman and Li); that where
    ``|g_i| < least^p`` or ``least < |g_i|^p``, least the smaller distance, and else 1 (Heinkenschloss, Ulbrich and Ulbrich);
    ``min(x_i - l_i + γ max(0, -g_i), u_i - x_i + γ max(0, g_i))``, 1 without bounds (Kanzow and Klug);
    ``X_i/(α X_i + |g_i|)``, 1/α for infinite X_i (Hager, Mair and Zhang); or the sum of all four with `weights`.

    One step ends where a trial is taken; if Δ falls to the root of the rounding error first, the point stays. J is laid
    out, one ``jvp`` an unknown; a singular or rectangular J gives the least-squares step of least length.

    Raises
    ------
    ArgumentError
        A point is not strictly inside the bounds.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("rosenbrock", lower=-2.0, upper=[2.0, 1.0])
    >>> r = refopt.minimize(p, "affine-scaling-trust-region", np.array([-1.2, 0.9]), steps=30)
    >>> bool(r.fun < 1e-20), bool(r.x[1] < 1.0)
    (True, True)
    """

    has_rate = False
    scaling: str = hyper("convex", ("convex", *KNOWN), "d.")
    weights: tuple[float, ...] = hyper((0.25, 0.25, 0.25, 0.25),
        words="Of the four scalings, in the order above, at least 0 and of the sum 1; equal by this library's choice.",
        kind="tuple of float")  # fmt: skip
    power: float = hyper(2.0, "(1, inf)", "p.")
    gamma: float = hyper(1.0, "(0, inf)", "γ.")
    alpha: float = hyper(1.0, "(0, inf)", "α.")
    radius: float | None = hyper(None, "(0, inf)", "Δ at first. None: ``‖D⁻¹g‖`` at the start.")
    theta: float = hyper(0.99995, "(0, 1)", "θ.")
    words = {"schedule": "Not used."}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.weights, (tuple, list)) or len(self.weights) != len(KNOWN):
            raise ArgumentTypeError(f"weights: wanted {len(KNOWN)} numbers, got {self.weights!r}")
        for i, w in enumerate(self.weights):
            check_number(w, "[0, 1]", f"weights[{i}]")
        if abs(sum(self.weights) - 1.0) > 1e-12:
            raise ArgumentError(f"weights: wanted numbers of the sum 1, got {self.weights!r}")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: Δ."""
        params.check_start(x, "x")
        return {"t": 0, "radius": self.radius}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Linearise, and try steps until one is taken."""
        t, at, radius = s["t"] + 1, Scaled(self, x, oracle), s["radius"]
        if radius is None:
            radius = norm(at.root * at.g)
        if at.size == 0.0 or not np.any(at.d * at.unit_g):
            return params.copied(x), {"t": t, "radius": radius}
        newton = -np.linalg.lstsq(at.J, at.F, rcond=None)[0]
        before = radius
        while radius > np.finfo(at.dtype).eps ** 0.5:
            p, share = at.trial(newton, radius, self.theta)
            new = at.inside(p)
            fall = (norm(to_numpy(joined(oracle.residual(new))).astype(np.float64)) / at.size) ** 2 - 1.0
            ratio, length = fall / (2.0 * at.model(p)), norm(p / at.root)
            if ratio >= 0.25:
                grown = max(radius, 2.0 * length) if ratio > 0.75 and share > 0.1 else radius
                return new, {"t": t, "radius": grown}
            radius = min(0.25 * radius, 0.5 * length)
        return params.copied(x), {"t": t, "radius": before}

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the largest entry of D⁻²g, zero at solutions and wherever only the bounds are in the way."""
        at = Scaled(self, x, oracle, jacobian=False)
        return float(np.max(np.abs(at.d * at.g)))


class Scaled:
    """F, J, g and d at a point, in float64; J and F in units of ‖F‖, so that no square leaves the range."""

    def __init__(
        self, method: AffineScalingTrustRegion, x: Params, oracle: Oracle, jacobian: bool = True
    ) -> None:
        self.method, self.like_x, self.oracle = method, x, oracle
        flat = to_numpy(joined(x))
        self.dtype, self.x = flat.dtype, flat.astype(np.float64)
        self.sides = [to_numpy(joined(side)) for side in oracle.bounds(x)]
        self.lower, self.upper = (side.astype(np.float64) for side in self.sides)
        if not np.all((self.lower < self.x) & (self.x < self.upper)):
            raise ArgumentError("x0: wanted a point strictly inside the bounds of the problem")
        r = oracle.residual(x)
        F = to_numpy(joined(r)).astype(np.float64)
        self.size = norm(F)
        self.g = to_numpy(joined(oracle.vjp(x, r))).astype(np.float64)
        self.d = self.scaling()
        self.root = np.sqrt(self.d)
        if jacobian and self.size > 0.0:
            self.F = F / self.size
            self.J = to_numpy(matrix(lambda v: oracle.jvp(x, v), x)).astype(np.float64) / self.size
            self.unit_g = self.J.T @ self.F

    def scaling(self) -> np.ndarray:
        """Return d."""
        below, above, size = self.x - self.lower, self.upper - self.x, np.abs(self.g)
        ahead, least, m = np.where(self.g < 0.0, above, below), np.minimum(below, above), self.method
        bounded = np.isfinite(ahead)
        coleman = np.where(bounded, ahead, 1.0)
        known = (
            coleman,
            np.where((size < least**m.power) | (least < size**m.power), coleman, 1.0),
            np.where(np.isfinite(least), np.minimum(below + m.gamma * np.maximum(0.0, -self.g), above + m.gamma * np.maximum(0.0, self.g)), 1.0),
            np.where(bounded, coleman / (m.alpha * coleman + size), 1.0 / m.alpha),
        )  # fmt: skip
        if m.scaling != "convex":
            return known[KNOWN.index(m.scaling)]
        return np.sum([w * d for w, d in zip(m.weights, known)], axis=0)

    def model(self, p: np.ndarray) -> float:
        """Return m(p) over ‖F‖²."""
        return float(self.unit_g @ p) + 0.5 * norm(self.J @ p) ** 2

    def trial(self, newton: np.ndarray, radius: float, theta: float) -> tuple[np.ndarray, float]:
        """Return the step for a radius, and the model's fall over that of the Cauchy step."""
        down = self.d * self.unit_g
        steep = norm(self.root * self.unit_g)
        whole = -((steep / norm(self.J @ down)) ** 2) * down
        long = norm(whole / self.root) >= radius
        cauchy = self.kept(-(radius / steep) * down if long else whole, theta)
        if norm(newton / self.root) <= radius:
            p = self.kept(newton, theta)
        elif long:
            p = cauchy
        else:
            p = self.kept(self.root * reach(whole / self.root, newton / self.root, radius), theta)
        share = self.model(p) / self.model(cauchy)
        return (p if share >= 0.1 else cauchy), share

    def kept(self, p: np.ndarray, theta: float) -> np.ndarray:
        """Return the step shortened so that it stays inside."""
        way = np.where(p > 0.0, self.upper - self.x, self.lower - self.x)
        most = float(np.min(np.divide(way, p, out=np.full_like(p, np.inf), where=p != 0.0)))
        return p if most > 1.0 else max(theta, 1.0 - norm(p)) * most * p

    def inside(self, p: np.ndarray) -> Params:
        """Return x + p in x's dtype, where rounding must not put it on a bound."""
        low, high = (np.nextafter(s, s.dtype.type(to)) for s, to in zip(self.sides, (math.inf, -math.inf)))
        new = np.clip((self.x + p).astype(self.dtype), low, high)
        return parted(like(new, joined(self.like_x)), self.like_x)


def reach(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """Return the point of length `radius` between a, shorter, and b, longer."""
    a, b = a / radius, b / radius
    way = b - a
    # The root in [0, 1] of ‖a + τ way‖ = 1: from the Cauchy step to Newton's the length only grows, so nothing cancels.
    along, left = float(a @ way), 1.0 - float(a @ a)
    tau = left / (along + math.sqrt(along * along + float(way @ way) * left))
    return radius * (a + tau * way)


dialect(AffineScalingTrustRegion, "strscne", "STRSCNE of Bellavia, Macconi and Morini", scaling="coleman-li")
