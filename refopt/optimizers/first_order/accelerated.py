"""Three accelerated methods with the constants that L and mu give (Parimi et al. 2025).

The problem's own L and mu (``lipschitz``, ``strong_convexity``) serve where none are given.
"""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.errors import ArgumentError
from refopt.core.hyper import hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start
from refopt.core.registry import Source, register

PARIMI = Source("parimi-2025-dynamics", "M. Parimi, R. Mehra, S. Wagh, A. Yerudkar, N. Singh",
    "On the Dynamics of Acceleration in First order Gradient Methods", arxiv="2509.18346")  # fmt: skip
POLYAK = Source("polyak-1964-methods", "B. T. Polyak",
    "Some methods of speeding up the convergence of iteration methods",
    venue="USSR Computational Mathematics and Mathematical Physics 4(5):1-17")  # fmt: skip
NESTEROV = Source("nesterov-2004-introductory", "Y. Nesterov",
    "Introductory Lectures on Convex Optimization: A Basic Course", venue="Springer")  # fmt: skip
LESSARD = Source("lessard-2014-analysis", "L. Lessard, B. Recht, A. Packard",
    "Analysis and Design of Optimization Algorithms via Integral Quadratic Constraints", arxiv="1408.3595")  # fmt: skip
GHADIMI = Source("ghadimi-2014-global", "E. Ghadimi, H. R. Feyzmahdavian, M. Johansson",
    "Global convergence of the Heavy-ball method for convex optimization", arxiv="1412.7457")  # fmt: skip
VAN_SCOY = Source("vanscoy-2018-fastest", "B. Van Scoy, R. A. Freeman, K. M. Lynch",
    "The Fastest Known Globally Convergent First-Order Method for Minimizing Strongly Convex Functions",
    venue="IEEE Control Systems Letters 2(1):49-54")  # fmt: skip

# Of a step and of an extrapolation: (a, b, g), see `Accelerated.step`.
Constants = tuple[float, float, float]


class Accelerated(Method):
    """What the three share: ``y = z + g (z - z_last)``, ``z_next = z + b (z - z_last) - a ∇f(y)``."""

    lipschitz: float | None = hyper(None, "(0, inf)", "L. None: the problem's own (``lipschitz``).")
    strong_convexity: float | None = hyper(None, "(0, inf)",
        "mu, at most L. None: the problem's own (``strong_convexity``).")  # fmt: skip
    words = {"schedule": "Of the step size a alone."}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lipschitz is not None and self.strong_convexity is not None:
            self._check(self.strong_convexity, self.lipschitz)

    def _check(self, mu: float, lipschitz: float) -> None:
        if mu > lipschitz:
            raise ArgumentError(
                f"{self.registered_name}: strong_convexity: wanted at most lipschitz = {lipschitz:g}, got {mu:g}"
            )

    def bounds(self, oracle: Oracle) -> tuple[float, float]:
        """Return mu and L, the given ones or else the problem's.

        Raises
        ------
        ArgumentError
            One is not given and the problem does not know it, or it is not positive, or mu > L.
        """
        found = []
        for name in ("strong_convexity", "lipschitz"):
            value = getattr(self, name)
            value = getattr(oracle.problem, name, None) if value is None else value
            if value is None or not 0.0 < value < math.inf:
                raise ArgumentError(
                    f"{self.registered_name}: {name}: wanted a positive number, given or known to the problem,"
                    f" got {value!r}"
                )
            found.append(float(value))
        self._check(*found)
        return found[0], found[1]

    def constants(self, mu: float, lipschitz: float) -> Constants:
        """Return a, b and g for these mu and L."""
        raise NotImplementedError

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the point itself as the one before."""
        x = check_start(x, "x")
        return {"t": 0, "last": params.copied(x)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one step with the gradient at y."""
        t = s["t"] + 1
        a, b, g = self.constants(*self.bounds(oracle))
        moved = params.subtract(x, s["last"])
        # Where it is x itself, no sum is made, so that the gradient is the one that a check has asked for.
        slope = oracle.grad(params.axpy(g, moved, x) if g and t > 1 else x)
        a *= self.multiplier(t)
        new = params.map_leaves(lambda z, d, s: z + (b * d - a * s), x, moved, slope)
        return new, {"t": t, "last": params.copied(x)}


@register("heavy-ball", source=PARIMI, where="the heavy-ball method", also=(POLYAK, LESSARD, GHADIMI),
    state_copies=1, calm_problem=("quadratic", {"n": 12}))  # fmt: skip
