"""The orthogonal-gradient update (Mao et al. 2024)."""

from __future__ import annotations

from refopt.aggregators.rows import rows_of, takes_gradients
from refopt.core.arrays import Array, namespace, norm
from refopt.core.errors import ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import Dialect, Source, register

MAO = Source("mao-2024-odice", "L. Mao, H. Xu, W. Zhang, X. Zhan",
    "ODICE: Revealing the Mystery of Distribution Correction Estimation via Orthogonal-gradient Update", arxiv="2402.00348")  # fmt: skip


@register("orthogonal-gradient", kind="aggregator", source=MAO, where="the orthogonal-gradient update", pair=True,
    dialects={"official": Dialect({"floor": 1e-10}, "maoliyuan/ODICE-Pytorch odice.py", "||f||^2 from 1e-10 upward")})  # fmt: skip
@takes_gradients
def orthogonal_gradient(J: Array, *, eta: float = 1.0, floor: float = 0.0) -> Array:
    """Return the orthogonal-gradient direction: the forward gradient, and what of the backward one is across it.

    ``d = f + η (b - (f · b / ||f||^2) f)``: of a squared error of a value and its successor's, f is the gradient by the value
    (the semi-gradient) and b that by its successor, and both are given here as rows. What b changes of the forward loss is of
    second order in the step, whether the two conflict or not.

    Parameters
    ----------
    eta : float
        η, at least 0.
    floor : float
        What ``||f||^2`` is divided by at least; with 0 and no forward gradient d is ``η b``.

    Raises
    ------
    ArgumentError, ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
        `J` is not two gradients, or a number is out of range.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(refopt.get("orthogonal-gradient")(np.array([[2.0, 0.0], [-1.0, 1.0]]), eta=0.5))
    [2.  0.5]
    """
    check_number(eta, "[0, inf)", "eta")
    check_number(floor, "[0, inf)", "floor")
    rows = rows_of(J)
    if rows.m != 2:
        raise ShapeError(f"J: wanted two rows, the forward and the backward gradient, got {rows.m}")
    xp = namespace(J)
    f, b = J[0, :], J[1, :]
    length = norm(f)
    if length == 0.0:
        return f + eta * b
    share = 1.0 / max(1.0, floor / length / length)
    unit = f / length
    return f + eta * (b - share * float(xp.sum(unit * b)) * unit)
