"""BSVRB: many lower problems, of which a step samples some (Hu et al. 2023)."""

from __future__ import annotations

import numpy as np

from refopt.bilevel.base import Bilevel, checked, pair
from refopt.core.arrays import Array, eye_like, like, namespace
from refopt.core.errors import ArgumentError, CapabilityError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, copied, zeros_like
from refopt.core.registry import Source, register

HU = Source("hu-2023-blockwise", "Q. Hu, Z.-H. Qiu, Z. Guo, L. Zhang, T. Yang",
    "Blockwise Stochastic Variance-Reduced Methods with Parallel Speedup for Multi-Block Bilevel Optimization",
    arxiv="2305.18730")  # fmt: skip
NEEDS = ("upper_grad", "lower_grad", "lower_hvp", "lower_mixed")
CALM = ("ridge-hyperparameter", {"blocks": 3, "n": 2})


class Blockwise(Bilevel):
    """Base of both versions: sampling, the lower trackers s, and the upper one z."""

    lr: Rate = hyper(1e-2, "[0, inf)", "η.")
    lower_lr: float = hyper(0.5, "[0, inf)", "τ.")
    alpha: float = hyper(0.9, "(0, 1]", "α, the weight of what is new in the lower trackers.")
    gamma: float = hyper(1.0, "[0, inf)", "γ, the weight of their correction.")
    beta: float = hyper(0.9, "(0, 1]", "β, the weight of what is new in z.")
    sampled_blocks: int | None = hyper(
        None, "int [1, inf)", "B_1 blocks a step, without replacement. None: all."
    )
    block_batch: int | None = hyper(None, "int [1, inf)",
        "B_2 examples of each, without replacement. None: all.")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: trackers of zero, and the start as the last point."""
        x = checked(x)
        if x["lower"].ndim != 2:
            raise ArgumentError(
                f"x['lower']: wanted one row a block, shape (m, n), got shape {tuple(x['lower'].shape)}"
            )
        zero = zeros_like(x)
        return {"t": 0, "previous": x, "s": zero["lower"], "z": zero["upper"]}

    def draw(self, oracle: Oracle, m: int) -> tuple[Oracle, np.ndarray]:
        """Return the oracle on the step's examples, and the sampled blocks."""
        if getattr(oracle.problem, "blocks", None) != m:
            raise CapabilityError(
                f"{self.registered_name} needs a sum over blocks: a problem whose `blocks` is the number of rows of"
                f" x['lower'], {m}, such as ridge-hyperparameter; got {type(oracle.problem).__qualname__}"
            )
        size = oracle.n_examples // m
        count = m if self.sampled_blocks is None else min(self.sampled_blocks, m)
        each = size if self.block_batch is None else min(self.block_batch, size)
        blocks = np.sort(oracle.rng.choice(m, size=count, replace=False))
        parts = [i * size + oracle.rng.choice(size, size=each, replace=False) for i in blocks]
        return oracle.on(np.concatenate(parts)), blocks

    def tracked(self, old: Array, now: Array, before: Array, inside: Array) -> Array:
        """Return ``(1 - α) e + (α + γ) now - γ before`` for sampled blocks, e for others."""
        new = (1.0 - self.alpha) * old + (self.alpha + self.gamma) * now - self.gamma * before
        return namespace(old).where(inside, new, old)

    def storm(self, z: Array, now: Array, before: Array | None) -> Array:
        """Return ``(1 - β)(z - G(before)) + G(now)``; at the first step, G(now)."""
        return now if before is None else (1.0 - self.beta) * (z - before) + now


def inside(blocks: np.ndarray, y: Array) -> Array:
    """Return a column of flags: the block is sampled."""
    flags = np.zeros((y.shape[0], 1), dtype=bool)
    flags[blocks] = True
    return like(flags, y, dtype=namespace(y).bool)


