"""Policy gradients with implicit gradient transport and with Hessian aid (Fatkhullin et al. 2023)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, copied, scale, subtract, zeros_like
from refopt.core.problem import require
from refopt.core.registry import Source, dialect, register

FATKHULLIN = Source("fatkhullin-2023-stochastic", "I. Fatkhullin, A. Barakat, A. Kireeva, N. He",
    "Stochastic Policy Gradient Methods: Improved Sample Complexity for Fisher-non-degenerate Policies",
    arxiv="2302.01734")  # fmt: skip


class PolicyGradient(Method):
    """What both share: trajectories drawn from the policy that is asked about, and the last two points."""

    trajectories: int | None = hyper(None, "int [1, inf)",
        "Trajectories drawn for an estimate, from the policy at its own point (the problem's `rollouts`). None: the"
        " expectations, which are the problem's `grad` and `hvp`.")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        return {"t": 0, "d": zeros_like(x), "previous": copied(x)}

    def gradient(self, oracle: Oracle, x: Params) -> Params:
        """Return g at x, of its own trajectories."""
        if self.trajectories is None:
            return copied(oracle.grad(x))
        require(oracle.problem, ("rollouts",), f"{self.registered_name} with trajectories")
        found = oracle.rollouts(x, self.trajectories)
        return found.mean(found.grads)

    def hessian(self, oracle: Oracle, x: Params, v: Params) -> Params:
        """Return B v at x, of its own trajectories."""
        if self.trajectories is None:
            return oracle.hvp(x, v)
        found = oracle.rollouts(x, self.trajectories)
        return found.mean(found.hvps(v))


def direction(d: Params) -> Params:
    """Return ``d / ‖d‖``, zero for zero."""
    length = params.norm(d)
    return scale(1.0 / length if length > 0.0 else 0.0, d)


@register("n-pg-igt", source=FATKHULLIN, where="Algorithm 1, N-PG-IGT", calm_problem=("tabular-policy", {}))
class NPGIGT(PolicyGradient):
    """N-PG-IGT: a step of given length along averaged policy gradients, taken where the average would be right.

    With f minus the return: ``θ̃_t = θ_t + (1 - η_t)/η_t (θ_t - θ_{t-1})``, ``d_t = (1 - η_t) d_{t-1} + η_t g(θ̃_t)``,
    ``θ_{t+1} = θ_t - γ_t d_t/‖d_t‖``; ``η_t = (2/(t + 2))^{4/5}``, ``γ_t = 2 γ_0/(t + 2)``, t from 0, so that d_0 is g
    at the start. If the gradient is affine, d_t is the gradient at θ_t.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("tabular-policy"), "n-pg-igt", trajectories=20, lr=1.0, steps=100, record="full")
    >>> dict(r.calls), bool(r.fun < r.history["value"][0])
    ({'rollouts': 100}, True)
    """

    lr: Rate = hyper(0.1, "[0, inf)", "γ_0, in the units of θ.")
    power: float = hyper(0.8, "[0, 1]", "Of 2/(t + 2) in η_t; 0: the plain normalised gradient.")
    lagged: bool = hyper(False, words="Extrapolate by the η of the step before (the authors' code).")

    def eta(self, t: int) -> float:
        """Return η_t."""
        return (2.0 / (t + 2)) ** self.power

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Extrapolate, ask for the gradient there, average and step."""
        t = s["t"]
        eta = self.eta(t)
        ahead = self.eta(max(t - 1, 0)) if self.lagged else eta
        there = axpy((1.0 - ahead) / ahead, subtract(x, s["previous"]), x)
        d = axpy(eta, self.gradient(oracle, there), scale(1.0 - eta, s["d"]))
        gamma = self.rate(t + 1) * 2.0 / (t + 2)
        return axpy(-gamma, direction(d), x), {"t": t + 1, "d": d, "previous": x}


dialect(NPGIGT, "official", "the authors' fork of garage, NIGT_optimizer.py", lagged=True)


@register("harpg", source=FATKHULLIN, where="Algorithm 2, (N)-HARPG", needs=("grad", "hvp"),
    calm_problem=("tabular-policy", {}))  # fmt: skip
class HARPG(PolicyGradient):
    """HARPG: averaged policy gradients that are carried along by a Hessian product at a random point between.

    With f minus the return, and q ~ U[0, 1]: ``θ̂ = q θ_t + (1 - q) θ_{t-1}``, ``v_t = B(θ̂) (θ_t - θ_{t-1})``,
    ``d_t = (1 - η_t) (d_{t-1} + v_t) + η_t g(θ_t)``, ``θ_{t+1} = θ_t - γ_t d_t``, or ``γ_t d_t/‖d_t‖`` (N-HARPG);
    ``η_t = 2/(t + 2)``, ``γ_t = γ_0 (2/(t + 2))^{1/2}``, normalised ``2 γ_0/(t + 2)``, t from 0. Averaged over q, v_t
    is what the gradient has changed.

    Notes
    -----
    The authors' code adds (∇log p · v) ∇Φ with the sign turned, which is a fault.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("tabular-policy"), "harpg", trajectories=20, lr=1.0, steps=100, record="full")
    >>> dict(r.calls), bool(r.fun < r.history["value"][0])
    ({'rollouts': 199}, True)
    """

    lr: Rate = hyper(0.1, "[0, inf)", "γ_0.")
    normalize: bool = hyper(False, words="N-HARPG.")
    power: float = hyper(1.0, "[0, 1]", "Of 2/(t + 2) in η_t; 0: the plain policy gradient.")

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Carry the average along, join the gradient at `x`, and step."""
        t, d = s["t"], s["d"]
        rest = 2.0 / (t + 2)
        eta = rest**self.power
        if t > 0:
            moved = subtract(x, s["previous"])
            between = axpy(float(oracle.rng.random()), moved, s["previous"])
            d = axpy(1.0, d, self.hessian(oracle, between, moved))
        d = axpy(eta, self.gradient(oracle, x), scale(1.0 - eta, d))
        gamma = self.rate(t + 1) * (rest if self.normalize else rest**0.5)
        along = direction(d) if self.normalize else d
        return axpy(-gamma, along, x), {"t": t + 1, "d": d, "previous": x}
