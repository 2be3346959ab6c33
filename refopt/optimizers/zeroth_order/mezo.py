"""MeZO: zeroth-order descent in the memory of a forward pass (Malladi et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from refopt.core.arrays import like
from refopt.core.groups import choose
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, leaves, rebuild
from refopt.core.registry import Source, dialect, register
from refopt.core.rng import generator

MALLADI = Source("malladi-2023-finetuning",
    "S. Malladi, T. Gao, E. Nichani, A. Damian, J. D. Lee, D. Chen, S. Arora",
    "Fine-Tuning Language Models with Just Forward Passes", arxiv="2305.17333")  # fmt: skip
ZO2 = Source("wang-2025-zo2", "L. Wang, et al.",
    "ZO2: Scalable Zeroth-Order Fine-Tuning for Extremely Large Language Models with Limited GPU Memory",
    arxiv="2503.12668")  # fmt: skip
NORMS = ("*bias*", "*layer_norm*", "*layernorm*")


@register("mezo", source=MALLADI, where="Algorithm 1", needs=("value",), also=(ZO2,), state_copies=0)
class MeZO(Method):
    """MeZO: a step along a random direction that a seed stands for, by a difference of two values.

    ``c = (L(θ + ε z) - L(θ - ε z)) / (2 ε)``, ``θ ← θ - η (c z + λ θ)``, with z ~ N(0, I) drawn anew
    from the step's seed, leaf by leaf, wherever it is needed: it is never held as a whole.

    The state has the last step's ``seed`` and ``slope`` c; all pairs of a run give the run again (`replay`).

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "mezo", lr=0.05, steps=300, record="full")
    >>> dict(r.calls), bool(r.fun < 0.1 * r.history["value"][0])
    ({'value': 600}, True)
    """

    lr: Rate = hyper(1e-6, "[0, inf)", "η. The paper's range for full tuning is 1e-7 to 1e-6.")
    radius: float = hyper(1e-3, "(0, inf)", "ε.")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ, inside the step as above; the paper has none.")
    undecayed: Any = hyper(NORMS, words="The leaves without decay; see `choose`.",
        kind="str, sequence of str, or callable")  # fmt: skip
    in_place: bool = hyper(False,
        words="Walk to θ + ε z, by -2 ε z, and back by ε z, as one does in a single buffer; θ keeps the rounding"
        " of the walk.")  # fmt: skip
    deferred: bool = hyper(False,
        words="Make each step at the beginning of the next one, so that θ lags by it (ZO2); a step with"
        " c = 0 is left out, its decay too.")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: no seed yet."""
        return {"t": 0, "seed": 0, "slope": 0.0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the values on both sides and move."""
        t = s["t"] + 1
        if self.deferred:
            x = self.move(x, s["seed"], s["slope"], t - 1)
        seed = int(oracle.rng.integers(0, 10**9))
        plus = walk(x, seed, self.radius)
        minus = walk(plus, seed, -2.0 * self.radius) if self.in_place else walk(x, seed, -self.radius)
        c = (oracle.value(plus) - oracle.value(minus)) / (2.0 * self.radius)
        if self.in_place:
            x = walk(minus, seed, self.radius)
        if not self.deferred:
            x = self.move(x, seed, c, t)
        return x, {"t": t, "seed": seed, "slope": c}

    def move(self, x: Params, seed: int, c: float, t: int) -> Params:
        """Return θ after step `t`, whose direction is that of `seed` and whose slope is `c`."""
        if self.deferred and c == 0.0:
            return x
        eta, still = self.rate(t), choose(x, self.undecayed)
        keep = {k: 1.0 if k in still else 1.0 - eta * self.weight_decay for k in leaves(x)}
        return walk(x, seed, -eta * c, keep)

    def replay(self, x: Params, history: Iterable[tuple[int, float]]) -> Params:
        """Return the end of a run from its start and the (seed, slope) of every step, asking nothing."""
        for t, (seed, c) in enumerate(history, 1):
            x = self.move(x, seed, c, t)
        return x


def walk(x: Params, seed: int, a: float, keep: dict[str, float] | None = None) -> Params:
    """Return ``keep x + a z`` with the normal numbers z of `seed`, of which one leaf is held at a time."""
    rng = generator(seed, "method")
    out = {}
    for k, v in leaves(x).items():
        left = 1.0 if keep is None else keep[k]
        out[k] = left * v + a * like(rng.standard_normal(v.shape), v)
    return rebuild(x, out)


dialect(MeZO, "official", "princeton-nlp/MeZO large_models/trainer.py", "walks in place", in_place=True)
dialect(MeZO, "zo2", "liangyuwang/zo2 zo2/optimizer/mezo_sgd",
    "its no-decay list has \"ln\" besides, wherever in a name it stands", in_place=True, deferred=True, lr=1e-3,
    weight_decay=0.1, undecayed=(*NORMS, "*ln*"))  # fmt: skip
