"""EmoNavi, EmoLynx and EmoFact: rates that follow how fast the loss falls (muooon 2025)."""

from __future__ import annotations

import math
from typing import Any

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, leaves, rebuild, zeros_like
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.division import nonzero

MUOOON = Source(
    "muooon-2025-emonavi",
    "muooon",
    "EmoNavi: an emotion-driven optimizer",
    url="https://github.com/muooon/EmoNavi",
)
# The weights of a new loss in its averages.
SHORT, LONG = 0.3, 0.01


def drive(short: float, long: float) -> float:
    """Return the rate's factor: 1 while the two averages of the loss are close, up to 6.6 a little apart, and small far apart.

    ``σ = tanh((long - short) / max(long, 1e-5))``, ``T = sign(σ) (1 - |σ|)``: ``8 |T| (1 + T / 10)`` for ¼ < |σ| < ½, ``1 - |σ|`` above ¾,
    else 1.

    Parameters
    ----------
    short, long : float
        The averages.

    Returns
    -------
    float
    """
    sigma = math.tanh((long - short) / max(long, 1e-5))
    trust = math.copysign(1.0 - abs(sigma), sigma)
    if 0.25 < abs(sigma) < 0.5:
        return 8.0 * abs(trust) * (1.0 + 0.1 * trust)
    return 1.0 - abs(sigma) if abs(sigma) > 0.75 else 1.0