class HeavyBall(Accelerated):
    """Polyak's heavy ball with the best constants for quadratics of given L and mu.

    ``x_{t+1} = x_t - a ∇f(x_t) + b (x_t - x_{t-1})``, ``a = 4 / (sqrt(L) + sqrt(mu))^2``,
    ``b = ((sqrt(κ) - 1) / (sqrt(κ) + 1))^2``, κ = L / mu, from x_{-1} = x_0.

    Notes
    -----
    On quadratics the error falls as sqrt(b)^t, up to a factor t. On other strongly convex functions these
    constants may cycle for ever (Lessard et al.); ``tuned="global"`` has a = 1 / L and
    ``b = sqrt((1 - a mu)(1 - a L)) = 0``, and `step_size` below 1 / L some momentum (Ghadimi et al.).

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", condition_number=100.0), "heavy-ball", steps=150)
    >>> r.fun < 1e-18
    True
    """

    tuned: str = hyper("quadratic", ("quadratic", "global"), "Which of the constants.")
    step_size: float | None = hyper(None, "(0, inf)",
        "a of the global choice, at most 1 / L, which is None.")  # fmt: skip

    def constants(self, mu: float, lipschitz: float) -> Constants:
        if self.tuned == "quadratic":
            high, low = math.sqrt(lipschitz), math.sqrt(mu)
            return (2.0 / (high + low)) ** 2, ((high - low) / (high + low)) ** 2, 0.0
        a = 1.0 / lipschitz if self.step_size is None else self.step_size
        if a * lipschitz > 1.0:
            raise ArgumentError(f"heavy-ball: step_size: wanted at most 1 / L = {1 / lipschitz:g}, got {a:g}")
        return a, math.sqrt((1.0 - a * mu) * (1.0 - a * lipschitz)), 0.0


@register("nesterov-strongly-convex", source=PARIMI, where="Nesterov's method for strongly convex functions",
    also=(NESTEROV, LESSARD), state_copies=1, calm_problem=("quadratic", {"n": 12}))  # fmt: skip
class NesterovStronglyConvex(Accelerated):
    """Nesterov's accelerated gradient with constant momentum, for given L and mu.

    ``y_t = x_t + b (x_t - x_{t-1})``, ``x_{t+1} = y_t - a ∇f(y_t)``, ``a = 1 / L``,
    ``b = (sqrt(κ) - 1) / (sqrt(κ) + 1)``, κ = L / mu, from x_{-1} = x_0.

    Notes
    -----
    For every such f, ``f(x_t) - f* <= (1 - 1 / sqrt(κ))^t (f(x_0) - f* + mu |x_0 - x*|^2 / 2)``.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", condition_number=100.0)
    >>> r = refopt.minimize(p, "nesterov-strongly-convex", steps=200)
    >>> r.fun < 1e-15
    True
    """

    tuned: str = hyper("all", ("all", "quadratic"),
        "Constants as above; or a = 4 / (3 L + mu), b = (sqrt(3 κ + 1) - 2) / (sqrt(3 κ + 1) + 2), the best for"
        " quadratics (Lessard et al.).")  # fmt: skip

    def constants(self, mu: float, lipschitz: float) -> Constants:
        if self.tuned == "all":
            a, root = 1.0 / lipschitz, math.sqrt(lipschitz / mu)
            b = (root - 1.0) / (root + 1.0)
        else:
            a, root = 4.0 / (3.0 * lipschitz + mu), math.sqrt(3.0 * lipschitz / mu + 1.0)
            b = (root - 2.0) / (root + 2.0)
        return a, b, b


@register("triple-momentum", source=VAN_SCOY, where="the triple momentum method", also=(PARIMI,), state_copies=2,
    calm_problem=("quadratic", {"n": 12}))  # fmt: skip
class TripleMomentum(Accelerated):
    """The triple momentum method: at least the square of Nesterov's guaranteed rate, for given L and mu.

    With ``ρ = 1 - 1 / sqrt(κ)``: ``ξ_{t+1} = (1 + b) ξ_t - b ξ_{t-1} - a ∇f(y_t)``,
    ``y_t = (1 + g) ξ_t - g ξ_{t-1}``, and the answer ``x_t = (1 + d) ξ_t - d ξ_{t-1}``, where
    ``a = (1 + ρ) / L``, ``b = ρ² / (2 - ρ)``, ``g = ρ² / ((1 + ρ)(2 - ρ))``, ``d = ρ² / (1 - ρ²)``, from
    ξ_0 = ξ_{-1} = x_0.

    Notes
    -----
    After t steps ``f(x_t) - f* <= ρ^{2t} (L κ / 2) |x_0 - x*|^2``. A run's x is the answer x_t; the gradient
    is asked for at y_t, and ξ_t is in the state.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", condition_number=100.0), "triple-momentum", steps=250)
    >>> r.fun < 1e-18
    True
    """

    def constants(self, mu: float, lipschitz: float) -> Constants:
        rho = 1.0 - math.sqrt(mu / lipschitz)
        square = rho * rho
        return (1.0 + rho) / lipschitz, square / (2.0 - rho), square / ((1.0 + rho) * (2.0 - rho))

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: ξ_0 = ξ_{-1} = x."""
        x = check_start(x, "x")
        return {"t": 0, "xi": params.copied(x), "last": params.copied(x)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Move ξ, and return the point beyond it."""
        mu, lipschitz = self.bounds(oracle)
        # At the start ξ is x, and then the gradient is the one that a check has asked for.
        xi = x if s["t"] == 0 else s["xi"]
        new, after = super().step(xi, s, oracle)
        rho = 1.0 - math.sqrt(mu / lipschitz)
        d = rho * rho / (1.0 - rho * rho)
        ahead = params.axpy(d, params.subtract(new, xi), new)
        return ahead, {"t": after["t"], "xi": new, "last": after["last"]}
