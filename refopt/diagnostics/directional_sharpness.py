"""Directional sharpness of a step (Pan and Li 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.errors import ArgumentError
from refopt.core.forms import opened
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_like, check_start
from refopt.core.problem import require
from refopt.core.registry import Source, register

PAN = Source("pan-2023-toward", "Y. Pan, Y. Li",
    "Toward Understanding Why Adam Converges Faster Than SGD for Transformers", arxiv="2306.00204")  # fmt: skip


@dataclass(frozen=True)
class DirectionalSharpness:
    """What the second-order model of f says of a step from x along -v.

    Attributes
    ----------
    sharpness : float
        ``v^T H v / ||v||^2``, between the least and the largest eigenvalue of the Hessian H.
    gain : float
        ``g^T v / ||v||``, the first-order decrease per unit of length.
    best_step : float
        The η that minimises the model of ``f(x - η v)``, ``g^T v / v^T H v``; infinity where the curvature is
        not positive and the gain is.
    best_decrease : float
        What f falls by there, in the model: ``gain^2 / (2 sharpness)``.
    """

    sharpness: float
    gain: float
    best_step: float
    best_decrease: float


@register("directional-sharpness", kind="diagnostic", source=PAN, where="the definition of directional sharpness",
    needs=("grad", "hvp"))  # fmt: skip
def directional_sharpness(
    problem: Any, x: Params, v: Params, batch: np.ndarray | None = None
) -> DirectionalSharpness:
    """Directional sharpness: the curvature of f along the direction of a step.

    Parameters
    ----------
    problem : object
        With `grad` and `hvp`.
    x : array or dict of arrays
        The point.
    v : like x
        The direction, of any length but zero: a step is ``x - η v``.
    batch : array of int, optional
        The examples of gradient and Hessian; all if left out.

    Returns
    -------
    DirectionalSharpness

    Raises
    ------
    ArgumentError
        `v` is zero.
    CapabilityError, ShapeError, DtypeError, NonFiniteError
        The problem has no Hessian products, or `v` is not like `x` or not finite.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("quadratic", spectrum=[100.0] + [1.0] * 9, diagonal=True)
    >>> x = p.solution + 1.0
    >>> found = refopt.get("directional-sharpness")
    >>> print(round(found(p, x, p.grad(x)).sharpness, 2), round(found(p, x, np.sign(p.grad(x))).sharpness, 2))
    99.91 10.9
    """
    require(problem, ("grad", "hvp"), "directional-sharpness")
    problem, x, form = opened(problem, x)
    x, v = check_start(x, "x"), v if form is None else form.inside(v, "v")
    check_like(v, x, "v", finite_values=True)
    length = params.norm(v)
    if length == 0.0:
        raise ArgumentError("v: wanted a direction, got zeros")
    oracle = Oracle(problem)
    oracle = oracle if batch is None else oracle.on(batch)
    # Of a unit vector, so that no square leaves the range of the dtype.
    unit = params.scale(1.0 / length, v)
    sharpness = params.dot(unit, oracle.hvp(x, unit))
    gain = params.dot(oracle.grad(x), unit)
    if sharpness > 0.0:
        return DirectionalSharpness(sharpness, gain, gain / sharpness / length, gain * gain / (2 * sharpness))
    flat = 0.0 if gain == 0.0 and sharpness == 0.0 else math.inf
    return DirectionalSharpness(sharpness, gain, math.copysign(flat, gain), flat)