class Emotional(Method):
    """A step whose rate is multiplied by `drive`, with decay beside it that is not."""

    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    weight_decay: float = hyper(0.01, "[0, inf)", "λ.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the averages of the loss, which begin with the first, and the method's own."""
        return {"t": 0, "short": 0.0, "long": 0.0, **self.start(check_start(x, "x"))}

    def start(self, x: Params) -> dict[str, Any]:
        """Return the method's own entries of the state."""
        raise NotImplementedError

    def direction(self, g: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Return what a leaf moves against, and its new slots."""
        raise NotImplementedError

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for value and gradient, and make a step."""
        f, g = oracle.value_and_grad(x)
        t = s["t"] + 1
        weights = {"short": SHORT, "long": LONG}
        losses = {k: ema(s[k] if t > 1 else f, f, 1.0 - new, new) for k, new in weights.items()}
        rate = self.rate(t)
        keep, along = 1.0 - rate * self.weight_decay, rate * drive(losses["short"], losses["long"])
        own = [k for k in s if k not in ("t", *weights)]
        slots = {name: dict(leaves(s[name])) for name in own}
        moved = dict(leaves(x))
        for k, leaf in leaves(g).items():
            u, new = self.direction(leaf, {name: slots[name][k] for name in own})
            moved[k] = keep * moved[k] - along * u
            for name in own:
                slots[name][k] = new[name]
        return rebuild(x, moved), {"t": t, **losses, **{name: rebuild(x, v) for name, v in slots.items()}}


@register(
    "emonavi",
    source=MUOOON,
    where="optimizer/emonavi.py, version 3.6.1",
    needs=("value", "grad"),
    state_copies=2,
)
class EmoNavi(Emotional):
    """EmoNavi: Adam without bias correction, at a rate that is raised while the loss changes and cut where it jumps.

    Averages S and L of the losses, with weights 0.3 and 0.01 of the new one and from the first, give
    ``σ_t = tanh((L - S) / max(L, 1e-5))``, ``T_t = sign(σ_t) (1 - |σ_t|)`` and the drive δ: ``8 |T| (1 + T / 10)`` where ``¼ < |σ| < ½``, ``1 - |σ|`` where
    ``|σ| > ¾``, else 1. With Adam's averages ``x_t = (1 - η λ) x_{t-1} - η δ_t m_t / (sqrt(v_t) + ε)``.

    Notes
    -----
    The drive jumps from 1 to 6.15 as σ passes ¼, and to 4.2 just before ½. The codes divide by a third
    average, with weight 0.05, where ``(|L - S| / M) M < (|L - S| / L) L``, which rounding decides; here they never do. The shadow of the weights, off by default, is not here. Without a loss the code's drive is
    1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(lambda x: float(x @ x), lambda x: 2.0 * x, x0=np.array([4.0]))
    >>> print(refopt.minimize(p, "emonavi", lr=0.1, beta1=0.0, beta2=0.0, weight_decay=0.0, steps=2).x.round(6))
    [3.8]
    """

    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.995, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")

    def start(self, x: Params) -> dict[str, Any]:
        """Return two zeros like x."""
        return {"m": zeros_like(x), "v": zeros_like(x)}

    def direction(self, g, slots):
        xp = namespace(g)
        m = ema(slots["m"], g, self.beta1, 1.0 - self.beta1)
        v = ema(slots["v"], g * g, self.beta2, 1.0 - self.beta2)
        return m / nonzero(xp)(xp.sqrt(v) + self.eps), {"m": m, "v": v}


dialect(EmoNavi, "kozistr", "pytorch_optimizer 4.1 EmoNavi",
    "with several groups it averages the loss once for each", beta2=0.999)  # fmt: skip


@register(
    "emolynx",
    source=MUOOON,
    where="optimizer/emolynx.py, version 3.6.1",
    needs=("value", "grad"),
    state_copies=1,
)
class EmoLynx(Emotional):
    """EmoLynx: Lion at EmoNavi's rate.

    ``u_t = sign(β1 m_{t-1} + (1 - β1) g_t)``, ``x_t = (1 - η λ) x_{t-1} - η δ_t u_t``, ``m_t = β2 m_{t-1} + (1 - β2) g_t``, with δ of `emonavi`.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(lambda x: float(x @ x), lambda x: 2.0 * x, x0=np.array([4.0]))
    >>> print(refopt.minimize(p, "emolynx", lr=0.1, weight_decay=0.0, steps=2).x.round(6))
    [3.8]
    """

    beta1: float = hyper(0.9, "[0, 1)", "Weight of the momentum in the direction.")
    beta2: float = hyper(0.995, "[0, 1)", "Weight of the momentum in its own average.")

    def start(self, x: Params) -> dict[str, Any]:
        """Return zeros like x."""
        return {"m": zeros_like(x)}

    def direction(self, g, slots):
        u = namespace(g).sign(ema(slots["m"], g, self.beta1, 1.0 - self.beta1))
        return u, {"m": ema(slots["m"], g, self.beta2, 1.0 - self.beta2)}


dialect(EmoLynx, "kozistr", "pytorch_optimizer 4.1 EmoLynx",
    "with several groups it averages the loss once for each", beta2=0.99)  # fmt: skip


@register("emofact", source=MUOOON, where="optimizer/emofact.py, version 3.6.1", needs=("value", "grad"))
class EmoFact(Emotional):
    """EmoFact: sign descent at EmoNavi's rate.

    ``x_t = (1 - η λ) x_{t-1} - η δ_t sign(g_t)``, with δ of `emonavi`.

    Notes
    -----
    The code takes the sign of the gradient over the root of factored averages of its square, which are positive: the averages do
    not change the step, and are not kept here.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(lambda x: float(x @ x), lambda x: 2.0 * x, x0=np.array([4.0]))
    >>> print(refopt.minimize(p, "emofact", lr=0.1, weight_decay=0.0, steps=2).x.round(6))
    [3.8]
    """

    vector_momentum: float = hyper(
        0.0,
        "[0, 1)",
        "β: of leaves with one axis or none, the sign of the average ``β m + (1 - β) g``; 0: of the gradient.",
    )

    def start(self, x: Params) -> dict[str, Any]:
        """Return the vectors' averages, of other leaves one zero."""
        if not self.vector_momentum:
            return {}
        zeros = leaves(zeros_like(x))
        return {"m": rebuild(x, {k: v if v.ndim < 2 else namespace(v).sum(v) for k, v in zeros.items()})}

    def direction(self, g, slots):
        xp = namespace(g)
        if not slots or g.ndim > 1:
            return xp.sign(g), slots
        m = ema(slots["m"], g, self.vector_momentum, 1.0 - self.vector_momentum)
        return xp.sign(m), {"m": m}


dialect(EmoFact, "kozistr", "pytorch_optimizer 4.1 EmoFact",
    "with several groups it averages the loss once for each", vector_momentum=0.9)  # fmt: skip
