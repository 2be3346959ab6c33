"""Merging models in their task subspaces: one linear system a layer, by conjugate gradients (Tam, Bansal, Raffel 2023)."""

from __future__ import annotations

import dataclasses
from typing import Any

from refopt.core.arrays import Array, check_array, check_symmetric, eye_like, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import Dialect, Source, register
from refopt.core.result import LinearResult
from refopt.linear.conjugate_gradient import cg

TAM = Source(
    "tam-2023-merging",
    "D. Tam, M. Bansal, C. Raffel",
    "Merging by Matching Models in Task Parameter Subspaces",
    arxiv="2312.04339",
    venue="Transactions on Machine Learning Research",
)
STARTS = ("average", "zeros")


def _shrunk(C: Array, offdiagonal: float) -> Array:
    """Return each matrix with its entries off the diagonal times `offdiagonal`."""
    if offdiagonal == 1.0:
        return C
    return C * (offdiagonal + (1.0 - offdiagonal) * eye_like(C))


@register(
    "mats",
    kind="solver",
    source=TAM,
    where="the linear system of the merged parameters",
    dialects={"official": Dialect({"rtol": 1e-5, "maxiter": 100}, "r-three/mats", "SciPy's cg; 10 passes for IA3 vectors")},
)  # fmt: skip
def mats(
    weights: Any,
    inputs: Any,
    outputs: Any = None,
    x0: Any = "average",
    *,
    offdiagonal: float = 1.0,
    rtol: float = 1e-5,
    maxiter: int | None = 100,
) -> LinearResult:
    r"""Merge one layer of M models by solving for the parameters that match all of them in their task subspaces.

    Minimises :math:`\sum_m (\theta - \theta_m)^T C_m (\theta - \theta_m)`:

    .. math:: \Big(\sum_m C_m\Big)\theta = \sum_m C_m \theta_m,\qquad
              \sum_m A_m W G_m = \sum_m A_m W_m G_m \;\text{ for }\; C_m = A_m \otimes G_m.

    Parameters
    ----------
    weights : array of shape (M, d) or (M, d_in, d_out)
        The models' parameters; of a linear layer W maps inputs by ``x @ W`` (torch's weight transposed).
    inputs : array of shape (M, d, d) or (M, d_in, d_in)
        C of a vector, its Fisher matrix (IA3); of a linear layer A, the mean of :math:`x x^T` over the inputs.
    outputs : array of shape (M, d_out, d_out), optional
        G, the mean of :math:`g g^T` over the gradients in the outputs (block Fisher, K-FAC). Left out: the identity, which is
        RegMean.
    x0 : {"average", "zeros"} or array
        Start. It matters: what the sum of the C_m does not see stays as it was. The paper starts from a task-arithmetic merge.
    offdiagonal : float
        In [0, 1], times every entry off the diagonals of the statistics (RegMean's).
    rtol : float
        Stop at ``norm(r) <= rtol norm(b)``, as SciPy's cg.
    maxiter : int, optional
        Largest number of passes; the authors make 100, 10 for IA3. None: 10 d.

    Returns
    -------
    LinearResult
        Its `x` has the shape of one model's parameters.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        Statistics that do not fit the weights or are not symmetric.

    Notes
    -----
    A pass costs M products with A and with G; the Kronecker product is not formed. All :math:`C_m = I` is the plain average.

    Examples
    --------
    >>> import numpy as np
    >>> W = np.array([[2.0, 0.0], [0.0, 4.0]])  # two models of two parameters
    >>> C = np.array([np.diag([3.0, 1.0]), np.diag([1.0, 1.0])])  # the first is sure of its first parameter
    >>> mats(W, C, rtol=1e-12).x.round(6).tolist()
    [1.5, 2.0]
    """
    weights = check_array(weights, "weights", complex_ok=False)
    if weights.ndim not in (2, 3) or 0 in weights.shape:
        raise ShapeError(f"weights: wanted shape (M, d) or (M, d_in, d_out), got {tuple(weights.shape)}")
    check_number(offdiagonal, "[0, 1]", "offdiagonal")
    xp = namespace(weights)
    layer = weights.ndim == 3
    given = weights if layer else weights[..., None]
    A = _shrunk(_statistics(inputs, "inputs", given, 1), offdiagonal)
    G = None
    if outputs is not None:
        if not layer:
            raise ArgumentError(
                "outputs: a vector of parameters has no outputs; its whole matrix is `inputs`"
            )
        G = _shrunk(_statistics(outputs, "outputs", given, 2), offdiagonal)
    shape = given.shape[1:]

    def total(W: Array) -> Array:
        """Return the flattened ``sum_m A_m W G_m`` of one W or a stack of M."""
        part = xp.matmul(A, W)
        return xp.reshape(xp.sum(part if G is None else xp.matmul(part, G), axis=0), (-1,))

    if isinstance(x0, str):
        if x0 not in STARTS:
            raise ArgumentError(f"x0: wanted an array or one of {', '.join(STARTS)}, got {x0!r}")
        start = xp.mean(weights, axis=0) if x0 == "average" else xp.zeros_like(weights[0, ...])
    else:
        start = check_array(x0, "x0", shape=tuple(weights.shape[1:]))
    found = cg(
        lambda v: total(xp.reshape(v, shape)), total(given), xp.reshape(start, (-1,)), rtol=rtol, maxiter=maxiter
    )  # fmt: skip
    return dataclasses.replace(found, x=xp.reshape(found.x, tuple(weights.shape[1:])))


def _statistics(value: Any, name: str, given: Array, axis: int) -> Array:
    """Return the models' matrices that act on one axis of their parameters."""
    value = check_symmetric(value, name)
    size = given.shape[axis]
    if tuple(value.shape) != (given.shape[0], size, size):
        raise ShapeError(f"{name}: wanted shape {(given.shape[0], size, size)}, got {tuple(value.shape)}")
    return value
