"""ALI-G: Polyak's step for losses that interpolation brings to zero, with a bound (Berrada et al. 2019)."""

from __future__ import annotations

from typing import Any

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.clipping import shortening

BERRADA = Source("berrada-2019-training", "L. Berrada, A. Zisserman, M. P. Kumar",
    "Training Neural Networks for and by Interpolation", arxiv="1906.05661")  # fmt: skip


@register("alig", source=BERRADA, where="the algorithm ALI-G, and its form with momentum", needs=("value", "grad"),
    calm_problem=("matrix-sensing", {"n": 4, "rank": 1}))  # fmt: skip
class ALIG(Method):
    """ALI-G: SGD whose rate is the batch's loss over the squared gradient, but never above η, inside a ball.

    ``γ_t = min(f_i(x_{t-1}) / (‖g_t‖² + δ), η)``, ``m_t = μ m_{t-1} - γ_t g_t``, ``x_t = Π(x_{t-1} - γ_t g_t + μ m_t)``, with Π the projection
    onto ``‖x‖ ≤ r``. Norms are over all leaves.

    Notes
    -----
    Without momentum, δ and ball it is `polyak-sgd` with a bound. The paper regularises by the ball in place of decay. A negative loss steps
    uphill, as in the authors' code; where the gradient is zero γ is η.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(lambda x: float(x @ x), lambda x: 2.0 * x, x0=np.array([4.0, -2.0]))
    >>> print(refopt.minimize(p, "alig", lr=1.0, eps=0.0, steps=1).x)
    [ 2. -1.]
    """

    lr: Rate = hyper(0.1, "[0, inf)", "η, the largest rate.")
    momentum: float = hyper(0.0, "[0, 1)", "μ.")
    adjusted: bool = hyper(
        False, words="True: ``m_t = μ m_{t-1} - g_t``, and ``γ_t μ m_t`` is added to x (the authors' code)."
    )
    radius: float | None = hyper(None, "(0, inf)", "r, in the units of x. None: no ball.")
    eps: float = hyper(1e-5, "[0, inf)", "δ, in the units of g².")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: with μ the momentum."""
        x = params.check_start(x, "x")
        return {"t": 0, "rate": 0.0, **({"m": params.zeros_like(x)} if self.momentum else {})}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for value and gradient, and make a step."""
        f, g = oracle.value_and_grad(x)
        t, size = s["t"] + 1, params.norm(g)
        eta = self.rate(t)
        # In two divisions: the square of a small gradient would be zero.
        rate = min(f / size / (size + self.eps / size), eta) if size != 0.0 else eta
        state: dict[str, Any] = {"t": t, "rate": rate}
        new = axpy(-rate, g, x)
        if self.momentum:
            m = axpy(self.momentum, s["m"], params.scale(-1.0 if self.adjusted else -rate, g))
            new = axpy(self.momentum * (rate if self.adjusted else 1.0), m, new)
            state["m"] = m
        if self.radius is not None:
            new = params.scale(shortening(params.norm(new), self.radius), new)
        return new, state


dialect(
    ALIG,
    "official",
    "oval-group/ali-g alig/th/alig.py",
    "adjusted_momentum=True is adjusted; the ball is a function that it is given",
)
dialect(ALIG, "kozistr", "pytorch_optimizer 4.1 AliG", eps=1e-6)