@register("bsvrb-v1", source=HU, where="Algorithm 1, BSVRB v1", needs=NEEDS, calm_problem=CALM)
class BSVRBv1(Blockwise):
    """BSVRB v1: recursive estimates of each block's lower gradient and lower Hessian.

    For sampled i, at this point (1) and the last (0), of the same examples: ``s_i ← (1-α) s_i + (α+γ) ∇_y g_i(1)
    - γ ∇_y g_i(0)`` and, likewise, ``H_i ← Proj[(1-α) H_i + (α+γ) ∇²_yy g_i(1) - γ ∇²_yy g_i(0)]``, with eigenvalues of
    at least μ. With the H of before: ``G = mean_{i sampled} (∇_x f_i - ∇²_xy g_i H_i⁻¹ ∇_y f_i)``,
    ``z ← (1-β)(z - G(0)) + G(1)``; ``x ← x - η z``, and ``y_i ← y_i - τ s_i`` for all i.

    Notes
    -----
    A block's Hessian is as many Hessian products as y_i has entries. s begins at 0, H_i at I, and z as the first G.
    Blocks are the rows of ``x["lower"]``; a problem says by `blocks` that its examples are in so many groups of a size.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("ridge-hyperparameter", blocks=4)
    >>> r = refopt.minimize(p, "bsvrb-v1", sampled_blocks=2, steps=200, lr=0.1, lower_lr=0.1, gamma=0.2)
    >>> bool(np.abs(r.x["lower"] - p.response(r.x["upper"])).max() < 1e-2)
    True
    """

    mu: float = hyper(1e-2, "(0, inf)", "μ, the least eigenvalue of H_i.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: H_i = I, for this point and the last."""
        s = dict(super().init(x))
        y = s["s"]
        eye = namespace(y).zeros_like(y)[:, :, None] + eye_like(y)[None, :, :]
        return {**s, "H": eye, "H0": eye + 0.0}

    def hessian(self, oracle: Oracle, x: Params, count: int) -> Array:
        """Return every block's own Hessian on the batch, zero where it has no example."""
        y = x["lower"]
        xp, eye = namespace(y), eye_like(y)
        columns = [oracle.lower_hvp(x, xp.zeros_like(y) + eye[j, :][None, :]) for j in range(y.shape[1])]
        return count * xp.stack(columns, axis=2)

    def floor(self, H: Array) -> Array:
        """Return the nearest symmetric matrices with eigenvalues of at least μ."""
        xp = namespace(H)
        values, vectors = xp.linalg.eigh((H + xp.matrix_transpose(H)) / 2.0)
        return (vectors * xp.clip(values, min=self.mu)[:, None, :]) @ xp.matrix_transpose(vectors)

    def sample(self, oracle: Oracle, x: Params, H: Array, count: int) -> Array:
        """Return G at x with the Hessians H."""
        F = copied(oracle.upper_grad(x))
        q = namespace(H).linalg.solve(H, count * F["lower"][:, :, None])[:, :, 0]
        return F["upper"] - oracle.lower_mixed(x, q)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Sample, step x, and track."""
        t, y, first = s["t"] + 1, x["lower"], s["t"] == 0
        on, blocks = self.draw(oracle, y.shape[0])
        old, n, flags = s["previous"], len(blocks), inside(blocks, x["lower"])
        G = self.sample(on, x, s["H"], n)
        z = self.storm(s["z"], G, None if first else self.sample(on, old, s["H0"], n))
        now, before = n * on.lower_grad(x)["lower"], n * on.lower_grad(old)["lower"]
        new = self.tracked(s["s"], now, before, flags)
        H = self.tracked(s["H"], self.hessian(on, x, n), self.hessian(on, old, n), flags[:, :, None])
        step = pair(x["upper"] - self.rate(t) * z, y - self.lower_lr * new)
        return step, {"t": t, "previous": copied(x), "s": new, "z": z, "H": self.floor(H), "H0": s["H"]}


@register("bsvrb-v2", source=HU, where="Algorithm 2, BSVRB v2", needs=NEEDS, calm_problem=CALM)
class BSVRBv2(Blockwise):
    """BSVRB v2: Hessian products alone, and sampled blocks alone move.

    As v1, with ``v_i ≈ [∇²_yy g_i]⁻¹ ∇_y f_i`` in the place of H_i. For sampled i, with
    ``r_i = ∇²_yy g_i v_i - ∇_y f_i`` and s_i tracked: ``u_i ← (1-α) u_i + (α+γ) r_i(1) - γ r_i(0)``,
    ``v_i ← Proj_{‖v‖ ≤ V}(v_i - τ_v c_i u_i)``, ``y_i ← y_i - τ c_i s_i``, where c_i is 1 and the steps that the
    block was left out for. ``G = mean_{i sampled} (∇_x f_i - ∇²_xy g_i v_i)`` with the v of before.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("ridge-hyperparameter", blocks=4)
    >>> r = refopt.minimize(p, "bsvrb-v2", sampled_blocks=2, steps=200, lr=0.1, lower_lr=0.2)
    >>> bool(np.abs(r.x["lower"] - p.response(r.x["upper"])).max() < 1e-2)
    True
    """

    v_lr: float | None = hyper(None, "[0, inf)", "τ_v. None: τ.")
    radius: float = hyper(10.0, "(0, inf)", "V.")
    catch_up: bool = hyper(True, words="False: c_i = 1.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: v = u = 0, for this point and the last."""
        s = dict(super().init(x))
        zero = s["s"]
        waited = namespace(zero).zeros_like(zero[:, :1])
        return {**s, "v": zero + 0.0, "v0": zero + 0.0, "u": zero + 0.0, "waited": waited}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Sample, step x, and track."""
        t, y, first = s["t"] + 1, x["lower"], s["t"] == 0
        on, blocks = self.draw(oracle, y.shape[0])
        xp, n, flags = namespace(y), len(blocks), inside(blocks, y)

        def look(x: Params, v: Array) -> tuple[Array, Array, Array]:
            """Return G, every sampled block's lower gradient, and its r."""
            F, g = copied(on.upper_grad(x)), n * on.lower_grad(x)["lower"]
            G = F["upper"] - on.lower_mixed(x, v)
            return G, g, n * (on.lower_hvp(x, v) - F["lower"])

        G, g, r = look(x, s["v"])
        G0, g0, r0 = look(s["previous"], s["v0"])
        z = self.storm(s["z"], G, None if first else G0)
        new, u = self.tracked(s["s"], g, g0, flags), self.tracked(s["u"], r, r0, flags)
        c = 1.0 + s["waited"] if self.catch_up else xp.ones_like(s["waited"])
        v = s["v"] - (self.lower_lr if self.v_lr is None else self.v_lr) * c * u
        size = xp.sqrt(xp.sum(v * v, axis=1, keepdims=True))
        v = xp.where(size > self.radius, v * (self.radius / xp.where(size > 0.0, size, 1.0 + size)), v)
        lower = xp.where(flags, y - self.lower_lr * c * new, y)
        state = {
            "t": t, "previous": copied(x), "s": new, "z": z, "v": xp.where(flags, v, s["v"]), "v0": s["v"],
            "u": u, "waited": xp.where(flags, 0.0 * s["waited"], s["waited"] + 1.0),
        }  # fmt: skip
        return pair(x["upper"] - self.rate(t) * z, lower), state
