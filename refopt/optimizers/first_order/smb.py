"""SMB: stochastic gradients with a model built from a forward step (Birbil et al. 2021)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.arrays import Array, norm
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, map_leaves
from refopt.core.registry import Source, register

BIRBIL = Source("birbil-2021-bolstering", "S. I. Birbil, O. Martin, G. Onay, F. Oztoprak",
    "Bolstering Stochastic Gradient Descent with Model Building", arxiv="2111.07058")  # fmt: skip


@register("smb", source=BIRBIL, where="Algorithm 1 (SMB)", needs=("value", "grad"), state_copies=0)
class SMB(Method):
    """SMB: where a trial step does not decrease enough, a step of a quadratic model from both gradients.

    ``s = -α g``, with g the gradient at x. If ``f(x + s) <= f(x) - c α ||g||²``, x + s is the new point.
    Otherwise, with y the gradient's change from x to x + s on the same batch, every tensor takes
    ``-||s||² (2 σ I + s y^T + y s^T)^{-1} g``, ``σ = (||s|| (||y|| + ||g|| / η) - y^T s) / 2``, which is
    ``-α η ((||g|| + η ||y||) g + η ||g|| y) / (||g|| + 2 η ||y||)``.

    Notes
    -----
    The matrix's least eigenvalue is ``||s|| ||g|| / η``, so that a step is at most η times as long as s. The
    authors' code takes x + s, too, where ||g|| < 1e-8. Its variant with independent batches and its
    automatic change of α are not here.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "smb", lr=3.0, steps=60)
    >>> r.fun < 0.05, r.calls["value"]
    (True, 120)
    """

    lr: Rate = hyper(1.0, "[0, inf)", "α, the trial step's rate.")
    eta: float = hyper(0.99, "(0, 1)", "η.")
    decrease: float = hyper(0.1, "(0, 1)", "c, the share of the linear decrease that a trial must reach.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        check_start(x, "x")
        return {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Try, and build the model where the trial fails."""
        t = s["t"] + 1
        alpha = self.rate(t)
        before, g = oracle.value(x), params.copied(oracle.grad(x))
        trial = params.axpy(-alpha, g, x)
        length = params.norm(g)
        after = oracle.value(trial)
        # A trial that has left the domain is no decrease.
        if after <= before - self.decrease * alpha * length * length or length == 0.0 or alpha == 0.0:
            return trial, {"t": t}
        there = oracle.grad(trial)
        return map_leaves(lambda a, d, e: a + self.model_step(d, e - d, alpha), x, g, there), {"t": t}

    def model_step(self, g: Array, y: Array, alpha: float) -> Array:
        """Return the model's step for one tensor, whose gradient changes by `y` along ``-alpha g``."""
        size, change = norm(g), self.eta * norm(y)
        if size == 0.0:
            return -alpha * g
        # The matrix solved: s and y span all that it changes, and σ cancels the product y^T s.
        whole = size + 2.0 * change
        return (-alpha * self.eta) * ((size + change) / whole * g + self.eta * size / whole * y)
