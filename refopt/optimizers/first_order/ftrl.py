"""FTRL-Proximal: follow the regularized leader, a coordinate a rate (McMahan et al. 2013)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise
from refopt.core.registry import Source, dialect, register

MCMAHAN = Source("mcmahan-2013-ad", "H. B. McMahan, G. Holt, D. Sculley, M. Young, D. Ebner, J. Grady, et al.",
    "Ad Click Prediction: a View from the Trenches", doi="10.1145/2487575.2488200", venue="KDD 2013")  # fmt: skip


@register("ftrl", source=MCMAHAN, where="Algorithm 1", state_copies=2)
class FTRL(Elementwise):
    """FTRL-Proximal: the minimiser of all linearised losses so far, kept near the points, with an ℓ1 and an ℓ2 term.

    ``n_t = n_{t-1} + g_t²``, ``σ_t = (n_t^p - n_{t-1}^p) / α``, ``z_t = z_{t-1} + g_t - σ_t x_{t-1}``,
    ``x_t = 0`` where ``|z_t| ≤ λ1``, else ``-(z_t - sign(z_t) λ1) / ((β + n_t^p) / α + λ2)``, with p = 1/2.

    Raises
    ------
    ArgumentError
        A rate of zero, which would divide.

    Notes
    -----
    The paper starts at x = 0. From another start, with λ1 = λ2 = β = 0, it is AdaGrad; otherwise the start is drawn to 0.
    A coordinate whose gradient has always been zero stays, as in the paper, which leaves out absent features.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("ftrl", lr=1.0, lambda1=0.5)
    >>> x = np.zeros(2)
    >>> x, s = o.update(x, np.array([3.0, 0.25]), o.init(x))
    >>> print(x)  # -(3 - 0.5) / (1 + 3), and 0 within λ1
    [-0.625  0.   ]
    """

    slots = ("z", "n")
    lr: Rate = hyper(1e-3, "(0, inf)", "α.")
    beta: float = hyper(1.0, "[0, inf)", "β, in the units of the gradient.")
    lambda1: float = hyper(0.0, "[0, inf)", "λ1.")
    lambda2: float = hyper(0.0, "[0, inf)", "λ2.")
    power: float = hyper(0.5, "(0, 1]", "p; the libraries' -lr_power.")
    initial: float = hyper(0.0, "[0, inf)", "n_0.")
    shrinkage: float = hyper(0.0, "[0, inf)",
        "λ3: λ3 x is added to the gradient in z and not in n (TensorFlow's and Keras's l2_shrinkage, of which it is twice).")  # fmt: skip

    def rule(self, xp):
        if self.power == 0.5:
            root = xp.sqrt
        else:

            def root(n, power=self.power):
                return n**power

        def ftrl(x, g, z, n, lr, beta, lambda1, lambda2, shrinkage):
            before = root(n)
            n = n + g * g
            after = root(n)
            z = z + (g + shrinkage * x) - (after - before) / lr * x
            below = (beta + after) / lr + lambda2
            away = (lambda1 * xp.sign(z) - z) / xp.where(below > 0.0, below, 1.0)
            new = xp.where(xp.abs(z) > lambda1, away, 0.0)
            return xp.where(n > 0.0, new, x), z, n

        return ftrl

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return z_0 = 0, and n_0."""
        return namespace(leaf).full_like(leaf, self.initial if slot == "n" else 0.0)

    def rate(self, t: int) -> float:
        """Return α of step `t`."""
        rate = super().rate(t)
        if rate == 0.0:
            raise ArgumentError(f"lr: ftrl divides by its rate, wanted a positive one, got 0 at step {t}")
        return rate


dialect(FTRL, "kozistr", "pytorch_optimizer 4.1 FTRL",
    "starts elsewhere than at 0 are lost where no gradient has been; powers but 1/2 are in σ alone there, which is a fault",
    beta=0.0)  # fmt: skip
