"""MuonClip: Muon, and attention weights shrunk where their logits grew too large (Kimi Team 2025)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refopt.core.arrays import Array, like, to_numpy
from refopt.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.params import Params, leaves, rebuild
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.first_order.muon import JORDAN, LIU, Muon

KIMI = Source("kimi-2025-open", "Kimi Team", "Kimi K2: Open Agentic Intelligence", arxiv="2507.20534")
# What a head's factor γ is raised to in the rows of a projection: α of the queries, the rest of the keys.
ROLES: dict[str, Callable[[float], float]] = {
    "query": lambda alpha: alpha,
    "key": lambda alpha: 1.0 - alpha,
    "query-rotary": lambda alpha: 1.0,
}


@register("muonclip", source=KIMI, where="Algorithm 1, MuonClip", also=(LIU, JORDAN), state_copies=1)
class MuonClip(Muon):
    """MuonClip: Muon with decay, and QK-clip: query and key weights of a head shrink until its largest logit is τ.

    ``B_t = μ B_{t-1} + G_t``, ``O_t = NewtonSchulz(B_t) · 0.2 sqrt(max(n, m))``, ``W_t = W_{t-1} - η (O_t + λ W_{t-1})``; then for every
    head h whose largest logit S_h in the step's forward pass is above τ, with ``γ_h = τ / S_h``: ``W_q^h ← γ_h^α W_q^h``,
    ``W_k^h ← γ_h^{1-α} W_k^h``; of latent attention ``W_qr^h ← γ_h W_qr^h`` besides, and the shared rotary key stays.

    Notes
    -----
    Logits are asked for at W_{t-1}, where the gradient was taken. Without `max_logits` it is `muon`. The heads of a projection are
    equal runs of its rows. Logits are bilinear in query and key, so that a head that was clipped and not otherwise moved has τ as
    its largest logit.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError
        `attention` names a role or a leaf that there is not; `max_logits` gives no dict with a number for every head of its
        attentions, or numbers that are not finite; the rows of a projection are no multiple of the heads.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> x = {"q": 30.0 * np.eye(2), "k": np.eye(2)}  # two heads of one row
    >>> o = refopt.optimizer("muonclip", lr=0.0, tau=10.0, attention={"a": {"query": "q", "key": "k"}},
    ...     max_logits=lambda x: {"a": np.diag(x["q"] * x["k"])})
    >>> y, s = o.update(x, x, o.init(x))
    >>> print((np.diag(y["q"]) * np.diag(y["k"])).round(12))
    [10. 10.]
    """

    nesterov: bool = hyper(False, words="True: G + μ B is orthogonalised.")
    scale: str = hyper("match-rms", ("max", "match-rms", "spectral", "none"), "κ; see `shape_factor`.")
    weight_decay: float = hyper(0.1, "[0, inf)", "λ.")
    tau: float = hyper(100.0, "(0, inf)", "τ.")
    alpha: float = hyper(0.5, "[0, 1]", "α, the queries' share.")
    attention: Any = hyper(None,
        words="For every attention by its name, which leaf has which role: ``{\"layer0\": {\"query\": \"wq\", \"key\": \"wk\"}}``,"
        " with ``query-rotary`` besides in latent attention.", kind="dict of dicts")  # fmt: skip
    max_logits: Any = hyper(None,
        words="A function of the parameters: a dict with, for every attention, an array of each head's largest logit on the batch,"
        " before the softmax. None: nothing is clipped.", kind="callable")  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.attention is None) != (self.max_logits is None):
            raise ArgumentError("attention, max_logits: wanted both or neither")
        if self.attention is None:
            return
        if not callable(self.max_logits):
            raise ArgumentTypeError(
                f"max_logits: wanted a function of the parameters, got {self.max_logits!r}"
            )
        named = isinstance(self.attention, Mapping) and all(
            isinstance(v, Mapping) for v in self.attention.values()
        )
        if not named:
            raise ArgumentTypeError(f"attention: wanted a dict of dicts, got {self.attention!r}")
        for roles in self.attention.values():
            for role in roles:
                if role not in ROLES:
                    raise ArgumentError(f"attention: wanted roles of {', '.join(ROLES)}, got {role!r}")

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make Muon's step, and clip."""
        if self.max_logits is None:
            return super()._update(x, g, s, donate)
        factors = self.factors(x)
        x, s = super()._update(x, g, s, donate)
        new = dict(leaves(x))
        for name, gamma in factors.items():
            for role, leaf in self.attention[name].items():
                new[leaf] = self.shrunk(new[leaf], gamma ** ROLES[role](self.alpha), leaf)
        return rebuild(x, new), s

    def factors(self, x: Params) -> dict[str, np.ndarray]:
        """Return ``min(1, τ / S_h)`` of every head of every attention at `x`."""
        asked = self.max_logits(x)
        known = leaves(x)
        out = {}
        for name, roles in self.attention.items():
            for leaf in roles.values():
                if leaf not in known:
                    raise ArgumentError(f"attention: wanted leaves of {', '.join(known)}, got {leaf!r}")
            if not isinstance(asked, Mapping) or name not in asked:
                raise ArgumentTypeError(f"max_logits: wanted a dict with {name!r}, got {asked!r}")
            try:
                size = to_numpy(asked[name]).astype(float)
            except (TypeError, ValueError):
                size = np.full(1, np.nan)
            if size.ndim != 1 or not size.size or not np.all(np.isfinite(size)):
                raise ShapeError(
                    f"max_logits: wanted one finite number a head for {name!r}, got {asked[name]!r}"
                )
            out[name] = np.where(size > self.tau, self.tau / np.where(size > self.tau, size, 1.0), 1.0)
        return out

    def shrunk(self, W: Array, gamma: np.ndarray, leaf: str) -> Array:
        """Return a projection with the rows of each head multiplied by its number."""
        if not W.ndim or W.shape[0] % gamma.size:
            raise ShapeError(
                f"attention: wanted rows in {gamma.size} heads, got leaf {leaf!r} of shape {tuple(W.shape)}"
            )
        rows = np.repeat(gamma, W.shape[0] // gamma.size).reshape(-1, *[1] * (W.ndim - 1))
        return W * like(rows, W)


dialect(MuonClip, "kozistr", "pytorch_optimizer 4.1 MuonClip", "runs Newton-Schulz in bfloat16 (ns_dtype)",
    weight_decay=0.0, eps_rule="clamp")  # fmt: skip
