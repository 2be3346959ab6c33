"""Sophia: momentum over an averaged Hessian diagonal, clipped entry by entry (Liu et al. 2023)."""

from __future__ import annotations

from refopt.core.arrays import namespace
from refopt.core.errors import CapabilityError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, leaves, map_leaves, rebuild
from refopt.core.registry import Source, dialect, register
from refopt.core.rng import normal, rademacher
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay

LIU_SOPHIA = Source("liu-2023-sophia", "H. Liu, Z. Li, D. Hall, P. Liang, T. Ma",
    "Sophia: A Scalable Stochastic Second-order Optimizer for Language Model Pre-training",
    arxiv="2305.14342")  # fmt: skip


def gauss_newton_bartlett(oracle: Oracle, x: Params) -> Params:
    """Return ``B ĝ ⊙ ĝ``, ĝ the gradient of the mean loss with labels drawn from the model.

    Parameters
    ----------
    oracle : Oracle
        Its problem must have ``layers``.
    x : array or dict of arrays

    Raises
    ------
    CapabilityError
        The layers do not cover all parameters.
    """
    found = {}
    for layer in oracle.layers(x, sample=True, positions=True):
        a, g = layer.rows()
        xp, batch = namespace(a), layer.inputs.shape[0]
        found[layer.weight] = xp.reshape(xp.matrix_transpose(g) @ a / batch, leaves(x)[layer.weight].shape)
        if layer.bias is not None:
            found[layer.bias] = xp.sum(g, axis=0) / batch
    left = [k for k in leaves(x) if k not in found]
    if left:
        raise CapabilityError(f"sophia: the problem's layers do not cover the parameters {', '.join(left)}")
    return rebuild(x, {k: batch * found[k] * found[k] for k in leaves(x)})


@register("sophia", source=LIU_SOPHIA, where="Algorithm 3, with the Hutchinson or the Gauss-Newton-Bartlett estimator", needs=("grad", "hvp"), state_copies=2)  # fmt: skip
class Sophia(ElementwiseDecay):
    """Sophia: averaged gradient over averaged Hessian diagonal, no entry larger than one.

    ``m_t = β1 m_{t-1} + (1 - β1) g_t``; every k steps (t mod k = 1)
    ``h_t = β2 h_{t-k} + (1 - β2) ĥ_t``; ``θ ← θ - η λ θ``,
    ``θ ← θ - η clip(m_t / max(γ h_t, ε), 1)``, from m_0 = h_0 = 0.

    Raises
    ------
    CapabilityError
        The problem has no ``hvp`` (or no ``layers``, with ``estimator="gnb"``).

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=100.0, diagonal=True)
    >>> r = refopt.minimize(p, "sophia", lr=0.05, weight_decay=0.0, steps=200)
    >>> dict(r.calls)
    {'grad': 200, 'hvp': 20}
    """

    slots = ("m", "h")
    given = ("g", "d")
    lr: Rate = hyper(1e-4, "[0, inf)", "η, in the units of x: the largest step of an entry.")
    beta1: float = hyper(0.96, "[0, 1)")
    beta2: float = hyper(0.99, "[0, 1)")
    gamma: float = hyper(
        0.01, "[0, inf)", "γ: 0.01 with Hutchinson's estimate, 0.05 with Gauss-Newton-Bartlett's."
    )
    eps: float = hyper(1e-12, "(0, inf)", "ε, in units of the Hessian.")
    limit: float = hyper(1.0, "(0, inf)", "What an entry is clipped to; the paper's 1.")
    update_every: int = hyper(10, "int [1, inf)", "k.")
    estimator: str = hyper("hutchinson", ("hutchinson", "gnb"),
        "ĥ: ``u ⊙ (∇²L u)`` with random u; or ``B ĝ ⊙ ĝ`` with ĝ the batch gradient under labels drawn"
        " from the model (`gauss_newton_bartlett`), which needs a problem with ``layers``.")  # fmt: skip
    probe: str = hyper("normal", ("normal", "rademacher"), "The distribution of u.")
    eps_added: bool = hyper(False, words="False as above; True: the denominator is ``max(γ h, 0) + ε``.")
    stale: bool = hyper(False, words="True: the step uses the h of before this step's refresh.")
    refresh_first: bool = hyper(True, words="True: the first refresh is at t = 1; False: at t = k + 1.")
    bias_correction: bool = hyper(
        False, words="True: m_t / (1 - β1^t) in place of m_t. h is never corrected."
    )
    weight_decay: float = hyper(0.1, "[0, inf)", "λ.")

    def rule(self, xp):
        stale, added = self.stale, self.eps_added

        def sophia(x, g, d, m, h, lr, beta1, k1, beta2, k2, gain, gamma, eps, limit, l2, keep):
            m = ema(m, g + l2 * x, beta1, k1)
            new = ema(h, d, beta2, k2)
            curvature = gamma * (h if stale else new)
            if added:
                below = xp.where(curvature > 0.0, curvature, 0.0) + eps
            else:
                below = xp.where(curvature > eps, curvature, eps)
            u = gain * m / below
            u = xp.where(u > limit, limit, u)
            u = xp.where(u < -limit, -limit, u)
            return keep * x - lr * u, m, new

        return sophia

    @property
    def needs(self) -> tuple[str, ...]:
        """Gradients, and what the estimator asks for."""
        return ("grad", "hvp" if self.estimator == "hutchinson" else "layers")

    def _due(self, t: int) -> bool:
        return (t - 1) % self.update_every == 0 and (self.refresh_first or t > 1)

    def diagonal(self, x: Params, oracle: Oracle) -> Params:
        """Return ĥ."""
        if self.estimator == "gnb":
            return gauss_newton_bartlett(oracle, x)
        u = (normal if self.probe == "normal" else rademacher)(oracle.rng, x)
        return map_leaves(lambda a, b: a * b, u, oracle.hvp(x, u))

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient and, when it is due, the Hessian's diagonal; then step."""
        g = oracle.grad(x)
        # Where no estimate is due its weight is zero, and the gradient stands in its place.
        d = self.diagonal(x, oracle) if self._due(s["t"] + 1) else g
        return self.advance(x, (g, d), s)

    def scalars(self, t, carried):
        beta2 = self.beta2 if self._due(t) else 1.0
        return {
            "k1": 1.0 - self.beta1,
            "beta2": beta2,
            "k2": 1.0 - beta2,
            "gain": 1.0 / correction(self.beta1, t) if self.bias_correction else 1.0,
        }


dialect(Sophia, "official", "Liuhong99/Sophia sophia.py, train_sophiag.py",
    "its rho times batch size is gamma here, its h has no factor B; h stays 0 for the first period",
    estimator="gnb", beta1=0.965, gamma=0.04, eps=1e-15, eps_added=True, refresh_first=False)  # fmt: skip
dialect(Sophia, "optax", "optax 0.2.8 contrib.sophia", "a step uses the h of before its refresh", beta1=0.965,
    eps=1e-8, probe="rademacher", stale=True, bias_correction=True, weight_decay=1e-4)  # fmt: skip
dialect(Sophia, "kozistr", "pytorch_optimizer 4.1 SophiaH",
    "the paper's first version: clipped to limit, lr scaled accordingly", lr=6e-2, gamma=1.0, limit=1e-2,
    weight_decay=0.0)  # fmt: skip
