"""Consensus-based optimization (Pinnau et al. 2017), as Riedl et al. (2023) relate it to gradient descent."""

from __future__ import annotations

import math

import numpy as np

from refopt.core.arrays import Array, like, namespace
from refopt.core.hyper import hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, leaves, map_leaves, max_abs, rebuild, scale
from refopt.core.registry import Source, dialect, register

RIEDL = Source("riedl-2023-gradient", "K. Riedl, T. Klock, C. Geldhauser, M. Fornasier",
    "Gradient is All You Need?", arxiv="2306.09778")  # fmt: skip
PINNAU = Source("pinnau-2017-consensus", "R. Pinnau, C. Totzeck, O. Tse, S. Martin",
    "A consensus-based model for global optimization and its mean-field limit",
    venue="Mathematical Models and Methods in Applied Sciences 27(1), 183-204")  # fmt: skip


@register("cbo", source=RIEDL, where="equations (3) to (5), and consensus hopping, equation (8)", needs=("value",),
    also=(PINNAU,), calm_problem=("quadratic", {"n": 3}))  # fmt: skip
class CBO(Method):
    """CBO: a cloud of particles drifts to a weighted mean of itself, with noise that grows with the distance.

    ``x_α = Σ ω_i X_i / Σ ω_i``, ``ω_i = exp(-α (f(X_i) - min f(X_j)))``, and with D_i = X_i - x_α and normal B_i
    ``X_i ← X_i - λ Δt D_i + σ √Δt ‖D_i‖ B_i``, or ``… + σ √Δt |D_i| ⊙ B_i`` where the noise is anisotropic.

    The point is x_α of the cloud as it stands, and the cloud is the state's ``particles``, one on each row of a
    first axis. It is drawn around the start at the first step.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(lambda x: float(np.sum(x**2 + 2 - 2 * np.cos(6 * x))), x0=np.array([1.8, -1.5]))
    >>> r = refopt.minimize(p, "cbo", particles=100, alpha=30.0, spread=2.0, sigma=0.7, dt=0.05, steps=100)
    >>> dict(r.calls), r.fun < 0.1
    ({'value': 10100}, True)
    """

    has_rate = False
    particles: int = hyper(20, "int [1, inf)", "N; the paper's figures have 200.")
    alpha: float = hyper(100.0, "[0, inf)", "α, in units of 1/f.")
    drift: float = hyper(1.0, "[0, inf)", "λ.")
    sigma: float = hyper(1.6, "[0, inf)", "σ.")
    dt: float = hyper(0.01, "(0, inf)", "Δt.")
    noise: str = hyper("isotropic", ("isotropic", "anisotropic"), "The form of the noise.")
    spread: float = hyper(0.5, "[0, inf)", "Standard deviation of the first cloud around the start.")
    split: bool = hyper(False, words="Take the noise's D_i after the drift, which makes it (1 - λ Δt) D_i.")
    hopping: float | None = hyper(None, "[0, inf)",
        "Consensus hopping: all particles are drawn anew, ``X_i = x_α + σ̃ B_i`` with this σ̃.")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: all particles there."""

        def cloud(leaf: Array) -> Array:
            xp = namespace(leaf)
            return xp.asarray(xp.stack([leaf] * self.particles), copy=True)

        return {"t": 0, "particles": map_leaves(cloud, x)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Move every particle, ask for its value, and return the new consensus point."""
        t, cloud = s["t"] + 1, s["particles"]
        if s["t"] == 0:
            cloud = self.around(cloud, self.spread, oracle)
            x = self.consensus(cloud, oracle)
        if self.hopping is not None:
            same = map_leaves(lambda c, m: c * 0.0 + m[None, ...], cloud, x)
            cloud = self.around(same, self.hopping, oracle)
        else:
            cloud = self.moved(cloud, x, oracle)
        return self.consensus(cloud, oracle), {"t": t, "particles": cloud}

    def consensus(self, cloud: Params, oracle: Oracle) -> Params:
        """Return x_α, asking for the value of every particle."""
        values = np.array([oracle.value(row(cloud, i)) for i in range(self.particles)])
        # Shifted, or all weights would be zero for a large α.
        weights = np.exp(-self.alpha * (values - values.min())) if self.alpha else np.ones(self.particles)
        weights /= weights.sum()

        def average(leaf: Array) -> Array:
            w = like(weights.reshape(-1, *[1] * (leaf.ndim - 1)), leaf)
            return namespace(leaf).sum(w * leaf, axis=0)

        return map_leaves(average, cloud)

    def moved(self, cloud: Params, x: Params, oracle: Oracle) -> Params:
        """Return the cloud after a step of Euler and Maruyama."""
        apart = map_leaves(lambda c, m: c - m[None, ...], cloud, x)
        pull, noise = self.drift * self.dt, self.sigma * math.sqrt(self.dt)
        if self.split:
            noise *= abs(1.0 - pull)
        size = (
            distances(apart)
            if self.noise == "isotropic"
            else map_leaves(lambda d: namespace(d).abs(d), apart)
        )
        kicks = normals(cloud, oracle)
        return map_leaves(lambda c, d, r, b: c - pull * d + noise * r * b, cloud, apart, size, kicks)

    @staticmethod
    def around(cloud: Params, spread: float, oracle: Oracle) -> Params:
        """Return the cloud with normal numbers added."""
        return map_leaves(lambda c, b: c + spread * b, cloud, normals(cloud, oracle))


def row(cloud: Params, i: int) -> Params:
    """Return the i-th particle."""
    return map_leaves(lambda leaf: leaf[i, ...], cloud)


def normals(cloud: Params, oracle: Oracle) -> Params:
    """Return independent standard normal numbers like the cloud."""
    new = {k: like(oracle.rng.standard_normal(v.shape), v) for k, v in leaves(cloud).items()}
    return rebuild(cloud, new)


def distances(apart: Params) -> Params:
    """Return for every leaf the norms of the particles over all leaves, in a shape that multiplies the leaf."""
    top = max_abs(apart)
    # In units of the largest entry, so that no square leaves the dtype's range.
    unit = scale(1.0 / top, apart) if 0.0 < top < math.inf else apart
    parts = []
    for leaf in leaves(unit).values():
        flat = namespace(leaf).reshape(leaf, (leaf.shape[0], -1))
        parts.append(namespace(leaf).sum(flat * flat, axis=1))
    total = namespace(parts[0]).sqrt(sum(parts[1:], parts[0])) * (top if 0.0 < top < math.inf else 1.0)
    return map_leaves(lambda d: namespace(d).reshape(total, (-1, *[1] * (d.ndim - 1))), apart)


dialect(CBO, "official", "KonstantinRiedl/CBOGlobalConvergenceAnalysis CBO_update.m",
    "drifts first; figures with N = 200", split=True, particles=200)  # fmt: skip
