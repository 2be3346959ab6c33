"""ScaledGD and ScaledGD(λ) on low-rank factors (Tong et al. 2021, Xu et al. 2023)."""

from __future__ import annotations

from refopt.core.arrays import Array, eye_like, namespace
from refopt.core.errors import ShapeError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import Params, check_start, leaves, rebuild
from refopt.core.registry import Source, dialect, register

XU = Source("xu-2023-power", "Xingyu Xu, Yandi Shen, Yuejie Chi, Cong Ma",
    "The Power of Preconditioning in Overparameterized Low-Rank Matrix Sensing", arxiv="2302.01186")  # fmt: skip
TONG = Source("tong-2021-accelerating", "Tian Tong, Cong Ma, Yuejie Chi",
    "Accelerating Ill-Conditioned Low-Rank Matrix Estimation via Scaled Gradient Descent", arxiv="2005.08898")  # fmt: skip


def partners(x: Params) -> dict[str, Array]:
    """Return by the name of each factor the one that preconditions it: the other of two, or itself.

    Raises
    ------
    ShapeError
        Not one or two matrices (n, r) with the same number of columns.
    """
    named = leaves(x)
    columns = {a.shape[-1] for a in named.values() if a.ndim == 2}
    if len(named) > 2 or len(columns) != 1 or any(a.ndim != 2 for a in named.values()):
        shapes = ", ".join(f"{k or 'x'} {tuple(a.shape)}" for k, a in named.items())
        raise ShapeError(f"x: wanted one factor (n, r), or two with as many columns, got {shapes}")
    return dict(zip(named, reversed(named.values())))


@register("scaled-gd", source=XU, where="ScaledGD(λ), its update and small start", also=(TONG,), state_copies=0, factors=True,
    calm_problem=("matrix-sensing", {"n": 6, "rank": 2}))  # fmt: skip
class ScaledGD(GradientMethod):
    """ScaledGD: gradient descent on low-rank factors, preconditioned by the r x r Gram matrix of the factors.

    Symmetric, ``M = X Xᵀ``: ``X <- X - η ∇f(X) (XᵀX + λ I)^{-1}``. Asymmetric, ``M = L Rᵀ``, both at once:
    ``L <- L - η ∇_L f (RᵀR + λ I)^{-1}``, ``R <- R - η ∇_R f (LᵀL + λ I)^{-1}``. The rate of convergence is free of
    the condition number of M. With λ > 0, of the order of the square of the least singular value of the true
    factor, also where r is more than the rank and the start is small.

    Notes
    -----
    f is scaled as in the papers' gradients, ``A*(A(X Xᵀ) - y) X``: that of ``||A(X Xᵀ) - y||² / 4``, as in
    `refopt.problem("matrix-sensing")`. Of two factors each is preconditioned by the other.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("scaled-gd", lr=0.5, damping=0.0)
    >>> X = np.diag([10.0, 0.1])
    >>> new, s = o.update(X, (X @ X.T - np.diag([81.0, 0.0081])) @ X, o.init(X))  # of X Xᵀ = diag(81, 0.0081)
    >>> print(np.diag(new).round(3))  # the same relative step at both scales
    [9.05 0.09]
    """

    lr: Rate = hyper(0.5, "[0, inf)", "η, without units.")
    damping: float = hyper(
        1e-3, "[0, inf)", "λ, in the units of XᵀX; 0 is ScaledGD, which needs factors of full rank."
    )

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        partners(check_start(x, "x"))
        return {"t": 0}

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        t = s["t"] + 1
        lr, out, gradients = self.rate(t), {}, leaves(g)
        for name, other in partners(x).items():
            xp = namespace(other)
            gram = xp.matrix_transpose(other) @ other + self.damping * eye_like(other)
            # G S^{-1} by a solve with the symmetric S.
            scaled = xp.matrix_transpose(xp.linalg.solve(gram, xp.matrix_transpose(gradients[name])))
            out[name] = leaves(x)[name] - lr * scaled
        return rebuild(x, out), {"t": t}


dialect(ScaledGD, "official", "Titan-Tong/ScaledGD matrix/MS.m", "no λ, a spectral start", damping=0.0)
