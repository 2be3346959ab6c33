"""signSGD (Bernstein et al. 2018)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise
from refopt.core.registry import Source, dialect, register

BERNSTEIN = Source("bernstein-2018-signsgd", "J. Bernstein, Y.-X. Wang, K. Azizzadenesheli, A. Anandkumar",
    "signSGD: Compressed Optimisation for Non-Convex Problems", arxiv="1802.04434")  # fmt: skip


@register("sign-sgd", source=BERNSTEIN, where="Algorithm 1")
class SignSGD(Elementwise):
    """signSGD: a step of the size of the rate in every coordinate, against the gradient's sign.

    ``x_t = x_{t-1} - δ sign(g_t)``, with sign(0) = 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("sign-sgd", lr=0.5)
    >>> x, s = o.update(np.array([1.0]), np.array([0.3]), o.init(np.array([1.0])))
    >>> print(x)
    [0.5]
    """

    lr: Rate = hyper(1e-4, "[0, inf)", "δ, in the units of x.")

    def rule(self, xp):
        def sign_sgd(x, g, lr):
            return (x - lr * xp.sign(g),)

        return sign_sgd


dialect(SignSGD, "optax", "optax 0.2.8 sign_sgd")
