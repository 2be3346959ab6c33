"""SCALE: column-normalised gradients, momentum for the last layer alone (Glentis et al. 2025)."""

from __future__ import annotations

import math
from typing import Any

from refopt.core.arrays import Array, lengths, namespace
from refopt.core.groups import choose, pick
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.params import Params, check_like, check_start, leaves, rebuild
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.first_order.adam import Adam

GLENTIS = Source("glentis-2025-minimalist", "A. Glentis, J. Li, A. Han, M. Hong",
    "A Minimalist Optimizer Design for LLM Pretraining", arxiv="2506.16659")  # fmt: skip


def normalize_lines(m: Array, axis: int, *, rms: bool, floor: float) -> Array:
    """Divide every line of `m` along `axis` by its 2-norm or root mean square, at least `floor`."""
    xp = namespace(m)
    size = lengths(m, axis, keepdims=True)
    size = size / math.sqrt(m.shape[axis]) if rms else size
    size = xp.where(size > floor, size, xp.full_like(size, floor))
    return m / xp.where(size > 0, size, xp.ones_like(size))


@register("scale", source=GLENTIS, where="Algorithm 1", state_copies=1)
class SCALE(Decay):
    """SCALE: each output unit's gradient is normalised; only the last layer has momentum.

    ``m_t = β m_{t-1} + (1 - β) g_t`` for the last layer, ``m_t = g_t`` elsewhere;
    ``x_t = x_{t-1} - η C(m_t)``, with C dividing each column of the (in × out) matrix by its norm.

    Notes
    -----
    Leaves are stored (out, in), so a column of the paper's matrix is a row here; kernels are flattened
    behind the first axis. The last layer's average needs no bias correction: C does not see scale. That
    the paper's C is the 2-norm is from another author's transcription of its Algorithm 1, not from the
    paper; its code has the root mean square. The code's vectors have AdamW with ``eps_corrected=False``; it cannot step a kernel
    (it adds the flattened step to the unflattened leaf), which is a fault and not reproduced.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("scale", lr=0.5)
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.array([[3.0, 4.0], [0.0, -2.0]]), o.init(x))
    >>> print(x + 0.0)
    [[-0.3 -0.4]
     [ 0.   0.5]]
    """

    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    momentum: float = hyper(0.9, "[0, 1)", "β, of the last layer.")
    last_layer: Any = hyper(None,
        words="Names or patterns of the leaves with momentum; None: the last matrix of the dict (or the"
        " array).", kind="sequence of str, callable or None")  # fmt: skip
    embedding: Any = hyper(("embed*",),
        words="Names or patterns of embeddings (vocabulary × dimension): normalised over the vocabulary.",
        kind="sequence of str or callable")  # fmt: skip
    rms: bool = hyper(False,
        words="Divide by the root mean square in place of the 2-norm: a rate larger by the root of the"
        " length.")  # fmt: skip
    floor: float = hyper(0.0, "[0, inf)", "Smallest divisor; 0 leaves lines of zeros at zero.")
    others: Any = hyper(Adam(lr=1e-3),
        words="For leaves of less than two dimensions; default Adam at the same default rate.", kind="Method")  # fmt: skip

    def _groups(self, x: Params) -> tuple[list[str], list[str], list[str], list[str]]:
        """Return the names of matrices, of those with momentum, of embeddings, and of the rest."""
        matrices = choose(x, "matrices-and-kernels")
        last = matrices[-1:] if self.last_layer is None else choose(x, self.last_layer)
        embeddings = choose(x, self.embedding)
        rest = [k for k in leaves(x) if k not in matrices]
        return matrices, [k for k in last if k in matrices], embeddings, rest

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the last layer's momentum, and the other method's state."""
        x = check_start(x, "x")
        _, last, _, rest = self._groups(x)
        zeros = {k: namespace(v).zeros_like(v) for k, v in pick(x, last).items()}
        return {"t": 0, "m": zeros, **({"others": self.others.init(pick(x, rest))} if rest else {})}

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step from the gradient `g`."""
        t = s["t"] + 1
        matrices, last, embeddings, rest = self._groups(x)
        check_like(s["m"], pick(x, last), "s['m']")
        new_x, momenta = dict(leaves(x)), {}
        for k in matrices:
            w, m = leaves(x)[k], leaves(g)[k] + self.coupled() * leaves(x)[k]
            if k in last:
                m = momenta[k] = ema(s["m"][k], m, self.momentum, 1.0 - self.momentum)
            flat = namespace(m).reshape(m, (m.shape[0], -1))
            u = normalize_lines(flat, 0 if k in embeddings else 1, rms=self.rms, floor=self.floor)
            new_x[k] = self.keep(t) * w - self.rate(t) * namespace(m).reshape(u, w.shape)
        new_s: dict[str, Any] = {"t": t, "m": momenta}
        if rest:
            moved, new_s["others"] = self.others.update(pick(x, rest), pick(g, rest), s["others"])
            new_x.update(moved)
        return rebuild(x, new_x), new_s


dialect(SCALE, "official", "OptimAI-Lab/Minimalist_LLM_Pretraining", "root mean square, floored", rms=True,
    floor=1e-8)  # fmt: skip
