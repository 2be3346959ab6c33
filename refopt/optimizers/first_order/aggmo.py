"""AggMo: aggregated momentum (Lucas et al. 2018)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import Rate, check_number, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.decay import Decay

LUCAS = Source("lucas-2018-aggregated", "J. Lucas, S. Sun, R. Zemel, R. Grosse",
    "Aggregated Momentum: Stability Through Passive Damping", arxiv="1804.00325")  # fmt: skip


@register("aggmo", source=LUCAS, where="the aggregated momentum update")
class AggMo(Decay):
    """AggMo: the mean of heavy-ball steps with several momenta, the small of which damp the large.

    ``v_i ← β_i v_i + g`` for i = 1, ..., K, ``x ← x - (η / K) Σ_i v_i``.

    Notes
    -----
    The paper's exponential form has ``β_i = 1 - a^i`` for i = 0, ..., K - 1, with a = 0.1 and K = 3 as here by default. Codes of the
    authors and of pytorch_optimizer keep velocities by the value of β: of two equal ones they have one, stepped twice.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("aggmo", lr=1.0, betas=(0.0, 0.5))
    >>> x, s = o.update(np.array([0.0]), np.array([1.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([1.0]), s)
    >>> print(x)  # -1, then the mean of 1 and 1.5
    [-2.25]
    """

    slots = ("v",)
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    betas: tuple[float, ...] = hyper(
        (0.0, 0.9, 0.99), words="The momenta β_i, each in [0, 1).", kind="sequence of float"
    )
    words = {"weight_decay": "The paper has none."}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.betas, (tuple, list)):
            raise ArgumentTypeError(f"aggmo: betas: wanted a sequence of numbers, got {self.betas!r}")
        if not self.betas:
            raise ArgumentError("aggmo: betas: wanted at least one momentum, got none")
        for i, beta in enumerate(self.betas):
            check_number(beta, "[0, 1)", f"aggmo: betas[{i}]")
        object.__setattr__(self, "betas", tuple(float(b) for b in self.betas))

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, K velocities on a new first axis."""
        return namespace(leaf).stack([namespace(leaf).zeros_like(leaf)] * len(self.betas))

    def rule(self, xp):
        def aggmo(x, g, v, step, l2, keep):
            g = g + l2 * x
            v = xp.stack([beta * v[i, ...] + g for i, beta in enumerate(self.betas)])
            return keep * x - step * xp.sum(v, axis=0), v

        return aggmo

    def scalars(self, t, carried):
        return {"step": self.rate(t) / len(self.betas)}


dialect(AggMo, "official", "AtheMathmo/AggMo aggmo.py; pytorch_optimizer 4.1 AggMo alike", decay="coupled")
