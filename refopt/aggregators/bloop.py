"""Bloop, gradient surgery with a moving average (Hsieh et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refopt.aggregators.rows import rows_of
from refopt.core.arrays import Array, namespace, norm
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import Dialect, Source, register

HSIEH = Source("hsieh-2024-careful", "Y.-G. Hsieh, J. Thornton, E. Ndiaye, M. Klein, M. Cuturi, P. Ablin",
    "Careful with that Scalpel: Improving Gradient Surgery with an EMA", arxiv="2402.02998")  # fmt: skip


@register("bloop", kind="aggregator", source=HSIEH, where="Algorithm 1", stateful=True, pair=True,
    dialects={"official": Dialect({"eps": 1e-7}, "apple/ml-bloop", "eps beside the average's square")})  # fmt: skip
def bloop(
    J: Array,
    state: Mapping[str, Any] | None = None,
    *,
    rho: float = 0.1,
    penalty: float = 0.1,
    eps: float = 0.0,
    start: str = "gradient",
) -> tuple[Array, dict[str, Any]]:
    """Return Bloop's direction: the main gradient, and what of the auxiliary one is across the main's average.

    ``e ← e + ρ (a - e)``, ``d = a + λ (b - (e · b / ||e||^2) e)``: a is the main gradient, b the auxiliary one, e the
    average, which has seen a already.

    Parameters
    ----------
    J : array of shape (2, n)
        a and b.
    state : dict, optional
        From the last call; at the first there is none.
    rho : float
        ρ in [0, 1]; with 1 the projection is on a itself.
    penalty : float
        λ, at least 0.
    eps : float
        Added to ``||e||^2``; the authors' program has 1e-7.
    start : {"gradient", "zeros"}
        Whether the average starts at the first main gradient or at 0.

    Returns
    -------
    d : array of shape (n,)
        To step against, or to hand to any optimizer.
    state : dict
        ``"average"``, e.

    Raises
    ------
    ArgumentError, ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
        `J` is not two gradients, or a number is out of range.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> d, s = refopt.get("bloop")(np.array([[2.0, 0.0], [1.0, 1.0]]), penalty=0.5)
    >>> print(d)
    [2.  0.5]
    """
    check_number(rho, "[0, 1]", "rho")
    check_number(penalty, "[0, inf)", "penalty")
    check_number(eps, "[0, inf)", "eps")
    if start not in ("gradient", "zeros"):
        raise ArgumentError(f"start: wanted 'gradient' or 'zeros', got {start!r}")
    rows = rows_of(J)
    if rows.m != 2:
        raise ShapeError(f"J: wanted two rows, the main and the auxiliary gradient, got {rows.m}")
    xp = namespace(J)
    a, b = J[0, :], J[1, :]
    if not state:
        e = xp.asarray(a, copy=True) if start == "gradient" else xp.zeros_like(a)
    else:
        e = state["average"]
    e = e + rho * (a - e)
    length = norm(e)
    if length == 0.0:
        return a + penalty * b, {"average": e}
    share = 1.0 / (1.0 + eps / length / length)
    direction = e / length
    across = b - share * float(xp.sum(direction * b)) * direction
    return a + penalty * across, {"average": e}
